"""Golden texts: drift is named by its stage, and what was approved survives a round trip or is refused by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.buffers import one_buffer
from safetensors import safe_open
from safetensors.numpy import save_file
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers.normalizers import BertNormalizer
from tokenizers.processors import TemplateProcessing

from embedgate.approved.conditions import Conditions
from embedgate.approved.golden import GoldenStore
from embedgate.approved.tensors import TensorApproval
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import UNKNOWN
from embedgate.core.machine import profile
from embedgate.core.model import Model
from embedgate.core.roles import PLAIN
from embedgate.data import load_golden
from embedgate.diagnosis.golden import Golden, drifted, largest_move, take_golden
from embedgate.encoders import Encoder, Stages
from embedgate.encoders.loading import load
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.sentence_transformer import SentenceTransformerEncoder

TEXTS, SHA256 = load_golden()
REFERENCE = Combination.parse("torch-fp32-cpu")
AMX, CPU = profile("cpu-x86_64-amx"), profile("cpu")
APPROVAL = TensorApproval("2026-01-01T00:00:00Z", "Ada <ada@example.org>", "first", {"tokenizers": "0.22.1"})
CONDITIONS = Conditions("0123456789abcdef", ("avx2", "fma"), None, 1, 32, "d" * 64)
OTHER = Model(Path("somewhere"), "MiniLM", "acme/MiniLM@1", "a" * 64)


def encoder(model: Model, change: Callable[[object], None] = lambda _: None) -> SentenceTransformerEncoder:
    loaded = load(model, "cpu", torch.float32)
    change(loaded)
    return SentenceTransformerEncoder(loaded, REFERENCE, threads=1)


@pytest.fixture(scope="module")
def approved(model) -> Golden:
    return take_golden(encoder(model), TEXTS)


def test_there_are_64_different_texts_some_beyond_the_limit(minilm):
    assert len(TEXTS) == len(set(TEXTS)) == 64
    lengths = [len(ids) for ids in Tokenizer(minilm).ids(TEXTS)]
    assert min(lengths) == 3
    assert lengths.count(256) >= 2


def test_the_same_encoder_has_not_drifted(model, approved):
    again = take_golden(encoder(model), TEXTS)
    assert drifted(again, approved, TEXTS, 1e-6) is None
    assert largest_move(again, approved) == 0


def no_special_tokens(loaded):
    loaded.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])


def no_end(loaded):
    loaded.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A $B", special_tokens=[("[CLS]", 101)]
    )


def upper_case(loaded):
    loaded.tokenizer.backend_tokenizer.normalizer = BertNormalizer(lowercase=False, strip_accents=True)


def shorter(loaded):
    loaded.max_seq_length //= 2


def longer(loaded):
    loaded.max_seq_length *= 2


def prompt(loaded):
    preprocess = loaded.preprocess
    loaded.preprocess = lambda inputs, prompt=None, **more: preprocess(inputs, prompt=f"text: {prompt or ''}", **more)


def other_weights(loaded):
    with torch.no_grad():
        loaded[0].model.encoder.layer[-1].output.dense.weight.mul_(1.02)


def cls_pooling(loaded):
    loaded[1] = Pooling(384, pooling_mode="cls")


def no_normalisation(loaded):
    del loaded[2]


@pytest.mark.parametrize(
    ("change", "layer", "cause"),
    [
        (no_special_tokens, "tokens", "64 of 64 texts (special tokens at both ends are missing)"),
        (no_end, "tokens", "(special tokens at the end are missing)"),
        (
            upper_case,
            "tokens",
            "(capital letters are kept: with lower case, they are read as the approved tokenizer reads them)",
        ),
        (shorter, "tokens", "(they are cut at 64 tokens, the approved tokenizer's longest has 128)"),
        (longer, "tokens", "(the approved tokenizer's are cut at 128 tokens, the longest here has "),
        (prompt, "tokens", "64 of 64 texts ([3793 1024] stands before each of them)"),
        (other_weights, "hidden states", "the same tokens give other hidden states: "),
        (cls_pooling, "pooling", "pooled embeddings are not: 6"),
        (no_normalisation, "normalisation", "embeddings have the approved directions, and other lengths: 64 of 64"),
    ],
)
def test_drift_is_named_by_its_stage(model, approved, change, layer, cause):
    now = encoder(model, change)
    found = drifted(take_golden(now, TEXTS), approved, TEXTS, 1e-3, lambda texts: now.tokens_as(PLAIN, texts))
    assert found.layer == layer
    assert cause in found.cause
    assert found.next_step


def test_nan_and_other_dimensions_are_named(approved):
    broken = dataclasses.replace(approved, embeddings=np.where(np.eye(64, 384) == 1, np.nan, approved.embeddings))
    assert drifted(broken, approved, TEXTS, 1e-3).layer == "finiteness"
    narrow = dataclasses.replace(approved, embeddings=approved.embeddings[:, :128])
    assert "128 dimensions instead of 384" in drifted(narrow, approved, TEXTS, 1e-3).cause


def test_a_stage_that_is_no_longer_shown_is_no_pass(approved):
    silent = dataclasses.replace(approved, token_ids=None)
    assert "no longer shows the stages" in drifted(silent, approved, TEXTS, 1e-3).cause
    assert (
        "no longer shows the stages" in drifted(dataclasses.replace(approved, hidden=None), approved, TEXTS, 1e-3).cause
    )
    assert drifted(approved, dataclasses.replace(approved, hidden=None), TEXTS, 1e-3) is None


def test_of_a_black_box_nothing_is_said_of_tokens(approved):
    box = dataclasses.replace(approved, token_ids=None, hidden=None)
    turned = dataclasses.replace(box, embeddings=np.roll(box.embeddings, 1, axis=1))
    found = drifted(turned, box, TEXTS, 1e-3)
    assert found.layer == UNKNOWN
    assert found.cause.startswith("embeddings are not as approved: 64 of 64")


def test_a_stretched_unit_vector_is_named_however_wide_the_tolerance(approved):
    stretched = dataclasses.replace(approved, embeddings=approved.embeddings * 1.2)
    assert drifted(stretched, approved, TEXTS, 0.4).layer == "normalisation"
    long = dataclasses.replace(approved, embeddings=approved.embeddings * 7)
    assert drifted(dataclasses.replace(approved, embeddings=approved.embeddings * 8), long, TEXTS, 0.4) is None


class Silent(Encoder):
    """Shows embeddings alone."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = dict(zip(TEXTS, rows, strict=True))

    def encode(self, texts, batch_size=32):
        return np.stack([self.rows[text] for text in texts])

    def evidence(self):
        raise NotImplementedError


