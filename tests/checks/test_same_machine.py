"""Golden texts where all that computed them is here again: held to their bits, and elsewhere as widely as ever."""

from __future__ import annotations

import json
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from helpers.faults import load, sound
from safetensors import safe_open
from safetensors.numpy import save_file

from embedgate.approved import entries
from embedgate.approved.golden import GoldenStore
from embedgate.checks.approvals import Approvals
from embedgate.core.combination import Combination
from embedgate.core.judgement import Judgement
from embedgate.core.model import resolve
from embedgate.encoders.onnxruntime import encoder as onnxruntime
from embedgate.encoders.torch import encoder as torch_backend

ACME, INT8 = Combination.parse("acme-fp32-cpu"), Combination.parse("onnxruntime-int8-cpu")
TIGHT, WIDE = 1e-5, 0.4
NUMBERS = f"[combination.acme-fp32-cpu.golden]\nmove = {WIDE}\n"
SAME = "is tolerated, since all that computed it is as it was then"


def weaker(model):
    """A model of which one layer's products are a tenth smaller."""
    with torch.no_grad():
        for weight in model[0].model.encoder.layer[0].parameters():
            if weight.ndim == 2:
                weight.mul_(0.9)
    return model


def faulty(path: Path, _: str):
    return weaker(load(path))


@pytest.fixture(scope="module")
def asked(context_with, few):
    """Judges a combination's golden texts by what a folder has, or approves them into it."""

    def ask(folder: Path, combination=ACME, factory=sound, change=lambda context: None, **options) -> Judgement:
        added = {combination.id: factory} if combination == ACME else {}
        chosen = {"data": (str(few),), "combinations": (combination.id,), "baselines": folder, "threads": 1, **options}
        with closing(context_with(added, **chosen)) as context:
            change(context)
            context.cases = (context.checks.case(context.plan, "golden", combination, ""),)
            judged = context.judge(*context.cases)
            if context.settings.update:
                context.of(Approvals).update()
        return judged

    return ask


@pytest.fixture(scope="module")
def approved(asked, tmp_path_factory) -> Path:
    """A folder in which a sound encoder's golden texts are approved, and held to their bits."""
    folder = tmp_path_factory.mktemp("approved")
    folder.joinpath("tolerances.toml").write_text(f"{NUMBERS}same_machine = {TIGHT}\n")
    asked(folder, update=True, reason="first")
    return folder


def test_a_sound_encoder_gives_the_same_bits_and_is_held_to_them(asked, approved):
    judged = asked(approved)
    assert (judged.verdict, judged.value, judged.limit) == ("pass", 0, TIGHT), judged.explain()
    assert f"largest move 0, 1e-05 {SAME}" in judged.message


def test_a_fault_within_what_other_machines_may_move_is_red_on_the_same(asked, approved):
    judged = asked(approved, factory=faulty)
    assert (judged.verdict, judged.limit, judged.diagnosis.layer) == ("fail", TIGHT, "hidden states")
    assert "64 of 64 moved by more than 1e-05" in judged.diagnosis.cause
    assert judged.details[0] == "libraries since it was approved: unchanged"
    assert judged.details[1] == f"a move of 1e-05 {SAME}"


def elsewhere(patch):
    patch.setattr(entries, "machine_id", lambda: "f" * 16)


def other_reference(patch):
    """The reference computes a little otherwise, as a library does that chose another kernel."""
    own = torch_backend.load

    def nudged(*args, **kwargs):
        model = own(*args, **kwargs)
        with torch.no_grad():
            model[0].model.embeddings.LayerNorm.bias.add_(1e-5)
        return model

    patch.setattr(torch_backend, "load", nudged)


def other_libraries(context):
    context.session.libraries = {**context.session.libraries, "tokenizers": "99.0"}


@pytest.mark.parametrize(
    ("patch", "options", "why"),
    [
        (elsewhere, {}, "another machine approved it"),
        (None, {"threads": 2}, "it was approved with 1 thread, and this session has 2"),
        (None, {"batch_size": 8}, "it was approved in batches of 32, and this session has batches of 8"),
        (
            None,
            {"change": other_libraries},
            f"libraries have changed since it was approved: tokenizers {version('tokenizers')} -> 99.0",
        ),
        (other_reference, {}, "its reference gives other bits than when it was approved"),
    ],
)
def test_whatever_else_computes_it_is_held_as_widely_as_ever(asked, approved, monkeypatch, patch, options, why):
    if patch is not None:
        patch(monkeypatch)
    judged = asked(approved, factory=faulty, **options)
    assert (judged.verdict, judged.limit) == ("pass", WIDE), judged.explain()
    assert judged.message.endswith(f"0.4 is tolerated, since {why}")
    assert judged.value > 100 * TIGHT


def test_without_a_number_for_it_the_same_machine_is_held_as_any_other(asked, approved, tmp_path):
    folder = tmp_path / "approved"
    folder.mkdir()
    for file in approved.glob("*/*.golden.safetensors"):
        copied = folder / file.relative_to(approved)
        copied.parent.mkdir()
        copied.write_bytes(file.read_bytes())
    folder.joinpath("tolerances.toml").write_text(NUMBERS)
    judged = asked(folder, factory=faulty)
    assert (judged.verdict, judged.limit) == ("pass", WIDE)
    assert judged.message.endswith("0.4 is tolerated")


def test_what_was_approved_before_its_conditions_were_kept_is_held_widely(asked, approved, tmp_path):
    (file,) = approved.glob("*/*.golden.safetensors")
    old = tmp_path / file.parent.name / file.name
    old.parent.mkdir()
    store = GoldenStore(tmp_path)
    content = store.read(file)
    bare = json.loads(head_of(file))
    bare["schema"] = 1
    for approval in bare["approvals"].values():
        del approval["conditions"]
    save_file(dict(content.tensors), old, {"embedgate": json.dumps(bare)})
    (tmp_path / "tolerances.toml").write_text(f"{NUMBERS}same_machine = {TIGHT}\n")
    judged = asked(tmp_path, factory=faulty)
    assert (judged.verdict, judged.limit) == ("pass", WIDE), judged.explain()
    assert judged.message.endswith("0.4 is tolerated, since what computed it is not known in full")


def head_of(file: Path) -> str:
    with safe_open(file, framework="numpy") as content:
        return content.metadata()["embedgate"]


@pytest.mark.slow("dynamic int8 gives its bits again, and one weaker layer is red on the same machine alone")
def test_dynamic_int8_is_held_to_its_bits_by_the_committed_tolerances(asked, model, tmp_path, monkeypatch):
    folder = tmp_path / "approved"
    asked(folder, INT8, update=True, reason="first")
    judged = asked(folder, INT8)
    assert (judged.verdict, judged.value) == ("pass", 0), judged.explain()
    assert SAME in judged.message
    weak = tmp_path / "weak"
    weaker(load(model.path)).save_pretrained(str(weak))
    build = onnxruntime.build
    monkeypatch.setattr(onnxruntime, "build", lambda _, *args: build(resolve(str(weak)), *args))
    judged = asked(folder, INT8)
    assert (judged.verdict, judged.diagnosis.layer) == ("fail", "hidden states")
    elsewhere(monkeypatch)
    assert asked(folder, INT8).verdict == "pass", "as widely as between machines, whose kernels differ"
