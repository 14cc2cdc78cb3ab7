"""Does a grown collection behave like a real one? Prints the tables of `docs/corpus.md`.

    python benchmarks/corpus.py [texts.txt] [pairs.csv] [beir-folder] ... [--largest 1000000]

Of the bundled texts and those of the files and folders given (a text a line; two texts a row, with or without a header;
BEIR), a part is kept and grown to the size of the whole, and searched beside the whole by the same queries, which are
in neither. The part is chosen by texts, or by families of texts that are much alike, which then stay together. What a
storage finds is its recall@10, by the ten documents nearest by exact float32; intervals are of a 95% bootstrap over
queries.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sentence_transformers import SentenceTransformer

from embedgate.core.model import DEFAULT_MODEL, resolve
from embedgate.data import bundled, load, load_bundled
from embedgate.metrics import FloatArray, Matrix
from embedgate.metrics.bootstrap import bootstrap_weights
from embedgate.metrics.retrieval import similarities, top_k
from embedgate.vectors.codes import Ranges, decode, quantize
from embedgate.vectors.corpus import Recipe, grow
from embedgate.vectors.storage import FLOAT32, RESULTS, Storage

STORAGES = (
    Storage("float16"),
    Storage("int8"),
    Storage("int8", float_queries=True),
    Storage("binary"),
    Storage("binary", 4),
)
GROWTHS = (1.6, 4.0, 16.0)
DRAWS = 3
QUERIES = 500
FAMILY = 0.8
BLOCK = 2**15

Rows = npt.NDArray[np.intp]
Grower = Callable[[Matrix, int, int], Matrix]


def texts_of(source: str) -> tuple[str, ...]:
    """The unique texts of a file or folder."""
    path = Path(source)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row[:2]]
        return tuple(dict.fromkeys(cell for cell in cells if cell.strip() and cell not in ("sentence1", "sentence2")))
    if path.suffix == ".txt":
        return tuple(dict.fromkeys(line for line in path.read_text("utf-8").splitlines() if line.strip()))
    return load(source).texts()


def embeddings(texts: Sequence[str]) -> Matrix:
    """Normalised embeddings by the bundled model in fp32."""
    model = SentenceTransformer(str(resolve(DEFAULT_MODEL).path), device="cpu", local_files_only=True)
    encoded = np.asarray(model.encode(list(texts)), dtype=np.float32)
    return np.asarray(encoded / np.linalg.norm(encoded, axis=1, keepdims=True), dtype=np.float32)


def found(storage: Storage, queries: Matrix, documents: Matrix, ranges: Ranges, k: int) -> tuple[Rows, Matrix]:
    """The `k` documents that a storage finds for each query, best first, and their scores; a block at a time."""

    def as_stored(vectors: Matrix) -> Matrix:
        codes = quantize(vectors, storage.precision, ranges)
        if storage.precision == "int8" and not storage.float_queries:
            return codes.astype(np.float32)  # what is multiplied are the codes themselves; exact, being below 2^24
        return decode(codes, storage.precision, vectors.shape[1], ranges)

    first = Storage(storage.precision, float_queries=storage.float_queries)
    by = queries if first.float_queries else as_stored(queries)
    rows = np.empty((len(queries), 0), dtype=np.intp)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    for start in range(0, len(documents), BLOCK):
        stored = as_stored(np.asarray(documents[start : start + BLOCK]))
        block = by @ stored.T
        best = top_k(block, k * max(1, storage.rescore))
        rows = np.concatenate([rows, best + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(block, best, axis=1)], axis=1)
        best = top_k(scores, k * max(1, storage.rescore))
        rows, scores = (np.take_along_axis(kept, best, axis=1) for kept in (rows, scores))
    if storage.rescore:
        again = [query @ as_stored(documents[candidates]).T for query, candidates in zip(queries, rows, strict=True)]
        best = top_k(np.stack(again), k)
        rows, scores = np.take_along_axis(rows, best, axis=1), np.take_along_axis(np.stack(again), best, axis=1)
    return rows, scores


def recalls(queries: Matrix, documents: Matrix) -> dict[str, FloatArray]:
    """Recall@10 of each query, by the storage's id."""
    if len(documents) < 2**17:
        # Equal scores of bits are found in the order of documents, and grown ones would come last.
        documents = documents[np.random.default_rng(0).permutation(len(documents))]
    ranges = Ranges.of(documents)
    exact = found(FLOAT32, queries, documents, ranges, RESULTS)[0]
    return {
        storage.id: np.array(
            [
                len(set(a) & set(b)) / RESULTS
                for a, b in zip(
                    exact.tolist(), found(storage, queries, documents, ranges, RESULTS)[0].tolist(), strict=True
                )
            ]
        )
        for storage in STORAGES
    }


