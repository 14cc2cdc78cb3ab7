"""Another reference than fp32 in torch: what is judged against it, and where what is approved so is kept."""

from __future__ import annotations

import json

import pytest
from helpers import shipped

from embedgate.core.combination import Combination
from embedgate.core.errors import GateError
from embedgate.core.settings import Settings
from embedgate.encoders.registry import Registry
from embedgate.runtime.plan import Plan


class TestRegistry:
    def test_every_combination_is_judged_against_the_chosen_one(self):
        registry = Registry()
        registry.judge_against(Combination.parse("onnxruntime-int8-cpu"))
        fp32, int8, other = (
            registry.named(id_) for id_ in ("torch-fp32-cpu", "onnxruntime-int8-cpu", "torch-bf16-cpu")
        )
        assert {each.reference.id for each in (fp32, int8, other)} == {"onnxruntime-int8-cpu"}
        assert [each.is_reference for each in (fp32, int8, other)] == [False, True, False]
        assert int8.reference.is_reference

    def test_without_a_choice_it_is_fp32_in_torch(self):
        int8 = Registry().named("onnxruntime-int8-cpu")
        assert int8.reference.id == "torch-fp32-cpu"
        assert int8.reference.is_reference

    def test_an_unknown_id_is_refused(self):
        with pytest.raises(GateError, match="there is no combination 'torch-int9-cpu'; choose from torch-fp32-cpu"):
            Registry().named("torch-int9-cpu")


class TestPlan:
    def plan(self, model, few, **given):
        return Plan.of(Settings(model=str(model.path), data=(str(few),), **given), Registry())

    def test_a_file_is_judged_against_another_file(self, ships, few):
        plan = self.plan(ships, few, reference="onnx/model.onnx", candidates=("onnx/model_fp16.onnx",))
        assert [each.id for each in plan.combinations] == ["onnx_model-fp32-cpu", "model_fp16-fp16-cpu"]
        assert plan.reference.id == "onnx_model-fp32-cpu"
        assert plan.model.name == "ships.against.onnx_model-fp32-cpu"

    def test_a_combination_can_be_the_reference(self, ships, few):
        plan = self.plan(ships, few, reference="torch-bf16-cpu", combinations=("torch-*-cpu",))
        assert [each.id for each in plan.combinations if each.is_reference] == ["torch-bf16-cpu"]

    def test_an_incumbent_beside_it_is_refused(self, ships, few):
        with pytest.raises(GateError, match=r"--gate-reference and --gate-incumbent were both given, .*; give one"):
            _ = self.plan(ships, few, reference="torch-bf16-cpu", incumbent=str(ships.path)).incumbent

    def test_what_names_nothing_is_refused(self, ships, few):
        with pytest.raises(GateError, match=r"--gate-reference tourch is of no kind|no tourch here, and none in"):
            self.plan(ships, few, reference="tourch")

    def test_the_same_file_as_reference_and_candidate_is_told_how_to_rename_it(self, ships, few):
        message = "^onnx/model.onnx would be called onnx_model-fp32-cpu, which exists already; .*::name=other$"
        with pytest.raises(GateError, match=message):
            self.plan(ships, few, candidates=("onnx/model.onnx",), reference="onnx/model.onnx")


class TestSession:
    @pytest.fixture
    def model(self, ships):
        return ships

    def test_a_file_is_held_against_the_file_it_was_made_of(self, project, ships, few):
        bad = shipped.damaged(ships.path / "onnx" / "model.onnx", project.path / "bad.onnx", share=0.5)
        done = project.runpytest_inprocess(
            *("--pyargs", "embedgate.suites.test_effective", "embedgate.suites.test_quality", "--gate-report=out"),
            *(f"--gate-data={few}", f"--gate-candidate={bad}::name=bad", "--gate-candidate=onnx/model_fp16.onnx"),
            *("--gate-reference=onnx/model.onnx", "-k=agrees or says"),
        )
        done.stdout.fnmatch_lines(
            ["onnx_model-fp32-cpu *reference*", "bad-fp32-cpu *fail*", "model_fp16-fp16-cpu *inconclusive 1/6*"]
        )
        rows = json.loads((project.path / "out" / "report.json").read_text("utf-8"))["combinations"]
        assert [row["combination"] for row in rows] == ["onnx_model-fp32-cpu", "bad-fp32-cpu", "model_fp16-fp16-cpu"]
