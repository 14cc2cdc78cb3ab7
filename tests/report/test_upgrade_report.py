"""What is new beside the incumbent: a row per combination, and each line once."""

from __future__ import annotations

import copy
from functools import partial

from embedgate.checks import CheckRegistry
from embedgate.core.judgement import Judgement, Slice
from embedgate.report import html, markdown, terminal, upgrade
from embedgate.report import summary as summaries
from embedgate.report.collector import Collector
from embedgate.report.facts import facts_together
from embedgate.report.records import Record

summarise = partial(summaries.summarise, known=CheckRegistry().known)
MINE, REFERENCE = "onnxruntime-int8-cpu", "torch-fp32-cpu"
SIDE = {
    "dim": 384,
    "weight_bytes": 90_900_000,
    "texts_per_second": 120.0,
    "memory_loaded": None,
    "share_of_reference_time": None,
    "similarity": "cosine",
    "normalised": True,
    "prompts": {"sts": ""},
    "max_tokens": 256,
    "tokens_per_text": 12.25,
}
PAIR = {
    "against": REFERENCE,
    "new": SIDE,
    "old": {**SIDE, "dim": 256, "weight_bytes": None, "prompts": {"sts": "query: "}},
    "tokens": {"other": 0.25, "texts": 2000},
    "index": {"advice": "embed everything again: 384 dimensions instead of 256", "mixed": False},
    "map": {"kind": "ridge", "kept": 0.667, "by": {"ridge": 0.667, "procrustes": 0.1}, "fitted": 4946, "judged": 1236},
    "anew": {"documents": 1_000_000, "texts_per_second": 120.0, "hours": 2.3, "bytes": 1_536_000_000},
}
FACTS = {
    "incumbent": {"kind": "model", "name": "old", "source": "./old", "fingerprint": "ab" * 32, "identity": {}, "created": ""},
    "documents": 1_000_000,
    "combinations": {REFERENCE: PAIR, MINE: copy.deepcopy(PAIR)},
    "first": REFERENCE,
    "not_compared": [],
    "libraries": {},
}  # fmt: skip


def judged(of: str, verdict: str = "pass", check: str = "upgrade", **more) -> Judgement:
    numbers = {"value": 0.6214, "reference_value": 0.6421, "observed": 0.9678, "limit": 0.99}
    return Judgement(check, of, verdict, f"{check} of {of}", "passages", "ndcg_at_10", **{**numbers, **more})


def session(*judgements: Judgement, facts=FACTS) -> summaries.Summary:
    collector = Collector([Record("", judgement=j) for j in judgements])
    collector.facts = {"upgrade_facts": facts, "index": PAIR["index"]["advice"]}
    return summarise(collector)


def row(summary: summaries.Summary, of: str) -> dict[str, str]:
    table = upgrade.table(summary)
    cells = next(cells for beside, cells in zip(table.subjects, table.rows, strict=True) if beside.combination == of)
    return dict(zip(table.headings, map(str, cells), strict=True))


def test_both_stand_beside_each_other_and_what_is_red_is_marked_with_its_limit():
    shown = row(session(judged(REFERENCE, "fail"), judged(MINE)), REFERENCE)
    assert shown["passages nDCG@10"] == "0.6421 → 0.6214, 96.8% (>= 99.0%)"
    assert (shown["verdict"], shown["against"]) == ("fail 1/1", "")
    assert (shown["dimensions"], shown["weights"], shown["texts per s"]) == ("256 → 384", "? → 90.9 MB", "120")
    assert "memory loaded" not in shown


def test_what_is_asked_to_be_better_is_marked_so():
    better = judged(MINE, "inconclusive", "superior", limit=1.0)
    shown = row(session(judged(MINE), better), MINE)
    assert shown["passages nDCG@10"] == "0.6421 → 0.6214, 96.8% (> 100.0%)"
    assert (shown["verdict"], shown["against"]) == ("inconclusive 1/2", REFERENCE)


