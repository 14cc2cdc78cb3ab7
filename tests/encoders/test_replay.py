"""A replay gives a model's own vectors where nothing is changed, and says what it cannot change."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.faults import load
from helpers.prompted import PROMPTS, with_prompts
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, StaticEmbedding
from torch import nn

from embedgate.core.roles import PLAIN, Role
from embedgate.encoders import Encoder
from embedgate.encoders.change import AS_IT_IS, Change, Unplayable
from embedgate.encoders.replay import replay_of

TEXTS = ["A short text.", "ok", "The QUICK Brown Fox met Zoë in São Paulo.", "word " * 200]


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, atol=1e-5))


@pytest.fixture(scope="module")
def loaded(model):
    return load(model.path)


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
@pytest.mark.parametrize("rest", [[], [Normalize()], [Dense(384, 64), Normalize()]], ids=["pooled", "unit", "dense"])
def test_nothing_changed_gives_the_models_own_vectors(loaded, mode, rest):
    model = SentenceTransformer(modules=[loaded[0], Pooling(384, mode), *rest], device="cpu")
    replay = replay_of(model)
    assert same(replay.vectors(PLAIN, TEXTS, AS_IT_IS), model.encode(TEXTS))
    assert replay.pooling == mode
    assert replay.after == tuple(type(module).__name__ for module in rest)


def test_a_change_is_that_of_a_model_that_is_made_so(loaded):
    replay = replay_of(loaded)
    cls = SentenceTransformer(modules=[loaded[0], Pooling(384, "cls"), Normalize()], device="cpu")
    assert same(replay.vectors(PLAIN, TEXTS, Change(pooling="cls")), cls.encode(TEXTS))
    raw = SentenceTransformer(modules=[loaded[0], loaded[1]], device="cpu")
    assert same(replay.vectors(PLAIN, TEXTS, Change(without=frozenset({"Normalize"}))), raw.encode(TEXTS))


def test_a_shorter_limit_is_that_of_a_model_with_it(model):
    loaded = load(model.path)
    replay = replay_of(loaded)
    changed = replay.vectors(PLAIN, TEXTS, Change(longest=50))
    loaded.max_seq_length = 50
    assert same(changed, loaded.encode(TEXTS))


def test_prompts_that_pooling_leaves_out(small, tmp_path):
    loaded = load(with_prompts(small, tmp_path).path)
    loaded[1].include_prompt = False
    own = loaded.encode(TEXTS, prompt=PROMPTS["query"])
    assert same(replay_of(loaded).vectors(Role("query", PROMPTS["query"]), TEXTS, AS_IT_IS), own)


def test_dimensions_that_are_cut(model):
    loaded = SentenceTransformer(str(model.path), device="cpu", truncate_dim=64, local_files_only=True)
    assert same(replay_of(loaded).vectors(PLAIN, TEXTS, AS_IT_IS), loaded.encode(TEXTS))


def test_layers_that_are_left_out_are_there_again(minilm):
    loaded = load(minilm.path)
    replay, before = replay_of(loaded), loaded.encode(TEXTS)
    without = replay.vectors(PLAIN, TEXTS, Change(last=1))
    assert same(loaded.encode(TEXTS), before)
    loaded[0].model.encoder.layer = loaded[0].model.encoder.layer[:-1]
    assert same(without, loaded.encode(TEXTS))
    with pytest.raises(Unplayable, match="layers cannot be left out"):
        replay.vectors(PLAIN, TEXTS, Change(last=99))


def test_an_activation_is_that_of_a_model_with_it_and_is_put_back(loaded):
    replay = replay_of(loaded)
    layers = loaded[0].model.encoder.layer
    own = [layer.intermediate.intermediate_act_fn for layer in layers]
    changed = replay.vectors(PLAIN, TEXTS, Change(activation="relu"))
    assert [layer.intermediate.intermediate_act_fn for layer in layers] == own
    assert same(replay.vectors(PLAIN, TEXTS, AS_IT_IS), loaded.encode(TEXTS))
    try:
        for layer in layers:
            layer.intermediate.intermediate_act_fn = nn.ReLU()
        assert same(changed, loaded.encode(TEXTS))
    finally:
        for layer, activation in zip(layers, own, strict=True):
            layer.intermediate.intermediate_act_fn = activation


def test_tokens_that_are_the_same_run_once_whatever_made_them(loaded, monkeypatch):
    replay, ran = replay_of(loaded), list[int]()
    forward = loaded[0].forward
    monkeypatch.setattr(
        loaded[0], "forward", lambda features: ran.append(len(features["input_ids"])) or forward(features)
    )
    replay.vectors(PLAIN, TEXTS, AS_IT_IS)
    assert sum(ran) == len(TEXTS)
    replay.vectors(PLAIN, TEXTS, Change(longest=50))
    assert sum(ran) == len(TEXTS) + 1, "but for the longest, no text is cut"
    replay.vectors(PLAIN, TEXTS, Change(types=1))
    assert sum(ran) == 2 * len(TEXTS) + 1


def test_what_is_not_kept_for_long_is_made_anew(loaded, monkeypatch):
    own = loaded.encode(TEXTS)
    monkeypatch.setattr("embedgate.encoders.replay.KEPT", 10_000)
    replay = replay_of(loaded)
    for change in (AS_IT_IS, Change(types=1), AS_IT_IS):
        found = replay.vectors(PLAIN, TEXTS, change)
    assert same(found, own)
    assert replay._bytes == sum(each.nbytes for each in replay._states.values())


def test_what_cannot_be_played_says_why(loaded):
    static = SentenceTransformer(modules=[StaticEmbedding(loaded.tokenizer, embedding_dim=8)], device="cpu")
    with pytest.raises(Unplayable, match="not made of a transformer and pooling"):
        replay_of(static)
    both = SentenceTransformer(modules=[loaded[0], Pooling(384, ("mean", "cls"))], device="cpu")
    replay = replay_of(both)
    assert same(replay.vectors(PLAIN, TEXTS, AS_IT_IS), both.encode(TEXTS))
    with pytest.raises(Unplayable, match="several ways at once"):
        replay.vectors(PLAIN, TEXTS, Change(pooling="max"))


def test_an_encoder_without_modules_says_so():
    class Box(Encoder):
        def encode(self, texts, batch_size=32):
            raise NotImplementedError

        def evidence(self):
            raise NotImplementedError

    with pytest.raises(Unplayable, match="shows no modules"):
        Box().replay()
