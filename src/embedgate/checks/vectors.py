"""The checks of stored vectors: what a search among them still finds, and the judgement each comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from embedgate.approved.tolerances import Tolerances
from embedgate.checks.budgets import ApprovedBudgets
from embedgate.checks.engines import EngineChecks
from embedgate.checks.results import by_floor, failed, judged, unmeasured
from embedgate.checks.search_speed import SearchBudgets
from embedgate.checks.stored import FEWEST_CALIBRATION, UNMEASURED, Searched, StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.judgement import Diagnosis, Judgement, WorstText
from embedgate.data.types import Retrieval
from embedgate.metrics import METRICS, Matrix, mean_of
from embedgate.metrics.statistics import compare, compare_floor
from embedgate.runtime.session import Run, Session
from embedgate.vectors.codes import NEEDS_RANGES, Ranges, codes_fault
from embedgate.vectors.collection import stored_name
from embedgate.vectors.measure import within_ranges
from embedgate.vectors.storage import MIXTURES, EmbeddingPrecision, Storage

WORST = 5
# Ranges so many times as wide as the values they are for are other vectors': most of the 256 codes are never used.
WIDEST_RANGES = 2.0
# Under this mean cosine of the same texts, two combinations' vectors have nothing to do with each other.
SAME_SPACE = 0.5


@dataclass(frozen=True)
class Families:
    """How many checks a session judges, which red verdicts are corrected for.

    Attributes:
        quality: Of what is found among stored vectors.
        time: Budgets of time, searches' and encoders'.
    """

    quality: int = 1
    time: int = 1


class SearchChecks:
    """Judges what searches among a session's stored vectors find.

    Args:
        session: The runs.
        tolerances: How much may be lost.
        diagnose: Names the layer at which a run departs from its reference.
        stored: What is searched, and what is found.
        approved: The approved budgets.
        record_command: The command that approves what the session measures.
        families: How many of these checks the session judges.

    Attributes:
        budgets: The checks of the time that searches take.
        engines: The checks of engines' indexes.
    """

    def __init__(
        self,
        session: Session,
        tolerances: Tolerances,
        diagnose: Callable[[Run], Diagnosis],
        stored: StoredVectors,
        approved: ApprovedBudgets,
        record_command: str,
        families: Families,
    ) -> None:
        self._session = session
        self._tolerances = tolerances
        self._diagnose = diagnose
        self._stored = stored
        self._record = record_command
        self._family = max(1, families.quality)
        self.budgets = SearchBudgets(
            session, tolerances, approved, stored.searched, diagnose, record_command, families.time
        )
        stored.on_another_run = self.budgets.close
        self.engines = EngineChecks(session, tolerances, stored, diagnose, self._family)

    def codes(self, combination: Combination, precision: EmbeddingPrecision) -> Judgement:
        """Whether codes say what the vectors say, and their ranges were taken from vectors like these."""
        run = self._session.run(combination)
        try:
            searched = self._stored.searched(run)
        except UNMEASURED as error:
            return unmeasured("codes", run.combination.id, "", precision, error, self._diagnose(run))
        real = self._stored.real(searched.vectors)
        if precision in NEEDS_RANGES:
            ranges = searched.ranges[None]
            if (fault := self._ranges_fault(run, searched, ranges, real, precision)) is not None:
                return fault
        if cause := codes_fault(real, precision, searched.ranges[None]):
            diagnosis = Diagnosis("codes", cause, "compare with sentence_transformers.util.quantize_embeddings")
            return failed("codes", combination.id, "", precision, diagnosis)
        message = f"{precision} codes of {len(real)} documents decode to their vectors"
        if precision not in NEEDS_RANGES:
            return Judgement("codes", combination.id, "pass", message, metric=precision)
        inside, asked = (
            mean_of(within_ranges(part, searched.ranges[None])) for part in (real, searched.vectors.queries)
        )
        limit = self._tolerances.stored(precision, "within_ranges")
        found = compare_floor(inside, limit, metric="within_ranges", alpha=self._tolerances.alpha, family=self._family)
        message += (
            f"; {inside.value:.2%} of their values lie within the ranges ({searched.origin}), {limit:.2%} is required; "
            f"{asked.value:.2%} of the queries'"
        )
        return judged(
            "codes",
            combination.id,
            "",
            precision,
            found,
            message,
            inside.value,
            diagnose=lambda: Diagnosis(
                "ranges",
                f"ranges cut off {1 - inside.value:.2%} of the values: taken from too few or other vectors",
                self._calibrate_again(searched),
            ),
        )

    def keeps(self, combination: Combination, storage: Storage) -> Judgement:
        """Whether a search among stored vectors still finds what exact search among float32 vectors does."""
        run, collection = self._session.run(combination), self._stored.collection
        name, metric = stored_name(collection.name, storage.id), "kept_at_10"
        floor = self._tolerances.stored(storage.id, metric)
        try:
            scores = self._stored.score(run, storage.id, collection.name, metric)
        except UNMEASURED as error:
            return unmeasured("search", run.combination.id, name, metric, error, self._diagnose(run))
        found = compare_floor(scores, floor, metric=metric, alpha=self._tolerances.alpha, family=self._family)
        message = (
            f"{storage} keeps {scores.value:.2%} of the ten that exact float32 search finds among {collection.size} "
            f"vectors, {floor:.2%} is required"
        )

        def worst() -> list[WorstText]:
            order = [int(i) for i in np.argsort(scores.items, kind="stable")[:WORST] if scores.items[i] < 1]
            return [WorstText(collection.queries[i], 1.0, float(scores.items[i])) for i in order]

        return by_floor(
            "search",
            combination.id,
            name,
            metric,
            found,
            message,
            collection,
            self._record,
            diagnose=lambda: too_coarse(storage, message),
            worst=worst,
        )

    def ranks(self, combination: Combination, storage: Storage, dataset: Retrieval, metric: str) -> Judgement:
        """Whether a search among stored vectors is as good as one among float32 vectors, by a dataset's judgements."""
        session, run = self._session, self._session.run(combination)
        name, tolerance = stored_name(dataset.name, storage.id), self._tolerances.stored(storage.id, metric)
        try:
            mine = self._stored.score(run, storage.id, dataset.name, metric)
            theirs = session.scores(run, dataset)[metric]
        except UNMEASURED as error:
            return unmeasured("search", run.combination.id, name, metric, error, self._diagnose(run))
        try:
            found = compare(
                mine,
                theirs,
                tolerance,
                alpha=self._tolerances.alpha,
                family=self._family,
                unit_loss=METRICS[metric].unit_loss,
            )
        except ValueError as error:
            cause = f"{metric} on {dataset.name} cannot be judged: {error}"
            step = "give data on which float32 vectors score above chance"
            return failed("search", run.combination.id, name, metric, Diagnosis("dataset", cause, step))
        reference = session.scores(session.run(combination.reference), dataset)[metric].value
        message = (
            f"{storage} keeps {found.observed:.2%} of float32's {metric} on {dataset.name} ({mine.value:.4f} of "
            f"{theirs.value:.4f}), {1 - tolerance:.2%} is required"
        )
        if not combination.is_reference and reference > 0:
            message += f"; {mine.value / reference:.2%} of the reference's with float32 vectors"

        def worst() -> list[WorstText]:
            change = mine.items - theirs.items
            order = [int(i) for i in np.argsort(change, kind="stable")[:WORST] if change[i] < 0]
            return [WorstText(dataset.queries[i], float(theirs.items[i]), float(mine.items[i])) for i in order]

        return judged(
            "search",
            combination.id,
            name,
            metric,
            found,
            message,
            mine.value,
            theirs.value,
            diagnose=lambda: too_coarse(storage, message),
            worst=worst,
        )

    def mixes(self, combination: Combination, mixture: str) -> Judgement:
        """Whether an index that two combinations share still finds what the reference finds in its own."""
        run, metric, name = self._session.run(combination), "mixed_kept_at_10", self._stored.mixture_name(mixture)
        floor = self._tolerances.floor(combination, metric)
        try:
            scores = self._stored.mixed(run)[mixture]
        except UNMEASURED as error:
            return unmeasured("mixed", run.combination.id, name, metric, error, self._diagnose(run))
        except ValueError as error:  # a dimension of its own
            diagnosis = Diagnosis("dimension", str(error), "embed documents and queries with one model")
            return failed("mixed", run.combination.id, name, metric, diagnosis)
        found = compare_floor(scores, floor, metric=metric, alpha=self._tolerances.alpha, family=self._family)
        message = (
            f"{MIXTURES[mixture].about(combination.reference.id)} {scores.value:.2%} of the ten that "
            f"{combination.reference} finds alone, {floor:.2%} is required"
        )
        return by_floor(
            "mixed",
            combination.id,
            name,
            metric,
            found,
            message,
            self._stored.collection,
            self._record,
            diagnose=lambda: self._strangers(run) or self._diagnose(run),
        )

    def close(self) -> None:
        """Gives back what is held to be timed."""
        self.budgets.close()

    def _ranges_fault(
        self, run: Run, searched: Searched, ranges: Ranges, real: Matrix, precision: EmbeddingPrecision
    ) -> Judgement | None:
        if 0 < ranges.vectors < FEWEST_CALIBRATION:
            share = 2 / (ranges.vectors + 1)
            cause = (
                f"ranges were taken from {ranges.vectors} vectors ({searched.origin}): of others like them, they cut "
                f"off {share:.1%} of all values; {FEWEST_CALIBRATION} are the fewest"
            )
            diagnosis = Diagnosis("ranges", cause, self._calibrate_again(searched))
            found = failed("codes", run.combination.id, "", precision, diagnosis)
            # Nothing is wrong with the combination where these data are simply few.
            return found if searched.calibrated else replace(found, verdict="inconclusive")
        width = ranges.high - ranges.low
        used = np.ptp(real, axis=0)
        wide = float(np.median(width / np.maximum(used, np.float32(1e-12))))
        if wide > WIDEST_RANGES:
            cause = (
                f"ranges ({searched.origin}) are {wide:.1f} times as wide as the values of these vectors: taken from "
                "others, such as vectors that are not normalised"
            )
            diagnosis = Diagnosis("ranges", cause, self._calibrate_again(searched))
            return failed("codes", run.combination.id, "", precision, diagnosis)
        return None

    def _calibrate_again(self, searched: Searched) -> str:
        if self._session.settings.ranges:
            return "take them anew from some thousand of the vectors that are stored, and store all of them again"
        return f"give data of more texts; then approve ranges by: {self._record}"

    def _strangers(self, run: Run) -> Diagnosis | None:
        reference = self._session.run(run.combination.reference)
        cosine = float((run.embeddings.normalised * reference.embeddings.normalised).sum(axis=1).mean())
        if cosine >= SAME_SPACE:
            return None
        cause = (
            f"queries and documents come from different models: the mean cosine of the same text across "
            f"{run.combination} and {reference.combination} is {cosine:.3f}"
        )
        return Diagnosis(
            "scores", cause, "embed queries and documents with one model; an upgrade embeds everything again"
        )


def too_coarse(storage: Storage, message: str) -> Diagnosis:
    """Why a storage loses what it loses, and what helps."""
    if storage.rescore:
        step = "rank more candidates again, or store in more bits"
    elif storage.precision == "uint8" and not storage.float_queries:
        step = "store int8, or keep queries float32: products of uint8 codes rank documents by their sums as well"
    elif storage.precision == "int8" and not storage.float_queries:
        step = "keep queries float32, or rank candidates again: products of codes alone ignore what a step is worth"
    else:
        step = "rank candidates again (rescore), or store in more bits"
    return Diagnosis("codes", message, step)
