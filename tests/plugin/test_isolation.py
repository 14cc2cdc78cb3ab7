"""Whatever ends the process of the tests costs one verdict: the others are judged, and the report is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from embedgate.plugin import NOT_JUDGED, isolation
from embedgate.runtime import deaths, processes

pytestmark = pytest.mark.skipif(not processes.CAN_FORK, reason="no process can be copied here")

# `ends` does what a test says as it encodes the first text of a check of its own; `sound` is what is left.
CONFTEST = """
import ctypes, os, pathlib, signal, time
from sentence_transformers import SentenceTransformer

class Sound:
    def __init__(self, path, device):
        self.model = SentenceTransformer(str(path), device=device)
    def encode(self, texts, batch_size=32):
        return self.model.encode(list(texts), batch_size=batch_size).astype("float16").astype("float32")

class Ends(Sound):
    def encode(self, texts, batch_size=32):
        if {when}:
            {what}
        return super().encode(texts, batch_size)

pathlib.Path("session.pid").write_text(str(os.getpid()))

def pytest_gate_combinations(registry):
    registry.add("acme-ends-cpu", Ends)
    registry.add("acme-sound-cpu", Sound)
"""
ALWAYS, ONCE = "True", "not os.path.exists('ended') and not open('ended', 'w').close()"
ASKED = (
    *("-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_effective", "embedgate.suites.test_quality"),
    *("-k", "id_says or cosine_mean", "--gate-combination=acme-*", "--gate-combination=torch-fp32-cpu"),
)


@pytest.fixture
def session(project, few, warm):
    """Runs a session in which one combination does what is said, and another one is sound."""

    def run(what: str, *options: str, when: str = ALWAYS):
        project.makeconftest(CONFTEST.format(what=what, when=when))
        result = project.runpytest_subprocess(*ASKED, f"--gate-data={few}", "--gate-report=out", "-v", *options)
        return result, json.loads(project.path.joinpath("out/report.json").read_text())

    return run


def rows(report) -> dict[str, str]:
    return {row["combination"]: row["verdict"] for row in report["combinations"]}


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("os.abort()", "aborted (SIGABRT)"),
        ("ctypes.string_at(0)", "crashed (SIGSEGV"),
        ("os._exit(0)", "ended its process with exit code 0"),
        ("os.closerange(3, 256)", "closed the pipe by which it tells what it finds"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed (SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "was terminated (SIGTERM)"),
    ],
)
def test_what_ends_the_process_is_an_error_of_its_combination(session, what, told):
    result, report = session(what)
    assert result.ret == NOT_JUDGED
    found = rows(report)
    assert found["acme-ends-cpu"] == "error"
    assert found["acme-sound-cpu"] == "pass"
    assert found["torch-fp32-cpu"] == "reference"
    result.stdout.fnmatch_lines([f"*acme-ends-cpu {told.replace('(', '?')}*--gate-combination acme-ends-cpu*"])
    assert "Traceback" not in result.stdout.str()


# What OpenVINO does on CPUs with AMX, of whose cores the last one that goes leaves it to the next signal.
STACK_ON_FREED_MEMORY = """

def leave_the_stack_of_signals_on_freed_memory():
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    start = libc.mmap(None, 65536, 3, 0x22, -1, ctypes.c_long(0))
    libc.sigaltstack((ctypes.c_size_t * 3)(start, 0, 65536), None)
    libc.munmap(ctypes.c_void_p(start), 65536)

class Hears(Sound):
    def __init__(self, path, device):
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.raise_signal(signal.SIGUSR1)
        super().__init__(path, device)

def pytest_gate_combinations(registry):
    registry.add("acme-ends-cpu", Ends)
    registry.add("acme-hears-cpu", Hears)
