"""What embedgate does under load, as tables in Markdown: many combinations, hours, many entries, races and kills.

    python benchmarks/load.py hundred             # 100 combinations of a conftest.py in one session
    python benchmarks/load.py nightly             # an hour of the depth nightly: is memory flat?
    python benchmarks/load.py entries             # 10^5 entries of a baseline, written and read
    python benchmarks/load.py race                # sessions that build one artefact at once, one of them killed
    python benchmarks/load.py million             # a million stored vectors, killed in the middle and gone on with

Times are of the processor (user and system, children included), so that other work on the machine matters little.
Memory is the proportional share of resident memory (PSS) of a command and its children together.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil
from large import GIGABYTE, MEGABYTE, STEP, Memory, combination_of, cut_model

MANY = '''
import os
from sentence_transformers import SentenceTransformer


class Rounded:
    """fp32 rounded to float16, as a host project's own encoder."""

    def __init__(self, path, device):
        self.model = SentenceTransformer(str(path), device=device)

    def encode(self, texts, batch_size=32):
        return self.model.encode(list(texts), batch_size=batch_size).astype("float16").astype("float32")


def pytest_gate_combinations(registry):
    for number in range(int(os.environ["MANY"])):
        registry.add(f"acme{number}-fp16-cpu", Rounded)
