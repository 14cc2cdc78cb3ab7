"""Runs an engine: tokenises, copies, computes and copies back on one stream, while Python is at the next batch."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, EncodeError, one_line
from embedgate.encoders import Encoder, Evidence, FloatArray, Stages
from embedgate.encoders.evidence import UNPROVEN, contradictions
from embedgate.encoders.gpu.stream import WARM_UPS, CudaStream
from embedgate.encoders.onnx.export import graph_stages
from embedgate.encoders.onnx.graph import product_names, read_graph
from embedgate.encoders.onnx.tokenizer import Batch, Tokenizer
from embedgate.encoders.registry import stability_of
from embedgate.encoders.tensorrt.buckets import Bucket, bucket_of
from embedgate.encoders.tensorrt.engine import MEBIBYTE, Engine, logger
from embedgate.encoders.tensorrt.inspection import inspect

EMBEDDING = "sentence_embedding"
# Texts tokenised at once, in batches: while the device works on one lot, the next is tokenised.
BATCHES_AT_ONCE = 8
# Shapes whose work is kept as a CUDA graph.
MOST_GRAPHS = 32


@dataclass
class Pass:
    """Memory of one shape on the device, and what runs the engine on it.

    Attributes:
        inputs: By name, int64 `[texts, tokens]`.
        outputs: By name, float32.
        run: Has the engine read the inputs and write the outputs.
        holds: What must live as long as this does: a CUDA graph's context, and the memory that it works in.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    run: Callable[[], None]
    holds: tuple[Any, ...]


