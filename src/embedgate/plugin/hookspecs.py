"""Hooks that embedgate calls in conftest.py files and other plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedgate.checks import CheckRegistry
    from embedgate.encoders.registry import Registry
    from embedgate.vectors.engines.base import EngineRegistry


def pytest_gate_combinations(registry: Registry) -> None:
    """Adds combinations of a host project's own: `registry.add("acme-int8-cpu", factory)`.

    A factory is `(model_path, device) -> encoder`: of the model's folder (a `pathlib.Path`) and a device it makes
    anything with Sentence Transformers' `encode(texts, batch_size=)`.
    """


def pytest_gate_engines(registry: EngineRegistry) -> None:
    """Adds engines of a host project's own, which search stored vectors: `registry.add("acme", factory)`.

    A factory is `documents -> index`: of the documents' vectors (float32 `[n, dim]`, as the encoder gave them) it makes
    anything with `search(queries, k)`, which gives the rows of the `k` nearest documents of each query, `[q, k]`.
    """


def pytest_gate_checks(registry: CheckRegistry) -> None:
    """Adds checks of a host project's own: `registry.add(embedgate.Check("acme", judge))`.

    A judge is `(context, case) -> judgement`. A test that is marked `@pytest.mark.gate("acme")` and calls its fixture
    `uphold` asks it of every combination. See docs/add-a-check.md.
    """
