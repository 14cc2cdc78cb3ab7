"""Under pytest-xdist, a combination's tests stay in one process."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from helpers.paths import TESTS
from xdist.remote import Producer

from embedgate.plugin import NOT_JUDGED
from embedgate.plugin.scheduling import combination_of, scheduler

# Stubs that are never built: what builds them is replaced by what notes the process.
STUBS = """
import os, pathlib
import pytest

NAMES = ("one", "two", "three")

def pytest_gate_combinations(registry):
    for name in NAMES:
        registry.add(f"acme-{name}-cpu", lambda path, device: None)

@pytest.fixture(scope="session")
def gate_case(request):
    with pathlib.Path(os.environ["BUILT"]).open("a") as file:
        file.write(f"{request.param.combination} {os.getpid()}\\n")
    return request.param
"""
# Tests of a combination are far from each other in two files, and one test is about none.
FIRST = """
import time
import pytest

@pytest.mark.gate("golden")
@pytest.mark.parametrize("place", range(4))
def test_first(gate_case, place):
    time.sleep(0.05)
"""
SECOND = """
import pytest

@pytest.mark.gate("golden")
def test_second(gate_case):
    assert {condition}

def test_of_none():
    pass
"""
CHOSEN = ("-p", "no:cacheprovider", "--gate-combination=acme-*", "--gate-data=pairs")


def built(file) -> dict[str, set[str]]:
    """The processes that built each combination."""
    found: dict[str, set[str]] = {}
    for line in file.read_text().splitlines():
        combination, process = line.split()
        found.setdefault(combination, set()).add(process)
    return found


@pytest.fixture
def noted(pytester, monkeypatch, tmp_path, warm):
    """The file in which combinations are noted as they are built."""
    monkeypatch.setenv("BUILT", str(tmp_path / "built"))
    return tmp_path / "built"


@pytest.mark.slow("no combination is built by two processes, however tests are distributed")
@pytest.mark.parametrize(
    ("dist", "condition", "outcomes", "code"),
    [
        ("load", "True", {"passed": 16}, pytest.ExitCode.OK),
        ("loadgroup", "True", {"passed": 16}, pytest.ExitCode.OK),
        (
            "loadgroup",
            "'two' not in str(gate_case.combination)",
            {"passed": 15, "errors": 1},
            NOT_JUDGED,
        ),
    ],
)
def test_no_combination_is_built_by_two_processes(pytester, noted, dist, condition, outcomes, code):
    pytester.makeconftest(STUBS)
    pytester.makepyfile(test_first=FIRST, test_second=SECOND.format(condition=condition))
    result = pytester.runpytest_subprocess(*CHOSEN, "-n", "2", "--dist", dist)
    assert result.ret == code
    result.assert_outcomes(**outcomes)
    processes = built(noted)
    assert processes.keys() == {"acme-one-cpu", "acme-two-cpu", "acme-three-cpu"}
    assert [len(found) for found in processes.values()] == [1, 1, 1]
    assert len(set.union(*processes.values())) == 2


CRASH = """
import os
import pytest

pytestmark = pytest.mark.gate("golden")

def test_crashes(gate_case):
    if "two" in str(gate_case.combination):
        os._exit(1)

def test_lives(gate_case):
    pass