def structure(queries: Matrix, documents: Matrix, itself: bool) -> dict[str, float]:
    """What neighbourhoods of queries are like; with `itself`, queries are documents, and not their own neighbours."""
    cosines = found(FLOAT32, queries, documents, Ranges.of(documents), 21)[1]
    cosines = cosines[:, 1:] if itself else cosines[:, :20]
    distances = np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 1e-6))
    # Levina and Bickel (2004), averaged as MacKay and Ghahramani propose.
    inverse = np.log(distances[:, -1:] / distances[:, :-1]).mean(axis=1).mean()
    # Facco et al. (2017): the slope through the origin, without the highest tenth.
    ratio = np.sort(np.log(distances[:, 1] / distances[:, 0]))[: int(0.9 * len(distances))]
    share = -np.log(1 - np.arange(1, len(ratio) + 1) / (len(distances) + 1))
    return {
        "1st cosine": float(np.median(cosines[:, 0])),
        "10th cosine": float(np.median(cosines[:, 9])),
        "gap 1st to 10th": float(np.median(cosines[:, 0] - cosines[:, 9])),
        "dimension (MLE, 20)": float(1 / inverse),
        "dimension (TwoNN)": float((ratio @ share) / (ratio @ ratio)),
    }


def families(vectors: Matrix) -> npt.NDArray[np.int32]:
    """The family of each vector: those linked by cosines above 0.8."""
    pairs = [np.argwhere(scores > FAMILY) + np.array([rows[0], 0]) for rows, scores in similarities(vectors, vectors)]
    a, b = np.concatenate(pairs).T
    return np.asarray(connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(len(vectors),) * 2))[1])


def splits(vectors: Matrix, growth: float, by_family: bool) -> Iterator[tuple[Matrix, Matrix, Matrix]]:
    """Queries, the part that is kept, and the whole, which begins with it."""
    family = families(vectors)
    for draw in range(DRAWS):
        rng = np.random.default_rng((draw, int(by_family)))
        groups = rng.permutation(family.max() + 1)[family] if by_family else np.zeros(len(vectors))
        order = np.lexsort((rng.random(len(vectors)), groups))
        inside = rng.permutation(order[: int(len(vectors) / growth)])
        queries = inside[: min(QUERIES, len(inside) // 4)]
        part = inside[len(queries) :]
        whole = np.concatenate([part, order[len(inside) :]])
        yield vectors[queries], vectors[part], vectors[whole]


def chosen(part: Matrix, size: int, seed: int) -> Matrix:
    """Grown as `embedgate.vectors.corpus` does."""
    return grow(part, Recipe.of(part, seed), size)


def variant(move: Callable[[np.random.Generator, Matrix, Rows, Rows], Matrix]) -> Grower:
    """Another way to grow, by what a parent is moved by."""

    def grown(part: Matrix, size: int, seed: int) -> Matrix:
        rng = np.random.default_rng(seed)
        parents = rng.integers(0, len(part), size - len(part))
        neighbours = Recipe.of(part, seed).neighbours.astype(np.intp)
        moved = part[parents] + move(rng, part, parents, neighbours)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        return np.concatenate([part, moved.astype(np.float32)])

    return grown


def differences(rng: np.random.Generator, part: Matrix, parents: Rows, neighbours: Rows) -> Matrix:
    """The difference of two of the eight nearest."""
    first = rng.integers(0, 8, len(parents))
    second = (first + rng.integers(1, 8, len(parents))) % 8
    return part[neighbours[parents, first]] - part[neighbours[parents, second]]


def smote(rng: np.random.Generator, part: Matrix, parents: Rows, neighbours: Rows) -> Matrix:
    """Part of the way to one of the eight nearest."""
    neighbour = part[neighbours[parents, rng.integers(0, 8, len(parents))]]
    return np.asarray(rng.random((len(parents), 1), dtype=np.float32) * (neighbour - part[parents]))


def elsewhere(rng: np.random.Generator, part: Matrix, parents: Rows, neighbours: Rows) -> Matrix:
    """The difference of another vector and one of its neighbours."""
    other = rng.integers(0, len(part), len(parents))
    return part[other] - part[neighbours[other, rng.integers(0, 16, len(parents))]]


def gaussian(rng: np.random.Generator, part: Matrix, parents: Rows, neighbours: Rows) -> Matrix:
    """A Gaussian of one width with the covariance of the eight nearest about the parent."""
    move = np.zeros((len(parents), part.shape[1]), dtype=np.float32)
    for rank in range(8):
        weight = rng.standard_normal((len(parents), 1), dtype=np.float32) / np.float32(np.sqrt(8))
        move += weight * (part[neighbours[parents, rank]] - part[parents])
    return move


VARIANTS: dict[str, Grower] = {
    "Gaussian of the 16 nearest, widths of 0 to 3.2 (chosen)": chosen,
    "Gaussian of the 8 nearest, width 1": variant(gaussian),
    "difference of two of the 8 nearest": variant(differences),
    "difference of two near vectors elsewhere": variant(elsewhere),
    "part of the way to one of the 8 nearest (SMOTE)": variant(smote),
}


def interval(items: FloatArray, digits: int = 3) -> str:
    """A mean and its 95% interval over resampled queries."""
    weights = np.asarray(bootstrap_weights(len(items), 2000), dtype=np.float64)
    low, high = np.quantile(weights @ items / len(items), [0.025, 0.975])
    return f"{items.mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def table(*header: str) -> None:
    """Prints the head of a Markdown table."""
    print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header), flush=True)


