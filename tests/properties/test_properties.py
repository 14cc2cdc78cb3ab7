"""Every fault that must break a property does, with its cause named; sound encoders keep all of them.

Each fault is a combination a host project could have added: a factory from model folder to encoder.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from helpers.faults import Wrapped, cls_pooling, load, sound, upper_case_kept
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers.processors import TemplateProcessing

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError
from embedgate.core.judgement import Diagnosis, Judgement, Proof, Tried
from embedgate.core.settings import bundled_baselines
from embedgate.encoders import Stability
from embedgate.encoders.lengths import of_length
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.onnxruntime import encoder as onnxruntime
from embedgate.encoders.registry import is_emulated
from embedgate.properties import variations
from embedgate.properties.batches import CROWD, crowd
from embedgate.properties.contract import CANARIES, HUGE
from embedgate.properties.variations import VARIATIONS

BF16 = Combination.parse("torch-bf16-cpu")


def ignores_attention_mask(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    forward = model[0].model.forward
    model[0].model.forward = lambda *args, attention_mask, **kwargs: forward(
        *args, attention_mask=torch.ones_like(attention_mask), **kwargs
    )
    return model


def forgets_attention_mask(path: Path, _: str) -> SentenceTransformer:
    """So that nothing behind it can tell padding from tokens by the mask."""
    model = load(path)
    forward = model[0].forward
    model[0].forward = lambda features, **kwargs: forward(
        {**features, "attention_mask": torch.ones_like(features["attention_mask"])}, **kwargs
    )
    return model


def pools_padding(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    forward = model[1].forward

    def pool(features):
        mask = features["attention_mask"]
        pooled = forward({**features, "attention_mask": torch.ones_like(mask)})
        return {**pooled, "attention_mask": mask}

    model[1].forward = pool
    return model


def swaps_in_large_batches(path: Path, _: str):
    class Swapping(Wrapped):
        def encode(self, texts, batch_size=32):
            rows = self.model.encode(list(texts), batch_size=batch_size)
            if len(texts) > 32 and batch_size > 32:
                rows[[3, 17]] = rows[[17, 3]]
            return rows

    return Swapping(path, lambda rows, texts: rows)


def leaves_dropout_on(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    # As a layer of one's own that calls the function does, whatever mode the model is in.
    model[0].model.embeddings.register_forward_hook(
        lambda module, inputs, result: torch.nn.functional.dropout(result, 0.1, training=True)
    )
    return model


def nan_above_the_limit(path: Path, _: str) -> Wrapped:
    model = load(path)
    tokenizer, limit = model.tokenizer, model.max_seq_length

    def tamper(rows: np.ndarray, texts: list[str]) -> np.ndarray:
        lengths = [len(ids) for ids in tokenizer(texts, truncation=False)["input_ids"]]
        rows[np.array(lengths) > limit] = np.nan
        return rows

    return Wrapped(path, tamper)


def overflows_in_fp16(path: Path, _: str) -> SentenceTransformer:
    model = SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": torch.float16}, local_files_only=True)
    with torch.no_grad():
        model[0].model.encoder.layer[-1].attention.output.LayerNorm.weight.mul_(60_000)
    return model


def without_special_tokens(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    return model


def negation_inverted(path: Path, _: str) -> Wrapped:
    class Inverting(Wrapped):
        def encode(self, texts, batch_size=32):
            return self.model.encode([text.replace(" did not ", " ") for text in texts], batch_size=batch_size)

    return Inverting(path, lambda rows, texts: rows)


def remembers_by_beginning(path: Path, _: str):
    class Remembering(Wrapped):
        """A cache whose key is the first words of a text."""

        def encode(self, texts, batch_size=32):
            known = self.__dict__.setdefault("known", {})
            fresh = {text[:16]: text for text in texts if text[:16] not in known}
            if fresh:
                known.update(zip(fresh, self.model.encode(list(fresh.values()), batch_size=batch_size), strict=True))
            return np.stack([known[text[:16]] for text in texts])

    return Remembering(path, lambda rows, texts: rows)


def shares_a_buffer(path: Path, _: str):
    class Sharing(Wrapped):
        """Leaves its batch where another caller overwrites it."""

        batch: list[str]
        filled = threading.Barrier(2)

        def encode(self, texts, batch_size=32):
            self.batch = list(texts)
            if threading.current_thread() is not threading.main_thread():
                self.filled.wait()
            return self.model.encode(self.batch[: len(texts)], batch_size=batch_size)

    return Sharing(path, lambda rows, texts: rows)


def is_busy_for_others(path: Path, _: str):
    class Busy(Wrapped):
        running = threading.Lock()

        def encode(self, texts, batch_size=32):
            if not self.running.acquire(blocking=False):
                raise RuntimeError("Infer Request is busy")
            try:
                return self.model.encode(list(texts), batch_size=batch_size)
            finally:
                self.running.release()

    return Busy(path, lambda rows, texts: rows)


def blocks_for_good(path: Path, _: str):
    class Blocking(Wrapped):
        """Two callers wait for each other's lock."""

        turn = threading.Event()

        def encode(self, texts, batch_size=32):
            if threading.current_thread() is not threading.main_thread():
                self.turn.wait()
            return self.model.encode(list(texts), batch_size=batch_size)

    return Blocking(path, lambda rows, texts: rows)


