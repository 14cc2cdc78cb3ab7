"""What messages, logs and reports leave out, since anybody may read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# What stands in a URL before the host, such as a user with a password; and what stands behind the path, such as a key.
_LOGIN = re.compile(r"(?<=://)[^/?#\s'\"]*@")
_QUERY = re.compile(r"(://[^?\s'\"]*\?)[^\s'\"#]*[^\s'\"#.,;:)]")
# Options of pytest's plugins that take a secret, by their names.
_OPTION = re.compile(
    r"(?P<name>-[-\w]*(token|secret|passw|api-?key|credential)[-\w]*)(?P<value>=.*)?", re.DOTALL | re.I
)
HIDDEN = "***"


def without_secrets(text: str) -> str:
    """A text whose URLs have no login and no query: either may hold a secret."""
    return _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub("", text)) if "://" in text else text


def shown_arguments(arguments: Iterable[str]) -> Iterator[str]:
    """The arguments of a command as a person may read them: without the values of options that take secrets."""
    hides_next = False
    for argument in arguments:
        secret = _OPTION.fullmatch(argument)
        if hides_next and not argument.startswith("-"):
            yield HIDDEN
        elif secret and secret["value"]:
            yield f"{secret['name']}={HIDDEN}"
        else:
            yield without_secrets(argument)
        hides_next = secret is not None and not secret["value"]
