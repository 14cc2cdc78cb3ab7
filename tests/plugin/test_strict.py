"""`--gate-strict`, and between it and none the middle: red where the estimate itself is beyond the tolerance."""

from __future__ import annotations

import json

import pytest

from embedgate.core.errors import GateError
from embedgate.core.judgement import Diagnosis, Judgement
from embedgate.core.options import receipt_words
from embedgate.core.strictness import Strictness
from embedgate.plugin.options import settings_of
from embedgate.report.collector import Collector
from embedgate.report.records import Record

USUAL, ESTIMATE, FULL = Strictness
RED = "inconclusive, and the estimate itself is beyond the tolerance: red by --gate-strict=estimate"


def judgement(verdict: str = "inconclusive", *, check: str = "retention", observed: float | None = 0.5, **found):
    return Judgement(check, "a", verdict, "m", observed=observed, limit=1.0, **found)


class TestOption:
    """How it is given."""

    @pytest.fixture
    def settings(self, pytester):
        return lambda *options: settings_of(pytester.parseconfig("-p", "no:cacheprovider", *options))

    @pytest.mark.parametrize(
        ("given", "strict"),
        [
            ([], USUAL),
            (["--gate-strict"], FULL),
            (["--gate-strict=full"], FULL),
            (["--gate-strict=estimate"], ESTIMATE),
        ],
    )
    def test_it_takes_no_path_behind_it(self, pytester, given, strict):
        pytester.mkdir("suites")
        config = pytester.parseconfig("-p", "no:cacheprovider", *given, "suites")
        assert settings_of(config).strict is strict
        assert config.args == ["suites"]

    def test_the_last_one_counts(self, settings):
        assert settings("--gate-strict", "--gate-strict=estimate").strict is ESTIMATE

    def test_another_level_is_misuse(self, pytester):
        done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--gate-strict=estimated")
        assert done.ret == pytest.ExitCode.USAGE_ERROR
        done.stderr.fnmatch_lines(["*--gate-strict: *'estimated'*"])

    @pytest.mark.parametrize(
        ("given", "strict"),
        [("true", FULL), ("1", FULL), ("full", FULL), ("estimate", ESTIMATE), ("false", USUAL), ("0", USUAL)],
    )
    def test_the_ini_file_has_the_same_levels(self, settings, pytester, given, strict):
        pytester.makeini(f"[pytest]\ngate_strict = {given}\n")
        assert settings().strict is strict
        assert settings("--gate-strict").strict is FULL

    def test_another_level_in_the_ini_file_is_told(self, settings, pytester):
        pytester.makeini("[pytest]\ngate_strict = estimated\n")
        with pytest.raises(GateError, match="--gate-strict must be estimate or full, not 'estimated'"):
            settings()

    @pytest.mark.skipif(pytest.version_tuple < (9, 2), reason="this pytest knows no ini option of two types")
    @pytest.mark.parametrize(("given", "strict"), [("true", FULL), ('"estimate"', ESTIMATE)])
    def test_the_tables_of_toml_that_are_pytests_own_have_them_too(self, settings, pytester, given, strict):
        pytester.makepyprojecttoml(f"[tool.pytest]\ngate_strict = {given}\n")
        assert settings().strict is strict

    @pytest.mark.parametrize("given", [["--gate-strict"], ["--gate-strict=estimate"], []])
    def test_words_give_it_as_it_was(self, settings, given):
        from embedgate.core.options import OPTIONS

        (option,) = (option for option in OPTIONS if option.setting == "strict")
        assert option.words(settings(*given)) == given
        assert receipt_words(settings(*given)) == []


class TestRule:
    """What is red under which strictness."""

    @pytest.mark.parametrize(
        ("found", "red"),
        [
            (judgement("pass"), ()),
            (judgement("fail"), (USUAL, ESTIMATE, FULL)),
            (judgement(observed=0.5), (ESTIMATE, FULL)),
            (judgement(observed=1.0), (FULL,)),
            (judgement(observed=None), (FULL,)),
            (judgement(diagnosis=Diagnosis("baseline", "nothing is approved", "")), (FULL,)),
            (judgement(check="speed", observed=1.5), (ESTIMATE, FULL)),
            (judgement(check="search speed", observed=1.5), (ESTIMATE, FULL)),
            (judgement(check="speed", observed=0.5), (FULL,)),
        ],
    )
    def test_a_judgement_is_red(self, found, red):
        assert tuple(strict for strict in Strictness if strict.is_red(found)) == red

    def test_its_message_says_so_once_where_the_estimate_alone_decides(self):
        told = ESTIMATE.told(judgement())
        assert told.message == f"m; {RED}"
        assert ESTIMATE.told(told) == told
        for found in (judgement(observed=1.0), judgement("fail"), judgement("pass")):
            assert ESTIMATE.told(found) == found
        assert FULL.told(judgement()) == USUAL.told(judgement()) == judgement()

    @pytest.mark.parametrize(
        ("strict", "why"), [(ESTIMATE, f"a: m; {RED}"), (FULL, "a: m\n  inconclusive fails under --gate-strict")]
    )
    def test_the_text_of_what_is_red_though_open_says_why_once(self, strict, why):
        assert strict.explain(strict.told(judgement())) == why
        assert strict.explain(judgement("fail")) == judgement("fail").explain()

    @pytest.mark.parametrize(("told", "strict"), [(False, USUAL), (True, FULL), ("", USUAL), ("estimate", ESTIMATE)])
    def test_older_reports_say_only_whether_there_is_any(self, told, strict):
        assert Strictness.of(told) is strict

    def test_the_strictest_of_several(self):
        assert Strictness.strictest([ESTIMATE, FULL, USUAL]) is FULL
        assert Strictness.strictest([]) is USUAL

    def test_what_an_estimate_makes_red_is_no_trouble_of_the_machine(self):
        records = [Record("a", error="no such file"), Record("a", judgement=judgement())]
        assert Collector(records, strict=USUAL).lost_nothing
        assert not Collector(records, strict=ESTIMATE).lost_nothing
        assert Collector(records[:1], strict=ESTIMATE).lost_nothing
        assert not Collector(records[:1], strict=FULL).lost_nothing


