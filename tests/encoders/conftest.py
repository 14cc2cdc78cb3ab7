"""What encoders compute and tell of themselves is tested with the real model."""

from __future__ import annotations

import pytest

from embedgate.core.model import Model


@pytest.fixture(scope="session")
def model(minilm) -> Model:
    return minilm