def reads_beyond_the_limit(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    model.max_seq_length = 512
    return model


def place_leaks(path: Path, _: str) -> Wrapped:
    return Wrapped(path, lambda rows, texts: rows + np.arange(len(texts), dtype=np.float32)[:, None] * 1e-3)


def neighbour_leaks(path: Path, _: str) -> Wrapped:
    return Wrapped(path, lambda rows, texts: (rows + 0.02 * rows.mean(axis=0)).astype(np.float32))


def neighbour_leaks_and_rounds(path: Path, _: str) -> Wrapped:
    """It never rounds twice alike, which is not why a neighbour leaks."""
    noise = np.random.default_rng(0)
    leaking = neighbour_leaks(path, _)
    tamper = leaking.tamper
    leaking.tamper = lambda rows, texts: tamper(rows, texts) + noise.normal(0, 1e-7, rows.shape).astype(np.float32)
    return leaking


def stays_in_training(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    model.train()
    model.eval = lambda: model  # which encode calls
    return model


def another_each_time(path: Path, _: str) -> Wrapped:
    """Built a second time, it is another encoder."""
    another_each_time.built += 1
    scale = 1 + 0.01 * another_each_time.built
    direction = np.linspace(-1, 1, 384, dtype=np.float32) * scale
    return Wrapped(path, lambda rows, texts: rows + 0.01 * direction)


another_each_time.built = 0


def pools_otherwise_without_padding(path: Path, _: str, *, alone: bool = True) -> SentenceTransformer:
    model = load(path)
    forward, cls = model[1].forward, Pooling(384, pooling_mode="cls")

    def pool(features):
        mask = features["attention_mask"]
        return cls.forward(features) if mask.all() and (alone or len(mask) > 1) else forward(features)

    model[1].forward = pool
    return model


def order_by_length(path: Path, _: str) -> Wrapped:
    return Wrapped(path, lambda rows, texts: rows[np.argsort([len(text) for text in texts], kind="stable")])


def not_normalised(path: Path, _: str) -> Wrapped:
    return Wrapped(path, lambda rows, texts: rows * np.float32(1.5))


def refuses_emoji(path: Path, _: str) -> Wrapped:
    class Refusing(Wrapped):
        def encode(self, texts, batch_size=32):
            for text in texts:
                text.encode("cp1252", errors="strict" if "👍" in text else "ignore")
            return self.model.encode(list(texts), batch_size=batch_size)

    return Refusing(path, lambda rows, texts: rows)


def half_the_dimensions(path: Path, _: str) -> Wrapped:
    class Halving(Wrapped):
        """Only for a text alone."""

        def encode(self, texts, batch_size=32):
            rows = self.model.encode(list(texts), batch_size=batch_size)
            return rows[:, :192] if list(texts) == ["word"] else rows

    return Halving(path, lambda rows, texts: rows)


# Variation it must break, layer and cause it must be told with.
VARYING = {
    "mask-fp32-cpu": (
        ignores_attention_mask,
        "padding",
        "hidden states",
        "with the attention mask ignored by its layers",
    ),
    "forgot-fp32-cpu": (
        forgets_attention_mask,
        "padding",
        "hidden states",
        "the attention mask ignored by its layers and by",
    ),
    "pooled-fp32-cpu": (pools_padding, "padding", "pooling", "with a mean over padding, too"),
    "equal-fp32-cpu": (
        pools_otherwise_without_padding,
        "unpadded",
        "pooling",
        "with CLS pooling in a batch without padding",
    ),
    "beside-fp32-cpu": (
        partial(pools_otherwise_without_padding, alone=False),
        "unpadded",
        "pooling",
        "with CLS pooling in a batch of several without padding",
    ),
    "swapped-fp32-cpu": (swaps_in_large_batches, "batch_size", "order", "it received the embedding of"),
    "dropout-fp32-cpu": (leaves_dropout_on, "repetition", "repetition", "asked for again, came back as other vectors"),
    "stale-fp32-cpu": (remembers_by_beginning, "history", "order", "these are the reference's vectors of other texts"),
    "shared-fp32-cpu": (shares_a_buffer, "concurrency", "order", "texts receive the embeddings of other texts"),
    "busy-fp32-cpu": (is_busy_for_others, "concurrency", "unknown", "Infer Request is busy"),
    "beyond-fp32-cpu": (reads_beyond_the_limit, "truncation", "tokens", "with texts that are not cut: cosine 1.0000"),
    "place-fp32-cpu": (place_leaks, "position", "unknown", "it moves with its place in the batch"),
    "twins-fp32-cpu": (place_leaks, "self_similarity", "unknown", "one text has two vectors in one batch"),
    "turned-fp32-cpu": (place_leaks, "symmetry", "unknown", "it moves when the two texts change places"),
    "neighbour-fp32-cpu": (neighbour_leaks, "neighbours", "unknown", "it moves with the text beside it"),
    "again-fp32-cpu": (another_each_time, "threads", "unknown", "another build of the encoder"),
    "length-fp32-cpu": (order_by_length, "order", "order", "these are the reference's vectors"),
}
# Canaries it must break, one it must not, layer and cause.
UNSOUND = {
    "long-fp32-cpu": (nan_above_the_limit, ("above_limit", "huge"), "at_limit", "finiteness", "holds NaN or infinity"),
    "overflow-fp16-cpu": (
        overflows_in_fp16,
        ("one_token", "at_limit"),
        None,
        "finiteness",
        "holds NaN or infinity; it begins in the hidden states",
    ),
    "scaled-fp32-cpu": (not_normalised, ("one_token",), None, "normalisation", "of length 1.5000"),
    "refuses-fp32-cpu": (refuses_emoji, ("emoji",), "combining", "unknown", "is refused, and the reference takes it"),
    "halved-fp32-cpu": (half_the_dimensions, ("one_token",), "empty", "dimension", "instead of float32 [1, 384]"),
}
READING = {
    "bare-fp32-cpu": (without_special_tokens, "special tokens at both ends are missing"),
    "upper-fp32-cpu": (
        upper_case_kept,
        "(capital letters and accents are kept: with lower case and no accents, they are read as the reference reads them)",
    ),
}
OTHER = {
    "negation-fp32-cpu": negation_inverted,
    "cls-fp32-cpu": cls_pooling,
    "rounds-fp32-cpu": neighbour_leaks_and_rounds,
    "training-fp32-cpu": stays_in_training,
    "blocked-fp32-cpu": blocks_for_good,
}
SOUND = {"twice-fp32-cpu": sound}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("data") / "few.jsonl"
    rows = [{"sentence1": a, "sentence2": b, "score": float(i)} for i, (a, b) in enumerate(pairwise(crowd()[:5]))]
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


@pytest.fixture(scope="module")
def context(context_with, data, tmp_path_factory):
    faults = {name: factory for group in (VARYING, UNSOUND, READING) for name, (factory, *_) in group.items()}
    nothing_pinned = tmp_path_factory.mktemp("baselines")
    nothing_pinned.joinpath("pinned_examples.jsonl").touch()
    made = context_with({**faults, **OTHER, **SOUND}, data=(data,), baselines=nothing_pinned)
    yield made
    made.session.close()


def told(judgement: Judgement, layer: str, cause: str) -> None:
    assert judgement.verdict == "fail", f"{judgement.combination} stayed green: {judgement.message}"
    assert judgement.diagnosis.layer == layer, judgement.explain()
    assert cause in judgement.explain()


@pytest.mark.parametrize("name", VARYING)
def test_an_embedding_that_depends_on_its_surroundings_turns_red(context, name):
    _, variation, layer, cause = VARYING[name]
    judgement = context.ask("invariance", Combination.parse(name), variation)
    told(judgement, layer, cause)
    assert judgement.check == "invariance"
    assert judgement.metric == variation
    assert judgement.example


def test_what_moves_by_itself_is_blamed_on_nothing_else(context):
    judgement = context.ask("invariance", Combination.parse("dropout-fp32-cpu"), "padding")
    told(judgement, "repetition", "asked for again, came back as other vectors")
    assert "with padding" not in judgement.explain()
    assert "dropout" not in judgement.diagnosis.cause, "no evidence shows it"
    assert (
        judgement.diagnosis
        == context.ask("invariance", Combination.parse(judgement.combination), "repetition").diagnosis
    )


def test_dropout_is_named_where_evidence_shows_it(context):
    judgement = context.ask("invariance", Combination.parse("training-fp32-cpu"), "repetition")
    assert "asked for again, came back as other vectors" in judgement.diagnosis.cause
    assert "dropout or batch norm modules are in training mode" in judgement.diagnosis.cause


def test_a_move_is_not_blamed_on_a_repetition_that_moves_far_less(context):
    combination = Combination.parse("rounds-fp32-cpu")
    told(context.ask("invariance", combination, "repetition"), "rounding", "are rounding")
    told(context.ask("invariance", combination, "neighbours"), "unknown", "it moves with the text beside it")


def test_one_cause_of_a_run_is_told_once_whatever_text_shows_it(context):
    combination = Combination.parse("scaled-fp32-cpu")
    found = [context.ask("contract.odd", combination, canary) for canary in ("empty", "one_token", "emoji")]
    assert {judgement.diagnosis for judgement in found} == {context.diagnose(context.session.run(combination))}


def test_a_length_that_only_an_odd_text_has_is_its_own(context_with, data):
    def stretching(path: Path, _: str) -> Wrapped:
        return Wrapped(path, lambda rows, texts: rows * (2 if "word" in texts else 1))

    combination = Combination.parse("stretching-fp32-cpu")
    context = context_with({combination.id: stretching}, data=(data,))
    told(context.ask("contract.odd", combination, "one_token"), "normalisation", "have other lengths than 1")
    assert context.ask("contract.odd", combination, "emoji").verdict == "pass"
    context.close()


PROOF = Proof("reproduced", 24, 0.9999, 0.01, 0.9)
CLS = Diagnosis("pooling", "CLS pooling", "mend it", replace(PROOF, layers=("pooling",)))
MASK = Diagnosis("hidden states", "no mask", "mend it", replace(PROOF, layers=("hidden states", "batch")))
CUT = Diagnosis("tokens", "cut at 64 tokens", "mend it", replace(PROOF, layers=("tokens", "length")))
RULED_OUT = Diagnosis("unknown", "nothing known", "", Proof("read", 24, tried=(Tried("CLS pooling", 0.63),)))
BY_CHANCE = Diagnosis("scores", "many small differences add up", "")


@pytest.mark.parametrize(
    ("of_run", "name", "variation", "told"),
    [
        (MASK, "place-fp32-cpu", "position", MASK),
        (CLS, "place-fp32-cpu", "position", None),
        (BY_CHANCE, "place-fp32-cpu", "position", None),
        (CUT, "beyond-fp32-cpu", "truncation", CUT),
        (MASK, "beyond-fp32-cpu", "truncation", None),
        (MASK, "dropout-fp32-cpu", "repetition", None),
        (MASK, "busy-fp32-cpu", "concurrency", None),
    ],
)
def test_what_was_observed_gives_way_to_a_cause_that_explains_it(context, monkeypatch, of_run, name, variation, told):
    combination = Combination.parse(name)
    monkeypatch.setattr(context, "diagnose", lambda run: BY_CHANCE)
    own = context.ask("invariance", combination, variation).diagnosis
    monkeypatch.setattr(context, "diagnose", lambda run: of_run)
    assert context.ask("invariance", combination, variation).diagnosis == (told or own)


def test_where_nothing_reproduces_it_a_move_is_told_with_the_layer_at_which_it_begins(context, monkeypatch):
    monkeypatch.setattr(context, "diagnose", lambda run: BY_CHANCE)
    for name, layer in (("mask-fp32-cpu", "hidden states"), ("pooled-fp32-cpu", "pooling")):
        judgement = context.ask("invariance", Combination.parse(name), "padding")
        told(judgement, layer, f"length of its neighbours, that is with padding; it begins in the {layer}")


def test_what_is_not_known_says_what_was_ruled_out(context, monkeypatch):
    monkeypatch.setattr(context, "diagnose", lambda run: RULED_OUT)
    judgement = context.ask("invariance", Combination.parse("place-fp32-cpu"), "position")
    assert judgement.diagnosis.proof == RULED_OUT.proof
    told(judgement, "unknown", "it moves with its place in the batch\n  ruled out: CLS pooling (0.63 off)\n")


def test_whitespace_is_shown_as_it_is(context_with, data):
    def broken(path: Path, _: str) -> Wrapped:
        def tamper(rows: np.ndarray, texts: list[str]) -> np.ndarray:
            rows[[not text.strip() for text in texts]] = np.nan
            return rows

        return Wrapped(path, tamper)

    combination = Combination.parse("blank-fp32-cpu")
    context = context_with({combination.id: broken}, data=(data,))
    found = [context.ask("contract.odd", combination, canary).message for canary in ("empty", "whitespace")]
    context.close()
    assert found[0].startswith("'' gives an embedding that holds NaN")
    assert found[1].startswith("' \\t\\n\\xa0\\u3000 ' gives an embedding that holds NaN")


@pytest.mark.slow("callers that wait for each other are red, and the session goes on")
def test_callers_that_wait_for_each_other_turn_red(context, monkeypatch):
    monkeypatch.setattr(variations, "PATIENCE", 0.1)
    judgement = context.ask("invariance", Combination.parse("blocked-fp32-cpu"), "concurrency")
    told(judgement, "unknown", "they seem to wait for each other")


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_vector_turns_red(context, name):
    _, broken, kept, layer, cause = UNSOUND[name]
    combination = Combination.parse(name)
    for canary in broken:
        told(context.ask("contract.odd", combination, canary), layer, cause)
    if kept:
        assert context.ask("contract.odd", combination, kept).verdict == "pass"


@pytest.mark.parametrize("name", READING)
def test_other_tokens_turn_red(context, name):
    _, cause = READING[name]
    told(context.ask("contract.tokens", Combination.parse(name)), "tokens", cause)


@pytest.mark.slow("swapped outputs are found, and the smallest batch that swaps")
def test_swapped_outputs_are_found_in_the_smallest_batch_that_swaps(context):
    combination = Combination.parse("swapped-fp32-cpu")
    assert len(context.ask("invariance", combination, "batch_size").example) == 33
    assert context.ask("invariance", combination, "padding").verdict == "pass"


@pytest.mark.usefixtures("few_cases")
def test_fp16_overflow_is_red_as_what_it_is_and_not_as_an_average(context):
    combination = Combination.parse("overflow-fp16-cpu")
    told(context.ask("effective", combination), "evidence", "hold NaN or infinity")
    told(context.ask("contract.any", combination), "finiteness", "it begins in the hidden states")
    judgement = context.ask("ordering.margin", combination)
    assert judgement.verdict == "fail"
    assert "hold NaN or infinity" in judgement.message
    assert context.ask("ordering.kept", combination, "order_kept").verdict == "fail"


@pytest.mark.slow("a lost negation is found, and the smallest sentences that show it")
def test_inverted_negation_turns_red_with_the_smallest_sentences(context):
    judgement = context.ask("ordering.margin", Combination.parse("negation-fp32-cpu"))
    assert judgement.verdict == "fail"
    assert "(negation)" in judgement.message
    anchor, nearer, farther = judgement.example
    assert anchor.count(".") == nearer.count(".") == farther.count(".") == 1
    assert " did not " in farther
    assert len(anchor.split()) <= 6
    shown = judgement.explain()
    assert shown.count("->") >= 2, "both arms' similarities of both pairs"
    assert farther in shown


def test_flips_are_counted_by_relation(context):
    judgement = context.ask("ordering.kept", Combination.parse("negation-fp32-cpu"), "order_kept")
    assert judgement.verdict == "fail"
    assert "(negation " in judgement.message
    assert judgement.value < 0.98, "the small model tells some 20 of 60 negations apart"
    assert judgement.low < judgement.value < judgement.high


def test_moved_similarity_turns_red_with_its_layer(context):
    told(context.ask("ordering.similarity", Combination.parse("cls-fp32-cpu")), "pooling", "with CLS pooling")


def properties_of(context, combination: Combination) -> dict[str, Judgement]:
    checks: dict[str, Callable[[], Judgement]] = {
        **{name: lambda name=name: context.ask("invariance", combination, name) for name in VARIATIONS},
        **{name: lambda name=name: context.ask("contract.odd", combination, name) for name in CANARIES},
        "any_text": lambda: context.ask("contract.any", combination),
    }
    if not combination.is_reference:
        checks |= {
            "order": lambda: context.ask("ordering.margin", combination),
            "similarity": lambda: context.ask("ordering.similarity", combination),
            "order_kept": lambda: context.ask("ordering.kept", combination, "order_kept"),
            "tokens": lambda: context.ask("contract.tokens", combination),
        }
    return {name: check() for name, check in checks.items()}


@pytest.mark.slow("every property is green for sound encoders, the reference among them")
@pytest.mark.parametrize("name", ["torch-fp32-cpu", *SOUND])
def test_a_sound_encoder_keeps_every_property(context, name):
    found = properties_of(context, Combination.parse(name))
    assert {metric: j.explain() for metric, j in found.items() if j.verdict != "pass"} == {}


@pytest.mark.slow("sound combinations are green for several seeds")
@pytest.mark.usefixtures("few_cases")  # the approved set has no seed
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(BF16.id, marks=pytest.mark.skipif(is_emulated(BF16), reason="this CPU emulates bfloat16")),
        "onnxruntime-int8-cpu",
    ],
)
def test_sound_combinations_stay_green_whatever_the_seed_and_order(context_with, data, name, seed):
    context = context_with(data=(data,), seed=seed)
    try:
        found = properties_of(context, Combination.parse(name))
    finally:
        context.close()
    assert {metric: j.explain() for metric, j in found.items() if j.verdict == "fail"} == {}


