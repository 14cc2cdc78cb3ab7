"""Does every text come back as one sound vector? Finite, of the right shape and length, whatever the text."""

import pytest


@pytest.mark.gate("contract.odd")
def test_takes_odd_texts(uphold):
    """Texts that break tokenizers and overflow layers, alone and beside others."""
    uphold()


@pytest.mark.gate("contract.any")
def test_takes_any_text(uphold):
    """Any text at all that Hypothesis can think of."""
    uphold()


@pytest.mark.gate("contract.tokens")
def test_reads_the_same_tokens(uphold):
    """The reference's token ids, special tokens included."""
    uphold()
