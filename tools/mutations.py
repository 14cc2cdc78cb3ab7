"""Breaks the code in one place at a time, and tells whether a test sees it.

    python tools/mutations.py [FILE ...]

Writes a table, of the named files alone where there are any. The exit status is 1 where a break stayed unseen.
It works on a copy; a break takes up to a minute.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".tox", ".venv*", "__pycache__", "site", "*.egg-info", ".*_cache", "build")


@dataclass(frozen=True)
class Mutation:
    """A break: what a line says, what it says instead, and which tests should turn red."""

    file: str
    line: str
    broken: str
    tests: str


MUTATIONS = (
    Mutation(
        "metrics/comparison.py", "between.high < limit else", "between.low < limit else", "metrics/test_statistics.py"
    ),
    Mutation("metrics/statistics.py", "value < approved - tolerance", "value < approved - 2 * tolerance", "metrics"),
    Mutation("metrics/retrieval.py", "if grade > 0}", "if grade >= 0}", "metrics/test_metrics.py data/test_data.py"),
    Mutation("checks/effective.py", "if difference == 0:", "if difference < 0:", "suites/test_faults.py -k really"),
    Mutation(
        "checks/effective.py",
        "not np.isfinite(run.embeddings.matrix).all()",
        "np.isnan(run.embeddings.matrix).all()",
        "suites/test_faults.py -k infinite",
    ),
    Mutation(
        "checks/budgets.py",
        'if confirmed.verdict != "fail":',
        'if confirmed.verdict == "pass":',
        "performance/test_budgets.py -k TestSpeed",
    ),
    Mutation(
        "checks/memory.py",
        "if kept > largest:",
        "if kept > 9 * largest:",
        "performance/test_budgets.py -k TestMemory",
    ),
    Mutation("performance/paired.py", '"fail" if low > aim.limit', '"fail" if high > aim.limit', "performance"),
    Mutation("approved/expected_failures.py", '== {"pass"}', '== {"fail"}', "approved/test_expected_failures.py"),
    Mutation("vectors/codes.py", "if right == 1:", "if right > 0.4:", "vectors/test_codes.py"),
    Mutation("vectors/faults.py", "shifts[shifts != 0]", "shifts", "vectors/test_vector_faults.py"),
    Mutation(
        "diagnosis/layers.py",
        "if share < 0.5:",
        "if share < 2:",
        "vectors/test_search.py -k encoder_that_tells_nothing",
    ),
    Mutation(
        "properties/invariance.py",
        "if moved.move <= limit:",
        "if moved.move <= 100 * limit:",
        "properties/test_invariance.py",
    ),
    Mutation("properties/contract.py", "off.max() > UNIT_NORM", "off.max() > 1", "properties -k scaled"),
    Mutation(
        "checks/receipt.py",
        'section["code_sha256"] != receipt.combined(here)',
        "False",
        "suites/test_receipt.py -k something_else",
    ),
    Mutation(
        "report/receipt.py",
        "report[SECTION].get(CHECKSUM) != checksum(report)",
        "False",
        "suites/test_receipt.py -k no_whole_receipt",
    ),
)


def outcome(mutation: Mutation, copy: Path) -> tuple[bool, str]:
    """Whether tests fail by a break, and pytest's last line."""
    file = copy / "src/embedgate" / mutation.file
    sound = file.read_text("utf-8")
    if sound.count(mutation.line) != 1:
        raise SystemExit(f"{mutation.file} holds {mutation.line!r} {sound.count(mutation.line)} times, not once")
    file.write_text(sound.replace(mutation.line, mutation.broken), "utf-8")
    paths, _, words = mutation.tests.partition(" -k ")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    command += [f"tests/{path}" for path in paths.split()] + (["-k", words] if words else [])
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    finally:
        file.write_text(sound, "utf-8")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return done.returncode == 1, (failed or done.stdout.splitlines()[-1:] or [done.stderr[-200:]])[0]


def main() -> int:
    unseen = 0
    print("| file | says | broken | seen by |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "embedgate"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        for mutation in MUTATIONS:
            if sys.argv[1:] and mutation.file not in sys.argv[1:]:
                continue
            seen, told = outcome(mutation, copy)
            unseen += not seen
            by = told.split(" - ")[0].removeprefix("FAILED ").removeprefix("tests/") if seen else f"**nothing**: {told}"
            print(f"| {mutation.file} | `{mutation.line}` | `{mutation.broken}` | {by} |", flush=True)
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