def test_another_provider_turns_red(context, model, monkeypatch):
    """ONNX Runtime's own build for the CPU has a second provider, which takes none of the nodes and all of the name."""
    session = onnxruntime.session

    def elsewhere(graph, threads, optimized=None, device="cpu", profile=None):
        made = session(graph, threads, optimized, device, profile)
        made.set_providers(["AzureExecutionProvider", "CPUExecutionProvider"])
        return made

    if "AzureExecutionProvider" not in ort.get_available_providers():
        pytest.skip("this onnxruntime has one provider alone")
    monkeypatch.setattr(onnxruntime, "session", elsewhere)
    combination = Combination.parse("onnxruntime-fp32-cpu")
    told(context.ask("effective", combination), "evidence", "named cpu, but it runs on AzureExecutionProvider")


def test_results_are_copied_before_they_are_compared(context_with, data):
    """An encoder that answers in the same buffer each time would else be compared with itself."""

    def reusing(path: Path, _: str):
        class Reusing(Wrapped):
            buffer = np.empty((4096, 384), dtype=np.float32)
            drawn = np.random.default_rng(0)

            def encode(self, texts, batch_size=32):
                rows = self.buffer[: len(texts)]
                rows[:] = self.drawn.standard_normal(rows.shape)
                return rows

        return Reusing(path, lambda rows, texts: rows)

    combination = Combination.parse("reusing-int8-cpu")
    context = context_with({combination.id: reusing}, data=(data,))
    judgement = context.ask("invariance", combination, "repetition")
    context.close()
    assert judgement.verdict == "fail"


