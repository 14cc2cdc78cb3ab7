"""A file as the incumbent: whose tokenizer and prompts it goes with, and what is held against it."""

from __future__ import annotations

import shutil

import pytest
from helpers import overlapping, shipped
from helpers.small import copy_with

from embedgate.checks.upgrade_facts import UpgradeFacts
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError

ONNX = "onnx/model.onnx"


@pytest.fixture(scope="module")
def model(ships):
    return ships


@pytest.fixture
def against(context_with, tmp_path):
    data = overlapping.written(tmp_path / "mine.jsonl")

    def make(incumbent: str, **options):
        return context_with(data=(str(data),), family=1, incumbent=incumbent, **options)

    return make


def test_the_same_file_is_green_and_all_that_is_judged_is_held_against_it(against):
    context = against(ONNX, candidates=(ONNX,))
    cases = context.checks.named("upgrade").cases(context.plan)
    assert [case.combination.id for case in cases] == ["torch-fp32-cpu", "onnx_model-fp32-cpu"]
    assert all(case.is_within(context.plan, "quick") for case in cases)
    judged = context.judge(cases[1])
    assert (judged.verdict, judged.observed) == ("pass", 1.0)
    assert "of model.onnx's spearman on mine" in judged.message
    assert context.of(UpgradeFacts).index.startswith("new vectors can be mixed with the incumbent's")
    facts = context.of(UpgradeFacts).to_json()["combinations"]["onnx_model-fp32-cpu"]
    assert facts["against"] == "incumbent-fp32-cpu"
    assert facts["tokens"] == {"other": 0.0, "texts": 110}


@pytest.mark.slow("a damaged file is red against the sound file that it is to replace")
def test_a_damaged_file_is_red(context_with, model, tmp_path):
    bad = shipped.damaged(model.path / ONNX, tmp_path / "bad.onnx", share=3.0)
    options = {"data": ("triplets",), "family": 1, "candidates": (f"{bad}::name=bad",)}
    context = context_with(incumbent=ONNX, **options)
    judged = context.ask("upgrade", Combination.parse("bad-fp32-cpu"), "triplets-triplet_accuracy")
    assert judged.verdict == "fail"
    assert "of model.onnx's triplet_accuracy on triplets" in judged.message


def test_in_another_model_s_folder_it_has_that_one_s_prompts(against, model, tmp_path):
    old = copy_with(model, tmp_path / "old", prompts={"STS": "sentence: "})
    found = against(str(old / ONNX)).plan.incumbent
    assert (found.kind, found.model.path, found.model.roles["sts"].prompt) == ("candidate", old.resolve(), "sentence: ")
    elsewhere = shutil.copy(model.path / ONNX, tmp_path / "alone.onnx")
    assert against(str(elsewhere)).plan.incumbent.model.path == model.path
    assert against(f"{elsewhere}::of={old}").plan.incumbent.model.path == old.resolve()


def test_what_ships_is_held_against_the_old_model_s_reference(against, model, tmp_path):
    old = copy_with(model, tmp_path / "old", similarity_fn_name="dot")
    context = against(str(old), candidates=(ONNX,))
    judged = context.ask("upgrade", Combination.parse("onnx_model-fp32-cpu"), "mine-spearman")
    assert "of old's (torch-fp32-cpu) spearman on mine" in judged.message


def test_one_that_is_not_there_is_refused(against):
    with pytest.raises(GateError, match=r"^--gate-incumbent: no onnx/gone.onnx here, and none in .*; that folder has "):
        _ = against("onnx/gone.onnx").plan.incumbent


def test_the_model_of_its_key_must_be_there(against):
    with pytest.raises(GateError, match=r"^--gate-incumbent onnx/model.onnx: no model folder at 'gone'; give a folder"):
        _ = against(f"{ONNX}::of=gone").plan.incumbent
