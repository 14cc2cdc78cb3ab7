"""Whatever code of a host project does, its own call bears it, and the process is as it was."""

from __future__ import annotations

import asyncio
import ctypes
import decimal
import faulthandler
import gc
import io
import locale
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch

from embedgate.core.errors import BuildError, EncodeError
from embedgate.core.host_code import OUTCOMES, SKIP, HostCode
from embedgate.core.surroundings import NOT_OURS, THINGS, Thing


class OfItsOwn(BaseException):
    """As a library may have one."""


class Speechless(BaseException):
    def __str__(self):
        raise ValueError


ENDS = {
    "exit": (SystemExit(0), "called sys.exit(0)"),
    "exit-none": (SystemExit(), "called sys.exit()"),
    "exit-text": (SystemExit("no licence\nat all"), "called sys.exit('no licence\\nat all')"),
    "exit-long": (SystemExit("x" * 5000), f"called sys.exit('{'x' * 599}… (5,002 characters))"),
    "generator": (GeneratorExit(), "raised GeneratorExit"),
    "cancelled": (asyncio.CancelledError(), "raised CancelledError"),
    "own": (OfItsOwn("of its own"), "raised OfItsOwn: of its own"),
    "speechless": (Speechless(), "raised Speechless: (it cannot say what is wrong)"),
    "fail": (pytest.fail.Exception("Timeout"), "raised Failed: Timeout"),
    "exit-pytest": (pytest.exit.Exception("enough"), "raised Exit: enough"),
}


@pytest.fixture
def lines():
    return []


@pytest.fixture
def code(lines):
    return HostCode("acme-int8-cpu", lines.append)


def raising(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize(("error", "told"), ENDS.values(), ids=ENDS)
def test_what_would_end_the_session_is_an_error_of_the_call(code, error, told):
    with pytest.raises(EncodeError) as caught:
        code.call("encoding", raising(error), EncodeError)
    assert str(caught.value) == (
        f"acme-int8-cpu {told} while encoding; have it raise an Exception that says what is wrong"
    )
    assert caught.value.__context__ is None, "it would keep what the frames hold"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("as it is"), BuildError("told")], ids=repr)
def test_ctrl_c_and_errors_pass_as_they_are(code, error):
    with pytest.raises(type(error)) as caught:
        code.call("encoding", raising(error))
    assert caught.value is error


def test_outcomes_of_pytest_pass_where_a_call_may_have_them(code):
    with pytest.raises(pytest.skip.Exception):
        code.call("building", raising(pytest.skip.Exception("no licence")), passes=SKIP)
    with pytest.raises(BuildError, match=r"acme-int8-cpu raised Failed: x while building"):
        code.call("building", raising(pytest.fail.Exception("x")), passes=SKIP)
    with pytest.raises(pytest.xfail.Exception):
        code.call("judging", raising(pytest.xfail.Exception("known")), passes=OUTCOMES)


def set_default_device():
    torch.set_default_device("meta")


def another_locale():
    now = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C")
    if locale.setlocale(locale.LC_ALL) == now:
        locale.setlocale(locale.LC_ALL, "C.UTF-8")


def leave_autocast_on():
    torch.autocast("cpu", dtype=torch.bfloat16).__enter__()


def leave_inference_mode_on(mode=torch.inference_mode()):  # noqa: B008 - it must outlive the call
    mode.__enter__()


def set_threads():
    torch.set_num_threads(torch.get_num_threads() + 1)


def lower(limit, to):
    number = getattr(resource, limit)
    resource.setrlimit(number, (to, resource.getrlimit(number)[1]))


