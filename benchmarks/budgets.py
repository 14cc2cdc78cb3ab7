"""How well the budget of speed tells a slower combination from an unchanged one, beside pytest-benchmark's comparison.

    python benchmarks/budgets.py [--trials 100] [--workload batch_8_short] [--out budgets.json]

Approves a budget as `--gate-update` does, then judges trials against it: the combination with an injected slowdown of
0, 5, 10 and 20%, without other load and beside a process that keeps one core busy. Each session of 40 trials has
processes of its own, one that judges and one that confirms what is red. The same slowdowns, in the same place under the
same load, are judged by `pytest --benchmark-compare-fail` with 5% against a run saved beforehand, by `min`, `median`
and `mean`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.stats import beta

from embedgate.core.combination import Combination
from embedgate.core.settings import Settings
from embedgate.encoders import Encoder, FloatArray
from embedgate.encoders.registry import Registry
from embedgate.performance.paired import Aim, Blocks, Levels, compare, judge, lower_end, ratios, upper_end
from embedgate.performance.timing import Timing
from embedgate.performance.workloads import WORKLOADS
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Session

COMBINATION = "onnxruntime-int8-cpu"
SLOWDOWNS = (0.0, 0.05, 0.10, 0.20)
TRIALS_PER_SESSION = 10
ALPHA, FAMILY = 0.05, 44
SLACK = {"time": 0.04, "latency": 0.05}
FIELDS = ("min", "median", "mean")
NEIGHBOUR = "import numpy as np\na = np.ones((400, 400), 'f4')\nwhile True: a @ a"
# What pytest-benchmark runs: the combination's own turns, slowed in the same way.
MODULE = """
import sys
sys.path.insert(0, {folder!r})
import pytest
from budgets import SLOWDOWNS, TRIALS_PER_SESSION, arms

TURNS, SLOWED = arms({workload!r})

@pytest.mark.parametrize("trial", range(TRIALS_PER_SESSION))
@pytest.mark.parametrize("slowdown", SLOWDOWNS)
def test_turn(benchmark, slowdown, trial):
    SLOWED.share = 0.0 if {saving} else slowdown
    benchmark(TURNS.candidate)
"""


def arms(workload: str) -> tuple[Blocks, Slowed]:
    """Turns of the reference and of the combination, warm, and what slows the latter."""
    session, combination = Session(Plan.of(Settings(data=("pairs",)), Registry())), Combination.parse(COMBINATION)
    timing = Timing(session.pool)
    blocks = timing.blocks(combination, WORKLOADS[workload])
    return blocks, Slowed(session.pool.timed("candidate", combination, timing.threads))


class Slowed:
    """Makes an encoder's calls longer by a share of what each takes.

    Attributes:
        share: The share, to be set from trial to trial.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.share = 0.0
        self._encode = encoder.encode
        encoder.encode = self

    def __call__(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Encodes, and waits."""
        started = time.perf_counter()
        embeddings = self._encode(texts, batch_size)
        end = started + (time.perf_counter() - started) * (1 + self.share)
        while time.perf_counter() < end:
            pass
        return embeddings


def serve(workload: str) -> None:
    """Times as asked, line by line, until its input ends."""
    turns, slowed = arms(workload)
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        slowed.share = asked["slowdown"]
        blocks = Blocks(turns.reference, turns.candidate)
        started = time.perf_counter()
        compare(blocks, Aim(asked["limit"], Levels(ALPHA, FAMILY)))
        print(json.dumps({"rows": blocks.rows, "seconds": time.perf_counter() - started}, allow_nan=False), flush=True)


class Worker:
    """A process that times."""

    def __init__(self, workload: str) -> None:
        command = [sys.executable, __file__, "--serve", "--workload", workload]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started = time.perf_counter()
        self.read()
        self.seconds_to_start = time.perf_counter() - started

    def read(self) -> str:
        """The next line it writes."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended early")
        return line

    def ask(self, slowdown: float, limit: float | None) -> dict[str, Any]:
        """Has a trial timed."""
        self.process.stdin.write(json.dumps({"slowdown": slowdown, "limit": limit}, allow_nan=False) + "\n")
        self.process.stdin.flush()
        return json.loads(self.read())

    def close(self) -> None:
        """Ends it."""
        self.process.stdin.close()
        self.process.wait()


def approve(workload: str) -> float:
    """The upper end of what is approved, as `--gate-update` finds it in two processes."""
    ends = []
    for _ in range(2):
        worker = Worker(workload)
        values = ratios(worker.ask(0.0, None)["rows"])
        ends.append((lower_end(values, ALPHA), float(np.median(values)), upper_end(values, ALPHA)))
        worker.close()
    print("approved:", ", ".join(f"{low:.4f} < {median:.4f} < {high:.4f}" for low, median, high in ends), flush=True)
    return max(high for _, _, high in ends)


