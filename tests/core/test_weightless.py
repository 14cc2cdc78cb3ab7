"""A model whose weights nobody here has: what it knows, what it refuses, and that a session of it is whole."""

from __future__ import annotations

import pytest
from helpers.served import Served, serving

from embedgate import encoders
from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, ModelError
from embedgate.core.model import resolve
from embedgate.core.settings import Settings
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.registry import Registry
from embedgate.runtime.plan import Plan

URL = "http://127.0.0.1:9::model=tiny"


def plan(few, **given):
    return Plan.of(Settings(model="none", data=(str(few),), **given), Registry())


class TestModel:
    def test_texts_have_the_prompts_that_the_user_gives(self):
        model = resolve("none", {"query": "query: "})
        assert model.roles["query"].prompt == "query: "
        assert model.roles["document"].prompt == ""

    def test_other_prompts_are_another_model(self):
        assert len({resolve("none", prompts).fingerprint for prompts in ({}, {"query": "a "}, {"query": "b "})}) == 3

    def test_a_prompt_by_name_is_refused(self):
        with pytest.raises(ModelError, match=r"--gate-model none has no prompt named 'passage' \(it has no prompts\)"):
            resolve("none", {"document": "passage"})

    def test_nothing_else_is_known(self):
        model = resolve("none")
        assert (model.dim, model.normalises, model.trained_dims, model.module_kinds) == (None, False, (), ())
        assert Tokenizer.known(model) is None


class TestPlan:
    def test_without_a_reference_nothing_can_be_judged(self, few):
        told = r"--gate-model none has no weights to make a reference of; name a server or recorded answers"
        for given in ({}, {"candidates": (URL,)}):
            with pytest.raises(GateError, match=told):
                plan(few, **given)

    def test_the_reference_alone_runs_where_nothing_else_is_named(self, few):
        made = plan(few, reference=URL)
        assert [each.id for each in made.combinations] == ["tiny-served-cpu"]
        assert made.model.name == "none.against.tiny-served-cpu"

    def test_a_combination_cannot_be_the_reference(self, few):
        told = r"--gate-reference torch-fp32-cpu: nothing can be built without the model's folder \(--gate-model none\)"
        with pytest.raises(GateError, match=told):
            plan(few, reference="torch-fp32-cpu")

    @pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
    def test_a_file_needs_a_model(self, few, name):
        told = rf"--gate-candidate {name} goes with a model's own tokenizer and modules; give --gate-model the folder"
        with pytest.raises(GateError, match=told):
            plan(few, reference=URL, candidates=(name,))

    def test_a_factory_of_the_project_needs_a_folder(self):
        registry = Registry()
        registry.add("own-fp32-cpu", lambda path, device: None)
        reason = encoders.unfit(resolve("none"), Combination.parse("own-fp32-cpu"), registry)
        assert reason == "its factory takes the model's folder, and there is none (--gate-model none)"


class TestSession:
    def test_a_server_is_held_against_another(self, project, few):
        with serving(Served()) as one, serving(Served(name="other")) as other:
            result = project.runpytest_inprocess(
                *("-p", "no:cacheprovider", "--pyargs", "embedgate.suites.test_contract", "-k=served and empty"),
                *("--gate-model=none", f"--gate-reference={one.url}::model=tiny", f"--gate-data={few}"),
                f"--gate-candidate={other.url}::model=other",
            )
        result.assert_outcomes(passed=2, deselected=30)
        result.stdout.fnmatch_lines(["none.against.tiny-served-cpu *", "tiny-served-cpu *", "other-served-cpu *pass*"])
