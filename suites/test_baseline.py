"""Did anything drift since it was approved? Every combination against its approved baseline."""

import pytest


@pytest.mark.gate("baseline")
def test_is_what_was_approved(uphold):
    """Every value measured, against the one approved for this hardware profile, model and dataset."""
    uphold()
