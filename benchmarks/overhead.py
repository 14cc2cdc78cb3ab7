"""What the gate costs beside encoding: wall time of the main job over the time its encoders were at work.

    python benchmarks/overhead.py                       # the main job, pytest's help and collection
    python benchmarks/overhead.py -- suites -m "cpu and quality" --gate-data pairs      # another job

A moment counts as encoding while any encoder of the session is in `encode`, whoever asks for it; fresh processes, in
which budgets are measured, are told apart. `pytest --help` and the collection of the suites are timed in turns with
plain pytest's, the latter on a module of as many tests.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from embedgate import encoders
from embedgate.runtime.subprocess import FreshProcesses, Worker

ROUNDS = 10
JOB = ("suites", "-m", "cpu", "-q", "-p", "no:cacheprovider")


class Stopwatch:
    """Seconds during which at least one call was under way."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._calls = 0
        self._since = 0.0
        self._lock = threading.Lock()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._calls += 1
                if self._calls == 1:
                    self._since = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                with self._lock:
                    self._calls -= 1
                    if not self._calls:
                        self.seconds += time.perf_counter() - self._since

        return timed


def main_job(arguments: list[str]) -> None:
    """Runs the main job and tells where its time went."""
    encoding, building, fresh = Stopwatch(), Stopwatch(), Stopwatch()
    build = encoders.build

    def build_timed(*args: Any) -> Any:
        encoder = build(*args)
        encoder.encode, encoder.encode_as = encoding(encoder.encode), encoding(encoder.encode_as)
        return encoder

    encoders.build = building(build_timed)
    FreshProcesses._open, Worker._answer = fresh(FreshProcesses._open), fresh(Worker._answer)
    started = time.perf_counter()
    pytest.main(arguments)
    wall = time.perf_counter() - started
    here = wall - fresh.seconds
    print(f"\nwall {wall:.1f} s: encoding {encoding.seconds:.1f}, building {building.seconds:.1f}, ", end="")
    print(f"fresh processes {fresh.seconds:.1f}, all else {here - encoding.seconds - building.seconds:.1f}")
    print(f"without fresh processes, wall over encoding: {here / encoding.seconds:.2f}")
    print(f"and without building (export and calibration included): {(here - building.seconds) / encoding.seconds:.2f}")


def start_up() -> None:
    """Times `--help` and collection beside plain pytest's, in turns."""
    plain = ["-p", "no:embedgate.plugin", "-p", "no:cacheprovider", "-c", "/dev/null"]
    python = [sys.executable, "-m", "pytest"]
    listed = subprocess.run([*python, "suites", "--collect-only", "-q"], capture_output=True, text=True, check=False)
    count = listed.stdout.count("::")
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "test_plain.py"
        module.write_text(f"import pytest\n@pytest.mark.parametrize('n', range({count}))\ndef test(n): pass\n", "utf-8")
        pairs = {
            "--help": ([*python, "--help"], [*python, "--help", *plain]),
            f"collection of {count} tests": (
                [*python, "suites", "--collect-only", "-q"],
                [*python, str(module), "--collect-only", "-q", *plain],
            ),
        }
        for name, commands in pairs.items():
            seconds: list[list[float]] = [[], []]
            for _ in range(ROUNDS):
                for place, command in enumerate(commands):
                    started = time.perf_counter()
                    subprocess.run(command, capture_output=True, check=False)
                    seconds[place].append(time.perf_counter() - started)
            mine, theirs = (median(values) for values in seconds)
            print(f"{name}: {mine:.2f} s, plain pytest {theirs:.2f} s, {mine - theirs:+.2f} s (medians of {ROUNDS})")


if __name__ == "__main__":
    start_up()
    main_job(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else list(JOB))
