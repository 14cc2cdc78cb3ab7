"""Budgets of speed, memory and size: what turns them red, what leaves them green, and what leaves them open."""

from __future__ import annotations

import json
import mmap
import re
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from helpers.bare import UNPROMPTED, Bare

from embedgate.approved.baseline import Approved
from embedgate.approved.entries import Entry, Key, Provenance
from embedgate.approved.sessions import NOT_KNOWN, ApprovedSession, Spread
from embedgate.approved.tolerances import Promise
from embedgate.checks import Case, Context, Subject
from embedgate.checks.approvals import Approvals
from embedgate.checks.base import Taken
from embedgate.checks.budgets import ELSEWHERE, NO_PROBE
from embedgate.checks.machine import again, probe
from embedgate.checks.speed import SPEED, fresh_processes
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError, GateError
from embedgate.core.family import MOST_CHECKS
from embedgate.encoders import Evidence, custom
from embedgate.metrics import BUDGET
from embedgate.performance import footprint, timing
from embedgate.performance.footprint import BATCH, BATCHES, SETTLING, SPANS, Footprint, growth_per_batch
from embedgate.performance.host import Watch
from embedgate.performance.paired import LOOKS, TO_RECORD, Blocks
from embedgate.performance.probe import Probe
from embedgate.performance.timing import Timing
from embedgate.performance.workloads import LATENCY, WORKLOADS, workloads
from embedgate.plugin import noise
from embedgate.runtime.pool import EncoderPool
from embedgate.runtime.subprocess import Arms, FreshProcesses

ACME = Combination.parse("acme-int8-cpu")
PROBE = Probe(1, 100.0, bf16=3.1, fp16=1.0, int8=4.0, small=150.0, gain=1.0)
BATCH_32, BATCH_8 = "batch_32_medium", "batch_8_short"
MB = 10**6


class Acme:
    """An encoder that takes no time of its own: a fresh process asks it what a call takes."""

    def encode(self, texts, batch_size=32):
        return np.ones((len(texts), 384), dtype=np.float32)

    @staticmethod
    def cost(texts):
        return 0.4

    def evidence(self):
        return Acme.shown


Acme.shown = Evidence("cpu", 1, 60 * MB, {"int8": 36}, "acme 1", artefact_bytes=61 * MB)


class Benchmark:
    """pytest-benchmark's fixture, as far as it is used."""

    def __init__(self, disabled=False):
        self.disabled = disabled
        self.extra_info = {}

    def pedantic(self, target, *, setup, teardown, rounds):
        for _ in range(1 if self.disabled else rounds):
            setup()
            target()
            teardown()


class Fresh:
    """Fresh processes: the first times what Acme takes; in another one nothing is slower unless a test says so."""

    def __init__(self, rows=None, footprints=(), other_threads=None):
        self._rows = rows or (lambda load: 0.4)
        self._footprints = list(footprints)
        self._other_threads = other_threads
        self.others = 0
        self.asked = []
        self.last = (None, None)

    def arms(self, combination, load):
        if self.last[0] != load:
            blocks = Blocks(lambda: [1.0 for _ in load.calls], lambda: [Acme.cost(len(call)) for call in load.calls])
            self.last = load, Arms(blocks, 1, self._other_threads, 0.1)
        return self.last[1]

    def footprint(self, combination):
        return self._footprints.pop(0) if len(self._footprints) > 1 else self._footprints[0]

    @contextmanager
    def another(self, combination):
        self.others += 1
        yield SimpleNamespace(
            rows=lambda asked: (
                self.asked.append(asked) or {name: [self._row(name) for _ in range(32)] for name in asked}
            ),
            footprint=lambda: self.footprint(combination),
        )

    def _row(self, load):
        calls, each = len(WORKLOADS[load].calls), self._rows(load)
        return (1.0 * calls, each * calls, each * calls, 1.0 * calls)


@pytest.fixture(scope="module")
def context(context_with, few, minilm):
    added = {ACME.id: lambda path, device: Acme()}
    found = context_with(added, model=str(minilm.path), data=(str(few),), combinations=(ACME.id,))
    yield found
    found.session.close()


@pytest.fixture
def speeds(monkeypatch):
    """Sets what the candidate's calls take, of the one second that the reference's take: `(texts) -> seconds`."""

    def set_cost(cost):
        monkeypatch.setattr(Acme, "cost", staticmethod(cost))

    return set_cost


def sha256_of(metric):
    """The hash that an approved measurement is of."""
    if metric.endswith(("bytes", "type")):
        return ""
    return footprint.sha256() if metric.startswith("memory") else WORKLOADS[metric.partition("_")[2]].sha256


@pytest.fixture
def budgets(context):
    """Checks with budgets of the test's own: by metric, the approved value and, where it is another, its upper end."""
    session = context.session

    def make(
        approved,
        fresh=None,
        *,
        update=False,
        profile_name="cpu-x86_64-test",
        inherited=False,
        broken=False,
        sha256_of=sha256_of,
        now=None,
        probes=(PROBE,),
        here=PROBE,
        second=None,
        sessions=(),
        spread=NOT_KNOWN,
        **changed,
    ):
        was = Provenance.of(session.machine, threads=session.threads, batch_size=32, libraries={}, commit="")
        was = replace(was, **changed)

        def find(combination, dataset, metric):
            assert (combination, dataset) == (ACME, BUDGET)
            if broken:
                raise BaselineError("the baseline is corrupt", "restore it")
            name = metric.removesuffix(f"_threads_{timing.spare_threads(session.threads)}")
            if name not in approved:
                return None
            value, high = approved[name] if isinstance(approved[name], tuple) else (approved[name],) * 2
            key = Key(combination.id, dataset, metric, sha256_of(name))
            entry = Entry(key, value, min(value, high), high, 64, 1, sessions)
            return Approved(entry, "cpu" if inherited else profile_name, inherited, was, Path("a.json"), probes)

        settings = replace(context.settings, update=update, profile=profile_name, invocation=())
        made = Context(replace(context.plan, settings=settings), families={"time": 44})
        machine = replace(session.machine, gpu=now)
        made.__dict__["session"] = Changed(session, machine_of=lambda combination: machine)
        context.kept = {}
        made.provide(
            Approvals,
            SimpleNamespace(
                find=find,
                keep=lambda entry: context.kept.update({entry.key.metric: entry}),
                spread=lambda combination, alike: spread,
            ),
        )
        made.provide(probe, here)
        made.provide(again, here if second is None else second)
        made.provide(fresh_processes, fresh or Fresh())
        return Asked(made)

    return make


