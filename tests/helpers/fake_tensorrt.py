"""A TensorRT of the tests' own: it has the names of TensorRT 11.4 and runs graphs in ONNX Runtime, on memory addresses.

Its plan is the graph, its profiles, and the types of inputs and outputs that are not as the graph's. What the encoder asks of it that it has not got is an AttributeError, and
`test_the_fake_has_no_name_of_its_own` holds every name it has against the list of 11.4's.
"""

from __future__ import annotations

import ctypes
import enum
import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import torch

INT64, INT32, FLOAT32 = ctypes.c_int64, ctypes.c_int32, ctypes.c_float
# What lies in memory for a type; of those that ctypes has not, the bits.
MEMORY = {"INT64": INT64, "INT32": INT32, "FLOAT": FLOAT32, "HALF": ctypes.c_uint16, "BF16": ctypes.c_uint16}


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = Severity

    def log(self, severity, message) -> None: ...


class IProgressMonitor:
    def phase_start(self, phase_name, parent_phase, num_steps) -> None: ...
    def step_complete(self, phase_name, step) -> bool: ...
    def phase_finish(self, phase_name) -> None: ...


class BuilderFlag(enum.Enum):
    TF32 = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 1


class ProfilingVerbosity(enum.Enum):
    DETAILED = 1


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    BF16 = 2
    INT32 = 3
    INT64 = 4
    BOOL = 5


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class LayerInformationFormat(enum.Enum):
    JSON = 1


class EngineStat(enum.Enum):
    TOTAL_WEIGHTS_SIZE = 1


class ITensor:
    def __init__(self, name: str) -> None:
        self.name = name


class INetworkDefinition:
    def __init__(self) -> None:
        self._graph: Path | None = None
        self._inputs: list[str] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, place: int) -> ITensor:
        return ITensor(self._inputs[place])


class ParserError:
    def __init__(self, told: str) -> None:
        self._told = told

    def desc(self) -> str:
        return self._told

    def node_name(self) -> str:
        return ""

    def node_operator(self) -> str:
        return ""


class OnnxParser:
    def __init__(self, network: INetworkDefinition, log: ILogger) -> None:
        self._network, self._error = network, ""

    @property
    def num_errors(self) -> int:
        return bool(self._error)

    def get_error(self, place: int) -> ParserError:
        return ParserError(self._error)

    def parse_from_file(self, path: str) -> bool:
        try:
            graph = onnx.load(path)
        except Exception as error:
            self._error = str(error)
            return False
        self._network._graph = Path(path)
        self._network._inputs = [value.name for value in graph.graph.input]
        return True


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, tuple] = {}

    def set_shape(self, name, least, likely, most) -> None:
        self._shapes[name] = (least, likely, most)


class IHostMemory(bytes):
    pass


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content or b"learnt"


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiling_verbosity = None
        self.progress_monitor: IProgressMonitor | None = None
        self._profiles: list[IOptimizationProfile] = []
        self._cleared: set[BuilderFlag] = set()
        self._pools: dict[MemoryPoolType, int] = {}
        self._cache: ITimingCache | None = None

    def set_memory_pool_limit(self, pool, size) -> None:
        self._pools[pool] = size

    def clear_flag(self, flag) -> None:
        self._cleared.add(flag)

    def add_optimization_profile(self, profile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, content) -> ITimingCache:
        return ITimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch) -> bool:
        if cache._content == b"of another version":
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class Builder:
    def __init__(self, log: ILogger) -> None:
        self._log = log
        CALLS.append("Builder")

    def create_network(self, flags) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network, config) -> IHostMemory | None:
        assert config.profiling_verbosity is ProfilingVerbosity.DETAILED
        assert config._cleared == {BuilderFlag.TF32}
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 1)
        if not monitor.step_complete("Building engine", 0):
            return None
        monitor.phase_finish("Building engine")
        if FAULTS.get("build"):
            self._log.log(Severity.ERROR, "IBuilder::buildSerializedNetwork: Error Code 2: OutOfMemory")
            return None
        shapes = [profile._shapes for profile in config._profiles]
        return IHostMemory(plan_of(network._graph, shapes))


