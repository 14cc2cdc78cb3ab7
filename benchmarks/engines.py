"""What engines cost and what embedgate's interface adds to them.

    python benchmarks/engines.py                                    # 10,000 documents
    python benchmarks/engines.py --sizes 10000 100000 1000000       # more, one after the other
    python benchmarks/engines.py --engines faiss --precisions float32 int8 --kinds exact

Prints a Markdown table per size: the interface's time over the library's own call, of the same index with the same
queries, timed in turns (`embedgate.performance.paired`) with one query and with 64; queries per second through the
interface; seconds to build; bytes per vector; and ratios to float32 of the same engine, kind and run. The library's own
call is given queries as it needs them: it includes the conversion that the library does not do (codes to float32 for
faiss, the offset of binary codes undone), and returns what the library returns.

Vectors are random around random centres, made chunk by chunk, and only codes are kept; so a million of 384 dimensions
need about 5 GB at most (the codes of float32 beside the index).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from embedgate.performance.paired import Aim, Blocks, Levels, compare
from embedgate.vectors.codes import BITS, Codes, Ranges, quantize, unsigned
from embedgate.vectors.engines.base import Index, engines
from embedgate.vectors.storage import EMBEDDING_PRECISIONS

DIM = 384
K = 10
BATCHES = (1, 64)
QUERIES = 256
CENTRES = 200
# How far from its centre a vector is, in the length of one.
SPREAD = 1.0
CHUNK = 50_000
# A turn is as many calls as take this long, so that the clock and the wrapper of the turn vanish in it.
TURN_SECONDS = 0.02
LIMIT = 1.05
# Beyond this many documents, the interface's cost is lost in the search.
OVERHEAD_AT = 10_000
# What disturbs a turn only ever slows it, so speed is that of the fastest.
TURNS = 8
BLOCKS = 32
COLUMNS = (
    "engine",
    "kind",
    "precision",
    "overhead, 1 query",
    "overhead, 64 queries",
    "queries/s, 1 query",
    "queries/s, 64 queries",
    "build s",
    "bytes/vector",
)


def vectors(count: int, seed: int) -> npt.NDArray[np.float32]:
    """Normalised vectors around centres, float32 `[count, DIM]`."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((CENTRES, DIM), np.float32)
    made = random.standard_normal((count, DIM), np.float32) * np.float32(SPREAD)
    made += centres[random.integers(0, CENTRES, count)]
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def documents(size: int, precision: Any) -> Codes:
    """Documents as they are stored, quantized chunk by chunk."""
    ranges = Ranges.of(vectors(min(size, CHUNK), 1))
    matrix = None
    for start in range(0, size, CHUNK):
        part = quantize(vectors(min(CHUNK, size - start), 1 + start // CHUNK), precision, ranges)
        matrix = np.empty((size, part.shape[1]), part.dtype) if matrix is None else matrix
        matrix[start : start + len(part)] = part
    assert matrix is not None
    return Codes(precision, matrix, DIM, ranges)


def direct(engine: str, index: Any, codes: Codes, kind: str, threads: int) -> Callable[[Any], object]:
    """The library's own call on the same index."""
    bits = codes.precision in BITS
    if engine == "faiss":
        inner = index._index
        if codes.precision == "binary":
            return lambda queries: inner.search(unsigned(queries, "binary"), K)
        if bits or codes.precision == "float32":
            return lambda queries: inner.search(queries, K)
        return lambda queries: inner.search(queries.astype(np.float32), K)
    if engine == "usearch":
        from usearch.index import search

        scalar, metric, matrix, inner = index._scalar, index._metric, index._matrix, index._index
        ready = (lambda queries: unsigned(queries, "binary")) if codes.precision == "binary" else None
        if kind == "exact":

            def call(queries: Any) -> object:
                return search(matrix, queries, K, metric, exact=True, threads=threads, dtype=scalar)

        else:

            def call(queries: Any) -> object:
                return inner.search(queries, K, threads=threads, dtype=scalar)

        return (lambda queries: call(ready(queries))) if ready else call
    collection = index._collection

    def ask(queries: Any) -> object:
        from qdrant_client import models

        requests = [models.QueryRequest(query=query, limit=K) for query in queries.tolist()]
        return collection.client.query_batch_points(collection.name, requests)

    return ask


def turn(call: Callable[[Any], object], batches: list[Any], calls: int, threads: int) -> Callable[[], list[float]]:
    """Runs a call over batches; seconds of one call, as their mean in a turn.

    Where the call does not set its number of threads itself, faiss has them set before the turn, as its caller would.
    """
    order = [batches[number % len(batches)] for number in range(calls)]

    def run() -> list[float]:
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads or before)
        begun = time.perf_counter()
        for batch in order:
            call(batch)
        seconds = time.perf_counter() - begun
        faiss.omp_set_num_threads(before)
        return [seconds / len(order)]

    return run


def measured(engine: str, index: Index, codes: Codes, kind: str, threads: int, cap: float) -> dict[str, Any]:
    """Overhead and speed of one index."""
    queries = quantize(vectors(QUERIES, 10**6), codes.precision, codes.ranges)
    own = direct(engine, index, codes, kind, threads)
    row: dict[str, Any] = {}
    for batch in BATCHES:
        batches = [queries[start : start + batch] for start in range(0, QUERIES, batch)]
        once = turn(own, batches, 1, threads)
        once()
        calls = max(1, round(TURN_SECONDS / once()[0]))
        searched = turn(lambda part: index.search(part, K), batches, calls, 0)
        if len(codes) > OVERHEAD_AT:
            row[f"speed{batch}"] = batch / min(searched()[0] for _ in range(TURNS))
            continue
        blocks = Blocks(turn(own, batches, calls, threads), searched)
        level = Levels(0.05, 1)
        row[f"overhead{batch}"] = compare(blocks, Aim(None, level, BLOCKS), looks=(8, 16), cap_seconds=cap)
        row[f"speed{batch}"] = batch / min(blocks.calls["candidate"])
    return row


def main() -> None:
    """Prints a table per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000])
    parser.add_argument("--engines", nargs="+", default=["faiss", "usearch"], choices=list(engines()))
    parser.add_argument("--precisions", nargs="+", default=list(EMBEDDING_PRECISIONS), choices=EMBEDDING_PRECISIONS)
    parser.add_argument("--kinds", nargs="+", default=["exact", "hnsw"], choices=["exact", "hnsw"])
    parser.add_argument("--threads", type=int, default=1, help="of a search and of a graph's construction")
    parser.add_argument("--cap", type=float, default=10.0, help="seconds for one overhead")
    options = parser.parse_args()
    for size in options.sizes:
        print(f"\n{size:,} documents of {DIM} dimensions, {options.threads} thread(s), {K} results\n")
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        for precision in options.precisions:
            codes = documents(size, precision)
            for engine, module in engines().items():
                if engine not in options.engines:
                    continue
                if reason := module.unavailable():
                    print(f"{engine}: {reason}")
                    continue
                for kind in (kind for kind in options.kinds if precision in module.ENGINE.offers.get(kind, ())):
                    started = time.perf_counter()
                    index = module.build(codes, kind, options.threads)
                    built = time.perf_counter() - started
                    row = measured(engine, index, codes, kind, options.threads, options.cap)
                    rows[engine, kind, precision] = {**row, "build": built, "bytes": index.size / size}
                    index.close()
        for key in sorted(rows):
            print(line(key, rows))


def line(key: tuple[str, str, str], rows: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    """A row of the table; ratios to float32 in brackets."""
    row, reference = rows[key], rows.get((key[0], key[1], "float32"))
    cells = list(key)
    for batch in BATCHES:
        if (ratio := row.get(f"overhead{batch}")) is None:
            cells.append("")
            continue
        mark = "" if ratio.high <= LIMIT else " (beyond 1.05)" if ratio.low > LIMIT else " (open)"
        cells.append(f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]{mark}")
    for name in [f"speed{batch}" for batch in BATCHES] + ["build", "bytes"]:
        value = f"{row[name]:,.2f}" if name == "build" else f"{row[name]:,.0f}"
        cells.append(f"{value} ({row[name] / reference[name]:.2f})" if reference else value)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
