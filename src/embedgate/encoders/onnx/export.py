"""The one ONNX graph: a model's whole Sentence Transformers pipeline, exported once for every backend that runs ONNX.

Inputs are what the model's tokenizer gives (`input_ids`, `attention_mask`, often `token_type_ids`), int64
`[batch, sequence]`. Outputs, float32:

* `sentence_embedding` `[batch, dim]`: the finished embedding, truncated where the model says so;
* `token_embeddings` `[batch, sequence, hidden]`: the transformer's last hidden states;
* `pooled` `[batch, dim]`: what the model's `Normalize` takes, only where the model has one.

The last two cost nothing, since they are computed anyway; diagnosis needs them.
"""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from sentence_transformers import SentenceTransformer

from embedgate.core.errors import BuildError, one_line
from embedgate.core.machine import library_versions
from embedgate.core.model import Model
from embedgate.core.roles import Role
from embedgate.encoders import BuildContext, Stages
from embedgate.encoders.onnx.session import session
from embedgate.encoders.onnx.tokenizer import Batch, Tokenizer
from embedgate.encoders.sentence_transformer import load

# Part of the cache key: raise it whenever the exported graph changes.
GRAPH_VERSION = 2
KIND = "onnx-fp32"
# From 19 on, Q/DQ pairs take float16 and fp8; Gelu is an operator from 20 on.
OPSET = 20
FILE_NAME = "model.onnx"
LIBRARIES = ("onnx", "onnxscript", "sentence-transformers", "torch", "transformers")
OUTPUT_NAMES = ("sentence_embedding", "token_embeddings", "pooled")
# A protobuf ends at 2 GiB; what a graph holds besides weights is small.
SINGLE_FILE_BYTES = 1_900_000_000
# Of a result to torch's, as a share of the largest value there: hidden states of some models reach hundreds.
MAX_DIFFERENCE = 1e-4
# Two batches: padding, a text of one token, punctuation and numbers.
PROBES = (("A sentence of several words.", "Two.", "3 of 4"), ("one",))
# Only tokenised: longer than any limit, outer spaces, letters beyond ASCII, nothing at all.
TOKEN_PROBES = ("word " * 9000, "  Ünïcode ", "")
_SCOPES = "pkg.torch.onnx.name_scopes"


class _Pipeline(torch.nn.Module):
    """A Sentence Transformer as a module from tensors to tensors."""

    def __init__(self, loaded: SentenceTransformer) -> None:
        super().__init__()
        modules = list(loaded)
        self.stages = torch.nn.ModuleList(modules)
        self.kept = loaded.truncate_dim
        self.normalises = any(type(module).__name__ == "Normalize" for module in modules)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        pooled = None
        for module in self.stages:
            if type(module).__name__ == "Normalize":
                pooled = features["sentence_embedding"]
            features = module(features)
        embedding = features["sentence_embedding"]
        outputs = (embedding if self.kept is None else embedding[:, : self.kept], features["token_embeddings"])
        return outputs if pooled is None else (*outputs, pooled)


@dataclass(frozen=True)
class Product:
    """A matrix product with weights: a linear layer, whose input is not another activation's product.

    Attributes:
        name: The layer's name in the model, for example `encoder.layer.0.intermediate.dense`.
        node: The `MatMul` or `Gemm` node.
        activation: Name of the tensor it reads.
        weight: Name of its weights, an initializer.
    """

    name: str
    node: onnx.NodeProto
    activation: str
    weight: str


def exported_graph(model: Model, context: BuildContext) -> Path:
    """The model's ONNX graph, exported and verified if it is not in the cache yet.

    Weights of 2 GB and more lie beside it, in `model.onnx.data`.

    Returns:
        Path of `model.onnx`.

    Raises:
        BuildError: If the model cannot be traced, its tokens differ from Sentence Transformers', or the graph's results
            differ from torch's by more than `MAX_DIFFERENCE` of their size.
    """
    key = {
        "fingerprint": model.fingerprint,
        "graph_version": GRAPH_VERSION,
        "libraries": library_versions(LIBRARIES),
    }

    def build(folder: Path) -> dict[str, Any]:
        context.progress(f"exporting {model.name} to ONNX")
        return {"max_difference_to_torch": _export(model, folder / FILE_NAME, context.threads)}

    folder, _ = context.cache.get_or_build(KIND, key, build)
    return folder / FILE_NAME


