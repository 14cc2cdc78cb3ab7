"""Reports of sessions on texts without labels."""

from __future__ import annotations

from functools import partial

import pytest

from embedgate.checks import CheckRegistry
from embedgate.core.judgement import Judgement, Slice
from embedgate.report import columns, facts, forest, pareto, slices, trend
from embedgate.report import summary as summaries
from embedgate.report.collector import Collector
from embedgate.report.records import Record

summarise = partial(summaries.summarise, known=CheckRegistry().known)
MINE = "acme-int8-cpu"


def agreed(metric: str, dataset: str, value: float, verdict: str = "pass", loss: float | None = 0.004) -> Judgement:
    return Judgement(
        "agreement",
        MINE,
        verdict,
        f"{metric} {value:.4f}",
        dataset,
        metric,
        value=value,
        observed=value,
        low=value - 0.01,
        high=value + 0.01,
        limit=0.9,
        n=500,
        smallest_detectable_loss=loss,
    )


def of(*judgements: Judgement, **facts):
    reference = Record("torch-fp32-cpu", True, Judgement("effective", "torch-fp32-cpu", "pass", "ran"))
    records = [reference, *(Record(MINE, judgement=judgement) for judgement in judgements)]
    return summarise(Collector(records, facts=facts))


def near(dataset: str, overlap: float) -> list[Judgement]:
    return [agreed("top10_overlap", dataset, overlap), agreed("cosine_p01", dataset, 0.97, loss=None)]


def cells(summary, row: int = 1) -> dict[str, str]:
    found = columns.table(summary)
    return {column.heading: str(cell) for column, cell in zip(found.columns, found.rows[row], strict=True) if str(cell)}


@pytest.mark.parametrize("judged", [near("log", 0.95), [*near("texts:log", 0.95)]])
def test_where_they_are_all_there_is_the_usual_columns_are_theirs(judged):
    found = cells(of(*judged))
    assert {heading: found.get(heading) for heading in ("top-10 overlap", "p01 cosine")} == {
        "top-10 overlap": "0.950",
        "p01 cosine": "0.9700",
    }
    assert not {"log top-10", "log p01"} & found.keys()


def test_beside_other_data_they_have_columns_of_their_own():
    found = cells(of(*near("texts:log+pairs", 0.93), *near("log", 0.95)))
    assert (found["top-10 overlap"], found["log top-10"], found["log p01"]) == ("0.930", "0.950", "0.9700")


def test_of_several_none_stands_for_all():
    found = cells(of(*near("log", 0.95), *near("part", 0.96)))
    assert (found["log top-10"], found["part top-10"]) == ("0.950", "0.960")
    assert "top-10 overlap" not in found


def test_what_is_red_is_marked_with_its_limit():
    summary = of(agreed("top10_overlap", "log", 0.5, "fail"))
    assert cells(summary)["top-10 overlap"] == "0.500 (>= 0.900)"


def test_the_smallest_loss_that_shows_is_told_where_any_does():
    summary = of(*near("log", 0.95))
    assert summary.detectable == {("log", "top10_overlap"): 0.004}
    feet = {column.heading: column.foot for column in columns.table(summary).columns if column.foot}
    assert feet == {"top-10 overlap": "0.40%"}


def test_over_all_texts_no_smallest_loss_is_told():
    assert of(*near("texts:log+pairs", 0.95)).detectable == {}


def test_the_plots_have_them():
    summary = of(*near("log", 0.95))
    assert [plot.title for plot in forest.plots(summary)] == ["log: nearest ten kept"]
    assert summaries.kept(summary, summary.rows[1]) == 0.95


def test_approved_values_are_plotted_over_time():
    values = {MINE: {"log": {"top10_overlap": 0.94}}}
    approvals = {"a1b2": {"when": "2026-11-01T00:00:00+00:00", "values": values, "by": {}}}
    summary = of(*near("log", 0.95), **{facts.TREND: {"profiles": {"cpu": {"approvals": approvals}}}})
    (series,) = trend._series(summary, "log", "top10_overlap")
    assert (series.now, series.marks) == (0.95, 2)
    assert [plot.title for plot in trend.plots(summary)] == ["log: nearest ten as approved, and now"]


def test_with_labels_the_share_kept_is_of_quality_alone():
    retained = Judgement("retention", MINE, "pass", "keeps", "pairs", "spearman", value=0.8, observed=0.99)
    summary = of(retained, *near("log", 0.95))
    assert summaries.kept(summary, summary.rows[1]) == 0.99


@pytest.mark.parametrize("labelled", [True, False])
def test_the_plot_of_speed_says_what_its_axis_is_of(monkeypatch, labelled):
    two = [pareto.Point("one", "pass", 1.0, 1.0), pareto.Point("other", "pass", 2.0, 0.98)]
    monkeypatch.setattr(pareto, "points", lambda _: two)
    retained = Judgement("retention", MINE, "pass", "keeps", "pairs", "spearman", value=0.8, observed=0.99)
    said = pareto.plot(of(*[retained] * labelled, *near("log", 0.95))).svg
    assert ("least kept, over labelled datasets" in said) is labelled
    assert ("least of the nearest ten kept, over datasets" in said) is not labelled


def test_slices_that_were_judged_are_shown():
    part = Slice("long", 100, 0.96, 1.0, 0.95, 0.97, "fail")
    found = slices.table(of(Judgement("slices", MINE, "fail", "long", "log", "cosine_mean", slices=(part,))))
    assert [str(cell) for cell in found.rows[0]] == ["log", "cosine_mean", "long", "100", "1.0000", "0.9600 (-0.0400)"]


@pytest.mark.parametrize(
    ("kinds", "told"), [(("texts",), True), (("texts", "texts"), True), (("texts", "similarity"), False), ((), False)]
)
def test_a_session_without_labels_says_what_it_cannot_tell(kinds, told):
    lines = facts.lines({"datasets": [{"name": f"{place}", "kind": kind} for place, kind in enumerate(kinds)]})
    assert (facts.NO_LABELS in lines) == told
