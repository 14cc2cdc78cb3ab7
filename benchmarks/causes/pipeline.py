"""Faults within a model: each function changes a loaded model in its place, or makes a function that does."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from causes.fault import Change
from causes.models import steps_before

Features = dict[str, Any]


def _bert(model: SentenceTransformer) -> Any:
    return model[0].model


def _layers(model: SentenceTransformer) -> nn.ModuleList:
    layers: nn.ModuleList = _bert(model).encoder.layer
    return layers


def together(*changes: Change) -> Change:
    """One change after the other."""

    def change(model: SentenceTransformer) -> None:
        for each in changes:
            each(model)

    return change


# Pooling and what follows it.


def pooling(mode: Any) -> Change:
    """Another pooling."""

    def change(model: SentenceTransformer) -> None:
        model[1] = Pooling(model[1].embedding_dimension, pooling_mode=mode)

    return change


def pools_with(mask_of: Callable[[Tensor], Tensor]) -> Change:
    """Pooling sees another mask than the transformer."""

    def change(model: SentenceTransformer) -> None:
        def masked(_: Any, given: tuple[Features]) -> tuple[Features]:
            features = given[0]
            return ({**features, "attention_mask": mask_of(features["attention_mask"])},)

        model[1].register_forward_pre_hook(masked)

    return change


def between_special_tokens(mask: Tensor) -> Tensor:
    """The tokens of a text without the first and the last; all of them where there are no others."""
    inner = mask.clone()
    inner[:, 0] = 0
    inner[torch.arange(len(mask)), mask.sum(dim=1) - 1] = 0
    return torch.where(inner.sum(dim=1, keepdim=True) > 0, inner, mask)


def first_half(mask: Tensor) -> Tensor:
    """The tokens in the first half of a text."""
    return mask * (mask.cumsum(dim=1) <= (mask.sum(dim=1, keepdim=True) + 1) // 2)


def without_last_module(model: SentenceTransformer) -> None:
    """The last module, such as Normalize, is missing."""
    del model[len(model) - 1]


def without_dense(model: SentenceTransformer) -> None:
    """The Dense layer is missing."""
    model[2] = nn.Sequential()


def without_activation(model: SentenceTransformer) -> None:
    """The Dense layer has no activation."""
    model[2].activation_function = nn.Identity()


def normalised(model: SentenceTransformer) -> None:
    """Normalises at the end."""
    model.append(Normalize())


def scaled(factor: float) -> Change:
    """Every embedding is multiplied."""

    def change(model: SentenceTransformer) -> None:
        def stretched(_: Any, __: Any, features: Features) -> Features:
            return {**features, "sentence_embedding": features["sentence_embedding"] * factor}

        model[len(model) - 1].register_forward_hook(stretched)

    return change


# Prompts.


def prompts(**changed: str) -> Change:
    """The prompts of roles are others."""

    def change(model: SentenceTransformer) -> None:
        model.prompts = {**model.prompts, **changed}

    return change


# Tokens.


def template(form: str) -> Change:
    """Special tokens are put elsewhere than around a text."""

    def change(model: SentenceTransformer) -> None:
        tokenizer = model.tokenizer
        known = [(each, tokenizer.convert_tokens_to_ids(each)) for each in ("[CLS]", "[SEP]")]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=form, pair=f"{form} $B", special_tokens=known
        )
        _never_empty(model)

    return change


def _never_empty(model: SentenceTransformer) -> None:
    """Without special tokens, an empty text has no token at all; engines put a padding token there."""
    own = model[0].preprocess

    def preprocess(texts: list[str], *args: Any, **given: Any) -> Any:
        return own([text if text.strip() else "[PAD]" for text in texts], *args, **given)

    model[0].preprocess = preprocess


def normalizer(**changed: bool) -> Change:
    """Letters are folded otherwise."""

    def change(model: SentenceTransformer) -> None:
        for name, value in changed.items():
            setattr(model.tokenizer.backend_tokenizer.normalizer, name, value)

    return change


def limit(tokens: int) -> Change:
    """Texts are cut at another number of tokens."""

    def change(model: SentenceTransformer) -> None:
        model.max_seq_length = tokens

    return change


def cut_from_the_left(model: SentenceTransformer) -> None:
    """Texts that are too long lose their beginning."""
    model.tokenizer.truncation_side = "left"


# What the transformer is given beside tokens.


def inputs(change_of: Callable[[Features], Features]) -> Change:
    """The transformer gets further or other inputs."""

    def change(model: SentenceTransformer) -> None:
        own = _bert(model).forward

        @wraps(own)
        def forward(*args: Any, **given: Any) -> Any:
            return own(*args, **{**given, **change_of(given)})

        _bert(model).forward = forward

    return change


def positions(by: int) -> Change:
    """Positions are counted from another number."""

    def shifted(given: Features) -> Features:
        return {"position_ids": (torch.arange(given["input_ids"].shape[1]) + by).clamp(max=511)[None]}

    return inputs(shifted)


def token_types(given: Features) -> Features:
    """Every token is of the second sentence's type."""
    return {"token_type_ids": torch.ones_like(given["input_ids"])}