# What is measured moves away from the reference's embeddings by a share of noise.
CONFTEST = """
from zlib import crc32
import numpy as np
from helpers.faults import Wrapped

SHARE = {share}

def noisy(embeddings, texts):
    noise = [np.random.default_rng(crc32(text.encode())).standard_normal(embeddings.shape[1]) for text in texts]
    moved = embeddings + SHARE * np.array(noise, np.float32) / embeddings.shape[1] ** 0.5
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)

def pytest_gate_combinations(registry):
    registry.add("acme-fp32-cpu", lambda path, device: Wrapped(path, noisy))
"""


PLACES = ("the harbour", "the old mill", "our school", "a quiet valley", "the market", "the northern line")
DOES = ("opens at nine", "was sold last year", "needs a new roof", "is busy on Sundays")


def pairs(path) -> None:
    """Some two dozen pairs: so few that hardly any loss is certain."""
    rows = [
        {"sentence1": f"{a} {b}", "sentence2": f"{c} {d}", "score": 2 * (a == c) + 2 * (b == d) + (5 * i + j) % 7 / 8}
        for i, a in enumerate(PLACES)
        for j, b in enumerate(DOES)
        for c, d in [(PLACES[(i + j) % 3], DOES[(i + j) % 4])]
    ]
    path.joinpath("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


class TestSession:
    """A fault of which so few pairs leave open whether it is within the tolerance."""

    @pytest.fixture
    def session(self, project):
        """Gates a combination that is noisy by a share, and gives pytest's result, the report and the judgement."""
        pairs(project.path)

        def run(share: float, *options: str):
            project.makeconftest(CONFTEST.format(share=share))
            arguments = ["--gate-data=mine.jsonl", "--gate-combination=acme-fp32-cpu", "--gate-report=out", *options]
            suite = ("-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_quality", "-k", "keeps_the_ref")
            done = project.runpytest_inprocess(*suite, *arguments)
            report = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
            (judged,) = report["combinations"][0]["judgements"]
            assert judged["verdict"] == "inconclusive"
            return done, report, judged

        return run

    @pytest.mark.parametrize(
        ("options", "told", "verdict"),
        [
            ((), "", "inconclusive"),
            (("--gate-strict=estimate",), "estimate", "fail"),
            (("--gate-strict",), "full", "fail"),
        ],
    )
    def test_an_estimate_beyond_the_tolerance_is_red_by_estimate_and_full(self, session, options, told, verdict):
        done, report, judged = session(1.3, *options)
        assert judged["observed"] < judged["limit"]
        assert (report["verdict"], report["strict"]) == (verdict, told)
        done.assert_outcomes(**{"failed" if told else "passed": 1})
        assert done.ret == (pytest.ExitCode.TESTS_FAILED if told else pytest.ExitCode.OK)
        assert (RED in judged["message"]) == (told == "estimate")
        assert ("inconclusive fails under --gate-strict" in done.stdout.str()) == (told == "full")

    @pytest.mark.parametrize("options", [(), ("--gate-strict=estimate",), ("--gate-strict=full",)])
    def test_an_estimate_within_the_tolerance_is_red_by_full_alone(self, session, options):
        done, report, judged = session(0.6, *options)
        assert judged["observed"] >= judged["limit"]
        red = "--gate-strict=full" in options
        assert report["verdict"] == ("fail" if red else "inconclusive")
        assert done.ret == (pytest.ExitCode.TESTS_FAILED if red else pytest.ExitCode.OK)
        assert RED not in judged["message"]

    @pytest.mark.parametrize(("strict", "share"), [("estimate", 1.3), ("full", 1.3), ("full", 0.6)])
    def test_what_is_red_by_strictness_alone_can_be_expected_as_a_failure_can(self, session, project, strict, share):
        project.mkdir("approved").joinpath("expected_failures.toml").write_text(
            '[[expected]]\ncombination = "acme-fp32-cpu"\ndataset = "mine"\ncheck = "retention"\n'
            'kind = "known-defect"\nreason = "loses a little"\nlink = "https://example.com/1"\n'
        )
        done, report, _ = session(share, f"--gate-strict={strict}", "--gate-baselines=approved")
        done.assert_outcomes(xfailed=1)
        assert done.ret == pytest.ExitCode.OK
        assert (report["verdict"], len(report["expected_failures"])) == ("pass", 1)

    def test_what_cannot_run_is_skipped_by_estimate(self, project, few):
        arguments = ["-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_quality", f"--gate-data={few}"]
        arguments += ["--gate-combination=tensorrt-fp16-cuda", "-k", "keeps_the_ref"]
        assert project.runpytest_inprocess(*arguments, "--gate-strict=estimate").ret == pytest.ExitCode.OK
        assert project.runpytest_inprocess(*arguments, "--gate-strict").ret == pytest.ExitCode.TESTS_FAILED
