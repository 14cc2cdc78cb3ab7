"""Reports: every documented key, nothing a text could break, one line per cause."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial

import pytest
from helpers import made_up
from helpers.paths import ROOT

from embedgate.checks import CheckRegistry
from embedgate.core.judgement import Diagnosis, Judgement, WorstText, quoted, shorten
from embedgate.core.strictness import Strictness
from embedgate.encoders import Evidence
from embedgate.report import columns, facts, files, html, json_report, markdown, stored, terminal
from embedgate.report import summary as summaries
from embedgate.report.collector import Collector
from embedgate.report.records import Record, RunFacts
from embedgate.vectors.figures import SearchFigures

KNOWN = CheckRegistry().known
summarise = partial(summaries.summarise, known=KNOWN)

NASTY = "<script>alert(1)</script> | [link](http://x) `code` *bold*\nsecond line\x1b[31m"


def failure(metric: str = "spearman", cause: str = "pooled by CLS") -> Judgement:
    return Judgement(
        "retention",
        "acme-int8-cpu",
        "fail",
        f"keeps 90% of {metric}",
        "pairs",
        metric,
        value=0.7,
        reference_value=0.8,
        observed=0.9,
        low=0.88,
        high=0.92,
        limit=0.99,
        n=100,
        smallest_detectable_loss=0.01,
        diagnosis=Diagnosis("pooling", cause, "compare the pooling config"),
        worst=(WorstText(NASTY, 0.9, 0.1),),
    )


def collected(*judgements: Judgement, **record) -> Collector:
    return Collector([Record("acme-int8-cpu", judgement=judgement, **record) for judgement in judgements])


def test_verdict_is_the_worst_of_all():
    passed = Judgement("effective", "acme-int8-cpu", "pass", "ran")
    open_ = Judgement("retention", "acme-int8-cpu", "inconclusive", "who knows")
    assert summarise(collected(passed)).verdict == "pass"
    assert summarise(collected(passed, open_)).verdict == "inconclusive"
    assert summarise(collected(failure(), passed, open_)).verdict == "fail"
    assert summarise(collected(failure(), expected="known")).verdict == "pass"


def test_one_cause_is_told_once():
    shown = terminal.render(summarise(collected(failure(), failure("triplet_accuracy"))))
    assert shown.count("cause: pooling: pooled by CLS") == 1
    assert "also keeps 90% of triplet_accuracy" in shown
    assert "next step: compare the pooling config" in shown


def test_texts_cannot_break_the_reports():
    summary = summarise(collected(failure()))
    page = markdown.render(summary)
    assert "<script>" not in page
    assert "[link](http" not in page
    assert "\x1b" not in page
    shown = terminal.render(summary)
    assert "\x1b" not in shown
    assert r"\x1b[31m" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("keeps 99.5% of spearman (all-MiniLM-L6-v2)", "keeps 99.5% of spearman (all-MiniLM-L6-v2)"),
        ("ndcg_at_10 | *", r"ndcg\_at\_10 \| \*"),
        ("- one", r"\- one"),
        ("1. one", r"1\. one"),
        ("# one, see #12 and @me", r"\# one, see \#12 and \@me"),
        ("![x](http://example.org)", r"!\[x\](http://example.org)"),
        ("<b> & 1", "&lt;b&gt; &amp; 1"),
        (
            "no_baseline: approve it by: pytest suites --gate-combination 'torch-*' --gate-update --gate-reason \"...\"",
            "no\\_baseline: approve it by: `pytest suites --gate-combination 'torch-*' --gate-update --gate-reason \"...\"`",
        ),
        ("pytest `x` --gate-update `y`", r"pytest \`x\` --gate-update \`y\`"),
        ("as pytest says: pytest a -k 'b|c' --gate-update", "as pytest says: `pytest a -k 'b|c' --gate-update`"),
        ("$x$", r"\$x\$"),
    ],
)
def test_markdown_shows_text_literally_and_commands_as_code(text, shown):
    assert markdown.escape(text) == shown


def test_table_has_a_row_per_combination_in_markdown():
    page = markdown.render(summarise(collected(failure())))
    header, rule, row = [line for line in page.splitlines() if line.startswith("|")]
    assert header.count("|") == rule.count("|") == row.count("|")
    assert "| `acme-int8-cpu` | ❌ fail 1/1 | ❌ **90.0% (0.7000) (≥ 99.0%)** |" in row


def test_files_hold_every_documented_key(tmp_path):
    collector = collected(failure())
    documented = ROOT.joinpath("docs/report-schema.md").read_text("utf-8")
    written = files.write(summarise(collector), tmp_path / "out")
    assert [file.name for file in written] == ["report.json", "report.md", "report.html"]
    report = json.loads(written[0].read_text("utf-8"))
    named = set(re.findall(r"`(\w+)`", documented))
    assert set(report) | set(report["combinations"][0]) | set(report["combinations"][0]["judgements"][0]) <= named
    assert not list((tmp_path / "out").glob(".*"))


def test_checks_that_were_skipped_of_what_ran_are_counted_by_their_reason():
    found = collected(Judgement("effective", "acme-int8-cpu", "pass", "ran"))
    for _ in range(2):
        found.records.append(Record("acme-int8-cpu", skipped="no faiss: install it"))
    summary = summarise(found)
    assert summary.verdict == "pass"
    assert "2 checks skipped: no faiss: install it" in terminal.render(summary)
    assert "- 2 checks (skipped): no faiss: install it" in markdown.render(summary)
    assert "<li>2 checks (skipped): no faiss: install it</li>" in html.render(summary)
    assert json_report.content(summary)["combinations"][0]["skipped_checks"] == {"no faiss: install it": 2}


def test_every_error_of_a_combination_is_told_once():
    found = collected(Judgement("effective", "acme-int8-cpu", "pass", "ran"))
    for what in ("engine one failed: it broke", "engine two failed: it broke", "engine one failed: it broke"):
        found.records.append(Record("acme-int8-cpu", error=what))
    summary = summarise(found)
    assert summary.verdict == "fail"
    for page in (terminal.render(summary, width=200), markdown.render(summary), html.render(summary)):
        assert page.count("engine two failed: it broke") == 1
        assert "engine one failed: it broke" in page


def shown(summary):
    table = stored.table(summary)
    return table.headings, [tuple(map(str, cells)) for cells in table.rows]


def test_stored_vectors_have_a_table_of_what_was_judged_or_timed():
    kept = Judgement("search", "acme-int8-cpu", "pass", "kept", "corpus-9:x@binary", "kept_at_10", value=0.6)
    fast = SearchFigures(0.25, 400.0, 100.0, 16.0, 0.1, 8, 1)
    speeds = {"faiss-exact-binary-batch1": fast, "faiss-exact-int8-batch64": fast, "faiss-hnsw-int8-batch1": fast}
    run = RunFacts(Evidence("cpu", 1, 0, {}, "acme 1"), 0.1, 0.1, 9, 16, search_speed=speeds)
    judged = summarise(collected(kept))
    timed = summarise(collected(Judgement("search speed", "acme-int8-cpu", "pass", "fast"), run=run))
    both = summarise(collected(kept, run=run))
    assert stored.table(summarise(collected(failure()))) is None
    assert shown(judged) == (["storage", "kept"], [("binary", "60.0%")])
    assert stored.note(stored.table(judged)).endswith("still found by the reference")
    assert shown(timed) == (
        ["storage", "bytes/vector", "faiss speed"],
        [("binary", "2", "4.0x"), ("int8", "16", "4.0x")],
    )
    assert shown(both) == (
        ["storage", "bytes/vector", "kept", "faiss speed"],
        [("binary", "2", "60.0%", "4.0x"), ("int8", "16", "", "4.0x")],
    )
    for page in (terminal.render(both, width=200), markdown.render(both), html.render(both)):
        assert "4.0x" in page
        assert "exact search of one query at a time and of 64" in page


def test_shorten_keeps_one_line_of_printable_text():
    assert shorten("a\nb\tc\x00") == "a b c\\x00"
    assert len(shorten("word " * 100)) == 110


@pytest.mark.parametrize("text", ["after all, the... end", "after all, the end", "after all, the  . end"])
def test_a_cut_text_ends_in_one_ellipsis(text):
    assert re.fullmatch(r"after all, the( e)?…", shorten(text, 17))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\u0085two", r"'one\x85two'"),
        ("one\n\ntwo\t", r"'one\n\ntwo\t'"),
        ("one\u00a0two\u2028", r"'one\xa0two\u2028'"),
        ("one  two", "'one  two'"),
        ("one\ntwo" * 9, r"'one\ntwoon…'"),
    ],
)
def test_what_differs_in_a_quoted_text_is_seen(text, shown):
    assert quoted(text, 11 if len(text) > 20 else 110) == shown


def test_worst_texts_show_their_line_breaks_and_leave_out_what_did_not_move():
    worst = (WorstText("one\u0085<b>", 1.0, 0.5), WorstText("still there", 1.0, 0.99999))
    found = replace(failure(), worst=worst)
    for page in (found.explain(), *(page(summarise(collected(found))) for page in PAGES)):
        assert re.search(r"one\\{1,2}x85(<|&lt;)b", page)
        assert "still there" not in page
    still = replace(failure(), worst=worst[1:])
    assert "worst texts" not in still.explain()
    assert "<caption>Texts that lost most" not in html.render(summarise(collected(still)))


def test_one_thread_is_no_threads():
    for threads, told in ((1, "1 thread,"), (4, "4 threads,")):
        summary = made_up.worse()
        summary.facts["threads"] = threads
        for page in PAGES:
            assert told in page(summary)


def test_a_reason_that_was_cut_ends_in_its_ellipsis_alone():
    found = replace(failure(), message="word " * 200)
    page = markdown.render(summarise(collected(found)))
    assert "word…\n" in page
    assert "…." not in page


def test_what_was_skipped_is_told_once_per_reason_and_has_no_row():
    found = collected(Judgement("effective", "acme-int8-cpu", "pass", "ran"))
    for name in ("torch-fp16-cuda", "torch-bf16-cuda"):
        found.records.append(Record(name, skipped="no CUDA"))
    summary = summarise(found)
    assert [row.verdict for row in summary.rows] == ["pass", "skipped", "skipped"]
    shown = terminal.render(summary)
    assert "torch-fp16-cuda, torch-bf16-cuda skipped: no CUDA" in shown
    assert shown.count("torch-fp16-cuda") == 1
    page = markdown.render(summary)
    assert "- `torch-fp16-cuda`, `torch-bf16-cuda` (skipped): no CUDA" in page
    assert page.count("torch-fp16-cuda") == 1
    assert html.render(summary).count("torch-bf16-cuda") == 1


EXPECTED = "known-defect: rounds to five steps (https://example.com/issues/1)"
PAGES = (lambda summary: terminal.render(summary, width=200), markdown.render, html.render)


def beside_an_expected_failure(*others: Judgement) -> Collector:
    known = replace(failure("cosine_mean"), check="agreement", message="agrees too little")
    found = collected(known, expected=EXPECTED)
    found.records += collected(*others).records
    return found


def judgement(check: str, verdict: str = "pass", **more) -> Judgement:
    return Judgement(check, "acme-int8-cpu", verdict, f"{check} is {verdict}", **more)


@pytest.mark.parametrize(
    ("others", "row", "session", "under_strict"),
    [
        ((), "expected failure", "pass", "pass"),
        (("pass",), "expected failure", "pass", "pass"),
        (("pass", "inconclusive"), "inconclusive", "inconclusive", "fail"),
        (("pass", "unjudged"), "expected failure", "pass", "fail"),
        (("unjudged",), "inconclusive", "inconclusive", "fail"),
        (("inconclusive", "fail"), "fail", "fail", "fail"),
    ],
)
def test_an_expected_failure_hides_no_other_check(others, row, session, under_strict):
    why = Diagnosis("baseline", "nothing is approved", "approve it")
    found = beside_an_expected_failure(
        *(
            judgement("size", "inconclusive", diagnosis=why) if verdict == "unjudged" else judgement("golden", verdict)
            for verdict in others
        )
    )
    summary = summarise(found)
    assert (summary.rows[0].verdict, summary.verdict) == (row, session)
    report = json_report.content(summary)
    assert (report["combinations"][0]["verdict"], report["verdict"]) == (row, session)
    assert f"verdict: {session}\n" in terminal.render(summary)
    assert f"Verdict: {markdown.ICON[session]} {session}." in markdown.render(summary)
    found.strict = Strictness.FULL
    assert summarise(found).verdict == under_strict


def test_expected_failures_have_a_section_of_their_own_with_reason_and_link():
    worse = replace(failure(), message="loses a tenth")
    summary = summarise(beside_an_expected_failure(worse))
    assert [j.message for j in summary.judgements("fail")] == ["loses a tenth"]
    assert json_report.content(summary)["expected_failures"] == [
        {
            "combination": "acme-int8-cpu",
            "check": "agreement",
            "dataset": "pairs",
            "metric": "cosine_mean",
            "message": "agrees too little",
            "kind": "known-defect",
            "reason": "rounds to five steps",
            "link": "https://example.com/issues/1",
        }
    ]
    for page in (render(summary) for render in PAGES):
        section = page[page.lower().index("expected failures") :]
        for told in ("agrees too little", "known-defect: rounds to five steps", "https://example.com/issues/1"):
            assert told in section
        assert "loses a tenth" in page


def test_an_expected_failure_of_an_upgrade_is_no_failure():
    lost = replace(failure(), check="upgrade")
    collector = Collector([Record(judgement=lost, expected=EXPECTED), *collected(judgement("effective")).records])
    summary = summarise(collector)
    assert summary.verdict == "pass"
    assert [expected.judgement for expected in summary.expected] == [lost]
    collector.records[0] = Record(judgement=lost)
    assert summarise(collector).verdict == "fail"


def test_a_check_that_passes_although_it_was_marked_counts_as_passed():
    summary = summarise(collected(judgement("effective"), expected="flaky"))
    assert (summary.rows[0].verdict, summary.expected) == ("pass", [])


def test_a_host_projects_own_marker_is_told_with_its_reason():
    summary = summarise(collected(failure(), expected="flaky since June"))
    (told,) = json_report.content(summary)["expected_failures"]
    assert (told["kind"], told["reason"], told["link"]) == ("", "flaky since June", "")
    assert all("flaky since June" in render(summary) for render in PAGES)


def test_nothing_of_an_entry_is_markup():
    entry = "known-defect: <script>x</script>\x1b[31m (https://example.com/<script>\"onclick='x'>)"
    for render in PAGES[1:]:
        page = render(summarise(collected(failure(), expected=entry)))
        assert "<script>x" not in page
        assert "\x1b" not in page
        assert '"onclick' not in page


def test_judgements_are_told_in_the_order_of_the_checks():
    found = collected(judgement("golden", "fail"), judgement("mine", "fail"), judgement("effective", "fail"))
    known = replace(KNOWN, order=("effective", "golden"))
    assert [j.check for j in summarise(found, known=known).judgements("fail")] == ["effective", "golden", "mine"]


def test_checks_of_ones_own_can_be_of_what_is_approved():
    better = collected(judgement("mine", details=("12 MB, 15 MB is approved",)))
    assert summarise(better).stale == []
    assert summarise(better, known=replace(KNOWN, against={"mine": "approved"})).stale == [
        "acme-int8-cpu: 12 MB, 15 MB is approved"
    ]


def test_wrong_rows_of_a_green_index_are_told():
    found = collected(judgement("stored", details=("1 row holds NaN: row 5 'a'",)))
    told = "acme-int8-cpu: tolerated: 1 row holds NaN: row 5 'a'"
    assert summarise(found).remarks == [told]
    assert told in terminal.render(summarise(found))
    assert summarise(collected(judgement("mine", details=("12 MB",)))).remarks == []


def test_numbers_that_json_has_not_are_null(tmp_path):
    endless = judgement("search speed", observed=1.2, low=1.1, high=float("inf"), value=float("nan"))
    run = RunFacts(Evidence("cpu", 1, 0, {}, "acme 1", {"scale": float("-inf")}), 0.1, 0.1, 9, 16)
    written = files.write(summarise(collected(endless, run=run)), tmp_path)[0]

    def refused(name):
        raise AssertionError(f"{name} is no JSON")

    (row,) = json.loads(written.read_text("utf-8"), parse_constant=refused)["combinations"]
    assert (row["judgements"][0]["high"], row["judgements"][0]["value"]) == (None, None)
    assert row["judgements"][0]["low"] == 1.1
    assert row["run"]["evidence"]["details"] == {"scale": None}


def test_a_column_more_is_in_every_table(monkeypatch):
    added = columns.Column("vowels", lambda row: str(len(row.combination)), "vowels: how many there are")
    monkeypatch.setattr(columns, "COLUMNS", (*columns.COLUMNS, added))
    for page in (render(summarise(collected(failure()))) for render in PAGES):
        assert "vowels" in page
        assert "owels: how many there are" in page
    monkeypatch.setattr(columns, "COLUMNS", (*columns.COLUMNS, replace(added, shows=lambda *_: False, heading="x")))
    assert columns.table(summarise(collected(failure()))).headings[-1] == "vowels"


def budget(
    name: str, cause: str, layer: str = "approval", step: str = "approve it by: pytest --gate-update"
) -> Judgement:
    return judgement(name, "inconclusive", metric="x", diagnosis=Diagnosis(layer, cause, step))


ELSEWHERE = "budgets hold on the machine that approved them alone, and this is another"


def test_budgets_that_nothing_approved_judges_are_told_in_one_line():
    off = budget("speed", "pytest-benchmark is disabled", "time", "run without --benchmark-disable")
    found = [budget("speed", ELSEWHERE), budget("memory", ELSEWHERE), budget("search speed", ELSEWHERE), off]
    told = f"3 budgets were not judged: {ELSEWHERE}; approve it by: pytest --gate-update"
    other = "1 check not judged: pytest-benchmark is disabled; run without --benchmark-disable"
    summary = summarise(collected(*found, judgement("effective")))
    assert summary.not_judged == [told, other]
    for page in (terminal.render(summary, width=200), re.sub("</?code>", "", html.render(summary))):
        assert page.count(told) == page.count(other) == 1
    assert markdown.render(summary).count("budgets were not judged") == 1
    assert (summary.rows[0].verdict, summary.verdict) == ("pass", "pass"), "nothing is red"


def test_several_reasons_for_which_budgets_are_not_judged_stand_in_that_line():
    found = [budget("size", "no budget is approved for cpu"), budget("speed", ELSEWHERE), budget("memory", ELSEWHERE)]
    (told,) = summarise(collected(*found)).not_judged
    causes = f"no budget is approved for cpu (1); {ELSEWHERE} (2)"
    assert told == f"3 budgets were not judged: {causes}; approve it by: pytest --gate-update"
    (alone,) = summarise(collected(found[0])).not_judged
    assert alone.startswith("1 budget was not judged: no budget is approved for cpu; approve")


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"asked": 12, "whole": 115}, "depth: quick, partial: 12 of 115 checks"),
        ({"asked": 1391, "whole": 1391}, "depth: quick, all 1,391 checks"),
        ({"asked": 1, "whole": 1}, "depth: quick, all 1 check"),
    ],
)
def test_the_depth_is_told_with_how_much_was_asked(known, told):
    assert facts.depth_line({"depth": "quick", "checks": known}) == told


def test_no_depth_is_told_where_nothing_ran():
    assert facts.depth_line({}) == ""
    assert "depth:" not in terminal.render(summarise(collected(failure())))


def test_processes_that_share_the_work_know_the_same_number_of_checks():
    seconds, machine = {"total": 1.0}, {"cpu": "a CPU", "gpu": None}
    checks = facts.coverage({"a-int8-cpu": {"whole": 9, "asked": {"effective": "", "retention a spearman": "quality"}}})
    mine = {"machine": machine, "profile": "cpu", "libraries": {}, "seconds": seconds, "checks": checks}
    assert facts.facts_together(mine, dict(mine))["checks"] == checks
    assert (checks["asked"], checks["whole"]) == (2, 9)