def test_a_factory_that_gives_the_same_encoder_twice_is_told(context_with, data, model):
    only = load(model.path)
    combination = Combination.parse("only-fp32-cpu")
    context = context_with({combination.id: lambda path, device: only}, data=(data,))
    with pytest.raises(BuildError, match="returned the same encoder twice"):
        context.ask("invariance", combination, "history")
    assert context.ask("invariance", combination, "repetition").verdict == "pass"
    context.close()


def test_a_wrong_number_of_rows_is_lost_quality_and_no_trouble(context_with, data):
    def losing(path: Path, _: str) -> Wrapped:
        return Wrapped(path, lambda rows, texts: rows[:-1] if len(texts) == 2 else rows)

    combination = Combination.parse("losing-fp32-cpu")
    context = context_with({combination.id: losing}, data=(data,))
    told(context.ask("invariance", combination, "neighbours"), "unknown", "an array of shape (1, 384) for 2 texts")
    context.close()


@pytest.mark.slow("a fault of large batches is found for several seeds")
@pytest.mark.parametrize("seed", [4, 7, 10])
def test_large_batches_are_tried_whatever_the_seed(context_with, data, seed):
    def swapping(path: Path, _: str):
        class Swapping(Wrapped):
            def encode(self, texts, batch_size=32):
                rows = self.model.encode(list(texts), batch_size=batch_size)
                if len(texts) > 40 and batch_size > 40:
                    rows[[0, 1]] = rows[[1, 0]]
                return rows

        return Swapping(path, lambda rows, texts: rows)

    combination = Combination.parse("swapping-fp32-cpu")
    context = context_with({combination.id: swapping}, data=(data,), seed=seed)
    judgement = context.ask("invariance", combination, "batch_size")
    context.close()
    told(judgement, "order", "it received the embedding of")
    assert len(judgement.example) == 41


