"""Names a cause by playing it through: the fault with which the reference gives a candidate's vectors.

It asks for nothing but vectors, so it works for servers, shipped files and encoders that cannot be looked into. A fault
is named only where it explains the vectors of all texts, down to the noise of the candidate's weight precision; where
several do, all are named, and where none does, the cause is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embedgate.core.judgement import BY_BATCH, ROUNDING, Diagnosis, Proof
from embedgate.core.roles import Roles
from embedgate.diagnosis import answers
from embedgate.diagnosis.attempts import EXACT, LEFT, MOVED, Attempt, attempted, explains, reached
from embedgate.diagnosis.cuts import cuts
from embedgate.diagnosis.distance import distances, root_mean_square
from embedgate.diagnosis.faults import Fault, known_faults
from embedgate.diagnosis.fits import fitted, has_codes
from embedgate.diagnosis.ledger import RIVALS, Ledger
from embedgate.diagnosis.order import moved_rows
from embedgate.diagnosis.playing import Player
from embedgate.encoders import FloatArray
from embedgate.encoders.change import Unplayable

# Two faults must leave less than this share of the squared distance that either leaves.
HALF = 0.5
# Seconds after which no further fault is tried: a large model takes as long for each as for so many texts.
SECONDS = 60.0
# Two faults explain the same where one leaves no more than so much more than the other.
AS_WELL = 1.25
# How far vectors may be off that are codes, whatever the weight precision is.
CODED = 0.25
# Mean cosine of vectors whose directions are the same.
ALIKE = 0.9999
# Two faults at once are not looked for in what is off by no more than half types are.
LITTLE = 0.02
# Faults that are combined with others, and pairs whose layers are run.
SEEDS = 8
RUNS = 120
# A fault that needs the model's layers is tried on few short texts first: the first that are off most, of which it must
# explain something, and two faults together nearly all.
FEW, SHORT, FIRST = 10, 40, 3
SOME_OF_IT, ALL_OF_IT = 0.7, 0.4
# Of what else was tried, two faults are told where they come so much nearer than the first alone.
NEARER = 0.8
ORDER_STEP = "see how rows are put back after texts are sorted, split into batches, cached or served to several callers"


@dataclass(frozen=True)
class Answer:
    """What playing faults through came to.

    Attributes:
        diagnosis: The cause; None where none of the faults reproduces the vectors.
        proof: What was tried.
    """

    diagnosis: Diagnosis | None
    proof: Proof


def reproduce(player: Player, roles: Roles, refused: str = "") -> Answer:
    """Looks for the faults with which the reference gives a candidate's vectors.

    Args:
        player: Plays faults through, for what the candidate was asked.
        roles: The model's roles.
        refused: Why the reference cannot be made to do otherwise; empty where it can.
    """
    return _Search(player, roles, refused).answer()


class _Search:
    def __init__(self, player: Player, roles: Roles, refused: str) -> None:
        self._player = player
        self._asked = player.asked
        self._roles = roles
        self._is_coded = has_codes(self._asked.mine)
        self._sound = attempted(self._asked.mine, (), player.sound) if self._is_as_wide(player.sound) else None
        # How far each vector is off; None where these are of another width.
        self._off = distances(self._asked.mine, player.sound) if self._sound is not None else None
        self._before = self._sound.distance if self._sound is not None else float("inf")
        self._ledger = Ledger(self._asked, self._before)
        if refused:
            self._ledger.leave_out(f"tokens, layers and pooling: {refused}")
        self._end = time.monotonic() + SECONDS
        # What faults are tried on first.
        self._few = self._short_rows()
        self._right = self._right_rows()

    def answer(self) -> Answer:
        diagnosis = None if self._is_sound() else self._diagnosis()
        return Answer(diagnosis, self._ledger.nothing())

    def _is_sound(self) -> bool:
        """Whether no vector is off by more than half types are."""
        return self._off is not None and float(self._off.max()) <= max(ROUNDING, min(self._asked.noise, LITTLE))

    def _diagnosis(self) -> Diagnosis | None:
        """The cause: the cheapest faults first, two at once last."""
        if found := answers.zeros(self._asked, self._player.sound):
            return found
        after = list(self._after_layers())
        if (exact := self._explaining(after)) and exact[0].distance <= EXACT:
            return self._named(exact)
        if moved := self._moved(()):
            return moved
        singles = [*after, *self._in_layers()]
        if single := self._explaining(singles):
            return self._named(self._with_another(single[0]) or single)
        if older := self._explaining(self._older()):
            return self._named(older)
        if random := answers.not_repeated(self._asked, self._before, self._ledger.read()):
            return random
        if self._before <= LITTLE:
            return None
        seeds = self._seeds(singles)
        # What is fitted to a vector is near to it whatever it is.
        known = [each.vectors for each in seeds if each.faults[0] in self._known]
        if found := answers.one_for_several(self._asked, self._player.sound, known):
            return found
        if pairs := [each for each in self._explaining(self._pairs(seeds)) if self._needs_both(each)]:
            return self._named(pairs)
        return next(filter(None, (self._moved(each.faults) for each in seeds[:FIRST])), None)

    def _with_another(self, one: Attempt) -> list[Attempt]:
        """Pairs that explain what a fault leaves, where it leaves more than rounding; nothing where none does."""
        if one.distance <= EXACT or (self._is_coded and _is_read(one)):  # what codes round hides the rest
            return []
        pairs = self._explaining(self._pairs([one]))
        return [each for each in pairs if self._explains(each, one.vectors) and self._needs_both(each)]

    def _needs_both(self, pair: Attempt) -> bool:
        """Whether either of two faults alone explains clearly less than both."""
        for fault in pair.faults:
            try:
                alone = self._on((fault,), range(len(self._asked.mine)))
            except Unplayable:  # either needs the other
                continue
            if alone is not None and HALF * alone.distance**2 <= pair.distance**2:
                return False
            if alone is None and self._is_as_wide(self._player.play((fault,))):
                return False  # it changes nothing of these texts
        return True

    def _short_rows(self) -> list[int]:
        """Short texts, which cost little, the ones that are off most first, and some that are not."""
        lengths = self._player.lengths
        order = sorted(range(len(lengths)), key=lambda row: lengths[row])
        short = [row for row in order if lengths[row] <= SHORT] or order[:FEW]
        if self._off is None:
            return short[:FEW]
        off = self._off
        affected = [row for row in order if off[row] > max(ROUNDING, float(off.max()) / 10)]
        shown = [row for row in short if row in set(affected)] or affected[:FIRST]
        others = [row for row in short if row not in set(shown)]
        return sorted(shown, key=lambda row: -off[row])[: FEW - FIRST] + others[:FIRST]

    def _right_rows(self) -> list[int]:
        """Short texts whose vectors are the reference's: what moves them is no fault of the candidate's."""
        if self._off is None:
            return []
        right = np.flatnonzero(self._off <= EXACT).tolist()
        return sorted(right, key=lambda row: self._player.lengths[row])[:FIRST]

    @cached_property
    def _known(self) -> list[Fault]:
        names = list(dict.fromkeys(call.role.name for call in self._asked.calls))
        return list(known_faults(self._roles, names, self._player.replay))

    def _after_layers(self) -> Iterator[Attempt]:
        """Faults that need no layer to be run again."""
        for fault in (*self._known, *fitted(self._asked.mine, self._player.sound)):
            if not fault.runs_layers:
                yield from self._tried((fault,))

    def _in_layers(self) -> Iterator[Attempt]:
        for fault in self._known:
            if fault.runs_layers:
                yield from self._tried((fault,), self._few[:FIRST])
        for fault in self._cuts(()) if self._sound is not None else ():
            yield from self._tried((fault,))

    def _cuts(self, beside: tuple[Fault, ...]) -> list[Fault]:
        """Cuts that fit; none where the time is up, or the reference cannot be made to do so."""
        if self._is_late():
            return []
        try:
            return list(cuts(self._player, beside))
        except Unplayable:
            return []

    def _is_late(self) -> bool:
        late = time.monotonic() > self._end
        if late:
            self._ledger.leave_out(f"what {SECONDS:.0f} seconds did not suffice for")
        return late

    def _fitted(self, beside: tuple[Fault, ...]) -> Iterator[Fault]:
        """Faults with a number in them that fit beside others."""
        try:
            vectors = self._player.play(beside)
        except Unplayable:
            return
        yield from fitted(self._asked.mine, vectors)
        if self._is_as_wide(vectors):
            yield from self._cuts(beside)

    def _older(self) -> Iterator[Attempt]:
        """Vectors of other models, as they are."""
        for name, vectors in self._asked.older.items():
            if self._is_as_wide(vectors):
                fault = Fault(f"the weights of {name}", "weights", "see which model it loads")
                yield self._ledger.keep(attempted(self._asked.mine, (fault,), vectors))

    def _pairs(self, seeds: Sequence[Attempt]) -> list[Attempt]:
        """Pairs of faults, each tried on few texts first; of those that need the model's layers, so many."""
        runs, found = RUNS, list[Attempt]()
        done: set[frozenset[Fault]] = set()
        for seed in (each.faults[0] for each in seeds):
            rows = self._telling(seed)
            alone = self._off_alone(seed, rows)
            for partner in (*self._known, *self._fitted((seed,))):
                pair = frozenset((seed, partner))
                if pair in done or partner.touches & seed.touches:
                    continue
                done.add(pair)
                # What was fitted is one of few, and is tried in any case.
                costs = partner.runs_layers and seed.runs_layers and not partner.cuts
                runs -= costs
                if runs >= 0 or not costs:
                    # A cut was fitted to long texts, and leaves short ones as they are.
                    found.extend(self._tried((seed, partner), () if partner.cuts else rows, alone))
        if runs < 0:
            self._ledger.leave_out(f"{-runs} more pairs of faults: there are too many")
        return found

    def _off_alone(self, seed: Fault, rows: Sequence[int]) -> float:
        """How far one of two faults leaves some rows off; infinite where it cannot be played alone, or does nothing."""
        try:
            found = self._on((seed,), rows)
        except Unplayable:
            return float("inf")
        return float("inf") if found is None else found.distance

    def _telling(self, seed: Fault) -> list[int]:
        """Few texts that tell which other fault is there: those that a fault explains least, and best."""
        try:
            few = self._player.play((seed,), self._few)
        except Unplayable:
            return self._few
        if few.shape[1] != self._asked.mine.shape[1]:
            return self._few
        left = np.argsort(-distances(self._asked.mine[self._few], few))
        return [self._few[int(place)] for place in dict.fromkeys([*left[:FIRST], *left[-2:]])]

    def _seeds(self, singles: Sequence[Attempt]) -> list[Attempt]:
        """The faults that come nearest in some way, and so may be one of two."""
        by_angle = sorted(singles, key=lambda each: each.angle)[: SEEDS // 2]
        by_distance = sorted(singles, key=lambda each: each.distance)[: SEEDS // 2]
        shown = [each for each in singles if each.faults[0].finish is not None]
        other = sorted(shown, key=lambda each: each.angle)[: SEEDS // 2]
        return list(dict.fromkeys([*by_angle, *by_distance, *other]))

    def _tried(
        self, faults: tuple[Fault, ...], rows: Sequence[int] = (), alone: float = float("inf")
    ) -> Iterator[Attempt]:
        """Plays faults through; nothing where that cannot be, or changes nothing of these texts.

        Args:
            faults: The faults.
            rows: Texts that they must explain something of before all are tried.
            alone: How far the first of two leaves these off alone.
        """
        if self._is_late():
            return
        try:
            if rows and self._moves_what_is_right(faults):
                self._ledger.attempts += 1
                return
            attempt = self._on(faults, rows) if rows else None
            if rows and (attempt is None or not self._promises(attempt, rows, alone)):
                # Two faults of which one adds little say nothing that the other does not say alone.
                if attempt is not None and attempt.distance < NEARER * alone:
                    yield self._ledger.keep(attempt)
                else:
                    self._ledger.attempts += attempt is not None
                return
            attempt = self._on(faults, range(len(self._asked.mine)))
        except Unplayable as error:
            self._ledger.leave_out(f"{' and '.join(fault.name for fault in faults)}: {error}")
            return
        if attempt is not None:
            yield self._ledger.keep(attempt)

    def _moves_what_is_right(self, faults: tuple[Fault, ...]) -> bool:
        """Whether faults change vectors that are the reference's."""
        if not self._right:
            return False
        vectors = self._player.play(faults, self._right)
        mine = self._asked.mine[self._right]
        return vectors.shape != mine.shape or not float(distances(mine, vectors).max()) <= MOVED

    def _on(self, faults: tuple[Fault, ...], rows: Sequence[int]) -> Attempt | None:
        """Faults, played through on some texts; None where that gives nothing else than the reference."""
        mine, whole = self._asked.mine[list(rows)], list(rows) == list(range(len(self._asked.mine)))
        vectors = self._player.play(faults, None if whole else rows)
        if vectors.shape != mine.shape or not np.isfinite(vectors).all():
            return None
        sound = self._player.sound[list(rows)]
        if vectors.shape == sound.shape and root_mean_square(distances(vectors, sound)) <= ROUNDING:
            return None
        return attempted(mine, faults, vectors)

    def _promises(self, attempt: Attempt, rows: Sequence[int], alone: float) -> bool:
        """Whether faults explain something of a few texts, of two together all, and more than one alone."""
        noise = 2 * self._noise_of(attempt)
        if self._off is None:
            return attempt.distance <= noise
        before = root_mean_square(self._off[list(rows)])
        if len(attempt.faults) > 1:
            return attempt.distance <= min(noise, ALL_OF_IT * before, SOME_OF_IT * alone)
        return attempt.distance <= SOME_OF_IT * before

    def _is_as_wide(self, vectors: FloatArray) -> bool:
        return vectors.shape == self._asked.mine.shape

    def _explaining(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """The faults that explain what was asked, the best first; of those that do as well, what is met most."""
        found = [each for each in attempts if self._explains(each, self._player.sound)]
        return sorted(found, key=lambda each: round(each.distance / ROUNDING))

    def _explains(self, attempt: Attempt, before: FloatArray) -> bool:
        return explains(attempt, self._asked.mine, before, self._before, self._noise_of(attempt))

    def _noise_of(self, attempt: Attempt) -> float:
        """How far a sound candidate may be off: further where its vectors are codes, and numbers were read of them."""
        return max(self._asked.noise, CODED) if self._is_coded and _is_read(attempt) else self._asked.noise

    def _named(self, found: Sequence[Attempt]) -> Diagnosis:
        """The cause that faults come to; several where these texts do not tell them apart.

        Args:
            found: Those that explain what was asked, the best first.
        """
        best = found[0]
        rivals = [each for each in found if each.distance <= AS_WELL * best.distance + ROUNDING]
        names = list(dict.fromkeys(each.name for each in rivals))
        more = f", or {len(names) - RIVALS} more that these texts do not tell apart" if len(names) > RIVALS else ""
        cause = f"these are the reference's vectors with {', or with '.join(names[:RIVALS])}{more}"
        steps = dict.fromkeys(fault.next_step for each in rivals[:RIVALS] for fault in each.faults)
        proof = self._ledger.reproduced(best.cosine, best.distance, reached(best.faults), names)
        return Diagnosis(best.faults[0].layer, f"{cause}: {self._how_well(best)}", "; ".join(steps), proof)

    def _how_well(self, attempt: Attempt) -> str:
        before = ""
        if self._sound is not None:
            # Where directions are right, lengths tell what is wrong.
            same = self._sound.cosine > ALIKE
            off = f"{self._before:.2g} of their length off" if same else f"{self._sound.cosine:.4f}"
            before = f" (without it {off})"
        return f"cosine {attempt.cosine:.4f} on {self._asked.distinct} texts{before}"

    def _moved(self, beside: tuple[Fault, ...]) -> Diagnosis | None:
        """Vectors that are other texts', whatever else is wrong with them."""
        try:
            vectors = self._player.play(beside)
        except Unplayable:
            return None
        if not self._is_as_wide(vectors):
            return None
        found = moved_rows(self._asked, vectors, self._player.lengths, with_pool=not beside)
        if found is None or found.distance**2 > LEFT * self._before**2:
            return None
        with_fault = "".join(f" with {fault.name}," for fault in beside)
        cause = f"these are the reference's vectors{with_fault} {found.about}: cosine {found.cosine:.4f}"
        proof = self._ledger.reproduced(found.cosine, found.distance, ("order", BY_BATCH, *reached(beside)))
        return Diagnosis("order", cause, ORDER_STEP, proof)


def _is_read(attempt: Attempt) -> bool:
    """Whether numbers of each dimension were read from the vectors, as of codes."""
    return any(fault.read for fault in attempt.faults)
