"""Do tasks on relative distances lose less to quantization? Prints the tables of `docs/relative-tasks.md`.

    python benchmarks/relative.py ["onnxruntime-int8*" ...]

Every combination encodes the bundled texts once. Its normalised embeddings are stored in each embedding precision, read
back, and scored against the reference, torch fp32 in float32: by what the labels say (clusters, first ten, triplets,
graded pairs) and by what the reference says (order of neighbours, ten nearest, cosines, sides of a threshold). uint8
and ubinary are the same numbers as int8 and binary under an offset, so they are not rows of their own. Intervals are of
a 95% bootstrap over the same items for both, of clusters over the seeds of k-means too.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from embedgate.core.cache import cache_root
from embedgate.core.combination import Combination
from embedgate.core.embeddings import Embeddings
from embedgate.core.settings import Settings
from embedgate.data.types import Dataset, Labelled, Similarity
from embedgate.encoders.registry import Registry
from embedgate.metrics import METRICS, FloatArray, Matrix, Scores, clustering, mean_of
from embedgate.metrics.bootstrap import bootstrap_weights
from embedgate.metrics.ends import interval
from embedgate.metrics.evaluate import measure, measure_agreement
from embedgate.metrics.statistics import compare
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Session
from embedgate.vectors.codes import Ranges, decode, quantize
from embedgate.vectors.storage import EmbeddingPrecision

REFERENCE = "torch-fp32-cpu"
# Without fp16 and amp, which change embeddings as little as bf16, and the doubles of fp32, which lose nothing.
USUAL = (
    REFERENCE,
    "torch-bf16-cpu",
    "bitsandbytes-int8-cpu",
    "torchao-int8-cpu",
    "onnxruntime-int8-cpu",
    "onnxruntime-int8static-cpu",
    "openvino-int8-cpu",
)
PRECISIONS: tuple[EmbeddingPrecision, ...] = ("float32", "float16", "int8", "binary")
EXACT = PRECISIONS[0]
TAIL = 0.025
# Seeds of the starts of k-means, 16 starts each; the gate has the first alone.
SEEDS = range(8)

Cell = tuple[str, EmbeddingPrecision]
Results = Mapping[Cell, Mapping[str, Scores]]


@dataclass(frozen=True)
class Measure:
    """What is reported.

    Attributes:
        name: Its key among a cell's scores.
        title: What it is called in tables.
        relative: Whether it looks at the order or grouping of distances only, and not at their size.
        by: Who says what is right: `labels` or the `reference`.
        unit_loss: The most that one item can lose, where items are right or wrong.
    """

    name: str
    title: str
    relative: bool
    by: str
    unit_loss: float | None = None


MEASURES = (
    Measure("v_measure", "V-measure (`topics`)", True, "labels"),
    Measure("ndcg_at_10", "nDCG@10 (`passages`)", True, "labels"),
    Measure("triplet_accuracy", "triplet accuracy (`triplets`)", True, "labels", METRICS["triplet_accuracy"].unit_loss),
    Measure("spearman", "Spearman of cosines and grades (`pairs`)", True, "labels"),
    Measure("neighbour_rank_correlation", "rank correlation of 50 neighbours (all texts)", True, "reference"),
    Measure("top10_overlap", "ten nearest kept (all texts)", True, "reference"),
    Measure("own_threshold", "same side of a threshold set anew (`pairs`)", True, "reference", 1.0),
    Measure("kept_threshold", "same side of the reference's threshold (`pairs`)", False, "reference", 1.0),
    Measure("cosine_change", "mean change of cosine (`pairs`)", False, "reference"),
)
CHANGE = "cosine_change"


def main() -> None:
    """Encodes, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("combinations", nargs="*", help="globs over combinations; the usual seven where none is given")
    names = parser.parse_args().combinations or USUAL
    session = Session(Plan.of(Settings(combinations=(REFERENCE, *names), cache=cache_root()), Registry()), print)
    encoded = encode(session)
    session.close()
    report(encoded, session.plan.datasets)


def encode(session: Session) -> dict[str, Embeddings]:
    """Embeddings of all texts by each combination that can run here, the reference first."""
    encoded = {}
    for combination in sorted(session.plan.combinations, key=lambda one: not one.is_reference):
        if reason := session.unavailable(combination):
            print(f"{combination}: left out, {reason}")
        else:
            encoded[combination.id] = session.run(combination).embeddings
    return encoded


