"""Calls pytest for each of several lists of words, in one process: one import of torch serves them all.

Reads the lists from stdin as JSON, and writes for each pytest's exit status, how many tests it collected, and what it
printed. The combinations and engines of the host project that docs are written about are there.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

import pytest


class Host:
    """A host project's hooks, and what was collected."""

    collected = 0

    def pytest_gate_combinations(self, registry):
        for combination in ("acme-int8-cpu", "acme-fp32-cpu", "toy-bf16-cpu"):
            registry.add(combination, lambda model_path, device: None)

    def pytest_gate_engines(self, registry):
        registry.add("acme", lambda documents: None)

    def pytest_collection_finish(self, session):
        self.collected = len(session.items)


def call(words: list[str]) -> tuple[int, int, str]:
    """Exit status, number of tests, and the end of the output of `pytest` with these words."""
    host = Host()
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        status = pytest.main(words, plugins=[host])
    return int(status), host.collected, out.getvalue()[-2000:]


if __name__ == "__main__":
    print(json.dumps([call(words) for words in json.load(sys.stdin)]))
