"""Wall time over encoding time, of embedgate and of mteb, on the same sentence pairs with the same model.

    pip install mteb && python benchmarks/beside_mteb.py [stsb/test.csv]

Both evaluate fp32 torch, in turns, each run in a process of its own; without a file, on the bundled `pairs`. The file
has the columns `sentence1`, `sentence2` and `score`. embedgate encodes and scores alone here, so that both answer the
same question.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).with_name("peers")))
ROUNDS = 5


def with_mteb(source: str) -> dict[str, float]:
    """Evaluates with mteb."""
    started = time.perf_counter()
    import mteb
    from local_task import COLUMNS, task
    from overhead import Stopwatch
    from sentence_transformers import SentenceTransformer

    from embedgate.core.model import DEFAULT_MODEL, resolve
    from embedgate.data import load

    pairs: Any = load(source)

    columns = zip(COLUMNS, map(list, (pairs.first, pairs.second, pairs.grades)), strict=True)
    encoding = Stopwatch()
    model = SentenceTransformer(str(resolve(DEFAULT_MODEL).path), device="cpu", local_files_only=True)
    model.encode = encoding(model.encode)
    found = mteb.evaluate(
        model, task(dict(columns), "spearman"), cache=None, show_progress_bar=False, co2_tracker=False
    )
    score = found.task_results[0].get_score()
    return {"wall": time.perf_counter() - started, "encoding": encoding.seconds, "score": float(score)}


def with_embedgate(source: str) -> dict[str, float]:
    """Evaluates with embedgate: the reference alone has no loss to judge, so its values are what is measured."""
    started = time.perf_counter()
    from overhead import Stopwatch

    from embedgate import encoders
    from embedgate.core.settings import Settings
    from embedgate.encoders.registry import Registry
    from embedgate.runtime.plan import Plan
    from embedgate.runtime.session import Session

    encoding, build = Stopwatch(), encoders.build

    def build_timed(*args: Any) -> Any:
        encoder = build(*args)
        encoder.encode, encoder.encode_as = encoding(encoder.encode), encoding(encoder.encode_as)
        return encoder

    encoders.build = build_timed
    session = Session(Plan.of(Settings(data=(source,)), Registry()))
    run = session.run(session.plan.reference)
    score = session.scores(run, session.plan.datasets[0])["spearman"].value
    session.close()
    return {"wall": time.perf_counter() - started, "encoding": encoding.seconds, "score": score}


def main() -> None:
    """Times both in turns and prints the table."""
    arms = {"mteb": with_mteb, "embedgate": with_embedgate}
    if len(sys.argv) > 2 and sys.argv[1] in arms:
        print(json.dumps(arms[sys.argv[1]](sys.argv[2]), allow_nan=False))
        return
    source = str(Path(sys.argv[1]).resolve()) if len(sys.argv) > 1 else "pairs"
    found: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for _ in range(ROUNDS):
        for name, runs in found.items():
            command = [sys.executable, __file__, name, source]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    print("| | score | wall, with imports | encoding | wall / encoding |\n| --- | --- | --- | --- | --- |")
    for name, runs in found.items():
        wall, encoding = (median(run[key] for run in runs) for key in ("wall", "encoding"))
        ratio = median(run["wall"] / run["encoding"] for run in runs)
        print(f"| {name} | {runs[0]['score']:.4f} | {wall:.1f} s | {encoding:.1f} s | {ratio:.2f} |")


if __name__ == "__main__":
    main()
