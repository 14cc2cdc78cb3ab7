"""The faults that every tool is asked about, each in the form in which it occurs, and the model with each of them.

`python benchmarks/peers/faults.py WORK` builds them all below WORK. A fault is a model's folder, an ONNX file, an
encoder, or a server. Forms lead to one another: what a folder or a file holds can be encoded with, and every encoder
can be served. What cannot be put into a tool's form is not asked of the tool.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Form = Literal["folder", "onnx", "encoder", "server"]

# The reference's folder and its graph, below WORK.
REFERENCE = "reference"
FIRST_ZERO = 1000
LONG_TOKENS = 128
CALIBRATION = (
    "A man is playing a guitar on the stage.",
    "The parliament adopted the budget for the coming year after a debate of nine hours.",
    "How do I reset my password?",
    "Fresh bread keeps for two days, or for a month in the freezer.",
)
PROMPT = "Represent this sentence for searching relevant passages: "


@dataclass(frozen=True)
class Fault:
    """A change of the model that some tool may find.

    Attributes:
        name: Of its folder below WORK, and on the command line.
        says: What happened, as the page says it.
        form: In which it occurs.
        sound: Whether it is none, so that a red is a false alarm.
        promise: The weight precision that whoever ships it promises.
        reference: The folder below WORK that it is judged against.
        graph: Whether its graph is another one than the reference's, so that a tool for graphs can be asked.
        source: The folder below WORK that its file was made of, where that is slow as well; a tool for folders gets it.
    """

    name: str
    says: str
    form: Form
    sound: bool = False
    promise: str = "fp32"
    reference: str = REFERENCE
    graph: bool = False
    source: str = ""

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms in which a tool can have it."""
        alone: tuple[Form, ...] = (self.form, "onnx") if self.graph else (self.form,)
        if self.source:
            alone = (*alone, "folder")
        further: dict[Form, tuple[Form, ...]] = {
            "folder": ("encoder", "server"),
            "onnx": ("encoder", "server"),
            "encoder": ("server",),
            "server": (),
        }
        return (*alone, *further[self.form])


FAULTS = (
    Fault("fp32", "the same weights, exported to ONNX", "onnx", sound=True),
    Fault("fp16", "weights and products in fp16", "onnx", sound=True, promise="fp16"),
    Fault("bf16", "a bf16 checkpoint", "folder", sound=True, promise="bf16"),
    Fault("int8", "dynamic int8 of ONNX Runtime, a scale per channel", "onnx", sound=True, promise="int8"),
    Fault(
        "layer-calibration",
        "int8, one layer calibrated to a quarter of its range",
        "onnx",
        promise="int8",
    ),
    Fault("layer-weights", "the weights of one layer times 0.9", "folder", graph=True),
    Fault("cls", "CLS pooling in the place of mean pooling", "folder", graph=True),
    Fault("no-normalize", "vectors are not normalised", "folder", graph=True),
    Fault("no-prompt", "the model's default prompt is left out", "folder", reference="prompted"),
    Fault("case", "texts are not lower-cased", "folder"),
    Fault("accents", "accents are not stripped", "folder"),
    Fault("cut-64", "texts are cut at 64 tokens, not 256", "folder"),
    Fault("padding", "the attention mask is ignored, so padding counts", "onnx"),
    Fault("rows", "a batch is sorted by length, and never put back", "encoder"),
    Fault("zeros", f"vectors are zeros after {FIRST_ZERO:,} texts", "encoder"),
    Fault("nan", f"texts of more than {LONG_TOKENS} tokens give NaN", "encoder"),
    Fault("concurrent", "requests that come together get each other's vectors", "server"),
    Fault("joined", "a text's vector is another one where requests come together, as in TEI's issue 882", "server"),
    Fault("not-quantized", "a file that promises int8 and holds fp32", "onnx", promise="int8"),
    Fault("slower", "int8 that is slower than fp32", "onnx", promise="int8", source="wide"),
)
NAMED = {fault.name: fault for fault in FAULTS}


