"""A copy of a process tells of its work, and its end is told however it comes."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from typing import NoReturn

import pytest

from embedgate.runtime import forking
from embedgate.runtime.forked import Forked, TimeIsUp

pytestmark = pytest.mark.skipif(not forking.CAN_FORK, reason="no process can be copied here")


def says(pipe: Connection) -> NoReturn:
    pipe.send("one")
    pipe.send("two")
    os._exit(0)


def hangs(pipe: Connection) -> NoReturn:
    pipe.send("one")
    while True:
        time.sleep(1)


def leaves_a_child(pipe: Connection) -> NoReturn:
    """Which holds the pipe, so that it is not closed as the process ends."""
    os.setsid()
    if (child := os.fork()) == 0:
        signal.pause()
    pipe.send(child)
    os._exit(3)


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
    said = process.told(time.monotonic)
    assert next(said) == "one"
    with pytest.raises(TimeIsUp):
        next(said)
    assert process.end() == "was killed (SIGKILL, by the kernel where memory runs out, or somebody)"
    assert not alive(process.pid)


def test_what_it_has_started_ends_with_it():
    process = Forked(leaves_a_child)
    (child,) = told(process)
    assert alive(child)
    assert process.end() == "ended its process with exit code 3"
    while alive(child):  # init waits for it
        time.sleep(0.01)


def test_what_is_interrupted_may_tell_its_end():
    def body(pipe: Connection) -> NoReturn:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pipe.send("begun")
        try:
            time.sleep(1000)
        except KeyboardInterrupt:
            pipe.send("interrupted")
        os._exit(0)

    process = Forked(body)
    assert next(process.told(lambda: None)) == "begun"
    assert list(process.interrupt()) == ["interrupted"]
    process.end()
