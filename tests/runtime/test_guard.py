"""One encoder cannot hurt another: what one does, is its own error or is put back, and the others' vectors stay."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import numpy as np
import pytest
import torch
from helpers import stub_devices
from helpers.stub_devices import Stub

from embedgate.checks import Check
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, GateError
from embedgate.core.roles import Input

REFERENCE, BAD, GOOD = map(Combination.parse, ("torch-fp32-cpu", "bad-int8-cpu", "good-int8-cpu"))
OTHERS = [Input("another text"), Input("and one more")]


class Acme:
    """Computes in torch, in its default type and with its global state."""

    def __init__(self, path=None, device="cpu"):
        self.weight = torch.arange(97 * 384).reshape(97, 384).remainder(13) / 7

    def encode(self, texts, batch_size=32):
        counts = torch.zeros(len(texts), 97)
        for row, text in enumerate(texts):
            for letter in text:
                counts[row, ord(letter) % 97] += 1
        return counts.to(self.weight.dtype) @ self.weight + 1


def raising(error, method="encode"):
    """An encoder, a method of which raises."""

    def fail(self, *_, **__):
        raise error

    return type("Bad", (Acme,), {method: fail})


def changing(change, method="encode"):
    """An encoder that changes the process as one of its methods is called."""

    def spoil(self, *given, **named):
        change()
        return getattr(super(bad, self), method, lambda: None)(*given, **named)

    bad = type("Bad", (Acme,), {method: spoil})
    return bad


@pytest.fixture
def judged(context_with, few):
    """Runs a bad and a good encoder beside the reference; the context, and what the bad one was told as."""
    made = []

    def make(bad):
        context = context_with({BAD.id: bad, GOOD.id: Acme}, data=(str(few),), combinations=("*-int8-cpu",))
        made.append(context)
        session, error = context.session, None
        session.run(REFERENCE)
        try:
            session.run(BAD)
        except GateError as told:
            error = told
        return context, error

    yield make
    for context in made:
        context.close()


@pytest.fixture
def expected(judged):
    """Vectors of the good encoder, and of the reference after it, where nobody hurts them."""
    return vectors(judged(Acme)[0])


def vectors(context):
    session = context.session
    return [session.run(GOOD).embeddings.matrix, session.embed(session.run(REFERENCE), OTHERS)]


def unhurt(context, expected):
    assert all(map(np.array_equal, vectors(context), expected))


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (raising(SystemExit(0)), "bad-int8-cpu called sys.exit(0) while encoding; "),
        (raising(GeneratorExit()), "bad-int8-cpu raised GeneratorExit while encoding; "),
        (raising(asyncio.CancelledError()), "bad-int8-cpu raised CancelledError while encoding; "),
        (raising(SystemExit(2), "__init__"), "bad-int8-cpu called sys.exit(2) while building; "),
        (raising(SystemExit(2), "evidence"), "bad-int8-cpu called sys.exit(2) while showing what ran; "),
    ],
    ids=["exit", "generator", "cancelled", "build", "evidence"],
)
def test_what_would_end_the_session_is_an_error_of_its_combination_alone(judged, expected, bad, told):
    context, error = judged(bad)
    assert str(error).startswith(told)
    with pytest.raises(type(error)) as again:
        context.session.run(BAD)
    assert str(again.value) == str(error)
    unhurt(context, expected)


def test_a_librarys_own_is_told_too(context_with, few, monkeypatch):
    """As the panic of a library in Rust is: no Exception, of an encoder of embedgate's own."""

    class PanicException(BaseException):
        pass

    class Panics(Stub):
        def encode(self, texts, batch_size=32):
            if not self.combination.is_reference:
                raise PanicException("index out of bounds")
            return super().encode(texts, batch_size)

    stub_devices.install(monkeypatch, Panics)
    session = context_with(data=(str(few),)).session
    with pytest.raises(BuildError, match="torch-bf16-cpu raised PanicException: index out of bounds while encoding"):
        session.run(Combination.parse("torch-bf16-cpu"))
    session.close()


def test_ctrl_c_stays_ctrl_c(judged):
    with pytest.raises(KeyboardInterrupt):
        judged(raising(KeyboardInterrupt()))


