"""How a cause was found is told wherever it is, and one that is shown is told once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest
from helpers import made_up

from embedgate.checks import CheckRegistry
from embedgate.core.judgement import PIN, REPRODUCE, Diagnosis, Judgement, Proof, Tried
from embedgate.report import html, json_report, judged, markdown, terminal
from embedgate.report import summary as summaries
from embedgate.report.collector import Collector
from embedgate.report.decision import decision
from embedgate.report.findings import findings
from embedgate.report.records import Record

KNOWN = CheckRegistry().known
summarise = partial(summaries.summarise, known=KNOWN)
MINE = "acme-int8-cpu"
TRIED = (Tried("last-token pooling", 0.412), Tried("max pooling", 0.5), Tried("no prompt", 0.7), Tried("max 64", 0.8))
PROOF = Proof("reproduced", 24, 0.99994, 0.0112, 1.13, TRIED)
SHOWN = Diagnosis("pooling", "CLS pooling", "compare the pooling config", PROOF)
RULED_OUT = Diagnosis("unknown", "no fault that is known gives these vectors", "", Proof("read", 24, tried=TRIED))
FOUND = "reproduced by the reference on 24 texts: cosine 0.9999, 0.011 off (1.1 off without it)"
NEXT_BEST = "next best: last-token pooling (0.41 off), max pooling (0.5 off), no prompt (0.7 off), and 1 more"


def red(check: str, why: Diagnosis = SHOWN, of: str = MINE, **more) -> Judgement:
    return Judgement(check, of, "fail", f"{check} is red", diagnosis=why, **more)


def session(*judgements: Judgement) -> summaries.Summary:
    return summarise(Collector([Record(j.combination, judgement=j) for j in judgements]))


def found_of(*judgements: Judgement):
    return findings(judgements, KNOWN.against)


class TestWords:
    @pytest.mark.parametrize(
        ("why", "lines"),
        [
            (SHOWN, (FOUND, NEXT_BEST)),
            (replace(SHOWN, proof=Proof("read", 1)), ("read from what it shows of 1 text",)),
            (replace(SHOWN, proof=Proof("read", 0)), ("read from what it shows",)),
            (RULED_OUT, (NEXT_BEST.replace("next best", "ruled out"),)),
            (
                Diagnosis("unknown", "x", "", Proof("read", 24, untried=("no prompt", "b", "c", "d", "e"))),
                ("not tried: no prompt", "not tried: b", "not tried: c", "not tried: 2 more"),
            ),
            (Diagnosis("scores", "small differences", ""), ()),
        ],
    )
    def test_it_says_how_the_cause_was_found_or_what_it_is_not(self, why, lines):
        assert why.shown_by() == lines

    def test_figures_that_the_cause_names_are_not_told_again(self):
        assert replace(SHOWN, cause="CLS pooling: cosine 0.9999 on 24 texts").shown_by() == (NEXT_BEST,)

    def test_what_was_looked_for_and_not_found_is_not_shown(self):
        nothing = replace(SHOWN, layer="scores", proof=replace(PROOF, found="nothing", cosine=None))
        assert not nothing.is_shown
        assert nothing.shown_by() == (NEXT_BEST.replace("next best", "ruled out"),)

    @pytest.mark.parametrize(("why", "more"), [(SHOWN, 408), (RULED_OUT, 409)])
    def test_it_counts_all_that_was_tried(self, why, more):
        told = replace(why, proof=replace(why.proof, attempts=412)).shown_by()
        assert told[-1].endswith(f"no prompt (0.7 off), and {more} more")

    def test_a_failure_tells_it_below_its_cause(self):
        lines = red("retention").explain().splitlines()
        place = lines.index("  cause: pooling: CLS pooling")
        assert lines[place + 1 : place + 3] == [f"  {FOUND}", f"  {NEXT_BEST}"]

    def test_a_cause_that_was_explained_is_not_explained_again(self):
        lost = red("retention", details=("lost most in slices: short", f"{REPRODUCE}pytest"), worst=made_up.WORST)
        assert lost.explain_again().splitlines() == [
            "acme-int8-cpu: retention is red",
            "  cause: as above: pooling: CLS pooling",
            "  lost most in slices: short",
        ]
        of_example = replace(lost, example=("a text",))
        assert "lost most" not in of_example.explain_again()

    def test_what_the_message_says_is_not_said_again(self):
        why = Diagnosis("normalisation", "retention is red", "do this")
        assert (
            red("retention", why).explain_again() == "acme-int8-cpu: retention is red\n  cause: as above: normalisation"
        )


class TestGrouping:
    def test_a_shown_cause_is_one_finding_in_whatever_ways_it_is_red(self):
        (found,) = found_of(red("golden"), red("invariance"), red("retention"))
        assert found.kind == "worse than the reference"
        assert [judgement.check for judgement in found.judgements] == ["retention", "golden", "invariance"]

    def test_where_no_quality_is_lost_it_is_of_the_kind_that_is_told_first(self):
        (found,) = found_of(red("golden"), red("invariance"))
        assert found.kind == "breaks an encoder's contract"

    def test_what_is_held_against_the_incumbent_stands_apart(self):
        kinds = [found.kind for found in found_of(red("upgrade"), red("retention"))]
        assert kinds == ["worse than the reference", "worse than the incumbent"]

    def test_a_cause_that_was_not_shown_is_one_finding_of_each_kind(self):
        assert len(found_of(*(red(check, replace(SHOWN, proof=None)) for check in ("golden", "retention")))) == 2

    def test_what_is_not_known_of_two_candidates_is_no_common_cause(self):
        assert len(found_of(red("retention", RULED_OUT), red("retention", RULED_OUT, "b-int8-cpu"))) == 2
        assert len(found_of(red("retention", RULED_OUT), red("agreement", RULED_OUT))) == 1

    def test_one_example_stands_for_all_of_a_cause(self):
        def of(text: str) -> Judgement:
            return red("contract", details=(f"text: {text}", f"{REPRODUCE}pytest {text}", f"{PIN}printf {text}"))

        (found,) = found_of(of("one"), of("two"), red("retention", details=("lost most in slices: short",)))
        assert found.details == (
            "lost most in slices: short",
            "text: one",
            f"{REPRODUCE}pytest one",
            f"{PIN}printf one",
        )

    def test_each_judgement_is_of_the_kind_of_its_finding(self):
        lines = judged.judgements(session(red("golden"), red("retention")))
        assert {line.kind for line in lines} == {"worse than the reference"}

    def test_it_is_one_reason_not_to_ship(self):
        assert decision(session(red("golden"), red("retention"))).why == (
            "acme-int8-cpu is worse than the reference: retention is red"
        )


class TestReports:
    def shown(self) -> Iterable[str]:
        seen = session(red("golden"), red("retention"), red("retention", RULED_OUT, "b-int8-cpu"))
        return terminal.render(seen, width=200), markdown.render(seen), html.render(seen)

    def test_every_format_tells_how_a_cause_was_found_once(self):
        for page in self.shown():
            assert page.count(FOUND) == page.count(NEXT_BEST) == 1
            assert page.count("ruled out: last-token pooling (0.41 off)") == 1

    def test_the_page_has_all_that_was_tried_the_nearest_first(self):
        page = html.render(session(red("retention", replace(SHOWN, proof=replace(PROOF, tried=TRIED[::-1])))))
        fold = page.partition("What else was tried, the nearest first</summary>")[2].partition("</table>")[0]
        rows = re.findall(r'<tr><td class="text">(.*?)</td><td>(.*?)</td></tr>', fold)
        assert rows == [("last-token pooling", "0.41"), ("max pooling", "0.5"), ("no prompt", "0.7"), ("max 64", "0.8")]

    def test_the_page_says_of_how_many_these_are_the_nearest(self):
        page = html.render(session(red("retention", replace(SHOWN, proof=replace(PROOF, attempts=1412)))))
        assert "What else was tried, the nearest first (of 1,412)</summary>" in page

    def test_where_nothing_was_tried_there_is_no_fold(self):
        page = html.render(session(red("retention", replace(SHOWN, proof=Proof("read", 4)))))
        assert "read from what it shows of 4 texts" in page
        assert "What else was tried" not in page
        assert "<dt>Proof</dt>" not in html.render(session(red("retention", replace(SHOWN, proof=None))))

    def test_names_of_faults_are_no_markup(self):
        evil = replace(SHOWN, proof=replace(PROOF, tried=(Tried(made_up.HOSTILE, 0.4),), untried=(made_up.HOSTILE,)))
        seen = session(red("retention", evil))
        assert "<img" not in html.render(seen) + markdown.render(seen)
        assert "\x1b" not in html.render(seen) + markdown.render(seen) + terminal.render(seen)

    def test_the_markdown_fits_whatever_was_tried(self):
        tried = tuple(Tried(f"{number} {'x' * 500}", 0.5) for number in range(100))
        many = (
            red("retention", Diagnosis("pooling", f"cause {n}", "do this", Proof("reproduced", 24, tried=tried)))
            for n in range(200)
        )
        assert len(markdown.render(session(*many)).encode()) <= markdown.MOST_BYTES

    def test_json_has_all_of_it_and_gives_it_back(self):
        content = json.loads(json.dumps(json_report.content(session(red("retention")))))
        (row,) = content["combinations"]
        (plain,) = row["judgements"]
        assert plain["diagnosis"]["proof"]["tried"][0] == {
            "fault": "last-token pooling",
            "distance": 0.412,
            "texts": None,
        }
        assert Judgement.from_json(plain).diagnosis == SHOWN

    def test_a_report_from_before_there_were_proofs_is_read(self):
        plain = red("retention", replace(SHOWN, proof=None)).to_json()
        del plain["diagnosis"]["proof"]
        assert Judgement.from_json(plain).diagnosis.proof is None
