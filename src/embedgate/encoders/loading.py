"""Loading a model as a `SentenceTransformer`, for inference and with all of its weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from torch import nn
from transformers.utils import logging as transformers_logging

from embedgate.core.errors import ModelError, one_line
from embedgate.core.model import Model
from embedgate.core.model_files import RESTORE

PROBE = "Two short sentences. They only make every layer run once."
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def no_pad_token(path: Path) -> ModelError:
    """The error of a tokenizer that cannot pad, so that texts of two lengths make no batch."""
    return ModelError(
        f"the tokenizer of {path} has no pad token, so it cannot make batches",
        'name one in its tokenizer_config.json, for example "pad_token": "[PAD]"; often it is the end token',
    )


def load(model: Model, device: str, dtype: torch.dtype, **model_kwargs: Any) -> SentenceTransformer:
    """Loads a model from its folder for inference, without the network and without the model's own code.

    Args:
        model: The model.
        device: `cpu` or `cuda`.
        dtype: Type of all weights that `model_kwargs` do not quantize. Transformers would otherwise take the type the
            weights were saved in.
        **model_kwargs: Passed on to the transformer, for example a `quantization_config`.

    Raises:
        ModelError: If Sentence Transformers cannot load it, its tokenizer has no pad token, its files lack weights
            that decide embeddings, or it reads no text, or images without Pillow.
    """
    if model.reads_images and find_spec("PIL") is None:
        raise ModelError(
            f"{model.path} reads images, too, and loads with Pillow alone, which is not installed", "pip install pillow"
        )
    try:
        with _quietly() as report:
            loaded = SentenceTransformer(
                str(model.path),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": dtype, **model_kwargs},
            )
    except (MemoryError, torch.OutOfMemoryError, ImportError):
        raise
    except Exception as error:  # tokenizers raises it as it is
        if model_kwargs:  # a library that quantizes may be at fault
            raise
        raise ModelError(f"Sentence Transformers cannot load {model.path}: {one_line(error)}", RESTORE) from error
    if "text" not in loaded.modalities:
        raise ModelError(
            f"{model.path} embeds {' and '.join(map(str, loaded.modalities))}, and no text",
            "embedgate gates models that embed texts",
        )
    tokenizer = getattr(loaded[0], "tokenizer", None)
    if getattr(tokenizer, "pad_token", "") is None:
        raise no_pad_token(model.path)
    for module in _modules(loaded):
        if not isinstance(module, Transformer):
            module.to(dtype=dtype)  # a transformer alone takes the dtype above, a dense layer after it does not
    loaded.eval()
    if report.missing and (lacking := _first_that_counts(loaded, report.missing)):
        raise ModelError(
            f"the weights of {model.path} lack {lacking}, so transformers draws it at random",
            "fetch or save the model anew",
        )
    return loaded


def _modules(pipeline: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The modules that texts run through, those of a Router's routes too."""
    for module in pipeline:
        if isinstance(module, Router):
            for route in module.sub_modules.values():
                yield from _modules(route.children())
        else:
            yield module


class _Report(logging.Filter):
    """Takes transformers' report of what it loaded, which names weights that it drew at random.

    Attributes:
        missing: Patterns of their names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[re.Pattern[str]] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Keeps the report from being printed, and any other line not."""
        message = _STYLE.sub("", record.getMessage())
        if "LOAD REPORT" not in message:
            return True
        self.missing += map(_pattern, re.findall(r"^(\S.*?) *\| MISSING\b", message, re.MULTILINE))
        return False


@contextmanager
def _quietly() -> Iterator[_Report]:
    """Loads without a bar of progress, and keeps transformers' report whatever the level of its logging is."""
    shows_progress = transformers_logging.is_progress_bar_enabled()
    logger, report = logging.getLogger("transformers.modeling_utils"), _Report()
    level = logger.level
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logger.addFilter(report)
    logger.setLevel(logging.WARNING)
    try:
        yield report
    finally:
        logger.setLevel(level)
        logger.removeFilter(report)
        if shows_progress:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _pattern(merged: str) -> re.Pattern[str]:
    """What the report calls `layer.{0, 2}.bias`; it says `{0...23}` where there are more than ten."""
    parts = re.split(r"\{([^}]*)\}", merged)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = (r"\d+" if "..." in numbers else f"({numbers.replace(', ', '|')})" for numbers in parts[1::2])
    return re.compile("".join(parts))


def _first_that_counts(loaded: SentenceTransformer, names: list[re.Pattern[str]]) -> str | None:
    """The first weight of such a name that embeddings depend on, as a pooler's do not; None for none.

    A weight that is not a number makes embeddings none where they depend on it.
    """
    for module in _modules(loaded):
        for name, weight in module.named_parameters():
            own = name.removeprefix("model.")  # a Transformer keeps what transformers loads under this name
            if not weight.is_floating_point() or not any(pattern.fullmatch(own) for pattern in names):
                continue
            kept = weight.detach().clone()
            weight.data.fill_(torch.nan)
            by_role = (loaded.encode_query, loaded.encode_document)
            counts = any(np.isnan(encode([PROBE], show_progress_bar=False)).any() for encode in by_role)
            weight.data.copy_(kept)
            if counts:
                return own
    return None
