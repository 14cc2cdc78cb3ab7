"""Routes: as a Router of Sentence Transformers chooses them for a text."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from sentence_transformers.base.modules import Router
from torch import nn

from embedgate.core.errors import ModelError
from embedgate.core.routes import TASKS, routes_of

ROUTER = "sentence_transformers.base.modules.router.Router"
MODULES = [{"type": ROUTER, "path": "0_Router"}]
PARAMETERS = {
    "by name": {"default_route": "document"},
    "the first by default": {},
    "no default": {"allow_empty_key": False},
    "no default named": {"default_route": None, "allow_empty_key": False},
    "task and modality": {"route_mappings": {("query", "text"): "a", ("document", "text"): "b"}},
    "task alone": {"route_mappings": {("query", None): "a", ("document", None): "query"}},
    "modality alone": {"route_mappings": {(None, "text"): "b"}},
    "everything": {"route_mappings": {(None, None): "b", ("document", "text"): "a"}},
    "another modality": {"route_mappings": {("query", "image"): "b", (None, ("image", "text")): "a"}},
    "both ways": {"route_mappings": {("query", None): "a", ("query", "text"): "b", (None, "text"): "document"}},
}
ROUTES = (("query", "document", "a", "b"), ("a", "b", "text", "query", "document"), ("a", "b", "query", "document"))


def written(folder, structure, types=None, **parameters):
    """Writes a Router's config, as Sentence Transformers writes it."""
    mappings = {str(key): route for key, route in parameters.get("route_mappings", {}).items()}
    folder.mkdir(parents=True)
    config = {"types": types or {}, "structure": structure, "parameters": {**parameters, "route_mappings": mappings}}
    (folder / "router_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("names", ROUTES, ids="-".join)
@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_a_text_takes_the_route_that_sentence_transformers_takes(tmp_path, names, parameters):
    written(tmp_path / "0_Router", {name: [] for name in names}, **parameters)
    router, wanted = Router({name: [nn.Identity()] for name in names}, **parameters), {}
    for role, task in TASKS.items():
        with suppress(ValueError):  # it has no such route
            wanted[role] = router._resolve_route(task=task, modality="text")
    assert routes_of(tmp_path, MODULES) == wanted


def test_a_task_without_a_route_has_none(tmp_path):
    written(tmp_path / "0_Router", {"a": [], "b": []})
    assert routes_of(tmp_path, MODULES) == {"": "a"}


def test_a_router_on_a_route_chooses_too(tmp_path):
    written(tmp_path / "0_Router", {"a": ["inner"]}, {"inner": ROUTER}, route_mappings={(None, None): "a"})
    written(tmp_path / "0_Router/inner", {"query": [], "document": []})
    assert routes_of(tmp_path, MODULES) == {"": "a/query", "query": "a/query", "document": "a/document"}


def test_other_models_have_no_routes(tmp_path):
    assert routes_of(tmp_path, [{"type": "sentence_transformers.models.Transformer", "path": ""}]) == {}


@pytest.mark.parametrize("key", ["structure", "parameters"])
def test_a_malformed_config_is_told(tmp_path, key):
    written(tmp_path / "0_Router", {"a": []})
    file = tmp_path / "0_Router/router_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: ["a"]}))
    with pytest.raises(ModelError, match=rf"router_config\.json has a {key} that is no JSON object; restore it"):
        routes_of(tmp_path, MODULES)


def test_what_is_no_task_and_modality_is_left_out(tmp_path):
    """As Sentence Transformers leaves it out."""
    written(tmp_path / "0_Router", {"a": [], "query": []}, route_mappings={"query, text": "a", "['x']": "a"})
    assert routes_of(tmp_path, MODULES) == {"": "a", "query": "query"}