class Changed:
    """Something of which a few attributes are others."""

    def __init__(self, inner, **others):
        self._inner = inner
        self.__dict__.update(others)

    def __getattr__(self, name):
        return getattr(self._inner, name)


class Asked:
    """Asks the checks of budgets."""

    def __init__(self, context):
        self.context = context

    def speed(self, combination, load, benchmark):
        return self.context.judge(Case(SPEED, combination, Subject.named(load, WORKLOADS[load])), benchmark=benchmark)

    def memory(self, combination):
        return self.context.ask("memory", combination)

    def size(self, combination):
        return self.context.ask("size", combination)

    def products(self, combination):
        return self.context.ask("products", combination)


def recorded(context, metric):
    """What an update would record."""
    return next(entry for name, entry in context.kept.items() if name.startswith(metric))


APPROVED = {f"time_{load.id}": 0.4 for load in workloads("nightly")}


class TestSpeed:
    def test_an_unchanged_combination_stays_green_after_one_look(self, budgets, speeds):
        fresh = Fresh()
        found = budgets(APPROVED, fresh).speed(ACME, BATCH_32, Benchmark())
        assert found.verdict == "pass"
        assert "takes 0.400 of the reference's time for batches of 32, medium" in found.message
        assert (found.n, fresh.others) == (8, 0)

    def test_by_another_bar_nothing_is_timed_again(self, budgets, speeds, tmp_path):
        fresh = Fresh()
        own = budgets(APPROVED, fresh)
        assert own.speed(ACME, BATCH_32, Benchmark()).verdict == "pass"
        other = own.context.by(tmp_path)
        approved = budgets({"time_batch_32_medium": 0.2}).context.of(Approvals)
        other.provide(Approvals, approved)
        found = Asked(other).speed(ACME, BATCH_32, Taken(disabled=False))
        assert (found.verdict, "0.200 approved" in found.message) == ("fail", True)
        assert len(fresh.last[1].blocks.rows) == 8, "the turns that were taken are judged"
        assert fresh.others == 1, "and what is red is confirmed"

    def test_a_sleep_of_12_percent_is_red_in_every_workload(self, budgets, speeds):
        speeds(lambda texts: 0.4 * 1.12)
        checks = budgets(APPROVED, Fresh(lambda load: 0.4 * 1.12))
        for load in workloads("nightly"):
            found = checks.speed(ACME, load.id, Benchmark())
            assert found.verdict == "fail"
            assert f"takes 0.448 of the reference's time for {load}" in found.message
            assert "0.400 approved" in found.message
            assert found.diagnosis.layer == "time"
            assert "pytest --gate-update" in found.diagnosis.next_step
            assert "in another fresh process" in found.details[0]
            assert found.details[-1].startswith("libraries since it was approved: ")
            # Of eight blocks all beyond it, the least is an end of level 1/256: sqrt(alpha / 204) / 4 looks is more.
            assert found.largest_family == 204

    def test_a_slowdown_at_batch_1_alone_is_red_there_and_nowhere_else(self, budgets, speeds):
        speeds(lambda texts: 0.48 if texts == 1 else 0.4)
        checks = budgets(APPROVED, Fresh(lambda load: 0.48 if WORKLOADS[load].batch_size == 1 else 0.4))
        verdicts = {load.id: checks.speed(ACME, load.id, Benchmark()).verdict for load in workloads("standard")}
        assert verdicts == {load.id: "fail" if load.id == LATENCY else "pass" for load in workloads("standard")}

    def test_what_another_process_does_not_confirm_is_not_red(self, budgets, speeds):
        speeds(lambda texts: 0.5)
        found = budgets(APPROVED, Fresh(lambda load: 0.4)).speed(ACME, BATCH_32, Benchmark())
        assert found.verdict == "inconclusive"
        assert not found.unjudged
        assert "in another fresh process does not confirm that it is slower" in found.message
        assert not found.is_beyond, "its first measurement was repeated since it was red, and says too much"
        assert (found.observed, found.n) == (pytest.approx(0.4), 32), "the figures are the second one's, its blocks too"

    def test_what_another_process_leaves_open_is_not_red(self, budgets, speeds):
        speeds(lambda texts: 0.5)
        ratios = cycle([0.3, 0.6])
        found = budgets(APPROVED, Fresh(lambda load: next(ratios))).speed(ACME, BATCH_32, Benchmark())
        assert found.verdict == "inconclusive"
        assert "0.300 to 0.600 in another fresh process does not confirm that it is slower" in found.message

    def test_the_slack_is_beyond_the_upper_end_of_what_was_approved(self, budgets, speeds):
        speeds(lambda texts: 0.43)
        found = budgets({"time_batch_32_medium": (0.4, 0.42)}).speed(ACME, BATCH_32, Benchmark())
        assert found.verdict == "pass"
        assert "its budget is 0.437 (0.420 approved, 4% slack)" in found.message
        assert found.limit == pytest.approx(0.42 * 1.04)

    def test_a_faster_combination_passes_and_its_baseline_is_called_stale(self, budgets, speeds):
        speeds(lambda texts: 0.3)
        found = budgets(APPROVED).speed(ACME, BATCH_8, Benchmark())
        assert found.verdict == "pass"
        assert "0.400 is approved: stale, approve it by: pytest --gate-update" in found.details[0]

    def test_an_encoder_that_remembers_texts_is_asked_about_it(self, budgets, speeds):
        speeds(lambda texts: 0.001)
        found = budgets(APPROVED).speed(ACME, BATCH_8, Benchmark())
        assert "does it remember texts?" in found.details[0]

    def test_without_pytest_benchmark_it_is_not_measured_and_never_passed(self, budgets, speeds):
        found = budgets(APPROVED).speed(ACME, BATCH_8, Benchmark(disabled=True))
        assert (found.verdict, found.unjudged) == ("inconclusive", True)
        assert "not measured" in found.message
        assert found.observed is None

    @pytest.mark.parametrize(
        ("changed", "cause"),
        [
            (
                {"here": replace(PROBE, bf16=1.0)},
                "budgets of time were approved on another machine "
                "(its bf16 products are 3.1 times as fast as fp32's, here 1)",
            ),
            ({"probes": ()}, NO_PROBE),
            ({"threads": 77}, "budgets were approved with 77 threads, and they are measured with "),
            ({"inherited": True}, "budgets are approved for cpu and not for cpu-x86_64-test"),
            ({"sha256_of": lambda _: "0" * 64}, "the timed texts have changed since budgets were approved"),
        ],
    )
    def test_a_budget_of_another_machine_judges_nothing(self, budgets, speeds, changed, cause):
        speeds(lambda texts: 9.9)
        found = budgets(APPROVED, **changed).speed(ACME, BATCH_32, Benchmark())
        assert (found.verdict, found.unjudged) == ("inconclusive", True)
        assert cause in found.message
        assert found.observed == pytest.approx(9.9)

    @pytest.mark.parametrize(
        ("changed", "slower", "verdict"),
        [
            ({"machine": "another", "cpu": "of another name"}, 1.0, "pass"),
            ({"machine": "another"}, 1.12, "fail"),
            ({"here": replace(PROBE, bf16=3.5, gflops=50.0)}, 1.12, "fail"),
            ({"here": replace(PROBE, int8=1.0), "second": PROBE}, 1.12, "fail"),
        ],
    )
    def test_a_machine_that_computes_alike_judges_whatever_its_name_is(self, budgets, speeds, changed, slower, verdict):
        speeds(lambda texts: 0.4 * slower)
        checks = budgets(APPROVED, Fresh(lambda load: 0.4 * slower), **changed)
        assert checks.speed(ACME, BATCH_32, Benchmark()).verdict == verdict

    def test_sessions_that_lay_apart_widen_the_budget_to_what_was_seen(self, budgets, speeds):
        speeds(lambda texts: 0.424)
        fresh, one = Fresh(lambda load: 0.424), (ApprovedSession(1, 0.4),)
        assert budgets(APPROVED, fresh, sessions=one).speed(ACME, BATCH_32, Benchmark()).verdict == "fail"
        seen = (*one, ApprovedSession(2, 0.416), ApprovedSession(3, 0.39))
        found = budgets(APPROVED, fresh, sessions=seen, spread=Spread.of([seen] * 12))
        passed = found.speed(ACME, BATCH_32, Benchmark())
        assert passed.verdict == "pass", passed.message
        assert 0.424 < passed.limit < 0.46

    def test_ten_percent_are_found_where_sessions_lie_a_percent_apart(self, budgets, speeds):
        speeds(lambda texts: 0.44)
        seen = tuple(ApprovedSession(n, 0.4 * value) for n, value in enumerate((1.0, 1.01, 0.99, 1.01, 0.99), 1))
        checks = budgets(APPROVED, Fresh(lambda load: 0.44), sessions=seen, spread=Spread.of([seen] * 12))
        found = checks.speed(ACME, BATCH_32, Benchmark())
        assert found.verdict == "fail"
        assert "0.400 approved in 5 sessions, 4% slack" in found.message

    @pytest.mark.parametrize(
        ("changed", "verdict", "cause"),
        [
            ({"gpu": "NVIDIA H200"}, "pass", "its budget is 0.416"),
            ({"gpu": "NVIDIA H100"}, "inconclusive", "budgets are approved for NVIDIA H200, and this is NVIDIA H100"),
            (
                {"gpu": "NVIDIA H200", "machine": "another"},
                "inconclusive",
                ELSEWHERE,
            ),
            ({"gpu": "NVIDIA H200", "threads": 77}, "inconclusive", "budgets were approved with 77 threads"),
        ],
    )
    def test_a_budget_of_a_gpu_holds_for_that_gpu_in_the_same_machine(self, budgets, speeds, changed, verdict, cause):
        """Small batches wait for the CPU, which tokenises and starts every kernel."""
        now, was = changed.pop("gpu"), {"gpu": "NVIDIA H200", **changed}
        speeds(lambda texts: 0.4)
        checks = budgets({**APPROVED, f"milliseconds_{BATCH_32}": 400.0}, profile_name="nvidia-h200", now=now, **was)
        found = checks.speed(ACME, BATCH_32, Benchmark())
        assert (found.verdict, cause in found.message) == (verdict, True), found.message

    def test_what_runs_on_the_cpu_holds_beside_any_gpu(self, budgets, speeds):
        speeds(lambda texts: 0.4)
        assert budgets(APPROVED, gpu="NVIDIA H200").speed(ACME, BATCH_32, Benchmark()).verdict == "pass"

    def test_without_a_budget_it_says_which_command_approves_one(self, budgets, speeds):
        found = budgets({}).speed(ACME, BATCH_32, Benchmark())
        assert found.unjudged
        assert "no budget is approved for cpu-x86_64-test" in found.message
        assert found.diagnosis.next_step == 'approve it by: pytest --gate-update --gate-reason "..."'

    def test_a_corrupt_baseline_is_red_and_can_be_recorded_anew(self, context, budgets, speeds):
        found = budgets(APPROVED, broken=True).speed(ACME, BATCH_32, Benchmark())
        assert (found.verdict, found.message) == ("fail", "the baseline is corrupt")
        assert budgets(APPROVED, broken=True, update=True).speed(ACME, BATCH_32, Benchmark()).verdict == "pass"
        assert recorded(context, f"time_{BATCH_32}").value == pytest.approx(0.4)

    def test_an_update_keeps_what_both_processes_measured(self, context, budgets, speeds):
        speeds(lambda texts: 0.4)
        fresh = Fresh(lambda load: 0.44)
        checks = budgets({}, fresh, update=True)
        for load in workloads("standard"):
            assert checks.speed(ACME, load.id, Benchmark()).verdict == "pass"
        assert fresh.others == 1
        entry = recorded(context, f"time_{BATCH_32}")
        assert (entry.low, entry.high) == (pytest.approx(0.4), pytest.approx(0.44))
        assert entry.value == pytest.approx(np.sqrt(0.4 * 0.44))
        assert (entry.n, entry.key.dataset_sha256) == (TO_RECORD + 32, WORKLOADS[BATCH_32].sha256)

    def test_an_update_adds_a_session_to_those_that_it_is_like(self, context, budgets, speeds):
        speeds(lambda texts: 0.41)
        one = (ApprovedSession(1, 0.4),)
        checks = budgets(APPROVED, Fresh(lambda load: 0.41), update=True, sessions=one)
        checks.speed(ACME, BATCH_32, Benchmark())
        entry = recorded(context, f"time_{BATCH_32}")
        assert [each.approval for each in entry.sessions] == [1, 0]
        assert [each.value for each in entry.sessions] == pytest.approx([0.4, 0.41])
        assert (entry.value, entry.low, entry.high) == pytest.approx((np.sqrt(0.4 * 0.41), 0.4, 0.41))

    @pytest.mark.parametrize("took", [0.3, 0.44])
    def test_an_update_replaces_what_a_session_is_unlike(self, context, budgets, speeds, took):
        """Slower or faster: a change, as the reason says."""
        speeds(lambda texts: took)
        checks = budgets(APPROVED, Fresh(lambda load: took), update=True, sessions=(ApprovedSession(1, 0.4),))
        checks.speed(ACME, BATCH_32, Benchmark())
        assert [each.value for each in recorded(context, f"time_{BATCH_32}").sessions] == pytest.approx([took])

    def test_an_update_on_another_machine_replaces_its_sessions(self, context, budgets, speeds):
        speeds(lambda texts: 0.4)
        other = replace(PROBE, int8=1.0)
        checks = budgets(APPROVED, update=True, sessions=(ApprovedSession(1, 0.4),), here=other)
        checks.speed(ACME, BATCH_32, Benchmark())
        assert recorded(context, f"time_{BATCH_32}").sessions == (ApprovedSession(0, pytest.approx(0.4)),)

    @pytest.mark.parametrize(("load", "took"), [(BATCH_32, "400.000"), (LATENCY, "400.000")])
    def test_milliseconds_are_a_budget_where_the_profile_names_a_gpu(self, budgets, speeds, load, took):
        """Both arms twice as slow: the ratio tells nothing of it."""
        approved = {**APPROVED, f"milliseconds_{load}": 190.0}
        found = budgets(approved, profile_name="nvidia-h200").speed(ACME, load, Benchmark())
        assert found.verdict == "fail"
        assert f"takes {took} ms a call for {WORKLOADS[load]} on nvidia-h200, its budget is" in found.message
        assert budgets(approved).speed(ACME, load, Benchmark()).verdict == "pass"

    def test_milliseconds_are_confirmed_by_blocks_of_which_no_ratio_decides(self, budgets, speeds):
        """Held against a limit of milliseconds, every ratio would be certain after one look."""
        fresh = Fresh()
        approved = {**APPROVED, f"milliseconds_{BATCH_32}": 190.0}
        found = budgets(approved, fresh, profile_name="nvidia-h200").speed(ACME, BATCH_32, Benchmark())
        assert found.n == LOOKS[-1]
        ((load, aim),) = fresh.asked[-1].items()
        assert (load, aim.limit, aim.blocks) == (BATCH_32, None, LOOKS[-1])

    def test_milliseconds_that_are_left_open_are_told_with_their_own_limit(self, budgets, speeds):
        speeds(lambda _: next(turns))
        turns, approved = cycle([0.3, 0.3, 0.6, 0.6]), {f"time_{BATCH_32}": 0.9, f"milliseconds_{BATCH_32}": 400.0}
        found = budgets(approved, profile_name="nvidia-h200").speed(ACME, BATCH_32, Benchmark())
        assert found.verdict == "inconclusive"
        assert found.low < found.limit < found.high
        assert found.limit > 100

    def test_of_two_budgets_the_one_that_is_approved_is_judged(self, budgets, speeds):
        speeds(lambda texts: 0.48)
        found = budgets(APPROVED, Fresh(lambda _: 0.48), profile_name="nvidia-h200").speed(ACME, BATCH_32, Benchmark())
        assert found.verdict == "fail"
        assert "takes 0.480 of the reference's time" in found.message
        assert found.largest_family == 102, "each check has two budgets"

    def test_a_gpu_without_a_budget_of_milliseconds_is_not_passed(self, budgets, speeds):
        assert budgets(APPROVED, profile_name="nvidia-h200").speed(ACME, BATCH_32, Benchmark()).unjudged

    def test_figures_go_to_the_report_and_to_pytest_benchmark(self, context, budgets, speeds):
        benchmark = Benchmark()
        budgets(APPROVED).speed(ACME, LATENCY, benchmark)
        figures = context.session.run(ACME).speed[LATENCY]
        assert json.loads(json.dumps(benchmark.extra_info)) == json.loads(json.dumps(msgspec.to_builtins(figures)))
        assert figures.ratio == pytest.approx(0.4)
        assert figures.texts_per_second == pytest.approx(2.5)
        latency = benchmark.extra_info["candidate_latency_ms"]
        assert latency.pop("n") == 72
        assert latency == {name: pytest.approx(400) for name in ("p50", "p50_at_most", "p95", "p95_at_most")}

    def test_a_host_projects_encoder_with_threads_of_its_own_is_told_of(self, context, budgets, speeds, monkeypatch):
        found = budgets({}, Fresh(other_threads=64)).speed(ACME, BATCH_32, Benchmark())
        assert any("it says that it ran with 64 threads, the reference with 1" in note for note in found.details)
        times = Timing(context.session.pool)
        monkeypatch.setattr(Acme, "shown", replace(Acme.shown, threads=times.threads))
        assert times.other_threads(ACME) is None
        monkeypatch.setattr(Acme, "shown", replace(Acme.shown, threads=64))
        assert times.other_threads(ACME) == 64


