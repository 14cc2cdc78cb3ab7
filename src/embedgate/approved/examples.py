"""Pinned examples: texts that broke a property once, and are tried first ever since.

`pinned_examples.jsonl` in the folder of baselines has one example per line. People write it: a failure prints the line.

    {"texts": ["The banker sold the bond.", "The banker did not sell the bond."], "reason": "per-tensor int8, 2026-11"}
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from embedgate.core.errors import GateError
from embedgate.core.files import read_jsonl
from embedgate.core.options import Texts
from embedgate.core.settings import own_or_bundled

FILE_NAME = "pinned_examples.jsonl"


class _Pinned(msgspec.Struct, forbid_unknown_fields=True):
    texts: Texts
    reason: str = ""


def load_pinned(folder: Path) -> tuple[tuple[str, ...], ...]:
    """Reads the examples of a folder of baselines, embedgate's own where it has none.

    Raises:
        GateError: If a line is no example; with file and line.
    """
    action = 'write one example per line: {"texts": [...], "reason": "..."}'
    found = read_jsonl(own_or_bundled(folder, FILE_NAME), _Pinned, GateError, action)
    return tuple(pinned.texts for pinned in found or ())
