"""Fresh processes: what one serves, what two share, how each ends, and what is told where one does not come to its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, GateError
from embedgate.performance.paired import Aim, Levels
from embedgate.performance.workloads import WORKLOADS
from embedgate.runtime import subprocess as fresh_processes
from embedgate.runtime.subprocess import FreshProcesses
from embedgate.runtime.worker import answer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")

LOAD = WORKLOADS["batch_8_short"]
AIM = Aim(None, Levels(0.05, 1), 2)
ACME = Combination.parse("acme-int8-cpu")

# Each combination has a fault of its own, but acme; every build leaves a line with its process.
CONFTEST = """
import os, signal, time
from pathlib import Path
import numpy as np

class Encoder:
    def __init__(self, fault):
        self.fault = fault
        with Path(__file__).with_name("pids").open("a") as stream:
            print(os.getpid(), file=stream)
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "exits":
            print("acme error: no licence", flush=True)
            os._exit(3)
        if fault == "raises":
            raise ValueError("no such layer")

    def encode(self, texts, batch_size=32):
        if self.fault == "sleeps" and len(texts) > 1:
            time.sleep(600)
        if self.fault == "prints":
            print("encoding")
            os.write(1, b"encoding natively\\n")
        return np.array([[len(t) % 7 + 1.0, len(t) % 5, 1.0] * 128 for t in texts], np.float32)

def pytest_gate_combinations(registry):
    registry.add("acme-int8-cpu", lambda path, device: Encoder(""))
    for fault in ("killed", "exits", "raises", "sleeps", "prints"):
        registry.add(f"{fault}-int8-cpu", lambda path, device, fault=fault: Encoder(fault))
"""


def named(fault):
    return Combination.parse(f"{fault}-int8-cpu")


def until(happens):
    for _ in range(1200):
        if happens():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def gone(*pids):
    """Whether processes have ended; nobody may have waited for them yet."""
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            return False
    return True


@pytest.fixture
def pids(project):
    """The processes that have built an encoder of the conftest's, in order."""
    project.makeconftest(CONFTEST)
    return lambda: [*map(int, project.path.joinpath("pids").read_text().split())]


@pytest.fixture
def fresh(project, pids, warm):
    with closing(FreshProcesses(("-p", "no:cacheprovider"), project.path)) as found:
        yield found


@pytest.mark.parametrize("forks", [True, False])
def test_one_process_serves_a_combination_and_another_shares_nothing_with_it(fresh, pids, forks):
    fresh.forks = forks
    assert fresh.footprint(ACME).load_seconds > 0
    arms = fresh.arms(ACME, LOAD)
    arms.blocks.take(2)
    assert len(arms.blocks.rows) == 2
    assert all(seconds > 0 for row in arms.blocks.rows for seconds in row)
    first = pids()[0]
    assert {*pids()} == {first}, "memory first, then turns, all in one"
    with fresh.another(ACME) as other:
        assert [*other.rows({LOAD.id: AIM})] == [LOAD.id]
        second = pids()[-1]
    assert second != first
    until(lambda: gone(second))
    assert not gone(first)
    fresh.footprint(ACME)
    assert pids()[-1] not in (first, second), "memory needs a process that has built nothing"
    until(lambda: gone(first))
    fresh.close()
    until(lambda: gone(*pids()))


def test_the_next_combination_ends_the_process_of_the_last(fresh, pids):
    fresh.footprint(ACME)
    fresh.footprint(named("prints"))
    until(lambda: gone(pids()[0]))
    assert not gone(pids()[-1])


def test_what_is_printed_reaches_neither_the_answer_nor_the_session(fresh, capfd):
    fresh.footprint(named("prints"))
    fresh.arms(named("prints"), LOAD).blocks.take(1)
    assert "encoding" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("killed", "the fresh process of killed-int8-cpu was killed by signal 9: "),
        ("exits", "the fresh process of exits-int8-cpu ended without an answer: acme error: no licence; run this"),
        ("raises", "raises-int8-cpu could not be built: ValueError: no such layer"),
    ],
)
def test_a_process_that_does_not_answer_is_one_line_and_the_next_combination_is_measured(
    fresh, pids, fault, told, forks
):
    fresh.forks = forks
    with pytest.raises(GateError) as caught:
        fresh.footprint(named(fault))
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    until(lambda: gone(*pids()))
    assert fresh.footprint(ACME).load_seconds > 0


