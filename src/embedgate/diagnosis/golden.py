"""Golden texts: what a combination made of a few chosen texts when its baseline was approved, stage by stage.

A library upgrade that drops a special token, prepends a prompt or pools in another way moves every embedding, and the
reference's with it, so that a comparison within one session sees nothing. Held against what was approved, it is named
before any metric moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embedgate.core.errors import WidthError
from embedgate.core.judgement import UNKNOWN, Diagnosis, quoted, rounding
from embedgate.core.roles import PLAIN, Role
from embedgate.diagnosis import tokens
from embedgate.diagnosis.layers import NEXT_STEPS, UNIT_NORM, length_step, relative_distance
from embedgate.diagnosis.rereading import Read, Reading
from embedgate.encoders import Encoder, FloatArray

# Texts whose stages are taken at a time, the longest first: little padding, and the same batches in every session.
BATCH = 16


@dataclass(frozen=True, eq=False)
class Golden:
    """The encoder's results for the golden texts.

    Attributes:
        embeddings: Finished embeddings, float32 `[n, dim]`.
        token_ids: Per text, the token ids without padding, int64 `[tokens]`; None where the encoder does not show them.
        hidden: Mean of each text's last hidden states, float32 `[n, hidden]`; None where the encoder shows none.
    """

    embeddings: FloatArray
    token_ids: tuple[npt.NDArray[np.int64], ...] | None = None
    hidden: FloatArray | None = None

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        return all(np.isfinite(found).all() for found in (self.embeddings, self.hidden) if found is not None)

    @property
    def bits(self) -> str:
        """SHA-256 over the bits of the embeddings, hex."""
        return hashlib.sha256(np.ascontiguousarray(self.embeddings, dtype="<f4").tobytes()).hexdigest()


def take_golden(encoder: Encoder, texts: Sequence[str], by_role: Sequence[tuple[Role, Sequence[int]]] = ()) -> Golden:
    """Takes the stages of texts, in batches that depend on the texts and their roles alone.

    Args:
        encoder: The encoder.
        texts: The texts.
        by_role: The places of the texts in each role; all without a prompt where none is given.

    Raises:
        WidthError: If a text has another width than the first.
    """
    embeddings: dict[int, FloatArray] = {}
    token_ids: dict[int, npt.NDArray[np.int64]] = {}
    hidden: dict[int, FloatArray] = {}
    for role, rows in _batches(by_role or [(PLAIN, range(len(texts)))], texts):
        batch = [texts[i] for i in rows]
        stages = encoder.stages_as(role, batch)
        # Copies, since some give the same arrays each time.
        if stages is None:
            embeddings.update(zip(rows, np.array(encoder.encode_as(role, batch)), strict=True))
            continue
        embeddings.update(zip(rows, np.array(stages.embeddings), strict=True))
        token_ids.update(zip(rows, map(np.array, stages.token_ids), strict=True))
        if stages.token_embeddings is not None:
            hidden.update((i, states.mean(axis=0)) for i, states in zip(rows, stages.token_embeddings, strict=True))
    every = range(len(texts))
    wide = [len(embeddings[i]) for i in every]
    if other := next((i for i in every if wide[i] != wide[0]), None):
        raise WidthError(
            f"gives {quoted(texts[other], 60)} {wide[other]} dimensions, and {quoted(texts[0], 60)} {wide[0]}",
            "give every text as many",
        )
    return Golden(
        np.stack([embeddings[i] for i in every]),
        tuple(token_ids[i] for i in every) if len(token_ids) == len(texts) else None,
        np.stack([hidden[i] for i in every]) if len(hidden) == len(texts) else None,
    )


def _batches(by_role: Sequence[tuple[Role, Sequence[int]]], texts: Sequence[str]) -> Iterator[tuple[Role, list[int]]]:
    for role, places in by_role:
        order = sorted(places, key=lambda i: len(texts[i]), reverse=True)
        for start in range(0, len(order), BATCH):
            yield role, order[start : start + BATCH]


def largest_move(now: Golden, approved: Golden) -> float:
    """How far the embedding that moved most did, as a share of its length; NaN where one is not finite."""
    return max(
        (relative_distance(before, after) for before, after in zip(approved.embeddings, now.embeddings, strict=True)),
        key=lambda move: float("inf") if np.isnan(move) else move,
    )


def drifted(
    now: Golden, approved: Golden, texts: Sequence[str], tolerance: float, read: Read | None = None
) -> Diagnosis | None:
    """Names the first stage at which something else becomes of the texts than was approved; None where nothing does.

    Args:
        now: What becomes of them now.
        approved: What was approved.
        texts: The texts.
        tolerance: The largest move of a vector that counts as none, as a share of its length.
        read: Reads changed texts in the places of the golden ones, as the encoder does now; None where it cannot.
    """
    if now.token_ids is not None and approved.token_ids is not None:
        found = tokens.diagnose(texts, now.token_ids, approved.token_ids, Reading(read, other="the approved tokenizer"))
        if found:
            return replace(found, layer="tokens", next_step="find which library or file changed the tokenizer")
    if not now.finite:
        return Diagnosis("finiteness", "embeddings hold NaN or infinity", NEXT_STEPS["finiteness"])
    stages_of = ((now.token_ids, approved.token_ids), (now.hidden, approved.hidden))
    if any(found is None and before is not None for found, before in stages_of):
        step = "have the encoder's `stages(texts)` show them again, or approve it as it is"
        return Diagnosis(UNKNOWN, "the encoder no longer shows the stages that were approved", step)
    shown = now.hidden is not None and approved.hidden is not None
    seen = f"tokens are as approved, {'hidden states too, pooled ' * shown}"
    what = "embeddings are not as approved" if now.token_ids is None else f"{seen}embeddings are not"
    lengths = _lengths(now.embeddings), _lengths(approved.embeddings)
    unit = bool(np.abs(lengths[1] - 1).max() <= UNIT_NORM)
    stages = (
        (
            "hidden states",
            (now.hidden, approved.hidden),
            tolerance,
            "the same tokens give other hidden states",
            "find which library changed how layers compute, or what changed the built artefact",
        ),
        (
            "pooling" if shown else UNKNOWN,
            (_directions(now.embeddings), _directions(approved.embeddings)),
            tolerance,
            what,
            NEXT_STEPS["pooling"] if shown else "find which library changed, or what changed the built artefact",
        ),
        (
            "normalisation",
            lengths,
            min(UNIT_NORM, tolerance) if unit else tolerance,  # rounding turns a unit vector, it does not stretch it
            "embeddings have the approved directions, and other lengths",
            length_step(normalises=unit),
        ),
    )
    for layer, vectors, limit, said, next_step in stages:
        moved = _moved(*vectors, texts, limit)
        if moved:
            return Diagnosis(layer, f"{said}: {moved}", next_step)
    return None


def _moved(now: FloatArray | None, approved: FloatArray | None, texts: Sequence[str], tolerance: float) -> str:
    """How many vectors moved further than the tolerance, in a few words; empty where none did, or none are shown."""
    if now is None or approved is None:
        return ""
    if now.shape != approved.shape:
        return f"{now.shape[1]} dimensions instead of {approved.shape[1]}"
    moves = np.array([relative_distance(before, after) for before, after in zip(approved, now, strict=True)])
    moves = np.nan_to_num(moves, nan=np.inf)  # NaN is neither within the tolerance nor beyond it
    beyond, worst = int((moves > tolerance).sum()), int(moves.argmax())
    if not beyond:
        return ""
    most = f"{moves[worst]:.2g} ({quoted(texts[worst], 40)}){rounding(float(moves[worst]))}"
    return f"{beyond} of {len(texts)} moved by more than {tolerance:g}, the furthest by {most}"


def _directions(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.maximum(_lengths(vectors), np.float32(1e-12)), dtype=np.float32)


def _lengths(vectors: FloatArray) -> FloatArray:
    """Lengths of vectors, float32 `[n, 1]`."""
    return np.asarray(np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
