"""The time to a verdict at each depth, and where it goes: whole commands, as a build runs them.

    python benchmarks/depths.py [--rounds 5] [--depth quick ...] [--candidate ID ...] [--file times.jsonl]

`quick` judges one candidate beside the reference, any other depth every combination of this CPU. Each run is a process
of its own, imports included, and the depths take turns. Have it run once before, so that artefacts are in the cache.
Runs are added to the file, so that a table can be made of several occasions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from embedgate.core.depth import DEPTHS, STANDARD

CANDIDATES = ("onnxruntime-int8-cpu", "torch-bf16-cpu")
REFERENCE = "torch-fp32-cpu"


def commands(depths: list[str], candidates: list[str]) -> list[tuple[str, str, list[str]]]:
    """Depth, what is judged, and the options that ask for it."""
    found = []
    for depth in depths:
        if depth == "quick":
            for id_ in candidates:
                chosen = [f"--gate-combination={each}" for each in (REFERENCE, id_)]
                found.append((depth, id_, ["--gate-depth=quick", *chosen]))
        else:
            found.append((depth, "every combination", [f"--gate-depth={depth}"]))
    return found


def timed(depth: str, judged: str, options: list[str]) -> dict[str, Any]:
    """Runs the suites once.

    Raises:
        SystemExit: If nothing was judged.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "suites", "-m", "cpu", "-q", "-p", "no:cacheprovider", *options]
        started = time.perf_counter()
        done = subprocess.run([*command, f"--gate-report={folder}"], stdout=subprocess.PIPE, text=True, check=False)
        wall = time.perf_counter() - started
        file = Path(folder, "report.json")
        if not file.exists():
            sys.exit(f"{' '.join(command)} wrote no report:\n{done.stdout[-2000:]}")
        report = json.loads(file.read_text("utf-8"))
    return {
        "depth": depth,
        "judged": judged,
        "wall": wall,
        "seconds": report["seconds"],
        "checks": report["checks"],
        "combinations": sum(bool(row["run"]) for row in report["combinations"]),
        "exit": done.returncode,
        "profile": report["profile"],
        "cpu": report["machine"]["cpu"],
    }


def table(runs: list[dict[str, Any]]) -> str:
    """Medians, in Markdown."""
    groups = defaultdict(list)
    for run in runs:
        groups[run["depth"], run["judged"]].append(run)
    lines = [
        "| depth | judged | checks | runs | wall, median | least to most | build | encode | all else, with imports |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (depth, judged), group in groups.items():
        walls = sorted(run["wall"] for run in group)
        build, encode = (median(run["seconds"][part] for run in group) for part in ("build", "encode"))
        rest = median(run["wall"] - run["seconds"]["build"] - run["seconds"]["encode"] for run in group)
        checks = group[-1]["checks"]
        what = judged if depth == "quick" else f"{group[-1]['combinations']} combinations"
        lines.append(
            f"| `{depth}` | {what} | {checks['asked']} of {checks['whole']} | {len(group)} | {median(walls):.0f} s "
            f"| {walls[0]:.0f} to {walls[-1]:.0f} s | {build:.0f} s | {encode:.0f} s | {rest:.0f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    """Times each depth in turns, and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--depth", action="append", choices=DEPTHS)
    parser.add_argument("--candidate", action="append")
    parser.add_argument("--file", type=Path, default=Path("depths.jsonl"))
    asked = parser.parse_args()
    runs = commands(asked.depth or ["quick", STANDARD], asked.candidate or [*CANDIDATES])
    for number in range(1, asked.rounds + 1):
        for depth, judged, options in runs:
            found = timed(depth, judged, options)
            print(f"round {number}: {depth}, {judged}: {found['wall']:.0f} s, exit {found['exit']}", flush=True)
            with asked.file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(found, allow_nan=False) + "\n")
    print(table([json.loads(line) for line in asked.file.read_text("utf-8").splitlines()]))


if __name__ == "__main__":
    main()
