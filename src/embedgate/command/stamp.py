"""`embedgate stamp`: writes what an index's queries are held against, see `embedgate.stamp`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedgate.command.telling import say, say_aside
from embedgate.core.errors import GateError
from embedgate.core.model import DEFAULT_MODEL, NO_MODEL
from embedgate.core.roles import parse_prompt
from embedgate.core.settings import Settings
from embedgate.core.version import __version__
from embedgate.stamp import CANARIES, LEAST_COSINE, UNIT, Canary, Stamp, check, write

if TYPE_CHECKING:
    from embedgate.encoders import FloatArray
    from embedgate.runtime.session import Run, Session

OUT = Path("index.stamp.json")
PRECISIONS = ("float32", "float16", "int8", "uint8", "binary", "ubinary")
DEFAULT = "torch-fp32-cpu"


def declare(parser: argparse.ArgumentParser) -> None:
    """Adds what can be given."""
    add = parser.add_argument
    add("--model", default=DEFAULT_MODEL, help="what made the index: a folder, or a hub id with its commit")
    add("--combination", help=f"how it ran, by the combination's id (default: {DEFAULT})")
    add("--candidate", help="what ran it in place of a combination: a file or a server, as --gate-candidate has it")
    add("--prompt", action="append", default=[], metavar="ROLE=NAME|TEXT", help="as --gate-prompt (repeatable)")
    add("--embedding-precision", choices=PRECISIONS, default="float32", help="how the index stores vectors")
    add("--least-cosine", type=float, default=LEAST_COSINE, help=f"of each canary (default: {LEAST_COSINE})")
    add("--out", type=Path, default=OUT, help=f"the file to write (default: {OUT})")


def run(options: argparse.Namespace) -> int:
    """Embeds the canary texts, and writes the stamp.

    Raises:
        GateError: If the model or the candidate cannot be had, or the file cannot be written.
    """
    from embedgate.encoders.registry import Registry
    from embedgate.runtime.plan import Plan
    from embedgate.runtime.session import Session

    if not 0 < options.least_cosine <= 1:
        raise GateError(f"--least-cosine must be above 0 and at most 1, not {options.least_cosine:g}")
    if options.model == NO_MODEL:
        raise GateError("a stamp names the model, and none was given", "give its folder, or a hub id with its commit")
    if options.combination and options.candidate:
        raise GateError("--combination and --candidate were both given", "give one of them")
    if options.out.is_dir():
        raise GateError(f"--out {options.out} is a folder", "name the file in it")
    for text in options.prompt:
        parse_prompt(text, "--prompt")
    settings = Settings(
        model=options.model,
        prompts=tuple(options.prompt),
        combinations=() if options.candidate else (options.combination or DEFAULT,),
        candidates=(options.candidate,) if options.candidate else (),
        data=("pairs",),
    )
    registry = Registry()
    if options.combination:
        registry.named(options.combination)  # and no glob, which may match several
    plan = Plan.of(settings, registry, progress=_progress)
    combination = plan.combinations[-1]
    if not plan.is_live(combination):
        raise GateError(f"{combination} knows its own texts alone", "name what embeds texts: a folder, file or server")
    with closing(Session(plan, _progress)) as session:
        if reason := session.unavailable(combination):
            raise GateError(f"{combination} cannot run here: {reason}")
        own = session.run_of_own(combination)
        stamp = stamp_of(session, own, options.embedding_precision, options.least_cosine)
        unnoticed = [*_unnoticed(session, own, stamp)]
    write(stamp, options.out)
    say(f"wrote {options.out}: {len(stamp.canaries)} texts by {combination} of {stamp.model}, {stamp.dim} dimensions")
    for line in unnoticed:
        say(line)
    return 0


def stamp_of(session: Session, own: Run, embedding_precision: str, least_cosine: float) -> Stamp:
    """The stamp of an index whose vectors a run makes.

    Args:
        session: The session.
        own: The run.
        embedding_precision: How the index stores vectors.
        least_cosine: What a canary's cosine must be at least.

    Raises:
        GateError: If the texts cannot be encoded.
    """
    from embedgate.approved.store import utc_now

    model, canaries = own.model, []
    for role, texts in CANARIES.items():
        rows = session.encode_as(own, model.roles[role], texts)
        canaries += [Canary(text, role, row) for text, row in zip(texts, rows, strict=True)]
    return Stamp(
        model=model.name,
        source=model.source,
        fingerprint=model.fingerprint,
        combination=own.combination.id,
        similarity=model.similarity.name,
        dim=len(canaries[0].vector),
        # A server may leave the model's last step out: what the index holds counts.
        normalised=model.normalises and all(abs(np.linalg.norm(each.vector) - 1) <= UNIT for each in canaries),
        embedding_precision=embedding_precision,
        prompts={role: model.roles[role].prompt for role in CANARIES},
        least_cosine=least_cosine,
        canaries=tuple(canaries),
        made=utc_now(),
        embedgate=__version__,
    )


def _unnoticed(session: Session, own: Run, stamp: Stamp) -> Iterator[str]:
    """Which prompts could be missed without the stamp's telling it."""
    roles = own.model.roles
    for missed in (role for role in CANARIES if roles[role].prompt):

        def embed(texts: Sequence[str], role: str, missed: str = missed) -> FloatArray:
            used = roles[role]
            return session.encode_as(own, replace(used, prompt="", prompt_name="") if role == missed else used, texts)

        found = check(stamp, embed)
        if found.fits:
            yield (
                f"note: without its prompt, a {missed} has a cosine of {min(found.cosines):.4f} and more, "
                f"which {stamp.least_cosine:g} does not tell: give a greater --least-cosine"
            )


def _progress(line: str) -> None:
    say_aside(f"  {line}")
