"""Errors in one line: of embedgate's own, and what an exception of another library says."""

from __future__ import annotations

import pytest

from embedgate.core.distrust import distrusting
from embedgate.core.errors import LONGEST, LONGEST_LINE, DataError, GateError, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad\nsecond"), "ValueError: bad"),
        (ValueError("bad:\n\n  second"), "ValueError: bad: second"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_it_is_the_type_and_what_the_first_line_says(error, line):
    assert one_line(error) == line


def test_one_that_prints_its_data_is_cut():
    line = one_line(ValueError("x" * 100_000))
    assert line.startswith("ValueError: xxx")
    assert line.endswith("… (100,012 characters)")
    assert len(line) < LONGEST_LINE + 50


def test_whatever_a_file_holds_an_error_is_one_line_that_can_be_printed() -> None:
    error = GateError("a.json: \x1b[31m\0\ud800\n" + "a" * 5000, "do\r\nit")
    assert str(error).isprintable()
    assert error.cause.startswith("a.json: \\x1b[31m\\x00\\ud800\\naaa")
    assert (len(error.cause), error.cause[-4:]) == (LONGEST + 3, "a...")
    assert error.action == "do\\r\\nit"
    assert str(error.anew()) == str(error)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("name"), "a.json is none: it has no 'name'; restore it"),
        (RecursionError("too deep"), "a.json is none: RecursionError: too deep; restore it"),
        (OSError("gone"), "a.json is none: OSError: gone; restore it"),
        (DataError("b.csv is empty", "fill it"), "b.csv is empty; fill it"),
    ],
)
def test_what_comes_of_malformed_content_is_an_error_about_it(error: Exception, told: str) -> None:
    with pytest.raises(GateError) as caught, distrusting(GateError, "a.json is none", "restore it", OSError):
        raise error
    assert str(caught.value) == told


def test_what_says_nothing_about_content_goes_through() -> None:
    with pytest.raises(OSError, match="gone"), distrusting(GateError, "a.json is none", "restore it"):
        raise OSError("gone")
