"""Contract: every text comes back as one sound vector, however odd it is, and disturbs no other text of its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from embedgate.core.errors import BuildError, EncodeError, ResourceError, counted, one_line
from embedgate.core.judgement import ANSWERS, BY_BATCH, ROUNDING, UNKNOWN, quoted, rounding
from embedgate.diagnosis.answers import STEP
from embedgate.diagnosis.layers import NEXT_STEPS, UNIT_NORM, first_not_finite, relative_distance
from embedgate.encoders import FloatArray, Stages
from embedgate.encoders.lengths import FILLERS, WITHOUT_LIMIT, has_limit, of_length
from embedgate.properties import Embed, Outcome, Violation, as_rounding
from embedgate.properties.explore import Profile, look
from embedgate.sentences.strategies import any_text

if TYPE_CHECKING:
    from embedgate.encoders.onnx.tokenizer import Tokenizer

BESIDE = ("The parcel arrives on Thursday.", "She has been waiting for it since the beginning of the month.")
HUGE = 100_000
# Layers of a cause that gives embeddings other lengths.
LENGTHS = ("normalisation", "dimension", "codes")
_STEPS = {
    **NEXT_STEPS,
    ANSWERS: STEP,
    "dimension": "see what shapes the result: pooling, Dense, truncation, and what is returned",
}


def _beyond(tokens: int) -> Callable[[Tokenizer | None], str]:
    return lambda tokenizer: of_length(tokenizer, tokens)


def _huge(tokenizer: Tokenizer | None) -> str:
    """A text of very many characters; where nothing would cut it, as many as an encoder can take."""
    text = f"The cook stirred the soup. {'No letter was ever as long as this one. ' * (HUGE // 40)}"
    return text[: HUGE if has_limit(tokenizer) else 4 * WITHOUT_LIMIT]


def _fixed(text: str) -> Callable[[Tokenizer | None], str]:
    return lambda _: text


# What each text is for is its name. Most would be stripped, cut or replaced somewhere on the way.
CANARIES: Mapping[str, Callable[[Tokenizer | None], str]] = {
    "empty": _fixed(""),
    "whitespace": _fixed(" \t\n\u00a0\u3000 "),
    "one_token": _fixed(FILLERS[0]),
    "below_limit": _beyond(-1),
    "at_limit": _beyond(0),
    "above_limit": _beyond(1),
    "huge": _huge,
    "emoji": _fixed("Great 👍🏽 job 👩‍👩‍👧‍👦 🏳️‍🌈 🇳🇴 👨🏿‍🚀!"),
    "combining": _fixed("Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘! cafe\u0301 a\u0308\u0301"),
    "right_to_left": _fixed("שלום עולם. مرحبا بالعالم \u202eabc\u202c 2024"),
    "zero_width": _fixed("in\u200bvis\u200cible\u200d gaps\u2060 and\ufeff a soft\u00adhyphen"),
    "control": _fixed("a\x00b\x01c\x07d\x1be\x7ff\u0085g"),
    "surrogates": _fixed("half \ud83d of a pair \udc4d"),
    "unknown_tokens": _fixed("𓀀𓁐 𓃭 𒀀𒁀 ⸻ 𝔊𝔬𝔱𝔥 \ue000\uf8ff"),
    "repeated_token": _fixed(" ".join(["the"] * 300)),
}


class Contract:
    """Holds an encoder to what every embedding must be.

    Args:
        embed: Embeds texts by the combination, in one batch.
        reference: Embeds texts by the reference, in one batch.
        dim: Dimensions of an embedding.
        unit_norm: Whether the model normalises, so that every embedding has length 1.
        move: How far the embedding of a neighbour may move, see `embedgate.encoders.Stability`.
        stages: Intermediate results of texts, to name the layer where NaN arises; None where the encoder shows none.
    """

    def __init__(
        self,
        embed: Embed,
        reference: Embed,
        dim: int,
        unit_norm: bool,
        move: float,
        stages: Callable[[Sequence[str]], Stages | None] = lambda _: None,
    ) -> None:
        self._embed = embed
        self._reference = reference
        self._dim = dim
        self._unit_norm = unit_norm
        self._move = move
        self._stages = stages

    def holds_for(self, text: str) -> Outcome:
        """Looks at a text's embedding, alone and in a batch."""
        rows, refusal = _answer(self._embed, [text])
        if rows is not None:
            return Outcome(self._unsound([text], rows) or self._disturbs(text), 1)
        if _answer(self._reference, [text])[0] is None:
            return Outcome(None, 1, note=f"refused, as by the reference: {refusal}")
        return Outcome(_violation([text], f"is refused, and the reference takes it: {refusal}", UNKNOWN), 1)

    def holds_for_any(self, profile: Profile, seed: int, pinned: Iterable[Sequence[str]] = ()) -> Outcome:
        """Looks for a text whose embedding is not sound.

        Args:
            profile: How long to look.
            seed: What the texts are drawn from.
            pinned: Texts to try first.
        """
        known: dict[str, FloatArray] = {}
        unexplained: list[Violation] = []

        def prepare(texts: Sequence[str]) -> None:
            known.clear()
            fresh = list(dict.fromkeys(texts))
            rows, _ = _answer(self._embed, fresh)
            if rows is not None and len(rows) == len(fresh):
                known.update(zip(fresh, rows, strict=True))

        def violation(text: str) -> Violation | None:
            together = self._unsound([text], known[text][None]) if text in known else None
            if text in known and together is None:
                return None
            # Another text of its batch may be to blame: that one is unsound by itself, too, or beside a few.
            alone = self.holds_for(text).violation
            if alone is None and together is not None:
                unexplained.append(together)
            return alone

        found, tried = look(
            any_text(),
            violation,
            first=[text for texts in pinned for text in texts],
            rounds=profile.rounds,
            examples=profile.texts,
            seed=seed,
            prepare=prepare,
        )
        if found is None and unexplained:
            first = unexplained[0]
            message = f"{first.message} in a batch of many, and not alone"
            found = replace(first, message=message, cause=f"{first.cause} in a batch of many, and not alone")
        return Outcome(found, tried)

    def _disturbs(self, text: str) -> Violation | None:
        """Whether the text is unsound beside others, or moves one of them."""
        batch = [BESIDE[0], text, BESIDE[1]]
        rows, refusal = _answer(self._embed, batch)
        if rows is None:
            return _violation(batch, f"fails in a batch with others, and not alone: {refusal}", UNKNOWN)
        if broken := self._unsound(batch, rows):
            if len(broken.texts) == 1 and (own := self._alone(broken.texts)) is not None:
                return own
            what = f"is sound alone, and in a batch with others {broken.message}"
            return _violation(batch, what, broken.layer, cause=f"{broken.cause} in a batch, and not alone")
        # In as large a batch: what moves beside any text, or is another alone, is invariance's to tell.
        move = relative_distance(self._embed([BESIDE[0], BESIDE[1], BESIDE[1]])[0], rows[0])
        if move <= self._move:
            return None
        what = f"moves the embedding of its neighbour by {move:.2g}{rounding(move)}, {self._move:g} is declared"
        cause = "a text moves the embedding of its neighbour"
        found = _violation(batch, what, UNKNOWN, move, self._move, cause, (BY_BATCH,))
        return as_rounding(found, "stability.batch") if move < ROUNDING else found

    def _alone(self, texts: Sequence[str]) -> Violation | None:
        """What is wrong with texts without others; None where nothing is."""
        rows, _ = _answer(self._embed, texts)
        return None if rows is None else self._unsound(texts, rows)

    def _unsound(self, texts: Sequence[str], rows: FloatArray) -> Violation | None:
        if rows.shape != (len(texts), self._dim) or rows.dtype != np.float32:
            got = f"gives {rows.dtype} {list(rows.shape)} for {counted(len(texts), 'text')}"
            what = f"{got} instead of float32 [{len(texts)}, {self._dim}]"
            cause = f"embeddings are not float32 [n, {self._dim}]"
            return _violation(texts, what, "dimension", cause=cause)
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        if not np.isfinite(lengths).all():
            broken = texts[int(np.argmin(np.isfinite(lengths)))]
            begins = first_not_finite(self._stages([broken]))
            return _violation([broken], f"gives an embedding that holds NaN or infinity{begins}", "finiteness")
        empty = [text for text, length in zip(texts, lengths, strict=True) if not length]
        if empty and (own := _answer(self._reference, empty[:1])[0]) is not None and own.any():
            what, cause = "gives zeros, and the reference a vector", "zeros come in the place of a vector"
            return _violation(empty[:1], what, ANSWERS, cause=cause)
        off = np.abs(lengths - 1)
        if self._unit_norm and off.max() > UNIT_NORM:
            worst = int(off.argmax())
            what = f"gives an embedding of length {lengths[worst]:.4f}, and the model normalises to 1"
            cause = "the model normalises, and embeddings have other lengths than 1"
            return _violation([texts[worst]], what, "normalisation", float(off.max()), UNIT_NORM, cause, LENGTHS)
        return None


def _answer(embed: Embed, texts: Sequence[str]) -> tuple[FloatArray | None, str]:
    """The embeddings, copied, since some give the same array each time; or None, and why the texts were refused.

    Raises:
        BuildError: If memory runs out.
    """
    try:
        return np.array(embed(texts)), ""
    except ResourceError:
        raise
    except MemoryError as error:
        raise BuildError("memory ran out while odd texts were encoded", "lower --gate-batch-size") from error
    except EncodeError as error:
        return None, str(error)
    except Exception as error:
        return None, one_line(error)


def _violation(
    texts: Sequence[str],
    what: str,
    layer: str,
    value: float | None = None,
    limit: float | None = None,
    cause: str = "",
    explained_by: tuple[str, ...] = (),
) -> Violation:
    """The violation of one text, or of the second of three; its cause is what was found, where none is given."""
    message = f"{quoted(texts[0] if len(texts) == 1 else texts[1], 60)} {what}"
    step = _STEPS.get(layer, "encode this text alone and beside others, and see where they part")
    by = explained_by or (() if layer == UNKNOWN else (layer,))
    return Violation(tuple(texts), message, value, limit, layer, cause or what, step, explained_by=by)
