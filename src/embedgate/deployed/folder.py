"""A folder that `SentenceTransformer(folder)` loads: a checkpoint that is quantized already, or another revision."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.model import Model, resolve
from embedgate.core.model_files import json_of
from embedgate.core.spec import PROMISE, Spec
from embedgate.deployed import files
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.sources import Source

# Types of weights as configs name them.
TYPES = {"float16": "fp16", "bfloat16": "bf16"}
# Weight precisions by what `quant_method` is, where that alone says it; by the class of torchao's config; and by
# quanto's type. Where weights alone are in 8 bits, they are widened before products.
METHODS = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "mxfp4", "nvfp4": "nvfp4", "mxfp8": "mxfp8", "eetq": "int8wo"}
TORCHAO = {
    "Int8DynamicActivationInt8WeightConfig": "int8",
    "Int8StaticActivationInt8WeightConfig": "int8",
    "Int8WeightOnlyConfig": "int8wo",
    "Int4WeightOnlyConfig": "int4",
    "Float8DynamicActivationInt4WeightConfig": "int4",
    "Float8DynamicActivationFloat8WeightConfig": "fp8",
    "Float8WeightOnlyConfig": "fp8wo",
}
QUANTO = {"int2": "int2", "int4": "int4", "int8": "int8wo", "float8": "fp8wo"}
# Methods that say how many bits a weight has, and quantize no activations.
BY_BITS = ("gptq", "awq", "auto-round", "hqq")


def source(spec: Spec, model: Model) -> Source:
    """What loads a folder.

    Raises:
        GateError: If there is no such folder, it is not safe to load, or it does not say what it is quantized to.
    """
    spec.refuse_unknown(())
    path = files.find(spec, model)
    loads = resolve(str(path), quantized=True)
    kind = spec.given.get(PROMISE) or files.promise_of(path.resolve()) or _stored_in(loads)
    return Folder(loads, spec.combination(path.resolve().name, kind), str(path))


def _stored_in(model: Model) -> str:
    """The weight precision that a folder's configs tell.

    Raises:
        GateError: If they tell that its weights are quantized, and not to what.
    """
    file = model.path / str(model.modules[0]["path"]) / "config.json"
    config = json_of(file)
    quantized: Any = config.get("quantization_config")
    if quantized:
        found = _quantized_to(quantized) if isinstance(quantized, dict) else None
        if found is None:
            how = quantized.get("quant_method", "no quant_method") if isinstance(quantized, dict) else quantized
            cause = f"{file} does not say in a way that embedgate reads what its weights are quantized to ({how})"
            raise GateError(cause, "say it: ::promise=int8, or what else it is")
        return found
    stored = config.get("dtype") or config.get("torch_dtype")
    return TYPES.get(str(stored), "fp32")


def _quantized_to(config: Mapping[str, Any]) -> str | None:
    """The weight precision that a `quantization_config` of transformers' tells; None where it is not known."""
    method = str(config.get("quant_method", "")).lower()
    try:
        if method == "bitsandbytes":
            four_bits = str(config.get("bnb_4bit_quant_type", "fp4"))
            return four_bits if config.get("load_in_4bit") else "int8" if config.get("load_in_8bit") else None
        if method == "torchao":
            return TORCHAO.get(config["quant_type"]["default"]["_type"])
        if method == "quanto":
            return QUANTO.get(config["weights"]) if config.get("activations") is None else None
        if method in BY_BITS:
            bits = config["quant_config"]["weight_quant_params"]["nbits"] if method == "hqq" else config["bits"]
            return ("int8wo" if bits == 8 else f"int{bits}") if isinstance(bits, int) else None
    except (LookupError, TypeError):
        return None
    return METHODS.get(method)


class Folder(Source):
    """Loads a folder as Sentence Transformers does, with its own tokenizer, prompts and types of weights.

    Args:
        loads: What is loaded.
        combination: What it is called.
        origin: The path as a person reads it.

    Attributes:
        loads: What is loaded.
    """

    def __init__(self, loads: Model, combination: Combination, origin: str) -> None:
        super().__init__(combination)
        self.origin = origin
        self.loads = loads

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The fingerprint of the folder; see `Source.identity`."""
        return {"sha256": self.loads.fingerprint}

    def tokenizes_as(self, model: Model) -> Model | None:
        """The folder itself; see `Source.tokenizes_as`."""
        return self.loads

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Loads the folder; see `Source.build`."""
        from embedgate.encoders.custom import CustomEncoder
        from embedgate.encoders.loading import load

        return CustomEncoder(load(self.loads, self.combination.device, None), self.combination, context)
