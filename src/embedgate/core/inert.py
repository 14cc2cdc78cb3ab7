"""Text from data, models, servers and other people, made inert: no terminal acts on it, whoever shows it.

A `GateError` is inert as it arises, since whoever calls from Python may show it. All else is made so where it leaves
for a terminal or a log: what pytest says of a failure, what a subcommand prints, lines of progress. Reports do it by
`embedgate.core.judgement.printable`. A place that is given errors and other texts makes all of them so: what is inert
stays as it is.
"""

from __future__ import annotations

import re

# What GitHub and Azure, of a job's log, take for commands: `::error file=x::y`, `##[group]x`, `##vso[x]y`.
_COMMAND = re.compile(r"(?<!\S):(?=:[A-Za-z-]+(?:\s.*)?::)|#(?=#(?:vso)?\[)")


def inert(text: str) -> str:
    """A text in which a terminal finds nothing to act on but the ends of lines.

    Escaped are control characters, of which ANSI's sequences begin with one; what turns the direction of writing; odd
    spaces; unpaired surrogates; and what begins a command in the log of a CI job. Tabs are spaces.
    """
    return "\n".join(map(one_line_inert, text.expandtabs(4).replace("\r\n", "\n").split("\n")))


def one_line_inert(text: str) -> str:
    """A text as `inert` makes it, ends of lines escaped as well."""
    return _COMMAND.sub(lambda found: f"\\x{ord(found[0]):02x}", "".join(map(escaped, text)))


def escaped(character: str) -> str:
    """A character, as Python's source would write it where it cannot be printed."""
    return character if character.isprintable() else character.encode("unicode_escape").decode()
