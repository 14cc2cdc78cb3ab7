"""Time and memory on a GPU, with as much of torch.cuda as is asked; not yet run on hardware."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.bare import UNPROMPTED, Bare

from embedgate.core.combination import Combination
from embedgate.encoders.gpu import clock, device_memory
from embedgate.encoders.gpu.device_memory import DeviceMemory
from embedgate.performance import footprint

MB, GB = 10**6, 10**9
FP16 = Combination.parse("torch-fp16-cuda")


class Cuda:
    """A GPU of 80 GB, of which others use some and this process's libraries take more."""

    def __init__(self, used=500 * MB, torch_peak=0):
        self.used, self.torch_peak, self.looks, self.reset = used, torch_peak, 0, False

    def mem_get_info(self, device):
        self.looks += 1
        return 80 * GB - self.used, 80 * GB

    def max_memory_reserved(self, device):
        return self.torch_peak if self.reset else 10 * GB

    def reset_peak_memory_stats(self, device):
        self.reset = True

    def wait_for_a_look(self):
        looks, until = self.looks, time.monotonic() + 10
        while self.looks < looks + 2 and time.monotonic() < until:
            time.sleep(0.001)


def test_what_a_library_takes_past_torch_and_gives_back_is_seen():
    cuda = Cuda(torch_peak=100 * MB)
    with DeviceMemory(cuda) as memory:
        cuda.used += 900 * MB
        cuda.wait_for_a_look()
        cuda.used -= 900 * MB
    assert (memory.peak, memory.notes) == (900 * MB, ())


def test_a_peak_between_two_looks_is_known_by_torch(monkeypatch):
    monkeypatch.setattr(device_memory, "POLL_SECONDS", 60)
    cuda = Cuda(torch_peak=2 * GB)
    with DeviceMemory(cuda) as memory:
        cuda.used += 100 * MB
    assert memory.peak == 2 * GB


def test_what_is_held_at_the_end_is_seen_without_any_look_in_between(monkeypatch):
    monkeypatch.setattr(device_memory, "POLL_SECONDS", 60)
    cuda = Cuda()
    with DeviceMemory(cuda) as memory:
        cuda.used += 100 * MB
    assert memory.peak == 100 * MB


def test_a_gpu_that_was_not_idle_is_told_of():
    assert DeviceMemory(Cuda(used=5 * GB)).notes == ("the GPU was not idle before: 5000 MB of its memory were in use",)


def test_a_device_that_stops_answering_ends_the_watch_and_hides_no_error():
    cuda = Cuda()
    with pytest.raises(ValueError, match="of its own"), DeviceMemory(cuda):  # noqa: PT012 - the watch ends first
        cuda.mem_get_info = lambda device: (_ for _ in ()).throw(RuntimeError("CUDA error: unspecified launch failure"))
        raise ValueError("of its own")


@pytest.mark.slow("memory on a GPU is what torch's allocator accounts for")
def test_a_footprint_on_a_gpu_is_the_devices_account(monkeypatch):
    """From before it is built; and on a CPU, no GPU is asked."""
    cuda = Cuda(used=3 * GB)

    class Encoder(Bare):
        def __init__(self):
            cuda.used += 400 * MB

        def encode(self, texts, batch_size=32):
            if len(texts) == 32:
                cuda.used += 50 * MB
                cuda.wait_for_a_look()
                cuda.used -= 50 * MB
            return np.ones((len(texts), 4), dtype=np.float32)

        def close(self):
            cuda.used -= 400 * MB

    monkeypatch.setattr(footprint, "DeviceMemory", lambda: DeviceMemory(cuda))
    monkeypatch.setattr(footprint.encoders, "import_library", lambda *_: None)
    monkeypatch.setattr(footprint.encoders, "build", lambda *_: Encoder())
    session = SimpleNamespace(registry=None, model=UNPROMPTED, context=None, cache=SimpleNamespace(taken={}))
    found = footprint.measure(session, FP16)
    assert found.device_peak == 450 * MB
    assert found.notes == ("the GPU was not idle before: 3000 MB of its memory were in use",)
    monkeypatch.setattr(footprint, "DeviceMemory", lambda: pytest.fail("asked"))
    cuda.wait_for_a_look = lambda: None  # none will come
    on_cpu = footprint.measure(session, Combination.parse("torch-fp16-cpu"))
    assert (on_cpu.device_peak, on_cpu.notes) == (None, ())


class TestClock:
    @pytest.fixture
    def events(self, monkeypatch):
        """What happens, on a clock that work on the device advances when it is waited for."""
        found, state = [], SimpleNamespace(now=0.0, pending=0.0)

        def synchronize():
            found.append("wait")
            state.now, state.pending = state.now + state.pending, 0.0

        def flush():
            found.append("flush")
            state.pending += 5.0

        def call():
            found.append("call")
            state.now += 0.25  # tokenising
            state.pending += 1.0  # kernels, on whatever stream

        monkeypatch.setattr(torch, "empty", lambda *size, **of: SimpleNamespace(zero_=flush))
        monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
        monkeypatch.setattr(torch.cuda, "Event", lambda **_: pytest.fail("an event sees one stream alone"))
        monkeypatch.setattr(clock.time, "perf_counter", lambda: state.now)
        return found, call

    def test_time_on_a_gpu_is_from_an_idle_device_to_an_idle_device(self, events):
        found, call = events
        timed = clock.clock_of("cuda")
        assert [timed(call), timed(call)] == [1.25, 1.25]
        assert found == ["flush", "wait", "call", "wait"] * 2

    def test_time_on_a_cpu_asks_no_gpu(self, events):
        found, call = events
        assert clock.clock_of("cpu")(call) == 0.25
        assert found == ["call"]
