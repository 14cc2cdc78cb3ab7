"""Does an embedding depend on the text alone? The same texts in other surroundings, as near as the encoder declares."""


def test_depends_on_the_text_alone(gate, gate_combination, gate_variation, uphold):
    """Batch, place, neighbours, padding, order, repetition, history, threads and callers leave an embedding alone."""
    uphold(gate.properties.is_invariant(gate_combination, gate_variation))