def test_a_process_that_takes_too_long_is_ended(fresh, pids, monkeypatch):
    with fresh.another(named("sleeps")) as worker:
        monkeypatch.setattr(fresh_processes, "TIMEOUT_SECONDS", 1)
        with pytest.raises(BuildError, match="sleeps-int8-cpu took more than 0 minutes in a fresh process"):
            worker.footprint()
        assert gone(*pids())


def test_what_interrupts_a_measurement_ends_its_process(fresh, pids):
    """What it would still say belongs to nothing that is asked later."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with fresh.another(named("sleeps")) as worker:
            signal.setitimer(signal.ITIMER_REAL, 2)
            with pytest.raises(KeyboardInterrupt):
                worker.footprint()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gone(worker.pid, *pids())


def test_what_interrupts_a_fork_ends_what_is_forked_from(fresh, pids, monkeypatch):
    """The answer that was not read would be taken for the next copy's."""
    fresh.footprint(ACME)
    source = fresh._source
    with monkeypatch.context() as patch:
        patch.setattr(fresh_processes.reduction, "send_handle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt), fresh.another(ACME):
            pass
    until(lambda: gone(source.pid))
    with fresh.another(ACME) as worker:
        assert fresh._source.pid != source.pid
        assert not gone(worker.pid)


def test_a_process_that_ends_by_itself_is_no_crash(fresh, project):
    """Though its end of the pipe is closed before it has ended."""
    slowly = "import atexit, time\natexit.register(time.sleep, 1)\nraise ValueError('no licence')\n"
    project.makeconftest(slowly)
    fresh.forks = False
    with pytest.raises(BuildError) as caught:
        fresh.footprint(ACME)
    assert "killed by signal" not in str(caught.value)
    assert "ended without an answer" in str(caught.value)


def test_a_fresh_process_leaves_the_log_file_of_a_host_alone(fresh, project, pids):
    log = project.path / "log.txt"
    project.makeini(project.path.joinpath("tox.ini").read_text() + f"\nlog_file = {log}\n")
    log.write_text("what the session has logged", "utf-8")
    for fresh.forks in (True, False):
        with fresh.another(ACME) as worker:
            worker.footprint()
        assert log.read_text("utf-8") == "what the session has logged"


SESSION = """
import sys, time
from pathlib import Path
from embedgate.core.combination import Combination
from embedgate.runtime.subprocess import FreshProcesses

fresh = FreshProcesses(("-p", "no:cacheprovider"), Path("."), {forks})
with fresh.another(Combination.parse("sleeps-int8-cpu")) as worker:
    Path("started").write_text(f"{{worker.pid}} {{fresh._source.pid if fresh._source else worker.pid}}")
    worker.footprint()
"""


@pytest.mark.parametrize("forks", [True, False])
def test_nothing_outlives_a_session_that_is_killed(project, pids, warm, forks):
    """Though the worker is in the midst of a measurement."""
    code = SESSION.format(forks=forks)
    with subprocess.Popen([sys.executable, "-c", code], cwd=project.path) as session:
        until(project.path.joinpath("pids").exists)
        session.kill()
    started = [*map(int, project.path.joinpath("started").read_text().split())]
    until(lambda: gone(*started, *pids()))


def test_where_a_conftest_has_started_threads_each_process_is_started_anew(fresh, project, pids):
    """A copy would inherit their locks, and not the threads."""
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    project.makeconftest(thread + CONFTEST)
    assert fresh.footprint(ACME).load_seconds > 0
    assert not fresh.forks
    assert fresh._source is None


@pytest.mark.slow("what fresh processes are forked from has imported torch and started no thread")
def test_what_processes_are_forked_from_has_imported_torch_and_started_no_thread(project, pids):
    """In a Python of its own: neither OpenMP's, MKL's or oneDNN's, nor tokenizers'."""
    with closing(FreshProcesses((), project.path)) as fresh:
        fresh.footprint(ACME)
        process = Path(f"/proc/{fresh._source.pid}")
        assert len([*process.joinpath("task").iterdir()]) == 1
        assert "libtorch_cpu" in process.joinpath("maps").read_text()


def test_a_process_that_cannot_be_started_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(BuildError, match="no fresh process could be started"):
        FreshProcesses((), tmp_path).footprint(ACME)


def test_a_pipe_that_nobody_holds_is_told(project):
    with pytest.raises(GateError, match="there is no session at worker:987; leave --gate-fresh to embedgate"):
        answer(None, "worker:987")
    found = project.runpytest_inprocess("--gate-fresh=worker:987")
    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines(["*there is no session at worker:987; leave --gate-fresh to embedgate*"])
