"""How small a loss can `passages` show, and does noise gain on it? Prints the tables of `docs/passages.md`.

    python benchmarks/passages.py ["onnxruntime-int8*" ...]

The reference and the int8 combinations encode the bundled set once. The first table gives, for each combination, the
standard deviation of a query's difference in nDCG@10, the loss that these queries can show at level 0.05 with 80%
power, and about how many queries a loss of 1% takes: with every query on its own, and with clusters resampled as
wholes, since queries that share an answer or nearly all words are not independent. The second table adds isotropic
Gaussian noise to the reference's vectors: queries that were chosen by what a model answers gain by it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embedgate.core.cache import cache_root
from embedgate.core.combination import Combination
from embedgate.core.roles import DOCUMENT, QUERY
from embedgate.core.settings import Settings
from embedgate.data.types import Retrieval
from embedgate.encoders.registry import Registry
from embedgate.metrics import FloatArray, Matrix, Scores
from embedgate.metrics.comparison import Comparison
from embedgate.metrics.retrieval import evaluate
from embedgate.metrics.statistics import compare
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Session

REFERENCE = "torch-fp32-cpu"
INT8 = ("*-int8-cpu", "*-int8static-cpu")
METRIC = "ndcg_at_10"
ALPHA, LOSS = 0.05, 0.01
# Length of the noise beside vectors of length 1.
SIZES = (0.02, 0.05, 0.1, 0.2, 0.3)
SEEDS = range(20)
NOISE_HEADS = ("noise", "kept", "standard error over seeds", "over queries", "seeds that gain")
HEADS = ("combination", "kept", "deviation of a query", "loss shown", "by clusters", "queries for 1%", "by clusters")


@dataclass(frozen=True)
class Detectable:
    """What a number of queries can show.

    Attributes:
        loss: The smallest loss, as a share of the reference's value.
        needed: How many queries show `LOSS`.
    """

    loss: float
    needed: int

    @classmethod
    def of(cls, found: Comparison) -> Detectable:
        """From a comparison of a number of queries."""
        assert found.smallest_detectable_loss is not None
        return cls(found.smallest_detectable_loss, math.ceil(found.n * (found.smallest_detectable_loss / LOSS) ** 2))


def main() -> None:
    """Encodes, scores and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("combinations", nargs="*", help="globs over combinations; every int8 where none is given")
    names = parser.parse_args().combinations or INT8
    settings = Settings(combinations=(REFERENCE, *names), data=("passages",), cache=cache_root())
    session = Session(Plan.of(settings, Registry()), print)
    (dataset,) = session.plan.datasets
    assert isinstance(dataset, Retrieval)
    reference = session.run(Combination.parse(REFERENCE))
    exact = session.scores(reference, dataset)[METRIC]
    print(f"\n{len(exact.items)} queries in {exact.independent} clusters; {METRIC} of fp32 {exact.value:.4f}\n")
    print_table(HEADS, (losses(session, one, dataset, exact) for one in encoded(session)))
    print()
    found = reference.embeddings
    vectors = [found.of(texts, role) for texts, role in ((dataset.queries, QUERY), (dataset.documents, DOCUMENT))]
    print_table(NOISE_HEADS, (noisy(size, vectors, dataset, exact) for size in SIZES))
    session.close()


def encoded(session: Session) -> list[Combination]:
    """The combinations beside the reference that can run here."""
    return [one for one in session.plan.combinations if not one.is_reference and not session.unavailable(one)]


def losses(session: Session, combination: Combination, dataset: Retrieval, exact: Scores) -> tuple[str, ...]:
    """The first table's row of a combination."""
    scores = session.scores(session.run(combination), dataset)[METRIC]
    alone, together = (
        Detectable.of(compare(replace(scores, clusters=by), replace(exact, clusters=by), LOSS, alpha=ALPHA))
        for by in (None, exact.clusters)
    )
    deviation = f"{(scores.items - exact.items).std():.3f}"
    shown = [f"{each.loss:.2%}" for each in (alone, together)]
    kept = f"{scores.value / exact.value:.2%}"
    return (str(combination), kept, deviation, *shown, f"{alone.needed:,}", f"{together.needed:,}")


def noisy(size: float, vectors: Sequence[Matrix], dataset: Retrieval, exact: Scores) -> tuple[str, ...]:
    """The second table's row of a size of noise.

    The mean share that is kept has two standard errors: over seeds, other noise on these queries, and over queries,
    which tells whether other queries of this kind would gain.
    """
    found = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        queries, documents = (with_noise(each, size, rng) for each in vectors)
        found.append(evaluate(queries, documents, dataset.relevance)[METRIC].items / exact.value)
    kept = np.mean(found, axis=1)
    over_seeds = np.std(kept, ddof=1) / math.sqrt(len(kept))
    over_queries = error_of_mean(np.mean(found, axis=0) - exact.items / exact.value, exact.clusters)
    gains = f"{sum(one > 1 for one in kept)} of {len(kept)}"
    return (f"{size}", f"{np.mean(kept):.2%}", f"{over_seeds:.2%}", f"{over_queries:.2%}", gains)


def error_of_mean(items: FloatArray, clusters: npt.NDArray[np.intp] | None) -> float:
    """Standard error of a mean whose items come in clusters (Miller 2024, arXiv 2411.00640)."""
    sums = np.bincount(np.arange(len(items)) if clusters is None else clusters, items - items.mean())
    return float(np.sqrt((sums**2).sum()) / len(items))


def with_noise(vectors: Matrix, size: float, rng: np.random.Generator) -> Matrix:
    """Vectors of length 1 with isotropic Gaussian noise of about the given length."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit + size / math.sqrt(unit.shape[1]) * rng.standard_normal(unit.shape)).astype(np.float32)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table as Markdown."""
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
