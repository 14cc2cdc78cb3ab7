"""How small a loss each dataset shows, from the report.json of one session or of two, side by side: prints a table.

    python benchmarks/detectable.py out/report.json
    python benchmarks/detectable.py before/report.json after/report.json

A row is a dataset, a metric and a combination. It has the smallest loss that can be told from none in four of five
samples, as a share of the reference's value, and how many items decided. At the depth `nightly` all of them do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pages

CHECK = "retention"


def main() -> None:
    """Reads the reports and prints the table."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    print(table([json.loads(Path(name).read_text("utf-8")) for name in sys.argv[1:]]))


def table(reports: Sequence[Mapping[str, Any]]) -> str:
    """The table, with the columns of one report beside the other's."""
    sides = [losses(report) for report in reports]
    titles = ["dataset", "metric", "combination"]
    for side in ("",) if len(sides) == 1 else (" before", " after"):
        titles += [f"smallest detectable loss{side}", f"items{side}"]
    rows = dict.fromkeys(key for side in sides for key in side)
    return pages.table(titles, [[*key, *(part for side in sides for part in side.get(key, ("", "")))] for key in rows])


def losses(report: Mapping[str, Any]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """By dataset, metric and combination, the smallest loss that shows and how many items decided, in words."""
    judged = [each for found in report["combinations"] for each in found["judgements"] if each["check"] == CHECK]
    return {
        (each["dataset"], each["metric"], each["combination"]): (_share(each), str(each["n"] or ""))
        for each in sorted(judged, key=lambda each: (each["dataset"], each["metric"]))
    }


def _share(judgement: Mapping[str, Any]) -> str:
    """What stands in the report as a share of the reference's value, for example `1.3%`."""
    loss = judgement["smallest_detectable_loss"]
    return "" if loss is None else f"{loss:.2%}"


if __name__ == "__main__":
    main()