def session_of_gate(workload: str, limit: float, random: Random) -> Iterator[dict[str, Any]]:
    """Trials of every slowdown in random order, each judged as `suites/test_budgets.py` does."""
    aim = Aim(limit, Levels(ALPHA, FAMILY))
    first, second = Worker(workload), Worker(workload)
    trials = [slowdown for slowdown in SLOWDOWNS for _ in range(TRIALS_PER_SESSION)]
    random.shuffle(trials)
    for slowdown in trials:
        answer = first.ask(slowdown, limit)
        found, seconds = judge(answer["rows"], aim), answer["seconds"]
        verdict = found.verdict
        if verdict == "fail":
            again = second.ask(slowdown, limit)
            seconds += again["seconds"] + second.seconds_to_start
            verdict = "fail" if judge(again["rows"], aim).verdict == "fail" else "inconclusive"
        yield {
            "slowdown": slowdown,
            "verdict": verdict,
            "blocks": found.blocks,
            "ratio": found.median,
            "seconds": seconds,
        }
    first.close()
    second.close()


def session_of_benchmark(folder: Path, workload: str, saving: bool) -> list[tuple[float, str]]:
    """The slowdowns whose trials pytest-benchmark calls regressed, with the field it calls them so by."""
    module = folder / "test_turns.py"
    module.write_text(MODULE.format(folder=str(Path(__file__).parent), workload=workload, saving=saving), "utf-8")
    fails = ["--benchmark-compare-fail", *(f"{field}:5%" for field in FIELDS)]
    options = ["--benchmark-autosave"] if saving else [*fails, "--benchmark-compare"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:embedgate.plugin", str(module)]
    command += ["--benchmark-max-time=0.3", "--benchmark-min-rounds=8", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if "40 passed" not in said and saving:
        raise SystemExit(said)
    found = re.findall(r"test_turn\[([\d.]+)-\d+\].*?[Ff]ield '(\w+)'", said)
    return [(float(slowdown), field) for slowdown, field in found]


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """Another process that keeps one core busy."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR], env=environment) if busy else None
    try:
        yield
    finally:
        if process:
            process.kill()
            process.wait()


def rate(count: int, n: int) -> str:
    """A share with its exact 95% interval (Clopper & Pearson, 1934)."""
    low = beta.ppf(0.025, count, n - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, n - count) if count < n else 1.0
    return f"{count}/{n} ({low:.0%} to {high:.0%})"


def main() -> None:
    """Runs all trials and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100, help="trials of each slowdown and load")
    parser.add_argument("--workload", default="batch_8_short", choices=WORKLOADS)
    parser.add_argument("--out", type=Path, help="write every trial into this JSON file")
    parser.add_argument("--no-benchmark", action="store_true", help="leave pytest-benchmark's comparison out")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.workload)
        return
    random = Random(0)
    trials: dict[str, list[dict[str, Any]]] = {"none": [], "one core": []}
    regressed: dict[str, Counter[tuple[float, str]]] = {name: Counter() for name in trials}
    sessions = -(-asked.trials // TRIALS_PER_SESSION)
    with tempfile.TemporaryDirectory() as folder:
        limit = approve(asked.workload) * (1 + SLACK[WORKLOADS[asked.workload].slack])
        if not asked.no_benchmark:
            session_of_benchmark(Path(folder), asked.workload, saving=True)
        for number in range(sessions):
            for load, found in trials.items():
                with neighbour(load != "none"):
                    found.extend(session_of_gate(asked.workload, limit, random))
                    if not asked.no_benchmark:
                        regressed[load].update(session_of_benchmark(Path(folder), asked.workload, saving=False))
                red = Counter(trial["slowdown"] for trial in found if trial["verdict"] == "fail")
                print(f"session {number + 1} of {sessions}, load {load}: red {dict(red)}", flush=True)
                if asked.out:
                    told = {name: [[*key, n] for key, n in counts.items()] for name, counts in regressed.items()}
                    record = {"limit": limit, "trials": trials, "benchmark": told}
                    asked.out.write_text(json.dumps(record, allow_nan=False), "utf-8")
    print(
        "| load | slowdown | red | inconclusive | median s | longest s | "
        + " | ".join(f"by {f}" for f in FIELDS)
        + " |"
    )
    print("| --- " * (6 + len(FIELDS)) + "|")
    for load, found in trials.items():
        for slowdown in SLOWDOWNS:
            mine = [trial for trial in found if trial["slowdown"] == slowdown]
            verdicts = Counter(trial["verdict"] for trial in mine)
            seconds = [trial["seconds"] for trial in mine]
            theirs = (
                [rate(regressed[load][slowdown, field], len(mine)) for field in FIELDS]
                if not asked.no_benchmark
                else []
            )
            row = [load, f"{slowdown:.0%}", rate(verdicts["fail"], len(mine)), str(verdicts["inconclusive"])]
            print("| " + " | ".join([*row, f"{np.median(seconds):.1f}", f"{max(seconds):.1f}", *theirs]) + " |")


if __name__ == "__main__":
    main()
