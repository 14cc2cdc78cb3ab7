"""Did quantization cost quality? Every combination against the reference of the same session."""

import pytest

pytestmark = pytest.mark.quality


@pytest.mark.gate("retention")
def test_keeps_the_reference_quality(uphold):
    """Task metrics, paired item by item with the reference's, within the tolerance of the weight precision."""
    uphold()


@pytest.mark.gate("slices")
def test_keeps_the_quality_of_every_slice(uphold):
    """The metric that stands for a dataset, on each of its slices: texts that negate, long ones, one language."""
    uphold()


@pytest.mark.gate("agreement")
def test_agrees_with_the_reference(uphold):
    """Embeddings and neighbours, text by text, above the floor of the weight precision."""
    uphold()


@pytest.mark.gate("texts")
def test_keeps_texts_in_which_losses_show(uphold):
    """Accents, other scripts, emoji, line breaks, capitals and long texts, each where the reference has it."""
    uphold()
