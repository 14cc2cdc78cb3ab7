"""Did what was asked for really run? A "quantized" model may silently not be, or sit on another device."""

import pytest


@pytest.mark.gate("effective")
def test_is_what_its_id_says(uphold):
    """Layer types, provider and device as read from what was built; finite embeddings; not fp32 in disguise."""
    uphold()
