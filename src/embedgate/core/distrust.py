"""Content from elsewhere whose form no type tells: whatever comes of it is the reader's own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embedgate.core.errors import GateError, in_line, one_line
from embedgate.core.files import LONGEST_CAUSE, Wrong

# What code that trusts the form of some content raises where it has another.
MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    StopIteration,
    TypeError,
    ValueError,
)


@contextmanager
def distrusting(wrong: Wrong, where: str, action: str, *errors: type[Exception]) -> Iterator[None]:
    """Tells whatever comes of content that has not the form it must have as an error about where it stands.

    Of content whose form no type tells, or that a library reads which checks it as it goes.

    Args:
        wrong: Makes the error.
        where: Where the content stands, and what it is not: `a.parquet is no Parquet file`, for example.
        action: What to do about it.
        errors: What the library raises besides.
    """
    told_of: tuple[type[Exception], ...] = (*MALFORMED, *errors)
    try:
        yield
    except GateError:
        raise
    except told_of as error:
        told = f"it has no {error}" if type(error) is KeyError else one_line(error)
        raise wrong(in_line(f"{where}: {told}", LONGEST_CAUSE), action) from error