def test_two_texts_change_places_too(context_with, data):
    def sorting_pairs(path: Path, _: str) -> Wrapped:
        return Wrapped(path, lambda rows, texts: rows[np.argsort(texts)] if len(texts) == 2 else rows)

    combination = Combination.parse("sorting-fp32-cpu")
    context = context_with({combination.id: sorting_pairs}, data=(data,))
    found = {name: context.ask("invariance", combination, name).verdict for name in ("order", "symmetry")}
    context.close()
    assert found == {"order": "fail", "symmetry": "fail"}


def test_stability_can_be_decided_in_the_tolerances(context_with, data, tmp_path):
    own = bundled_baselines().joinpath("tolerances.toml").read_text("utf-8")
    own += "\n[combination.leaking-fp32-cpu.stability]\nbatch = 0.1\n"
    tmp_path.joinpath("tolerances.toml").write_text(own)
    combination = Combination.parse("leaking-fp32-cpu")
    context = context_with({combination.id: neighbour_leaks}, data=(data,), baselines=tmp_path)
    judgement = context.ask("invariance", combination, "neighbours")
    context.close()
    assert (judgement.verdict, judgement.limit) == ("pass", 0.1)


def test_the_text_to_blame_is_told_and_not_its_neighbours(context_with, data):
    """A text of which every embedding of its batch becomes NaN; and a batch in which no single text is to blame."""

    def poisoned(path: Path, _: str) -> Wrapped:
        return Wrapped(path, lambda rows, texts: rows * (np.nan if any("\x00" in text for text in texts) else 1))

    def crowded(path: Path, _: str) -> Wrapped:
        return Wrapped(path, lambda rows, texts: rows * (np.nan if 50 < len(texts) < 120 else 1))

    names = {"poisoned-fp32-cpu": poisoned, "crowded-fp32-cpu": crowded}
    context = context_with(names, data=(data,), examples=(("a\x00b", "An innocent one."),))
    first, second = (context.ask("contract.any", Combination.parse(name)) for name in names)
    context.close()
    told(first, "finiteness", "holds NaN or infinity")
    assert first.example == ("a\x00b",)
    told(second, "finiteness", "in a batch of many, and not alone")


