"""What a large session takes: wall time and memory, by step and by combination, as tables in Markdown.

    python benchmarks/large.py                                          # hours: 100,000 passages, twelve combinations
    python benchmarks/large.py --layers 1 --combination 'onnxruntime-*'   # the same data through fewer layers
    python benchmarks/large.py --passages 5000 --queries 500 --pairs 1000 --labelled 2500    # minutes

The data are made up, so that nothing need be downloaded: short texts, whose judgements follow the words they share.
With `--layers` the bundled model keeps its first layers alone: memory beside the model, and time beside encoding, stay
what they are. Memory is the proportional share of resident memory (PSS) of the command and its children together.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

LABELS = 100
# Consonants and vowels that made-up words are built of: thousands of them, none of which is a word of any text.
ONSETS, NUCLEI = "b d f g k l m n p r s t v br cl dr fl gr pl st tr".split(), "a e i o u ai ea oo".split()
TEMPLATES = (
    "The {0} near the {1} was seen with a {2} and two of the {3}.",
    "In {0}, every {1} needs a {2} before the {3} comes.",
    "A {0} that holds {1} is worth more than a {2} of {3}.",
    "Nobody at the {0} remembers why {1} and {2} went to the {3}.",
)
# A line of -v.
STEP = re.compile(r"^(?P<test>\S+?::\S+?)(\[(?P<case>[^\]]*)\])? (?P<end>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)")
MEGABYTE, GIGABYTE = 2**20, 2**30


def words(count: int, chance: random.Random) -> list[str]:
    """Different made-up words."""
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(chance.choice(ONSETS) + chance.choice(NUCLEI) for _ in range(chance.choice((2, 3))))] = None
    return list(found)


def sentence(chosen: Sequence[str], chance: random.Random) -> str:
    """A sentence that holds four words."""
    return chance.choice(TEMPLATES).format(*chosen)


def make_data(folder: Path, sizes: argparse.Namespace) -> list[str]:
    """Writes the three datasets; gives their places."""
    chance = random.Random(0)
    known = words(4000, chance)
    passages = folder / "passages"
    (passages / "qrels").mkdir(parents=True)
    bodies = [chance.sample(known, 4) for _ in range(sizes.passages)]
    _lines(
        passages / "corpus.jsonl",
        ({"_id": f"d{n}", "text": sentence(body, chance)} for n, body in enumerate(bodies)),
    )
    asked = chance.sample(range(sizes.passages), sizes.queries)
    _lines(
        passages / "queries.jsonl",
        ({"_id": f"q{n}", "text": f"what about {' '.join(bodies[n][:3])}?"} for n in asked),
    )
    _rows(passages / "qrels" / "test.tsv", (f"q{n}\td{n}\t1" for n in asked))
    _lines(folder / "pairs.jsonl", _pairs(known, sizes.pairs, chance))
    subjects = [chance.sample(known, 40) for _ in range(LABELS)]
    labelled = (chance.randrange(LABELS) for _ in range(sizes.labelled))
    _lines(
        folder / "labelled.jsonl",
        ({"text": sentence(chance.sample(subjects[n], 4), chance), "label": f"subject {n}"} for n in labelled),
    )
    return [str(passages), str(folder / "pairs.jsonl"), str(folder / "labelled.jsonl")]


def _pairs(known: Sequence[str], count: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(count):
        shared = number % 5
        first = chance.sample(known, 4)
        second = first[:shared] + chance.sample(known, 4 - shared)
        yield {"sentence1": sentence(first, chance), "sentence2": sentence(second, chance), "score": shared}


def _lines(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    _rows(file, map(json.dumps, rows))


def _rows(file: Path, rows: Iterator[str]) -> None:
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{row}\n" for row in rows)


def cut_model(folder: Path, layers: int) -> Path:
    """The bundled model with its first layers alone."""
    from sentence_transformers import SentenceTransformer

    from embedgate.core.model import DEFAULT_MODEL, resolve

    model = SentenceTransformer(str(resolve(DEFAULT_MODEL).path), device="cpu")
    bert = model[0].auto_model
    bert.encoder.layer = bert.encoder.layer[:layers]
    bert.config.num_hidden_layers = layers
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


@dataclass
class Step:
    """A stretch of the session.

    Attributes:
        name: What was done.
        combination: Of which combination; empty for none.
        seconds: Wall time.
        peak: The most memory in it, bytes.
        end: Memory at its end, bytes.
    """

    name: str
    combination: str
    seconds: float
    peak: int
    end: int


class Memory(threading.Thread):
    """Looks at the memory of a process and its children twice a second.

    Attributes:
        seen: The minutes since it began to look, and bytes.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._told = 0
        self.seen: list[tuple[float, int]] = [(0.0, 0)]
        self.start()

    def run(self) -> None:
        """Looks until the process ends."""
        started = time.perf_counter()
        with suppress(psutil.Error):  # it has ended
            while self._process.status() != psutil.STATUS_ZOMBIE:
                found = 0
                for each in (self._process, *self._process.children(True)):
                    with suppress(psutil.Error):
                        found += each.memory_full_info().pss
                self.seen.append(((time.perf_counter() - started) / 60, found))
                time.sleep(0.5)

    def taken(self) -> tuple[int, int]:
        """The most since it was asked last, and what is held now, bytes."""
        since, self._told = self._told, len(self.seen) - 1
        return max(held for _, held in self.seen[since:]), self.seen[-1][1]