def weight_products(graph: onnx.ModelProto) -> list[Product]:
    """Every `MatMul` and `Gemm` whose second operand is an initializer, in the order they run.

    Products of two activations (attention scores, weighted values) are none.
    """
    initializers = {tensor.name for tensor in graph.graph.initializer}
    return [
        Product(node.name.removesuffix(f"/{node.op_type}"), node, node.input[0], node.input[1])
        for node in graph.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in initializers and node.input[0] not in initializers
    ]


def constants(graph: onnx.ModelProto) -> set[str]:
    """Names of the values that come from initializers alone: as they are, dequantized, transposed or cast."""
    found = {tensor.name for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type in ("DequantizeLinear", "Transpose", "Cast") and node.input[0] in found:
            found.add(node.output[0])
    return found


def product_names(graph: onnx.ModelProto) -> list[str]:
    """Names of the nodes that multiply with weights, as they are or quantized; weights need not be loaded."""
    constant = constants(graph)
    return [
        node.name
        for node in graph.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in constant and node.input[0] not in constant
    ]


def graph_stages(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    names: Sequence[str],
    run: Callable[[Batch], Sequence[npt.NDArray[np.float32]]],
    parts: Callable[[Batch], Iterable[Batch]] = lambda batch: (batch,),
) -> Stages:
    """Intermediate results of a few texts, from whatever runs an exported graph.

    Args:
        tokenizer: The model's.
        texts: The texts.
        names: The graph's outputs, in the order `run` gives them.
        run: Runs one batch.
        parts: Splits a batch into what `run` takes.
    """
    rows: list[dict[str, npt.NDArray[np.float32]]] = [{} for _ in texts]
    for whole in tokenizer.batches(texts, 32):
        for batch in parts(whole):
            outputs = dict(zip(names, run(batch), strict=True))
            for position, row in enumerate(batch.rows):
                rows[row] = {name: output[position] for name, output in outputs.items()}
                real = batch.attention_mask[position].astype(bool)
                rows[row]["token_embeddings"] = rows[row]["token_embeddings"][real]
    return Stages(
        token_ids=tokenizer.ids(texts),
        token_embeddings=[row["token_embeddings"] for row in rows],
        pooled=np.stack([row["pooled"] for row in rows]) if "pooled" in names else None,
        embeddings=np.stack([row["sentence_embedding"] for row in rows]),
    )


def weight_bytes(path: Path) -> int:
    """Bytes of all initializers of an ONNX file, data kept beside it included."""
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(path).graph.initializer)


def file_bytes(path: Path) -> int:
    """Bytes of a graph's files: itself, and its weights where they are kept beside it."""
    beside = (path, path.with_name(f"{path.name}.data"), path.with_suffix(".bin"))
    return sum(file.stat().st_size for file in beside if file.is_file())


def save_graph(graph: onnx.ModelProto, path: Path) -> None:
    """Writes a graph; one too big for a protobuf gets its weights beside it, in `<name>.data`."""
    if graph.ByteSize() < SINGLE_FILE_BYTES:
        onnx.save(graph, path)
    else:
        onnx.save(graph, path, save_as_external_data=True, location=f"{path.name}.data")


def _export(model: Model, path: Path, threads: int) -> float:
    with _quiet():
        loaded = load(model, "cpu", torch.float32, attn_implementation="eager")
        tokenizer = Tokenizer(model)
        pipeline = _Pipeline(loaded).eval()
        _check_pooling(loaded, model)
        _check_tokens(loaded, tokenizer, model.roles.distinct)
        sample = {name: torch.ones((2, 7), dtype=torch.int64) for name in tokenizer.input_names}
        if "token_type_ids" in sample:
            sample["token_type_ids"] = torch.zeros_like(sample["token_type_ids"])
        batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
        try:
            program = torch.onnx.export(
                pipeline,
                kwargs=sample,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={name: {0: batch, 1: sequence} for name in sample},
                input_names=list(sample),
                output_names=list(OUTPUT_NAMES if pipeline.normalises else OUTPUT_NAMES[:2]),
                verbose=False,
            )
            assert program is not None
            big = sum(p.numel() * p.element_size() for p in pipeline.parameters()) >= SINGLE_FILE_BYTES
            program.save(path, external_data=big)
        except Exception as error:
            kinds = ", ".join(type(module).__name__ for module in loaded)
            raise BuildError(f"{model.name} ({kinds}) cannot be exported to ONNX: {one_line(error)}") from error
        _tidy(path)
        return _verify(path, pipeline, tokenizer, threads)


