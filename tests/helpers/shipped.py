"""Files as people ship them beside a model: exported, optimized and quantized as ONNX Runtime's and NNCF's docs say."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import AutoModel, AutoTokenizer

# What exporters call a transformer's results.
TOKENS, POOLED = "last_hidden_state", "sentence_embedding"
AXES = {0: "batch", 1: "sequence"}


class _Whole(torch.nn.Module):
    """A transformer with mean pooling and normalisation, as Sentence Transformers' own export has it."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids, attention_mask, token_type_ids):
        states = self.transformer(input_ids, attention_mask, token_type_ids)[0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1)
        return states, torch.nn.functional.normalize(pooled, dim=1)


class _Tokens(torch.nn.Module):
    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.transformer(input_ids, attention_mask, token_type_ids)[0]


def copied(model: Path, folder: Path) -> Path:
    """A copy of a model's folder, to ship files in."""
    shutil.copytree(model, folder)
    for name in ("onnx", "openvino"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    return folder


def export(folder: Path, file: Path, *, whole: bool = False, fixed: tuple[int, int] | None = None) -> Path:
    """Exports a model's transformer by torch, with token embeddings as its result.

    Args:
        folder: The model's folder.
        file: Where the graph goes; weights are in it.
        whole: Whether it gives finished embeddings as well.
        fixed: Sizes of batch and sequence that it is fixed to; None for any.
    """
    transformer = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokens = AutoTokenizer.from_pretrained(folder)(["one text", "and another one"], padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    if fixed:
        tokens = {name: torch.ones(fixed, dtype=torch.int64) for name in names}
    outputs = [TOKENS, POOLED] if whole else [TOKENS]
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            (_Whole if whole else _Tokens)(transformer),
            tuple(tokens[name] for name in names),
            str(file),
            input_names=names,
            output_names=outputs,
            dynamic_shapes=None
            if fixed
            else {name: {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")} for name in names},
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    logging.disable(logging.NOTSET)
    return file


def dynamic_int8(source: Path, file: Path, *, per_channel: bool = True) -> Path:
    """Quantizes as ONNX Runtime's docs do for transformers: weights once, activations batch by batch."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, file, weight_type=QuantType.QInt8, per_channel=per_channel)
    return file


def half(source: Path, file: Path) -> Path:
    """Converts to float16 with ONNX Runtime's own tool."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), file)
    return file


def damaged(source: Path, file: Path, share: float = 0.1) -> Path:
    """The same graph with noise in its weights, as a wrong conversion leaves it: nothing but quality tells."""
    graph, random = onnx.load(source), np.random.default_rng(0)
    for tensor in graph.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2:
            values = numpy_helper.to_array(tensor)
            noise = random.normal(0, share * float(values.std()), values.shape)
            tensor.CopyFrom(numpy_helper.from_array((values + noise).astype(np.float32), tensor.name))
    onnx.save(graph, file)
    return file


def finished_only(source: Path, file: Path) -> Path:
    """A graph of `export(whole=True)` that gives finished embeddings alone."""
    graph = onnx.load(source)
    kept = [output for output in graph.graph.output if output.name == POOLED]
    del graph.graph.output[:]
    graph.graph.output.extend(kept)
    onnx.save(graph, file)
    return file


def beside(source: Path, file: Path) -> Path:
    """The same graph with its weights in a file beside it, as Hugging Face names them."""
    onnx.save(onnx.load(source), file, save_as_external_data=True, location=f"{file.name}_data")
    return file


def ir(source: Path, file: Path, texts: list[dict[str, np.ndarray]] | None = None, *, half: bool = False) -> Path:
    """Converts to OpenVINO's IR; with inputs to calibrate on, quantizes by NNCF as its docs do.

    Args:
        source: An ONNX file.
        file: Where the IR goes.
        texts: Inputs by name, one text each; None to leave the weights in float.
        half: Whether weights are kept in float16, as OpenVINO's converter does unless told otherwise.
    """
    import openvino as ov

    graph = ov.convert_model(source)
    if texts is not None:
        import nncf

        nncf.set_log_level(logging.ERROR)
        graph = nncf.quantize(graph, nncf.Dataset(texts), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(texts))
    ov.save_model(graph, file, compress_to_fp16=half)
    return file


def no_embedding(file: Path) -> Path:
    """An ONNX file of something else: a sum of two numbers."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "sum", values[:2], values[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file