def report(encoded: Mapping[str, Embeddings], datasets: Sequence[Dataset]) -> None:
    """Scores every combination in every embedding precision, and prints the tables."""
    reference = encoded[REFERENCE]
    results: dict[Cell, dict[str, Scores]] = {}
    for name, embeddings in encoded.items():
        for precision in PRECISIONS:
            print(f"scoring {name} in {precision}", flush=True)
            results[name, precision] = scored(stored(embeddings, precision), reference, datasets)
    for one in MEASURES:
        print(f"\n### {one.title}\n")
        print_table(("combination", *PRECISIONS), (rows(one, name, results) for name in encoded))
    int8 = [name for name in encoded if Combination.parse(name).weight_precision.startswith("int8")]
    if int8:
        print(f"\n### What is lost; int8 weights: mean of {len(int8)} combinations\n")
        print_table(
            ("measure", "relative", "int8 weights", *PRECISIONS[1:]), (losses(m, int8, results) for m in MEASURES)
        )
        print("\n### Both losses together\n")
        head = [
            f"{precision}: {what}" for precision in PRECISIONS[2:] for what in ("sum", "measured", "more than the sum")
        ]
        print_table(("measure", *head), (together(one, int8, results) for one in MEASURES))
    print("\n### Of fp32 in binary, before and after the arcsine law is undone\n")
    print_table(("", "mean change of cosine", "same side of the reference's threshold"), arcsine(results))


def stored(embeddings: Embeddings, precision: EmbeddingPrecision) -> Embeddings:
    """Embeddings stored in a precision and read back; ranges of 8-bit codes are those of all of them."""
    vectors = embeddings.normalised
    ranges = Ranges.of(vectors)
    return Embeddings(embeddings.texts, decode(quantize(vectors, precision, ranges), precision, embeddings.dim, ranges))


def scored(embeddings: Embeddings, reference: Embeddings, datasets: Iterable[Dataset]) -> dict[str, Scores]:
    """All scores of embeddings, by the measure's name."""
    found: dict[str, Scores] = dict(measure_agreement(embeddings, reference))
    for dataset in datasets:
        if isinstance(dataset, Labelled):
            found["v_measure"] = over_seeds(embeddings.of(dataset.items), dataset.labels)
        else:
            found |= measure(dataset, embeddings)
        if isinstance(dataset, Similarity):
            cosines, wanted = (of_pairs(one, dataset) for one in (embeddings, reference))
            side = wanted > middle(wanted)
            found[CHANGE] = mean_of(np.abs(cosines - wanted))
            found["kept_threshold"] = mean_of((cosines > middle(wanted)) == side)
            found["own_threshold"] = mean_of((cosines > middle(cosines)) == side)
    return found


def of_pairs(embeddings: Embeddings, dataset: Similarity) -> FloatArray:
    """The cosine of each pair, float64 `[n]`."""
    first, second = (embeddings.of(texts).astype(np.float64) for texts in (dataset.first, dataset.second))
    return np.asarray(np.einsum("ij,ij->i", first, second), dtype=np.float64)


