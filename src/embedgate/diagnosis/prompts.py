"""Which wrong way of a role texts were encoded in: each text is held against what the reference makes in every one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from embedgate.core.roles import ROLES, Role, Roles

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
# Of two ways that end near each other, quantization may bring a text nearer to the other one, and not so much nearer.
NOISE = 2.0

# Prompts that E5, Nomic and BGE are trained with.
USUAL = (
    "query: ",
    "passage: ",
    "search_query: ",
    "search_document: ",
    "Represent this sentence for searching relevant passages: ",
)

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Way:
    """How texts of a role may be encoded in its place.

    Attributes:
        about: What happened to the prompt, to be read after the role's name.
        role: What the reference encodes them as, to see whether it did.
        other: The name of the role that they are taken for, where that is all that happened.
        behind: What stands behind each text.
    """

    about: str
    role: Role
    other: str = ""
    behind: str = ""

    def texts(self, texts: Iterable[str]) -> list[str]:
        """Texts as they are given to the reference in `role`."""
        return [f"{text} {self.behind}" if self.behind else text for text in texts]

    def same_as(self, role: Role, behind: str = "") -> bool:
        """Whether it is no other way than to encode in a role."""
        return self.behind == behind and self.role.same_as(role)


def wrong_ways(roles: Roles, name: str) -> tuple[Way, ...]:
    """The ways in which a model can miss a role: no prompt, a doubled one, and what it does in its other roles."""
    right = roles[name]
    bare = replace(right, prompt="")
    ways = [Way("comes without its prompt", bare)]
    if right.prompt:
        ways.append(Way("comes with its prompt twice", replace(right, prompt=right.prompt * 2)))
        ways.append(Way("comes with its prompt after the text", bare, behind=right.prompt))
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
        if not way.same_as(right) and not any(way.same_as(other.role, other.behind) for other in found):
            found.append(way)
    return tuple(found)


def usual_ways(roles: Roles, name: str) -> tuple[Way, ...]:
    """Ways in which the prompts of widely used models end up before texts of another one."""
    right = roles[name]
    ways = (Way(f"comes with {prompt!r} in front", replace(right, prompt=prompt)) for prompt in USUAL)
    known = wrong_ways(roles, name)
    return tuple(way for way in ways if not way.same_as(right) and not any(way.same_as(each.role) for each in known))


class Taken(NamedTuple):
    """The wrong ways that texts took.

    Attributes:
        about: What happened to the prompt, to be read after the role's name; where `rows` are some, with numbers of
            texts.
        share: Which share of the texts; where all are treated alike, of the way from the right embeddings.
        rows: The texts, where they are some; empty where all are treated alike.
    """

    about: str
    share: float
    rows: list[int]


def taken(mine: Matrix, right: Matrix, wrong: Mapping[Way, Matrix]) -> Taken | None:
    """The wrong ways that texts took; None where there is none that explains their embeddings.

    Args:
        mine: Their embeddings, normalised, float32 `[n, dim]`.
        right: The reference's in their role.
        wrong: What the reference makes of them in every wrong way.
    """
    some, sound, ways = _of_some(mine, right, wrong)
    told_apart = np.stack([_apart(each, right) >= FAR for each in wrong.values()]).any(axis=0).sum() if wrong else 0
    most = len(some.rows) >= max(SOME, HALF * told_apart)
    if some.rows and (sound or (most and ways > 1)):
        return some
    return _of_all(mine, right, wrong) or (some if most else None)


def way_of(mine: Matrix, right: Matrix, wrong: Mapping[Way, Matrix]) -> Way | None:
    """The wrong way that the first text took; None where it took none."""
    number = int(_nearest(mine, right, wrong)[0])
    return list(wrong)[number] if number >= 0 else None


def _of_some(mine: Matrix, right: Matrix, wrong: Mapping[Way, Matrix]) -> tuple[Taken, bool, int]:
    """The ways that texts took one by one; whether others are right; and how many of the ways several texts took."""
    nearest = _nearest(mine, right, wrong)
    counts = {number: int((nearest == number).sum()) for number in range(len(wrong))}
    leading = sorted(counts, key=lambda number: -counts[number])
    if not leading or counts[leading[0]] < SOME:
        return Taken("", 0.0, []), False, 0
    kept, far = _apart(mine, right), _apart(list(wrong.values())[leading[0]], right)
    sound = int(((nearest < 0) & (far >= FAR) & (kept < HALF * far)).sum()) >= SOME
    abouts = [f"{way.about} in {counts[number]}" for number, way in enumerate(wrong)]
    *first, last = [abouts[number] for number in leading if counts[number]]
    about = f"{', '.join(first)} and {last}" if first else last
    rows = np.flatnonzero(nearest >= 0).tolist()
    return Taken(about, len(rows) / len(mine), rows), sound, sum(count >= SOME for count in counts.values())


def _nearest(mine: Matrix, right: Matrix, wrong: Mapping[Way, Matrix]) -> npt.NDArray[np.intp]:
    """Of each text, the number of the wrong way that it took; -1 where it took none."""
    if not wrong:
        return np.full(len(mine), -1)
    far, left = (np.stack([_apart(each, other) for each in wrong.values()]) for other in (right, mine))
    took = np.where(left < HALF * far, left, np.inf)  # of a text that took a long way, a short one may be nearer still
    nearest = np.where((np.isfinite(took) & (far >= FAR)).any(axis=0), took.argmin(axis=0), -1)
    leading = np.argsort([-(nearest == number).sum() for number in range(len(wrong))], kind="stable")
    for rank, number in enumerate(leading):
        as_near = took[number] < NOISE * took[nearest, np.arange(len(mine))] + SAME
        nearest[np.isin(nearest, leading[rank + 1 :]) & as_near] = number
    return nearest


class _Move(NamedTuple):
    """How far embeddings lie along the way from the right ones to wrong ones.

    Attributes:
        share: Mean share of the way; NaN where both ends are the same.
        error: Its standard error.
        left: Mean distance that is left to the wrong ones.
    """

    share: float
    error: float
    left: float


def _of_all(mine: Matrix, right: Matrix, wrong: Mapping[Way, Matrix]) -> Taken | None:
    """The wrong way that was taken on average: of several, the one that leaves least unexplained; None for none."""
    moves = {way.about: _moved(mine, right, vectors) for way, vectors in wrong.items()}
    beyond = {about: move for about, move in moves.items() if move.share - STANDARD_ERRORS * move.error > HALF}
    if not beyond:
        return None
    about = min(beyond, key=lambda each: beyond[each].left)
    return Taken(about, beyond[about].share, [])


def _moved(mine: Matrix, right: Matrix, wrong: Matrix) -> _Move:
    """How far embeddings lie along the way from the right ones to wrong ones.

    It is the length of the projection of `mine - right` on `wrong - right`, as a share of the latter: 0 where nothing
    is wrong, 1 where that is what happened. Rounding and quantization point elsewhere in as many dimensions as there
    are, and hardly show.
    """
    way = wrong.astype(np.float64) - right
    length = np.einsum("ij,ij->i", way, way)
    apart = np.sqrt(length) > SAME
    if apart.sum() < 2:
        return _Move(float("nan"), float("nan"), float("nan"))
    shares = np.einsum("ij,ij->i", mine.astype(np.float64) - right, way)[apart] / length[apart]
    left = np.linalg.norm(mine - wrong, axis=1).mean()
    return _Move(float(shares.mean()), float(shares.std(ddof=1) / np.sqrt(len(shares))), float(left))


def _apart(one: Matrix, other: Matrix) -> Matrix:
    return np.asarray(np.linalg.norm(one - other, axis=1))