# How each thing is changed, and how that is told.
CHANGES = {
    "torch's threads": (set_threads, ""),
    "torch's default dtype": (lambda: torch.set_default_dtype(torch.bfloat16), "from float32 to bfloat16"),
    "torch's default device": (set_default_device, "from cpu to meta"),
    "torch's inference mode": (leave_inference_mode_on, "from off to on"),
    "torch's grad mode": (lambda: torch.set_grad_enabled(False), "from on to off"),
    "torch's autocast": (leave_autocast_on, "from off to bfloat16 on cpu"),
    "torch's deterministic algorithms": (lambda: torch.use_deterministic_algorithms(True, warn_only=True), ""),
    "torch's float32 precision": (lambda: torch.set_float32_matmul_precision("medium"), "from highest to medium"),
    "torch's flags of cuDNN": (lambda: setattr(torch.backends.cudnn, "benchmark", True), ""),
    "torch's flags of cuBLAS": (lambda: setattr(torch.backends.cuda.matmul, "allow_fp16_accumulation", True), ""),
    "torch's kernels of attention": (lambda: torch.backends.cuda.enable_flash_sdp(False), ""),
    "torch's use of oneDNN": (lambda: torch.backends.mkldnn.set_flags(_enabled=False), "from on to off"),
    "torch's determinism of oneDNN": (lambda: torch.backends.mkldnn.set_flags(_deterministic=True), "from off to on"),
    "torch's engine of quantized operations": (
        lambda: setattr(torch.backends.quantized, "engine", "qnnpack"),
        "to qnnpack",
    ),
    "torch's flushing of denormal numbers": (lambda: torch.set_flush_denormal(True), "from off to on"),
    "the environment": (lambda: os.environ.update(ACME="secret"), ""),
    "the working directory": (lambda: os.chdir("/"), "to /"),
    "the umask": (lambda: os.umask(0o123), "to 123"),
    "the locale": (another_locale, ""),
    "sys.path": (lambda: sys.path.insert(0, "acme"), ""),
    "sys.argv": (lambda: sys.argv.append("acme"), ""),
    "sys.stdin": (lambda: setattr(sys, "stdin", io.StringIO()), ""),
    "sys.stdout": (lambda: setattr(sys, "stdout", io.StringIO()), ""),
    "sys.stderr": (lambda: setattr(sys, "stderr", io.StringIO()), ""),
    "handlers of signals": (lambda: signal.signal(signal.SIGINT, lambda *_: None), ""),
    "the timer of SIGALRM": (lambda: signal.setitimer(signal.ITIMER_REAL, 600), "from off to on"),
    "the cores that a thread may use": (lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}), "to 1"),
    "the limit of open files": (lambda: lower("RLIMIT_NOFILE", 3), "to 3"),
    "the limit of the size of a file": (lambda: lower("RLIMIT_FSIZE", 0), "to 0"),
    "the limit of address space": (lambda: lower("RLIMIT_AS", 2**40), "to 1099511627776"),
    "the limit of data": (lambda: lower("RLIMIT_DATA", 2**40), "to 1099511627776"),
    "the limit of processes": (lambda: lower("RLIMIT_NPROC", 7), "to 7"),
    "the limit of processor time": (lambda: lower("RLIMIT_CPU", 86_400), "to 86400"),
    "the filters of warnings": (lambda: warnings.simplefilter("ignore"), ""),
    "the root of logging": (lambda: logging.root.addHandler(logging.NullHandler()), ""),
    "the recursion limit": (lambda: sys.setrecursionlimit(12_345), "to 12345"),
    "the garbage collector": (gc.disable, ""),
    "the context of decimal": (lambda: setattr(decimal.getcontext(), "prec", 7), ""),
    "NumPy's handling of errors": (lambda: np.seterr(all="raise"), ""),
}


# Things with tests of their own: one that can be set once in a process, one that may be on or off here, and one of
# which nobody is told.
APART = {"torch's inter-op threads", "faulthandler", "the stack for signals"}
KNOWN = {thing.name: thing for thing in THINGS}


def test_each_thing_has_a_test():
    assert KNOWN.keys() == CHANGES.keys() | APART


@pytest.mark.parametrize("name", CHANGES, ids=lambda name: name.replace(" ", "-"))
def test_each_thing_is_put_back_and_told_once(code, lines, name):
    (change, shown), thing = CHANGES[name], KNOWN[name]
    before = thing.read()
    for _ in range(2):
        code.call("encoding", change)
        assert thing.read() == before
    told = "the environment variable ACME" if name == "the environment" else name
    found = [line for line in lines if line.startswith(f"acme-int8-cpu changed {told}")]
    assert len(found) == 1
    assert f"{shown} while encoding; embedgate put it back" in found[0]
    assert code.changes == lines
    assert "secret" not in found[0]


def test_names_that_would_reach_the_terminal_are_escaped(code, lines, tmp_path):
    (tmp_path / "\x1b[31m\nred").mkdir()

    def change():
        os.environ["\x1b[2J\n"] = "1"
        os.chdir(tmp_path / "\x1b[31m\nred")

    code.call("encoding", change)
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_a_call_that_changes_nothing_is_not_told(code, lines):
    assert code.call("encoding", lambda: 7) == 7
    assert lines == []