class TensorRTEncoder(Encoder):
    """A model's engine.

    Args:
        made: The engine.
        tokenizer: The model's.
        combination: What it is to be; its evidence is held against this.
        stream: Where it runs.
        threads: Threads of the session, which an engine has no use for.
        details: Put into the evidence as they are.

    Raises:
        BuildError: If the engine cannot be loaded, or is not made for the model's tensors.
    """

    def __init__(
        self,
        made: Engine,
        tokenizer: Tokenizer,
        combination: Combination,
        stream: CudaStream,
        threads: int,
        details: dict[str, Any],
    ) -> None:
        self.stability = stability_of(combination)
        self._made = replace(made, plan=b"")  # once it is loaded, its bytes are of no use
        self._trt = made.library.module
        self._tokenizer = tokenizer
        self._combination = combination
        self._stream = stream
        self._threads = threads
        self._details = details
        self._one_at_a_time = threading.Lock()
        self._log = logger(self._trt)
        self._runtime = self._trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(made.plan)
        if self._engine is None:
            raise BuildError(
                f"{made.library} cannot load the engine: {self._log.told()}", "it may be made for another GPU"
            )
        names = [self._engine.get_tensor_name(place) for place in range(self._engine.num_io_tensors)]
        self._outputs = tuple(name for name in names if name not in tokenizer.input_names)
        if missing := {*tokenizer.input_names, EMBEDDING}.difference(names):
            raise BuildError(f"the engine has no tensor {', '.join(sorted(missing))}")
        self._contexts: dict[int, Any] = {}
        self._scratch = stream.empty((0,), torch.uint8)
        self._seen: Counter[tuple[int, int]] = Counter()
        self._graphs: OrderedDict[tuple[int, int], Pass] = OrderedDict()
        self._no_graphs = "TensorRT for RTX captures its own" if made.library.for_rtx else ""

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """See `Encoder.encode`.

        Raises:
            EncodeError: If a text is longer than the engine takes, or the engine refuses to run.
        """
        found = np.empty((len(texts), self._dimension), dtype=np.float32)
        pending: list[tuple[np.ndarray[Any, Any], Tensor]] = []
        with self._one_at_a_time, self._stream.active():
            for batch in self._batches(texts, batch_size):
                outputs = self._run(batch)
                pending.append((batch.rows, self._stream.download(outputs[EMBEDDING])))
            self._stream.wait()
        for rows, embeddings in pending:
            found[rows] = embeddings.numpy()
        return found

    def stages(self, texts: Sequence[str]) -> Stages:
        """See `Encoder.stages`; the engine gives all of them."""

        def run(batch: Batch) -> list[FloatArray]:
            with self._one_at_a_time, self._stream.active():
                outputs = self._run(batch)
                copies = [self._stream.download(outputs[name]) for name in self._outputs]
                self._stream.wait()
            return [copy.numpy() for copy in copies]

        return graph_stages(self._tokenizer, texts, self._outputs, run, self._parts)

    def evidence(self) -> Evidence:
        """Products by the type they compute in, as the engine inspector tells it of every layer and profile."""
        told = [self._inspected(place) for place in range(len(self._made.buckets))]
        found = inspect(told, product_names(read_graph(self._made.graph).proto))
        problems = contradictions(self._combination, found.products, self._stream.device)
        if not found.products.keys() - {"unknown"}:
            problems = (*problems, UNPROVEN)
        record = self._made.record
        return Evidence(
            device=self._stream.device,
            threads=self._threads,
            weight_bytes=int(self._engine.get_engine_stat(self._trt.EngineStat.TOTAL_WEIGHTS_SIZE)),
            products=found.products,
            library=str(self._made.library).replace("_", "-"),
            details={
                "gpu": record["gpu"],
                "driver": record["driver"],
                "profiles": [f"{b.least_shape} to {b.largest_shape}" for b in self._made.buckets],
                "layers": found.layers,
                "wider products": found.wider,
                "workspace MiB": record["workspace"] // MEBIBYTE,
                "engine built in seconds": record["seconds"],
                "CUDA graphs": len(self._graphs),
                **({"no CUDA graphs": self._no_graphs} if self._no_graphs else {}),
                **self._details,
            },
            problems=problems,
            artefact_bytes=record["plan_bytes"],
        )

    def close(self) -> None:
        """Releases graphs and contexts before the engine they use."""
        with self._one_at_a_time:
            self._stream.wait()
            self._graphs.clear()
            self._contexts.clear()
            self._scratch = None  # type: ignore[assignment]
            self._engine = self._runtime = None

    def _inspected(self, place: int) -> str:
        """Returns what the inspector tells with a bucket's likely shape, without which some layers tell no types."""
        context = self._new_context(place)
        for name in self._tokenizer.input_names:
            context.set_input_shape(name, self._made.buckets[place].likely_shape)
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    @property
    def _dimension(self) -> int:
        return int(self._engine.get_tensor_shape(EMBEDDING)[-1])

    def _batches(self, texts: Sequence[str], batch_size: int) -> Iterator[Batch]:
        """Batches of texts of like length, the longest lot first, tokenised as they are asked for."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True)
        lot = batch_size * BATCHES_AT_ONCE
        for start in range(0, len(order), lot):
            rows = np.asarray(order[start : start + lot])
            for batch in self._tokenizer.batches([texts[row] for row in rows], batch_size):
                for part in self._parts(batch):
                    yield part._replace(rows=rows[part.rows])

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        """A batch as the engine takes it: in parts where it has more texts than the bucket of its length."""
        texts, tokens = batch.input_ids.shape
        most = self._bucket(tokens)[1].most
        count = math.ceil(texts / most)
        for rows in np.array_split(np.arange(texts), count):
            kinds = None if batch.token_type_ids is None else batch.token_type_ids[rows]
            yield Batch(batch.rows[rows], batch.input_ids[rows], batch.attention_mask[rows], kinds)

    def _bucket(self, tokens: int) -> tuple[int, Bucket]:
        place = bucket_of(self._made.buckets, tokens)
        return place, self._made.buckets[place]

    def _run(self, batch: Batch) -> dict[str, Tensor]:
        """Begins to encode one batch; the caller holds the lock, and the stream is active."""
        shape = (int(batch.input_ids.shape[0]), int(batch.input_ids.shape[1]))
        self._seen[shape] += 1
        if shape in self._graphs:
            self._graphs.move_to_end(shape)
            kept = self._graphs[shape]
            for name, array in batch.feeds.items():
                kept.inputs[name].copy_(self._stream.upload(array), non_blocking=True)
            kept.run()
            return kept.outputs
        place, _ = self._bucket(shape[1])
        if place not in self._contexts:
            self._contexts[place] = self._new_context(place)
        inputs = {name: self._stream.upload(array) for name, array in batch.feeds.items()}
        ready = self._ready(self._contexts[place], place, inputs)
        ready.run()
        if self._seen[shape] > WARM_UPS and not self._no_graphs:
            self._keep_graph(place, shape, inputs)
        return ready.outputs

    def _keep_graph(self, place: int, shape: tuple[int, int], inputs: dict[str, Tensor]) -> None:
        """Captures a shape that repeats as a CUDA graph, with a context and memory that nothing else changes."""
        try:
            own = self._ready(self._new_context(place), place, {name: t.clone() for name, t in inputs.items()})
            own.run()  # what a new shape asks of a context is done, and not captured
            self._graphs[shape] = replace(own, run=self._stream.capture(own.run))
        except (RuntimeError, EncodeError) as error:  # it costs speed alone, and the evidence tells
            self._no_graphs = one_line(error)
        if len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)

    def _ready(self, context: Any, place: int, inputs: dict[str, Tensor]) -> Pass:
        """Binds a context to inputs, to new outputs, and to memory to work in."""
        for name, tensor in inputs.items():
            if not context.set_input_shape(name, tuple(tensor.shape)):
                bucket = self._made.buckets[place]
                raise EncodeError(
                    f"the engine refuses {name} of shape {tuple(tensor.shape)}: its profile {place} takes "
                    f"{bucket.least_shape} to {bucket.largest_shape}"
                )
        if unknown := context.infer_shapes():
            raise EncodeError(f"the engine cannot tell the shape of {', '.join(unknown)}")
        # Shared by all contexts, since they work one after the other, and as large as the shapes that came need it; a
        # CUDA graph keeps the one it was captured with.
        needed = int(context.update_device_memory_size_for_shapes())
        if needed > self._scratch.numel():
            self._scratch = self._stream.empty((needed,), torch.uint8)
        scratch = self._scratch
        if needed:
            context.set_device_memory(scratch.data_ptr(), needed)
        outputs = {
            name: self._stream.empty(tuple(context.get_tensor_shape(name)), torch.float32) for name in self._outputs
        }

        def run() -> None:
            for name, tensor in (*inputs.items(), *outputs.items()):
                if not context.set_tensor_address(name, tensor.data_ptr()):
                    raise EncodeError(f"the engine refuses the memory of {name}: {self._log.told()}")
            if not context.execute_async_v3(self._stream.handle):
                raise EncodeError(f"the engine did not run: {self._log.told()}")

        return Pass(inputs, outputs, run, (context, scratch))

    def _new_context(self, place: int) -> Any:
        """An execution context of a bucket, which leaves the memory it works in to its user.

        Left to TensorRT, each would take what the largest shape of the largest bucket needs.
        """
        context = self._create_context()
        if context is None or not context.set_optimization_profile_async(place, self._stream.handle):
            raise EncodeError(
                f"TensorRT makes no context for profile {place}: {self._log.told()}", "lower --gate-batch-size"
            )
        return context

    def _create_context(self) -> Any:
        own = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self._made.library.for_rtx:
            return self._engine.create_execution_context(own)
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(own)
        config.cuda_graph_strategy = self._trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # Compiled at once for each shape: in the background, the same batch would later come by another kernel.
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        return self._engine.create_execution_context(config)
