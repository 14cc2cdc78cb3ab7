"""Does the same become of the golden texts as when they were approved? Tokens, states, pooling, normalisation."""


def test_are_what_was_approved(gate, gate_combination, uphold):
    """Names the first stage that drifted, before any metric moves."""
    uphold(gate.drift.golden(gate_combination))