CHANGES = {
    "dtype": (lambda: torch.set_default_dtype(torch.bfloat16), "torch's default dtype from float32 to bfloat16"),
    "grad": (lambda: torch.set_grad_enabled(False), "torch's grad mode from on to off"),
    "precision": (
        lambda: torch.set_float32_matmul_precision("medium"),
        "torch's float32 precision from highest to medium",
    ),
    "deterministic": (lambda: torch.use_deterministic_algorithms(True), "torch's deterministic algorithms"),
    "autocast": (
        lambda: torch.autocast("cpu", dtype=torch.bfloat16).__enter__(),
        "torch's autocast from off to bfloat16 on cpu",
    ),
    "denormal": (lambda: torch.set_flush_denormal(True), "torch's flushing of denormal numbers from off to on"),
    "folder": (lambda: os.chdir("/"), "the working directory from "),
    "environment": (lambda: os.environ.update(MKL_NUM_THREADS="1", ACME="x"), "the environment variables ACME, MKL_"),
    "stdout": (lambda: setattr(sys, "stdout", None), "sys.stdout"),
}


@pytest.mark.parametrize("method", ["__init__", "encode"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_it_changes_is_put_back_and_told(judged, expected, method, name):
    change, told = CHANGES[name]
    context, error = judged(changing(change, method))
    assert error is None
    unhurt(context, expected)
    (line,) = context.changes
    assert line.startswith(f"bad-int8-cpu changed {told}")
    assert f" while {'building' if method == '__init__' else 'encoding'}; embedgate put it back" in line


def test_an_encoder_computes_in_what_its_factory_has_set(judged, expected):
    """As where it is deployed: its second call finds what its first one, or its factory, has left."""
    seen = []

    class Bfloat16(Acme):
        def __init__(self, path, device):
            torch.set_default_dtype(torch.bfloat16)
            super().__init__(path, device)

        def encode(self, texts, batch_size=32):
            seen.append(torch.get_default_dtype())
            return super().encode(texts)

    context, error = judged(Bfloat16)
    assert error is None
    assert {*seen} == {torch.bfloat16}
    unhurt(context, expected)


def test_none_of_embedgates_own_is_told_to_change_anything(context_with, few):
    """By the same measure: they are held against it as a host's are."""
    from embedgate.core.host_code import HostCode
    from embedgate.core.surroundings import NOT_OURS

    context = context_with(data=(str(few),), combinations=("torch-*-cpu", "*-int8-cpu"))
    code = HostCode("embedgate", things=NOT_OURS)
    for combination in context.plan.combinations:
        if context.session.unavailable(combination) is None:
            code.call("running", lambda combination=combination: context.session.run(combination))
    code.call("closing", context.close)
    assert code.changes == []


@pytest.mark.parametrize(
    "error", [OSError("disk gone"), SystemExit(3), GeneratorExit()], ids=lambda e: type(e).__name__
)
def test_a_close_that_raises_is_its_owners_trouble(judged, expected, error):
    context, trouble = judged(raising(error, "close"))
    assert trouble is None
    unhurt(context, expected)
    context.close()
    how = "called sys.exit(3)" if isinstance(error, SystemExit) else "raised GeneratorExit"
    line = f"bad-int8-cpu {how} while closing; mend its close()"
    if isinstance(error, OSError):
        line = "close() of bad-int8-cpu raised OSError: disk gone; mend its close()"
    assert context.unclosed == [line]


CONFTEST = """
import os, sys
import numpy as np
import torch

class Good:
    def __init__(self, path, device):
        pass

    def encode(self, texts, batch_size=32):
        rows = [np.random.default_rng(len(text)).standard_normal(384) for text in texts]
        return np.array(rows, dtype=np.float32)

class Bad(Good):
    def encode(self, texts, batch_size=32):
        {encode}
        return super().encode(texts)

    def close(self):
        {close}

def pytest_gate_combinations(registry):
    registry.add("bad-int8-cpu", Bad)
    registry.add("good-int8-cpu", Good)
"""


def gated(project, few, run="runpytest_inprocess", *more, conftest=CONFTEST, encode="pass", close="pass"):
    project.makeconftest(conftest.format(encode=encode, close=close))
    arguments = ["-p", "no:cacheprovider", f"--gate-data={few}", "--gate-combination=*d-int8-cpu", "--gate-report=out"]
    result = getattr(project, run)(*arguments, *more, "--pyargs", "embedgate.suites.test_effective")
    return result, json.loads((project.path / "out/report.json").read_text("utf-8"))


def rows(report):
    return {row["combination"]: row for row in report["combinations"]}


def test_a_session_goes_on_after_sys_exit(project, few):
    result, report = gated(project, few, encode="sys.exit(0)")
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret != 0
    assert "bad-int8-cpu called sys.exit(0) while encoding; " in rows(report)["bad-int8-cpu"]["reason"]
    assert rows(report)["good-int8-cpu"]["verdict"] == "pass"


def test_a_report_names_who_changed_the_process(project, few):
    line = (
        "bad-int8-cpu changed torch's default dtype from float32 to bfloat16 while encoding; "
        "embedgate put it back, and sets it for bad-int8-cpu alone"
    )
    result, report = gated(project, few, encode="torch.set_default_dtype(torch.bfloat16)")
    result.assert_outcomes(passed=2)
    assert report["changed"] == [line]
    assert sum(told.strip().endswith(line) for told in result.outlines) == 2, "as it happened, and in the report"
    for name in ("report.md", "report.html"):
        assert "default dtype from float32 to bfloat16" in (project.path / "out" / name).read_text("utf-8")


def test_a_session_ends_red_where_an_encoder_cannot_be_closed(project, few):
    result, report = gated(project, few, close="raise OSError('disk gone')")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report["trouble"] == ["close() of bad-int8-cpu raised OSError: disk gone; mend its close()"]


@pytest.mark.slow("what a process of pytest-xdist has to tell of host code reaches the report")
def test_a_process_of_xdist_tells_it_too(project, few, warm):
    line = "bad-int8-cpu changed the environment variable ACME while encoding; embedgate put it back"
    result, report = gated(
        project, few, "runpytest_subprocess", "-n1", encode="os.environ['ACME'] = '1'", close="sys.exit(3)"
    )
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report["changed"] == [f"{line}, and sets it for bad-int8-cpu alone"]
    assert report["trouble"] == ["bad-int8-cpu called sys.exit(3) while closing; mend its close()"]


def test_a_factory_may_skip_its_combination(project, few):
    skips = CONFTEST.replace('("bad-int8-cpu", Bad)', '("bad-int8-cpu", lambda *_: pytest.skip("no licence"))')
    result, report = gated(project, few, conftest=f"import pytest\n{skips}")
    result.assert_outcomes(passed=1, skipped=1)
    assert rows(report)["good-int8-cpu"]["verdict"] == "pass"


@pytest.mark.parametrize("hook", ["pytest_gate_combinations", "pytest_gate_engines", "pytest_gate_checks"])
def test_a_hook_that_calls_sys_exit_is_told_in_one_line(project, few, hook):
    project.makeconftest(f"import sys\n\ndef {hook}(registry):\n    sys.exit(0)\n")
    result = project.runpytest_inprocess(f"--gate-data={few}", "--pyargs", "embedgate.suites.test_effective")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    step = "have it raise an Exception that says what is wrong"
    result.stderr.fnmatch_lines([f"ERROR: {hook} called sys.exit(0) while adding what there is; {step}"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_copy_of_the_process_writes_no_second_report(project, few, warm):
    encode = "if os.fork() == 0: return super().encode(texts)"
    result, report = gated(project, few, "runpytest_subprocess", encode=encode)
    result.assert_outcomes(passed=2)
    assert [line.startswith("verdict: ") for line in result.outlines].count(True) == 1
    assert rows(report).keys() >= {"bad-int8-cpu", "good-int8-cpu"}


class TestChecks:
    """Checks of a host project's own."""

    def context(self, context_with, few, judge):
        return context_with({GOOD.id: Acme}, added_checks=[Check("acme", judge)], data=(str(few),))

    def test_one_that_calls_sys_exit_is_an_error(self, context_with, few):
        context = self.context(context_with, few, lambda context, case: sys.exit(1))
        with pytest.raises(BuildError, match=r"the check acme called sys.exit\(1\) while judging good-int8-cpu; "):
            context.ask("acme", GOOD)
        context.close()

    def test_what_one_changes_is_put_back_and_told_and_what_embedgate_does_is_not(self, context_with, few):
        def judge(context, case):
            context.run(case)
            os.chdir("/")
            return case.passed("fine")

        here = os.getcwd()
        context = self.context(context_with, few, judge)
        assert context.ask("acme", GOOD).verdict == "pass"
        assert os.getcwd() == here
        assert context.changes == [
            f"the check acme changed the working directory from {here} to / while judging good-int8-cpu; "
            "embedgate put it back, and sets it for the check acme alone"
        ]
        context.close()
