"""Loading a model as a `SentenceTransformer`, for inference and with all weights that embeddings are computed with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ENOENT
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.util import import_from_string
from tokenizers import Tokenizer
from torch import nn
from transformers import modeling_utils
from transformers.utils import logging as transformers_logging

from embedgate.core.errors import ModelError, counted, one_line
from embedgate.core.model import Model
from embedgate.core.model_files import RESTORE, described
from embedgate.core.model_safety import OF_TRANSFORMERS

PROBE = "Two short sentences. They only make every layer run once."
ANEW = "fetch or save the model anew"
OWN_CODE = "embedgate never runs a model's own code: gate a version that needs none"
# Files that a tokenizer can be made of alone, whatever its class.
WHOLE_TOKENIZERS = ("tokenizer.json", "tokenizer.*.json", "tekken.json", "tokenizer.model*", "*tiktoken*")


def no_pad_token(path: Path) -> ModelError:
    """The error of a tokenizer that cannot pad, so that texts of two lengths make no batch."""
    return ModelError(
        f"the tokenizer of {path} has no pad token, so it cannot make batches",
        'name one in its tokenizer_config.json, for example "pad_token": "[PAD]"; often it is the end token',
    )


def load(model: Model, device: str, dtype: torch.dtype | None, **model_kwargs: Any) -> SentenceTransformer:
    """Loads a model from its folder for inference, without the network and without the model's own code.

    Args:
        model: The model.
        device: `cpu` or `cuda`.
        dtype: Type of all weights that `model_kwargs` do not quantize. Transformers would otherwise take the type the
            weights were saved in, as it does where this is None.
        **model_kwargs: Passed on to the transformer, for example a `quantization_config`.

    Raises:
        ModelError: If Sentence Transformers cannot load it, its tokenizer has no pad token, its files lack weights
            that decide embeddings, or it reads no text, or images without Pillow.
    """
    if model.reads_images and find_spec("PIL") is None:
        raise ModelError(
            f"{model.path} reads images, too, and loads with Pillow alone, which is not installed", "pip install pillow"
        )
    quantizes = "quantization_config" in model_kwargs
    try:
        with _watched() as watched:
            loaded = SentenceTransformer(
                str(model.path),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": dtype or "auto", **model_kwargs},
            )
    except Exception as error:  # tokenizers raises it as it is
        # The machine, a driver or a library that quantizes may be at fault.
        of_the_machine = isinstance(error, OSError) and error.errno not in (None, ENOENT)
        if mismatch := next((each.mismatch for each in watched if each.mismatch), ""):
            raise ModelError(f"the weights of {model.path} hold {mismatch}", ANEW) from error
        if "trust_remote_code" in str(error):  # as transformers says what it would need
            told = f"{model.path} asks for remote code, without which transformers does not load it"
            raise ModelError(told, OWN_CODE) from error
        if of_the_machine or isinstance(error, MemoryError) or device != "cpu" or quantizes or _lacks(error):
            raise
        where, cause = _at_fault(model, error)
        raise ModelError(f"Sentence Transformers cannot load {where}: {one_line(cause)}", ANEW) from error
    if "text" not in loaded.modalities:
        raise ModelError(
            f"{model.path} embeds {' and '.join(map(str, loaded.modalities))}, and no text",
            "embedgate gates models that embed texts",
        )
    for module in _modules(loaded):
        if isinstance(module, Transformer):
            _check_tokenizer(model, module)
        if dtype is not None and not isinstance(module, Transformer):
            module.to(dtype=dtype)  # a transformer alone takes the dtype above, a dense layer after it does not
    loaded.eval()
    for missing in watched:
        if lacking := _first_that_counts(loaded, missing):
            raise ModelError(f"the weights of {model.path} lack {lacking}, so transformers would make it up", ANEW)
    return loaded


def _lacks(error: Exception) -> bool:
    """Whether an import failed of a library that is not installed, and not of a module's class that there is not."""
    return isinstance(error, ImportError) and "sentence_transformers." not in str(error)


