"""How many times faster than its reference each combination is, by batch size, as a table in Markdown.

    python benchmarks/throughput.py 'torch-*-cuda' 'tensorrt-*' [--batch-size 1 --batch-size 32 --batch-size 256]

Each figure is the median ratio of turns taken alternately by reference and combination on texts of about 65 characters,
with its 95% interval; latency is of one text at a time. A combination that cannot run here is told beneath the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from embedgate.core.errors import GateError
from embedgate.core.settings import Settings
from embedgate.encoders.registry import Registry
from embedgate.performance.paired import Aim, Levels, compare
from embedgate.performance.timing import Timing, figures_of
from embedgate.performance.workloads import LATENCY, Workload
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Session

ALPHA = 0.05
BLOCKS = 16
BATCH_SIZES = (1, 32, 256)
LENGTH = "medium"


def rows(globs: Iterable[str], batch_sizes: Iterable[int]) -> tuple[list[list[str]], list[str]]:
    """The table's rows, and a line for each combination that has none."""
    session = Session(Plan.of(Settings(combinations=tuple(globs), data=("pairs",)), Registry()))
    timing, loads = Timing(session.pool), [Workload(size, LENGTH) for size in batch_sizes]
    found, missing = [], []
    for combination in session.plan.combinations:
        if combination.is_reference:
            continue
        try:
            if reason := session.unavailable(combination):
                raise GateError(reason)
            cells, latency = [], ""
            for load in loads:
                print(f"{combination}: {load}", flush=True)
                blocks = timing.blocks(combination, load)
                ratio = compare(blocks, Aim(None, Levels(ALPHA, 1), BLOCKS))
                figures = figures_of(load, blocks, ratio, timing, ())
                cells.append(f"{1 / ratio.median:.2f} ({1 / ratio.high:.2f} to {1 / ratio.low:.2f})")
                if load.id == LATENCY:
                    both = [figures[f"{arm}_latency_ms"] for arm in ("candidate", "reference")]
                    shown = ["/".join(f"{told[q]:.2f}" for q in ("p50", "p95")) for told in both]
                    latency = f"{shown[0]} (reference {shown[1]})"
            found.append([combination.id, *cells, latency])
        except GateError as error:
            missing.append(f"{combination}: {error}")
    session.close()
    return found, missing


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("combinations", nargs="+", metavar="GLOB")
    parser.add_argument("--batch-size", type=int, action="append", dest="sizes")
    given = parser.parse_args()
    sizes = given.sizes or list(BATCH_SIZES)
    table, missing = rows(given.combinations, sizes)
    headings = ["combination", *(f"times faster at batch {size}" for size in sizes), "latency p50/p95 ms"]
    for cells in (headings, ["---"] * len(headings), *table):
        print(f"| {' | '.join(cells)} |")
    for line in missing:
        print(f"\n{line}")


if __name__ == "__main__":
    main()
