"""The tuple of checks: each is asked by one test, told by one page, and can be added to from another repository."""

from __future__ import annotations

import ast
import json

import numpy as np
import pytest
from helpers.paths import ROOT, TESTS

from embedgate.checks import CHECKS, Case, Check, CheckRegistry
from embedgate.checks.__main__ import PAGE, page
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.judgement import Diagnosis

ACME = Combination.parse("acme-fp32-cpu")


def asked() -> list[str]:
    """The checks that tests of suites ask, by their marks."""
    calls = [
        node
        for file in sorted((ROOT / "suites").glob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.gate"
    ]
    return [ast.literal_eval(argument) for call in calls for argument in call.args]


def test_every_check_is_asked_by_one_test():
    assert sorted(asked()) == sorted(check.name for check in CHECKS)


def test_the_page_of_checks_is_what_the_tuple_says():
    assert (ROOT / PAGE).read_text("utf-8") == page(), "run: python -m embedgate.checks"


class TestRegistry:
    def test_a_name_is_taken_once(self):
        registry = CheckRegistry()
        registry.add(Check("acme", print))
        with pytest.raises(GateError, match="there is a check named 'acme' already"):
            registry.add(Check("acme", print))

    def test_a_name_that_is_none_tells_the_nearest(self):
        with pytest.raises(GateError, match=r"there is no check named 'retentoin'; did you mean retention\?"):
            CheckRegistry().named("retentoin")

    def test_what_reports_must_know_follows_from_the_checks(self):
        registry = CheckRegistry()
        registry.add(Check("acme.one", print, against="approved"))
        registry.add(Check("acme.two", print))
        known = registry.known
        assert known.order[0] == "effective"
        assert known.order[-1] == "acme"
        assert known.approved == {"baseline", "golden", "speed", "memory", "size", "products", "search speed", "acme"}

    def test_its_vocabulary_holds_whatever_is_installed(self):
        words = CheckRegistry().vocabulary
        assert {"spearman", "margin", "batch_size", "emoji", "int8", "batch_32_medium"} < {*words}
        assert {"qdrant-hnsw-uint8", "faiss-exact-int8-batch1"} < {*words}

    def test_subjects_that_a_check_does_not_know_are_refused(self, context_with, few):
        context = context_with(data=(str(few),), combinations=("torch-fp32-cpu",))
        reference = context.plan.reference
        with pytest.raises(GateError, match="the check invariance is not asked about 'padding2'; choose from"):
            context.ask("invariance", reference, "padding2")


class TestContext:
    def test_what_raises_keeps_no_other_part_from_being_closed(self, context_with, few):
        context, closed = context_with(data=(str(few),)), []

        class First:
            def __init__(self, context):
                pass

            def close(self):
                closed.append("first")

        class Second(First):
            def close(self):
                raise OSError("the disk is gone")

        assert context.of(First) is context.of(First), "it is made once"
        context.of(Second)
        with pytest.raises(OSError, match="the disk is gone"):
            context.close()
        assert closed == ["first"]

    @pytest.mark.parametrize(
        ("found", "cause"),
        [
            (lambda case: "fine", "'str' object has no attribute 'to_json'"),
            (lambda case: case.passed("fine", n=2.5), "Expected `int | null`, got `float`"),
            (lambda case: case.passed("fine", value=np.ones(3)), "Expected `float | null`, got `str`"),
        ],
    )
    def test_what_is_no_judgement_is_trouble_and_no_verdict(self, context_with, few, found, cause):
        context = context_with(added_checks=[Check("acme", lambda _, case: found(case))], data=(str(few),))
        with pytest.raises(GateError, match="the check acme came to what is no judgement") as caught:
            context.ask("acme", context.plan.reference)
        assert cause in str(caught.value)

    def test_numbers_of_numpy_are_numbers(self, context_with, few):
        found = Check("acme", lambda _, case: case.passed("fine", value=np.float32(0.5), n=np.int64(3)))
        context = context_with(added_checks=[found], data=(str(few),))
        judgement = context.ask("acme", context.plan.reference)
        assert (type(judgement.value), type(judgement.n)) == (float, int)


class TestCase:
    CASE = Case(Check("acme.one", print), ACME)

    def test_judgements_are_of_the_checks_kind_and_subject(self):
        assert self.CASE.passed("fine").check == "acme"
        red = self.CASE.failed(Diagnosis("scores", "too low", "do better"), value=1.0)
        assert (red.verdict, red.message, red.value) == ("fail", "too low", 1.0)
        open_ = self.CASE.unjudged(Diagnosis("baseline", "none is approved", "approve it"), "takes 1 s")
        assert (open_.unjudged, open_.message) == (True, "takes 1 s; none is approved")


CONFTEST = f"""
import sys

sys.path.insert(0, {str(TESTS)!r})
import numpy as np
import pytest
from helpers import stub_devices

from embedgate import Check, Diagnosis

stub_devices.install(pytest.MonkeyPatch())

def extent(context, case):
    largest = float(np.abs(context.run(case).embeddings.matrix).max())
    limit = context.plan.settings.batch_size
    if largest > limit:
        cause = f"a component is {{largest:.2f}}, {{limit}} is the most"
        return case.failed(Diagnosis("normalisation", cause, "normalise embeddings"))
    return case.passed(f"the largest component is {{largest:.2f}}")

def pytest_gate_checks(registry):
    registry.add(Check("extent", extent))
    registry.add(Check("never", extent, asked=lambda plan: False))
"""
SUITE = """
import pytest

@pytest.mark.gate("extent")
def test_fits(uphold):
    uphold()

@pytest.mark.gate("never")
def test_is_never_asked(uphold):
    uphold()
"""


@pytest.fixture
def project(project, few, warm):
    """A repository with checks and a suite of its own."""
    project.makeconftest(CONFTEST)
    project.makepyfile(test_extent=SUITE)
    common = ("-p", "no:cacheprovider", f"--gate-data={few}", "--gate-combination=torch-*16-cpu")
    return lambda *options: project.runpytest_subprocess(*common, *options)


def test_a_check_of_another_repository_is_asked_of_every_combination(project, pytester):
    done = project("--gate-report=out", "test_extent.py")
    done.assert_outcomes(passed=2)
    rows = json.loads((pytester.path / "out/report.json").read_text("utf-8"))["combinations"]
    assert {row["combination"] for row in rows} == {"torch-bf16-cpu", "torch-fp16-cpu"}
    assert {judgement["check"] for row in rows for judgement in row["judgements"]} == {"extent"}


def test_its_failure_has_its_cause_and_what_to_do(pytester, project):
    (pytester.path / "conftest.py").write_text(
        CONFTEST.replace("limit = context.plan.settings.batch_size", "limit = 0")
    )
    done = project("test_extent.py")
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["torch-bf16-cpu: a component is *, 0 is the most", "  next step: normalise embeddings"])