'''
# A baseline of as many entries as it is given.
STORE = """
import resource, sys
from pathlib import Path
from embedgate.approved.baseline import BaselineStore
from embedgate.approved.entries import Entry, Key, Provenance
from embedgate.approved.form import Identified
from embedgate.core.machine import profile

place, count = Path(sys.argv[1]), int(sys.argv[2])
store, model, hardware = BaselineStore(place), Identified("made-up", "made-up", "a" * 64), profile("cpu-x86_64")
"""
APPROVE = """
provenance = Provenance("a CPU", (), None, "Linux", "3.12", 2, 32, {}, "0")
keys = (Key(f"made{n // 100}-int8-cpu", f"data{n % 100}", "spearman", "b" * 64) for n in range(count))
made = (Entry(key, 0.5, 0.4, 0.6, 9) for key in keys)
store.update(hardware, model, made, reason="many", who="Ada", provenance=provenance)
"""
READ = "assert len(store.find(hardware, model).baseline.entries) == count\n"
TOLD = """
from embedgate.performance.footprint import peak
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, peak())
"""
BUILT, DIM_BYTES = "onnxruntime-int8-cpu", 384 * 4
# What each can be asked, and what it is asked otherwise.
ASKED: dict[str, dict[str, Any]] = {
    "hundred": {"count": 100, "data": "pairs", "depth": "quick"},
    "nightly": {"minutes": 60.0, "combination": "*"},
    "entries": {"entries": 100_000},
    "race": {"rounds": 20, "sessions": 2, "build": 4.0},
    "million": {"vectors": 1_000_000, "kills": 5},
}
SUITES, TESTS = "embedgate.suites", "-mcpu and not budget and not search"


@dataclass
class Held:
    """What a session holds.

    Attributes:
        combination: The one that it is at.
        minutes: Wall time since the session began.
        tests: How many have run.
        memory: Bytes.
    """

    combination: str
    minutes: float
    tests: int
    memory: int


def follow(
    command: Sequence[str], folder: Path, minutes: float | None = None, **variables: str
) -> tuple[list[Held], Memory]:
    """Runs the suites, ends them after a time; what is held after each test, which is told, and all the while."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    held: list[Held] = []
    ends = Counter[str]()
    environment = os.environ | variables
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        memory = Memory(process.pid)
        timer = threading.Timer((minutes or 1e6) * 60, process.send_signal, [signal.SIGTERM])
        timer.daemon = True
        timer.start()
        for line in process.stdout:
            if found := STEP.match(line):
                ends[found["end"].lower()] += 1
                passed = (time.perf_counter() - started) / 60
                held.append(Held(combination_of(found["case"] or ""), passed, ends.total(), memory.seen[-1][1]))
                print(
                    f"{held[-1].minutes:.1f} min, {held[-1].memory / MEGABYTE:,.0f} MB: {line.strip()}", file=sys.stderr
                )
        timer.cancel()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"exit code {process.returncode}; {ends.total()} tests ({', '.join(f'{n} {end}' for end, n in ends.items())}); "
        f"{time.perf_counter() - started:,.0f} s, {seconds:,.0f} s of the processor; "
        f"{max(found for _, found in memory.seen) / GIGABYTE:.2f} GB at most\n"
    )
    return held, memory


def table(held: Sequence[Held], every: int = 1) -> str:
    """What is held as combinations are done."""
    done = [
        one
        for one, then in zip(held, [*held[1:], None], strict=True)
        if not then or one.combination != then.combination
    ]
    shown = [each for number, each in enumerate(filter(lambda each: each.combination, done)) if number % every == 0]
    rows = ["| after | minutes | tests | held |", "| --- | --- | --- | --- |"]
    rows += [f"| {e.combination} | {e.minutes:.1f} | {e.tests} | {e.memory / MEGABYTE:,.0f} MB |" for e in shown]
    return "\n".join(rows)


def by_time(memory: Memory, every: float = 5.0) -> str:
    """The least and the most that is held as time passes."""
    rows = ["| minutes | least | most |", "| --- | --- | --- |"]
    spans = groupby(memory.seen[1:], lambda each: int(each[0] / every))
    for span, seen in spans:
        found = [held for _, held in seen]
        least, most = (f"{each / MEGABYTE:,.0f} MB" for each in (min(found), max(found)))
        rows.append(f"| {span * every:.0f} to {(span + 1) * every:.0f} | {least} | {most} |")
    return "\n".join(rows)


def suites(asked: argparse.Namespace, folder: Path, which: str, *options: str) -> list[str]:
    """The command of a session on the first layers of the bundled model."""
    command = [sys.executable, "-u", "-m", "pytest", "--pyargs", which, "-p", "no:cacheprovider", "-v"]
    model = folder / "model"
    return [*command, f"--gate-model={model if model.exists() else cut_model(model, asked.layers)}", *options]


def hundred(asked: argparse.Namespace, folder: Path) -> None:
    """Many combinations of a conftest.py in one session."""
    (folder / "conftest.py").write_text(MANY, encoding="utf-8")
    options = (f"--gate-data={asked.data}", f"--gate-depth={asked.depth}", f"--gate-report={folder / 'report'}")
    command = suites(asked, folder, SUITES, TESTS, "--gate-combination=acme*", *options)
    held, _ = follow(command, folder, MANY=str(asked.count))
    report = json.loads((folder / "report" / "report.json").read_text("utf-8"))
    size = sum(file.stat().st_size for file in (folder / "report").iterdir())
    print(table(held, every=10))
    print(f"\n{len(report['combinations'])} combinations reported, {size / MEGABYTE:.1f} MB of reports")


def nightly(asked: argparse.Namespace, folder: Path) -> None:
    """The depth nightly for a while."""
    options = ("--gate-depth=nightly", f"--gate-combination={asked.combination}", TESTS)
    held, memory = follow(suites(asked, folder, SUITES, *options), folder, asked.minutes)
    print(table(held), by_time(memory), sep="\n\n")


def entries(asked: argparse.Namespace, folder: Path) -> None:
    """A baseline of many entries, written and read in a process of its own each."""
    file = folder / "made" / "cpu-x86_64" / "made-up.json"
    print("| step | seconds of the processor | memory, peak |\n| --- | --- | --- |")
    for name, code in (("Python and imports", ""), ("approve", APPROVE), ("read", READ)):
        command = [sys.executable, "-c", f"{STORE}{code}{TOLD}", str(folder / "made"), str(asked.entries)]
        environment = {name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_ACTIONS")}
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
        seconds, peak = map(float, found.split())
        print(f"| {name} | {seconds:.1f} | {peak / MEGABYTE:,.0f} MB |")
    print(f"\n{asked.entries:,} entries, {file.stat().st_size / MEGABYTE:.1f} MB")


def race(asked: argparse.Namespace, folder: Path) -> None:
    """Sessions that build one artefact at once; in every second round, one is killed as it builds."""
    chance, told = random.Random(0), Counter[str]()
    for number in range(asked.rounds):
        cache = folder / f"cache{number}"
        options = (f"--gate-combination={BUILT}", "--gate-data=pairs", f"--gate-cache={cache}")
        command = suites(asked, folder, f"{SUITES}.test_effective", *options)
        running = [
            subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(asked.sessions)
        ]
        if number % 2:
            until(lambda cache=cache: any(cache.glob(".*.tmp")), running[0])
            time.sleep(chance.random() * asked.build)
            running[0].kill()
        for process in running:
            printed, _ = process.communicate()
            end = "killed" if process.returncode == -signal.SIGKILL else f"exit code {process.returncode}"
            told[end] += 1
            if process.returncode not in (0, -signal.SIGKILL) or "Traceback" in printed:
                print(printed)
        names = [path.name for path in cache.iterdir()]
        whole = sum((cache / name / "artefact.json").is_file() for name in names)
        told["artefacts"] += whole
        told["left of killed builds"] += sum(name.endswith(".tmp") for name in names)
        shutil.rmtree(cache)
    print(f"{asked.rounds} rounds of {asked.sessions} sessions: {', '.join(f'{n} {what}' for what, n in told.items())}")


def million(asked: argparse.Namespace, folder: Path) -> None:
    """A million stored vectors: once undisturbed, then killed at several places and gone on with."""
    options = ("-mcpu and not budget", "--gate-combination=torch-fp32-cpu", "--gate-engine=*-exact-*")
    command = suites(asked, folder, f"{SUITES}.test_search", *options, f"--gate-corpus-size={asked.vectors}")
    print("undisturbed: ", end="")
    follow([*command, f"--gate-report={folder / 'whole'}", f"--gate-cache={folder / 'one'}"], folder)
    command += [f"--gate-report={folder / 'resumed'}", f"--gate-cache={folder / 'two'}"]
    print("| killed when grown | that took | the next session goes on after |\n| --- | --- | --- |")
    for number in range(asked.kills):
        share = (number + 1) / asked.kills
        started = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            until(lambda share=share: grown(folder / "two") >= share * asked.vectors, process)
            for each in (*psutil.Process(process.pid).children(True), process):
                each.kill()
        had = grown(folder / "two")
        print(f"| {share:.0%} | {time.perf_counter() - started:,.0f} s | {had:,.0f} vectors |")
    print("\ngone on with: ", end="")
    follow(command, folder)
    values = [measured(folder / name / "report.json") for name in ("whole", "resumed")]
    same = sum(values[1].get(key) == value for key, value in values[0].items())
    print(f"{same} of {len(values[0])} values are those of the undisturbed session, {len(values[1])} are there")


def grown(cache: Path) -> int:
    """Bytes of a collection that are safely there, as vectors."""
    notes = list(cache.glob("corpora/*/corpus.json"))
    try:
        return max((json.loads(note.read_text("utf-8"))["bytes"] // DIM_BYTES for note in notes), default=0)
    except (OSError, ValueError):  # just being replaced
        return 0


def measured(report: Path) -> dict[str, float]:
    """The values of a report, by what they are of."""
    combinations = json.loads(report.read_text("utf-8"))["combinations"]
    rows = [row for combination in combinations for row in combination["judgements"]]
    return {"/".join((row["combination"], row["check"], row["dataset"], row["metric"])): row["value"] for row in rows}


def until(happens: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    """Waits for something that a process does."""
    while not happens():
        if process.poll() is not None:
            raise SystemExit(
                f"the session ended before, with exit code {process.returncode}; run it alone: {process.args}"
            )
        time.sleep(0.01)


def main() -> None:
    """Runs what is asked for in a folder of its own, with the first layers of the bundled model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=1, help="keep so many layers of the bundled model")
    given = parser.add_subparsers(required=True)
    for run in (hundred, nightly, entries, race, million):
        own = given.add_parser(run.__name__, help=run.__doc__)
        own.set_defaults(run=run)
        for name, value in ASKED[run.__name__].items():
            own.add_argument(f"--{name}", type=type(value), default=value)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        asked.run(asked, Path(name))


if __name__ == "__main__":
    main()
