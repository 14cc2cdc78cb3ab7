"""Did quantization cost quality? Every combination against the reference of the same session."""

import pytest

pytestmark = pytest.mark.quality


def test_keeps_the_reference_quality(gate, gate_candidate, gate_measure, uphold):
    """Task metrics, paired item by item with the reference's, within the tolerance of the weight precision."""
    uphold(gate.retention(gate_candidate, *gate_measure))


def test_agrees_with_the_reference(gate, gate_candidate, gate_agreement, uphold):
    """Embeddings and neighbours, text by text, above the floor of the weight precision."""
    uphold(gate.agreement(gate_candidate, gate_agreement))
