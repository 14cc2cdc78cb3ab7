"""CODEOWNERS: who must review what decides whether a build passes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from embedgate.core.errors import GateError

# Where a host looks, in its order: the first that is there counts.
PLACES = {
    "github": (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"),
    "gitlab": ("CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS"),
    "none": ("CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS"),
}
# Where to make one.
NEW = {"github": ".github/CODEOWNERS", "gitlab": ".gitlab/CODEOWNERS", "none": "CODEOWNERS"}
HEAD = "# embedgate: what these say decides whether a build passes."
UNOWNED = "# Put in your team, and take away the marks of a comment."
NOBODY = "@your-team"
_OWNER = re.compile(r"@[\w.-]+(/[\w.-]+)*|[^@\s]+@[^@\s]+")


def place(folder: Path, host: str) -> str:
    """The file that a host reads in a repository; where it reads none, the one to make."""
    return next((each for each in PLACES[host] if (folder / each).is_file()), NEW[host])


def missing_lines(text: str, paths: Iterable[str], owners: Sequence[str]) -> list[str]:
    """What is to be added to a file of owners for those that it does not name; nothing where it names all.

    Args:
        text: What it holds.
        paths: Paths in the repository, folders with a slash at their end.
        owners: Who owns them; lines are comments where nobody does.
    """
    patterns = ["/" + path.replace(" ", "\\ ") for path in paths]
    missing = [each for each in patterns if not re.search(rf"^[# \t]*{re.escape(each)}\s", text, re.MULTILINE)]
    if not missing:
        return []
    mark, who = ("", " ".join(owners)) if owners else ("# ", NOBODY)
    return [HEAD, *([] if owners else [UNOWNED]), *(f"{mark}{each} {who}" for each in missing)]


def refuse_malformed(owners: Iterable[str]) -> None:
    """Refuses what a host would not take for an owner, and would leave the line without effect.

    Raises:
        GateError: If there is one.
    """
    for owner in owners:
        if not _OWNER.fullmatch(owner):
            raise GateError(f"--owner {owner!r} is no owner", "write @name, @organisation/team or an address")
