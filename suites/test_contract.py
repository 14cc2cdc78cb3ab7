"""Does every text come back as one sound vector? Finite, of the right shape and length, whatever the text."""


def test_takes_odd_texts(gate, gate_combination, gate_canary, uphold):
    """Texts that break tokenizers and overflow layers, alone and beside others."""
    uphold(gate.properties.is_sound(gate_combination, gate_canary))


def test_takes_any_text(gate, gate_combination, uphold):
    """Any text at all that Hypothesis can think of."""
    uphold(gate.properties.is_sound_for_any(gate_combination))


def test_reads_the_same_tokens(gate, gate_candidate, uphold):
    """The reference's token ids, special tokens included."""
    uphold(gate.properties.reads_the_same_tokens(gate_candidate))