AS_FAST = Promise(1.0, 2.0)


class TestPromise:
    """Slower than fp32 is a finding without any baseline."""

    @pytest.fixture
    def promised(self, budgets, speeds):
        """Asks about an encoder that takes so long, where tolerances promise that it is faster."""

        def ask(took, again=None, *, promise=AS_FAST, load=BATCH_32, approved=(), family=44, **changed):
            speeds(lambda texts: took)
            fresh = Fresh(lambda _: took if again is None else again)
            checks = budgets(dict(approved), fresh, **changed)
            checks.context.families = {"time": family}
            checks.context.__dict__["tolerances"] = Changed(
                checks.context.tolerances, promise=lambda combination, what: promise
            )
            return checks.speed(ACME, load, Benchmark()), fresh

        return ask

    @pytest.mark.parametrize("load", [BATCH_32, LATENCY])
    def test_what_is_slower_than_fp32_is_red(self, promised, load):
        found, _ = promised(1.12, load=load)
        assert found.verdict == "fail"
        assert found.message == f"slower than fp32: takes 1.120 of the reference's time for {WORKLOADS[load]}"
        assert (found.diagnosis.layer, found.limit) == ("promise", 1.0)
        assert "[combination.acme-int8-cpu.promise] in" in found.diagnosis.next_step
        assert found.details[0] == "interval from 1.120, and from 1.120 in another fresh process"

    def test_it_is_red_among_so_many_budgets_that_one_look_has_no_interval(self, promised):
        found, _ = promised(1.12, family=304)
        assert (found.verdict, found.n, found.largest_family) == ("fail", TO_RECORD, MOST_CHECKS)

    def test_an_approved_budget_does_not_hide_it(self, promised):
        found, _ = promised(1.12, approved={f"time_{BATCH_32}": 1.3}, family=304)
        assert found.message.startswith("slower than fp32")

    def test_what_is_faster_is_green(self, promised):
        found, fresh = promised(0.9)
        assert found.unjudged, "by nothing but the missing baseline"
        assert fresh.others == 0

    def test_what_a_fresh_process_does_not_confirm_is_not_red(self, promised):
        found, fresh = promised(1.12, 0.99)
        assert found.unjudged
        assert fresh.others == 1

    @pytest.mark.parametrize(
        "changed",
        [
            {"promise": None},
            {"here": replace(PROBE, int8=1.9)},
            {"here": replace(PROBE, int8=None)},
            {"promise": Promise(1.0, 4.5)},
        ],
    )
    def test_it_is_off_where_nothing_is_promised_or_this_machine_cannot_keep_it(self, promised, changed):
        found, fresh = promised(1.12, **changed)
        assert found.unjudged
        assert fresh.others == 0

    def test_a_promise_of_ones_own_may_be_stricter(self, promised):
        found, _ = promised(0.9, promise=Promise(0.8, 2.0))
        assert found.message.startswith("slower than promised (0.8 of the reference's time): takes 0.900")


