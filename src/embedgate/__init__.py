"""A pytest-based evaluation and regression suite for quantized Sentence Transformers models.

What a host project writes against is here: encoders of its own, checks of its own, and what they return. Nothing is
imported before it is asked for, and torch by none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from embedgate.core.version import __version__

if TYPE_CHECKING:
    from embedgate.calling import Interrupted, Report, gate
    from embedgate.checks import Case, Check, CheckRegistry, Context, Missing, Subject, candidates, every, reference
    from embedgate.core.combination import Combination
    from embedgate.core.errors import GateError
    from embedgate.core.judgement import Diagnosis, Judgement, WorstText
    from embedgate.encoders import BuildContext, Encoder, Evidence, Stability, Stages
    from embedgate.encoders.registry import Backend, Offer, Registry
    from embedgate.vectors.engines.base import EngineRegistry, HostIndex

_HOME = {
    "embedgate.calling": ("Interrupted", "Report", "gate"),
    "embedgate.checks": (
        "Case",
        "Check",
        "CheckRegistry",
        "Context",
        "Missing",
        "Subject",
        "candidates",
        "every",
        "reference",
    ),
    "embedgate.core.combination": ("Combination",),
    "embedgate.core.errors": ("GateError",),
    "embedgate.core.judgement": ("Diagnosis", "Judgement", "WorstText"),
    "embedgate.encoders": ("BuildContext", "Encoder", "Evidence", "Stability", "Stages"),
    "embedgate.encoders.registry": ("Backend", "Offer", "Registry"),
    "embedgate.vectors.engines.base": ("EngineRegistry", "HostIndex"),
}

__all__ = [
    "Backend",
    "BuildContext",
    "Case",
    "Check",
    "CheckRegistry",
    "Combination",
    "Context",
    "Diagnosis",
    "Encoder",
    "EngineRegistry",
    "Evidence",
    "GateError",
    "HostIndex",
    "Interrupted",
    "Judgement",
    "Missing",
    "Offer",
    "Registry",
    "Report",
    "Stability",
    "Stages",
    "Subject",
    "WorstText",
    "__version__",
    "candidates",
    "every",
    "gate",
    "reference",
]


def __getattr__(name: str) -> Any:
    """Imports a name when it is first asked for."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names there are."""
    return [*__all__]
