"""Whether a fault moves embeddings, and a sound encoder hardly: what is claimed of either is measured first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from causes.fault import Fault, Form, Rows

# A fault moves some text farther than this, as a share of its embedding's length.
LEAST_MOVE = 0.02
# A sound encoder moves none farther, by the weight precision it promises. torch's dynamic int8 costs much.
MOST_MOVE = {"fp16": 0.01, "bf16": 0.05, "int8": 0.75}
BATCH_SIZE = 8


def farthest(fault: Fault, form: Form, encoder: Any, reference: Any, model: Any, texts: Sequence[str]) -> float:
    """The farthest that an encoder moves a text in any role, in a batch or alone.

    Args:
        fault: What is wrong with the encoder.
        form: In which form.
        encoder: The encoder.
        reference: The model as it is, a `SentenceTransformer`.
        model: The same, as embedgate knows it.
        texts: The texts.

    Returns:
        The distance as a share of the reference's length.
    """
    query, document = (model.roles[name] for name in ("query", "document"))
    asked, sound = (_asked(each, fault, form) for each in (encoder, reference))
    moves = []
    for role in [query] if query.same_as(document) else [query, document]:
        right = sound.encode_as(role, texts, BATCH_SIZE)
        moves.append(_moved(asked.encode_as(role, texts, BATCH_SIZE), right))
        moves.append(_moved(asked.encode_as(role, texts[:1], BATCH_SIZE), right[:1]))
    return max(moves)


def _asked(inner: Any, fault: Fault, form: Form) -> Any:
    """An encoder as a session asks it: with the prompts of roles."""
    from pathlib import Path

    from embedgate.core.cache import ArtefactCache
    from embedgate.core.combination import Combination
    from embedgate.encoders import BuildContext
    from embedgate.encoders.custom import CustomEncoder

    context = BuildContext(1, ArtefactCache(Path()))
    return CustomEncoder(inner, Combination.parse(fault.combination(form)), context)


def _moved(found: Rows, right: Rows) -> float:
    return float((np.linalg.norm(found - right, axis=1) / np.linalg.norm(right, axis=1)).max())


def complaint(fault: Fault, move: float) -> str:
    """Why a fault is none, or a sound encoder is not sound; empty where all is well."""
    if fault.kind != "sound":
        return "" if move > LEAST_MOVE else f"moves no text farther than {move:.4f}: it is no fault of these texts"
    most = MOST_MOVE[fault.promise]
    return "" if move <= most else f"moves a text by {move:.4f}, more than {most}: it is not sound"