def test_what_an_owner_sets_is_its_own_between_its_calls(code):
    def asked():
        found = torch.get_default_dtype(), os.environ.get("ACME"), os.environ.get("GONE"), os.getcwd()
        torch.set_default_dtype(torch.float64)
        os.environ["ACME"] = "1"
        os.environ.pop("GONE", None)
        os.chdir("/")
        return found

    os.environ["GONE"] = "there"
    here = os.getcwd()
    try:
        other = HostCode("other-int8-cpu")
        expected = torch.float32, None, "there", here
        assert code.call("building", asked) == expected
        assert other.call("building", lambda: (torch.get_default_dtype(), os.environ.get("ACME"))) == expected[:2]
        os.environ["NEW"] = "from elsewhere"
        assert code.call("encoding", asked) == (torch.float64, "1", None, "/")
        assert code.call("encoding", lambda: os.environ["NEW"]) == "from elsewhere"
        assert code.anew(print).call("building", asked) == expected, "what is built anew is built alike"
        assert (torch.get_default_dtype(), os.environ.get("ACME"), os.environ["GONE"], os.getcwd()) == expected
    finally:
        for name in ("GONE", "NEW"):
            os.environ.pop(name, None)


def test_torchs_threads_are_not_an_owners_to_keep(code, lines):
    was = torch.get_num_threads()
    code.call("building", set_threads)
    assert code.call("encoding", torch.get_num_threads) == was
    assert lines == [
        f"acme-int8-cpu changed torch's threads from {was} to {was + 1} while building; "
        "embedgate put it back: --gate-threads says how many"
    ]


@pytest.mark.parametrize("was_on", [True, False])
def test_faulthandler_is_put_back(code, was_on):
    before = faulthandler.is_enabled()
    turn = {True: lambda: faulthandler.enable(2), False: faulthandler.disable}
    try:
        turn[was_on]()
        code.call("encoding", turn[not was_on])
        assert faulthandler.is_enabled() is was_on
    finally:
        turn[before]()


def test_the_stack_for_signals_is_put_back_in_each_thread_and_nobody_is_told(code, lines):
    thing = KNOWN["the stack for signals"]
    other = ctypes.create_string_buffer(65_536)

    def change():
        thing.restore((ctypes.addressof(other), 0, len(other)))
        return thing.read()

    def in_this_thread():
        seen.append((thing.read(), code.call("encoding", change), thing.read()))

    seen = []
    thread = threading.Thread(target=in_this_thread)
    thread.start()
    thread.join()
    in_this_thread()
    assert len(seen) == 2
    assert all(before == after != inside for before, inside, after in seen)
    assert lines == []


def test_what_cannot_be_put_back_is_told(lines):
    state = ["many"]

    def refuse(_):
        raise RuntimeError("set once")

    code = HostCode("acme-int8-cpu", lines.append, [Thing("the number", lambda: state[0], refuse, kept=True)])
    code.call("building", lambda: state.__setitem__(0, "few"))
    code.call("encoding", lambda: None)
    assert lines == [
        "acme-int8-cpu changed the number from many to few while building; "
        "it cannot be put back (RuntimeError: set once), so all that comes after has it, too"
    ]


def test_what_nobody_is_told_of_is_told_once_where_it_cannot_be_put_back(lines):
    state = [0]

    def refuse(_):
        raise OSError("too small")

    thing = Thing("the stack", lambda: state[0], refuse, show=lambda _: "")
    code = HostCode("acme-int8-cpu", lines.append, [thing])
    for number in (1, 2):
        code.call("encoding", lambda number=number: state.__setitem__(0, number))
    (line,) = lines
    assert "changed the stack while encoding; it cannot be put back (OSError: too small)" in line


def test_a_stack_for_signals_that_the_system_refuses_is_an_error():
    thing, tiny = KNOWN["the stack for signals"], ctypes.create_string_buffer(64)
    before = thing.read()
    with pytest.raises(OSError, match="allocate"):
        thing.restore((ctypes.addressof(tiny), 0, len(tiny)))
    assert thing.read() == before