SMALL = Footprint(70 * MB, 100 * MB, 0, None, 1.0, 0.5, 0.1)
WITHIN = {"memory_loaded": 70 * MB, "memory_peak": 100 * MB}


class TestMemory:
    def test_by_another_bar_memory_is_not_measured_again(self, budgets, tmp_path):
        own = budgets(WITHIN, Fresh(footprints=[SMALL, replace(SMALL, loaded=700 * MB)]))
        own.memory(ACME)
        other = own.context.by(tmp_path)
        other.provide(Approvals, budgets({"memory_loaded": 5 * MB}).context.of(Approvals))
        found = other.ask("memory", ACME)
        assert "70.0 MB once loaded" in found.details[0]

    def test_what_was_approved_is_green(self, context, budgets):
        fresh = Fresh(footprints=[SMALL])
        found = budgets(WITHIN, fresh).memory(ACME)
        assert (found.verdict, fresh.others) == ("pass", 0)
        assert found.message == "70.0 MB once loaded, 1.2 times its weights; 100.0 MB at its peak (batches of 32, long)"
        assert context.session.run(ACME).footprint.loaded == 70 * MB

    def test_weights_held_twice_are_red_as_that(self, budgets):
        twice = replace(SMALL, loaded=130 * MB, peak=160 * MB)
        found = budgets(WITHIN, Fresh(footprints=[twice])).memory(ACME)
        assert found.verdict == "fail"
        assert "memory once loaded: 130.0 MB, its budget is 78.0 MB (70.0 MB approved, 8.0 MB slack)" in found.message
        assert "1.0 times its weights of 60.0 MB more: are they held twice?" in found.diagnosis.next_step

    def test_a_peak_that_does_not_repeat_is_not_red(self, budgets):
        found = budgets(WITHIN, Fresh(footprints=[replace(SMALL, peak=150 * MB), SMALL])).memory(ACME)
        assert found.verdict == "pass"

    def test_memory_that_stays_with_every_batch_is_red_without_any_baseline(self, budgets):
        leaky = replace(SMALL, growth=24_576)
        found = budgets({}, Fresh(footprints=[leaky])).memory(ACME)
        assert found.verdict == "fail"
        assert "keeps 25 kB of memory with every batch of 16 new texts" in found.message

    def test_growth_that_does_not_repeat_is_no_leak(self, budgets):
        found = budgets(WITHIN, Fresh(footprints=[replace(SMALL, growth=24_576), SMALL])).memory(ACME)
        assert found.verdict == "pass"

    def test_less_memory_is_a_stale_baseline(self, budgets):
        found = budgets({"memory_loaded": 100 * MB, "memory_peak": 100 * MB}, Fresh(footprints=[SMALL])).memory(ACME)
        assert found.verdict == "pass"
        assert "memory once loaded: 70.0 MB, 100.0 MB is approved: stale" in found.details[0]

    def test_a_few_megabytes_more_are_noise_however_little_there_was(self, budgets):
        small = Footprint(5 * MB, 5 * MB, 0, None, None, 0.5, 0.1)
        found = budgets({"memory_loaded": 0, "memory_peak": 0}, Fresh(footprints=[small])).memory(ACME)
        assert found.verdict == "pass"

    def test_a_gpus_memory_has_a_budget_and_what_disturbs_it_is_told(self, budgets):
        on_gpu = replace(SMALL, device_peak=400 * MB, notes=("the GPU was not idle before",))
        approved = {**WITHIN, "memory_device_peak": 400 * MB}
        found = budgets(approved, Fresh(footprints=[on_gpu])).memory(ACME)
        assert found.verdict == "pass"
        assert found.message.endswith("; 400.0 MB of the GPU's; the GPU was not idle before")
        assert found.details == (), "which would be called stale"
        grown = replace(on_gpu, device_peak=500 * MB)
        found = budgets(approved, Fresh(footprints=[grown])).memory(ACME)
        assert found.verdict == "fail"
        assert "memory of the device: 500.0 MB, its budget is 440.0 MB" in found.message

    @pytest.mark.parametrize(
        "changed", [{"flags": ("avx2",)}, {"machine": "another"}, {"machine": "another", "libraries": {"torch": "1.0"}}]
    )
    def test_another_machine_judges_nothing(self, budgets, changed):
        found = budgets(WITHIN, Fresh(footprints=[replace(SMALL, loaded=999 * MB)]), **changed).memory(ACME)
        assert found.unjudged
        assert ELSEWHERE in found.message

    def test_a_machine_with_the_same_libraries_and_instruction_sets_judges(self, context, budgets):
        """However fast it computes."""
        grown = Fresh(footprints=[replace(SMALL, loaded=999 * MB)])
        same = {"machine": "another", "libraries": context.session.libraries, "probes": ()}
        assert budgets(WITHIN, grown, **same).memory(ACME).verdict == "fail"

    def test_a_library_that_takes_more_since_its_upgrade_is_red_on_the_machine_that_approved(self, budgets):
        grown = Fresh(footprints=[replace(SMALL, loaded=999 * MB)])
        assert budgets(WITHIN, grown, libraries={"torch": "1.0"}).memory(ACME).verdict == "fail"


