"""Failures of one cause are one finding of one kind; what they come to is one sentence."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from embedgate.checks import CHECKS, CheckRegistry
from embedgate.core.judgement import Diagnosis, Judgement, Slice, WorstText
from embedgate.core.strictness import Strictness
from embedgate.report import columns, facts, markdown, slices, terminal
from embedgate.report import summary as summaries
from embedgate.report.collector import Collector
from embedgate.report.decision import decision
from embedgate.report.findings import KINDS, findings, kind_of
from embedgate.report.records import Record

KNOWN = CheckRegistry().known
summarise = partial(summaries.summarise, known=KNOWN)
MINE = "acme-int8-cpu"


def red(check: str, layer: str = "pooling", cause: str = "pooled by CLS", of: str = MINE, **more) -> Judgement:
    message = more.pop("message", f"{check} is red")
    return Judgement(check, of, "fail", message, diagnosis=Diagnosis(layer, cause, "do this"), **more)


def green(check: str = "effective", of: str = MINE) -> Judgement:
    return Judgement(check, of, "pass", "as it is")


def session(*judgements: Judgement, **more) -> summaries.Summary:
    return summarise(Collector([Record(j.combination, judgement=j) for j in judgements], **more))


class TestKinds:
    @pytest.mark.parametrize(
        ("judgement", "kind"),
        [
            (red("retention"), "worse than the reference"),
            (red("search"), "worse than the reference"),
            (red("my own check"), "worse than the reference"),
            (red("baseline", "baseline"), "drifted from what was approved"),
            (red("golden", "tokens"), "drifted from what was approved"),
            (red("speed", "time"), "drifted from what was approved"),
            (red("speed", "promise"), "not what it says it is"),
            (red("baseline", "approval"), "not approved yet"),
            (red("retention", "dataset"), "these data cannot tell"),
            (red("golden", "approval"), "not approved yet"),
            (red("effective", "evidence"), "not what it says it is"),
            (red("invariance"), "breaks an encoder's contract"),
            (red("upgrade"), "worse than the incumbent"),
            (red("superior"), "not better than the incumbent"),
            (red("stored"), "not what it says it is"),
            (red("receipt", "receipt"), "not proven by its receipt"),
        ],
    )
    def test_what_is_wrong_follows_from_what_it_is_held_against(self, judgement, kind):
        assert kind_of(judgement, KNOWN.against) == kind

    def test_every_check_has_one(self):
        assert {check.kind for check in CHECKS} <= {*KNOWN.against}
        assert {kind_of(red(check.kind), KNOWN.against) for check in CHECKS} <= {*KINDS}


class TestGrouping:
    def test_one_cause_is_one_finding_whatever_the_combination(self):
        others = [red("agreement", of=name) for name in ("a-int8-cpu", "b-int8-cpu")]
        (found,) = findings([red("retention"), *others], KNOWN.against)
        assert found.combinations == (MINE, "a-int8-cpu", "b-int8-cpu")
        assert (found.layer, found.cause, found.next_step) == ("pooling", "pooled by CLS", "do this")

    def test_one_cause_that_is_wrong_in_two_ways_is_two(self):
        found = findings([red("golden"), red("retention")], KNOWN.against)
        assert [each.kind for each in found] == ["worse than the reference", "drifted from what was approved"]

    def test_it_is_headed_by_its_cause_or_by_what_shows_it(self):
        (known,) = findings([red("retention")], KNOWN.against)
        (unknown,) = findings([red("retention", "unknown", "it shows no stages", message="keeps 70%")], KNOWN.against)
        assert (known.headline, unknown.headline) == ("pooled by CLS", "keeps 70%")

    def test_what_has_no_known_cause_is_one_per_combination(self):
        lost = [Judgement("upgrade", name, "fail", f"{name} {i}") for name in ("a", "b") for i in range(2)]
        assert [len(each.judgements) for each in findings(lost, KNOWN.against)] == [2, 2]

    def test_each_text_is_shown_once_and_the_worst_of_each_check_first(self):
        one = [WorstText(f"text {i}", 1.0, 0.0) for i in range(5)]
        other = [WorstText("another", 1.0, 0.1), *one]
        (found,) = findings([red("retention", worst=(*one,)), red("agreement", worst=(*other,))], KNOWN.against)
        assert [each.text for each in found.worst] == ["text 0", "another", "text 1", "text 2", "text 3"]

    def test_the_terminal_tells_a_cause_once_beneath_its_kind(self):
        shown = terminal.render(session(red("retention"), red("agreement", of="b-int8-cpu")), width=200)
        assert shown.count("cause: pooling: pooled by CLS") == 1
        assert "worse than the reference:\nacme-int8-cpu: retention is red\n" in shown
        assert "also b-int8-cpu: agreement is red" in shown

    def test_each_combination_is_named_however_much_shows_the_cause(self):
        many = [red("retention", of=of, message=f"{of} {i}") for of in ("a-int8-cpu", "b-int8-cpu") for i in range(20)]
        (found,) = findings(many, KNOWN.against)
        assert [message for _, message in found.messages[:3]] == ["a-int8-cpu 0", "b-int8-cpu 0", "a-int8-cpu 1"]
        shown = terminal.render(session(*many), width=200)
        assert "also b-int8-cpu: b-int8-cpu 0" in shown
        assert "and 27 other checks" in shown

    def test_what_concerns_all_in_the_same_words_is_told_with_their_names(self):
        missing = [red("baseline", "approval", "no baseline", of=f"{c}-int8-cpu", message="no baseline") for c in "abc"]
        assert "also b-int8-cpu, c-int8-cpu" in terminal.render(session(*missing), width=200)


class TestDecision:
    @pytest.mark.parametrize(
        ("judgements", "answer", "why"),
        [
            ([green()], "yes", "acme-int8-cpu passes (1 check)"),
            (
                [red("retention", message="keeps 90%")],
                "no",
                "acme-int8-cpu is worse than the reference: keeps 90%",
            ),
            (
                [
                    red("golden", "tokens", message="other tokens"),
                    red("retention", of="b-int8-cpu", message="keeps 90%"),
                ],
                "no",
                "b-int8-cpu is worse than the reference and acme-int8-cpu has drifted from what was approved: keeps 90%",
            ),
            (
                [green(), red("baseline", "approval", "no baseline is approved")],
                "not known",
                "acme-int8-cpu passes every other check, and no baseline is approved; do this",
            ),
            (
                [green(), Judgement("retention", MINE, "inconclusive", "keeps 98% to 100%")],
                "not known",
                "the data cannot tell: acme-int8-cpu: keeps 98% to 100%",
            ),
            ([], "not known", "nothing was judged"),
        ],
    )
    def test_it_is_one_word_and_why(self, judgements, answer, why):
        found = decision(session(*judgements))
        assert (found.answer, found.why) == (answer, why)
        assert found.line == f"May it ship? {answer.capitalize()}: {why}"

    def test_data_that_cannot_tell_leave_it_open(self):
        none = red("retention", "dataset", "the reference itself scores 0.5", message="the reference itself scores 0.5")
        found = decision(session(green(), none))
        assert found.answer == "not known"
        assert "the reference itself scores 0.5; do this" in found.why

    def test_what_is_kept_of_a_task_is_the_example(self):
        found = decision(session(red("agreement", message="cosine 0.4"), red("retention", message="keeps 70%")))
        assert found.why == "acme-int8-cpu is worse than the reference: keeps 70%"

    @pytest.mark.parametrize(("left", "answer"), [("retention", "not known"), ("baseline", "yes"), ("speed", "yes")])
    def test_what_a_person_left_out_is_not_said_to_pass(self, left, answer):
        left_out = {"x": [left, ""], "y": ["mixed", "nightly"]}
        seen = session(green())
        seen.facts = {
            "checks": facts.coverage({MINE: {"whole": 2, "asked": {"a": ""}, "left": left_out}}),
            "depth": "quick",
        }
        assert decision(seen).answer == answer
        assert ("left out 1 check" in decision(seen).why) == (answer == "not known")

    def test_what_fails_as_expected_does_not_pass(self):
        excused = Record(MINE, judgement=red("retention"), expected="known")
        found = summarise(Collector([Record("torch-fp32-cpu", True, green(of="torch-fp32-cpu")), excused]))
        assert decision(found).line == "May it ship? Yes: 1 failure is expected"

    def test_only_what_passed_is_counted_and_of_what_is_named(self):
        none = Judgement("speed", MINE, "inconclusive", "1 s", diagnosis=Diagnosis("approval", "none is approved", ""))
        found = summarise(
            Collector(
                [
                    Record("torch-fp32-cpu", True, green(of="torch-fp32-cpu")),
                    *(Record(MINE, judgement=j) for j in (green(), none)),
                ]
            )
        )
        assert decision(found).why == "acme-int8-cpu passes (1 check)"

    def test_a_test_of_the_projects_own_that_fails_leaves_it_open(self):
        found = decision(session(green(), others_failed=3))
        assert found.line == "May it ship? Not known: the checks pass, and 3 tests of the project's own failed"

    def test_a_command_is_never_cut(self):
        step = f"approve it by: pytest --pyargs embedgate.suites --gate-model {'m' * 90} --gate-update"
        none = Judgement("speed", MINE, "inconclusive", "x", diagnosis=Diagnosis("approval", "none is approved", step))
        assert decision(session(none)).why.endswith(step)
        long = step.replace("m" * 90, "m" * 900)
        assert (
            "pytest"
            not in decision(
                session(Judgement("size", MINE, "inconclusive", "x", diagnosis=Diagnosis("approval", "none", long)))
            ).why
        )

    def test_what_is_red_and_not_approved_may_not_ship(self):
        assert decision(session(red("retention"), red("baseline", "approval"))).answer == "no"

    @pytest.mark.parametrize(
        ("strict", "answer"),
        [(Strictness.USUAL, "not known"), (Strictness.ESTIMATE, "no"), (Strictness.FULL, "not known")],
    )
    def test_an_estimate_beyond_the_tolerance_decides_where_it_is_asked_to(self, strict, answer):
        open_ = Judgement("retention", MINE, "inconclusive", "keeps 98%", observed=0.98, limit=0.99)
        found = decision(session(green(), open_, strict=strict))
        assert found.answer == answer
        assert "keeps 98%" in found.why

    def test_trouble_and_errors_leave_it_open(self):
        assert decision(session(green(), trouble=["no git here"])).line == "May it ship? Not known: no git here"
        broken = Collector([Record(MINE, error="out of memory\ntraceback")])
        assert decision(summarise(broken)).why == "acme-int8-cpu could not be judged: out of memory"

    def test_budgets_that_nothing_judges_do_not_leave_it_open(self):
        none = Judgement("speed", MINE, "inconclusive", "1 s", diagnosis=Diagnosis("approval", "none is approved", ""))
        assert decision(session(green(), none)).answer == "yes"
        assert decision(session(green(), none, strict=Strictness.FULL)).answer == "not known"
        assert decision(session(none)).answer == "not known", "where nothing else was judged"

    def test_every_format_begins_or_ends_with_it(self):
        found = session(red("retention", message="keeps 90%"))
        assert markdown.render(found).startswith("## embedgate: ❌ May it ship? No\n\nacme-int8-cpu is worse than")
        assert terminal.render(found, width=200).splitlines()[-2].startswith("May it ship? No: acme-int8-cpu is worse")


class TestSize:
    def many(self, combinations: int, checks: int = 60, length: int = 1000) -> summaries.Summary:
        text = "é|*" * length
        worst = tuple(WorstText(f"{i} {text}", 1.0, 0.0) for i in range(5))
        found = [
            red("retention", cause=f"{name} {check} {text}", of=f"c{name}-int8-cpu", message=text, metric="spearman")
            for name, check in itertools.product(range(combinations), range(checks))
        ]
        found = [Judgement(**{**vars(each), "worst": worst, "details": (text,) * 30}) for each in found]
        return session(*found, trouble=[text])

    @pytest.mark.parametrize("combinations", [1, 10, 100])
    def test_the_markdown_fits_into_a_comment_whatever_is_in_it(self, combinations):
        page = markdown.render(self.many(combinations))
        assert len(page.encode()) <= markdown.MOST_BYTES < 65_536
        assert "more: see report.html." in page

    def sliced(self, combination: str, slices: int) -> Judgement:
        parts = tuple(Slice(f"{i} {'x' * 100}", 20, 0.1, 0.1) for i in range(slices))
        return Judgement("retention", combination, "pass", "x", "pairs", "spearman", 0.7, 0.8, 0.9, slices=parts)

    def test_thousands_of_slices_crowd_out_nothing(self):
        page = markdown.render(session(*(self.sliced(f"{c}-int8-cpu", 4000) for c in "abc"), trouble=["look here"]))
        assert len(page.encode()) <= markdown.MOST_BYTES
        assert "look here" in page
        assert "more: see report.html." in page

    def test_what_does_not_fit_at_all_is_told(self):
        page = markdown.render(session(*(self.sliced(f"{'c' * 100}{i}-int8-cpu", 1) for i in range(600))))
        assert len(page.encode()) <= markdown.MOST_BYTES
        assert page.rstrip().endswith("Some sections are left out: see report.html.")

    def test_an_exception_of_any_length_is_cut(self):
        long = summarise(Collector([Record(MINE, error=f"ValueError: {'x' * 100_000}")]))
        assert len(markdown.render(long)) < 3000
        assert max(map(len, terminal.render(long).splitlines())) < 1000

    def test_a_report_that_fits_is_whole(self):
        page = markdown.render(session(*(red("retention", cause=f"cause {i}") for i in range(20))))
        assert "see report.html" not in page
        assert all(f"cause {i}" in page for i in range(20))


class TestCells:
    def judged(self, verdict: str) -> summaries.Summary:
        lost = Judgement("retention", MINE, verdict, "x", "pairs", "spearman", 0.7, 0.8, 0.9, limit=0.99, n=10)
        return session(lost)

    def test_the_cell_that_fails_is_marked_with_its_limit(self):
        (row,) = columns.table(self.judged("fail")).rows
        assert columns.Cell("90.0% (0.7000)", "fail", ">= 99.0%") in row
        assert "❌ **90.0% (0.7000) (≥ 99.0%)**" in markdown.render(self.judged("fail"))
        assert "90.0% (0.7000) (>= 99.0%)" in terminal.render(self.judged("fail"))

    def test_a_row_counts_what_made_its_verdict(self):
        none = Judgement("speed", MINE, "inconclusive", "1 s", diagnosis=Diagnosis("approval", "none is approved", ""))
        open_ = Judgement("retention", MINE, "inconclusive", "keeps 98%")
        told = [str(columns.table(session(*each)).rows[0][1]) for each in ((green(), open_, none), (none, none))]
        assert told == ["inconclusive 1/3", "inconclusive 2/2"]

    def test_no_cell_is_cut_however_many_there_are(self):
        lost = self.judged("fail").rows[0].judgements[0]
        many = [Judgement(**{**vars(lost), "dataset": f"a rather long name {i}"}) for i in range(8)]
        assert terminal.render(session(*many), width=80).count("90.0% (0.7000) (>= 99.0%)") == 8

    def test_a_green_one_has_no_mark(self):
        (row,) = columns.table(self.judged("pass")).rows
        assert columns.Cell("90.0% (0.7000)") in row

    def test_one_that_fails_as_expected_has_no_mark(self):
        (judgement,) = self.judged("fail").rows[0].judgements
        excused = summarise(Collector([Record(MINE, judgement=judgement, expected="known")]))
        assert columns.Cell("90.0% (0.7000)") in columns.table(excused).rows[0]

    def test_the_references_own_value_stands_in_its_row(self):
        reference = Record("torch-fp32-cpu", True, Judgement("golden", "torch-fp32-cpu", "pass", "x"))
        lost = self.judged("fail").rows[0].judgements[0]
        found = summarise(Collector([reference, Record(MINE, judgement=lost)]))
        assert columns.Cell("(0.8000)") in columns.table(found).rows[0]


class TestSlices:
    def test_they_have_a_table(self):
        parts = (Slice("negation", 12, 0.71, 0.82), Slice("short", 30, 0.9, 0.9))
        lost = Judgement("retention", MINE, "pass", "x", "pairs", "spearman", 0.7, 0.8, 0.9, slices=parts)
        table = slices.table(session(lost))
        assert table.headings == ["dataset", "metric", "slice", "items", "reference", MINE]
        assert [*map(str, table.rows[0])] == ["pairs", "Spearman", "negation", "12", "0.8200", "0.7100 (-0.1100)"]
        assert "| pairs | Spearman | negation | 12 | 0.8200 | 0.7100 (-0.1100) |" in markdown.render(session(lost))

    def test_names_of_slices_and_datasets_are_no_markup(self):
        evil = "a | b <img src=x> @org/team [x](y) [red]z[/red]\x1b[31m"
        lost = Judgement(
            "retention", MINE, "pass", "x", evil, "spearman", 0.7, 0.8, 0.9, slices=(Slice(evil, 2, 0.1, 0.1),)
        )
        page = markdown.render(session(lost))
        assert "<img" not in page
        assert "[x](y)" not in page
        assert not any("@org" in line.replace("\\@", "") for line in page.splitlines())
        head, rule, row = [
            line.replace(r"\|", "").count("|") for line in page.partition("### Slices")[2].splitlines()[2:5]
        ]
        assert head == rule == row
        assert "[red]z[/red]" in terminal.render(session(lost), width=400)
        assert "\x1b" not in page + terminal.render(session(lost))

    def test_where_no_dataset_has_any_there_is_none(self):
        assert slices.table(session(green())) is None


class TestNotAsked:
    def test_it_is_told_by_what_would_ask_it(self):
        left = {"speed a": ["speed", "standard"], "speed b": ["speed", "standard"], "golden": ["golden", ""]}
        checks = facts.coverage({MINE: {"whole": 4, "asked": {"effective": ""}, "left": left}})
        assert facts.not_asked({"checks": checks}) == [
            "--gate-depth=standard asks 2 more checks: speed 2",
            "left out by -k, -m or the places that were given: 1 check: golden 1",
        ]

    def test_nothing_is_told_where_all_was_asked(self):
        assert facts.not_asked({"checks": facts.coverage({MINE: {"whole": 1, "asked": {"a": ""}, "left": {}}})}) == []