def run(command: Sequence[str], kept: IO[str]) -> tuple[list[Step], int]:
    """Runs the suites and follows them test by test; the steps, and the exit code. What they print goes to `kept`."""
    started = time.perf_counter()
    steps: list[Step] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        memory = Memory(process.pid)
        for line in process.stdout:
            kept.write(line)
            kept.flush()
            found = STEP.match(line)
            if "collected" in line or found:
                now = time.perf_counter()
                case = found["case"] or "" if found else ""
                name = found["test"].rpartition("/")[2] if found else "imports, data and collection"
                steps.append(Step(name, combination_of(case), now - started, *memory.taken()))
                started = now
        steps.append(Step("report", "", time.perf_counter() - started, *memory.taken()))
    return steps, process.returncode


def combination_of(case: str) -> str:
    """The combination of a test; empty for none."""
    found = re.match(r"[a-z0-9]+-[a-z0-9]+-(cpu|cuda)", case)
    return found[0] if found else ""


def by_part(steps: Sequence[Step]) -> str:
    """A table of the tests, all combinations together."""
    names = dict.fromkeys(step.name for step in steps)
    rows = ["| part | tests | wall | peak of memory |", "| --- | --- | --- | --- |"]
    for name in names:
        own = [step for step in steps if step.name == name]
        wall, peak = sum(step.seconds for step in own), max(step.peak for step in own)
        rows.append(f"| `{name}` | {len(own)} | {wall:,.0f} s | {peak / GIGABYTE:.2f} GB |")
    return "\n".join(rows)


def by_combination(steps: Sequence[Step], report: dict[str, Any]) -> str:
    """A table of the combinations: what they took, and what the session holds when they are done."""
    encode = {row["combination"]: row["run"] for row in report["combinations"] if row["run"]}
    rows = ["| combination | encoding | all else | peak of memory | held afterwards |", "| --- " * 5 + "|"]
    for name in dict.fromkeys(step.combination for step in steps if step.combination):
        own = [step for step in steps if step.combination == name]
        seconds = float(encode.get(name, {}).get("encode_seconds", 0))
        wall, peak = sum(step.seconds for step in own), max(step.peak for step in own)
        cells = (f"{seconds:,.0f} s", f"{wall - seconds:,.0f} s", f"{peak / GIGABYTE:.2f} GB")
        rows.append(f"| {name} | {' | '.join(cells)} | {own[-1].end / GIGABYTE:.2f} GB |")
    return "\n".join(rows)


def main() -> None:
    """Makes the data, runs the suites, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--labelled", type=int, default=50_000)
    parser.add_argument("--layers", type=int, help="keep so many layers of the bundled model (default: all)")
    parser.add_argument("--combination", action="append", default=[], help="only these (repeatable, default: all)")
    parser.add_argument("--depth", default="standard")
    parser.add_argument("--tests", default="cpu and not budget and not search", help="marks of the tests")
    parser.add_argument("--keep", type=Path, help="keep what the suites print in this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-u", "-m", "pytest", "--pyargs", "embedgate.suites", "-v", "-p", "no:cacheprovider"]
        command += ["-m", asked.tests]
        command += [f"--gate-data={place}" for place in make_data(folder, asked)]
        command += [f"--gate-combination={glob}" for glob in asked.combination]
        command += [f"--gate-depth={asked.depth}", f"--gate-report={folder / 'report'}"]
        command += [f"--gate-model={cut_model(folder / 'model', asked.layers)}"] if asked.layers else []
        started = time.perf_counter()
        with (asked.keep or Path(os.devnull)).open("w", encoding="utf-8") as kept:
            steps, code = run(command, kept)
        if not (written := folder / "report" / "report.json").exists():
            raise SystemExit(f"no report, exit code {code}; --keep FILE keeps what the suites print")
        report = json.loads(written.read_text("utf-8"))
    wall, peak = time.perf_counter() - started, max(step.peak for step in steps)
    print(f"{wall:,.0f} s, {peak / GIGABYTE:.2f} GB at most, exit code {code}\n")
    print(by_combination(steps, report), by_part(steps), sep="\n\n")


if __name__ == "__main__":
    main()
