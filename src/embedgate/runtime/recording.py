"""Records what a candidate answers, so that it can be judged later without it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embedgate.core.errors import EncodeError
from embedgate.data import load_golden
from embedgate.deployed.recorded import About, asked_as, write

if TYPE_CHECKING:
    from embedgate.runtime.session import Run, Session


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
    inputs = [*run.embeddings.inputs, *roles.spread(load_golden()[0]), *session.ordered]
    try:
        vectors = session.embed(run, inputs)
    except EncodeError as error:
        session.progress(f"{run.combination}: golden and generated texts are not recorded: {error.cause}")
        inputs, vectors = run.embeddings.inputs, run.embeddings.matrix
    answers = {
        asked_as(roles[each.role], each.text, encoder.by_role): vector
        for each, vector in zip(inputs, vectors, strict=True)
    }
    about = About.of(session.plan.registry.source(run.combination), run.model, run.evidence)
    return write(file, about, answers.items())