"""


@pytest.mark.slow("a crash is reported once, and the tests that are left run")
@pytest.mark.parametrize("dist", ["load", "loadgroup"])
def test_a_crash_is_told_once_and_what_is_left_is_run(pytester, noted, dist):
    pytester.makeconftest(STUBS)
    pytester.makepyfile(CRASH)
    result = pytester.runpytest_subprocess(*CHOSEN, "-n", "2", "--dist", dist)
    assert result.ret == NOT_JUDGED
    result.assert_outcomes(passed=5, errors=1)
    result.stdout.fnmatch_lines(["acme-two-cpu ended a process of pytest-xdist in test_crashes*"])
    assert [len(found) for _, found in sorted(built(noted).items())] == [1, 1, 2]  # one, three, two


class Node:
    """A process of pytest-xdist, as far as a scheduler knows it."""

    shutting_down = False

    def __init__(self):
        self.given = []
        self.gateway = SimpleNamespace(id="gw")

    def send_runtest_some(self, places):
        self.given += places

    def shutdown(self):
        self.shutting_down = True


@pytest.mark.parametrize(
    ("dist", "known", "expected"),
    [
        ("load", {"a-b-cpu"}, [[0, 2], [1, 3]]),
        ("load", {"torch-fp32-cpu"}, [[0, 1], [2, 3]]),  # another project's tests, left as they were
        ("loadgroup", {"torch-fp32-cpu"}, [[0, 2], [1, 3]]),
    ],
)
def test_what_is_no_combination_is_left_to_pytest_xdist(pytester, dist, known, expected):
    config = pytester.parseconfig("--dist", dist, "--tx", "2*popen")
    made = scheduler(config, Producer("test", enabled=False), known)
    nodes = [Node(), Node()]
    for node in nodes:
        made.add_node(node)
        made.add_node_collection(node, ["a.py::t[a-b-cpu]", "a.py::t[c-d-cpu]", "b.py::u[a-b-cpu]", "b.py::u[c-d-cpu]"])
    made.schedule()
    assert [node.given for node in nodes] == expected
    assert made.has_pending


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [[0, 1], [2, 3]]),
        (("--gate-model=none", "--gate-reference=http://127.0.0.1:9"), [[0, 2], [1, 3]]),
        (("--gate-candidate=http://127.0.0.1:9",), [[0, 2], [1, 3]]),
        (("--gate-shipped",), [[0, 2], [1, 3]]),
    ],
)
def test_candidates_are_not_dealt_singly(pytester, options, expected):
    """Their ids stand in no registry, so that every process built every one of them."""
    config = pytester.parseconfigure("--dist", "load", "--tx", "2*popen", *options)
    made = config.hook.pytest_xdist_make_scheduler(config=config, log=Producer("test", enabled=False))
    nodes = [Node(), Node()]
    for node in nodes:
        made.add_node(node)
        made.add_node_collection(node, [f"{file}::t[{id_}]" for file in "ab" for id_ in ("a-b-cpu", "c-d-cpu")])
    made.schedule()
    assert [node.given for node in nodes] == expected


@pytest.mark.parametrize("dist", ["loadscope", "loadfile", "worksteal", "each"])
def test_other_ways_to_distribute_are_pytest_xdists_own(pytester, dist):
    assert scheduler(pytester.parseconfig("--dist", dist), Producer("test", enabled=False), {"a-b-cpu"}) is None


# Encoders that cost nothing, which note the process they are built in.
BUILDS = f"""
import os, pathlib, sys

sys.path.insert(0, {str(TESTS)!r})
import pytest
from helpers import stub_devices

def make(combination):
    with pathlib.Path(os.environ["BUILT"]).open("a") as file:
        file.write(f"{{combination}} {{os.getpid()}}\\n")
    return stub_devices.Stub(combination)

stub_devices.install(pytest.MonkeyPatch(), make)
"""


@pytest.mark.slow("the suites build each combination once under pytest-xdist")
def test_suites_build_each_combination_once(project, noted):
    project.makeconftest(BUILDS)
    chosen = [f"--gate-combination=torch-{name}-cpu" for name in ("bf16", "fp16", "amp")]
    asked = ("-p", "no:cacheprovider", *chosen, "--gate-data=pairs", "-n", "2")
    result = project.runpytest_subprocess("--pyargs", "embedgate.suites.test_effective", *asked)
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=3)
    processes = built(noted)
    # Each process builds the reference, which it judges its own combinations against.
    assert len(processes.pop("torch-fp32-cpu")) == 2
    assert {combination: len(found) for combination, found in processes.items()} == {
        "torch-bf16-cpu": 1,
        "torch-fp16-cpu": 1,
        "torch-amp-cpu": 1,
    }


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("a.py::test[torch-bf16-cpu]", "torch-bf16-cpu"),
        ("a.py::test[torch-bf16-cpu-mine-spearman]", "torch-bf16-cpu"),
        ("a.py::test[mine-x-tensorrt-fp8-cuda]@tensorrt-fp8-cuda", "tensorrt-fp8-cuda"),
        ("a.py::test[torch-fp32-cpu-on-this-cpu]", "torch-fp32-cpu"),
        ("a.py::test[cpu]", ""),
        ("a.py::test[a-cpu]", ""),
        ("a.py::test[a-b-cpus]", ""),
        ("torch-bf16-cpu/a.py::test", ""),
    ],
)
def test_a_combination_is_read_from_the_id_of_its_test(nodeid, expected):
    assert combination_of(nodeid) == expected
