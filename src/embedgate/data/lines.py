"""Unlabelled texts of a plain file, one a line, such as a log of queries."""

from __future__ import annotations

from pathlib import Path

from embedgate.core.errors import DataError, counted
from embedgate.core.roles import ROLES
from embedgate.data.rows import lines
from embedgate.data.types import Origin, Texts

SUFFIX = ".txt"


def read(path: Path, origin: Origin, role: str = "") -> Texts:
    """Reads a file of one text a line; blank lines are left out, and counted in a note.

    Args:
        path: The file.
        origin: What identifies it.
        role: How the texts are used, see `checked_role`.

    Raises:
        DataError: If a line cannot be decoded, with its number; or fewer than three texts differ.
    """
    texts: list[str] = []
    blank = 0
    for _, line in lines(path):
        text = line.rstrip("\r\n")
        if text.strip():
            texts.append(text)
        else:
            blank += 1
    notes = (f"{counted(blank, 'blank line')} left out",) if blank else ()
    return Texts.once(texts, **vars(origin), role=checked_role(role, str(path)), notes=notes)


def checked_role(role: str, source: str) -> str:
    """A role that unlabelled texts are used in; empty for plain `encode`.

    Raises:
        DataError: If there is none of that name.
    """
    if role and role not in ROLES:
        raise DataError(f"{source}: there is no role {role!r}", f"choose from {', '.join(ROLES)}, or leave it out")
    return role
