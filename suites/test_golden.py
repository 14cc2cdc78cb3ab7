"""Does the same become of the golden texts as when they were approved? Tokens, states, pooling, normalisation."""

import pytest


@pytest.mark.gate("golden")
def test_are_what_was_approved(uphold):
    """Names the first stage that changed, before any metric moves."""
    uphold()
