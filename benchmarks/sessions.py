"""How budgets judge sessions that lie apart in time and processes: false alarms, and slowdowns that are found.

    python benchmarks/sessions.py --take 10 [--combination torch-bf16-cpu ...] [--blocks 16] [--file sessions.jsonl]
    python benchmarks/sessions.py [--file sessions.jsonl]
    python benchmarks/sessions.py --simulate

With `--take`, adds that many sessions to the file, each once without and once beside a process that keeps a core busy.
A session is two fresh processes, as one that measures and one that confirms; each probes the machine, and times the
usual workloads of every combination. More sessions of another day can be added to the same file.

Then it resamples: draws sessions that approve, as `--gate-update` does, and one other that is judged, as the gate does
with its confirmation; as it is, and with all times of the combinations 10% longer.

With `--simulate`, it draws sessions from the model that budgets assume, with effects of several sizes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from budgets import ALPHA, FAMILY, SLACK, neighbour, rate

from embedgate.approved.baseline import Approved
from embedgate.approved.entries import Entry, Key, Provenance
from embedgate.approved.sessions import Spread
from embedgate.checks.budgets import TimeBudget, kept_interval
from embedgate.core.combination import Combination
from embedgate.core.settings import Settings
from embedgate.encoders.registry import Registry
from embedgate.performance.paired import LOOKS, Aim, Levels, hold, ratios
from embedgate.performance.probe import COMPARED, Probe, difference, measure
from embedgate.performance.timing import Timing
from embedgate.performance.workloads import USUAL, WORKLOADS
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Session

COMBINATIONS = ("onnxruntime-int8-cpu", "torch-bf16-cpu")
# As many as the main job times on most CPUs.
SIMULATED = tuple(f"simulated{number}-int8-cpu" for number in range(10))
APPROVE, TRIALS, SLOWER = (1, 2, 3, 5), 300, 1.10
# Standard deviations, as logarithms: of processes and blocks as `pytest --gate-noise` measured them, and of sessions.
PROCESS, BLOCK, EFFECTS = 0.003, 0.015, (0.005, 0.01, 0.015, 0.02, 0.03)
NOBODY = Provenance("", (), None, "", "", 1, 1, {}, "", "")
Name = tuple[str, str]


def timed_once(combinations: Sequence[str], blocks: int) -> dict[str, Any]:
    """What one process measures: the probe, and the rows of each combination's workloads."""
    session = Session(Plan.of(Settings(data=("pairs",)), Registry()))
    timing = Timing(session.pool)
    probe = measure(timing.threads)
    rows: dict[str, Any] = {}
    for id_ in combinations:
        for load in USUAL:
            turns = timing.blocks(Combination.parse(id_), WORKLOADS[load])
            turns.take(blocks)
            rows.setdefault(id_, {})[load] = turns.rows
    return {"probe": asdict(probe), "rows": rows}


def take(sessions: int, combinations: Sequence[str], blocks: int, file: Path) -> None:
    """Adds sessions to a file, with and without a neighbour."""
    command = [sys.executable, __file__, "--once", "--blocks", str(blocks)]
    command += [part for id_ in combinations for part in ("--combination", id_)]
    for number in range(1, sessions + 1):
        for load in ("none", "one core"):
            started = time.time()
            with neighbour(load != "none"):
                made = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True) for _ in range(2)]
            processes = [json.loads(done.stdout.splitlines()[-1]) for done in made]
            line = {"when": started, "load": load, "processes": processes}
            with file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, allow_nan=False) + "\n")
            print(f"session {number} of {sessions}, load {load}: {time.time() - started:.0f} s", flush=True)


@dataclass(frozen=True)
class Taken:
    """One session of the file.

    Attributes:
        load: `none` or `one core`.
        probe: The machine, by its first process.
        arms: By combination and workload, the ratios of each process, one per block.
    """

    load: str
    probe: Probe
    arms: dict[Name, list[Any]]

    @classmethod
    def of(cls, line: dict[str, Any]) -> Taken:
        """A line of the file."""
        arms: dict[Name, list[Any]] = defaultdict(list)
        for process in line["processes"]:
            for id_, loads in process["rows"].items():
                for load, rows in loads.items():
                    arms[id_, load].append(ratios(rows))
        return cls(line["load"], Probe(**line["processes"][0]["probe"]), dict(arms))


def approved(sessions: Sequence[Taken]) -> dict[Name, TimeBudget]:
    """The budgets that sessions approve, one after the other."""
    budgets: dict[Name, TimeBudget] = {}
    for name in sessions[0].arms:
        slack = SLACK[_slack(name[1])]
        budgets[name] = TimeBudget(f"time_{name[1]}", "{}", ratios, slack, ALPHA / FAMILY)
    for session in sessions:
        entries: dict[Name, Entry] = {}
        for name, arms in session.arms.items():
            entry = kept_interval(Key(name[0], "budget", name[1], ""), arms, ALPHA)
            entries[name] = budgets[name].with_session(entry)
        for name, entry in entries.items():
            alike = (own.sessions for (_, load), own in entries.items() if _slack(load) == _slack(name[1]))
            found = Approved(entry, "", False, NOBODY, Path())
            budgets[name] = replace(budgets[name], approved=found, spread=Spread.of(alike))
    return budgets


def _slack(load: str) -> str:
    return WORKLOADS[load].slack


