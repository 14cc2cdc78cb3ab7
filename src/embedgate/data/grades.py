"""How alike two texts are, as tables write it: numbers, with decimal commas, percentages, truth values, entailment."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterable

from embedgate.data.cells import CellError, number

TRUTH = {"true": 1.0, "t": 1.0, "yes": 1.0, "y": 1.0, "false": 0.0, "f": 0.0, "no": 0.0, "n": 0.0}
# As the pairs with scores of Sentence Transformers' `all-nli` grade them.
ENTAILMENT = {"entailment": 1.0, "neutral": 0.5, "contradiction": 0.0}
WHOLE, NUMBER, COMMA = "a whole number", "a number", "a number with a decimal comma"
PERCENT, TRUTHS, INFERENCE = "a percentage", "a truth value", "a word of entailment"
FORMS = "write a number without marks between its thousands, a percentage, or true or false"
FRACTIONAL = (NUMBER, COMMA)
# What a report tells of grades that are no plain numbers.
_TOLD = {
    COMMA: "grades have decimal commas",
    PERCENT: "grades are percentages",
    TRUTHS: "grades are truth values: true counts 1, false 0",
    INFERENCE: "grades are entailment 1, neutral 0.5, contradiction 0",
}
# Of retrieval: trec_eval counts documents by their grade, in 8 bytes for each whole number up to the largest.
LARGEST_GRADE = 100_000
NO_GRADE = f"and no grade of retrieval is above {LARGEST_GRADE:,}"
SMALLER_GRADES = "divide all grades by one number"
_COMMA = re.compile(r"[+-]?\d+,\d+")
_WHOLE = re.compile(r"[+-]?\d+")
# What may be thousands and may be three decimals, as 1,200; no thousands begin with 0.
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


class Grades:
    """Reads the grades of one table, which all are written alike.

    Args:
        words: Whether numbers are refused, since they mean one thing here and another there.
        label: The column's name where it may hold classes by their numbers, as of entailment; else empty.
    """

    def __init__(self, words: bool = False, label: str = "") -> None:
        self._words, self._label = words, label
        self._form = ""
        self._negative = False
        self._read = 0
        self._has_decimals = False
        self._unclear: tuple[int, str] | None = None

    def __call__(self, value: object) -> float:
        """One grade.

        Raises:
            ValueError: If it is none, or is written in another way than those before it.
        """
        form, read = _form(value)
        try:
            grade = read(value)
        except ValueError as error:
            raise CellError(str(error), FORMS) from error
        if self._words and form != INFERENCE:
            cause = f"is {reprlib.repr(value)}, which stands for entailment in one set and for contradiction in another"
            raise CellError(cause, f"write {', '.join(ENTAILMENT)}, or grades in a column named score")
        self._agree(value, form)
        self._look_at_comma(value)
        self._negative |= grade < 0
        self._read += 1
        return grade

    @property
    def unclear(self) -> tuple[int, CellError] | None:
        """Which grade may be thousands or a decimal, counted from 0, and what is wrong; None where none is.

        One grade that has a decimal comma beyond doubt, as 2,5 or 0,125, says that all have.
        """
        if self._unclear is None or self._has_decimals:
            return None
        place, digits = self._unclear
        whole, decimal = digits.replace(",", ""), digits.replace(",", ".")
        cause = f"is {digits!r}, and no other grade shows whether that is {whole} or {decimal}"
        return place, CellError(cause, f"write grades without commas: {whole}, or {decimal}")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a report should know about how they are written."""
        below = ("some grades are below 0: more is more alike all the same",) if self._negative else ()
        classes = self._label and self._form == WHOLE
        as_grade = (f"{self._label!r} is read as a grade: a higher number is more alike",) if classes else ()
        return (*([_TOLD[self._form]] if self._form in _TOLD else []), *as_grade, *below)

    def _look_at_comma(self, value: object) -> None:
        digits = value.strip().removesuffix("%").rstrip() if isinstance(value, str) else ""
        if _THOUSANDS.fullmatch(digits):
            self._unclear = self._unclear or (self._read, digits)
        else:
            self._has_decimals |= bool(_COMMA.fullmatch(digits))

    def _agree(self, value: object, form: str) -> None:
        """Whole numbers agree with decimal points and with decimal commas."""
        if form == self._form or (form == WHOLE and self._form in FRACTIONAL):
            return
        if self._form and not (self._form == WHOLE and form in FRACTIONAL):
            cause = f"is {reprlib.repr(value)}, {form}, where a grade before it is {self._form}"
            raise CellError(cause, "write all grades in one way")
        self._form = form


def _form(value: object) -> tuple[str, Callable[[object], float]]:
    """How a grade is written, and what reads it."""
    if isinstance(value, bool):
        return TRUTHS, lambda _: float(value)
    if not isinstance(value, str):
        return WHOLE if isinstance(value, int) else NUMBER, number
    plain = value.strip().lower()
    if plain in TRUTH:
        return TRUTHS, lambda _: TRUTH[plain]
    if plain in ENTAILMENT:
        return INFERENCE, lambda _: ENTAILMENT[plain]
    if plain.endswith("%"):
        return PERCENT, lambda _: _without_sign(value)
    if _COMMA.fullmatch(plain):
        return COMMA, lambda _: number(plain.replace(",", "."))
    return WHOLE if _WHOLE.fullmatch(plain) else NUMBER, number


def _without_sign(value: str) -> float:
    try:
        return number(value.strip()[:-1].replace(",", "."))
    except ValueError:
        raise CellError(f"is {reprlib.repr(value)}, not a number", FORMS) from None


def is_numeral(cell: str) -> bool:
    """Whether a cell holds a grade in figures, finite or not."""
    plain = cell.strip().removesuffix("%").replace(",", ".")
    try:
        float(plain)
    except ValueError:
        return False
    return "_" not in plain


def are_numbers(texts: Iterable[str]) -> bool:
    """Whether texts are numbers alone: of ids, say, where texts were expected."""
    return all(is_numeral(text) and any(map(str.isdigit, text)) for text in texts)