def test_tokens_that_are_not_shown_are_no_pass(context):
    judgement = context.ask("contract.tokens", Combination.parse("scaled-fp32-cpu"))
    assert judgement.verdict == "inconclusive"
    assert "does not show its tokens" in judgement.message


@pytest.mark.usefixtures("few_cases")
def test_an_example_that_the_reference_refuses_is_left_to_the_contract(context_with, data):
    context = context_with(data=(data,), examples=(("half \ud83d of a pair",), ("A plain one.",)))
    combination = Combination.parse("onnxruntime-fp32-cpu")
    assert context.ask("invariance", combination, "repetition").verdict == "pass"
    assert context.ask("ordering.similarity", combination).verdict == "pass"
    assert context.ask("contract.any", combination).verdict == "pass"
    context.close()


def test_an_encoder_is_held_to_what_it_declares_itself(context_with, data):
    """The same leak: beyond what is typical of fp32, within what the encoder says of itself."""

    def declaring(path: Path, device: str) -> Wrapped:
        encoder = neighbour_leaks(path, device)
        encoder.stability = Stability(batch=0.1)
        return encoder

    combination = Combination.parse("honest-fp32-cpu")
    context = context_with({combination.id: declaring}, data=(data,))
    judgement = context.ask("invariance", combination, "neighbours")
    context.close()
    assert judgement.verdict == "pass"
    assert 1e-3 < judgement.value <= judgement.limit == 0.1


