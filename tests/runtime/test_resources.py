"""Memory that runs out, and a CUDA context that breaks, stay with the combination that has the trouble."""

from __future__ import annotations

import gc
import re
import weakref
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from helpers import stub_devices
from helpers.stub_devices import Stub

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, ResourceError
from embedgate.core.roles import Input
from embedgate.encoders import gpu
from embedgate.encoders.registry import Registry
from embedgate.performance import footprint
from embedgate.runtime import resources
from embedgate.runtime.guard import Guard
from embedgate.runtime.messages import FootprintOf
from embedgate.runtime.worker import Measuring

CPU, FP32, FP16, BF16 = map(
    Combination.parse, ("torch-bf16-cpu", "torch-fp32-cuda", "torch-fp16-cuda", "torch-bf16-cuda")
)
TORCH = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB"
)
ORT = RuntimeError(
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running MatMul node. "
    "bfc_arena.cc:376 onnxruntime::BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9"
)
MEMORY = {
    "torch": TORCH,
    "cuda": RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "onnxruntime": ORT,
    "onnxruntime-cuda": RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc(&p, size)"),
    "tensorrt": RuntimeError("[executionContext.cpp] Error Code 2: OutOfMemory (Requested size was 9 bytes.)"),
    "tensorrt-runtime": RuntimeError("Error Code 1: Cuda Runtime (out of memory)"),
}
HOST = {
    "host": MemoryError(),
    "numpy": np._core._exceptions._ArrayMemoryError((9,), np.dtype(float)),
    "torch-host": RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"),
    "c++": RuntimeError("std::bad_alloc"),
}
STICKY = {
    "torch": RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported"),
    "assert": RuntimeError("CUDA error: device-side assert triggered"),
    "onnxruntime": RuntimeError("CUDA failure 700: an illegal memory access was encountered ; GPU=0"),
    "tensorrt": RuntimeError("Error Code 1: Cuda Runtime (an illegal memory access was encountered)"),
}


class Cuda:
    """As much of torch.cuda as is asked of a GPU in use."""

    def __init__(self, broken=False):
        self.broken, self.emptied = broken, 0

    def is_initialized(self):
        return True

    def mem_get_info(self, device):
        return 300_000_000, 80_000_000_000

    def memory_reserved(self, device):
        return 12_000_000_000

    def synchronize(self):
        if self.broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def empty_cache(self):
        self.synchronize()
        self.emptied += 1


@pytest.fixture
def cuda(monkeypatch):
    """Has a GPU in use."""

    def make(**state):
        found = Cuda(**state)
        monkeypatch.setattr(gpu, "_in_use", lambda: found)
        return found

    return make


@pytest.mark.parametrize("error", HOST.values(), ids=HOST)
def test_the_hosts_memory_is_not_taken_for_the_gpus(error, cuda):
    cuda()
    assert str(resources.told(error, FP16, "encoding")) == (
        "torch-fp16-cuda ran out of memory while encoding; lower --gate-batch-size"
    )


@pytest.mark.parametrize("error", MEMORY.values(), ids=MEMORY)
def test_memory_that_runs_out_is_known_in_the_words_of_every_library(error):
    found = resources.told(error, FP16, "encoding")
    assert found.cause == "torch-fp16-cuda ran out of the GPU's memory while encoding"
    assert "lower --gate-batch-size" in found.action
    on_cpu = resources.told(error, CPU, "encoding")
    assert str(on_cpu) == "torch-bf16-cpu ran out of memory while encoding; lower --gate-batch-size"


def test_it_is_known_by_what_an_error_came_from():
    error = BuildError("torch-fp16-cuda could not be built")
    error.__cause__ = torch.OutOfMemoryError()
    assert "while building" in str(resources.told(error, FP16, "building"))


def test_other_errors_are_left_alone(cuda):
    cuda()
    for error in (
        ValueError("a memory of text"),
        RuntimeError("expected scalar type Half"),
        RuntimeError("CUDA error: invalid argument"),  # the GPU still answers
    ):
        assert resources.told(error, FP16, "encoding") is None


def test_the_gpus_memory_is_told(cuda):
    cuda()
    found = resources.told(TORCH, FP16, "encoding")
    assert "(0.3 of 80.0 GB free, 12.0 GB held by torch here)" in found.cause
    assert "nvidia-smi" in found.action
    assert "\n" not in str(found)


