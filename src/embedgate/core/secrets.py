"""What messages, logs and reports leave out, since anybody may read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# What stands in a URL before the host, such as a user with a password; and what stands behind the path, such as a key.
_LOGIN = re.compile(r"(?<=://)[^/?#\s'\"]*@")
_QUERY = re.compile(r"(://[^?\s'\"]*\?)[^\s'\"#]*[^\s'\"#.,;:)]")
# What the name of an option, setting, header or variable has in it that holds a secret. One in `_env` names a variable.
_WORD = (
    r"(?:token|secret|passw|passphrase|passcode|pass(?![a-z])|pwd|creds?(?![a-z])|credential|cookie|webhook|jwt"
    r"|bearer|signature|session[-_]?id|login|auth(?!ors?(?![a-z]))|(?:api|access|private)[-_]?key|key(?![a-z])"
    r"|(?<![a-z])pat(?![a-z]))"
)
_NAME = rf"[-\w]*{_WORD}[-\w]*(?<![-_]env)"
# A value with its name: `--name=value`, `-oname=value`, `Name: value`, `{"name": "value"}`. A host's port is none, nor
# is what `::` joins in a test's id.
_GIVEN = re.compile(rf"((?<![-\w/]){_NAME}[\"']?\s*(?:=|(?<!:):(?!:)\s*)).+", re.DOTALL | re.I)
_BEARER = re.compile(r"(\bBearer\s+|\bBasic\s+(?=[\w+/=]+$)).+", re.DOTALL | re.I)
# An option with its value inside another one, as in `-o addopts=--name value`.
_INSIDE = re.compile(rf"((?<![-\w])--(?!no-){_NAME}\s+(?!-)).+", re.DOTALL | re.I)
# An option whose value is the next argument, unless that is an option as well.
_ASKS = re.compile(rf"--(?!no-){_NAME}", re.I)
_OPTION = re.compile(r"-\w|--[a-z][-\w]*(=.*)?", re.DOTALL)
# Options whose words are a person's, and may speak of a token.
_WORDS = re.compile(r"(?:--|-o|--override-ini=)?gate[-_](?:prompt|reason)(=.*)?", re.DOTALL)
HIDDEN = "***"


def without_secrets(text: str) -> str:
    """A text whose URLs have no login and no query: either may hold a secret."""
    return _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub("", text)) if "://" in text else text


def shown_arguments(arguments: Iterable[str]) -> Iterator[str]:
    """The arguments of a command as a person may read them: without values whose names say that they are secret."""
    before = ""
    for argument in arguments:
        if _ASKS.fullmatch(before) and not _OPTION.fullmatch(argument):
            yield HIDDEN
        elif _WORDS.fullmatch(argument) or ((option := _WORDS.fullmatch(before)) and not option[1]):
            yield without_secrets(argument)
        else:
            yield without_secrets(_hidden(argument))
        before = argument


def _hidden(argument: str) -> str:
    for secret in (_GIVEN, _INSIDE, _BEARER):
        argument = secret.sub(rf"\1{HIDDEN}", argument)
    return argument
