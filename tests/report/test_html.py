"""`report.html` and the plot of quality against speed."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from embedgate.checks import CheckRegistry
from embedgate.core.judgement import Diagnosis, Judgement, WorstText
from embedgate.encoders import Evidence
from embedgate.performance.figures import Latency, SpeedFigures
from embedgate.performance.footprint import Footprint
from embedgate.report import html, pareto
from embedgate.report import summary as summaries
from embedgate.report.collector import Collector
from embedgate.report.files import write
from embedgate.report.records import Record, RunFacts

summarise = partial(summaries.summarise, known=CheckRegistry().known)

EVIL = '<script>alert("1")</script> & \x1b[31m'
SPEED = SpeedFigures(0.5, 0.49, None, 8, 1, 500.0, 250.0, 2.0, 0.1, (EVIL,))
LATENCY = replace(SPEED, candidate_latency_ms=Latency(72, 1.7, 1.8, 2.5, 2.6), reference_latency_ms=Latency(63))
FOOTPRINT = Footprint(102_000_000, 167_000_000, 0, None, None, 0.5, 0.1)
RUN = RunFacts(Evidence("cpu", 1, 0, {}, "acme 1"), 0.1, 0.1, 9, 16)


def record(combination, ratio=None, kept=0.99, judgements=(), reference=False):
    retention = Judgement("retention", combination, "pass", EVIL, "pairs", "spearman", observed=kept)
    run = RUN
    if ratio:
        speed = {"batch_32_medium": replace(SPEED, ratio=ratio), "batch_1_medium": LATENCY}
        run = replace(RUN, speed=speed, footprint=FOOTPRINT)
    for judgement in judgements or (() if reference else (retention,)) or (None,):
        yield Record(combination, reference, judgement, run=run)


@pytest.fixture
def summary():
    bad = Judgement(
        "speed",
        "acme-int8-cpu",
        "fail",
        EVIL,
        metric="batch_32_medium",
        diagnosis=Diagnosis("time", EVIL, EVIL),
        details=(EVIL,),
        worst=(WorstText(EVIL, 1.0, 0.5),),
    )
    unjudged = Judgement("size", "acme-int8-cpu", "inconclusive", EVIL, diagnosis=Diagnosis("approval", EVIL, EVIL))
    kept = Judgement("retention", "acme-int8-cpu", "pass", "", "pairs", "spearman", observed=0.97)
    collector = Collector()
    collector.records += [
        *record("torch-fp32-cpu", reference=True),
        *record("torch-bf16-cpu", 0.5, 0.999),
        *record("torch-fp16-cpu", 1.2, 0.998),
        *record("acme-int8-cpu", 0.4, judgements=(bad, unjudged, kept)),
        *record("slow-int8-cpu"),
    ]
    return summarise(collector)


def test_nothing_of_the_data_is_markup(summary):
    for text in (html.render(summary), pareto.render(summary)):
        assert "<script" not in text
        assert "\x1b" not in text
    assert html.render(summary).count("&lt;script&gt;") >= 6


def test_the_page_needs_no_other_file(summary):
    page = html.render(summary)
    assert not re.search(r"(src|href)=|@import|url\(", page)
    assert 'name="viewport"' in page
    assert "<svg" in page


def test_it_shows_speed_latency_and_memory(summary):
    page = html.render(summary)
    for cell in ("2.00x", "1.7/2.5", "102 MB", "167.0 MB"):
        assert f"<td>{cell}</td>" in page


def test_what_is_not_judged_leaves_the_row_as_it_is_and_is_told_once(summary):
    rows = {row.combination: row.verdict for row in summary.rows}
    assert rows["acme-int8-cpu"] == "fail"
    assert len(summary.not_judged) == 1
    alone = Collector(records=list(_only_unjudged()))
    found = summarise(alone)
    # Nothing at all was judged of this one.
    assert (found.rows[0].verdict, found.verdict) == ("inconclusive", "inconclusive")
    partly = Collector(records=[*_only_unjudged(), *record("acme-int8-cpu")])
    assert (summarise(partly).rows[0].verdict, summarise(partly).verdict) == ("pass", "pass")
    partly.facts = {"strict": True}
    assert summarise(partly).rows[0].verdict == "inconclusive"
    assert "1 budget was not judged: no budget is approved; approve it" in html.render(found)


def _only_unjudged():
    why = Diagnosis("approval", "no budget is approved", "approve it")
    return record("acme-int8-cpu", judgements=(Judgement("size", "acme-int8-cpu", "inconclusive", "", diagnosis=why),))


def test_the_plot_has_a_point_for_each_combination_with_speed_and_quality(summary):
    names = [point.name for point in pareto.points(summary)]
    assert names == ["torch-fp32-cpu", "torch-bf16-cpu", "torch-fp16-cpu", "acme-int8-cpu"]
    drawing = ElementTree.fromstring(pareto.render(summary))
    assert len(drawing.findall("{*}circle")) == 4
    for mark in drawing.iter():
        for key in ("x", "y", "cx", "cy"):
            if key in mark.attrib:
                assert 0 <= float(mark.get(key)) <= pareto.WIDTH


def test_the_front_holds_those_that_no_other_beats(summary):
    front = [point.name for point in pareto.front(pareto.points(summary))]
    assert front == ["torch-fp32-cpu", "torch-bf16-cpu", "acme-int8-cpu"]


def test_labels_of_combinations_alike_do_not_overlap():
    heights = pareto._spread([200.0, 200.0, 201.0, 360.0, 362.0, 364.0])
    ordered = sorted(heights)
    assert all(b - a >= pareto.LINE - 1e-9 for a, b in pairwise(ordered))
    assert ordered[-1] <= pareto.HEIGHT - pareto.BOTTOM


def test_one_combination_alone_has_no_plot_and_an_older_one_goes(tmp_path):
    collector = Collector(records=list(record("torch-bf16-cpu", 0.5)))
    (tmp_path / "pareto.svg").write_text("old")
    names = [file.name for file in write(summarise(collector), tmp_path)]
    assert names == ["report.json", "report.md", "report.html"]
    assert not (tmp_path / "pareto.svg").exists()


def test_all_files_are_written_and_named(summary, tmp_path):
    files = write(summary, tmp_path)
    assert [file.name for file in files] == ["report.json", "report.md", "report.html", "pareto.svg"]
    assert all(file.read_text("utf-8") for file in files)


def test_points_alike_are_drawn_all_the_same(summary):
    """A scale over one value has no width of its own."""
    collector = Collector(records=[*record("a-int8-cpu", 0.5), *record("b-int8-cpu", 0.5)])
    assert pareto.render(summarise(collector)).count("<circle") == 2
    assert asdict(pareto.points(summary)[0])["speed"] == 1.0