def test_torch_is_neither_imported_nor_begun_to_be_used_on_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    for name in ("mem_get_info", "synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: pytest.fail("asked"))
    assert (gpu.memory(), gpu.memory_told(), gpu.works(), gpu.release()) == (None, "", None, None)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert gpu.works() is None


class Held:
    """Stands for a tensor on the device."""


class Greedy(Stub):
    """Raises what its combination is to raise, from a frame that holds memory."""

    raises: ClassVar[dict[Combination, Exception]] = {}
    when = "encode"
    held: ClassVar[list[weakref.ref[Held]]] = []

    def __init__(self, combination):
        super().__init__(combination)
        self.weights = self.hold()
        self.take("build")

    @classmethod
    def hold(cls):
        held = Held()
        cls.held.append(weakref.ref(held))
        return held

    def take(self, what):
        activation = self.hold()
        if self.combination in self.raises and self.when == what:
            error = self.raises[self.combination]
            raise type(error)(*error.args) if not isinstance(error, MemoryError) else MemoryError
        del activation

    def encode(self, texts, batch_size=32):
        self.take("encode")
        return super().encode(texts, batch_size)

    def stages(self, texts):
        self.take("stages")

    def evidence(self):
        self.take("evidence")
        return super().evidence()

    def close(self):
        super().close()
        self.weights = None


def alive():
    return [ref() for ref in Greedy.held if ref() is not None]


@pytest.fixture
def context(context_with, few, monkeypatch):
    """Makes a context of combinations on a GPU, of which some run out of memory at a point."""
    stub_devices.install(monkeypatch, Greedy)
    monkeypatch.setattr(Greedy, "held", [])
    made = []

    def make(raises, when="encode"):
        monkeypatch.setattr(Greedy, "raises", raises)
        monkeypatch.setattr(Greedy, "when", when)
        found = context_with(data=(str(few),), combinations=("torch-[bf]*-cuda",))
        made.append(found)
        return found

    yield make
    for found in made:
        found.session.close()


@pytest.mark.parametrize("when", ["build", "encode", "evidence"])
@pytest.mark.parametrize("name", {**MEMORY, **HOST})
def test_a_combination_out_of_memory_is_an_error_and_all_it_held_is_freed(context, cuda, name, when):
    device = cuda()
    session = context({FP16: {**MEMORY, **HOST}[name]}, when).session
    session.run(FP32)
    before, emptied = len(alive()), device.emptied
    with pytest.raises(ResourceError, match=r"torch-fp16-cuda ran out of .*memory while ") as caught:
        session.run(FP16)
    # `caught` holds the exception with its traceback, as pytest does.
    assert len(alive()) == before, "its weights and what its frames held"
    assert device.emptied > emptied
    assert caught.value.__context__ is None
    kept = session._runs[session.plan.model.fingerprint, FP16]
    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)
    with pytest.raises(ResourceError) as again:
        session.run(FP16)
    assert str(again.value) == str(caught.value)
    assert kept.__traceback__ is None
    assert session.run(BF16).combination == BF16


def test_any_error_of_a_build_leaves_nothing_in_memory(context):
    session = context({FP16: ValueError("no such layer")}, "build").session
    session.run(FP32)
    before = len(alive())
    with pytest.raises(BuildError, match="ValueError: no such layer") as caught:
        session.run(FP16)
    gc.collect()
    assert caught.value.__context__ is None
    assert len(alive()) == before


def test_the_reference_out_of_memory_is_every_candidates_error(context, cuda):
    cuda()
    session = context({FP32: TORCH}).session
    for combination in (FP32, FP16, BF16):
        with pytest.raises(ResourceError, match="torch-fp32-cuda ran out of the GPU's memory while encoding"):
            session.run(combination)
    assert len(Greedy.held) == 3, "it was built and tried once: weights, and what two calls held"
    assert alive() == []
    assert session.run(CPU).combination == CPU