class ExecutionContextAllocationStrategy(enum.Enum):
    USER_MANAGED = 1


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self.execution_context: IExecutionContext | None = None

    def get_engine_information(self, form) -> str:
        assert form is LayerInformationFormat.JSON
        context = self.execution_context
        assert context is not None, "layers of a dynamic engine tell no types without shapes"
        assert context.infer_shapes() == []
        if FAULTS.get("names alone"):
            return json.dumps({"Layers": [layer["Name"] for layer in self._engine._layers(context._profile)]})
        layers = []
        for profile in self._engine._profiles:
            own = self._engine._layers(profile)
            if profile is not context._profile:
                for layer in own:
                    layer["Inputs"] = [{"Name": "a", "DataType": "N/A due to dynamic shapes"}]
            layers += own
        return json.dumps({"Layers": layers, "I/O Tensors": [{"Name": "input_ids"}]})


class ICudaEngine:
    def __init__(self, plan: bytes) -> None:
        found = json.loads(plan)
        self._graph = onnx.load(found["graph"])
        self._profiles = found["profiles"]
        self._types = found["types"]
        self._session = ort.InferenceSession(found["graph"], providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    def get_tensor_profile_shape(self, name: str, place: int) -> list[tuple[int, ...]]:
        assert -1 in self.get_tensor_shape(name), "a profile tells nothing of an input of a fixed shape"
        return [tuple(shape) for shape in self._profiles[place][name]]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._types.get(name, "INT64" if name in self._inputs else "FLOAT")]

    @property
    def num_io_tensors(self) -> int:
        return len(self._inputs) + len(self._outputs)

    def get_tensor_name(self, place: int) -> str:
        return [*self._inputs, *self._outputs][place]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        every = (*self._session.get_inputs(), *self._session.get_outputs())
        return tuple(d if isinstance(d, int) else -1 for v in every if v.name == name for d in v.shape)

    def get_engine_stat(self, stat) -> int:
        return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in self._graph.graph.initializer)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    def create_execution_context(self, strategy) -> IExecutionContext | None:
        assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return None if FAULTS.get("context") else IExecutionContext(self)

    def _layers(self, profile) -> list[dict]:
        """As TensorRT 11 tells it: a product reads the type that its activation was quantized to."""
        makes = {name: node for node in self._graph.graph.node for name in node.output}
        stored = {tensor.name: tensor.data_type for tensor in self._graph.graph.initializer}
        layers = []
        for node in self._graph.graph.node:
            weights = makes.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
            kind = {10: "Half", 1: "Float"}.get(stored.get(node.input[1], 0)) if len(node.input) > 1 else None
            if weights is not None and weights.op_type == "DequantizeLinear":
                kind = {3: "Int8", 17: "FP8"}[stored[weights.input[0]]]
            if node.op_type not in ("MatMul", "Gemm") or kind is None:
                layers.append(
                    {"Name": node.name, "LayerType": "kgen", "Inputs": [], "Metadata": f"[ONNX Layer: {node.name}]"}
                )
                continue
            kind = FAULTS.get("layers", {}).get(node.name, kind)
            layers.append(
                {
                    "Name": f"{node.name}_myl0_{len(layers)}",
                    "LayerType": "gemm",
                    "Inputs": [
                        {"Name": "a", "Dimensions": [-1, 384], "Format": "Row major linear", "DataType": kind},
                        {"Name": "residual", "Dimensions": [-1, 384], "Format": "Row major linear", "DataType": "Half"},
                    ][: 1 if kind == "Float" else 2],
                    "Metadata": f"[ONNX Layer: {node.name}][ONNX Layer: node_linear]",
                }
            )
        return layers


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._profile: dict = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._memory = (0, 0)
        self._ran: dict[str, tuple[int, ...]] | None = None

    def set_optimization_profile_async(self, place, stream) -> bool:
        self._profile = self._engine._profiles[place]
        return True

    def set_input_shape(self, name, shape) -> bool:
        least, _, most = self._profile[name]
        fits = all(low <= found <= high for low, found, high in zip(least, shape, most, strict=True))
        if fits:
            self._shapes[name] = tuple(shape)
        return fits

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine._inputs if name not in self._shapes]

    def get_tensor_shape(self, name) -> tuple[int, ...]:
        texts, tokens = self._shapes["input_ids"]
        own = self._engine.get_tensor_shape(name)
        return (texts, tokens, own[-1]) if len(own) == 3 else (texts, own[-1])

    def update_device_memory_size_for_shapes(self) -> int:
        texts, tokens = self._shapes["input_ids"]
        return texts * tokens * 8

    def set_device_memory(self, memory, size) -> None:
        assert memory
        self._memory = (memory, size)

    def set_tensor_address(self, name, address) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream) -> bool:
        assert set(self._addresses) == {*self._engine._inputs, *self._engine._outputs}, "a tensor has no memory"
        if FAULTS.get("execute") or (CAPTURING and FAULTS.get("refuses capture")):
            return False
        memory, size = self._memory
        assert size >= self.update_device_memory_size_for_shapes(), "it has too little memory to work in"
        ctypes.memset(memory, 255, size)
        if CAPTURING:
            assert self._ran == self._shapes, "a new shape has not run before it is captured"
        self._ran = dict(self._shapes)
        # A CUDA graph keeps the shapes and addresses of when it was captured.
        shapes, addresses = dict(self._shapes), dict(self._addresses)

        def run() -> None:
            assert (self._shapes, self._addresses) == (shapes, addresses), (
                "the context has changed since it was captured"
            )
            ctypes.memset(memory, 255, size)
            RUNS.append(shapes["input_ids"])
            feeds = {name: self._read(name, addresses[name], shapes[name]) for name in self._engine._inputs}
            results = self._engine._session.run(self._engine._outputs, feeds)
            for name, result in zip(self._engine._outputs, results, strict=True):
                self._write(name, addresses[name], result)

        CAPTURING[-1].append(run) if CAPTURING else run()
        return True

    def _read(self, name, address, shape) -> np.ndarray:
        return at(address, shape, MEMORY[self._engine.get_tensor_dtype(name).name]).astype(np.int64)

    def _write(self, name, address, values) -> None:
        kind = self._engine.get_tensor_dtype(name).name
        memory = at(address, values.shape, MEMORY[kind])
        if kind == "FLOAT":
            memory[...] = values
        else:
            half = torch.from_numpy(values).to({"HALF": torch.float16, "BF16": torch.bfloat16}[kind])
            memory[...] = half.view(torch.uint16).numpy()