def test_what_cannot_be_read_keeps_no_call_from_being_made(code, tmp_path, monkeypatch):
    """A working directory that has been deleted, and a setting that another version of torch does not have."""
    monkeypatch.delattr(torch, "get_num_interop_threads")
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert code.call("encoding", lambda: torch.set_default_dtype(torch.float64)) is None
    assert torch.get_default_dtype() == torch.float32
    assert [line.partition(" while")[0] for line in code.changes] == [
        "acme-int8-cpu changed torch's default dtype from float32 to float64"
    ]


def test_a_timer_of_somebody_elses_goes_on(code, lines):
    signal.setitimer(signal.ITIMER_REAL, 600)
    try:
        code.call("encoding", lambda: None)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
        code.call("encoding", lambda: signal.setitimer(signal.ITIMER_REAL, 0))  # as one that has fired
        assert lines == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_torchs_inter_op_threads_can_be_set_once(code, lines, monkeypatch):
    state = [4]

    def set_once(number):
        if state[0] != 4:
            raise RuntimeError("cannot set number of interop threads")
        state[0] = number

    monkeypatch.setattr(torch, "get_num_interop_threads", lambda: state[0])
    monkeypatch.setattr(torch, "set_num_interop_threads", set_once)
    for _ in range(2):
        code.call("encoding", lambda: state[0] == 4 and torch.set_num_interop_threads(2))
    assert lines == [
        "acme-int8-cpu changed torch's inter-op threads from 4 to 2 while encoding; it cannot be put back "
        "(RuntimeError: cannot set number of interop threads), so all that comes after has it, too"
    ]


def test_it_is_put_back_whatever_the_call_raises(code):
    def fail():
        torch.set_default_dtype(torch.float64)
        sys.exit(3)

    with pytest.raises(BuildError):
        code.call("building", fail)
    assert torch.get_default_dtype() == torch.float32


def test_several_threads_are_inside_until_the_last_one_leaves(code):
    first, second = threading.Event(), threading.Event()
    seen = []

    def early():
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        first.set()
        second.wait(10)
        seen.append((torch.get_default_dtype(), torch.is_grad_enabled()))

    def late():
        first.wait(10)
        seen.append((torch.get_default_dtype(), torch.is_grad_enabled()))

    thread = threading.Thread(target=code.call, args=("encoding", early))
    thread.start()
    code.call("encoding", late)
    assert torch.get_default_dtype() == torch.float64, "the other is still inside, and computes with it"
    second.set()
    thread.join()
    assert seen == [(torch.float64, True), (torch.float64, False)]
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)


def test_calls_together_keep_what_they_set_until_the_last_of_them(code, lines):
    with code.together("encoding"):
        code.call("encoding", lambda: torch.set_default_dtype(torch.float64))
        assert torch.get_default_dtype() == torch.float64
        with pytest.raises(EncodeError, match=r"called sys\.exit"):
            code.call("encoding", sys.exit, EncodeError)
        assert lines == []
    assert torch.get_default_dtype() == torch.float32
    assert len(lines) == 1


def test_checks_of_a_host_are_told_of_what_embedgates_own_encoders_leave_alone():
    assert {thing.name for thing in THINGS} - {thing.name for thing in NOT_OURS} == {
        "torch's threads",
        "the environment",
        "sys.path",
        "the filters of warnings",
        "the root of logging",
    }


FORKS = """
import os, sys
from embedgate.core.host_code import HostCode

def encode():
    if os.fork() == 0:
        {child}
    os.wait()
    return "encoded"

print("went on", os.getpid() == parent, HostCode("acme-int8-cpu").call("encoding", encode))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(
    ("child", "told"),
    [("pass", True), ("return 'a copy'", True), ("1 / 0", True), ("sys.exit('x')", True), ("sys.exit(0)", False)],
)
def test_a_copy_of_the_process_ends_with_the_call_that_forked_it(child, told):
    script = "import os; parent = os.getpid()\n" + FORKS.format(child=child)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "went on True encoded\n"
    line = (
        "embedgate: acme-int8-cpu forked this process while encoding, and the copy came back, so it ends here; "
        "call os._exit() in the copy\n"
    )
    assert done.stderr == line * told


def test_torch_is_not_imported():
    script = (
        "import sys; from embedgate.core.host_code import HostCode\n"
        "HostCode('acme').call('encoding', lambda: None); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