def test_a_suite_that_asks_for_no_check_there_is_is_misuse(pytester, project):
    pytester.makepyfile(test_typo='import pytest\n\n@pytest.mark.gate("extnet")\ndef test_x(uphold):\n    uphold()\n')
    done = project("test_typo.py")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*there is no check named 'extnet'; did you mean extent?*"])


@pytest.mark.parametrize(
    "mark",
    [
        "",
        "@pytest.mark.gate\n",
        "@pytest.mark.gate(3)\n",
        '@pytest.mark.gate("extent", "never")\n',
        '@pytest.mark.gate("extent")\n@pytest.mark.gate("never")\n',
    ],
)
def test_a_test_that_names_no_check_is_misuse(pytester, project, mark):
    pytester.makepyfile(test_bare=f"import pytest\n\n{mark}def test_x(uphold):\n    uphold()\n")
    done = project("test_bare.py")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*test_x does not name the one check that uphold is to ask; mark it @pytest.mark.gate*"])


def test_a_test_that_never_asks_its_check_is_misuse(pytester, project):
    pytester.makepyfile(test_bare='import pytest\n\n@pytest.mark.gate("extent")\ndef test_x():\n    pass\n')
    done = project("test_bare.py")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*test_x is marked with a check and never asks it; give it the fixture uphold*"])
