"""Writes docs/checks.md of a checkout from `CHECKS`: `python -m embedgate.checks`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from embedgate.checks import CHECKS, Check
from embedgate.checks.check import PHASES
from embedgate.core.depth import DEPTHS, MEANT_FOR, NIGHTLY, STANDARD

PAGE = "docs/checks.md"
HEAD = """# Checks

<!-- Written by `python -m embedgate.checks`. -->

Everything that embedgate asks, in the order of reports. The part of a name before its first dot is its kind:
judgements, `report.json` and `expected_failures.toml` have the kind. Red verdicts of one family are corrected for how
many of them a session asks ([statistics.md](statistics.md)). To add a check, follow [its page](add-a-check.md).

"""
TABLE = """| check | asks | of | about | family | from depth | phase |
| --- | --- | --- | --- | --- | --- | --- |
"""
DEPTH = f"""
## Depths

`--gate-depth` says how much a session asks. Each depth asks all that the one above it asks, and more: the table names
the least depth that asks a check. Reports say the depth, and how many checks of the whole were asked:
`depth: {STANDARD}, partial: 812 of 1,391 checks`. The whole is all that can be asked of those combinations of which
anything was, whatever the depth, `-k`, `-m` or the suites that you gave left out. What a session
did not reach, since `-x` or Ctrl-C ended it, counts as asked.

| depth | is for |
| --- | --- |
"""
EMULATED = f"""
A CPU without instructions for a type, such as float16, computes it by way of another one, several times as slowly as
float32. Such combinations would take most of a session, so they are left to `{NIGHTLY}`, and the report names them.
`--gate-combination` asks for them at any depth.
"""
PHASE = f"""
## Order

A session has phases, one after the other: {", ".join(f"`{phase}`" for phase in PHASES)}. In each, combination
follows combination, references first, and each is asked its checks in the order of the table. So what says most comes
first, and `-x` ends early. A combination's encoder is closed when the next one is built, so a check that encodes
belongs into the first phase.
"""


def page(checks: tuple[Check, ...] = CHECKS) -> str:
    """The page, as Markdown."""
    rows = (
        (
            f"`{check.name}`",
            *(_said(told) for told in (check.judge, check.of, check.over)),
            check.family or "",
            _said(check.depth) if callable(check.depth) else check.depth,
            check.phase,
        )
        for check in checks
    )
    depths = ((f"`{depth}`", MEANT_FOR[depth]) for depth in DEPTHS)
    return HEAD + TABLE + _rows(rows) + DEPTH + _rows(depths) + EMULATED + PHASE


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _said(told: object) -> str:
    """The first sentence of a docstring, as a cell has it."""
    first = (told.__doc__ or "").split("\n\n")[0].strip().removesuffix(".")
    return first[:1].lower() + first[1:]


if __name__ == "__main__":
    file = Path(PAGE)
    file.write_text(page(), "utf-8")
    print(f"wrote {file}")
