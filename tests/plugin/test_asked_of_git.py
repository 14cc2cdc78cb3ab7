"""git is asked for the history of approved values once, by the process that shows it, and where it is shown alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from embedgate.approved import history
from embedgate.plugin.bench import Bench
from embedgate.report import receipt
from embedgate.report.collector import Collector


@pytest.mark.parametrize(("report", "is_call", "asks"), [(None, False, 0), ("out", False, 1), (None, True, 1)])
def test_git_is_asked_once_where_there_is_a_report(monkeypatch, report, is_call, asks):
    asked = []
    monkeypatch.setattr(history, "trend", lambda served: asked.append(served) or {"missing": "", "profiles": {}})
    monkeypatch.setattr(receipt, "section", lambda *_: {})
    rows = [["cpu", "gate/cpu/m.json", "torch-bf16-cpu", "pairs", "spearman", "c" * 64]]
    facts = {"profiles": {}, "model": {"name": "m"}, "asked": {}, "trend": {history.SERVED: rows}}
    collector = Collector([])
    collector.facts = facts
    settings = SimpleNamespace(report=report, is_call=is_call)
    Bench.seal_facts(SimpleNamespace(collector=collector, settings=settings, invocation=None))
    assert asked == [rows] * asks
    assert history.SERVED not in collector.facts["trend"]