class TestSize:
    def test_what_int8_promises_and_was_approved_is_green(self, budgets):
        found = budgets({"weight_bytes": 60 * MB, "artefact_bytes": 61 * MB}).size(ACME)
        assert (found.verdict, found.message) == ("pass", "60.0 MB of weights, 61.0 MB of artefact")

    def test_int8_as_big_as_fp32_is_red_without_any_baseline(self, context, budgets, monkeypatch):
        run = context.session.run(ACME)
        monkeypatch.setattr(run, "evidence", replace(run.evidence, artefact_bytes=90_900_000))
        found = budgets({}).size(ACME)
        assert found.verdict == "fail"
        assert "artefact: 90.9 MB, where fp32's weights are 90.9 MB: int8 must be below 74.7 MB" in found.message

    def test_bytes_are_inherited_by_every_machine(self, budgets):
        found = budgets({"weight_bytes": 50 * MB, "artefact_bytes": 61 * MB}, machine="another", inherited=True).size(
            ACME
        )
        assert found.verdict == "fail"
        assert "weights: 60.0 MB, its budget is 50.5 MB (50.0 MB approved, 1% slack)" in found.message

    def test_what_was_approved_and_is_not_told_any_more_is_not_passed(self, context, budgets, monkeypatch):
        run = context.session.run(ACME)
        monkeypatch.setattr(run, "evidence", replace(run.evidence, artefact_bytes=None))
        found = budgets({"weight_bytes": 60 * MB, "artefact_bytes": 61 * MB}).size(ACME)
        assert found.unjudged
        assert "artefact: approved, and no longer reported" in found.message

    def test_an_encoder_that_tells_nothing_is_not_passed(self, context, budgets, monkeypatch):
        run = context.session.run(ACME)
        monkeypatch.setattr(run, "evidence", replace(run.evidence, weight_bytes=0, artefact_bytes=None))
        assert budgets({}).size(ACME).unjudged


