"""Reports of earlier sessions, as far as another session reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from embedgate.core.judgement import Judgement
from embedgate.core.model import Model
from embedgate.data.types import Dataset
from embedgate.encoders import Evidence
from embedgate.report.receipt import seal
from embedgate.report.records import RunFacts

REFERENCE, OWN = "torch-fp32-cpu", "torch-bf16-cpu"


def retained(dataset: str, metric: str, value: float, reference: float, **more: Any) -> Judgement:
    return Judgement("retention", OWN, "pass", "kept", dataset, metric, value=value, reference_value=reference, **more)


def earlier(
    model: Model, datasets: Iterable[Dataset], judged: Iterable[Judgement] = (), /, **more: Any
) -> dict[str, Any]:
    """A report in which two combinations ran, not sealed yet; `more` are keys to have other values."""
    run = RunFacts(Evidence("cpu", 2, 90_000_000, {}, "torch 2.10.0"), 1.0, 2.0, texts=100, dim=384).to_json()
    mine = [j.to_json() for j in judged]
    rows: list[Mapping[str, Any]] = [
        {"combination": REFERENCE, "reference": True, "run": run, "judgements": []},
        {"combination": OWN, "reference": False, "run": run, "judgements": mine},
    ]
    plain = {
        "schema": 2,
        "created": "2026-11-02T00:00:00+00:00",
        "model": {"name": model.name, "source": model.source, "fingerprint": model.fingerprint},
        "libraries": {"torch": "2.10.0"},
        "datasets": [{"name": each.name, "sha256": each.sha256} for each in datasets],
        "combinations": rows,
        "receipt": {},
    }
    return {**plain, **more}


def written(path: Path, report: dict[str, Any]) -> Path:
    """The file of a report, sealed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(seal(report)), "utf-8")
    return path