def test_an_encoder_without_stages_is_compared_by_its_embeddings(approved):
    same = take_golden(Silent(approved.embeddings), TEXTS)
    assert same.token_ids is same.hidden is None
    assert drifted(same, same, TEXTS, 1e-6) is None
    moved = take_golden(Silent(approved.embeddings[:, ::-1]), TEXTS)
    assert drifted(moved, same, TEXTS, 1e-3).layer == "unknown"


@pytest.mark.parametrize("shows", [False, True], ids=["embeddings", "stages"])
def test_what_an_encoder_writes_over_was_copied(approved, shows):
    class Reusing(Silent):
        reused = staticmethod(one_buffer())

        def encode(self, texts, batch_size=32):
            return self.reused(super().encode(texts), texts)

        def stages(self, texts):
            ids = [np.array([len(text)]) for text in texts]
            return Stages(ids, None, None, self.encode(texts)) if shows else None

    taken = take_golden(Reusing(approved.embeddings), TEXTS)
    assert (taken.embeddings == approved.embeddings).all()


@pytest.fixture
def store(tmp_path) -> GoldenStore:
    return GoldenStore(tmp_path)


def record(store: GoldenStore, golden: Golden, combination: str = "torch-fp32-cpu", **options) -> tuple[str, ...]:
    approval = {combination: options.pop("approval", APPROVAL)}
    arguments = {"profile": AMX, "model": OTHER, "about": SHA256, **options}
    return store.update(taken={combination: golden}, approved=approval, **arguments)


