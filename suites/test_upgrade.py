"""Is the new model as good as the one it replaces? With `--gate-incumbent`, both run as the reference."""

import pytest

pytestmark = pytest.mark.quality


@pytest.mark.gate("upgrade")
def test_keeps_the_incumbent_quality(uphold):
    """Task metrics, paired item by item with the incumbent's."""
    uphold()
