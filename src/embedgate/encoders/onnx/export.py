"""The one ONNX graph: a model's whole Sentence Transformers pipeline, exported once for every backend that runs ONNX.

Inputs are what the model's tokenizer gives (`input_ids`, `attention_mask`, often `token_type_ids`), int64
`[batch, sequence]`. Outputs, float32:

* `sentence_embedding` `[batch, dim]`: the finished embedding, truncated where the model says so;
* `token_embeddings` `[batch, sequence, hidden]`: the transformer's last hidden states;
* `pooled` `[batch, dim]`: what the model's `Normalize` takes, before truncation, only where the model has one.

The last two cost nothing, since they are computed anyway; diagnosis needs them.
"""

from __future__ import annotations

import ast
import gc
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from sentence_transformers import SentenceTransformer

from embedgate.core.errors import BuildError, one_line
from embedgate.core.machine import library_versions
from embedgate.core.model import Model
from embedgate.core.roles import Role
from embedgate.encoders import BuildContext, Stages
from embedgate.encoders.loading import load
from embedgate.encoders.onnx.graph import FILE_NAME, read_graph
from embedgate.encoders.onnx.session import session
from embedgate.encoders.onnx.tokenizer import Batch, Tokenizer

# Part of the cache key: raise it whenever the exported graph changes.
GRAPH_VERSION = 3
KIND = "onnx-fp32"
# From 19 on, Q/DQ pairs take float16 and fp8; Gelu is an operator from 20 on.
OPSET = 20
LIBRARIES = ("onnx", "onnxscript", "sentence-transformers", "torch", "transformers")
OUTPUT_NAMES = ("sentence_embedding", "token_embeddings", "pooled")
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


def exported_graph(model: Model, context: BuildContext) -> Path:
    """The model's ONNX graph, exported and verified if it is not in the cache yet.

    Its weights lie beside it, in `model.onnx.data`.

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

    folder, _ = context.get_or_build(KIND, key, build)
    return folder / FILE_NAME


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
            program.save(path, external_data=True)
        except Exception as error:
            kinds = ", ".join(type(module).__name__ for module in loaded)
            raise BuildError(f"{model.name} ({kinds}) cannot be exported to ONNX: {one_line(error)}") from error
        expected = _expected(pipeline, tokenizer)
    # Before ONNX Runtime holds the weights as well.
    del program, pipeline, loaded
    gc.collect()
    _tidy(path)
    return _verify(path, expected, threads)


def _expected(pipeline: _Pipeline, tokenizer: Tokenizer) -> list[tuple[Batch, list[npt.NDArray[np.float32]]]]:
    """The probes, and what torch makes of them."""
    found = []
    for batch in (batch for texts in PROBES for batch in tokenizer.batches(texts, len(texts))):
        with torch.inference_mode():
            results = pipeline(**{name: torch.from_numpy(values) for name, values in batch.feeds.items()})
        found.append((batch, [result.numpy() for result in results]))
    return found


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
    graph = read_graph(path).proto
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


def _verify(path: Path, expected: Sequence[tuple[Batch, Sequence[npt.NDArray[np.float32]]]], threads: int) -> float:
    """Largest difference of the graph in ONNX Runtime to torch, as a share of the largest value of each output."""
    runner = session(path, threads)
    worst = 0.0
    for batch, wanted in expected:
        results = runner.run(None, batch.feeds)
        real = batch.attention_mask.astype(bool)
        for name, result, exact in zip(OUTPUT_NAMES, map(np.asarray, results), wanted, strict=False):
            kept = real if name == "token_embeddings" else ...
            worst = max(worst, _relative_difference(result[kept], exact[kept]))
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
def _quiet() -> Iterator[None]:
    """The exporter logs and warns at length; what matters is raised."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
