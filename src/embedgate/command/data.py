"""`embedgate data check`: says how datasets were understood and what they can show, in seconds and without a model."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedgate.approved.tolerances import Tolerances
from embedgate.command import surveyed
from embedgate.command.ini import IniFile
from embedgate.command.telling import say
from embedgate.core.combination import Combination
from embedgate.core.errors import DataError, GateError
from embedgate.core.files import to_json
from embedgate.core.judgement import printable
from embedgate.core.plain import to_plain
from embedgate.core.settings import TOLERANCES, bundled_baselines
from embedgate.data.listed import SUFFIX, Named, Single, named
from embedgate.data.survey import survey
from embedgate.metrics import METRICS, metrics_of
from embedgate.metrics.foreseen import items_to_bound, items_to_show, smallest_loss

# As pytest ends where a test fails: something is refused.
REFUSED = 1
INI, BASELINES = "gate_data", "gate_baselines"
# What a list of datasets is called in what is told, and in the docs.
LIST = "gate-data.toml"


@dataclass(frozen=True)
class Refused:
    """What cannot be read.

    Attributes:
        named: What a person calls it.
        cause: Why, with file and line.
        action: What to do.
    """

    named: str
    cause: str
    action: str


def declare(parser: argparse.ArgumentParser) -> None:
    """Adds what can be given."""
    chosen = parser.add_subparsers(dest="what", required=True, metavar="check")
    about = "tell how datasets were understood, what they can show, and what is wrong with them"
    check = chosen.add_parser("check", help=about, description=f"{about.capitalize()}.")
    check.add_argument(
        "data",
        nargs="*",
        metavar="NAME|PATH",
        help=f"what --gate-data takes: a file, a folder, a list of them ({SUFFIX}), or a bundled name "
        f"(default: what {INI} in the ini file names)",
    )
    check.add_argument("--json", action="store_true", help="print JSON")
    check.add_argument(
        "--thorough", action="store_true", help="look for nearly equal texts in the largest data, too: it takes minutes"
    )


def run(options: argparse.Namespace) -> int:
    """Reads and tells each dataset, whatever is wrong with another; the exit status.

    Raises:
        GateError: If nothing is named.
    """
    ini = IniFile.of(Path.cwd())
    given = options.data or _in_ini(ini)
    if not given:
        step = f"name it, or write {INI} = ... in {ini.path.name}; call it in the folder of that file"
        raise GateError("no data is named", step)
    losses = _Losses.of(ini)
    told: list[surveyed.Told] = []
    refused: list[Refused] = []
    each = [*_named(given, refused)]
    for dataset in each:
        try:
            told.append(_told(dataset, losses, thorough=options.thorough))
        except DataError as error:
            refused.append(Refused(dataset.told, error.cause, error.action))
    refused += _named_twice(told)
    if options.json:
        print(_inert_json(to_json(_plain(told, refused), indent=2, ensure_ascii=False)))
    else:
        _print(told, refused)
        if options.data and not refused:
            for line in _to_write(each, told, ini.path.name):
                say(line)
    return REFUSED if refused else 0


def _plain(told: Sequence[surveyed.Told], refused: Sequence[Refused]) -> dict[str, Any]:
    """All of it as JSON values."""
    datasets = [to_plain(each) | {"too_small": [*each.too_small]} for each in told]
    return {"datasets": datasets, "refused": to_plain(refused)}


def _inert_json(text: str) -> str:
    """JSON that says the same, and on which neither a terminal nor the log of a CI job acts."""
    shown = "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
    return shown.replace("##", "#\\u0023")


def _in_ini(ini: IniFile) -> list[str]:
    """What the ini file names, as pytest reads it."""
    value = ini.options.get(INI, ())
    return shlex.split(value) if isinstance(value, str) else list(map(str, value))


def _named(given: Sequence[str], refused: list[Refused]) -> Iterator[Named]:
    """The datasets that were named; lists that cannot be read are refused, and the others go on."""
    for text in given:
        try:
            yield from named(text)
        except DataError as error:
            refused.append(Refused(text, error.cause, error.action))


def _named_twice(told: Sequence[surveyed.Told]) -> Iterator[Refused]:
    names = [each.survey.name for each in told]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        places = ", ".join(each.survey.source for each in told if each.survey.name == name)
        yield Refused(name, f"two datasets are named {name!r}: {places}", "give one another name: PATH::name=NAME")


@dataclass(frozen=True)
class _Losses:
    """What is tolerated of int8, which loses more than half types do."""

    tolerances: Tolerances
    combination: Combination

    @classmethod
    def of(cls, ini: IniFile) -> _Losses:
        """Those of the project's folder of baselines, where its ini file names one; else embedgate's own.

        Raises:
            GateError: If they are malformed.
        """
        bundled = bundled_baselines() / TOLERANCES
        folder = ini.options.get(BASELINES)
        own = ini.path.parent / str(folder) / TOLERANCES if folder else bundled
        found = Tolerances.load(own, over=bundled) if own.is_file() and own != bundled else Tolerances.load(bundled)
        return cls(found, Combination("onnxruntime", "int8", "cpu"))

    def of_metric(self, metric: str, items: int) -> surveyed.Shown | None:
        """What so many items can show by a metric; None where nothing is known of it."""
        alpha = self.tolerances.alpha
        loss = smallest_loss(metric, items, alpha)
        if loss is None:
            return None
        tolerated = self.tolerances.retention(self.combination, metric)
        return surveyed.Shown(loss, tolerated, items_to_show(metric, tolerated, alpha))


def _told(dataset: Named, losses: _Losses, *, thorough: bool) -> surveyed.Told:
    """What is told of a dataset.

    Raises:
        DataError: If it cannot be read.
    """
    found = survey(dataset.load(), thorough=thorough)
    shown = {metric: losses.of_metric(metric, found.independent) for metric in metrics_of(found.kind)}
    # Labelled texts are compared with the reference's together with those of all other datasets.
    bounded = _bounded(losses.tolerances.alpha) if found.kind == "texts" else {}
    return surveyed.Told(found, {metric: each for metric, each in shown.items() if each is not None}, bounded)


def _bounded(alpha: float) -> dict[str, int]:
    """By metric of agreement that is a quantile of the texts, how many of these bound it; the least bounds itself."""
    quantiles = {metric: METRICS[metric].quantile for metric in metrics_of("agreement")}
    return {metric: items_to_bound(quantile, alpha) for metric, quantile in quantiles.items() if quantile}


def _print(told: Sequence[surveyed.Told], refused: Sequence[Refused]) -> None:
    width, colour = shutil.get_terminal_size().columns, sys.stdout.isatty()
    print(surveyed.render(told, width=width, colour=colour), end="")
    for each in refused:
        say(printable(f"refused: {each.cause}"))
        if each.action:
            say(f"  {printable(each.action)}")
    say(f"{len(told)} understood, {len(refused)} refused")


def _to_write(given: Sequence[Named], told: Sequence[surveyed.Told], ini: str) -> Iterator[str]:
    """How to write down what was given by itself, so that pytest alone judges on it."""
    both = [(one, each.survey.name) for one, each in zip(given, told, strict=True) if isinstance(one, Single)]
    lines = [line for one, name in both for line in one.entry(name)]
    if lines:
        yield f"to have pytest alone judge on this, write into {LIST}, and {INI} = {LIST} into {ini}:"
        yield ""
        yield from lines
