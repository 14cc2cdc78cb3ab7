"""A loaded engine: its tensors, its execution contexts, and the memory that they work in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, EncodeError
from embedgate.encoders import Encoder
from embedgate.encoders.evidence import UNPROVEN, contradictions
from embedgate.encoders.gpu.stream import CudaStream
from embedgate.encoders.tensorrt.engine import logger
from embedgate.encoders.tensorrt.inspection import UNKNOWN
from embedgate.encoders.tensorrt.library import Library

# Types of tensors that torch has as well, as TensorRT names them.
TYPES = {
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
}


@dataclass
class Pass:
    """Memory of one shape on the device, and what runs the engine on it.

    Attributes:
        inputs: By name, whole numbers `[texts, tokens]`.
        outputs: By name, floats.
        run: Has the engine read the inputs and write the outputs.
        holds: What must live as long as this does: a CUDA graph's context, and the memory that it works in.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    run: Callable[[], None]
    holds: tuple[Any, ...]


class EngineEncoder(Encoder):
    """An encoder that runs an engine, whoever has built it.

    Args:
        library: TensorRT.
        plan: The serialised engine.
        combination: What it is to be.
        stream: Where it runs.
        threads: Threads of the session, which an engine has no use for.
        refusal: What could not be loaded, and what to do about it.

    Raises:
        BuildError: If the engine cannot be loaded.
    """

    def __init__(
        self,
        library: Library,
        plan: bytes,
        combination: Combination,
        stream: CudaStream,
        threads: int,
        refusal: tuple[str, str],
    ) -> None:
        self._library = library
        self._trt = library.module
        self._combination = combination
        self._stream = stream
        self._threads = threads
        self._one_at_a_time = threading.Lock()
        self._log = logger(self._trt)
        self._runtime = self._trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            what, step = refusal
            raise BuildError(f"{library} cannot load {what}: {self._log.told()}", step)
        names = [self._engine.get_tensor_name(place) for place in range(self._engine.num_io_tensors)]
        read = self._trt.TensorIOMode.INPUT
        self._inputs = tuple(name for name in names if self._engine.get_tensor_mode(name) == read)
        self._outputs = tuple(name for name in names if name not in self._inputs)
        self._contexts: dict[int, Any] = {}
        self._scratch = stream.empty((0,), torch.uint8)

    def close(self) -> None:
        """Releases contexts before the engine they use."""
        with self._one_at_a_time:
            self._stream.wait()
            self._release()

    def _release(self) -> None:
        self._contexts.clear()
        self._scratch = None  # type: ignore[assignment]
        self._engine = self._runtime = None

    @property
    def _weight_bytes(self) -> int:
        return int(self._engine.get_engine_stat(self._trt.EngineStat.TOTAL_WEIGHTS_SIZE))

    @property
    def _called(self) -> str:
        """The library and its version, as evidence names them."""
        return str(self._library).replace("_", "-")

    def _problems(self, products: Mapping[str, int]) -> tuple[str, ...]:
        """What contradicts its id, as `Evidence.problems` tells it."""
        found = contradictions(self._combination, products, self._stream.device)
        return found if products.keys() - {UNKNOWN} else (*found, UNPROVEN)

    def _type_of(self, name: str) -> str:
        """A tensor's type, as TensorRT names it."""
        return str(self._engine.get_tensor_dtype(name).name)

    def _inspected(self, place: int, shape: Sequence[int]) -> str:
        """What the inspector tells of a profile with inputs of a shape, without which some layers tell no types."""
        context = self._new_context(place)
        for name in self._inputs:
            context.set_input_shape(name, tuple(shape))
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def _context(self, place: int) -> Any:
        """The context of a profile that batches come by, one after the other."""
        if place not in self._contexts:
            self._contexts[place] = self._new_context(place)
        return self._contexts[place]

    def _ready(self, context: Any, place: int, inputs: dict[str, Tensor]) -> Pass:
        """Binds a context to inputs, to new outputs, and to memory to work in."""
        self._set_shapes(context, place, inputs)
        # Shared by all contexts, since they work one after the other, and as large as the shapes that came need it; a
        # CUDA graph keeps the one it was captured with.
        needed = int(context.update_device_memory_size_for_shapes())
        if needed > self._scratch.numel():
            self._scratch = self._stream.empty((needed,), torch.uint8)
        scratch = self._scratch
        if needed:
            context.set_device_memory(scratch.data_ptr(), needed)
        outputs = {name: self._output(context, name) for name in self._outputs}

        def run() -> None:
            for name, tensor in (*inputs.items(), *outputs.items()):
                if not context.set_tensor_address(name, tensor.data_ptr()):
                    raise EncodeError(f"the engine refuses the memory of {name}: {self._log.told()}")
            if not context.execute_async_v3(self._stream.handle):
                raise EncodeError(f"the engine did not run: {self._log.told()}")

        return Pass(inputs, outputs, run, (context, scratch))

    def _set_shapes(self, context: Any, place: int, inputs: Mapping[str, Tensor]) -> None:
        for name, tensor in inputs.items():
            if not context.set_input_shape(name, tuple(tensor.shape)):
                least, _, most = self._engine.get_tensor_profile_shape(name, place)
                raise EncodeError(
                    f"the engine refuses {name} of shape {tuple(tensor.shape)}: its profile {place} takes "
                    f"{tuple(least)} to {tuple(most)}"
                )
        if unknown := context.infer_shapes():
            raise EncodeError(f"the engine cannot tell the shape of {', '.join(unknown)}")

    def _output(self, context: Any, name: str) -> Tensor:
        shape, kind = tuple(context.get_tensor_shape(name)), self._type_of(name)
        if kind not in TYPES or min(shape, default=0) < 0:
            raise EncodeError(
                f"the engine's output {name} is {kind} of shape {shape}, which depends on more than the texts' lengths",
                "export it for feature extraction, with embeddings in float alone as outputs",
            )
        return self._stream.empty(shape, TYPES[kind])

    def _new_context(self, place: int) -> Any:
        """An execution context of a profile, which leaves the memory it works in to its user.

        Left to TensorRT, each would take what the largest shape of the largest profile needs.
        """
        context = self._create_context()
        if context is None or not context.set_optimization_profile_async(place, self._stream.handle):
            raise EncodeError(
                f"TensorRT makes no context for profile {place}: {self._log.told()}", "lower --gate-batch-size"
            )
        return context

    def _create_context(self) -> Any:
        own = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self._library.for_rtx:
            return self._engine.create_execution_context(own)
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(own)
        config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # Compiled at once for each shape: in the background, the same batch would later come by another kernel.
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        return self._engine.create_execution_context(config)
