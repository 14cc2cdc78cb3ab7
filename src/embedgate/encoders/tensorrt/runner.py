"""Runs an engine: tokenises, copies, computes and copies back on one stream, while Python is at the next batch."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, EncodeError, one_line
from embedgate.encoders import Evidence, FloatArray, Stages
from embedgate.encoders.gpu.stream import WARM_UPS, CudaStream
from embedgate.encoders.onnx.export import graph_stages
from embedgate.encoders.onnx.graph import product_names, read_graph
from embedgate.encoders.onnx.tokenizer import Batch, Tokenizer
from embedgate.encoders.registry import stability_of
from embedgate.encoders.tensorrt.buckets import Bucket, bucket_of
from embedgate.encoders.tensorrt.engine import MEBIBYTE, Engine
from embedgate.encoders.tensorrt.inspection import inspect
from embedgate.encoders.tensorrt.loaded import EngineEncoder, Pass

EMBEDDING = "sentence_embedding"
# Texts tokenised at once, in batches: while the device works on one lot, the next is tokenised.
BATCHES_AT_ONCE = 8
# Shapes whose work is kept as a CUDA graph.
MOST_GRAPHS = 32


class TensorRTEncoder(EngineEncoder):
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
        refusal = ("the engine", "it may be made for another GPU")
        super().__init__(made.library, made.plan, combination, stream, threads, refusal)
        self.stability = stability_of(combination)
        self._made = replace(made, plan=b"")  # once it is loaded, its bytes are of no use
        self._tokenizer = tokenizer
        self._details = details
        if missing := {*tokenizer.input_names, EMBEDDING}.difference((*self._inputs, *self._outputs)):
            raise BuildError(f"the engine has no tensor {', '.join(sorted(missing))}")
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
        told = [self._inspected(place, each.likely_shape) for place, each in enumerate(self._made.buckets)]
        found = inspect(told, product_names(read_graph(self._made.graph).proto))
        record = self._made.record
        return Evidence(
            device=self._stream.device,
            threads=self._threads,
            weight_bytes=self._weight_bytes,
            products=found.products,
            library=self._called,
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
            problems=self._problems(found.products),
            artefact_bytes=record["plan_bytes"],
        )

    def _release(self) -> None:
        self._graphs.clear()  # before the engine they use
        super()._release()

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
        yield from batch.parts(self._bucket(batch.input_ids.shape[1])[1].most)

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
        inputs = {name: self._stream.upload(array) for name, array in batch.feeds.items()}
        ready = self._ready(self._context(place), place, inputs)
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
