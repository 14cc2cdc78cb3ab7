"""What `import embedgate` gives: what host projects write against, and nothing of weight before it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import embedgate

SOURCE = Path(embedgate.__file__)


def test_every_name_is_there_and_typed():
    """A name stands in three places of the file: for type checkers, for `__getattr__`, and in `__all__`."""
    tree = ast.parse(SOURCE.read_text("utf-8"))
    typed = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    typed -= {"annotations", "import_module", "TYPE_CHECKING", "Any"}
    lazy = {name for names in embedgate._HOME.values() for name in names}
    assert typed == set(embedgate.__all__) == {*lazy, "__version__"}
    for name in lazy:
        assert getattr(embedgate, name).__name__ == name


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'Judge'"):
        _ = embedgate.Judge


@pytest.mark.parametrize(
    ("asks", "heavy"),
    [
        ("pass", ("numpy", "torch", "pytest")),
        ("[getattr(embedgate, name) for name in embedgate.__all__]", ("torch",)),
        ("import embedgate.plugin", ("numpy", "scipy", "torch")),
    ],
)
def test_nothing_of_weight_is_imported(asks, heavy):
    code = f"import embedgate, sys; {asks}; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