def find(store: GoldenStore, combination: str = "torch-fp32-cpu", model: Model = OTHER, sha256: str = SHA256):
    return store.find(AMX, model, combination, sha256)


def test_what_is_recorded_comes_back_to_the_bit(store, approved):
    assert record(store, approved) == {"torch-fp32-cpu": "recorded"}
    found = find(store)
    assert (found.profile, found.approval) == ("cpu-x86_64-amx", APPROVAL)
    assert largest_move(approved, found.value) == 0
    assert found.value.bits == approved.bits
    assert np.array_equal(found.value.hidden, approved.hidden)
    assert all(map(np.array_equal, found.value.token_ids, approved.token_ids))
    assert find(store, "torch-bf16-cpu") is None


def test_recording_the_same_again_changes_nothing(store, approved):
    record(store, approved)
    before = store.file("cpu-x86_64-amx", "MiniLM").read_bytes()
    later = dataclasses.replace(APPROVAL, when="2027-01-01T00:00:00Z")
    assert record(store, approved, approval=later) == {}
    assert store.file("cpu-x86_64-amx", "MiniLM").read_bytes() == before


def test_the_bits_of_embeddings_have_a_hash(approved):
    nudged = approved.embeddings.copy()
    nudged[5, 7] = np.nextafter(nudged[5, 7], np.float32(1))
    assert dataclasses.replace(approved, embeddings=nudged).bits != approved.bits
    assert dataclasses.replace(approved, embeddings=approved.embeddings.copy(order="F")).bits == approved.bits


def test_a_unit_vector_may_stretch_no_further_than_vectors_may_move(approved):
    stretched = dataclasses.replace(approved, embeddings=approved.embeddings * np.float32(1.004))
    assert drifted(stretched, approved, TEXTS, 1e-4).layer == "normalisation"
    assert drifted(stretched, approved, TEXTS, 0.4) is None


def test_what_their_bits_depend_on_is_kept_and_approved_anew_where_it_changes(store, approved):
    known = dataclasses.replace(APPROVAL, conditions=CONDITIONS)
    record(store, approved, approval=known)
    assert find(store).approval == known
    later = dataclasses.replace(APPROVAL, when="2027-01-01T00:00:00Z")
    same = dataclasses.replace(later, conditions=dataclasses.replace(CONDITIONS))
    assert record(store, approved, approval=same) == {}
    assert record(store, approved, approval=later) == {}, "less is known now"
    moved = dataclasses.replace(APPROVAL, conditions=dataclasses.replace(CONDITIONS, threads=2))
    assert record(store, approved, approval=moved) == {"torch-fp32-cpu": "recorded"}
    assert find(store).approval.conditions.threads == 2
    newer = dataclasses.replace(moved, libraries={"tokenizers": "0.23.0"})
    assert record(store, approved, approval=newer) == {"torch-fp32-cpu": "recorded"}
    assert find(store).approval.libraries == newer.libraries


def test_a_file_from_before_conditions_were_kept_is_read(store, approved):
    record(store, approved)
    file = store.file("cpu-x86_64-amx", "MiniLM")
    tensors, head = opened(file)
    halved = {name: part.astype(np.float16) if part.dtype.kind == "f" else part for name, part in tensors.items()}
    save_file(halved, file, {"embedgate": json.dumps({**head, "schema": 1})})
    found = find(store)
    assert found.approval == APPROVAL
    assert found.approval.conditions is None
    assert 0 < largest_move(approved, found.value) < 5e-4
    known = dataclasses.replace(APPROVAL, conditions=CONDITIONS)
    assert record(store, approved, approval=known) == {"torch-fp32-cpu": "recorded"}
    assert largest_move(approved, find(store).value) == 0


def test_other_combinations_stay_and_equal_content_gives_equal_bytes(store, tmp_path, approved):
    other = dataclasses.replace(approved, embeddings=approved.embeddings[:, ::-1], hidden=None, token_ids=None)
    record(store, approved)
    record(store, other, "acme-int8-cpu")
    assert find(store, "acme-int8-cpu").value.token_ids is None
    assert find(store).value.hidden is not None
    again = GoldenStore(tmp_path / "again")
    record(again, other, "acme-int8-cpu")
    record(again, approved)
    files = [each.file("cpu-x86_64-amx", "MiniLM").read_bytes() for each in (store, again)]
    assert files[0] == files[1]


