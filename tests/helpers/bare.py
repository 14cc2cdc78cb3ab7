"""The least that an encoder can be, for tests that are about whoever calls it."""

from __future__ import annotations

from types import SimpleNamespace

from embedgate.core.roles import Roles
from embedgate.encoders import Encoder, Evidence

# Of a model, all that is needed to encode as it is used.
UNPROMPTED = SimpleNamespace(roles=Roles("config", {}))


class Bare(Encoder):
    """Tells nothing of what runs; a test's own `encode` follows."""

    def evidence(self) -> Evidence:
        raise AssertionError("nobody asks what ran")