def file_of(work: Path, fault: Fault, form: Form) -> Path:
    """Where a fault lies in a form that is a file or a folder."""
    folder = work / fault.name
    if form == "folder":
        return work / (fault.source or fault.name) / "model"
    return folder / f"{fault.name.replace('-', '_')}_{fault.promise}.onnx"


def reference_of(work: Path, fault: Fault, form: Form) -> Path:
    """Where the reference of a fault lies in a form that is a file or a folder."""
    folder = work / fault.reference
    return folder / "model" if form == "folder" else folder / "model.onnx"


def encoder_of(work: Path, fault: Fault) -> Any:
    """An encoder with the fault: an object with Sentence Transformers' `encode(texts, batch_size=)`."""
    if fault.form == "folder":
        return _transformer(file_of(work, fault, "folder"))
    if fault.form == "onnx":
        return Graph(file_of(work, fault, "onnx"), reference_of(work, fault, "folder"))
    sound = _transformer(reference_of(work, fault, "folder"))
    return {"rows": Unsorted, "zeros": Forgetful, "nan": Overflowing}.get(fault.name, Sound)(sound)


class Sound:
    """A sound encoder; those derived from it tamper with what it gives."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def encode(self, texts: Sequence[str], batch_size: int = 32, **_: Any) -> Any:
        """Embeddings, float32 `[n, dim]`."""
        import numpy as np

        texts = [texts] if isinstance(texts, str) else list(texts)
        parts = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
        return np.concatenate([self.batch(part) for part in parts])

    def batch(self, texts: list[str]) -> Any:
        """Embeddings of a batch."""
        return self.model.encode(texts, batch_size=len(texts), show_progress_bar=False)


class Unsorted(Sound):
    """Sorts a batch by length, to pad less, and returns the rows in that order."""

    def batch(self, texts: list[str]) -> Any:
        """See `Sound.batch`."""
        return super().batch(sorted(texts, key=len))


class Forgetful(Sound):
    """Gives zeros after so many texts, as where a buffer is full."""

    seen = 0

    def batch(self, texts: list[str]) -> Any:
        """See `Sound.batch`."""
        vectors = super().batch(texts)
        vectors[max(0, FIRST_ZERO - self.seen) :] = 0
        self.seen += len(texts)
        return vectors


class Overflowing(Sound):
    """Gives NaN for long texts, as fp16 does where a sum overflows."""

    def batch(self, texts: list[str]) -> Any:
        """See `Sound.batch`."""
        vectors = super().batch(texts)
        long = [len(ids) > LONG_TOKENS for ids in self.model.tokenizer(texts)["input_ids"]]
        vectors[long] = float("nan")
        return vectors


class Graph(Sound):
    """An ONNX file, with the model's own tokenizer."""

    def __init__(self, path: Path, folder: Path) -> None:
        import onnxruntime
        from transformers import AutoTokenizer

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)

    def batch(self, texts: list[str]) -> Any:
        """See `Sound.batch`."""
        return self.session.run(["sentence_embedding"], tokens(self.tokenizer, texts))[0]


def tokens(tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    """The graph's inputs for a batch."""
    made = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="np")
    return {name: made[name].astype("int64") for name in ("input_ids", "attention_mask", "token_type_ids")}


def _transformer(path: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(path), device="cpu", local_files_only=True)


def build(work: Path) -> None:
    """Builds every fault that is a folder or a file, where it is not there yet."""
    from embedgate.core.model import DEFAULT_MODEL, resolve

    for name, change in {REFERENCE: lambda _: None, "prompted": _prompted, "wide": _wider}.items():
        _folder(resolve(DEFAULT_MODEL).path, work / name / "model", change)
        _made(work / name / "model.onnx", lambda path: export(path.with_name("model"), path))
    for fault in FAULTS:
        if fault.form == "folder":
            _folder(reference_of(work, fault, "folder"), file_of(work, fault, "folder"), CHANGES[fault.name])
        if fault.graph:
            _made(file_of(work, fault, "onnx"), lambda path, fault=fault: export(file_of(work, fault, "folder"), path))
        elif fault.form == "onnx":
            _made(file_of(work, fault, "onnx"), lambda path, fault=fault: GRAPHS[fault.name](work, path))


