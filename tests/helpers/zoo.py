"""A model in a combination, held against a `SentenceTransformer` that is loaded by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from embedgate import encoders
from embedgate.core.combination import Combination
from embedgate.core.model import Model
from embedgate.core.roles import DOCUMENT, PROMPT_NAMES, QUERY
from embedgate.encoders import BuildContext, FloatArray
from embedgate.encoders.registry import Registry

TEXTS = (
    "one",
    "A man is playing a guitar on the street.",
    "Two men play.",
    "",
    "Ünïcode, CAPITALS & 3.14",
    "Nobody on the board had read the report, which was late again. " * 20,
)
BATCH_SIZE = 4
# Of float32, as a share of the largest component: another order of sums, and no more.
MAX_DIFFERENCE = 1e-5
# Of random weights, whose activations have no outliers and no structure; real models are judged by tolerances.toml.
LEAST_COSINE = 0.95


@dataclass(frozen=True)
class Compared:
    """How near a combination is to Sentence Transformers.

    Attributes:
        difference: The largest difference of a component, as a share of the largest there is.
        cosine: The least cosine of a text in a role.
        problems: What its evidence says against it.
    """

    difference: float
    cosine: float
    problems: tuple[str, ...]


def by_sentence_transformers(model: Model, texts: Sequence[str] = TEXTS) -> dict[str, FloatArray]:
    """Embeddings of texts by role, float32 `[n, dim]`; the role `""` is plain `encode`."""
    loaded = SentenceTransformer(
        str(model.path), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    )
    torch.set_num_threads(1)
    found = {
        "": loaded.encode(texts, batch_size=BATCH_SIZE),
        QUERY: loaded.encode_query(texts, batch_size=BATCH_SIZE),
        DOCUMENT: loaded.encode_document(texts, batch_size=BATCH_SIZE),
    }
    for role, names in PROMPT_NAMES.items():
        name = next((name for name in names if name in loaded.prompts), None)
        if role not in found:
            found[role] = loaded.encode(texts, batch_size=BATCH_SIZE, prompt_name=name)
    return found


def compared(
    model: Model, combination: Combination, context: BuildContext, wanted: Mapping[str, FloatArray]
) -> Compared:
    """Builds a combination and encodes the same in every role.

    Raises:
        GateError: If it cannot be built.
    """
    encoder = encoders.build(model, combination, context, Registry())
    try:
        found = {role: encoder.encode_as(model.roles[role], TEXTS, BATCH_SIZE) for role in wanted}
        problems = encoder.evidence().problems
    finally:
        encoder.close()
    mine, theirs = (np.concatenate([rows[role] for role in wanted]).astype(np.float64) for rows in (found, wanted))
    lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    # A table of embeddings has nothing for an empty text: two vectors of zeros are alike.
    alike = (mine == theirs).all(axis=1).astype(np.float64)
    cosines = np.divide((mine * theirs).sum(axis=1), lengths, out=alike, where=lengths > 0)
    return Compared(float(np.abs(mine - theirs).max() / np.abs(theirs).max()), float(cosines.min()), problems)
