"""What metrics take on large data: seconds and memory beside the embeddings, as a table in Markdown.

    python benchmarks/memory.py [NAME ...]      # some ten minutes of one core

Embeddings are random unit vectors of 384 dimensions. Each metric is measured in a process of its own, with its
bootstrap replicates. Seconds are those of the processor. Memory is resident memory above what there was before, at its
peak and afterwards, without the weights of the bootstrap: all combinations share these.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import psutil

from embedgate.core.similarity import normalised
from embedgate.metrics import Matrix, Scores, agreement, clustering, retrieval, similarity
from embedgate.metrics.bootstrap import REPLICATES, bootstrap_weights, replicates_of

DIM = 384
MEGABYTE = 2**20
# What metrics import where they compute.
LAZY = ("pytrec_eval", "scipy.sparse", "scipy.stats", "sklearn.cluster")
Measured = Callable[[], Mapping[str, Scores]]


def vectors(count: int, seed: int = 0) -> Matrix:
    """Random vectors of length 1."""
    return normalised(np.random.default_rng(seed).standard_normal((count, DIM), dtype=np.float32))


def moved(base: Matrix, by: float) -> Matrix:
    """Vectors near others."""
    return normalised(base + np.float32(by) * vectors(len(base), seed=1))


def passages() -> tuple[Measured, int]:
    """Queries among documents."""
    documents = vectors(100_000)
    queries = moved(documents[:10_000], 1.4)
    relevance = [{query: 1, query + 50_000: 2} for query in range(len(queries))]
    return lambda: retrieval.evaluate(queries, documents, relevance), len(queries)


def pairs() -> tuple[Measured, int]:
    """Graded pairs."""
    first = vectors(20_000)
    second, grades = moved(first, 2), np.random.default_rng(0).integers(0, 6, 20_000).astype(float)
    return lambda: similarity.evaluate(first, second, grades), len(first)


def texts() -> tuple[Measured, int]:
    """Texts of two arms."""
    reference = vectors(170_000)
    candidate = moved(reference, 0.05)
    return lambda: agreement.evaluate(candidate, reference), len(reference)


def labelled(count: int, labels: int) -> tuple[Measured, int]:
    """Texts about the centres of their labels."""
    rng = np.random.default_rng(0)
    label = rng.integers(labels, size=count)
    points = normalised(0.2 * np.float32(DIM**0.5) * vectors(labels)[label] + np.float32(DIM**0.5) * vectors(count, 1))
    names = [f"label {each}" for each in label]
    return lambda: clustering.evaluate(points, names), count


CASES: dict[str, tuple[str, Callable[[], tuple[Measured, int]]]] = {
    "passages": ("nDCG, recall and MRR of 10,000 queries among 100,000 passages", passages),
    "pairs": ("Spearman of 20,000 pairs", pairs),
    "texts": ("agreement of 170,000 texts", texts),
    "labelled-1140": ("V-measure of 1,140 texts with 15 labels", lambda: labelled(1_140, 15)),
    "labelled-13000": ("V-measure of 13,000 texts with 77 labels", lambda: labelled(13_000, 77)),
    "labelled-50000": ("V-measure of 50,000 texts with 100 labels", lambda: labelled(50_000, 100)),
}


def resident() -> float:
    """Bytes of this process in memory."""
    gc.collect()
    return float(psutil.Process().memory_info().rss)


def measure(name: str) -> str:
    """A row of the table."""
    for module in LAZY:
        importlib.import_module(module)
    about, made = CASES[name]
    evaluate, items = made()
    bootstrap_weights(items, REPLICATES, 0)
    before, started = resident(), time.process_time()
    scores = evaluate()
    middle = time.process_time()
    for each in scores.values():
        replicates_of(each)
    seconds = f"{middle - started:.1f} | {time.process_time() - middle:.1f}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    beside = f"{max(0, peak - before) / MEGABYTE:,.0f} MB | {max(0, resident() - before) / MEGABYTE:,.0f} MB"
    return f"| {about} | {seconds} | {beside} |"


def main() -> None:
    """Measures each case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all where none is named")
    parser.add_argument("--here", choices=CASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        print(measure(given.here))
        return
    print(
        "| metric | seconds | of replicates | memory, peak | afterwards |\n| --- | --- | --- | --- | --- |", flush=True
    )
    for name in given.names or CASES:
        subprocess.run([sys.executable, __file__, "--here", name], check=True)


if __name__ == "__main__":
    main()
