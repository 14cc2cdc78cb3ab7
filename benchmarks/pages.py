"""Tables of pages in docs/ that a benchmark writes, each between its two marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def with_tables(page: str, script: str, tables: Mapping[str, str]) -> str:
    """A page with its tables as they are now.

    Args:
        page: The page.
        script: The file that writes them, in `benchmarks/`.
        tables: By its mark, each table.
    """
    for name, written in tables.items():
        mark = f"<!-- {name}: written by benchmarks/{script} -->"
        before, _, after = page.split(mark)
        page = f"{before}{mark}\n\n{written}\n\n{mark}{after}"
    return page


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (titles, *rows)]
    return "\n".join([lines[0], "|" + " --- |" * len(titles), *lines[1:]])
