"""What counts as naming a fault: regular expressions of causes, each of `layer: cause`, whatever the case."""

from __future__ import annotations

CLS, LAST, MAX = r"\bCLS\b.*pool|pool.*\bCLS\b", r"last[- ]token|pool.*\blast\b", r"\bmax(imum)?\b"
MEAN = r"\bmean\b"
PADDED = r"padding"
NORMALIZE = r"not normali[sz]ed|without normali[sz]|Normalize|unit length|other lengths"
LENGTHS = r"lengths?\b"
SPECIAL = r"special tokens?|\[CLS\]|\[SEP\]"
CASE = r"lower-?cas|capital|\bcase\b|cased"
ACCENTS = r"accent"
NO_PROMPT = r"without (its |the |their |a )?prompt|no prompt|prompt.*(missing|left out|is not)|lacks? .*prompt"
TWICE = r"prompt.*(twice|doubled)|(twice|doubled).*prompt"
OTHER_ROLE = r"prompt of|encoded as|other role|as (a )?(query|document)"
PROMPT = r"prompt|in front|before"
ORDER = r"^order|another order|sorted|reversed|belong to another text|shifted|other texts?'"
LAYER_MISSING = r"layers? (is|are)? ?missing|without (its |the )?(last|first)|last .*layers?|first .*layers?"
WEIGHTS = r"weights?\b|\blayer \d"
POSITIONS = r"position"
ZERO_POINT = r"zero[- ]point|offset|codes"
CODES = r"codes?\b|undecoded|not decoded|int8|uint8"
BINARY = r"binary|\bsigns?\b|\bbits?\b"


def cut(number: int, unit: str = "token") -> str:
    """The cause of texts that are cut at so many tokens or characters."""
    return rf"(cut|truncat).*\b{number}\b|\b{number}\b {unit}"
