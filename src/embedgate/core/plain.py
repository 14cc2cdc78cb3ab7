"""Plain values: what JSON, and pytest-xdist between its processes, can carry."""

from __future__ import annotations

import math
from typing import Any

import msgspec


def to_plain(value: Any) -> Any:
    """A value with its dataclasses as dicts; what numpy or a host project left in it as numbers or texts.

    `msgspec.convert(plain, type)` is the inverse.
    """
    return msgspec.to_builtins(value, enc_hook=_plain)


def finite(value: Any) -> Any:
    """A plain value with None in place of every float that JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    """Scalars of numpy as numbers; whatever else a host project's evidence holds as text."""
    return value.item() if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 else str(value)
