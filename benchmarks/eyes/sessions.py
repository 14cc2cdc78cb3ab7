"""A session of embedgate's own suites with several cases, and what its report says of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from eyes.hook import CASES, SOUND, TOLD, WORK
from eyes.zoo import Case

HOOK = Path(__file__).parent
# Seconds for one case, and for the reference.
PATIENCE, START = 900, 1_200
# What no approval is needed for; no time, no memory and no index.
MARKS, NAMES = "cpu and not budget and not search", "not approved"
GOLDEN = "are_what_was_approved"
SHOWN = 220
# What nobody can see of a black box, whatever is wrong with it.
UNSEEN = ("contract tokens",)


@dataclass(frozen=True)
class Asked:
    """How a session is asked.

    Attributes:
        depth: `quick` or `standard`.
        work: The folder of what is kept.
        seed: The seed of generated texts.
        batch_size: Texts in a batch.
        threads: Threads of every backend.
        data: Datasets; all that are bundled without.
    """

    depth: str
    work: Path
    seed: int = 0
    batch_size: int = 32
    threads: int = 1
    data: tuple[str, ...] = ()

    def command(self, report: Path, names: str = NAMES) -> list[str]:
        """The command, without what is asked about.

        Args:
            report: The folder of the report.
            names: Which tests are asked, as `-k` has them.
        """
        options = [f"--gate-depth={self.depth}", f"--gate-seed={self.seed}", f"--gate-threads={self.threads}"]
        options += [
            f"--gate-batch-size={self.batch_size}",
            f"--gate-report={report}",
            *(f"--gate-data={name}" for name in self.data),
        ]
        pytest = [sys.executable, "-m", "pytest", "--pyargs", "embedgate.suites", "-v", "-p", "no:cacheprovider"]
        return [*pytest, "-m", MARKS, "-k", names, *options]


def ask(asked: Asked, model: Path, cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """What a session says of cases, by their names.

    Args:
        asked: How it is asked.
        model: The folder of the model.
        cases: The cases.
    """
    with tempfile.TemporaryDirectory(prefix="eyes-") as scratch:
        told = Path(scratch)
        more = {CASES: json.dumps([case.name for case in cases]), WORK: str(asked.work), TOLD: scratch}
        ids = [f"--gate-combination={case.combination}" for case in cases]
        started = time.monotonic()
        report = _report(asked, ["-p", "hook", f"--gate-model={model}", *ids], more, START + PATIENCE * len(cases))
        if isinstance(report, str):
            return _one_by_one(asked, model, cases, report)
        seconds = {"seconds": round((time.monotonic() - started) / len(cases), 1)}
        return {case.name: {**read(report, case.combination), **_harm(told, case), **seconds} for case in cases}


def ask_golden(asked: Asked, model: Path, cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """What golden texts say of cases where they were approved of the same without the fault.

    Args:
        asked: How it is asked.
        model: The folder of the model.
        cases: The cases.
    """
    with tempfile.TemporaryDirectory(prefix="eyes-") as scratch:
        more = {CASES: json.dumps([case.name for case in cases]), WORK: str(asked.work), TOLD: scratch}
        ids = [f"--gate-combination={case.combination}" for case in cases]
        options = ["-p", "hook", f"--gate-model={model}", *ids, f"--gate-baselines={scratch}/gate"]
        update = ["--gate-update", "--gate-update-in-ci", "--gate-reason=as it is without a fault"]
        patience = START + PATIENCE * len(cases)
        said = _report(asked, [*options, *update], {**more, SOUND: "1"}, patience, GOLDEN)
        report = said if isinstance(said, str) else _report(asked, options, more, patience, GOLDEN)
        if isinstance(report, str):
            return {case.name: {**_cell([], [], [], 0), "errors": [f"no report: {report}"]} for case in cases}
        return {case.name: read(report, case.combination) for case in cases}


def ask_sound(asked: Asked, combinations: Sequence[str], names: str = NAMES) -> dict[str, Any]:
    """What a session says of embedgate's own combinations, all of which are sound.

    Args:
        asked: How it is asked.
        combinations: Globs over their ids; all that run on the CPU without.
        names: Which tests are asked, as `-k` has them.
    """
    globs = [f"--gate-combination={each}" for each in combinations]
    report = _report(asked, globs, {}, START + 12 * PATIENCE, names)
    how = {"depth": asked.depth, "seed": asked.seed, "batch_size": asked.batch_size, "threads": asked.threads}
    how |= {"names": names} if names != NAMES else {}
    if isinstance(report, str):
        return {
            **how,
            "errors": [f"no report: {report}"],
            "red": [],
            "inconclusive": [],
            "combinations": 0,
            "judged": 0,
        }
    ran = [found["combination"] for found in report["combinations"] if found["judgements"] and not found["reference"]]
    cells = {name: read(report, name) for name in ran}

    def all_of(key: str) -> list[str]:
        return [f"{name}: {each}" for name, cell in cells.items() for each in cell[key]]

    judged = sum(cell["judged"] for cell in cells.values())
    found = {key: all_of(key) for key in ("red", "inconclusive", "errors")}
    return {**how, **found, "combinations": len(ran), "judged": judged, "date": date.today().isoformat()}


def _report(
    asked: Asked, options: Sequence[str], more: Mapping[str, str], patience: float, names: str = NAMES
) -> dict[str, Any] | str:
    """The report of a session; what was last said by one that has none."""
    with tempfile.TemporaryDirectory(prefix="eyes-") as out:
        said = _run([*asked.command(Path(out), names), *options], more, asked.work, patience)
        file = Path(out) / "report.json"
        return json.loads(file.read_text("utf-8")) if file.exists() else said  # type: ignore[no-any-return]


def _one_by_one(asked: Asked, model: Path, cases: Sequence[Case], said: str) -> dict[str, dict[str, Any]]:
    """Of a session that did not end, every case in one of its own."""
    if len(cases) > 1:
        return {name: cell for case in cases for name, cell in ask(asked, model, [case]).items()}
    return {cases[0].name: {**_cell([], [], [], 0), "errors": [f"no report: {said}"]}}


def _run(command: Sequence[str], more: Mapping[str, str], folder: Path, patience: float) -> str:
    surroundings = {**os.environ, **more, "PYTHONPATH": str(HOOK), "HF_HUB_OFFLINE": "1", "CI": "true"}
    log = folder / f"session-{os.getpid()}.log"  # to be looked at meanwhile
    with log.open("w", encoding="utf-8") as out:
        try:
            subprocess.run(
                command,
                env=surroundings,
                cwd=folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer in {patience} s"
    return log.read_text("utf-8", "replace")[-SHOWN:]


def _harm(told: Path, case: Case) -> dict[str, Any]:
    file = told / f"{case.combination}.json"
    return {"harm": json.loads(file.read_text("utf-8"))} if file.exists() else {}


def read(report: Mapping[str, Any], combination: str) -> dict[str, Any]:
    """What a report says of a combination: which checks are red, which inconclusive, and the causes."""
    for found in report["combinations"]:
        if found["combination"] == combination:
            judged = found["judgements"]
            return _cell(_named(judged, "fail"), _named(judged, "inconclusive"), _causes(judged), len(judged)) | {
                "errors": [error[:SHOWN] for error in found["errors"]]
            }
    return {**_cell([], [], [], 0), "errors": ["not in the report"]}


def _cell(red: list[str], unsure: list[str], causes: list[str], judged: int) -> dict[str, Any]:
    return {
        "red": red,
        "inconclusive": unsure,
        "causes": causes,
        "judged": judged,
        "errors": [],
        "date": date.today().isoformat(),
    }


def _named(judged: Sequence[Mapping[str, Any]], verdict: str) -> list[str]:
    return [name for each in judged if each["verdict"] == verdict and (name := _name(each)) not in UNSEEN]


def _name(judgement: Mapping[str, Any]) -> str:
    words = (judgement[key].partition(":")[0] for key in ("check", "dataset", "metric"))  # `texts:pairs+passages`
    return " ".join(dict.fromkeys(word for word in words if word))


def _causes(judged: Sequence[Mapping[str, Any]]) -> list[str]:
    """The causes of what is red, the most frequent first."""
    found = [each["diagnosis"] for each in judged if each["verdict"] == "fail" and each["diagnosis"]]
    said = Counter(f"{cause['layer']}: {cause['cause']}"[:SHOWN] for cause in found)
    return [cause for cause, _ in said.most_common(2)]
