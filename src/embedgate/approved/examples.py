"""Pinned examples: texts that broke a property once, and are tried first ever since.

`pinned_examples.jsonl` in the folder of baselines has one example per line. People write it: a failure prints the line.

    {"texts": ["The banker sold the bond.", "The banker did not sell the bond."], "reason": "per-tensor int8, 2026-11"}
"""

from __future__ import annotations

import json
from pathlib import Path

from embedgate.core.errors import GateError
from embedgate.core.options import parse_example
from embedgate.core.settings import own_or_bundled

FILE_NAME = "pinned_examples.jsonl"


def load_pinned(folder: Path) -> tuple[tuple[str, ...], ...]:
    """Reads the examples of a folder of baselines, embedgate's own where it has none.

    Raises:
        GateError: If a line is no example; with file and line.
    """
    file = own_or_bundled(folder, FILE_NAME)
    if not file.is_file():
        return ()
    try:
        lines = file.read_text("utf-8").split("\n")  # not splitlines: JSON may hold U+2028 as it is
    except (OSError, UnicodeDecodeError) as error:
        raise GateError(f"{file} cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise GateError(f"{where} is no JSON: {error}", "write one example per line") from error
        if not isinstance(record, dict) or not {"texts"} <= {*record} <= {"texts", "reason"}:
            raise GateError(f"{where} is no example", 'write {"texts": [...], "reason": "..."}')
        found.append(parse_example(record["texts"], where))
    return tuple(found)
