"""What counts as naming a fault: regular expressions of causes, each of `layer: cause`, whatever the case.

They are tight: what names one fault is wrong of every other one.
"""

from __future__ import annotations

import re

# Pooling.
CLS = r"\bCLS pooling|pools by CLS"
LAST = r"pooling of the last token|pools by last token"
MAX = r"\bmax pooling|pools by max"
MEAN = r"(with|and) mean pooling|pools by mean"
WEIGHTED = r"weighted by position"
PADDED = r"mean over padding"
INNER = r"mean without special tokens"
ROOT = r"square root of (their|its) (number|tokens)"

# Normalisation and lengths.
RAW = r"no normali[sz]ation|no Normalize|other lengths: .*the reference's (1\.000|0\.99)"
UNIT = r"normali[sz]ed, which the model does not|other lengths: 1\.000 to 1\.000"
SCALED = r"\b16(\.0+)? times"
LENGTHS = r"other lengths: (?!1\.000 to 1\.000)"

# Prompts.
NO_PROMPT = r"no prompt"
TWICE = r"prompt twice"
MISSPELT = r"(?-i:'Query: ') (before|in front)"
OTHER_ROLE = r"encoded as (a )?document|prompt of (a )?document"
OWN_PROMPT = r"(?-i:'query: ') (before|in front)"

# Tokens.
NO_SPECIAL = r"no special tokens|special tokens at both ends are missing"
NO_FIRST = r"no special token at the start|special tokens at the start are missing"
NO_END = r"no special token at the end|special tokens at the end are missing"
CASE_KEPT = r"case (and accents )?kept|capital letters are kept"
CASE_FOLDED = r"with (texts )?lower-cas(ing|ed)|and (texts )?lower-cas(ing|ed)"
ACCENTS_KEPT = r"accents (are )?kept"
ACCENTS_STRIPPED = r"accents stripped"
LEFT = r"from the left|(lost|lose|without) (their|its) beginning"
UNCUT = r"not cut|cut to 512 tokens|\b512\b"

# Texts.
FIRST_LINE = r"end at their first newline"
LINES_JOINED = r"newlines lost"
NO_PUNCTUATION = r"punctuation lost"
ASCII = r"beyond ASCII"
MISREAD = r"read as Latin-1"

# Inputs of the transformer.
POSITIONS = r"positions \+{} off"
TYPES = r"token types"
NO_MASK = r"attention mask ignored by its layers(?! and)"
CAUSAL = r"causal attention(?! for)"
CAUSAL_ALONE = r"causal attention for a text that comes alone"

# Layers and weights.
LAST_LAYER = r"last layer missing|5 of 6 layers"
LAST_TWO = r"last 2 layers missing|4 of 6 layers"
FIRST_LAYER = r"first layer missing"
NO_DENSE = r"no Dense"
NO_ACTIVATION = r"no activation in its Dense"
RELU = r"ReLU as the activation"
WEIGHTS = r"other weights|weights (themselves )?(differ|are other|of (its |the )?layer)|\btensors?\b"
RANDOM = r"asked for again, came back"
OLDER = r"weights of the incumbent"

# Dimensions and codes.
ZEROS = r"zeros in all but the first 256"
HALVES = r"halves of its dimensions swapped"
PERMUTED = r"dimensions in another order"
OFFSET = r"(vector|\d) added to every (vector|number)|zero point"
UNDECODED = r"codes that were not decoded"
UNSIGNED = r"uint8|unsigned"
SIGNS = r"signs in the place"
BITS = r"bits in the place"

# Rows.
BY_LENGTH = r"order of the texts' lengths"
ORDER = r"^order: .*in another order"
BACKWARDS = r"opposite order"
ROTATED = r"fixed number of places away"
ONE_FOR_ALL = r"one and the same vector(?! added)|embedding of another text, which the reference tells apart"
ANOTHER_CALLER = r"the same for all of these, and that of none of them"
CALL_BEFORE = r"of the call before"
PREFIX = r"begin with the same \d+ characters"
CASE_ALONE = r"differ in case alone"


def cut(number: int, unit: str = "tokens") -> str:
    """The cause of texts that are cut at so many tokens or characters."""
    return rf"cut (to|at) {number} {unit}\b(?! from the left)"


def about(low: int, high: int, unit: str = "tokens") -> str:
    """The cause of texts that are cut somewhere between two numbers, where noise hides the very token."""
    numbers = "|".join(map(str, range(low, high + 1)))
    return rf"cut (to|at) (about )?({numbers}) {unit}\b(?! from the left)"


def tensors(of: str) -> str:
    """The cause of weights that differ in one layer, of which nothing earlier is said to depart."""
    return rf"^(?!.*departs is the embedding layer).*{re.escape(of)}"
