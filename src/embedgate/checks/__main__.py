"""Writes docs/checks.md of a checkout from `CHECKS`: `python -m embedgate.checks`."""

from __future__ import annotations

from pathlib import Path

from embedgate.checks import CHECKS, Check

PAGE = "docs/checks.md"
HEAD = """# Checks

<!-- Written by `python -m embedgate.checks`. -->

Everything that embedgate asks, in the order of reports. The part of a name before its first dot is its kind:
judgements, `report.json` and `expected_failures.toml` have the kind. Red verdicts of one family are corrected for how
many of them a session asks ([statistics.md](statistics.md)). To add a check, follow [its page](add-a-check.md).

| check | asks | of | about | family |
| --- | --- | --- | --- | --- |
"""


def page(checks: tuple[Check, ...] = CHECKS) -> str:
    """The page, as Markdown."""
    rows = (
        (f"`{check.name}`", *(_said(told) for told in (check.judge, check.of, check.over)), check.family or "")
        for check in checks
    )
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _said(told: object) -> str:
    """The first sentence of a docstring, as a cell has it."""
    first = (told.__doc__ or "").split("\n\n")[0].strip().removesuffix(".")
    return first[:1].lower() + first[1:]


if __name__ == "__main__":
    file = Path(PAGE)
    file.write_text(page(), "utf-8")
    print(f"wrote {file}")