def test_what_failed_as_expected_is_not_marked():
    entry = "known-defect: narrower (https://github.com/acme/search/issues/12)"
    records = [
        Record("", judgement=judged(REFERENCE, "fail"), expected=entry),
        Record("", judgement=judged(MINE, "fail")),
    ]
    collector = Collector(records)
    collector.facts = {"upgrade_facts": FACTS, "index": PAIR["index"]["advice"]}
    summary = summarise(collector)
    table = upgrade.table(summary)
    place = table.headings.index("passages nDCG@10")
    marks = {of.combination: cells[place].verdict for of, cells in zip(table.subjects, table.rows, strict=True)}
    assert marks == {REFERENCE: "", MINE: "fail"}
    assert (row(summary, REFERENCE)["verdict"], row(summary, MINE)["verdict"]) == ("expected failure", "fail 1/1")


def test_what_holds_for_all_stands_once_and_what_differs_names_its_combination():
    facts = copy.deepcopy(FACTS)
    facts["combinations"][MINE]["tokens"] = {"other": 0.0, "texts": 2000}
    told = upgrade.lines(session(judged(MINE), facts=facts))
    assert told[0] == "incumbent: ./old (model, abababababab)"
    assert f"{MINE}: tokens: the same, of 2,000 texts" in told
    assert f"{REFERENCE}: tokens: 25.0% of 2,000 texts have others" in told
    assert told.count("prompts: sts 'query: ' → none") == 1


def test_the_index_is_told_where_the_decision_is_and_not_again():
    summary = session(judged(MINE))
    index, map_, anew = upgrade.advice(summary)
    assert index == "index: embed everything again: 384 dimensions instead of 256 (vectors of torch-fp32-cpu)"
    assert (
        "ridge regression, fitted on 4,946 texts): new queries, mapped, find 66.7% of the old index's own ten" in map_
    )
    assert "embedding 1,000,000 documents again takes some 2.3 hours here" in anew
    assert "1.54 GB as float32" in anew
    assert not {index, map_, anew} & {*upgrade.lines(summary)}


def test_where_vectors_can_be_mixed_neither_a_map_nor_a_new_index_is_needed():
    facts = copy.deepcopy(FACTS)
    for each in facts["combinations"].values():
        each["index"]["mixed"] = True
    assert len(upgrade.advice(session(judged(MINE), facts=facts))) == 1


def test_another_combination_s_index_is_told_where_something_else_becomes_of_it():
    facts = copy.deepcopy(FACTS)
    facts["combinations"][MINE]["index"] = {"advice": "new vectors can be mixed", "mixed": True}
    told = upgrade.lines(session(judged(MINE), facts=facts))
    assert f"{MINE}: index: new vectors can be mixed" in told
    facts["combinations"][MINE]["index"] = {"advice": "embed everything again, too", "mixed": False}
    assert not [line for line in upgrade.lines(session(judged(MINE), facts=facts)) if "index" in line]


def test_slices_that_lost_most_are_told():
    parts = (Slice("near", 120, 0.61, 0.6), Slice("short", 70, 0.5, 0.6))
    told = upgrade.lines(session(judged(REFERENCE, slices=parts)))
    shown = (
        "slices of passages nDCG@10 from the worst: short 0.6000 → 0.5000 (70 items), near 0.6000 → 0.6100 (120 items)"
    )
    assert f"{REFERENCE}, {shown}" in told


def test_libraries_and_what_an_older_report_lacks_are_named():
    facts = {**FACTS, "libraries": {"torch": {"then": "2.10", "now": ""}}, "not_compared": [MINE]}
    told = upgrade.lines(session(judged(REFERENCE), facts=facts))
    assert "libraries that changed since: torch 2.10 → none" in told
    assert told[-1] == f"not compared, since the incumbent has not run it: {MINE}"