def _check_pooling(loaded: SentenceTransformer, model: Model) -> None:
    excludes_prompt = any(getattr(module, "include_prompt", True) is False for module in loaded)
    if excludes_prompt and any(role.prompt for role in model.roles.distinct):
        raise BuildError(f"{model.name} leaves its prompt out of the pooling, which an exported graph cannot")


def _check_tokens(loaded: SentenceTransformer, tokenizer: Tokenizer, roles: Iterable[Role]) -> None:
    """Compares with `preprocess`, so that a tokenizer loaded in another way is refused rather than misread."""
    for role, texts in product(roles, (*PROBES, TOKEN_PROBES)):
        expected = loaded.preprocess(list(texts), prompt=role.prompt)
        for batch in tokenizer.batches(role.prompted(texts), len(texts)):
            for name, values in batch.feeds.items():
                if name in expected and not np.array_equal(expected[name].numpy()[batch.rows], values):
                    raise BuildError(f"{name} of {texts[0]!r} differ from Sentence Transformers' own")


def _tidy(path: Path) -> None:
    """Names products by their layers, and drops the exporter's notes: stack traces with the paths of this machine."""
    graph = onnx.load(path, load_external_data=False)
    for node in graph.graph.node:
        notes = {note.key: note.value for note in node.metadata_props}
        if node.op_type in ("MatMul", "Gemm") and _SCOPES in notes:
            scopes = [scope for scope in ast.literal_eval(notes[_SCOPES]) if "." in scope]
            node.name = f"{_layer_name(scopes[-1])}/{node.op_type}" if scopes else node.name
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer):
        del value.metadata_props[:]
    names = Counter(node.name for node in graph.graph.node)
    for number, node in enumerate(graph.graph.node):
        if names[node.name] > 1:
            node.name = f"{node.name}_{number}"
    onnx.save(graph, path)


def _layer_name(scope: str) -> str:
    """`stages.0.model.encoder.layer.0.output.dense` is the model's own `encoder.layer.0.output.dense`."""
    return scope.removeprefix("stages.").partition(".")[2].removeprefix("model.")


def _verify(path: Path, pipeline: _Pipeline, tokenizer: Tokenizer, threads: int) -> float:
    """Largest difference of the graph in ONNX Runtime to torch, as a share of the largest value of each output."""
    runner = session(path, threads)
    worst = 0.0
    for texts in PROBES:
        for batch in tokenizer.batches(texts, len(texts)):
            results = runner.run(None, batch.feeds)
            with torch.inference_mode():
                expected = pipeline(**{name: torch.from_numpy(values) for name, values in batch.feeds.items()})
            real = batch.attention_mask.astype(bool)
            for name, result, wanted in zip(OUTPUT_NAMES, results, expected, strict=False):
                found, exact = np.asarray(result), wanted.numpy()
                if name == "token_embeddings":
                    found, exact = found[real], exact[real]
                worst = max(worst, _relative_difference(found, exact))
    if worst > MAX_DIFFERENCE:
        raise BuildError(
            f"the exported graph differs from torch by {worst:.2g} of the largest value, more than {MAX_DIFFERENCE:.0e}"
        )
    return worst


def _relative_difference(found: npt.NDArray[np.float32], exact: npt.NDArray[np.float32]) -> float:
    """Largest difference as a share of the largest exact value; infinity where either is not finite."""
    difference = np.abs(found - exact)
    if not np.isfinite(difference).all():  # NaN compares as neither more nor less
        return float("inf")
    return float(difference.max() / max(np.abs(exact).max(), np.finfo(np.float32).tiny))


@contextmanager
def quiet_logging(most: int) -> Iterator[None]:
    """Silences all logging up to a level while the body runs."""
    level = logging.root.manager.disable
    logging.disable(most)
    try:
        yield
    finally:
        logging.disable(level)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs and warns at length; what matters is raised."""
    with quiet_logging(logging.ERROR), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
