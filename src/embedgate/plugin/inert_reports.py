"""What pytest shows of a failure or a warning, inert: an encoder can say anything."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from embedgate.core.inert import inert


def make_inert(report: pytest.TestReport) -> None:
    """Makes inert what a report says, whichever of pytest's forms that has."""
    told: Any = report.longrepr
    if isinstance(told, str):
        report.longrepr = inert(told)
    elif isinstance(told, tuple):  # a skip: where, and why
        report.longrepr = (*told[:-1], inert(str(told[-1])))
    elif hasattr(told, "chain"):
        for traceback, crash, _ in told.chain:
            _make_traceback_inert(traceback, crash)
    elif hasattr(told, "reprtraceback"):
        _make_traceback_inert(told.reprtraceback, getattr(told, "reprcrash", None))
    elif told is not None and inert(str(told)) != str(told):  # such as of a fixture that is not known
        report.longrepr = inert(str(told))
    if hasattr(report, "wasxfail"):
        report.wasxfail = inert(str(report.wasxfail))


def make_warning_inert(warning: warnings.WarningMessage) -> None:
    """Makes inert what a warning says."""
    text = str(warning.message)
    if inert(text) != text:
        warning.message = Warning(inert(text))


def _make_traceback_inert(traceback: Any, crash: Any) -> None:
    for entry in traceback.reprentries:
        entry.lines = [inert(line) for line in entry.lines]
        if (names := getattr(entry, "reprlocals", None)) is not None:
            names.lines = [inert(line) for line in names.lines]
        if (given := getattr(entry, "reprfuncargs", None)) is not None:
            given.args = [(name, inert(str(value))) for name, value in given.args]
        if (place := getattr(entry, "reprfileloc", None)) is not None:
            place.message = inert(place.message)
    if crash is not None:
        crash.message = inert(crash.message)
