"""Collects what a person can be told: every finding, cause and error that embedgate makes while its tests run."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedgate.core.errors import GateError
from embedgate.core.judgement import Judgement

VARYING = (
    (re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""), "'…'"),
    (re.compile(r"(?<!\w)[~.]?/[\w./*-]+"), "PATH"),
    (re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"), "N"),
)


def template(message: str) -> str:
    """A message without what varies from run to run: quoted texts, paths and numbers."""
    for pattern, place in VARYING:
        message = pattern.sub(place, message)
    return message


class Messages:
    """Messages by kind: of those that differ in numbers and texts alone, the shortest."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def keep(self, kind: str, message: str) -> None:
        key = (kind, template(message))
        if message and (key not in self.kept or len(message) < len(self.kept[key])):
            self.kept[key] = message

    def listen(self) -> None:
        """From now on, to what embedgate itself says; what tests make up is left out."""
        self._at_each(Judgement, self._judged)
        self._at_each(GateError, self._raised)

    def write(self, file: Path) -> None:
        found = [{"kind": kind, "message": message} for (kind, _), message in sorted(self.kept.items())]
        file.write_text("".join(json.dumps(each) + "\n" for each in found), "utf-8")

    @staticmethod
    def _at_each(kind: type, tell: Callable[[Any], None]) -> None:
        init = kind.__init__

        @functools.wraps(init)
        def told(self: Any, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            if _maker().startswith("embedgate."):
                tell(self)

        kind.__init__ = told  # type: ignore[method-assign]

    def _judged(self, judgement: Judgement) -> None:
        self.keep(f"{judgement.verdict} {judgement.check}", judgement.message)
        if judgement.diagnosis:
            self.keep(f"cause {judgement.diagnosis.layer}", judgement.diagnosis.cause)
            self.keep("next step", judgement.diagnosis.next_step)
        for detail in judgement.details:
            self.keep(f"detail {judgement.check}", detail)

    def _raised(self, error: GateError) -> None:
        self.keep(type(error).__name__, f"{error.cause}; {error.action}" if error.action else error.cause)


def _maker() -> str:
    """The module that makes an object, whoever does it on its behalf: a subclass's `__init__`, `dataclasses.replace`."""
    frame = sys._getframe(2)
    while frame.f_code.co_name == "__init__" or frame.f_globals["__name__"] in ("dataclasses", __name__):
        frame = frame.f_back
    return str(frame.f_globals["__name__"])
