"""Routes: which way a text takes through the Routers of an asymmetric model, as Sentence Transformers chooses it."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedgate.core.errors import ModelError
from embedgate.core.model_files import RESTORE, is_router, router_of, within
from embedgate.core.roles import DOCUMENT, QUERY

# What `encode_query` and `encode_document` give a Router as the task; plain `encode` gives none.
TASKS: Mapping[str, str | None] = {"": None, QUERY: QUERY, DOCUMENT: DOCUMENT}
# The modality of every input that embedgate encodes.
TEXT = "text"
# Characters of a task and a modality in Python's form.
LONGEST_KEY = 1000


def routes_of(path: Path, modules: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The route of a text by how it is asked for: `query`, `document`, and empty for plain `encode`.

    Args:
        path: The model's folder.
        modules: Its modules, as `modules.json` has them.

    Returns:
        Names of routes, joined by a slash where a text passes several Routers; nothing under what a Router has no route
        for, and nothing at all where no module is a Router.

    Raises:
        ModelError: If a Router's config is malformed.
    """
    routers = [path / str(module["path"]) for module in modules if is_router(str(module["type"]))]
    found: dict[str, str] = {}
    for name, task in TASKS.items():
        taken = [route for folder in routers for route in _taken(folder, task)]
        if taken and None not in taken:
            found[name] = "/".join(map(str, taken))
    return found


def _taken(folder: Path, task: str | None) -> list[str | None]:
    """The route through a Router and through the Routers on it; None in the place of one that there is not."""
    file, config = router_of(folder)
    structure, parameters = _object(file, config, "structure"), _object(file, config, "parameters")
    route = _chosen(structure, parameters, _object(file, parameters, "route_mappings"), task)
    if not isinstance(route, str | None):
        raise ModelError(f"{file} has a default_route that is no name: {route!r}", RESTORE)
    types = _object(file, config, "types")
    named = structure.get(route) or () if route is not None else ()
    if not isinstance(named, list | tuple) or not all(isinstance(each, str) for each in named):
        raise ModelError(f"{file} has a route {route} that is no list of modules", RESTORE)
    inner = [within(folder, file, each) for each in named if is_router(str(types.get(each)))]
    return [route, *(name for each in inner for name in _taken(each, task))]


def _chosen(
    structure: Mapping[str, Any], parameters: Mapping[str, Any], written: Mapping[str, Any], task: str | None
) -> str | None:
    """The route of a text, in the order in which a Router of Sentence Transformers looks for it; None for none."""
    mappings = {_key(text): route for text, route in written.items()}
    for key in ((task, TEXT), (task, None), (None, TEXT), (None, None)):
        if key in mappings:
            return str(mappings[key])
    if named := next((name for name in (task, TEXT) if name in structure), None):
        return named
    if task is not None:
        return None  # Sentence Transformers takes the default for plain `encode` alone
    first = next(iter(structure), None) if parameters.get("allow_empty_key", True) else None
    return parameters.get("default_route") or first


def _key(text: str) -> object:
    """Task and modality as a config has them: a tuple in Python's own form. What is none is left out by its reader."""
    try:
        key = ast.literal_eval(text) if len(text) <= LONGEST_KEY else None
        hash(key)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return key


def _object(file: Path, config: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = config.get(key) or {}
    if not isinstance(found, dict):
        raise ModelError(f"{file} has a {key} that is no JSON object", RESTORE)
    return found
