"""What a cell of a table must be, to be a text, a label, a number or a list of them."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Sequence
from datetime import date, time
from decimal import Decimal
from numbers import Real

# Beside blank cells and NaN, how tables write that there is no number.
NO_NUMBER = ("nan", "na", "n/a", "null", "none", "-")
# Beside those, how tables write that there is no name.
NO_NAME = ("nan", "null")
# How databases and pandas write into text files that there is no text; each may be a text all the same.
NO_TEXT = ("NULL", "null", r"\N", "nan", "NaN", "<NA>", "#N/A")
NUMBER = "write a number"
NAMES = "write a list of names, or one text with semicolons between them"
# A list that was made a text, as CSV has it.
_SPELLED_LIST = re.compile(r"\s*\[\s*(\".*\"|'.*')\s*\]\s*", re.DOTALL)


class CellError(ValueError):
    """A cell that is not what it must be.

    Args:
        cause: What is wrong with it, after its column's name.
        action: What to do about it; empty where the cause says it.
    """

    def __init__(self, cause: str, action: str = "") -> None:
        super().__init__(cause)
        self.action = action


def text(value: object) -> str:
    """A text that a tokenizer can take, unchanged.

    Raises:
        ValueError: If it is no string, or blank, or holds half of a surrogate pair (JSON can spell one).
    """
    whole = maybe_blank(value)
    if not whole.strip():
        raise CellError("is empty", "give it a text")
    return whole


def maybe_blank(value: object) -> str:
    """As `text`, but may be blank."""
    if not isinstance(value, str):
        raise CellError(f"is {reprlib.repr(value)}, not a text", "write it as a text in quotes")
    try:
        value.encode()
    except UnicodeEncodeError:
        cause = f"holds half of a surrogate pair: {reprlib.repr(value)}"
        raise CellError(cause, "write the whole character, or leave it out") from None
    return value


def texts(value: object) -> list[str]:
    """The texts of a cell that holds one or a list of them.

    Raises:
        ValueError: If one is no text, or the cell spells a list that is not JSON.
    """
    if isinstance(value, str) and _SPELLED_LIST.fullmatch(value):
        value = _listed(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [text(each) for each in value]
    return [text(value)]


def _listed(spelled: str) -> object:
    try:
        return json.loads(spelled)
    except ValueError:
        step = "write lists as JSON has them, or the file as JSONL or Parquet"
        raise CellError(f"is {reprlib.repr(spelled)}, a list that is not JSON", step) from None


def identifier(value: object) -> str:
    """An id: a text, or a whole number made one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value)


def label(value: object) -> str:
    """A label: a text, a whole number, also one that a column with empty cells made a float, or true or false."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.strip() and is_no_name(value):
        raise CellError(f"is {reprlib.repr(value)}, not a label", "give it a label")
    return identifier(_whole(value))


def _whole(value: object) -> object:
    """A whole number as one: a column with empty cells has made it a float, or Parquet has it as a decimal."""
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def number(value: object) -> float:
    """A finite number, or a text that spells one."""
    is_literal = isinstance(value, str) and "_" in value  # of Python, as 1_000
    if isinstance(value, bool) or not isinstance(value, str | Real | Decimal) or is_literal:
        raise CellError(f"is {reprlib.repr(value)}, not a number", NUMBER)
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        raise CellError(f"is {reprlib.repr(value)}, not a number", NUMBER) from None
    if not math.isfinite(parsed):
        raise CellError(f"is {parsed}, not a finite number", NUMBER)
    return parsed


def slice_names(value: object) -> list[str]:
    """Names of the slices a row is in: a list, or a text with semicolons between; none where it holds nothing."""
    if is_no_name(value):
        return []
    names = [name.strip() for name in value.split(";")] if isinstance(value, str) else value
    if not isinstance(names, list):
        raise CellError(f"is {reprlib.repr(value)}, not a list of names", NAMES)
    found = [name for name in names if not is_no_name(name)]
    if not all(isinstance(name, str) for name in found):
        raise CellError(f"is {reprlib.repr(value)}, not a list of names", NAMES)
    return list(dict.fromkeys(found))


def cluster_name(value: object) -> str:
    """What an item shares with others: an id; empty where it shares nothing."""
    if is_no_name(value):
        return ""
    return identifier(_whole(value))


def property_values(value: object) -> list[str]:
    """What a row says of itself in a column, each of which makes a slice: a label, or a list; none where empty."""
    values = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(_property(each) for each in values if not is_no_name(each)))


def _property(value: object) -> str:
    """One of these: a label, or a date or time as ISO 8601 has it."""
    return value.isoformat() if isinstance(value, date | time) else label(value).strip()


def is_empty(value: object) -> bool:
    """Whether a cell holds nothing: null, NaN, blanks alone, or an empty list."""
    if isinstance(value, float | Decimal):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip()) or value == []


def is_no_name(value: object) -> bool:
    """Whether a cell holds nothing where a label, a slice or a cluster is expected."""
    return is_empty(value) or (isinstance(value, str) and value.strip().lower() in NO_NAME)


def is_no_number(value: object) -> bool:
    """Whether a cell holds nothing where a number is expected."""
    return is_empty(value) or (isinstance(value, str) and value.strip().lower() in NO_NUMBER)


def is_no_text(value: object) -> bool:
    """Whether a cell holds nothing, or what is written where there is no text."""
    return is_empty(value) or (isinstance(value, str) and value.strip() in NO_TEXT)