"""


@pytest.mark.parametrize("isolate", ["on", "off"])
def test_signals_are_handled_on_a_stack_that_is_there(project, few, warm, isolate):
    leaves = CONFTEST.format(what="leave_the_stack_of_signals_on_freed_memory()", when=ALWAYS)
    project.makeconftest(leaves + STACK_ON_FREED_MEMORY)
    result = project.runpytest_subprocess(
        *ASKED, f"--gate-data={few}", "--gate-report=out", f"--gate-isolate={isolate}"
    )
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert rows(report)["acme-hears-cpu"] == "pass", result


def test_an_exit_without_isolation_is_not_green(project, few, warm):
    project.makeconftest(CONFTEST.format(what="os._exit(0)", when=ALWAYS))
    result = project.runpytest_subprocess(*ASKED, f"--gate-data={few}", "--gate-isolate=off")
    assert result.ret == NOT_JUDGED
    result.stdout.fnmatch_lines(["*os._exit?0? ended the session, so nothing is judged: exit code 10"])


def test_a_copy_without_isolation_may_exit(project, few, warm):
    copies = "(os.fork() or os._exit(0)) and os.wait()[1] == 0 or os.abort()"
    project.makeconftest(CONFTEST.format(what=copies, when=ALWAYS))
    result = project.runpytest_subprocess(*ASKED, f"--gate-data={few}", "--gate-isolate=off", "--gate-report=out")
    assert rows(json.loads(project.path.joinpath("out/report.json").read_text()))["acme-ends-cpu"] == "pass", result


def test_one_crash_costs_one_verdict(session):
    result, report = session("os.abort()", when=ONCE)
    errors = next(row["errors"] for row in report["combinations"] if row["combination"] == "acme-ends-cpu")
    assert len(errors) == 1
    assert result.parseoutcomes()["errors"] == 1
    assert rows(report)["acme-sound-cpu"] == "pass"


@pytest.mark.slow("a hang ends at the limit of time as an error of its combination")
def test_a_hang_is_ended_at_the_limit_of_time(session):
    result, report = session("time.sleep(1000)", "--gate-time-limit=0.3")
    assert result.ret == NOT_JUDGED
    assert rows(report)["acme-ends-cpu"] == "error"
    assert rows(report)["acme-sound-cpu"] == "pass"
    result.stdout.fnmatch_lines(["*acme-ends-cpu took more than --gate-time-limit=0.3 allows*"])


@contextmanager
def begun(project, few, *options: str, when: str = ALWAYS):
    """A session that has judged something, and hangs; it writes its report into `out`."""
    hangs = "pathlib.Path('tests.pid').write_text(str(os.getpid())); time.sleep(1000)"
    project.makeconftest(CONFTEST.format(what=hangs, when=when))
    command = [sys.executable, "-m", "pytest", *ASKED, f"--gate-data={few}", "--gate-report=out", "-v", *options]
    journal = project.path / "out/journal.jsonl"
    with subprocess.Popen(command, cwd=project.path, stdout=subprocess.PIPE, text=True) as running:
        while not (journal.exists() and '"record"' in journal.read_text()):
            assert running.poll() is None
            time.sleep(0.05)
        yield running


def recover(project) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "embedgate.command", "recover", "out"]
    return subprocess.run(command, cwd=project.path, capture_output=True, text=True, check=False)


def test_no_earlier_report_stands_while_a_session_runs_and_its_findings_outlive_it(project, few, warm):
    folder = project.mkdir("out")
    folder.joinpath("report.json").write_text("{}")
    folder.joinpath("report.html").write_text("old")
    with begun(project, few):
        assert sorted(os.listdir(folder)) == ["journal.jsonl", "report.md"]
        assert "no report yet" in folder.joinpath("report.md").read_text()
        assert "still runs; wait until it ends" in recover(project).stderr
        os.kill(int(project.path.joinpath("session.pid").read_text()), signal.SIGKILL)
    recovered = recover(project)
    assert recovered.returncode == 2, recovered.stderr
    report = json.loads(folder.joinpath("report.json").read_text())
    assert rows(report)["torch-fp32-cpu"] == "reference"
    assert any("was killed" in line for line in report["trouble"])
    assert sorted(os.listdir(folder)) == ["report.html", "report.json", "report.md"]


@pytest.mark.parametrize(
    ("asked", "conftest"),
    [(["-k", "nothing"], ""), (["--gate-model=nowhere"], ""), ([], "import os\nos.abort()")],
    ids=["no test", "misuse", "a conftest that crashes"],
)
def test_no_earlier_report_stands_for_a_session_without_a_test(project, warm, monkeypatch, asked, conftest):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # where the tests run under pytest-xdist
    project.makeconftest(conftest)
    report = project.mkdir("out") / "report.json"
    report.write_text("{}")
    assert project.runpytest_subprocess(*ASKED, "--gate-report=out", *asked).ret not in (0, NOT_JUDGED)
    assert not report.exists()


@pytest.mark.parametrize("tells", ["--collect-only", "--markers"])
def test_what_judges_nothing_leaves_an_earlier_report(project, warm, monkeypatch, tells):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    project.makeconftest(CONFTEST.format(what="pass", when=ALWAYS))
    report = project.mkdir("out") / "report.json"
    report.write_text("{}")
    assert project.runpytest_subprocess(*ASKED, "--gate-report=out", tells).ret == 0
    assert report.exists()


@pytest.mark.parametrize(
    ("by", "told"), [(signal.SIGTERM, "Interrupted: SIGTERM"), (signal.SIGINT, "KeyboardInterrupt")]
)
def test_what_ends_a_session_leaves_it_its_report(project, few, warm, by, told):
    with begun(project, few) as running:
        running.send_signal(by)
        printed, _ = running.communicate()
    assert running.returncode == pytest.ExitCode.INTERRUPTED, printed
    assert told in printed
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert rows(report)["torch-fp32-cpu"] == "reference"
    assert report["trouble"] == ["interrupted: this covers the tests that had run by then"]


@pytest.mark.slow("SIGTERM to a whole group charges no combination")
@pytest.mark.parametrize("first", ["tests.pid", "session.pid"])
def test_sigterm_to_all_processes_charges_nobody(project, few, warm, first):
    with begun(project, few) as running:
        while not (hangs := project.path / "tests.pid").exists() or not hangs.read_text():
            time.sleep(0.05)
        for name in (first, *{"tests.pid", "session.pid"} - {first}):
            with suppress(ProcessLookupError):  # the session has ended it
                os.kill(int(project.path.joinpath(name).read_text()), signal.SIGTERM)
            time.sleep(0.2)
        printed, _ = running.communicate()
    assert running.returncode == pytest.ExitCode.INTERRUPTED, printed
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert report["trouble"] == ["interrupted: this covers the tests that had run by then"]
    assert "error" not in rows(report).values()


@pytest.mark.slow("SIGTERM ends a session of pytest-xdist with its report")
def test_sigterm_ends_processes_of_xdist_with_a_report(project, few, warm):
    with begun(project, few, "-n", "2") as running:
        running.terminate()
        printed, _ = running.communicate()
    assert running.returncode == pytest.ExitCode.INTERRUPTED, printed
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert rows(report)  # of whichever combinations had been judged by then


def test_a_crash_after_the_last_test_is_told(project, few, warm):
    """As of a library that crashes as it is released."""
    project.makeconftest(CONFTEST.format(what="pass", when=ALWAYS) + "\nEnds.close = lambda self: os.abort()\n")
    asked = ("--pyargs", "embedgate.suites.test_effective", "--gate-combination=acme-ends-cpu", f"--gate-data={few}")
    result = project.runpytest_subprocess("-p", "no:cacheprovider", *asked, "--gate-report=out")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    (line,) = report["trouble"]
    assert line.startswith(
        "the process of the tests aborted (SIGABRT) after the last of them, test_is_what_its_id_says"
    )


def test_a_crash_as_an_encoder_is_closed_is_its_own(project, few, warm):
    project.makeconftest(CONFTEST.format(what="pass", when=ALWAYS) + "\nEnds.close = lambda self: os.abort()\n")
    result = project.runpytest_subprocess(*ASKED, f"--gate-data={few}", "--gate-report=out")
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert rows(report)["acme-ends-cpu"] == "error"
    assert rows(report)["acme-sound-cpu"] == "pass"
    assert result.ret == NOT_JUDGED
    result.stdout.fnmatch_lines(["*acme-ends-cpu aborted (SIGABRT) in test_*"])


@pytest.mark.slow("a crash in close() under pytest-xdist is an error of its combination")
@pytest.mark.parametrize("asked", ["acme-*", "acme-ends-cpu"], ids=["between tests", "after the last one"])
def test_a_crash_in_close_under_xdist_is_charged_itself(project, few, warm, asked):
    project.makeconftest(CONFTEST.format(what="pass", when=ALWAYS) + "\nEnds.close = lambda self: os.abort()\n")
    suites = ("-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_effective", f"--gate-combination={asked}")
    result = project.runpytest_subprocess(*suites, f"--gate-data={few}", "--gate-report=out", "-n", "1")
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert rows(report).pop("acme-ends-cpu") == "error"
    assert rows(report).get("acme-sound-cpu", "pass") == "pass"
    assert result.ret == NOT_JUDGED
    result.stdout.fnmatch_lines(["*acme-ends-cpu ended a process of pytest-xdist * test_*run it alone, without -n*"])


def test_a_reference_that_crashes_is_charged_itself(project, few, warm):
    project.makeconftest(CONFTEST.format(what="os.abort()", when=ALWAYS))
    asked = ("--pyargs", "embedgate.suites.test_effective", "--gate-reference=acme-ends-cpu", f"--gate-data={few}")
    given = ("-p", "no:cacheprovider", "--gate-combination=acme-sound-cpu", "--gate-report=out", "-v")
    result = project.runpytest_subprocess(*asked, *given)
    report = json.loads(project.path.joinpath("out/report.json").read_text())
    assert rows(report)["acme-sound-cpu"] == "error"
    needed = "*acme-ends-cpu, which acme-sound-cpu needs, aborted (SIGABRT)*--gate-combination acme-ends-cpu*"
    result.stdout.fnmatch_lines([needed])


def test_what_no_pipe_can_carry_is_told_as_text(project, few, warm):
    project.makeconftest(CONFTEST.format(what="pass", when=ALWAYS))
    suite = project.makepyfile(
        """
        import pytest, warnings

        @pytest.mark.gate("texts")
        def test_asks(gate_case, uphold, record_property):
            class Own(UserWarning):
                pass
            record_property("unlike", lambda: 0)
            warnings.warn(Own("look out"))
        """
    )
    given = ("--gate-combination=acme-sound-cpu", f"--gate-data={few}", "--junit-xml=out.xml")
    result = project.runpytest_subprocess(suite, *given)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*UserWarning: Own: look out"])
    assert 'name="unlike" value="&lt;function' in project.path.joinpath("out.xml").read_text()


@pytest.mark.parametrize("options", [(), ("-x",)])
def test_a_part_is_not_approved(project, few, warm, options):
    project.makeconftest(CONFTEST.format(what="os.abort()", when=ONCE))
    folder = project.mkdir("approved")
    given = (f"--gate-data={few}", f"--gate-baselines={folder}", "--gate-update", "--gate-reason=first")
    result = project.runpytest_subprocess(*ASKED, *given, *options)
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, NOT_JUDGED)
    result.stdout.fnmatch_lines(["nothing was approved: what the process had measured that ended is lost*"])
    assert [*folder.rglob("*.json")] == []


def test_the_first_failure_ends_the_session_where_asked_to(session):
    result, report = session("os.abort()", "-x")
    assert result.ret == NOT_JUDGED
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])
    assert "acme-sound-cpu" not in rows(report)


def test_tests_that_ask_no_check_run_in_pytests_own_process(project, few, warm):
    project.makeconftest(CONFTEST.format(what="pass", when=ALWAYS))
    suite = project.makepyfile(
        """
        import os, pytest
        RAN_IN = os.getpid()  # as it is collected

        @pytest.mark.gate("texts")
        def test_asks(gate_case, uphold):
            assert os.getpid() != RAN_IN

        def test_asks_none():
            assert os.getpid() == RAN_IN
        """
    )
    result = project.runpytest_subprocess(suite, "--gate-combination=acme-sound-cpu", f"--gate-data={few}")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=2)


def test_pytest_benchmarks_table_has_what_was_timed(project, few, warm):
    asked = ("--pyargs", "embedgate.suites.test_budgets", "-k", "keeps_its_speed")
    result = project.runpytest_subprocess(*asked, "--gate-combination=torch-bf16-cpu", f"--gate-data={few}")
    result.stdout.fnmatch_lines(["*benchmark*", "test_keeps_its_speed*torch-bf16-cpu*"])


@pytest.mark.slow("a conftest.py that imports Sentence Transformers leaves the tests their process")
def test_a_conftest_that_imports_sentence_transformers_is_isolated(project, few):
    """With it comes pyarrow, whose allocator has a thread of its own; `warm` has none of it left."""
    project.makeconftest(CONFTEST.format(what="os.abort()", when=ALWAYS))
    result = project.runpytest_subprocess(*ASKED, f"--gate-data={few}", "--gate-isolate")
    assert result.ret == NOT_JUDGED


def test_isolation_that_cannot_be_is_refused(project, few):
    asked = ("--pyargs", "embedgate.suites.test_effective", "--gate-combination=torch-bf16-cpu", f"--gate-data={few}")
    result = project.runpytest_inprocess("-p", "no:cacheprovider", *asked, "--gate-isolate", "--pdb")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--gate-isolate: a debugger or profiler needs the process*"])


OPTIONS = {"debugging": ("usepdb", "trace"), "setuponly": ("setupshow",), "logging": ("log_cli_level",)}


def test_the_command_line_takes_back_what_an_ini_file_asks_for(project, few):
    asked = ("--pyargs", "embedgate.suites.test_effective", "--gate-combination=torch-bf16-cpu", f"--gate-data={few}")
    given = ("-p", "no:cacheprovider", "-o", "gate_isolate=on", "--setup-show", *asked)
    result = project.runpytest_inprocess(*given, "--gate-isolate=auto", "-k", "id_says")
    assert result.ret == pytest.ExitCode.OK
    assert project.runpytest_inprocess(*given).ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize("off", OPTIONS)
def test_a_session_without_one_of_pytests_plugins_is_isolated(monkeypatch, off):
    monkeypatch.setattr(processes, "other_threads", lambda: 0)
    monkeypatch.setattr(isolation, "_is_traced", lambda: False)
    monkeypatch.setattr(isolation, "_covers", lambda: None)
    options = {name: None for plugin, names in OPTIONS.items() if plugin != off for name in names}
    config = pytest.Config.fromdictargs(options, ["-p", f"no:{off}"])
    for name in OPTIONS[off]:
        assert not hasattr(config.option, name)
    assert isolation.why_not(config) == ""


# As where a container's limit of processes is reached: the first fork asks whether there can be one.
REFUSING = """
import errno, os
real, forks = os.fork, iter(range(9))
os.fork = lambda: real() if next(forks) != {which} else refuse()
def refuse():
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
"""


@pytest.mark.slow("a session in which no process can be copied says so, and judges all the same")
def test_a_system_that_lets_no_process_be_copied_is_told_and_judged_all_the_same(session, project):
    project.path.joinpath("refusing.py").write_text(REFUSING.format(which=0))
    result, report = session("pass", "-p", "refusing")
    result.stdout.fnmatch_lines(["*the system lets no process be copied ([[]Errno 11] Resource temporarily unavail*"])
    assert rows(report) == {"torch-fp32-cpu": "reference", "acme-ends-cpu": "pass", "acme-sound-cpu": "pass"}


def test_a_second_process_that_is_refused_ends_the_session_in_one_line(session, project):
    project.path.joinpath("refusing.py").write_text(REFUSING.format(which=2))
    result, report = session("os.abort()", "-p", "refusing", when=ONCE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no process be copied for the tests that are left*--gate-isolate=off*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert rows(report)["acme-ends-cpu"] == "error"


def test_a_kill_for_want_of_memory_is_told_by_what_the_kernel_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(deaths, "_COUNTED_IN", tmp_path / "vmstat")
    (tmp_path / "vmstat").write_text("pgfault 7\noom_kill 4\n")
    assert deaths.how(-signal.SIGKILL, 3) == "was killed (SIGKILL; meanwhile, the kernel has killed for want of memory)"
    assert "or somebody" in deaths.how(-signal.SIGKILL, 4)