class TestProducts:
    SHARE = "products_in_promised_type"

    def test_as_many_as_approved_is_green(self, budgets):
        found = budgets({self.SHARE: 1.0}, machine="another", inherited=True).products(ACME)
        assert (found.verdict, found.message) == ("pass", "36 of 36 products with weights compute in int8")

    def test_a_product_that_fell_back_is_red(self, context, budgets, monkeypatch):
        run = context.session.run(ACME)
        monkeypatch.setattr(run, "evidence", replace(run.evidence, products={"int8": 35, "float16": 1}))
        found = budgets({self.SHARE: 1.0}).products(ACME)
        assert found.verdict == "fail"
        assert found.message == (
            "35 of 36 products with weights compute in int8, 100.0% of them did when it was approved"
        )
        assert found.diagnosis.layer == "evidence"
        assert budgets({self.SHARE: 35 / 36}).products(ACME).verdict == "pass"

    @pytest.mark.parametrize("count", range(1, 37))
    def test_what_a_baseline_rounds_is_no_change(self, count, context, budgets, monkeypatch):
        run = context.session.run(ACME)
        monkeypatch.setattr(run, "evidence", replace(run.evidence, products={"int8": count, "float16": 37 - count}))
        found = budgets({self.SHARE: float(f"{count / 37:.6g}")}).products(ACME)
        assert (found.verdict, found.details) == ("pass", ())

    def test_more_than_approved_is_told_as_stale(self, budgets):
        found = budgets({self.SHARE: 0.5}).products(ACME)
        assert found.verdict == "pass"
        assert "50.0% is approved: stale" in found.details[0]

    def test_what_was_never_approved_or_is_not_told_is_not_passed(self, context, budgets, monkeypatch):
        found = budgets({}).products(ACME)
        assert found.unjudged
        assert "no budget is approved" in found.message
        run = context.session.run(ACME)
        monkeypatch.setattr(run, "evidence", replace(run.evidence, products={}))
        assert "does not report the type its products compute in" in budgets({self.SHARE: 1.0}).products(ACME).message

    def test_an_update_records_the_share(self, context, budgets, monkeypatch):
        assert budgets({}, update=True).products(ACME).verdict == "pass"
        assert recorded(context, self.SHARE).value == 1.0


def test_growth_is_the_least_of_the_spans_of_new_texts_of_known_shapes():
    """An allocator grows in one span; a leak in all."""
    texts = [f"{number} two three four five six seven" for number in range(BATCH * BATCHES)]
    encoded = []

    class Encoder:
        def encode(self, batch, batch_size):
            encoded.extend(batch)

    def growth(*kept_in_span):
        readings = iter(reading for kept in kept_in_span for reading in (0, kept * BATCHES))
        return growth_per_batch(Encoder(), texts, lambda: next(readings))

    assert growth(0, 0, 2000, 1000, 5000) == 1000
    assert len(set(encoded)) == len(encoded) == BATCH * BATCHES * (SETTLING + SPANS)
    assert {tuple(sorted(text.split())) for text in encoded} == {tuple(sorted(text.split())) for text in texts}
    encoded.clear()
    assert growth(0, 8000, 1000, 0) == 0
    assert len(encoded) == BATCH * BATCHES * (SETTLING + 2), "once nothing stays in a span, nothing stays in every one"


def test_the_peak_is_of_this_process_and_not_of_the_one_that_started_it(project):
    """On Linux, ru_maxrss of a child is at least what its parent had."""
    held = np.ones(40 * MB)
    done = project.run(sys.executable, "-c", "from embedgate.performance.footprint import peak; print(peak())")
    assert int(done.outlines[-1]) < held.nbytes


