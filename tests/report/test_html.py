"""`report.html`, as text; `test_page.py` opens it in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from functools import partial

import pytest
from helpers import made_up

from embedgate.checks import CheckRegistry
from embedgate.core.judgement import Diagnosis, Judgement, WorstText
from embedgate.core.strictness import Strictness
from embedgate.encoders import Evidence
from embedgate.performance.figures import Latency, SpeedFigures
from embedgate.performance.footprint import Footprint
from embedgate.report import html, judged, pareto
from embedgate.report import summary as summaries
from embedgate.report.collector import Collector
from embedgate.report.decision import decision
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
    page = html.render(summary)
    for text in (page.replace("<script>(()", ""), pareto.plot(summary).svg):
        assert "<script" not in text
        assert "\x1b" not in text
    assert page.count("&lt;script&gt;") >= 6


def test_control_characters_are_shown_as_what_they_are():
    page = html.render(made_up.everything())
    assert "\x1b" not in page
    assert page.count(r"\x1b[31m") > 20


def test_errors_stand_above_failures():
    page = html.render(made_up.everything())
    assert page.index('id="errors"') < page.index('id="fail"')
    assert 'id="errors"' not in html.render(made_up.worse())


def test_the_page_needs_no_other_file_and_says_that_it_asks_for_none(summary):
    page = html.render(summary)
    assert not re.search(r"src=|@import|url\((?!#)|style=", page)
    assert set(re.findall(r'href="(.)', page)) == {"#"}
    assert 'name="viewport"' in page
    assert "<svg" in page
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_same_session_gives_the_same_page():
    assert html.render(made_up.everything()) == html.render(made_up.everything())


def test_the_first_thing_said_is_whether_it_may_ship():
    for make, answer in ((made_up.green, "Yes"), (made_up.worse, "No"), (made_up.unapproved, "Not known")):
        page = html.render(make())
        assert f"May it ship? <b>{answer}.</b>" in page
        assert decision(make()).why.split(":")[0] in page


def test_the_kinds_of_red_stand_apart():
    kinds = (
        "Worse than the reference",
        "Drifted from what was approved",
        "Not approved yet",
        "Worse than the incumbent",
    )
    for make, kind in zip((made_up.worse, made_up.drifted, made_up.unapproved, made_up.upgrade), kinds, strict=True):
        found = re.findall(r"<h3>(.*?) <span", html.render(make()))
        assert found == [kind]


def test_what_is_red_is_open_by_how_strict_the_session_is():
    for strict, reds in ((Strictness.USUAL, 0), (Strictness.ESTIMATE, 1), (Strictness.FULL, 2)):
        below, above = (made_up._retention(made_up.OPEN, "pairs", "spearman", 0.8, kept) for kept in (0.9885, 0.9915))
        rows = [
            Record(made_up.OPEN, judgement=below),
            Record(made_up.GOOD, judgement=replace(above, combination=made_up.GOOD)),
        ]
        page = html.render(summarise(Collector(records=rows, strict=strict)))
        assert page.count('class="finding is-inconclusive"') == 2
        assert len(re.findall('class="finding is-inconclusive"[^>]* open>', page)) == reds


def test_texts_are_headed_by_what_they_are_held_against():
    for make, heading in ((made_up.worse, "reference"), (made_up.upgrade, "incumbent")):
        lost = html.render(make()).partition("<caption>Texts that lost most")[2]
        assert re.findall(r'<th scope="col">(\w+)</th>', lost)[0] == heading


def test_the_cell_that_fails_is_marked_with_its_limit():
    page = html.render(made_up.worse())
    assert re.search(r'<td class="fail">91\.\d% \(0\.\d+\)<small>≥ 99\.0%</small></td>', page)
    assert '<td class="fail">' not in html.render(made_up.green())


def test_what_is_inconclusive_is_not_called_worse():
    page = html.render(made_up._session([*made_up._row(made_up.REFERENCE), *made_up._row(made_up.OPEN, keeps=0.9905)]))
    assert "Inconclusive</h2>" in page
    assert "<h3>" not in page


def test_a_text_of_a_hundred_thousand_characters_is_cut():
    error = "x" * 100_000
    page = html.render(summarise(Collector(records=[Record("acme-int8-cpu", error=error)])))
    assert "(100,000 characters" in page
    assert len(page) < 60_000


def test_what_is_new_stands_beside_the_incumbent_once():
    page = html.render(made_up.upgrade())
    assert page.count('<h2 id="beside">Beside the incumbent</h2>') == page.count("Beside the incumbent</h2>") == 1
    beside = page.partition('id="beside"')[2].partition("</section>")[0]
    assert re.search(r'<td class="fail">0\.6835 → 0\.6575, 96\.2%<small>≥ 99\.0%</small></td>', beside)
    assert "Beside the incumbent" not in html.render(made_up.worse())


def test_what_has_no_row_is_not_linked():
    page = html.render(made_up._session([*made_up._upgraded()]))
    assert f"<code>{made_up.REFERENCE}</code>" in page
    assert 'href="#c' not in page
    assert 'href="#c0-torch-fp32-cpu"' in html.render(made_up.green())


def test_commands_can_be_copied():
    page = html.render(made_up.unapproved())
    assert f"<dd>approve what you see by: <code>{made_up.RECORD}</code></dd>" in page


def test_a_finding_does_not_say_its_cause_twice():
    page = html.render(made_up.unapproved())
    finding = page.partition('class="finding')[2].partition("</details>")[0]
    assert finding.count("no baseline of all-MiniLM-L6-v2 is approved") == 1


def test_ten_bad_combinations_are_one_finding():
    page = html.render(made_up.bad(10))
    assert page.count('class="finding is-fail"') == 1
    assert page.count("Who won the Quay Half Marathon") == 1


def test_every_judgement_stands_in_one_table_with_its_numbers(summary):
    page = html.render(made_up.worse())
    row = next(
        line
        for line in page.splitlines()
        if "recorded" not in line and f'>{made_up.BAD}</code></td><td class="fail"' in line
    )
    cells = re.findall(r"<td[^>]*>(?:<code>)?(.*?)(?:</code>)?</td>", row)
    kept = float(cells[7].rstrip("%"))
    assert cells[:5] == [made_up.BAD, "fail", "retention", "pairs", "spearman"]
    assert float(cells[5]) == pytest.approx(float(cells[6]) * kept / 100, abs=1e-3)
    assert cells[8] == f"{kept - 0.4:.2f}% to {kept + 0.4:.2f}%"
    assert cells[9:] == ["99.00%", "323"]


def test_a_share_of_one_is_a_share_all_the_same():
    """What decides is the check, not whether share and value happen to be equal."""
    cells = judged._cells(made_up._retention("acme-int8-cpu", "pairs", "spearman", 1.0, 0.97))
    shown = dict(zip(judged.HEADINGS, cells, strict=True))
    assert (shown["value"], shown["held against"]) == ("0.9700", "1.0000")
    assert (shown["kept"], shown["interval"], shown["limit"]) == ("97.00%", "96.60% to 97.40%", "99.00%")


def test_numbers_are_as_long_as_they_say_anything():
    shown = [
        judged.number(value, check)
        for value, check in ((None, ""), (45434624.0, "size"), (0.00012, ""), (0.81234, ""), (12345.6, ""))
    ]
    assert shown == ["", "45.4 MB", "0.00012", "0.8123", "12,346"]


def test_slices_stand_beside_the_whole():
    page = html.render(made_up.worse())
    assert "9 slices" in page
    assert ">negation<" in page


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