def _folder(source: Path, target: Path, change: Callable[[Path], None]) -> None:
    def make(path: Path) -> None:
        shutil.copytree(source, path, copy_function=shutil.copyfile)
        change(path)

    _made(target, make)


def _made(path: Path, make: Callable[[Path], None]) -> None:
    """Makes a file or folder once; one that was begun and not finished is made anew."""
    done = path.with_name(f"{path.name}.done")
    if done.exists():
        return
    print(f"building {path.parent.name}/{path.name}", file=sys.stderr, flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    make(path)
    done.touch()


def _edited(path: Path, edit: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text("utf-8"))
    edit(content)
    path.write_text(json.dumps(content, indent=2), "utf-8")


def _weights(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    changed = change(load_file(path))
    save_file({name: tensor.contiguous() for name, tensor in changed.items()}, path, metadata={"format": "pt"})


def _bf16(folder: Path) -> None:
    _weights(folder, lambda named: {n: t.bfloat16() if t.is_floating_point() else t for n, t in named.items()})
    _edited(folder / "config.json", lambda config: config.update(torch_dtype="bfloat16"))


def _layer_weights(folder: Path) -> None:
    _weights(folder, lambda named: {n: t * 0.9 if _of_layer(n) else t for n, t in named.items()})


def _of_layer(name: str) -> bool:
    return "encoder.layer.3." in name and "LayerNorm" not in name and name.endswith("weight")


def _cls(folder: Path) -> None:
    modes = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    _edited(folder / "1_Pooling" / "config.json", lambda config: config.update(modes))


def _no_normalize(folder: Path) -> None:
    _edited(folder / "modules.json", lambda modules: modules.pop())


def _prompted(folder: Path) -> None:
    prompts = {"prompts": {"text": PROMPT}, "default_prompt_name": "text"}
    _edited(folder / "config_sentence_transformers.json", lambda config: config.update(prompts))


def _unprompted(folder: Path) -> None:
    nothing = {"prompts": {}, "default_prompt_name": None}
    _edited(folder / "config_sentence_transformers.json", lambda config: config.update(nothing))


def _tokenizer(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        _edited(folder / "tokenizer.json", lambda found: found["normalizer"].update(changes))

    return change


def _case(folder: Path) -> None:
    # Lower-casing strips accents as well, where nothing is said of them: they stay stripped here.
    _tokenizer(lowercase=False, strip_accents=True)(folder)
    _edited(folder / "tokenizer_config.json", lambda config: config.update(do_lower_case=False, strip_accents=True))


def _accents(folder: Path) -> None:
    _tokenizer(strip_accents=False)(folder)
    _edited(folder / "tokenizer_config.json", lambda config: config.update(strip_accents=False))


def _cut(folder: Path) -> None:
    _edited(folder / "sentence_bert_config.json", lambda config: config.update(max_seq_length=64))


def _wider(folder: Path, times: int = 6) -> None:
    """Feed-forward layers so many times as wide, with zeros: the same vectors, and many more products."""
    import torch

    def wide(named: dict[str, Any]) -> dict[str, Any]:
        made = dict(named)
        for name, tensor in named.items():
            if ".intermediate.dense." in name:
                made[name] = torch.cat([tensor, torch.zeros((times - 1) * len(tensor), *tensor.shape[1:])])
            elif ".output.dense.weight" in name and ".attention." not in name:
                rows, columns = tensor.shape
                made[name] = torch.cat([tensor, torch.zeros(rows, (times - 1) * columns)], dim=1)
        return made

    _weights(folder, wide)
    _edited(folder / "config.json", lambda config: config.update(intermediate_size=times * config["intermediate_size"]))


CHANGES: dict[str, Callable[[Path], None]] = {
    "bf16": _bf16,
    "layer-weights": _layer_weights,
    "cls": _cls,
    "no-normalize": _no_normalize,
    "no-prompt": _unprompted,
    "case": _case,
    "accents": _accents,
    "cut-64": _cut,
}


def export(folder: Path, path: Path) -> None:
    """Exports a model's folder, pooling and all, to one ONNX file with the output `sentence_embedding`."""
    import onnx
    import torch

    model = _transformer(folder).float()
    for part in model.modules():
        if hasattr(part, "config"):
            part.config._attn_implementation = "eager"

    class Pipeline(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = torch.nn.ModuleList(list(model))

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            features = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
            for stage in self.stages:
                features = stage(features)
            return features["sentence_embedding"]

    sample = {name: torch.ones((2, 7), dtype=torch.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    program = torch.onnx.export(
        Pipeline().eval(),
        tuple(sample.values()),
        dynamo=True,
        input_names=list(sample),
        output_names=["sentence_embedding"],
        dynamic_shapes=tuple(sizes for _ in sample),
        verbose=False,
    )
    onnx.save(program.model_proto, path)


def _fp32(work: Path, path: Path) -> None:
    shutil.copyfile(work / REFERENCE / "model.onnx", path)


def _fp16(work: Path, path: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(work / REFERENCE / "model.onnx")
    onnx.save(convert_float_to_float16(model, keep_io_types=True), path)


def _int8(work: Path, path: Path) -> None:
    _dynamic(work / REFERENCE / "model.onnx", path)


def _dynamic(source: Path, path: Path, **options: Any) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, path, per_channel=True, weight_type=QuantType.QInt8, **options)


def _layer_calibration(work: Path, path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(work / REFERENCE / "model"), local_files_only=True)

    class Texts(CalibrationDataReader):
        feeds = iter([tokens(tokenizer, [text]) for text in CALIBRATION])

        def get_next(self) -> Any:
            return next(self.feeds, None)

    source, layer = work / REFERENCE / "model.onnx", path.with_name("layer.onnx")
    products = _products_of_layer(source)
    form = {"quant_format": QuantFormat.QDQ, "per_channel": True}
    quantize_static(source, layer, Texts(), nodes_to_quantize=products, **form)
    _narrowed(layer)
    _dynamic(layer, path)
    layer.unlink()


def _narrowed(path: Path) -> None:
    """Makes every scale of an activation a quarter of what calibration found."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    scales = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) / 4, tensor.name))
    onnx.save(model, path)


def _products_of_layer(path: Path) -> list[str]:
    """The matrix products with weights of the fourth of six layers: every layer has as many."""
    import onnx

    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    products = [node.name for node in graph.node if node.op_type in ("MatMul", "Gemm") and constants & set(node.input)]
    each = len(products) // 6
    return products[3 * each : 4 * each]


def _padding(work: Path, path: Path) -> None:
    """Every use of the mask but one is of ones: the graph counts padding as tokens."""
    import onnx
    from onnx import helper

    model = onnx.load(work / REFERENCE / "model.onnx")
    for node in model.graph.node:
        node.input[:] = ["all_ones" if name == "attention_mask" else name for name in node.input]
    one = helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1])
    model.graph.node.insert(0, helper.make_node("Shape", ["attention_mask"], ["mask_shape"]))
    model.graph.node.insert(1, helper.make_node("ConstantOfShape", ["mask_shape"], ["all_ones"], value=one))
    onnx.save(model, path)


def _slower(work: Path, path: Path) -> None:
    _dynamic(work / "wide" / "model.onnx", path)


GRAPHS: dict[str, Callable[[Path, Path], None]] = {
    "fp32": _fp32,
    "fp16": _fp16,
    "int8": _int8,
    "layer-calibration": _layer_calibration,
    "padding": _padding,
    "not-quantized": _fp32,
    "slower": _slower,
}


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