def test_a_profile_inherits_golden_texts_too(store, approved):
    record(store, approved, profile=CPU)
    assert find(store).profile == "cpu"
    record(store, approved, "torch-bf16-cpu")
    assert find(store).profile == "cpu", "the nearest file has another combination alone"


def test_other_weights_or_texts_are_refused_and_replaced_whole(store, approved):
    record(store, approved)
    other = dataclasses.replace(OTHER, fingerprint="b" * 64)
    with pytest.raises(BaselineError, match="was recorded for another model"):
        find(store, model=other)
    with pytest.raises(BaselineError, match="was recorded for other golden texts"):
        find(store, sha256="c" * 64)
    changed = record(store, approved, "torch-bf16-cpu", model=other)
    assert changed == {"torch-bf16-cpu": "recorded", "torch-fp32-cpu": "dropped"}
    assert find(store, model=other) is None


def test_nan_is_never_approved(store, approved):
    with pytest.raises(BaselineError, match="not finite"):
        record(store, dataclasses.replace(approved, embeddings=approved.embeddings * np.nan))
    assert not store.file("cpu-x86_64-amx", "MiniLM").exists()
    assert dataclasses.replace(approved, embeddings=approved.embeddings * 1e6).finite, "beyond float16, not float32"
    assert not dataclasses.replace(approved, embeddings=approved.embeddings * np.inf).finite


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def opened(file: Path) -> tuple[dict[str, np.ndarray], dict]:
    with safe_open(file, framework="numpy") as content:
        tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 - no mapping
        return tensors, json.loads(content.metadata()["embedgate"])


def rewritten(file: Path, **changes: object) -> None:
    tensors, head = opened(file)
    kept = {key: value for key, value in {**head, **changes}.items() if value is not None}
    save_file(tensors, file, {"embedgate": json.dumps(kept)})


def with_nan(file: Path) -> None:
    tensors, head = opened(file)
    tensors["torch-fp32-cpu/hidden"][3, 5] = np.nan
    save_file(tensors, file, {"embedgate": json.dumps(head)})


def fewer_tokens(file: Path) -> None:
    tensors, head = opened(file)
    tensors["torch-fp32-cpu/token_ids"] = tensors["torch-fp32-cpu/token_ids"][:-1].copy()
    save_file(tensors, file, {"embedgate": json.dumps(head)})


def of_somebody_else(file: Path) -> None:
    tensors, _ = opened(file)
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "is corrupt"),
        (emptied, "is corrupt"),
        (fewer_tokens, "torch-fp32-cpu has token ids that do not fit its texts"),
        (of_somebody_else, "is corrupt"),
        (with_nan, "holds NaN or infinity"),
        (lambda file: rewritten(file, approvals="none"), "is corrupt"),
        (lambda file: rewritten(file, approvals={"torch-fp32-cpu": {"who": "Ada"}}), "is corrupt"),
        (lambda file: rewritten(file, schema=None), "is corrupt"),
        (lambda file: rewritten(file, schema=0), "schema must be 1 to 2"),
        (lambda file: rewritten(file, schema=3), "was written by a newer embedgate"),
        (lambda file: rewritten(file, approvals={}), None),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_by_name(store, approved, damage, message):
    record(store, approved)
    file = store.file("cpu-x86_64-amx", "MiniLM")
    damage(file)
    if message is None:
        assert find(store) is None
        return
    with pytest.raises(BaselineError) as caught:
        find(store)
    assert str(file) in str(caught.value)
    assert message in caught.value.cause
    assert caught.value.action


def test_a_name_that_leads_out_of_the_folder_is_refused(store, approved):
    with pytest.raises(BaselineError, match="cannot name a baseline"):
        record(store, approved, model=dataclasses.replace(OTHER, name="../MiniLM"))