def test_a_bound_that_is_declared_is_not_far_from_what_is_met(context):
    """Dynamic int8 may depend on its batch; a bound ten times as wide would let anything pass."""
    combination = Combination.parse("onnxruntime-int8-cpu")
    judgement = context.ask("invariance", combination, "batch_size")
    assert judgement.verdict == "pass"
    assert judgement.limit / 10 < judgement.value <= judgement.limit


@pytest.mark.usefixtures("few_cases")
def test_a_pinned_example_is_tried_first(context_with, data, tmp_path):
    """One that is far too rare to be drawn."""
    rare = ["Anna sold the gold reserve.", "Ben sold the gold reserve to Zoe.", "A wombat yawned."]

    def broken_for_one(path: Path, _: str) -> Wrapped:
        def tamper(rows: np.ndarray, texts: list[str]) -> np.ndarray:
            for row, text in zip(rows, texts, strict=True):
                row[:] = row[::-1] if text == rare[1] else row
            return rows

        return Wrapped(path, tamper)

    combination = Combination.parse("rare-fp32-cpu")

    def judgement(**options) -> Judgement:
        context = context_with({combination.id: broken_for_one}, data=(data,), **options)
        found = context.ask("ordering.similarity", combination)
        context.close()
        return found

    assert judgement().verdict == "pass"
    given = judgement(examples=(tuple(rare),))
    assert given.verdict == "fail"
    assert given.example == tuple(rare)
    tmp_path.joinpath("pinned_examples.jsonl").write_text(json.dumps({"texts": rare, "reason": "seen in production"}))
    assert judgement(baselines=tmp_path).example == tuple(rare)


