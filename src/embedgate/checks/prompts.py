"""Is each text encoded with the prompt of its role? Dropped, doubled and exchanged ones are reproduced, then named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from embedgate.checks.check import Case, Check, Subject, candidates
from embedgate.checks.context import Context
from embedgate.core.combination import Combination
from embedgate.core.judgement import Diagnosis, Judgement, quoted
from embedgate.core.roles import DOCUMENT, QUERY, ROLES, Input, Role, Roles, shown_prompt
from embedgate.core.similarity import normalised
from embedgate.metrics import Matrix
from embedgate.runtime.plan import Plan
from embedgate.runtime.session import Run

# Texts of a role that are encoded in every wrong way by the reference.
PROBES = 32
# A way is the one taken where the embeddings lie more than half of the way from the right ones to it: beyond chance,
# by so many standard errors.
HALF = 0.5
STANDARD_ERRORS = 3.0
# Nearer than this, a wrong way and the right one are the same.
SAME = 1e-3
# A text took a way where it lies nearer to the wrong embedding than half of a way of at least this length: quantization
# moves embeddings less, and in other directions. So many texts of each kind make it a prompt that some lack.
FAR = 0.05
SOME = 2
NEXT_STEP = (
    "encode queries by encode_query and documents by encode_document, or give --gate-prompt what you mean to serve"
)
SOME_STEP = (
    "look for what sets these texts apart: their place in a batch, their length, the code that asks, or a cache that "
    "knows them in another role"
)


@dataclass(frozen=True)
class Way:
    """How texts of a role may be encoded in its place.

    Attributes:
        about: What happened to the prompt, to be read after the role's name.
        role: What the reference encodes them as, to see whether it did.
        other: The name of the role that they are taken for, where that is all that happened.
    """

    about: str
    role: Role
    other: str = ""


def of_roles(plan: Plan) -> Iterable[Subject]:
    """Each role of the datasets whose prompt can be missed."""
    if plan.is_bundled_model:
        return
    used = {role for dataset in plan.datasets for role in dataset.roles}
    for name in ROLES:
        if name in used and wrong_ways(plan.model.roles, name):
            yield Subject.named(name)


def wrong_ways(roles: Roles, name: str) -> tuple[Way, ...]:
    """The ways in which a model can miss a role: no prompt, a doubled one, and what it does in its other roles."""
    right = roles[name]
    ways = [Way("comes without its prompt", replace(right, prompt=""))]
    if right.prompt:
        ways.append(Way("comes with its prompt twice", replace(right, prompt=right.prompt * 2)))
    if right.given:
        ways.append(Way("comes with the model's own prompt", roles.own(name)))
    for other in roles.distinct:
        # Of several roles that are one, the name of one: plain encode is what documents take, as a rule.
        same = next((each for each in ROLES if each != name and roles[each].same_as(other)), "")
        called = same or "a text without a role"
        ways.append(Way(f"is encoded as {called}", other, same))
        if right.prompt and other.prompt:
            about = f"comes with the prompt of {called} before its own"
            ways.append(Way(about, replace(right, prompt=other.prompt + right.prompt)))
    found: list[Way] = []
    for way in ways:
        if not any(way.role.same_as(other) for other in (right, *(other.role for other in found))):
            found.append(way)
    return tuple(found)


class Missed:
    """What each reference makes of a few texts of a role in every wrong way, encoded once for all combinations."""

    def __init__(self, context: Context) -> None:
        self._session = context.session
        self._known: dict[tuple[Combination, str], dict[Way, Matrix]] = {}

    def ways(self, reference: Run, name: str, probes: Sequence[Input]) -> Mapping[Way, Matrix]:
        """Normalised embeddings of the texts, float32 `[n, dim]`, by what happened to the prompt."""
        key = reference.combination, name
        if key not in self._known:
            texts = [each.text for each in probes]
            self._known[key] = {
                way: normalised(self._session.encode_as(reference, way.role, texts))
                for way in wrong_ways(reference.model.roles, name)
            }
        return self._known[key]


class Move(NamedTuple):
    """How far embeddings lie along the way from the right ones to wrong ones.

    Attributes:
        share: Mean share of the way; NaN where both ends are the same.
        error: Its standard error.
        left: Mean distance that is left to the wrong ones.
    """

    share: float
    error: float
    left: float


def as_its_role(context: Context, case: Case) -> Judgement:
    """Whether texts of a role are encoded with its prompt, by its route."""
    name = case.subject.metric
    run, reference = context.run(case), context.reference_run(case)
    probes = _probes(run, name)
    if run.embeddings.dim != reference.embeddings.dim:
        cause = f"{run.embeddings.dim} dimensions instead of the reference's {reference.embeddings.dim}"
        return case.failed(Diagnosis("dimension", cause, "see which model the encoder loads"))
    # As the wrong ones: a model that compares by dot product has vectors of any length.
    mine, right = (arm.embeddings.normalised[arm.embeddings.rows(probes)] for arm in (run, reference))
    if not np.isfinite(mine).all():
        return case.failed(context.diagnose(run), f"{name} cannot be judged: embeddings hold NaN or infinity")
    wrong = context.of(Missed).ways(reference, name, probes)
    moves = {way.about: _moved(mine, right, vectors) for way, vectors in wrong.items()}
    text = f"a {name}" if name in (QUERY, DOCUMENT) else f"a text for {name}"
    shown = f"{text} with {shown_prompt(context.plan.model.roles[name])}"
    if (some := _of_some(mine, right, wrong)) is not None:
        about, rows = some
        cause = (
            f"{text} {about} in {len(rows)} of {len(probes)} texts, among them {quoted(probes[rows[0]].text, 60)}; "
            f"right is {shown}"
        )
        share, limit = len(rows) / len(probes), (SOME - 1) / len(probes)
        return case.failed(Diagnosis("prompt", cause, SOME_STEP), value=share, limit=limit, n=len(probes))
    taken = _taken(moves)
    if taken is not None:
        about, share = taken
        cause = (
            f"{text} {about}: the embeddings lie {share:.0%} of the way from the right ones ({shown}) to those that "
            "the reference makes so"
        )
        return case.failed(Diagnosis("prompt", cause, NEXT_STEP), value=share, limit=HALF, n=len(probes))
    return _again_in_another(context, case, probes, right, wrong) or case.passed(f"encodes {shown}", n=len(probes))


def _again_in_another(
    context: Context, case: Case, probes: Sequence[Input], first: Matrix, ways: Mapping[Way, Matrix]
) -> Judgement | None:
    """The failure of an encoder that gives a text's embedding in this role again when it comes in another; else None.

    Args:
        context: The session.
        case: The combination and the role.
        probes: The texts.
        first: The reference's embeddings in this role, float32 `[n, dim]`.
        ways: Its embeddings in every wrong way.
    """
    name, roles = case.subject.metric, context.plan.model.roles
    way = next((each for each in ways if each.other), None)
    if way is None:
        return None
    run, other, texts = context.run(case), way.other, [each.text for each in probes]
    # In this role once more: the encoder may have been built anew since.
    before, now = (normalised(context.session.encode_as(run, roles[role], texts)) for role in (name, other))
    apart = np.linalg.norm(ways[way] - first, axis=1) > SAME
    again = np.linalg.norm(now - before, axis=1)[apart] < SAME
    if not again.sum() > HALF * max(len(again), 1):
        return None
    cause = (
        f"{again.sum()} of {len(again)} texts that were encoded as {name} before get the same embedding when they come "
        f"as {other}"
    )
    step = "look for a cache that keeps embeddings by the text alone: the role belongs to its key"
    return case.failed(Diagnosis("prompt", cause, step), value=float(again.mean()), limit=HALF, n=len(again))


def _moved(mine: Matrix, right: Matrix, wrong: Matrix) -> Move:
    """How far embeddings lie along the way from the right ones to wrong ones.

    It is the length of the projection of `mine - right` on `wrong - right`, as a share of the latter: 0 where nothing
    is wrong, 1 where that is what happened. Rounding and quantization point elsewhere in as many dimensions as there
    are, and hardly show.
    """
    way = wrong.astype(np.float64) - right
    length = np.einsum("ij,ij->i", way, way)
    apart = np.sqrt(length) > SAME
    if apart.sum() < 2:
        return Move(float("nan"), float("nan"), float("nan"))
    shares = np.einsum("ij,ij->i", mine.astype(np.float64) - right, way)[apart] / length[apart]
    left = np.linalg.norm(mine - wrong, axis=1).mean()
    return Move(float(shares.mean()), float(shares.std(ddof=1) / np.sqrt(len(shares))), float(left))


def _of_some(mine: Matrix, right: Matrix, wrong: Mapping[Way, Matrix]) -> tuple[str, list[int]] | None:
    """The way that some texts took while others are right, and the rows of those; None where all are treated alike.

    Args:
        mine: The combination's embeddings, float32 `[n, dim]`.
        right: The reference's.
        wrong: What the reference makes in every wrong way.
    """
    kept, far = np.linalg.norm(mine - right, axis=1), np.stack([_apart(each, right) for each in wrong.values()])
    left = np.stack([_apart(each, mine) for each in wrong.values()])
    took = np.where((far >= FAR) & (left < HALF * far), left, np.inf)
    nearest = np.where(np.isfinite(took).any(axis=0), took.argmin(axis=0), -1)
    counts = [int((nearest == number).sum()) for number in range(len(wrong))]
    most = int(np.argmax(counts))
    sound = int(((nearest < 0) & (far[most] >= FAR) & (kept < HALF * far[most])).sum())
    if min(counts[most], sound) < SOME:
        return None
    return [way.about for way in wrong][most], np.flatnonzero(nearest == most).tolist()


def _apart(one: Matrix, other: Matrix) -> Matrix:
    return np.asarray(np.linalg.norm(one - other, axis=1))


def _taken(moves: Mapping[str, Move]) -> tuple[str, float] | None:
    """The wrong way that was taken, of several the one that leaves least unexplained, and its share; None for none."""
    beyond = {about: move for about, move in moves.items() if move.share - STANDARD_ERRORS * move.error > HALF}
    if not beyond:
        return None
    about = min(beyond, key=lambda each: beyond[each].left)
    return about, beyond[about].share


def _probes(run: Run, role: str) -> list[Input]:
    """A few texts of a role, evenly spread by length."""
    own = [each for each in run.embeddings.inputs if each.role == role]
    rows = np.linspace(0, len(own) - 1, min(PROBES, len(own))).astype(int)
    return [own[row] for row in rows]


PROMPT = Check("prompt", as_its_role, candidates, of_roles, vocabulary=lambda: ROLES)