def test_every_report_has_the_table():
    summary = session(judged(REFERENCE, "fail"), judged(MINE))
    summary.facts |= {
        "model": {"name": "new", "fingerprint": "cd" * 32},
        "machine": {"cpu": "a CPU", "gpu": None},
        **{"profile": "cpu", "threads": 2, "texts": 10, "created": "2026-11-02"},
    }
    assert "256 → 384" in terminal.render(summary)
    assert f"### {upgrade.TITLE}" in markdown.render(summary)
    assert f">{upgrade.TITLE}</h2>" in html.render(summary)


def test_without_an_incumbent_there_is_none():
    assert upgrade.table(session(facts={})) is None
    assert upgrade.lines(session(facts={})) == []


def part(first: str = REFERENCE, **pairs):
    """What one process knows: `index` too, where it compared what is told first."""
    of = {"seconds": {"total": 1.0}, "profile": "cpu", "libraries": {}, "machine": {"cpu": "a", "gpu": None}}
    combinations = {id_.replace("_", "-"): pair for id_, pair in pairs.items()}
    advice = combinations[first]["index"]["advice"] if first in combinations else None
    return {**of, "index": advice, "upgrade_facts": {**FACTS, "combinations": combinations, "first": first}}


def both_ways(one, other):
    joined = facts_together(one, other)
    assert joined == facts_together(other, one)
    return joined


def test_what_two_processes_know_of_one_combination_is_joined_to_no_third():
    slow, fast = (
        {**PAIR, "anew": {**PAIR["anew"], "texts_per_second": r, "hours": h}} for r, h in ((100, 5), (500, 1))
    )
    joined = both_ways(part(torch_fp32_cpu=slow), part(torch_fp32_cpu=fast))
    assert joined["upgrade_facts"]["combinations"][REFERENCE] in (slow, fast)
    why_not = {**PAIR, "map": {"missing": "too few texts"}}
    joined = both_ways(part(torch_fp32_cpu=PAIR), part(torch_fp32_cpu=why_not))
    assert joined["upgrade_facts"]["combinations"][REFERENCE] == PAIR


def test_of_several_sessions_what_cannot_be_mixed_is_told_first():
    mixed = {**PAIR, "index": {"advice": "new vectors can be mixed", "mixed": True}}
    joined = both_ways(part(torch_fp32_cpu=mixed), part(MINE, onnxruntime_int8_cpu=PAIR))
    assert (joined["upgrade_facts"]["first"], joined["index"]) == (MINE, PAIR["index"]["advice"])
    # What is first and has not run anywhere is nothing to tell of.
    joined = both_ways(part("acme-int8-cpu"), part(torch_fp32_cpu=mixed))
    assert (joined["upgrade_facts"]["first"], joined["index"]) == (REFERENCE, "new vectors can be mixed")


def test_the_map_and_the_slices_are_of_what_is_told_first_whichever_process_ended_first():
    parts = (Slice("near", 120, 0.61, 0.6),)
    without = {**PAIR, "map": {}, "new": {**SIDE, "similarity": "dot"}}  # alike in its advice
    for order in ((REFERENCE, MINE), (MINE, REFERENCE)):
        pairs = {REFERENCE: PAIR, MINE: without}
        facts = {**FACTS, "combinations": {id_: pairs[id_] for id_ in order}}
        summary = session(*(judged(id_, slices=parts) for id_ in order), facts=facts)
        assert "a linear map" in upgrade.advice(summary)[1]
        (slices,) = [line for line in upgrade.lines(summary) if "slices" in line]
        assert slices.startswith(REFERENCE)
        assert [beside.combination for beside in upgrade.table(summary).subjects] == [REFERENCE, MINE]


def test_processes_of_one_session_join_what_each_compared():
    one, other = part(torch_fp32_cpu=PAIR), part(onnxruntime_int8_cpu=PAIR)
    assert both_ways(one, other)["index"] == PAIR["index"]["advice"]
    assert facts_together(one, other)["upgrade_facts"]["combinations"] == {REFERENCE: PAIR, MINE: PAIR}