@pytest.mark.parametrize(
    "check",
    [
        lambda context: context.ask("invariance", FP16, "order"),
        lambda context: context.ask("invariance", FP16, "threads"),
        lambda context: context.ask("invariance", FP16, "concurrency"),
        lambda context: context.ask("contract.any", FP16),
        lambda context: context.ask("ordering.margin", FP16),
        lambda context: context.ask("golden", FP16),
        lambda context: context.ask("ordering.kept", FP16, "order_kept"),
    ],
    ids=["order", "threads", "concurrency", "contract", "ordering-property", "golden", "ordering"],
)
def test_in_a_check_it_is_an_error_and_no_lost_quality(context, cuda, monkeypatch, check):
    cuda()
    found = context({})
    found.session.run(FP16)
    before = len(alive())
    monkeypatch.setattr(Greedy, "raises", {FP16: TORCH})
    with pytest.raises(ResourceError, match="torch-fp16-cuda ran out of the GPU's memory while encoding"):
        check(found)
    assert len(alive()) == before - 1, "it is closed"
    monkeypatch.setattr(Greedy, "raises", {})
    assert found.session.encoder(found.session.run(FP16)).encode(["built again"]).shape == (1, 384)


def test_a_reference_that_is_built_again_leaves_the_candidate_open(context, cuda, monkeypatch):
    cuda()
    found = context({})
    session = found.session
    candidate = session.encoder(session.run(FP16))
    monkeypatch.setattr(Greedy, "raises", {FP32: TORCH})
    with pytest.raises(ResourceError, match="torch-fp32-cuda ran out"):
        session.embed(session.run(FP32), [Input("another text")])
    monkeypatch.setattr(Greedy, "raises", {})
    assert session.embed(session.run(FP32), [Input("another text")]).shape == (1, 384)
    assert candidate.encode(["another text"]).shape == (1, 384)


def test_in_stages_it_is_an_error(context, cuda):
    cuda()
    found = context({FP16: TORCH}, "stages")
    run = found.session.run(FP16)
    with pytest.raises(ResourceError, match="while showing its stages"):
        found.diagnose(run)
    assert len(alive()) == 1, "the reference's weights"


def test_while_being_timed_it_is_an_error_and_both_arms_are_closed(context, cuda, monkeypatch):
    from embedgate.performance import timing

    cuda()
    found = context({})
    found.session.run(FP16)
    monkeypatch.setattr(timing, "clock_of", lambda device: lambda call: float(len(call())))
    before = len(alive())
    load = next(iter(timing_workloads().values()))
    times = timing.Timing(found.session.pool)
    times.blocks(FP16, load)
    assert len(alive()) == before + 2
    blocks = times.blocks(FP16, load)
    monkeypatch.setattr(Greedy, "raises", {FP16: TORCH})
    with pytest.raises(ResourceError, match="ran out of the GPU's memory while encoding"):
        blocks.take(1)
    assert len(alive()) == 1, "the reference that is compared with is kept"


def timing_workloads():
    from embedgate.performance.workloads import WORKLOADS

    return WORKLOADS


def test_a_thread_that_runs_out_of_memory_does_not_close_what_others_use():
    import threading

    together, events = threading.Barrier(2, timeout=10), []

    class Slow(Stub):
        def encode(self, texts, batch_size=32):
            together.wait()
            if texts == ["large"]:
                raise MemoryError
            until.wait(10)
            events.append("encoded")
            return super().encode(texts, batch_size)

        def close(self):
            events.append("closed")

    until = threading.Event()
    encoder = Guard(lambda combination: events.append("given back")).encoder(Slow(CPU), CPU)
    other = threading.Thread(target=lambda: encoder.encode(["small"]))
    other.start()
    with pytest.raises(ResourceError):
        encoder.encode(["large"])
    assert events == []
    until.set()
    other.join()
    assert events == ["encoded", "closed", "given back"]


