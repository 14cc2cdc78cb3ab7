"""Roles: the prompt and the route of a text follow from how it is used, as Sentence Transformers and MTEB choose them."""

from __future__ import annotations

import json

import pytest

from embedgate.core.errors import GateError, ModelError
from embedgate.core.roles import PLAIN, ROLES, Input, Role, Roles, chosen_prompts

E5 = {"query": "query: ", "passage": "passage: "}
GEMMA = {"query": "q: ", "document": "d: ", "STS": "s: ", "Clustering": "c: "}


def prompts_of(roles: Roles) -> dict[str, str]:
    return {name: roles[name].prompt for name in ("", *ROLES)}


def test_a_model_without_prompts_has_one_role():
    roles = Roles("config", {})
    assert set(prompts_of(roles).values()) == {""}
    assert roles.distinct == (PLAIN,)
    assert roles.spread(["a", "b"]) == [Input("a"), Input("b")]


def test_tasks_have_their_own_prompt_where_the_model_has_one():
    found = prompts_of(Roles("config", GEMMA))
    assert found == {
        "": "",
        "query": "q: ",
        "document": "d: ",
        "sts": "s: ",
        "clustering": "c: ",
        "pairclassification": "",
    }


def test_the_default_prompt_is_that_of_tasks_and_of_no_query_or_document():
    # Sentence Transformers gives every model an empty "query" and "document", which win over the default.
    found = prompts_of(Roles("config", {"instruction": "Represent: "}, "instruction"))
    assert found == {"": "Represent: ", "query": "", "document": ""} | dict.fromkeys(ROLES[2:], "Represent: ")


def test_a_prompt_that_encode_document_never_looks_up_is_told():
    assert Roles("config", E5)["document"].prompt == ""
    assert Roles("config", E5).unused() == "passage"
    assert Roles("config", E5, chosen={"document": "passage"}).unused() == ""
    assert Roles("config", GEMMA).unused() == ""


def test_roles_in_which_a_model_does_the_same_are_one():
    assert [role.name for role in Roles("config", GEMMA).distinct] == ["", "query", "document", "sts", "clustering"]
    assert [role.name for role in Roles("config", E5).distinct] == ["", "query"]


def test_texts_are_spread_over_the_roles():
    roles = Roles("config", E5)
    assert roles.prompted(roles.spread(["a", "b", "c"])) == ["a", "query: b", "c"]


def test_a_router_takes_a_route_by_role():
    roles = Roles("config", {}, routes={"": "document", "query": "query", "document": "document"})
    assert [roles[name].route for name in ("", "query", "document", "sts")] == [
        "document",
        "query",
        "document",
        "document",
    ]
    assert [role.name for role in roles.distinct] == ["", "query"]


def test_a_role_without_a_route_is_none_of_the_models():
    """Sentence Transformers refuses to encode it."""
    roles = Roles("config", {}, routes={"": "a", "document": "b"})
    assert [role.name for role in roles.distinct] == ["", "document"]
    assert roles["query"].route == ""


class TestChosen:
    def test_by_name_or_as_text(self):
        roles = Roles("config", E5, chosen={"document": "passage", "query": "Find: ", "sts": ""})
        assert roles["document"] == Role("document", "passage: ", "passage", given=True)
        assert roles["query"] == Role("query", "Find: ", given=True)
        assert roles["sts"].prompt == ""

    def test_a_name_of_several_words_is_a_name(self):
        roles = Roles("config", {"web search": "search: "}, chosen={"query": "web search", "document": "web page"})
        assert roles["query"] == Role("query", "search: ", "web search", given=True)
        assert roles["document"] == Role("document", "web page", given=True)

    def test_only_what_differs_from_the_models_own_counts_as_changed(self):
        chosen = {"query": "query", "sts": "", "document": "passage"}
        assert Roles("config", E5, chosen=chosen).changed == {"document": "passage: "}

    def test_a_name_that_the_model_lacks_is_refused(self):
        with pytest.raises(
            ModelError, match=r"--gate-prompt query=web: config has no prompt named 'web' \(it has 'q"
        ) as told:
            Roles("config", E5, chosen={"query": "web"})
        assert "a space or a colon" in told.value.action

    @pytest.mark.parametrize(
        ("text", "cause"),
        [("query", "names no role"), ("Frage=x: ", "there is no role 'frage'"), ("=x", "there is no role ''")],
    )
    def test_another_form_is_refused(self, text, cause):
        with pytest.raises(GateError, match=cause) as told:
            chosen_prompts([text])
        assert "ROLE is one of query, document, sts, clustering, pairclassification" in told.value.action

    def test_a_role_has_one_prompt(self):
        assert chosen_prompts(["STS=a: ", "query=b=c"]) == {"sts": "a: ", "query": "b=c"}
        with pytest.raises(GateError, match="gives the role query two prompts: 'a: ' and 'b: '"):
            chosen_prompts(["query=a: ", "query=b: "])


def test_a_default_prompt_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="config names the default prompt 'web', and has no such prompt"):
        Roles("config", E5, "web")


@pytest.mark.parametrize(
    ("settings", "cause"),
    [({"prompts": ["query: "]}, "no texts by name"), ({"default_prompt_name": 3}, "a default_prompt_name that is no")],
)
def test_prompts_of_another_form_are_refused(small, tmp_path, settings, cause):
    from helpers.prompted import with_prompts

    with pytest.raises(ModelError, match=cause):
        with_prompts(small, tmp_path, **settings)


def test_other_prompts_make_another_model(small, tmp_path):
    from helpers.prompted import PROMPTS, with_prompts

    from embedgate.core.model import resolve

    own = with_prompts(small, tmp_path)
    same, other = (resolve(str(own.path), {"query": text}) for text in (PROMPTS["query"], "Find: "))
    assert own.fingerprint == same.fingerprint != other.fingerprint
    config = json.loads((own.path / "config_sentence_transformers.json").read_text("utf-8"))
    assert config["prompts"] == PROMPTS
