"""A copy of a process tells of its work, and its end is told however it comes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection

import pytest

from embedgate.runtime import forked, processes
from embedgate.runtime.forked import Forked, Teller, TimeIsUp, Unreadable

pytestmark = pytest.mark.skipif(not processes.CAN_FORK, reason="no process can be copied here")


def says(tell: Teller) -> None:
    tell("one")
    tell("two")


def hangs(tell: Teller) -> None:
    tell("one")
    while True:
        time.sleep(1)


def talks(tell: Teller) -> None:
    while True:
        tell("on and on")


def leaves_a_child(tell: Teller) -> None:
    """Which holds the pipe, so that it is not closed as the process ends."""
    if (child := os.fork()) == 0:
        signal.pause()
    tell(child)
    os._exit(3)


def begins_a_message(tell: Teller) -> None:
    os.write(tell._pipe.fileno(), (100).to_bytes(8, "big") + b"ten bytes.")


def is_cut_short(tell: Teller) -> None:
    """And leaves a child, which holds the pipe."""
    tell("one")
    if os.fork() == 0:
        signal.pause()
    begins_a_message(tell)
    os.kill(os.getpid(), signal.SIGKILL)


def stops_within(tell: Teller) -> None:
    begins_a_message(tell)
    signal.pause()


def told(process: Forked) -> list[object]:
    return list(process.told(lambda: None))


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_it_told_before_its_end_is_told():
    process = Forked(says)
    assert told(process) == ["one", "two"]
    assert process.end() == "ended its process with exit code 0"


def test_what_hangs_is_ended():
    process = Forked(hangs)
    by: list[float | None] = [None]
    said = process.told(lambda: by[0])
    assert next(said) == "one"
    by[0] = time.monotonic()
    with pytest.raises(TimeIsUp):
        next(said)
    assert process.end() == "was killed (SIGKILL, by the kernel where memory runs out, or somebody)"
    assert not alive(process.pid)


def test_what_talks_on_is_ended_as_well():
    process = Forked(talks)
    by = time.monotonic() + 0.2
    with pytest.raises(TimeIsUp):
        list(process.told(lambda: by))
    process.end()


def test_a_message_that_is_cut_short_holds_up_nobody():
    process = Forked(is_cut_short)
    assert told(process) == ["one"]
    assert "SIGKILL" in process.end()


def test_what_stops_within_a_message_is_ended():
    process = Forked(stops_within)
    by = time.monotonic() + 0.5
    with pytest.raises(TimeIsUp):
        list(process.told(lambda: by))
    process.end()


def test_long_messages_are_whole():
    process = Forked(lambda tell: [tell("x" * 5_000_000), tell("y")])
    assert [len(each) for each in told(process)] == [5_000_000, 1]
    process.end()


def test_what_it_still_has_to_write_is_written(tmp_path):
    """Such as what coverage saves as a process ends."""

    def body(tell: Teller) -> None:
        tell("all")
        time.sleep(0.2)
        (tmp_path / "late").write_text("written")

    process = Forked(body)
    assert next(process.told(lambda: None)) == "all"
    assert list(process.rest()) == []
    process.end()
    assert (tmp_path / "late").read_text() == "written"


@pytest.mark.parametrize(
    "written", [b"nothing of ours", (9).to_bytes(8, "big") + b"no pickle"], ids=["length", "content"]
)
def test_what_cannot_be_read_is_told_as_such(written):
    def body(tell: Teller) -> None:
        os.write(tell._pipe.fileno(), written)

    process = Forked(body)
    with pytest.raises(Unreadable):
        list(process.told(lambda: None))
    process.end()


def test_what_goes_wrong_in_it_stays_there(capfd):
    def body(tell: Teller) -> None:
        raise KeyboardInterrupt

    process = Forked(body)
    assert told(process) == []
    assert process.end() == "ended its process with exit code 1"
    assert "KeyboardInterrupt" in capfd.readouterr().err


def test_what_it_has_started_ends_with_it():
    process = Forked(leaves_a_child)
    (child,) = told(process)
    assert alive(child)
    assert process.end() == "ended its process with exit code 3"
    while alive(child):  # init waits for it
        time.sleep(0.01)


def test_what_is_interrupted_may_tell_its_end():
    def body(tell: Teller) -> None:
        try:
            tell("begun")
            while True:  # a signal that comes just before a sleep does not end it
                time.sleep(0.01)
        except KeyboardInterrupt:
            tell("interrupted")

    hears_of_it(Forked(body))


def hears_of_it(process: Forked) -> None:
    assert next(process.told(lambda: None)) == "begun"
    told = list(process.interrupt())
    assert (told, process.end()) == (["interrupted"], "ended its process with exit code 0")


class Forgets:
    """Python forgets what is raised while this is deleted."""

    def __init__(self, tell: Teller) -> None:
        self.tell = tell

    def __del__(self) -> None:
        self.tell("begun")
        while True:
            time.sleep(0.01)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_is_forgotten_is_sent_again(monkeypatch):
    monkeypatch.setattr(forked, "AGAIN_SECONDS", 0.1)

    def body(tell: Teller) -> None:
        try:
            Forgets(tell)
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            tell("interrupted")

    hears_of_it(Forked(body))


def test_an_interrupt_as_signals_are_held_back_holds_back_none(monkeypatch):
    """Python raises what came just before, once they are held back."""
    mask = signal.pthread_sigmask
    before = mask(signal.SIG_BLOCK, ())

    def interrupted(how: int, signals: Collection[signal.Signals]) -> set[signal.Signals]:
        held = mask(how, signals)
        if how == signal.SIG_BLOCK and signals:
            raise KeyboardInterrupt
        return held

    monkeypatch.setattr(signal, "pthread_sigmask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Forked(says)
    assert mask(signal.SIG_BLOCK, ()) == before