class TestContext:
    @pytest.mark.parametrize("name", STICKY)
    def test_a_broken_context_is_told_of_by_every_later_combination_on_the_gpu(self, context, cuda, name):
        cuda(broken=True)
        session = context({FP16: STICKY[name]}).session
        with pytest.raises(ResourceError) as caught:
            session.run(FP16)
        assert "torch-fp16-cuda broke this process's CUDA context while encoding: RuntimeError: " in str(caught.value)
        assert str(caught.value).endswith("; run it alone: --gate-combination torch-fp16-cuda")
        assert "\n" not in str(caught.value)
        with pytest.raises(ResourceError) as later:
            session.run(BF16)
        assert str(later.value) == (
            "torch-bf16-cuda cannot run any more: torch-fp16-cuda broke this process's CUDA context; "
            "run torch-fp16-cuda alone: --gate-combination torch-fp16-cuda"
        )
        with pytest.raises(ResourceError, match="torch-fp32-cuda cannot run any more: torch-fp16-cuda broke"):
            session.encoder(session.run(FP32)).encode(["a text"])
        assert session.run(CPU).combination == CPU

    def test_the_gpu_has_told_its_name_before_its_context_breaks(self, context, cuda, monkeypatch):
        cuda(broken=True)
        found = context({FP32: STICKY["torch"]})
        with pytest.raises(ResourceError):
            found.session.run(FP32)
        monkeypatch.setattr(gpu, "name", lambda: pytest.fail("asked for its name"))
        assert found.profile_of(FP32).name == "nvidia-h200"

    def test_an_encoder_that_cannot_be_closed_any_more_is_let_go(self, context, cuda, monkeypatch):
        def fail(self):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        cuda(broken=True)
        session = context({FP16: STICKY["torch"]}).session
        session.run(FP32)
        monkeypatch.setattr(Greedy, "close", fail)
        with pytest.raises(ResourceError, match="broke this process's CUDA context"):
            session.run(FP16)
        session.run(CPU)
        session.close()

    def test_a_cuda_error_after_which_the_gpu_answers_breaks_nothing(self, context, cuda):
        cuda()
        session = context({FP16: RuntimeError("CUDA error: invalid configuration argument")}).session
        with pytest.raises(BuildError, match="failed while encoding"):
            session.run(FP16)
        assert session.run(BF16).combination == BF16


def test_a_fresh_process_tells_it_too(monkeypatch):
    def measure(session, combination):
        raise BuildError(f"{combination} could not be built: OutOfMemoryError: CUDA out of memory.") from TORCH

    monkeypatch.setattr(footprint, "measure", measure)
    session = SimpleNamespace(plan=SimpleNamespace(registry=Registry()), pool=None)
    found = Measuring(session).answer(FootprintOf(FP16.id))
    assert found.cause == "torch-fp16-cuda ran out of the GPU's memory while being measured in a fresh process"
    assert "lower --gate-batch-size" in found.action


@pytest.mark.parametrize(
    ("greedy", "outcomes"),
    [
        ("torch-fp16-cuda", {"passed": 2, "errors": 1}),
        ("torch-fp32-cuda", {"errors": 3}),
    ],
)
def test_a_person_sees_one_line_for_each_combination(project, few, monkeypatch, greedy, outcomes):
    """In pytest itself: errors and no failures, and the other combinations are judged."""

    class OutOfMemory(Stub):
        def encode(self, texts, batch_size=32):
            if self.combination.id == greedy:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return super().encode(texts, batch_size)

    stub_devices.install(monkeypatch, OutOfMemory)
    arguments = ["-p", "no:cacheprovider", f"--gate-data={few}", "--gate-combination", "torch-[bf]*-cuda"]
    arguments += ["--pyargs", "embedgate.suites.test_effective"]
    result = project.runpytest_inprocess(*arguments)
    result.assert_outcomes(**outcomes)
    told = [line for line in result.outlines if re.match(r"torch-\w+-cuda: .* ran out of", line)]
    assert len(told) == outcomes["errors"]
    assert all(f"{greedy} ran out of the GPU's memory while encoding; lower --gate-batch-size" in line for line in told)


def test_memory_that_runs_out_elsewhere_in_a_check_is_told_in_one_line(project, few, monkeypatch):
    held = []

    def out_of(context, case):
        tensor = Held()
        held.append(weakref.ref(tensor))
        raise MemoryError

    stub_devices.install(monkeypatch)
    monkeypatch.setattr("embedgate.checks.context.Context.judge", out_of)
    arguments = ["-p", "no:cacheprovider", f"--gate-data={few}", "--gate-combination", "torch-bf16-cpu"]
    arguments += ["--pyargs", "embedgate.suites.test_effective"]
    result = project.runpytest_inprocess(*arguments)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["torch-bf16-cpu: torch-bf16-cpu ran out of memory while being judged; lower *"])
    gc.collect()
    assert held[0]() is None
