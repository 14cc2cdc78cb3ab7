"""How often a verdict on a part of the items errs, how often it finds what is there, and how many items it takes.

    python benchmarks/early.py                    # simulated, beside one look at all items, on the same draws
    python benchmarks/early.py out/report.json    # the items that a session really used, by combination and check

A session passes as soon as a look passes; all others look at all items. "At the tolerance" is the level: the true loss
equals the tolerance, so a pass is false. The other losses are the power.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from embedgate.metrics import mean_of
from embedgate.metrics.sequential import levels, looks
from embedgate.metrics.statistics import compare

ALPHA, FAMILY, TOLERANCE = 0.05, 20, 0.05
SESSIONS, DRAWS = 1000, 1000
ITEMS = (702,)
LOSSES = (0.05, 0.04, 0.03, 0.02, 0.0, 0.08)

Arms = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def by_degrees(rng: np.random.Generator, n: int, loss: float) -> Arms:
    """Items that lose a part, as ranks of a query do."""
    reference = rng.beta(4, 2, n)
    return (1 - loss) * reference + rng.normal(0, 0.1, n), reference


def counts(rng: np.random.Generator, n: int, loss: float) -> Arms:
    """Items that are right or wrong, as triplets are."""
    right = rng.random(n) < 0.8
    return np.where(right, rng.random(n) >= loss, 0.0), right.astype(float)


def row(draw: Callable[..., Arms], n: int, loss: float, unit_loss: float | None) -> list[str]:
    """Simulates sessions: verdicts by looks and by one look, and the share of the items that was used."""
    sizes = looks(n)
    found, once, used = {"pass": 0, "fail": 0}, {"pass": 0, "fail": 0}, []
    for seed in range(SESSIONS):
        candidate, reference = draw(np.random.default_rng(seed), n, loss)
        for size, level in zip(sizes, levels(ALPHA, sizes), strict=True):
            arms = mean_of(candidate[:size]), mean_of(reference[:size])
            of = {"shared": ALPHA, "family": FAMILY}
            at = compare(*arms, TOLERANCE, alpha=level, **of, unit_loss=unit_loss, replicates=DRAWS)
            if at.verdict == "pass":
                break
        used.append(size / n)
        whole = mean_of(candidate), mean_of(reference)
        alone = compare(*whole, TOLERANCE, alpha=ALPHA, family=FAMILY, unit_loss=unit_loss, replicates=DRAWS)
        for verdicts, comparison in ((found, at), (once, alone)):
            if comparison.verdict in verdicts:
                verdicts[comparison.verdict] += 1
    shares = (f"{verdicts[each] / SESSIONS:.1%}" for each in ("pass", "fail") for verdicts in (found, once))
    return [
        draw.__name__.replace("_", " "),
        str(n),
        f"{loss:.0%}",
        *shares,
        f"{np.mean(used):.0%}",
        f"{median(used):.0%}",
    ]


def simulate() -> None:
    """Prints the table of verdicts."""
    table = Table("metric", "items", "true loss", "pass", "by one look", "fail", "by one look", "mean items", "median")
    for draw, unit_loss in ((by_degrees, None), (counts, 1.0)):
        for n in ITEMS:
            for loss in LOSSES:
                table.add_row(*row(draw, n, loss, unit_loss))
    console = Console(width=120)
    console.print(
        f"tolerance {TOLERANCE:.0%}, alpha {ALPHA:.0%}, family of {FAMILY}, {SESSIONS} sessions, {DRAWS} draws"
    )
    console.print(table)


def used(report: Path) -> None:
    """Prints the share of the items that decided, by combination."""
    rows = json.loads(report.read_text("utf-8"))
    table = Table("combination", "checks", "on a part", "items of the median check", "texts encoded")
    everything: list[float] = []
    for each in rows["combinations"]:
        shares = [
            judgement["n"] / (judgement["items"] or judgement["n"])
            for judgement in each["judgements"]
            if judgement["check"] in ("retention", "agreement") and judgement["n"]
        ]
        everything += shares
        if shares:
            texts = f"{each['run']['texts']:,} of {rows['texts']:,}"
            part = sum(share < 1 for share in shares)
            table.add_row(each["combination"], str(len(shares)), str(part), f"{median(shares):.0%}", texts)
    console = Console(width=120)
    console.print(table)
    console.print(f"median of all {len(everything)} checks of quality: {median(everything):.0%} of the items")


if __name__ == "__main__":
    used(Path(sys.argv[1])) if len(sys.argv) > 1 else simulate()