def row(*cells: object) -> None:
    """Prints a row of it."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def pooled(each: Sequence[dict[str, FloatArray]]) -> dict[str, FloatArray]:
    """The queries of all draws."""
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", nargs="*")
    parser.add_argument("--largest", type=int, default=100_000, help="to what size the bundled texts are grown")
    given = parser.parse_args()
    own = tuple(dict.fromkeys(text for name in sorted(bundled()) for text in load_bundled(name).texts()))
    texts = tuple(dict.fromkeys([*own, *(text for source in given.sources for text in texts_of(source))]))
    vectors = embeddings(texts)
    print(f"{len(own)} bundled texts, {len(texts)} in all")

    kinds = (("families", True), ("texts", False))
    shapes: list[tuple[object, ...]] = []
    table("kept by", "grown", "queries", "storage", "part alone", "real whole", "grown", "grown - real")
    whole_splits = {(kind, growth): list(splits(vectors, growth, by)) for kind, by in kinds for growth in GROWTHS}
    real = {at: pooled([recalls(q, whole) for q, _, whole in cut]) for at, cut in whole_splits.items()}
    for (kind, growth), cut in whole_splits.items():
        collections = [chosen(part, len(whole), draw) for draw, (_, part, whole) in enumerate(cut)]
        alone = pooled([recalls(q, part) for q, part, _ in cut])
        grown = pooled([recalls(q, documents) for (q, *_), documents in zip(cut, collections, strict=True)])
        for name, items in real[kind, growth].items():
            means = [f"{scores.mean():.3f}" for scores in (alone[name], items, grown[name])]
            row(kind, f"x{growth:g}", len(items), name, *means, interval(grown[name] - items))
        queries, part, whole = cut[0]
        for what, documents in (("part alone", part), ("real whole", whole), ("grown", collections[0])):
            some = np.random.default_rng(1).choice(len(documents), min(QUERIES, len(documents)), replace=False)
            for whose, among in (("queries", queries), ("documents", documents[some])):
                found_here = structure(among, documents, whose == "documents")
                shapes.append((kind, f"x{growth:g}", whose, what, *(f"{value:.3g}" for value in found_here.values())))

    table("kept by", "grown", "neighbours of", "collection", *structure(vectors[:50], vectors, True))
    for shape in sorted(shapes, key=lambda cells: (cells[0], GROWTHS.index(float(str(cells[1])[1:])), str(cells[2]))):
        row(*shape)

    table("method", "kept by", "grown", *(storage.id for storage in STORAGES))
    for method, grower in VARIANTS.items():
        for (kind, growth), cut in whole_splits.items():
            if growth > min(GROWTHS):
                each = [recalls(q, grower(part, len(whole), draw)) for draw, (q, part, whole) in enumerate(cut)]
                differences = [(scores - real[kind, growth][name]).mean() for name, scores in pooled(each).items()]
                row(method, kind, f"x{growth:g}", *(f"{difference:+.3f}" for difference in differences))

    held = np.random.default_rng(2).permutation(len(own))
    queries, part = vectors[held[:QUERIES]], vectors[np.sort(held[QUERIES:])]
    recipe = Recipe.of(part)
    table("vectors", "seconds to grow", "MiB in work", *(storage.id for storage in STORAGES))
    with tempfile.TemporaryDirectory(prefix="embedgate-corpus-") as folder:
        for size in dict.fromkeys((len(part), 10_000, 100_000, given.largest)):
            tracemalloc.start()
            started = time.perf_counter()
            documents = grow(part, recipe, size, folder=Path(folder))
            seconds = time.perf_counter() - started
            mebibytes = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            row(
                size,
                f"{seconds:.1f}",
                f"{mebibytes:.0f}",
                *(f"{items.mean():.3f}" for items in recalls(queries, documents).values()),
            )


if __name__ == "__main__":
    main()