class Runtime:
    def __init__(self, log: ILogger) -> None:
        self._log = log

    def deserialize_cuda_engine(self, plan) -> ICudaEngine | None:
        if FAULTS.get("load"):
            self._log.log(
                Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: the plan is of another device"
            )
            return None
        if not plan.startswith(b"{"):
            self._log.log(Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: magicTagRead == kMAGIC_TAG")
            return None
        return ICudaEngine(plan)


# What goes wrong, by where; what was built; and the shapes that ran.
FAULTS: dict = {}
CALLS: list[str] = []
RUNS: list[tuple[int, ...]] = []
# What is being captured as a CUDA graph, and so does not run yet.
CAPTURING: list[list[Callable[[], None]]] = []

MODULE = SimpleNamespace(
    __version__="11.4.0.106",
    **{
        kind.__name__: kind
        for kind in list(globals().values())
        if isinstance(kind, type) and kind.__module__ == __name__
    },
)


def plan_of(graph: Path | None, profiles: list[dict], types: dict[str, str] | None = None) -> bytes:
    """An engine of a graph, as it is kept in a file.

    Args:
        graph: The graph.
        profiles: Of each profile, by input, the least, the likely and the largest shape.
        types: By input or output, its type where it is not int64 or float32.
    """
    return json.dumps({"graph": str(graph), "profiles": profiles, "types": types or {}}).encode()


def at(address: int, shape: tuple[int, ...], kind) -> np.ndarray:
    """The array that lies at an address."""
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(kind)), shape)


class HostStream:
    """What `embedgate.encoders.gpu.stream.CudaStream` does, in the host's memory and at once."""

    device = "cuda"
    handle = 7

    def __init__(self) -> None:
        self.captured = 0

    @contextmanager
    def active(self):
        yield

    def upload(self, array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).clone()

    def empty(self, shape, dtype) -> torch.Tensor:
        return torch.full(shape, float("nan") if dtype.is_floating_point else 7, dtype=dtype)

    def download(self, tensor) -> torch.Tensor:
        return tensor.clone()

    def wait(self) -> None:
        pass

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        if FAULTS.get("capture"):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        self.captured += 1
        CAPTURING.append([])
        try:
            call()
        finally:
            steps = CAPTURING.pop()
        return lambda: [step() for step in steps] and None