def verdict(budget: TimeBudget, arms: Sequence[Any], slower: float) -> str:
    """The gate's verdict of a session's two processes: what the first finds red, the second confirms."""
    aim, found = Aim(budget.limit, Levels(ALPHA, FAMILY)), []
    for arm in arms:
        looks = [look for look in LOOKS if look < len(arm)]
        for look in (*looks, len(arm)):
            said = hold(slower * arm[:look], aim).verdict
            if said != "inconclusive":
                break
        found.append(said)
    return found[0] if found[0] != "fail" else "fail" if found[1] == "fail" else "inconclusive"


def trials(sessions: Sequence[Taken], count: int, approvers: Sequence[Taken], random: Random) -> Iterator[Any]:
    """Approves with some sessions and judges another: budgets, the other, and what its probe does otherwise."""
    for _ in range(TRIALS):
        chosen = random.sample(approvers, count)
        other = random.choice([each for each in sessions if not any(each is one for one in chosen)])
        yield approved(chosen), other, difference(other.probe, [each.probe for each in chosen])


def simulated(effect: float, random: np.random.Generator) -> list[Taken]:
    """Sessions as budgets assume them: an effect of each, one of each process, and blocks as they were measured."""
    probe = Probe(1, 100.0, 4.0, 1.0, 7.0, 110.0, 1.0)
    made = []
    for number in range(40):
        arms = {
            (id_, load): [
                0.4 * np.exp(session + random.normal(0, PROCESS) + random.normal(0, BLOCK, 32)) for _ in range(2)
            ]
            for id_ in SIMULATED
            for load in USUAL
            for session in (random.normal(0, effect),)
        }
        made.append(Taken(("none", "one core")[number % 2], probe, arms))
    return made


def resample(sessions: Sequence[Taken], title: str = "") -> None:
    """Prints the table of false alarms and of what is found."""
    quiet = [each for each in sessions if each.load == "none"]
    print(f"{title}\n" if title else "", end="")
    print("| approved by | judged | on another machine | false alarms | median slack, most | 10% slower: found | red |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for who, approvers in (("any", sessions),) if title else (("quiet", quiet), ("any", sessions)):
        for count in APPROVE:
            if len(approvers) <= count:
                continue
            random, found = Random(0), defaultdict(Counter)
            widths: list[float] = []
            for budgets, other, elsewhere in trials(sessions, count, approvers, random):
                counts = found[other.load]
                counts["trials"] += 1
                if elsewhere:
                    counts["elsewhere"] += 1
                    continue
                widths += [budget.limit / budget.approved.entry.value - 1 for budget in budgets.values()]
                sound = [verdict(budgets[name], arms, 1.0) for name, arms in other.arms.items()]
                counts["judged"] += 1
                counts["alarms"] += "fail" in sound
                for id_ in {name[0] for name in other.arms}:
                    slow = [verdict(budgets[name], arms, SLOWER) for name, arms in other.arms.items() if name[0] == id_]
                    counts["slowed"] += 1
                    counts["found"] += "fail" in slow
                    counts["workloads"] += len(slow)
                    counts["red"] += slow.count("fail")
            for load, counts in sorted(found.items()):
                if not counts["judged"]:
                    continue
                print(
                    f"| {count} {who} | {load} | {counts['elsewhere']}/{counts['trials']} "
                    f"| {rate(counts['alarms'], counts['judged'])} | {np.median(widths):.1%}, {max(widths):.1%} "
                    f"| {rate(counts['found'], counts['slowed'])} | {counts['red'] / counts['workloads']:.0%} |"
                )


def between(sessions: Sequence[Taken]) -> None:
    """Prints how far sessions lie apart: ratios by workload, and what the probe compares."""
    print("| what | " + " | ".join(f"load {load}" for load in ("none", "one core")) + " |")
    print("| --- | --- | --- |")
    for name in sessions[0].arms:
        told = []
        for load in ("none", "one core"):
            values = [
                float(np.exp(np.mean([np.log(np.median(arm)) for arm in each.arms[name]])))
                for each in sessions
                if each.load == load
            ]
            told.append(f"{np.median(values):.3f} ({np.std(np.log(values), ddof=1):.1%})")
        print(f"| {' '.join(name)} | {' | '.join(told)} |")
    for feature in COMPARED:
        told = []
        for load in ("none", "one core"):
            values = [getattr(each.probe, feature) or 0.0 for each in sessions if each.load == load]
            told.append(f"{min(values):.3g} to {max(values):.3g}")
        print(f"| probe: {feature} | {' | '.join(told)} |")


def main() -> None:
    """Takes sessions where asked, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--take", type=int, default=0, help="sessions to add for each load")
    parser.add_argument("--combination", action="append", help="combinations that are timed")
    parser.add_argument("--blocks", type=int, default=16, help="blocks of each workload and process")
    parser.add_argument("--file", type=Path, default=Path("sessions.jsonl"), help="where sessions are kept")
    parser.add_argument("--simulate", action="store_true", help="draw sessions from the model instead")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    combinations = asked.combination or COMBINATIONS
    if asked.once:
        print(json.dumps(timed_once(combinations, asked.blocks), allow_nan=False))
        return
    if asked.simulate:
        for effect in EFFECTS:
            resample(simulated(effect, np.random.default_rng(0)), f"sessions lie {effect:.1%} apart")
        return
    take(asked.take, combinations, asked.blocks, asked.file)
    sessions = [Taken.of(json.loads(line)) for line in asked.file.read_text("utf-8").splitlines()]
    print(f"{len(sessions)} sessions")
    between(sessions)
    resample(sessions)


if __name__ == "__main__":
    main()
