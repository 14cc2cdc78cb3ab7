"""Is what is new as good as what it replaces (`--gate-incumbent`), or better (`--gate-superior`)?"""

import pytest

pytestmark = pytest.mark.quality


@pytest.mark.gate("upgrade")
def test_keeps_the_incumbent_quality(uphold):
    """Task metrics, paired item by item with the incumbent's."""
    uphold()


@pytest.mark.gate("superior")
def test_is_better_than_the_incumbent(uphold):
    """The heading metric of the datasets of `--gate-superior`."""
    uphold()
