"""Does an embedding depend on the text alone? The same texts in other surroundings, as near as the encoder declares."""

import pytest


@pytest.mark.gate("invariance")
def test_depends_on_the_text_alone(uphold):
    """Batch, place, neighbours, padding, order, repetition, history, threads and callers leave an embedding alone."""
    uphold()
