"""Plots: quality against speed, what each dataset keeps, approved values over time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from helpers import made_up
from helpers.paths import TESTS

from embedgate.report import drawing, forest, html, pareto, trend
from embedgate.report.files import write


@pytest.fixture(scope="module")
def everything():
    return made_up.everything()


def all_of(summary):
    return [pareto.plot(summary), *forest.plots(summary), *trend.plots(summary)]


def texts(plot):
    return ["".join(part.itertext()) for part in ElementTree.fromstring(plot.svg).findall(".//{*}text")]


def test_each_combination_with_speed_and_quality_has_its_name_in_the_plot(everything):
    found = pareto.points(everything)
    assert len(found) == 9
    assert made_up.REFERENCE in [point.name for point in found]
    said = texts(pareto.plot(everything))
    for point in found:
        assert any(text.startswith(drawing.shown(point.name, 19)[:9]) for text in said)
        assert f"{point.name}: {point.speed:.2f} times as fast" in pareto.plot(everything).about


def test_the_front_holds_those_that_no_other_beats():
    found = [
        pareto.Point(name, "pass", *at)
        for name, at in {"a": (1, 1.0), "b": (2, 0.99), "c": (1.5, 0.98), "d": (3, 0.9)}.items()
    ]
    assert [point.name for point in pareto.front(found)] == ["a", "b", "d"]


def test_all_that_is_drawn_is_within_the_drawing(everything):
    for plot in all_of(everything):
        root = ElementTree.fromstring(plot.svg)
        _, _, width, height = map(float, root.get("viewBox").split())
        places = [(float(part.get("x")), float(part.get("y"))) for part in root.iter() if "x" in part.attrib]
        assert len(places) > 5
        for x, y in places:
            assert 0 <= x <= width, plot.title
            assert 0 <= y <= height, plot.title


def test_labels_of_combinations_alike_do_not_overlap():
    heights = drawing.spread([200.0, 200.0, 201.0, 360.0, 362.0, 364.0], 20, 366, 16)
    ordered = sorted(heights)
    assert all(b - a >= 16 - 1e-9 for a, b in pairwise(ordered))
    assert ordered[-1] <= 366
    assert drawing.spread([50.0, 100.0], 0, 200, 16) == [50.0, 100.0]


def test_a_combination_that_keeps_nothing_leaves_the_others_apart():
    names = (("a", 1.0, 0.0), ("b", 2.0, 0.999), ("c", 3.0, 0.991))
    assert pareto._floor([pareto.Point(name, "fail", *at) for name, *at in names]) == pareto.FLOOR
    assert pareto._floor([pareto.Point(name, "fail", 1.0, 0.1) for name in "ab"]) == 0.1
    low, high = forest._room([j for row in made_up.everything().rows for j in row.judgements if j.check == "retention"])
    assert low > 0.9
    assert 1 < high < 1.1


def test_each_dataset_has_its_plot_with_share_interval_and_limit(everything):
    found = forest.plots(everything)
    assert [plot.title for plot in found] == [
        "pairs: Spearman kept",
        "passages: nDCG@10 kept",
        "topics: V-measure kept",
    ]
    judgement = next(row for row in everything.rows if row.combination == made_up.BAD).find("spearman", "pairs")
    told = f"{made_up.BAD}: {judgement.observed:.2%} ({judgement.low:.2%} to {judgement.high:.2%}), limit 99.00%: fail"
    assert told in found[0].about
    assert f"{judgement.observed:.1%}" in texts(found[0])
    assert made_up.REFERENCE not in texts(found[0])


def test_of_very_many_combinations_those_nearest_to_their_limits_are_drawn():
    rows = [record for i in range(40) for record in made_up._row(f"acme-int{i}-cpu", keeps=0.9 if i == 30 else 0.9999)]
    (first, *_) = forest.plots(made_up._session(rows))
    assert len([text for text in texts(first) if text.startswith("acme")]) == forest.ROWS
    assert "acme-int30-cpu" in texts(first)
    assert first.note == "The worst 24 of 40, by what is left to the limit."
    rows = [record for i in range(forest.ROWS) for record in made_up._row(f"acme-int{i}-cpu", keeps=0.9999)]
    assert forest.plots(made_up._session(rows))[0].note == ""


def test_approved_values_are_drawn_in_order_with_todays_last(everything):
    found = trend._series(everything, "pairs", "spearman")
    assert [series.combination for series in found][:2] == [made_up.REFERENCE, made_up.GOOD]
    good = found[1]
    assert [point.when[:10] for point in good.points] == ["2026-06-02", "2026-08-14", "2026-10-30"]
    assert good.now == next(row for row in everything.rows if row.combination == made_up.GOOD).find("spearman").value
    (first, *_) = trend.plots(everything)
    assert {"2026-06-02", "now"} <= set(texts(first))
    assert f"now {good.now:.4f}" in first.about


def test_todays_value_of_a_part_of_the_items_is_not_drawn_beside_approved_ones():
    summary = made_up.green()
    for row in summary.rows:
        row.judgements = [replace(j, items=2000) if j.n else j for j in row.judgements]
    assert [series.now for series in trend._series(summary, "pairs", "spearman")] == [None] * 3
    assert trend.plots(summary)[0].note == trend.PARTLY
    assert "now" not in texts(trend.plots(summary)[0])
    # One approved value alone is no course of anything.
    (of,) = summary.facts["trend"]["profiles"].values()
    of["approvals"] = dict([*of["approvals"].items()][:1])
    assert trend.plots(summary) == []
    assert "approved values</summary>" in html.render(summary)
    assert trend.plots(made_up.green())[0].note == ""


def test_the_references_value_is_that_of_those_held_against_it():
    (reference, *_) = trend._series(made_up.green(), "pairs", "spearman")
    assert (reference.combination, reference.now, reference.verdict) == (made_up.REFERENCE, 0.8226, "")


def test_each_references_value_is_that_of_those_on_its_device():
    rows = []
    for device, scale in (("cuda", 1.0), ("cpu", 0.5)):
        rows += made_up._row(f"acme-int8-{device}", keeps=0.9999)
        rows[1:] = [replace(r, judgement=_scaled(r.judgement, scale, f"acme-int8-{device}")) for r in rows[1:]]
        rows.append(replace(rows[0], combination=f"torch-fp32-{device}", reference=True, judgement=None))
    summary = made_up._session(rows)
    judged = {row.combination: row.find("spearman", "pairs") for row in summary.rows if not row.reference}
    now = trend._now(summary, judged.values())
    for device in ("cuda", "cpu"):
        assert now[f"torch-fp32-{device}"] == judged[f"acme-int8-{device}"].reference_value
    assert now["torch-fp32-cuda"] != now["torch-fp32-cpu"]


def _scaled(judgement, scale, id_):
    if judgement is None or judgement.combination != id_ or judgement.reference_value is None:
        return judgement
    return replace(judgement, reference_value=judgement.reference_value * scale, value=judgement.value * scale)


def test_of_very_many_series_it_is_told_how_many_are_drawn(monkeypatch):
    monkeypatch.setattr(trend, "SERIES", 2)
    (first, *_) = trend.plots(made_up.green())
    assert first.note == "The first 2 of 3 combinations; the table has all."
    assert first.about.count("approved") + first.about.count(" on 2026-06-02") == 2


def test_without_history_there_is_no_plot_of_it_and_what_is_missing_is_told():
    summary = made_up.green()
    summary.facts["trend"] = {}
    assert (trend.plots(summary), trend.rows(summary), trend.missing(summary)) == ([], [], "")
    assert "over time" not in html.render(summary)
    summary.facts["trend"] = {"missing": "this clone is shallow", "profiles": {}}
    assert "Not known: this clone is shallow." in html.render(summary)


def test_the_table_of_approved_values_begins_with_the_newest(everything):
    rows = trend.rows(everything)
    assert len(rows) == 3 * 4 * 3
    assert rows[0][:3] == ("2026-10-30", "efefefefef", "cpu-x86_64-amx")
    assert rows[0][6:8] == ("0.8238", "Maintainer <m@example.org>")


def test_names_cannot_break_a_drawing_and_are_no_formulas():
    point = [pareto.Point(made_up.HOSTILE, "pass", 1.0, 1.0), pareto.Point("$x_1$", "fail", 2.0, 0.99)]
    plot = pareto._plot(tuple(point), pareto.QUALITY)
    assert plot.trouble == ""
    assert "<script" not in plot.svg
    assert "\x1b" not in plot.svg
    assert "$x_1$" in texts(plot)


def test_equal_content_is_drawn_alike_whatever_the_user_has_set(everything, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    first = [plot.svg for plot in all_of(everything)]
    pareto._plot.cache_clear()
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "pink"}):
        assert [plot.svg for plot in all_of(everything)] == first
        assert matplotlib.rcParams["font.size"] == 30


def test_a_drawing_for_the_page_has_its_colours_and_names_of_its_own(everything):
    ids = [name for plot in all_of(everything) for name in re.findall(r' id="([^"]+)"', plot.inline)]
    assert len(ids) == len(set(ids))
    for plot in all_of(everything):
        root = ElementTree.fromstring(plot.inline)
        assert root.get("role") == "img"
        assert {"title", "desc"} <= {part.tag.partition("}")[2] for part in root}
        assert not re.search(r'style=|<style|(fill|stroke)="#', plot.inline)
        assert "var(" not in plot.svg


def test_what_cannot_be_drawn_costs_the_report_nothing_else(monkeypatch, tmp_path):
    def broken(*_):
        raise OSError("no fonts")

    monkeypatch.setattr(drawing, "_painted", broken)
    pareto._plot.cache_clear()
    written = write(made_up.worse(), tmp_path)
    pareto._plot.cache_clear()
    assert [file.name for file in written] == ["report.json", "report.md", "report.html"]
    assert "Not drawn: OSError: no fonts" in (tmp_path / "report.html").read_text("utf-8")


def test_points_alike_are_drawn_all_the_same():
    """A scale over one value has no width of its own."""
    found = tuple(pareto.Point(name, "pass", 2.0, 1.0) for name in ("a", "b"))
    assert pareto._plot(found, pareto.QUALITY).trouble == ""
    (judgement,) = [j for row in made_up.worse().rows for j in row.judgements if j.metric == "spearman"][:1]
    alone = replace(judgement, observed=1.0, low=None, high=None, limit=None)
    assert forest._plot(0, "pairs", "spearman", [alone], 1).trouble == ""


def test_what_matplotlib_would_say_of_its_cache_is_not_said(tmp_path):
    code = (
        "from helpers import made_up; from embedgate.report import pareto; print(pareto.plot(made_up.green()).trouble)"
    )
    nowhere = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "file" / "below"), "PYTHONPATH": str(TESTS)}
    (tmp_path / "file").write_text("no folder")
    done = subprocess.run([sys.executable, "-c", code], env=nowhere, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_matplotlib_is_imported_where_something_is_drawn_alone():
    code = "import sys, embedgate.report.files; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