def no_mask(given: Features) -> Features:
    """Padding is attended to."""
    return {"attention_mask": torch.ones_like(given["input_ids"])}


def causal(given: Features) -> Features:
    """A token attends to those before it alone."""
    mask = given["attention_mask"].bool()
    size = mask.shape[1]
    seen = torch.tril(torch.ones(size, size, dtype=torch.bool))
    return {"attention_mask": (seen[None] & mask[:, None, :])[:, None]}


def causal_alone(given: Features) -> Features:
    """As `causal`, where a text comes alone."""
    return causal(given) if len(given["input_ids"]) == 1 else {}


# Layers and weights.


def keep_layers(kept: slice) -> Change:
    """Layers are missing."""

    def change(model: SentenceTransformer) -> None:
        _bert(model).encoder.layer = _layers(model)[kept]

    return change


def without_layer_norm(number: int) -> Change:
    """A LayerNorm is missing."""

    def change(model: SentenceTransformer) -> None:
        _layers(model)[number].attention.output.LayerNorm = nn.Identity()

    return change


def weakened(number: int, factor: float) -> Change:
    """The products of a layer have weights that are too small."""

    def change(model: SentenceTransformer) -> None:
        with torch.no_grad():
            for module in _layers(model)[number].modules():
                if isinstance(module, nn.Linear):
                    module.weight *= factor

    return change


def shuffled(number: int) -> Change:
    """The rows of a layer's weights are in another order, as where heads were permuted in a conversion."""

    def change(model: SentenceTransformer) -> None:
        with torch.no_grad():
            weight = _layers(model)[number].attention.self.query.weight
            weight.copy_(weight[torch.randperm(len(weight), generator=torch.Generator().manual_seed(0))])

    return change


def other_words(model: SentenceTransformer) -> None:
    """The rows of the table of words are shifted by one."""
    with torch.no_grad():
        table = _bert(model).embeddings.word_embeddings.weight
        table.copy_(table.roll(1, dims=0))


def with_noise(amount: float) -> Change:
    """Every weight is a little off, as a sibling's that was trained further."""

    def change(model: SentenceTransformer) -> None:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(amount * weight.std() * torch.randn(weight.shape, generator=generator))

    return change


def older(model: SentenceTransformer) -> None:
    """The weights are those of `older`."""
    _bert(model).load_state_dict(steps_before(_bert(model).state_dict()))


def activation(function: Callable[[Tensor], Tensor]) -> Change:
    """Feed-forward layers have another activation."""

    def change(model: SentenceTransformer) -> None:
        for layer in _layers(model):
            layer.intermediate.intermediate_act_fn = function

    return change


class AlwaysDropping(nn.Module):
    """Dropout that `eval()` does not end."""

    def forward(self, hidden: Tensor) -> Tensor:
        """See `torch.nn.Dropout`."""
        return nn.functional.dropout(hidden, 0.1, training=True)


def dropout(model: SentenceTransformer) -> None:
    """Dropout is on."""
    for layer in _layers(model):
        layer.output.dropout = layer.attention.output.dropout = AlwaysDropping()
