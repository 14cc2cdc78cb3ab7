"""The languages that a model's card claims: what the front matter of its README.md says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from embedgate.core.hub import Repository

MULTILINGUAL = "multilingual"
# What the slices of a dataset are called that hold its rows in one language, by the language.
NAMES = {"ar": "arabic", "de": "german", "es": "spanish", "ru": "russian", "zh": "chinese"}
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_PRIMARY = re.compile(r"([a-z]{2,})(?:[-_]|$)")


def claimed(source: str) -> tuple[str, ...]:
    """The languages that a model's card claims, by their primary subtags: `de` of `de-CH`.

    Nothing but the card is read, since tests are collected by it.

    Args:
        source: A folder, or a hub id with its commit, as `embedgate.core.model.resolve` takes them.

    Returns:
        Each once, sorted; `multilingual` where the card says so. Empty where there is no card, or none that can be
        read: it only helps to choose what to judge on.

    Raises:
        ModelError: If the card of a model of the hub is not in the cache, and the hub cannot be asked.
    """
    folder, repository = Path(source).expanduser(), Repository.of(source)
    card = folder / "README.md" if folder.is_dir() else repository and repository.card()
    named = _front_matter(card).get("language") if card else None
    each = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    found = (_PRIMARY.match(tag.strip().lower()) for tag in each if isinstance(tag, str))
    return tuple(sorted({tag[1] for tag in found if tag}))


def _front_matter(card: Path) -> dict[str, Any]:
    """The front matter of a card; empty where there is none, or it is no mapping in YAML."""
    try:
        found = _FRONT_MATTER.match(card.read_text("utf-8", "replace"))
        content = _yaml(found[1]) if found else None
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _yaml(text: str) -> object:
    import yaml  # which most sessions do without

    try:
        # It makes texts, lists and mappings alone, and leaves `no`, which is Norwegian, a text.
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