def _at_fault(model: Model, told: Exception) -> tuple[str, Exception]:
    """The file or module that cannot be loaded by itself, and why; the model and what was told where there is none.

    Transformers are not loaded again: of these there is mostly one.
    """
    for _, kind, folder in described(model.path):
        name = kind.rpartition(".")[2]
        of_transformers = name in OF_TRANSFORMERS
        file = folder / "tokenizer.json"
        if not (file.is_file() if of_transformers else folder.is_dir()):
            continue
        try:
            if of_transformers:
                Tokenizer.from_file(str(file))
            else:
                module: Any = import_from_string(kind)
                module.load(str(folder))
        except Exception as error:  # tokenizers raises it as it is
            return (str(file) if of_transformers else f"the {name} of {folder}"), error
    return str(model.path), told


def _check_tokenizer(model: Model, module: Transformer) -> None:
    """Refuses a tokenizer that cannot pad, or without the files it is made of: transformers makes up a vocabulary."""
    tokenizer: Any = module.tokenizer
    if getattr(tokenizer, "pad_token", "") is None:
        raise no_pad_token(model.path)
    if not getattr(tokenizer, "is_fast", False):
        return  # others cannot do without
    folders = [folder for _, kind, folder in described(model.path) if kind.rpartition(".")[2] in OF_TRANSFORMERS]
    vocabulary = tokenizer.vocab_files_names.get("vocab_file")
    sources = (*WHOLE_TOKENIZERS, vocabulary)
    if vocabulary and not any(any(folder.glob(source)) for folder in folders for source in sources):
        raise ModelError(
            f"{folders[0]} has neither tokenizer.json nor {vocabulary}, so transformers makes up a vocabulary of"
            f" {counted(len(tokenizer), 'token')}",
            RESTORE,
        )


def _modules(pipeline: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The modules that texts run through, those of a Router's routes too."""
    for module in pipeline:
        if isinstance(module, Router):
            for route in module.sub_modules.values():
                yield from _modules(route.children())
        else:
            yield module


@dataclass(frozen=True)
class _Missing:
    """Weights that a file lacks, so that transformers fills them: most at random, biases and norms with 0 and 1.

    Attributes:
        module: The module that was loaded.
        names: Of its weights and buffers.
        mismatch: What is said of the first weight that is of another shape; empty where none is.
    """

    module: nn.Module
    names: frozenset[str]
    mismatch: str


@contextmanager
def _watched() -> Iterator[list[_Missing]]:
    """Loads without a bar of progress, and notes the weights that transformers does not find.

    transformers says of them in a line of its log alone; what makes this line is given their names.
    """
    found: list[_Missing] = []
    loader: Any = modeling_utils
    report: Any = getattr(loader, "log_state_dict_report", None)  # not public: without it, nothing is found missing

    def noting(model: nn.Module, *given: Any, loading_info: Any, **more: Any) -> None:
        mismatches = [
            f"{name} of shape {list(saved)}, and its config.json asks for {list(asked)}"
            for name, saved, asked in sorted(loading_info.mismatched_keys)
        ]
        found.append(_Missing(model, frozenset(loading_info.missing_and_mismatched()), next(iter(mismatches), "")))
        report(model, *given, loading_info=loading_info, **more)

    shows_progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if report is not None:
        loader.log_state_dict_report = noting
    try:
        yield found
    finally:
        if report is not None:
            loader.log_state_dict_report = report
        if shows_progress:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _first_that_counts(loaded: SentenceTransformer, missing: _Missing) -> str | None:
    """The first of the missing weights that embeddings are computed with, as they are not with a pooler's; else None.

    A NaN in a weight makes every embedding that is computed with it NaN.
    """
    for name, weight in sorted(
        {**dict(missing.module.named_parameters()), **dict(missing.module.named_buffers())}.items()
    ):
        if name not in missing.names or not weight.is_floating_point():
            continue
        kept = weight.detach().clone()
        weight.data.fill_(torch.nan)
        ways = (loaded.encode, loaded.encode_query, loaded.encode_document)
        counts = any(np.isnan(encode([PROBE], show_progress_bar=False)).any() for encode in ways)
        weight.data.copy_(kept)
        if counts:
            return name
    return None
