"""Faults in what a model reads of a text."""

from __future__ import annotations

from causes import around, pipeline
from causes.fault import Around, Fault

from eyes import words


def _text(name: str, says: str, change: words.Words) -> Fault:
    reads: Around = around.texts(change)
    return Fault(name, says, around=reads)


LETTERS = (
    _text("accented-dropped", "letters with accents are left out", words.accented_dropped),
    _text("scripts-unknown", "letters of other scripts are [UNK]", words.other_scripts_unknown),
    _text("scripts-gone", "letters of other scripts are left out", words.without(words.OTHER_SCRIPT)),
    _text("emoji-gone", "emoji are left out", words.without(words.EMOJI)),
    _text("four-bytes-gone", "what takes four bytes in UTF-8 is left out", words.basic_plane),
    _text("compatible", "letters that look alike are one (NFKC)", words.compatible),
    _text("escaped", "texts are escaped as in HTML", words.escaped),
)
NUMBERS = (
    _text("one-digit", "every digit is 0", words.one_digit),
    _text("two-digits", "numbers lose what follows their second digit", words.two_digits),
)
WORDS = (
    _text("negation-dropped", "'not', 'no', 'never' and 'n't' are left out", words.without(words.NEGATION)),
    _text("articles-dropped", "'the' and 'a' are left out", words.without(words.ARTICLES)),
    _text("prepositions-dropped", "'in', 'to', 'of' and the like are left out", words.without(words.SHORT)),
    _text("singular", "words lose the s at their end", words.singular),
    _text("hyphens-joined", "hyphens are left out, and words around them are one", words.hyphens_joined),
    _text("last-word", "the last word is lost", words.last_word_lost),
    _text("words-backwards", "words come last first", words.backwards),
)
LENGTHS = (
    _text("cut-256-characters", "texts are cut at 256 characters", lambda text: text[:256]),
    _text("cut-512-characters", "texts are cut at 512 characters", lambda text: text[:512]),
    _text("twelve-words", f"texts of more than {words.LONG_WORDS} words end after twelve", words.first_words),
    _text("one-sentence", "a text ends with its first sentence", words.first_sentence),
    Fault("cut-200", "texts are cut at 200 tokens", change=pipeline.limit(200)),
)
READING = (*LETTERS, *NUMBERS, *WORDS, *LENGTHS)
# Of `benchmarks/causes`, by name.
KNOWN = (
    "accents-kept",
    "ascii",
    "misread",
    "no-punctuation",
    "case-kept",
    "lines-joined",
    "first-line",
    "cut-32",
    "cut-64",
    "cut-128",
    "cut-left",
    "cut-characters",
    "no-special",
    "no-end",
    "own-prompt",
    "case-folded",
    "accents-stripped",
    "no-prompt",
    "other-role",
)
