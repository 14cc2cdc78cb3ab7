"""The notebook of the docs runs as it is, without a screen."""

from __future__ import annotations

import pytest
from helpers.paths import ROOT


@pytest.mark.slow("the notebook of the docs runs from its first to its last cell")
def test_the_notebook_runs(cache, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("EMBEDGATE_CACHE", str(cache))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.read(ROOT / "docs/gate.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "it is committed without outputs"
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown, frame = (
        cell.outputs[-1]["data"]["text/html"] for cell in book.cells if cell.cell_type == "code" and cell.outputs
    )
    assert shown.startswith('<iframe title="embedgate"')
    assert "cosine_mean" in frame
    assert {path.name for path in tmp_path.iterdir()} <= {"ipython"}
