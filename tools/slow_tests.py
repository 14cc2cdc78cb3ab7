"""Writes tests/slow.md: what each slow test proves, as its mark says.

python tools/slow_tests.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
HEAD = """# Slow tests

Each takes more than ten seconds on one core. `python tools/slow_tests.py` writes this list from the marks:
`@pytest.mark.slow("what it proves")`.

| test | proves |
| --- | --- |
"""


def proofs(source: str) -> Iterator[tuple[str, str]]:
    """Each slow test or class of tests of a module, and what it proves."""
    for node in ast.walk(ast.parse(source)):
        for mark in getattr(node, "decorator_list", ()):
            if ast.unparse(mark).startswith("pytest.mark.slow"):
                if not isinstance(mark, ast.Call):
                    raise ValueError(f"{node.name}: @pytest.mark.slow says nothing; give it what the test proves")
                yield node.name, ast.literal_eval(mark.args[0])


def table(tests: Path = TESTS) -> str:
    rows = [
        f"| `{file.relative_to(tests)}::{name}` | {proof} |\n"
        for file in sorted(tests.rglob("test_*.py"))
        for name, proof in proofs(file.read_text("utf-8"))
    ]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    (TESTS / "slow.md").write_text(table(), "utf-8")
