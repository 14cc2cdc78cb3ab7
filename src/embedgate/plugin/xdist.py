"""Processes of pytest-xdist: which GPU each computes on, and whose fault it is where one ends."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Collection, Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from embedgate.plugin.bench import add
from embedgate.plugin.options import misuse
from embedgate.report.collector import CRASHED

if TYPE_CHECKING:
    from embedgate.plugin.bench import Bench

# As the plugin makes the ids of tests: a combination's id among those of other parameters, joined by hyphens.
_COMBINATION = re.compile(r"\[(?:[^]]*?-)??([^-\[\]]+-[^-\[\]]+-(?:cpu|cuda))(?=[-\]])")


def gpu_for_next(found: Sequence[str], taken: Collection[str]) -> str | None:
    """The GPU of the next process: the first that the fewest have; None where there is nothing to choose from.

    Args:
        found: The GPUs there are.
        taken: The GPU of each process that lives.
    """
    return min(found, key=list(taken).count) if len(found) > 1 else None


def shared(workers: int, found: Sequence[str]) -> str:
    """Tells what a person is to know where several processes compute on one GPU; empty where none do."""
    if not found or workers <= len(found):
        return ""
    these = "1 GPU" if len(found) == 1 else f"{len(found)} GPUs"
    return f"embedgate: {workers} processes share {these}, and with it the memory"


def combination_of(nodeid: str) -> str:
    """The id of the combination that a test is about, as its own id says; empty for none."""
    found = _COMBINATION.search(nodeid)
    return found[1] if found else ""


class GivesOut:
    """What the process does that gives out tests, as a plugin of pytest.

    Args:
        config: Its config.
        bench: What it knows.
    """

    def __init__(self, config: pytest.Config, bench: Bench) -> None:
        self._config, self._bench = config, bench
        self._last: dict[object, pytest.TestReport] = {}
        self._ended: dict[object, pytest.TestReport] = {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: list[Any]) -> None:
        """Finds the GPUs once for all processes, and says where several share one."""
        from embedgate.encoders.gpu.listing import gpus

        self._bench.gpus = gpus(os.environ)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and (line := shared(len(specs), self._bench.gpus)):
            reporter.write_line(line)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tells a process on this machine which GPU is its own."""
        bench = self._bench
        if node.gateway.spec.popen and (gpu := gpu_for_next(bench.gpus, bench.gpu_of.values())):
            node.workerinput["gate_gpu"] = bench.gpu_of[node.gateway.id] = gpu

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_make_scheduler(self, log: Any) -> Any:
        """Keeps each combination in one process."""
        from embedgate.encoders.registry import Registry
        from embedgate.plugin.scheduling import scheduler

        bench = self._bench
        if bench.settings.asks_elsewhere:  # only the processes open what is named, so no id is known here
            return scheduler(self._config, log, ())
        registry = Registry()
        with misuse():
            add(self._config, "pytest_gate_combinations", registry)
        bench.known_ids = {combination.id for combination in registry}
        return scheduler(self._config, log, bench.known_ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes which test each process was at last."""
        if (node := getattr(report, "node", None)) is not None:
            self._last[node] = report

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Takes over what a process has found, and notes where it was not asked to end."""
        bench, collector = self._bench, self._bench.collector
        bench.gpu_of.pop(node.gateway.id, None)  # free for the process that replaces one that crashed
        if error is not None and node in self._last:
            self._ended[node] = self._last[node]
        said = getattr(node, "workeroutput", {})
        collector.trouble += [line for line in said.get("gate_trouble", ()) if line not in collector.trouble]
        if facts := said.get("gate_facts"):
            from embedgate.report.facts import facts_together

            collector.facts = facts_together(collector.facts, facts)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: object) -> None:
        """Charges the end of a process to the combination that it was at.

        What is left of a combination that ended several is told as lost.
        """
        self._ended.pop(report.node, None)
        if not (id_ := self._charge(report, crashitem, "in")):
            return
        given_up: dict[str, list[str]] = getattr(sched, "given_up", {})
        for left in given_up.pop(id_, ()):
            other = copy.copy(report)
            other.nodeid, other.location = left, (left.partition("::")[0], None, left)
            self._config.hook.pytest_runtest_logreport(report=other)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Tells of processes that ended after their last test, as one may that closes an encoder."""
        done = yield
        for last in self._ended.values():
            report = copy.copy(last)
            report.when, report.outcome, report.sections = CRASHED, "failed", []  # type: ignore[assignment]
            if self._charge(report, last.nodeid, "after"):
                self._config.hook.pytest_runtest_logreport(report=report)
        return done

    def _charge(self, report: pytest.TestReport, nodeid: str, where: str) -> str:
        """Makes an error of its combination of a test that a process has ended with; the id of the combination."""
        from embedgate.core.combination import Combination
        from embedgate.report.records import Record

        known = self._bench.known_ids
        if not (id_ := combination_of(nodeid)) or (known and id_ not in known):
            return ""
        name, is_reference = nodeid.rpartition("::")[2], Combination.parse(id_).is_reference
        alone = f"run it alone, without -n: --gate-combination {id_}"
        message = f"{id_} ended a process of pytest-xdist {where} {name}; {alone}"
        report.longrepr = message
        report.gate = Record(id_, is_reference, error=message).to_builtins()  # type: ignore[attr-defined]
        return id_


class GivenTests:
    """What a process does that is given tests, as a plugin of pytest.

    Args:
        bench: What it knows.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, nextitem: pytest.Item | None) -> Generator[None, object, object]:
        """Closes what the next test does not need, while the process is still at the one that needed it."""
        done = yield
        self._bench.release_for(nextitem)
        return done
