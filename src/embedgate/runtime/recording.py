"""Records what a candidate answers, so that it can be judged later without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, counted
from embedgate.core.model import Model
from embedgate.core.roles import Role
from embedgate.data import load_golden
from embedgate.deployed.recorded import About, Asked, write
from embedgate.encoders import Encoder, Evidence, FloatArray

if TYPE_CHECKING:
    from embedgate.runtime.session import Run, Session

# Texts that are asked for between two times at which what was answered is kept.
PART = 256


class Keeping(Encoder):
    """An encoder whose answers are kept as they come: an error later on loses none of them.

    Args:
        inner: The encoder.

    Attributes:
        answers: What was answered, float32 `[dim]` of each text.
    """

    def __init__(self, inner: Encoder) -> None:
        self.by_role = inner.by_role
        self.answers: dict[Asked, FloatArray] = {}
        self._inner = inner

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts; see `Encoder.encode`."""
        return self._inner.encode(texts, batch_size)

    def encode_as(self, role: Role, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """Embeds texts in a role, some at a time; see `Encoder.encode_as`."""
        for start in range(0, len(texts), PART):
            some = texts[start : start + PART]
            asked = [Asked.by(role, text, self.by_role) for text in some]
            # A copy, since some give the same array each time.
            self.answers.update(zip(asked, np.array(self._inner.encode_as(role, some, batch_size)), strict=True))
        return np.stack([self.answers[Asked.by(role, text, self.by_role)] for text in texts])

    def evidence(self) -> Evidence:
        """Tells what really ran; see `Encoder.evidence`."""
        return self._inner.evidence()


@contextmanager
def keeping(session: Session, combination: Combination, model: Model, encoder: Encoder) -> Iterator[Encoder]:
    """The encoder to encode the datasets' texts with: where that ends early, what was answered by then is written.

    Args:
        session: The session.
        combination: The combination that is asked.
        model: The model, whose answers they are.
        encoder: The combination's encoder.
    """
    file = session.plan.recording(combination)
    if file is None:
        yield encoder
        return
    kept = Keeping(encoder)
    try:
        yield kept
    except BaseException:  # Ctrl-C, too: the answers may have been paid for
        if kept.answers:
            name, end, suffix = file.name.partition(".answers.")
            numbered = (file.with_name(f"{name}-part{number}{end}{suffix}") for number in count(1))
            part = next(each for each in numbered if not each.exists())
            about = About.of(session.plan.registry.source(combination), model)  # it may be past giving evidence
            written = write(part, about, kept.answers.items())
            session.progress(f"{combination}: {counted(written, 'answer')} from before this are kept in {part}")
        raise


def record(session: Session, run: Run, file: Path) -> int:
    """Records a run's answers for all texts that checks ask without a live encoder.

    These are the datasets' texts, the golden ones, and the approved set of generated sentences.

    Args:
        session: The session.
        run: What has encoded the datasets' texts.
        file: Where to.

    Returns:
        How many answers were recorded.

    Raises:
        GateError: If the file cannot be written.
    """
    encoder, roles = session.encoder(run), run.model.roles
    inputs = [*run.embeddings.inputs, *roles.spread(load_golden()[0]), *session.texts.ordered]
    try:
        vectors = session.embed(run, inputs)
    except GateError as error:  # whoever asks for them next is told the same
        session.progress(f"{run.combination}: golden and generated texts are not recorded: {error.cause}")
        inputs, vectors = run.embeddings.inputs, run.embeddings.matrix
    answers = {
        Asked.by(roles[each.role], each.text, encoder.by_role): vector
        for each, vector in zip(inputs, vectors, strict=True)
    }
    about = About.of(session.plan.registry.source(run.combination), run.model, run.evidence)
    return write(file, about, answers.items())
