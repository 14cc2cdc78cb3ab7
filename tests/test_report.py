"""Reports: every documented key, nothing a text could break, one line per cause."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from embedgate.core.judgement import Diagnosis, Judgement, WorstText, shorten
from embedgate.report import files, html, markdown, stored, terminal
from embedgate.report.collector import Collector
from embedgate.report.summary import summarise

NASTY = "<script>alert(1)</script> | [link](http://x) `code` *bold*\nsecond line\x1b[31m"


def failure(metric: str = "cosine_spearman", cause: str = "pooled by CLS") -> Judgement:
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
    base = {"combination": "acme-int8-cpu", "reference": False, "skipped": "", "error": "", "expected": "", "run": {}}
    return Collector([{**base, **record, "judgement": j.to_json()} for j in judgements])


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
    assert "| `acme-int8-cpu` | ❌ fail 1/1 | 90.0% |" in row


def test_files_hold_every_documented_key(tmp_path):
    collector = collected(failure())
    documented = Path(__file__).parent.parent.joinpath("docs/report-schema.md").read_text("utf-8")
    written = files.write(summarise(collector), tmp_path / "out")
    assert [file.name for file in written] == ["report.json", "report.md", "report.html"]
    report = json.loads(written[0].read_text("utf-8"))
    named = set(re.findall(r"`(\w+)`", documented))
    assert set(report) | set(report["combinations"][0]) | set(report["combinations"][0]["judgements"][0]) <= named
    assert not list((tmp_path / "out").glob(".*"))


def test_checks_that_were_skipped_of_what_ran_are_counted_by_their_reason():
    found = collected(Judgement("effective", "acme-int8-cpu", "pass", "ran"))
    for _ in range(2):
        found.records.append({**found.records[0], "judgement": None, "skipped": "no faiss: install it"})
    summary = summarise(found)
    assert summary.verdict == "pass"
    assert "2 checks skipped: no faiss: install it" in terminal.render(summary)
    assert "- 2 checks (skipped): no faiss: install it" in markdown.render(summary)
    assert "<li>2 checks (skipped): no faiss: install it</li>" in html.render(summary)
    assert summary.to_json()["combinations"][0]["skipped_checks"] == {"no faiss: install it": 2}


def test_every_error_of_a_combination_is_told_once():
    found = collected(Judgement("effective", "acme-int8-cpu", "pass", "ran"))
    for what in ("engine one failed: it broke", "engine two failed: it broke", "engine one failed: it broke"):
        found.records.append({**found.records[0], "judgement": None, "error": what})
    summary = summarise(found)
    assert summary.verdict == "fail"
    for page in (terminal.render(summary, width=200), markdown.render(summary), html.render(summary)):
        assert page.count("engine one failed: it broke") == page.count("engine two failed: it broke") == 1


def test_stored_vectors_have_a_table_of_what_was_judged_or_timed():
    kept = Judgement("search", "acme-int8-cpu", "pass", "kept", "corpus-9:x@binary", "kept_at_10", value=0.6)
    ratio = {"ratio": 0.25}
    speeds = {"faiss-exact-binary-batch1": ratio, "faiss-exact-int8-batch64": ratio, "faiss-hnsw-int8-batch1": ratio}
    run = {"dim": 16, "search_speed": speeds}
    judged = summarise(collected(kept))
    timed = summarise(collected(Judgement("search speed", "acme-int8-cpu", "pass", "fast"), run=run))
    both = summarise(collected(kept, run=run))
    assert stored.table(summarise(collected(failure()))) is None
    assert stored.table(judged) == (["storage", "kept"], [["binary", "60.0%"]])
    assert stored.note(["storage", "kept"]).endswith("still found by the reference")
    assert stored.table(timed) == (
        ["storage", "bytes/vector", "faiss speed"],
        [["binary", "2", "4.0x"], ["int8", "16", "4.0x"]],
    )
    assert stored.table(both) == (
        ["storage", "bytes/vector", "kept", "faiss speed"],
        [["binary", "2", "60.0%", "4.0x"], ["int8", "16", "", "4.0x"]],
    )
    for page in (terminal.render(both, width=200), markdown.render(both), html.render(both)):
        assert "4.0x" in page
        assert "exact search of one query at a time and of 64" in page


def test_shorten_keeps_one_line_of_printable_text():
    assert shorten("a\nb\tc\x00") == "a b c\\x00"
    assert len(shorten("word " * 100)) == 110


def test_what_was_skipped_is_told_once_per_reason_and_has_no_row():
    found = collected(Judgement("effective", "acme-int8-cpu", "pass", "ran"))
    for name in ("torch-fp16-cuda", "torch-bf16-cuda"):
        found.records.append({**found.records[0], "combination": name, "judgement": None, "skipped": "no CUDA"})
    summary = summarise(found)
    assert [row.verdict for row in summary.rows] == ["pass", "skipped", "skipped"]
    shown = terminal.render(summary)
    assert "torch-fp16-cuda, torch-bf16-cuda skipped: no CUDA" in shown
    assert shown.count("torch-fp16-cuda") == 1
    page = markdown.render(summary)
    assert "- `torch-fp16-cuda`, `torch-bf16-cuda` (skipped): no CUDA" in page
    assert page.count("torch-fp16-cuda") == 1
    assert html.render(summary).count("torch-bf16-cuda") == 1
