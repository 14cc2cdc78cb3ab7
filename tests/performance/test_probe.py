"""A machine is told by what it computes how fast, and by no name."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedgate.performance import probe
from embedgate.performance.probe import Probe, difference, measure

AMX = Probe(1, 140.0, bf16=4.2, fp16=1.0, int8=7.4, small=115.0, gain=1.0)


@pytest.mark.parametrize(
    ("here", "told"),
    [
        ({"bf16": 1.0}, "its bf16 products are 4.2 times as fast as fp32's, here 1"),
        ({"fp16": 3.2}, "its fp16 products are 1 times as fast as fp32's, here 3.2"),
        ({"fp16": None}, "its fp16 products are 1 times as fast as fp32's, here not there"),
        ({"int8": 3.0, "bf16": 1.0}, "its bf16 products are 4.2 times as fast as fp32's, here 1"),
        ({"small": 40.0}, "its small operations take the time of 115 thousand fp32 operations, here 40"),
        ({"gain": 3.0}, "its threads together are 1 times as fast as one, here 3"),
    ],
)
def test_what_differs_most_is_told(here, told):
    assert difference(replace(AMX, **here), [AMX]) == told


@pytest.mark.parametrize(
    "here",
    [
        {},
        # As beside a neighbour on a machine with three times as many busy processes as cores.
        {"bf16": 5.98, "fp16": 1.19, "int8": 10.4, "small": 81.0, "gflops": 104.0},
        {"bf16": 4.4, "fp16": 0.9, "int8": 5.5, "small": 110.0},
    ],
)
def test_one_machine_is_like_itself_beside_neighbours(here):
    assert difference(replace(AMX, **here), [AMX]) == ""


def test_what_the_approved_sessions_saw_counts_from_end_to_end():
    seen = [replace(AMX, int8=value) for value in (4.0, 10.0)]
    assert difference(replace(AMX, int8=6.0), seen) == ""
    assert difference(replace(AMX, int8=15.0), seen) == ""
    assert "int8 products are 10 times" in difference(replace(AMX, int8=19.0), seen)


def test_what_no_machine_computes_differs_in_nothing():
    none = replace(AMX, fp16=None)
    assert difference(none, [none]) == ""


class Machine:
    """Calls that take what the test says, of each kind in turn."""

    def __init__(self, monkeypatch, **seconds):
        self.now = 0.0
        monkeypatch.setattr(probe, "_calls", lambda: {name: self.call(took) for name, took in seconds.items()})
        monkeypatch.setattr(probe, "SETTLES_MALLOC", 1)

    def call(self, took):
        def advance():
            self.now += took

        return advance


def test_ratios_are_to_float32(monkeypatch):
    threads = torch.get_num_threads()
    machine = Machine(monkeypatch, fp32=1.0, small=0.5, bf16=0.25, int8=0.1)
    found = measure(1, lambda: machine.now)
    assert (found.bf16, found.fp16, found.int8, found.gain) == (4.0, None, 10.0, 1.0)
    assert found.small == pytest.approx(0.5 * probe.FLOP / 1e3 / probe.SMALL, rel=1e-3)
    assert torch.get_num_threads() == threads


def test_an_emulated_type_is_told_and_not_timed_for_long(monkeypatch):
    taken = []
    machine = Machine(monkeypatch, fp32=1.0, small=0.5, fp16=50.0)
    calls = probe._calls()
    fp16 = calls["fp16"]
    monkeypatch.setattr(probe, "_calls", lambda: calls | {"fp16": lambda: (taken.append(1), fp16())})
    assert measure(1, lambda: machine.now).fp16 == 0.02
    assert len(taken) == probe.CALLS


def test_threads_gain_beside_one(monkeypatch):
    machine = Machine(monkeypatch, fp32=1.0, small=0.5)
    used = []

    def alone():
        used.append(torch.get_num_threads())
        machine.now += 3.0

    calls = probe._calls()
    monkeypatch.setattr(probe, "_calls", lambda: calls)
    monkeypatch.setattr(probe, "_alone", lambda *_: alone)
    assert measure(2, lambda: machine.now).gain == 3.0
    assert set(used) == {2}


def test_this_machine_is_probed(monkeypatch):
    monkeypatch.setattr(probe, "SECONDS", 0.1)
    found = measure(1)
    assert found.bf16 is not None
    assert found.gflops > 0.1
    assert difference(found, [found]) == ""
