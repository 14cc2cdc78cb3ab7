"""What an exception of another library says, in one line."""

from __future__ import annotations

import pytest

from embedgate.core.errors import LONGEST_LINE, one_line


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
