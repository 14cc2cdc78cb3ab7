"""Codes of the real model's embeddings are judged: those of the small one are told apart by fewer bits."""

from __future__ import annotations

import pytest

from embedgate.core.model import Model


@pytest.fixture(scope="session")
def model(minilm) -> Model:
    return minilm
