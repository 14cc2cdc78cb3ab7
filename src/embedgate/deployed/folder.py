"""A folder that `SentenceTransformer(folder)` loads: a checkpoint that is quantized already, or another revision."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from embedgate.core.combination import Combination
from embedgate.core.model import Model, resolve
from embedgate.core.model_files import json_of
from embedgate.core.spec import Spec
from embedgate.deployed import files
from embedgate.encoders import BuildContext, Encoder
from embedgate.encoders.sources import Source

# Types of weights as configs name them.
TYPES = {"float16": "fp16", "bfloat16": "bf16"}


def source(spec: Spec, model: Model) -> Source:
    """What loads a folder.

    Raises:
        GateError: If there is no such folder, or it is not safe to load.
    """
    spec.refuse_unknown(())
    path = files.find(spec, model)
    loads = resolve(str(path), quantized=True)
    kind = files.promise_of(path) or _stored_in(loads)
    return Folder(loads, spec.combination(path.resolve().name, kind), str(path))


def _stored_in(model: Model) -> str:
    """The weight precision that a folder's configs tell."""
    config = json_of(model.path / str(model.modules[0]["path"]) / "config.json")
    quantized: Any = config.get("quantization_config")
    if isinstance(quantized, dict):
        if quantized.get("load_in_4bit") or quantized.get("bits") == 4:
            return str(quantized.get("bnb_4bit_quant_type", "int4"))
        return "int8"
    stored = config.get("dtype") or config.get("torch_dtype")
    return TYPES.get(str(stored), "fp32")


class Folder(Source):
    """Loads a folder as Sentence Transformers does, with its own tokenizer, prompts and types of weights.

    Args:
        loads: What is loaded.
        combination: What it is called.
        origin: The path as a person reads it.
    """

    takes_threads = True

    def __init__(self, loads: Model, combination: Combination, origin: str) -> None:
        super().__init__(combination)
        self.origin = origin
        self._loads = loads

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The fingerprint of the folder; see `Source.identity`."""
        return {"sha256": self._loads.fingerprint}

    def build(self, model: Model, context: BuildContext) -> Encoder:
        """Loads the folder; see `Source.build`."""
        from embedgate.encoders.custom import CustomEncoder
        from embedgate.encoders.loading import load

        return CustomEncoder(load(self._loads, self.combination.device, None), self.combination, context)
