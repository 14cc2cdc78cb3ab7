"""Was it judged on a GPU? With `--gate-receipt`, a GPU machine's report is held against this checkout."""

import pytest

pytestmark = pytest.mark.cpu


@pytest.mark.gate("receipt")
def test_was_judged_on_a_gpu(uphold):
    """Same model, data, code and decisions, everything judged, and judged as it must be."""
    uphold()
