"""What turns a file's results into embeddings: its inputs made of texts, and the model's own modules after it.

A file gives token embeddings, pooled embeddings, or finished ones. As Sentence Transformers does with its backends, the
modules of the model that come after what the file has computed are run on its results, in torch and float32.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from embedgate.core.errors import BuildError
from embedgate.core.model import Model
from embedgate.encoders import FloatArray, Stages
from embedgate.encoders.loading import PROBE
from embedgate.encoders.onnx.tokenizer import Batch, Tokenizer

# Outputs by the names that exporters give them, the best first. Finished embeddings come last: where a file has both,
# Sentence Transformers goes on from the tokens.
TOKENS = ("token_embeddings", "last_hidden_state")
FINISHED = "sentence_embedding"

Found = Literal["tokens", "pooled", "finished"]
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Port:
    """An input of a file.

    Attributes:
        dtype: Its type.
        shape: Its sizes, batch and sequence; None where a size is free.
    """

    dtype: npt.DTypeLike
    shape: tuple[int | None, ...]


class Sizes:
    """The shapes `[texts, tokens]` of inputs that a file takes: any, but for what it is fixed to.

    Args:
        texts: Texts that it is fixed to; None for any number.
        tokens: Tokens that it is fixed to; None for any number.

    Attributes:
        longest: Tokens of a text that it takes at most; None where nothing but the model limits them.
    """

    def __init__(self, texts: int | None, tokens: int | None) -> None:
        self.longest = tokens
        self._texts = texts

    def most(self, tokens: int) -> int | None:
        """Texts of a length that it takes at once, at most; None for any number."""
        return self._texts

    def around(self, texts: int, tokens: int) -> tuple[int, int]:
        """The shape that inputs of a shape are filled up to."""
        return self._texts or texts, self.longest or tokens


class Pipeline:
    """Texts in, embeddings out, by whatever runs a file.

    Args:
        file: What it is called in messages.
        model: The model whose tokenizer feeds it, and whose modules go on from it.
        inputs: Its inputs by name.
        run: Runs it: inputs by name in, outputs by name out.
        asked: The output to use; None to choose it.
        sizes: The shapes that it takes; None where its inputs' own say it.

    Attributes:
        output: The output that is used.
        found: What that holds.
        tokenizer: The tokenizer that feeds the file.

    Raises:
        BuildError: If it asks for what no text gives, or gives nothing that embeddings can be made of.
    """

    def __init__(
        self,
        file: str,
        model: Model,
        inputs: Mapping[str, Port],
        run: Callable[[Mapping[str, Values]], Mapping[str, Values]],
        asked: str | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        self._file = file
        self._inputs = inputs
        self._run = run
        self._sizes = sizes or Sizes(self._fixed(0), self._fixed(1))
        self.tokenizer = Tokenizer(model, self._sizes.longest)
        (probe,) = self.tokenizer.batches([PROBE], 1)
        outputs = run(self._feeds(probe))
        self.output, self.found = _chosen(file, outputs, probe, asked)
        self._modules = modules_after(model, self.found, outputs[self.output].shape[-1])
        self._kept = model.truncate_dim
        self.dim = self._finished(outputs[self.output][:1], probe)[0].shape[1]

    @property
    def described(self) -> dict[str, Any]:
        """What embeddings are made of, for the evidence."""
        return {"output": self.output, "then": [type(module).__name__ for module in self._modules]}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the verdict must know: that texts are cut which the model takes."""
        longest, own = self.tokenizer.max_tokens, self.tokenizer.own_max_tokens
        if longest >= own:
            return ()
        return (f"texts of more than {longest} tokens are cut, since {self._file} takes no longer ones",)

    def encode(self, texts: Sequence[str], batch_size: int) -> FloatArray:
        """Embeddings, float32 `[n, dim]`."""
        matrix = np.empty((len(texts), self.dim), dtype=np.float32)
        for batch in self._batches(texts, batch_size):
            matrix[batch.rows] = self._finished(self._output(batch), batch)[0]
        return matrix

    def stages(self, texts: Sequence[str]) -> Stages:
        """Intermediate results of a few texts; see `Stages`."""
        found: dict[int, tuple[FloatArray, FloatArray | None, FloatArray | None]] = {}
        for batch in self._batches(texts, 32):
            values = self._output(batch)
            finished, pooled = self._finished(values, batch)
            for position, row in enumerate(batch.rows):
                mask = batch.attention_mask[position].astype(bool)
                tokens = values[position][mask].astype(np.float32) if self.found == "tokens" else None
                found[int(row)] = finished[position], None if pooled is None else pooled[position], tokens
        rows = [found[row] for row in range(len(texts))]
        hidden = [tokens for _, _, tokens in rows if tokens is not None]
        before = [pooled for _, pooled, _ in rows if pooled is not None]
        return Stages(
            token_ids=self.tokenizer.ids(texts),
            token_embeddings=hidden if len(hidden) == len(texts) else None,
            pooled=np.stack(before) if len(before) == len(texts) else None,
            embeddings=np.stack([finished for finished, _, _ in rows]),
        )

    def _batches(self, texts: Sequence[str], batch_size: int) -> Iterator[Batch]:
        least, _ = self._sizes.around(1, 1)
        for batch in self.tokenizer.batches(texts, max(batch_size, least)):
            rows, columns = batch.input_ids.shape
            yield from batch.parts(self._sizes.most(columns) or rows)

    def _output(self, batch: Batch) -> Values:
        """The output of a batch, without what it was filled up with."""
        values = self._run(self._feeds(batch))[self.output][: len(batch.rows)]
        rows, columns = batch.input_ids.shape
        width = self._sizes.around(rows, columns)[1]
        if self.found == "tokens" and width > columns:
            values = values[:, -columns:] if self.tokenizer.pads_left else values[:, :columns]
        return values

    def _feeds(self, batch: Batch) -> dict[str, Values]:
        """A file's inputs, of the types and sizes that it asks for."""
        known = dict(batch.feeds)
        mask = known["attention_mask"]
        known.setdefault("token_type_ids", np.zeros_like(mask))
        # As transformers counts positions where padding is on the left.
        known["position_ids"] = np.where(mask > 0, np.cumsum(mask, axis=1) - 1, 1)
        if unknown := [name for name in self._inputs if name not in known]:
            raise BuildError(
                f"{self._file} asks for the input {unknown[0]}, which no text gives",
                "export it for feature extraction, with input_ids and attention_mask",
            )
        pad = self.tokenizer.pad_token_id
        return {
            name: self._sized(known[name], pad if name == "input_ids" else 0).astype(port.dtype)
            for name, port in self._inputs.items()
        }

    def _sized(self, values: Values, padding: int) -> Values:
        """Filled up to the sizes that the file takes."""
        rows, columns = values.shape
        texts, tokens = self._sizes.around(rows, columns)
        sides = (tokens - columns, 0) if self.tokenizer.pads_left else (0, tokens - columns)
        wide = np.pad(values, ((0, 0), sides), constant_values=padding)
        return np.concatenate([wide, np.repeat(wide[-1:], texts - rows, axis=0)])

    def _fixed(self, axis: int) -> int | None:
        return next((port.shape[axis] for port in self._inputs.values() if len(port.shape) == 2), None)

    def _finished(self, values: Values, batch: Batch) -> tuple[FloatArray, FloatArray | None]:
        """Finished embeddings, float32 `[n, dim]`; and what the model's `Normalize` takes, where it has one."""
        given = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        features: dict[str, Any] = {name: torch.from_numpy(each) for name, each in batch.feeds.items()}
        features["token_embeddings" if self.found == "tokens" else "sentence_embedding"] = given
        return finish(self._modules, features, self._kept)