def middle(cosines: FloatArray) -> float:
    """A threshold that half of the cosines exceed, between two of them, so that none lies on it."""
    ascending = np.sort(cosines)
    return float(ascending[len(ascending) // 2 - 1 : len(ascending) // 2 + 1].mean())


def over_seeds(points: Matrix, labels: Sequence[str]) -> Scores:
    """V-measure, the mean over seeds of k-means; a replicate resamples texts and seeds, both alike in every cell."""
    found = [clustering.evaluate(points, labels, seed)["v_measure"] for seed in SEEDS]

    def replicate(weights: Matrix) -> FloatArray:
        values = np.stack([scores.replicate(weights) for scores in found], axis=1)
        rng = np.random.default_rng(zlib.crc32(weights.tobytes()))
        return np.take_along_axis(values, rng.integers(len(found), size=values.shape), axis=1).mean(axis=1)

    return Scores(
        float(np.mean([scores.value for scores in found])), np.mean([one.items for one in found], axis=0), replicate
    )


def arcsine(results: Results) -> Iterator[list[str]]:
    """Rows of the table of binary cosines: as they are, and by the angle they stand for.

    Two vectors at an angle differ in angle / pi of their bits, if these cut the space at random (Charikar 2002).
    """
    wanted, bits = (results[REFERENCE, precision]["spearman"].items for precision in (EXACT, "binary"))
    for name, cosines in (("before", bits), ("after", np.sin(bits * np.pi / 2))):
        kept = np.mean((cosines > middle(wanted)) == (wanted > middle(wanted)))
        yield [name, f"{np.abs(cosines - wanted).mean():.4f}", f"{kept:.1%}"]


def rows(one: Measure, name: str, results: Results) -> list[str]:
    """A combination's row of a measure's table."""
    reference = results[REFERENCE, EXACT][one.name]
    cells = [name]
    for precision in PRECISIONS:
        scores = results[name, precision][one.name]
        if one.name == CHANGE:
            ends = interval(scores, TAIL)
            cells.append(f"{scores.value:.4f} ({ends.low:.4f} to {ends.high:.4f})")
        elif scores is reference:
            cells.append(f"{scores.value:.4f} = 100%")
        else:
            kept = compare(scores, reference, 0.0, alpha=TAIL, unit_loss=one.unit_loss)
            cells.append(f"{kept.observed:.1%} ({100 * kept.low:.1f} to {100 * kept.high:.1f})")
    return cells


def losses(one: Measure, int8: Sequence[str], results: Results) -> list[str]:
    """A measure's row: lost by int8 weights alone, and by each embedding precision alone."""
    alone = [[(name, EXACT) for name in int8], *([(REFERENCE, precision)] for precision in PRECISIONS[1:])]
    return [
        one.title,
        "yes" if one.relative else "no",
        *(shown(one, *mean_loss(one, cells, results)) for cells in alone),
    ]


def together(one: Measure, int8: Sequence[str], results: Results) -> list[str]:
    """A measure's row: the sum of the losses of int8 weights and of an embedding precision, and both measured."""
    cells = [one.title]
    by_weights = mean_loss(one, [(name, EXACT) for name in int8], results)
    for precision in PRECISIONS[2:]:
        by_codes = mean_loss(one, [(REFERENCE, precision)], results)
        both = mean_loss(one, [(name, precision) for name in int8], results)
        total = by_weights[0] + by_codes[0], by_weights[1] + by_codes[1]
        cells += [shown(one, *total, ends=False), shown(one, *both, ends=False)]
        cells.append(shown(one, both[0] - total[0], both[1] - total[1], mark=True))
    return cells


def mean_loss(one: Measure, cells: Sequence[Cell], results: Results) -> tuple[float, FloatArray]:
    """Mean share of the reference's value that cells lose, and the same in each replicate; of a change, the change."""
    reference = results[REFERENCE, EXACT][one.name]
    values = [results[cell][one.name].value for cell in cells]
    drawn = [replicates(results[cell][one.name]) for cell in cells]
    if one.name == CHANGE:
        return float(np.mean(values)), np.mean(drawn, axis=0)
    return 1 - float(np.mean(values)) / reference.value, 1 - np.mean(drawn, axis=0) / replicates(reference)


@cache
def replicates(scores: Scores) -> FloatArray:
    """The value in each replicate of a bootstrap, float64 `[replicates]`."""
    counts: Matrix = np.asarray(bootstrap_weights(len(scores.items), 2000), dtype=np.float32)
    return scores.replicate(counts)


def shown(one: Measure, value: float, drawn: FloatArray, *, ends: bool = True, mark: bool = False) -> str:
    """A loss in percent, or a change as it is, with a 95% interval; bold if marked where that excludes 0."""
    factor, digits = (1.0, 4) if one.name == CHANGE else (100.0, 1)
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    # + 0.0 makes a negative zero a plain one.
    first, *rest = (f"{round(factor * x, digits) + 0.0:{'+' * mark}.{digits}f}" for x in (value, low, high))
    text = f"{first} ({' to '.join(rest)})" if ends else first
    return f"**{text}**" if mark and (low > 0 or high < 0) else text


def print_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> None:
    """Prints a Markdown table."""
    for row in (head, ["---"] * len(head), *body):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
