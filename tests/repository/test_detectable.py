"""How small a loss shows is told from one report, and from two side by side."""

from __future__ import annotations

from helpers.scripts import benchmark


def test_two_reports_show_what_they_can_tell_side_by_side():
    with benchmark("detectable") as detectable:
        judged = {"check": "retention", "dataset": "pairs", "metric": "spearman", "n": 900}

        def report(loss):
            judgements = [{**judged, "combination": "a-int8-cpu", "smallest_detectable_loss": loss}]
            return {"combinations": [{"judgements": judgements}]}

        assert "| pairs | spearman | a-int8-cpu | 1.50% | 900 |" in detectable.table([report(0.015)])
        both = detectable.table([report(0.015), report(0.005)])
        assert "| pairs | spearman | a-int8-cpu | 1.50% | 900 | 0.50% | 900 |" in both
        assert detectable.losses(report(None)) == {("pairs", "spearman", "a-int8-cpu"): ("", "900")}