class TestWatch:
    def test_a_reference_that_slows_down_is_told(self):
        notes = Watch().notes([1.0] * 8 + [1.5] * 8)
        assert "the reference itself became 50% slower" in notes

    def test_a_steady_reference_is_not(self):
        assert not any("reference" in note for note in Watch().notes([1.0, 1.02] * 8))

    def test_thermal_limits_are_told(self, tmp_path):
        counter = tmp_path / "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
        counter.parent.mkdir(parents=True)
        counter.write_text("3")
        watch = Watch(tmp_path)
        counter.write_text("10")
        assert "the CPU hit its thermal limit 7 times" in watch.notes()

    def test_what_other_processes_take_is_told_and_ones_own_time_is_not(self, monkeypatch):
        import psutil

        times = iter([(10.0, 1.0), (12.0, 2.0)])  # busy of all, own
        own = []

        def cpu_times():
            busy, mine = next(times)
            own.append(mine)
            return SimpleTimes(user=busy, system=0.0, idle=0.0)

        class SimpleTimes(tuple):
            def __new__(cls, **named):
                self = super().__new__(cls, named.values())
                self.__dict__.update(named)
                return self

        monkeypatch.setattr(psutil, "cpu_times", cpu_times)
        monkeypatch.setattr(psutil.Process, "cpu_times", lambda self: SimpleTimes(user=own[-1], system=0.0))
        clock = iter([0.0, 1.0])
        monkeypatch.setattr("embedgate.performance.host.time", SimpleNamespace(perf_counter=lambda: next(clock)))
        notes = Watch().notes()
        assert f"other processes kept 1.0 of {psutil.cpu_count()} cores busy" in notes


CONFTEST = """
import os
import numpy as np
from embedgate.encoders import Evidence, custom

FAULT = os.environ.get("ACME_FAULT", "")

class Encoder:
    def __init__(self, fault):
        self.fault, self.kept = fault, []
        self.weights = [np.ones(15_000_000, np.float32) for _ in range(2 if fault == "doubled" else 1)]
        if fault == "killed" and "--gate-fresh" in " ".join(__import__("sys").argv):
            os.kill(os.getpid(), 9)

    def encode(self, texts, batch_size=32):
        vectors = np.array([[len(t) % 7 + 1.0, hash(t) % 5, 1.0] * 128 for t in texts], np.float32)
        if self.fault == "leaky":
            self.kept.append(vectors)
        return vectors

    def evidence(self):
        return Evidence("cpu", 1, 60_000_000, {"int8": 6}, "acme 1", artefact_bytes=60_000_000)

def pytest_gate_combinations(registry):
    registry.add("acme-int8-cpu", lambda path, device: Encoder(FAULT))
    registry.add("leaky-int8-cpu", lambda path, device: Encoder("leaky"))
    registry.add("killed-int8-cpu", lambda path, device: Encoder("killed"))
"""


# A clock that only encoders advance: a call of the reference takes a second, one of the candidate half of it.
CLOCK = """
import embedgate.performance.timing as timing
from embedgate.encoders.custom import CustomEncoder

took = [1.0]
encode_as = CustomEncoder.encode_as

def encode_and_tell(self, role, texts, batch_size=32):
    took[0] = 0.56 if FAULT == "slow" else 0.5
    return encode_as(self, role, texts, batch_size)

CustomEncoder.encode_as = encode_and_tell

def clock_of(device):
    def seconds(call):
        took[0] = 1.0
        call()
        return took[0]

    return seconds

timing.clock_of = clock_of

from embedgate.runtime.pool import EncoderPool
from embedgate.runtime.subprocess import Arms, FreshProcesses

from contextlib import nullcontext

class Still:
    def encode_as(self, role, texts, batch_size=32):
        pass

    def together(self):
        return nullcontext()

timed = EncoderPool.timed
EncoderPool.timed = lambda self, role, *asked: timed(self, role, *asked) if role == "candidate" else Still()
"""

FEW = """
import embedgate.plugin.noise as noise
from embedgate.performance.workloads import WORKLOADS

noise.PROCESSES = 2
noise.workloads = lambda depth: (WORKLOADS["batch_8_short"],)
"""


def restored(monkeypatch) -> None:
    """What the conftests above put in place goes with the test, in whose process it is."""
    put = ((timing, "clock_of"), (custom.CustomEncoder, "encode"), (EncoderPool, "timed"))
    for place, name in (*put, (noise, "PROCESSES"), (noise, "workloads")):
        monkeypatch.setattr(place, name, getattr(place, name))


