"""Hooks that embedgate calls in conftest.py files and other plugins."""

from __future__ import annotations

from embedgate.combination import Registry


def pytest_gate_combinations(registry: Registry) -> None:
    """Adds combinations of a host project's own: `registry.add("acme-int8-cpu", factory)`.

    A factory is `(model_path, device) -> encoder`: of the model's folder (a `pathlib.Path`) and a device it makes
    anything with Sentence Transformers' `encode(texts, batch_size=)`.
    """