def test_a_seed_encodes_in_another_order_and_measures_in_the_same(context_with, tmp_path):
    texts = [f"Number {number} is late." for number in range(100, 180)]
    file = tmp_path / "alike.jsonl"
    pairs = zip(texts[::2], texts[1::2], strict=True)
    rows = [{"sentence1": a, "sentence2": b, "score": float(i % 5)} for i, (a, b) in enumerate(pairs)]
    file.write_text("\n".join(map(json.dumps, rows)))
    orders: list[list[str]] = []

    class Noting(Wrapped):
        def encode(self, texts, batch_size=32):
            orders.append(list(texts))
            return self.model.encode(list(texts), batch_size=batch_size)

    combination = Combination.parse("noting-fp32-cpu")
    found = []
    for seed in (None, 7):
        context = context_with(
            {combination.id: lambda path, _: Noting(path, lambda rows, texts: rows)}, data=(str(file),), seed=seed
        )
        found.append(context.session.run(combination).embeddings)
        context.close()
    usual, seeded = found
    assert orders[0] != orders[-1]
    assert sorted(orders[0]) == sorted(orders[-1])
    assert usual.inputs == seeded.inputs
    np.testing.assert_allclose(usual.matrix, seeded.matrix, atol=1e-6)


@pytest.mark.slow("the checks of order encode each text once")
def test_each_text_is_encoded_once_by_the_checks_of_order(context_with, data):
    counted: list[str] = []

    class Counting(Wrapped):
        def encode(self, texts, batch_size=32):
            counted.extend(texts)
            return self.model.encode(list(texts), batch_size=batch_size)

    combination = Combination.parse("counting-fp32-cpu")
    context = context_with({combination.id: lambda path, _: Counting(path, lambda rows, texts: rows)}, data=(data,))
    for _ in range(2):
        context.ask("ordering.margin", combination)
        context.ask("ordering.similarity", combination)
        context.ask("ordering.kept", combination, "order_kept")
    context.close()
    assert len(counted) == len(set(counted)) > 1_000


def test_a_closed_encoder_is_built_again(context_with, data):
    built: list[str] = []

    def building(path: Path, _: str) -> SentenceTransformer:
        built.append("x")
        return load(path)

    first, second = (Combination.parse(name) for name in ("one-fp32-cpu", "other-fp32-cpu"))
    context = context_with({first.id: building, second.id: building}, data=(data,))
    context.session.run(first)
    context.session.run(second)
    assert context.ask("contract.odd", first, "empty").verdict == "pass"
    context.close()
    assert len(built) == 3


def test_what_the_reference_refuses_may_be_refused(context):
    judgement = context.ask("contract.odd", Combination.parse("twice-fp32-cpu"), "surrogates")
    assert judgement.verdict == "pass"
    assert judgement.message.startswith("refused, as by the reference: TypeError")


def test_canaries_reach_the_limit_to_the_token(model):
    tokenizer = Tokenizer(model)
    own = tokenizer._tokenizer
    for beyond in (-1, 0, 1):
        assert len(own(of_length(tokenizer, beyond), truncation=False)["input_ids"]) == tokenizer.max_tokens + beyond
    assert len(of_length(None, 0).split()) == 512
    assert len(CANARIES["huge"](tokenizer)) == HUGE


def test_canaries_are_what_their_names_say(model):
    tokenizer = Tokenizer(model)
    texts = {name: make(tokenizer) for name, make in CANARIES.items()}
    assert texts["empty"] == ""
    assert texts["whitespace"].strip() == ""
    assert len(tokenizer.ids([texts["one_token"]])[0]) == 3
    unknown = tokenizer._tokenizer.unk_token_id
    assert set(tokenizer.ids([texts["unknown_tokens"]])[0][1:-1].tolist()) == {unknown}
    assert len(set(tokenizer.ids([texts["repeated_token"]])[0][1:-1].tolist())) == 1
    with pytest.raises(UnicodeEncodeError):
        texts["surrogates"].encode()


def test_a_model_without_a_limit_has_no_text_beyond_it(context, monkeypatch):
    subject = context.session.subject(context.session.run(Combination.parse("torch-fp32-cpu")))
    monkeypatch.setattr(subject, "beyond_limit", None)
    judgement = context.ask("invariance", Combination.parse("torch-fp32-cpu"), "truncation")
    assert (judgement.verdict, judgement.value) == ("pass", None)
    assert "nothing to compare" in judgement.message


def test_nan_in_one_surrounding_is_red_and_leaves_the_report_valid(context_with, data):
    def sometimes(path: Path, _: str) -> Wrapped:
        return Wrapped(path, lambda rows, texts: rows * (np.nan if len(texts) > 1 else 1))

    combination = Combination.parse("sometimes-fp32-cpu")
    context = context_with({combination.id: sometimes}, data=(data,))
    judgement = context.ask("invariance", combination, "padding")
    context.close()
    told(judgement, "finiteness", "hold NaN or infinity")
    assert "is not finite beside a longer text" in judgement.message
    assert json.loads(json.dumps(judgement.to_json(), allow_nan=False))["value"] is None


def test_the_crowd_is_larger_than_a_batch_and_has_no_text_twice():
    assert len(set(crowd())) == CROWD > 32