@pytest.mark.usefixtures("warm")
class TestFreshProcess:
    @pytest.mark.slow(
        "memory held twice, a leak and a killed process are red, as really measured; a sound encoder is green"
    )
    def test_faults_of_a_host_projects_encoder_are_red_and_a_sound_one_is_green(self, project, few, monkeypatch):
        """Really measured: nothing here depends on time."""
        project.makeconftest(CONFTEST)
        project.mkdir("gate")
        common = ["--pyargs", "embedgate.suites", "-p", "no:cacheprovider", f"--gate-data={few}"]
        common += ["--gate-baselines", "gate", "-k", "keeps_its_memory and int8"]
        acme = [*common, "--gate-combination", "acme-int8-cpu"]
        # What is approved must be what its id says, which constant vectors of an unknown library are.
        approved = project.runpytest_inprocess(*acme, "--gate-update", "--gate-reason", "test")
        assert approved.ret == 0
        assert "memory_loaded" in project.path.joinpath("gate").rglob("*.json").__next__().read_text("utf-8")
        sound = project.runpytest_inprocess(*acme)
        assert sound.ret == 0
        assert "not judged" not in sound.stdout.str()
        monkeypatch.setenv("ACME_FAULT", "doubled")
        faulty = [part for name in ("acme", "leaky", "killed") for part in ("--gate-combination", f"{name}-int8-cpu")]
        found = project.runpytest_inprocess(*common, *faulty)
        assert found.ret == 1
        text = found.stdout.str()
        assert "acme-int8-cpu: memory once loaded: 1" in text
        assert "1.0 times its weights of 60.0 MB more: are they held twice?" in text
        # 16 vectors are 24.6 kB: six pages, and a part of a seventh where they lie between others.
        assert re.search(r"leaky-int8-cpu: keeps 2[4-8] kB of memory with every batch of 16 new texts", text)
        assert "the fresh process of killed-int8-cpu was killed by signal 9" in text
        assert "run this combination alone" in text

    @pytest.mark.slow("a slowdown is confirmed in a fresh process, and approving it approves nothing else")
    def test_turns_are_driven_by_pytest_benchmark_and_confirmed_in_a_fresh_process(self, project, few, monkeypatch):
        """On a clock that the encoders advance: update, unchanged, and slower; with arguments that end other modes."""
        project.makeconftest(CONFTEST + CLOCK)
        restored(monkeypatch)
        project.mkdir("gate")
        common = ["--pyargs", "-p", "no:embedgate-none", f"--gate-data={few}", "--gate-baselines", "gate"]
        common += ["--gate-combination", "acme-int8-cpu", "--lf"]
        where = ["-k", "keeps_its_speed", "--", "embedgate.suites"]
        assert project.runpytest_inprocess(*common, "--gate-update", "--gate-reason", "test", *where).ret == 0
        file = next(project.path.joinpath("gate").rglob("*.json"))
        entries = json.loads(file.read_text("utf-8"))["entries"]
        assert {entry["dataset"] for entry in entries} == {"budget"}  # quality was not looked at
        assert {entry["value"] for entry in entries} == {0.5}
        assert [entry["sessions"] for entry in entries] == [[[1, 0.5]]] * 2
        approvals = json.loads(file.read_text("utf-8"))["approvals"]
        assert approvals[0]["probe"]["gflops"] > 0
        same = project.runpytest_inprocess(*common, "--benchmark-json", "times.json", "--gate-report=out", *where)
        same.assert_outcomes(passed=2)
        times = json.loads(project.path.joinpath("times.json").read_text("utf-8"))["benchmarks"]
        assert [bench["extra_info"]["ratio"] for bench in times] == [0.5] * 2
        assert [bench["stats"]["rounds"] for bench in times] == [16] * 2
        report = json.loads(project.path.joinpath("out/report.json").read_text("utf-8"))
        assert set(report["combinations"][0]["run"]["speed"]) == {load.id for load in workloads("standard")}
        monkeypatch.setenv("ACME_FAULT", "slow")
        slow = project.runpytest_inprocess(*common, *where)
        slow.assert_outcomes(failed=2)
        slow.stdout.fnmatch_lines(
            [
                "*takes 0.560 of the reference's time for batches of 32, medium, its budget is 0.520*",
                "*interval 0.560 to 0.560, and 0.560 to 0.560 in another fresh process*",
            ]
        )
        again = project.runpytest_inprocess(*common, "--gate-update", "--gate-reason", "slower", *where)
        assert again.ret == 0
        entries = json.loads(file.read_text("utf-8"))["entries"]
        assert {entry["dataset"] for entry in entries} == {"budget"}, (
            "who approves a slowdown has not looked at quality"
        )
        assert {entry["value"] for entry in entries} == {0.56}
        assert [entry["sessions"] for entry in entries] == [[[2, 0.56]]] * 2, "a change replaces"

    @pytest.mark.slow("--gate-noise measures in several processes and runs no test")
    def test_noise_is_measured_process_by_process_and_runs_no_test(self, project, monkeypatch):
        project.makeconftest(CONFTEST + CLOCK + FEW)
        restored(monkeypatch)
        found = project.runpytest_inprocess("--gate-noise", "--pyargs", "embedgate.suites")
        assert found.ret == 0
        found.stdout.fnmatch_lines(
            ["torch-fp32-cpu against itself*", "batch_8_short *1.0000 to 1.0000*2%*4%*4.0%*", "time = 0.02"]
        )
        assert "passed" not in found.stdout.str()

    @pytest.mark.parametrize("forks", [True, False])
    def test_a_combination_that_no_conftest_at_the_root_adds_is_told(self, project, forks):
        project.makeconftest("")
        known = pytest.raises(GateError, match="acme-int8-cpu is not known in a fresh process")
        with closing(FreshProcesses((), project.path, forks)) as fresh, known as told:
            fresh.footprint(ACME)
        assert "conftest.py" in told.value.action

    def test_without_pytest_benchmark_speed_is_not_measured_and_red_under_strict(self, project, few):
        project.makeconftest(CONFTEST)
        arguments = ["--pyargs", "embedgate.suites", "-p", "no:cacheprovider", f"--gate-data={few}"]
        arguments += ["-k", "keeps_its_speed and acme", "--benchmark-disable"]
        lenient = project.runpytest_inprocess(*arguments)
        assert lenient.ret == 0
        lenient.stdout.fnmatch_lines(["*2 checks not judged: pytest-benchmark is disabled*speed is not measured*"])
        strict = project.runpytest_inprocess(*arguments, "--gate-strict")
        strict.assert_outcomes(failed=2)
        strict.stdout.fnmatch_lines(["*not measured for batches of 32, medium*"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells mappings apart")
@pytest.mark.parametrize(
    ("name", "counts"), [("libx.so", False), ("libx.so.6.1", False), ("weights.safetensors", True)]
)
def test_pages_of_mapped_files_count_but_those_of_libraries(tmp_path, name, counts):
    file = tmp_path / name
    file.write_bytes(b"x" * 40 * MB)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        before = footprint.resident()
        assert mapped[:: mmap.PAGESIZE].count(b"x") >= 40 * MB // mmap.PAGESIZE
        added = footprint.resident() - before
    assert (added > 35 * MB) is counts
    assert counts or added < 2 * MB


def test_the_order_of_measuring_is_memory_before_weights_are_built(monkeypatch):
    """`resident` is read before anything is built, and the encoder is closed at the end."""
    events = []

    class Encoder(Bare):
        def encode(self, texts, batch_size=32):
            events.append("encode")

        def close(self):
            events.append("close")

    monkeypatch.setattr(footprint, "resident", lambda: events.append("resident") or 5 * MB)
    monkeypatch.setattr(footprint, "rss", lambda: 5 * MB)
    monkeypatch.setattr(footprint, "peak", lambda: 9 * MB)
    monkeypatch.setattr(footprint.encoders, "import_library", lambda *_: events.append("import"))
    monkeypatch.setattr(footprint.encoders, "build", lambda *_: events.append("build") or Encoder())
    session = SimpleNamespace(
        registry=None, model=UNPROMPTED, context=None, cache=SimpleNamespace(taken={"a": 1.5, "b": 2.0})
    )
    found = footprint.measure(session, ACME)
    assert events[:5] == ["import", "resident", "build", "encode", "resident"]
    assert events[-1] == "close"
    assert (found.loaded, found.peak, found.prepare_seconds) == (0, 4 * MB, 3.5)
    session.cache.taken["c"] = None
    assert footprint.measure(session, ACME).prepare_seconds is None
