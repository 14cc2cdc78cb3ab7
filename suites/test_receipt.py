"""Was it judged on a GPU, or on another CPU? With `--gate-receipt`, the report of that is held against what is here."""

import pytest

pytestmark = pytest.mark.cpu


@pytest.mark.gate("receipt")
def test_was_judged_elsewhere(uphold):
    """Same model, data, code and decisions, everything judged, and judged as it must be."""
    uphold()
