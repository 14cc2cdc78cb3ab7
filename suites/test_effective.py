"""Did what was asked for really run? A "quantized" model may silently not be, or sit on another device."""


def test_is_what_its_id_says(gate, gate_combination, uphold):
    """Layer types, provider and device as read from what was built; finite embeddings; not fp32 in disguise."""
    uphold(gate.effective(gate_combination))