def _chosen(file: str, outputs: Mapping[str, Values], probe: Batch, asked: str | None) -> tuple[str, Found]:
    """The output to make embeddings of, and what it holds, as its name and shape tell.

    Raises:
        BuildError: If there is none, or none of the name that was asked for.
    """
    shapes = {name: values.shape for name, values in outputs.items()}
    told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    if asked is not None and asked not in shapes:
        raise BuildError(f"{file} has no output {asked}", f"it has {told}")
    # A sequence of a fixed size is as long as the file says.
    tokens = [name for name, shape in shapes.items() if len(shape) == 3 and shape[1] >= probe.input_ids.shape[1]]
    vectors = [name for name, shape in shapes.items() if len(shape) == 2]
    wanted = [asked] if asked else [*(each for each in TOKENS if each in tokens), *tokens, FINISHED, *vectors]
    for name in wanted:
        if name in tokens:
            return name, "tokens"
        if name in vectors:
            return name, "finished" if name == FINISHED else "pooled"
    raise BuildError(
        f"{file} gives no embeddings: its outputs are {told}",
        "export it for feature extraction, so that it gives last_hidden_state or sentence_embedding",
    )


def modules_after(model: Model, found: Found, width: int) -> list[torch.nn.Module]:
    """The model's modules that are left to run, loaded without the transformer's weights.

    A file that pools may have gone on to a dense layer: its width tells.
    """
    if found == "finished":
        return []
    modules = [_load(model, each) for each in model.modules[1:]]
    if found == "tokens":
        return modules
    after = next((place + 1 for place, each in enumerate(modules) if type(each).__name__ == "Pooling"), 0)
    rest: list[Any] = modules[after:]
    while rest and type(rest[0]).__name__ == "Dense" and rest[0].in_features != width == rest[0].out_features:
        rest = rest[1:]
    return rest


def finish(
    modules: Sequence[torch.nn.Module], features: dict[str, Any], kept: int | None
) -> tuple[FloatArray, FloatArray | None]:
    """Runs what is left of a model.

    Args:
        modules: What is left.
        features: What they take, as tensors by name.
        kept: Dimensions that embeddings are cut to; None for all.

    Returns:
        Finished embeddings, float32 `[n, dim]`; and what the model's `Normalize` takes, where it has one.
    """
    pooled = None
    with torch.inference_mode():
        for module in modules:
            if type(module).__name__ == "Normalize":
                pooled = features["sentence_embedding"].numpy()
            features = module(features)
    finished: FloatArray = features["sentence_embedding"].numpy()
    return finished if kept is None else finished[:, :kept], pooled


def _load(model: Model, module: Mapping[str, Any]) -> torch.nn.Module:
    package, _, name = str(module["type"]).rpartition(".")
    kind: Any = getattr(importlib.import_module(package), name)
    loaded: torch.nn.Module = kind.load(str(model.path), subfolder=str(module["path"]), local_files_only=True)
    return loaded.eval().float()
