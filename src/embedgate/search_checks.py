"""The checks of stored vectors: what a search among them still finds, and the judgement each comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from embedgate.budgets.approved import ApprovedBudgets
from embedgate.combination import Combination
from embedgate.data.types import Retrieval
from embedgate.errors import BuildError, GateError, Unavailable, one_line
from embedgate.judgement import Check, Diagnosis, Judgement, WorstText
from embedgate.metrics import METRICS, Matrix, NotFinite, Scores, mean_of, require_finite
from embedgate.metrics.search import Ids, Indistinct, Ranking, kept_at_10
from embedgate.search import MIXTURES, RESULTS, EmbeddingPrecision, Storage
from embedgate.search.codes import BITS, NEEDS_RANGES, Ranges, decode, quantize, unsigned
from embedgate.search.collection import Collection, stored_name
from embedgate.search.corpus import Recipe, grow
from embedgate.search.engines import ENGINES, EngineCase
from embedgate.search.faults import certain, diagnose, malformed
from embedgate.search.indexes import build, found_share, rows_of
from embedgate.search.measure import Vectors, exact, judged_by, kept, mixed, normalised, rankings, within_ranges
from embedgate.search_budgets import SearchBudgets
from embedgate.session import Run, Session
from embedgate.statistics import compare, compare_floor
from embedgate.tolerances import GRAPH_FLOOR, Tolerances
from embedgate.verdicts import judged

WORST = 5
# Of n calibration vectors, the ranges miss 2 / (n + 1) of the values of others like them, in each dimension, whatever
# the distribution (David and Nagaraja, Order Statistics, 2003, section 7.2): 1% with 200.
FEWEST_CALIBRATION = 200
# Ranges so many times as wide as the values they are for are other vectors': most of the 256 codes are never used.
WIDEST_RANGES = 2.0
# A step's rounding, as a share of it.
WITHIN_STEP = 1.01
# Under this mean cosine of the same texts, two combinations' vectors have nothing to do with each other.
SAME_SPACE = 0.5

# Lengths that differ from 1 by less are rounding.
UNIT = 1e-4
# An exact index holds little more than its documents' codes.
MOST_BYTES = 1.25

# What says of itself that nothing can be measured: lost quality.
UNMEASURED = (NotFinite, Indistinct)

# Dataset, its hash and metric, as baselines are keyed.
Place = tuple[str, str, str]


@dataclass
class _Arm:
    """What is searched of one run.

    Attributes:
        vectors: Queries and documents of the collection, normalised.
        raw: The same as the encoder gave them.
        ranges: What 8-bit codes are steps of, by the number of dimensions kept; None for all.
        origin: Where those for all dimensions come from.
        truth: What exact float32 search finds in the collection.
    """

    vectors: Vectors
    raw: Vectors
    ranges: dict[int | None, Ranges]
    origin: str
    truth: Ranking


@dataclass(frozen=True)
class Families:
    """How many checks a session judges, which red verdicts are corrected for.

    Attributes:
        quality: Of what is found among stored vectors.
        time: Budgets of time, other than searches' among them.
    """

    quality: int = 1
    time: int = 1


class SearchChecks:
    """Judges what searches among a session's stored vectors find.

    Args:
        session: The runs.
        tolerances: How much may be lost.
        diagnose: Names the layer at which a run departs from its reference.
        recorded: The ranges that are approved for a combination, and where; None where none are.
        approved: The approved budgets.
        record_command: The command that approves what the session measures.
        families: How many of these checks the session judges.

    Attributes:
        budgets: The checks of the time that searches take.
    """

    def __init__(
        self,
        session: Session,
        tolerances: Tolerances,
        diagnose: Callable[[Run], Diagnosis],
        recorded: Callable[[Combination], tuple[Ranges, str] | None],
        approved: ApprovedBudgets,
        record_command: str,
        families: Families,
    ) -> None:
        self._session = session
        self._tolerances = tolerances
        self._diagnose = diagnose
        self._recorded = recorded
        self._record = record_command
        self._family = max(1, families.quality)
        self.budgets = SearchBudgets(session, tolerances, approved, self.searched, record_command, families.time)
        self._arms: dict[Combination, _Arm] = {}

    def codes(self, combination: Combination, precision: EmbeddingPrecision) -> Judgement:
        """Whether codes say what the vectors say, and their ranges were taken from vectors like these."""
        run = self._session.run(combination)
        try:
            arm = self._arm(run)
        except UNMEASURED as error:
            return self._broken("codes", run, "", precision, error)
        real = arm.vectors.documents[: len(self._collection.documents)]
        if precision in NEEDS_RANGES:
            ranges = arm.ranges[None]
            if (fault := self._ranges_fault(run, arm, ranges, real, precision)) is not None:
                return fault
        if cause := codes_fault(real, precision, arm.ranges[None]):
            diagnosis = Diagnosis("codes", cause, "compare with sentence_transformers.util.quantize_embeddings")
            return Judgement("codes", combination.id, "fail", cause, metric=precision, diagnosis=diagnosis)
        message = f"{precision} codes of {len(real)} documents decode to their vectors"
        if precision not in NEEDS_RANGES:
            return Judgement("codes", combination.id, "pass", message, metric=precision)
        inside = self._inside(arm, real)
        limit = self._tolerances.stored(precision, "within_ranges")
        found = compare_floor(inside, limit, metric="within_ranges", alpha=self._tolerances.alpha, family=self._family)
        message += f"; {inside.value:.2%} of their values lie within the ranges ({arm.origin}), {limit:.2%} is required"
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
                self._calibrate_again(arm),
            ),
        )

    def keeps(self, combination: Combination, storage: Storage) -> Judgement:
        """Whether a search among stored vectors still finds what exact search among float32 vectors does."""
        run, collection = self._session.run(combination), self._collection
        name, metric = stored_name(collection.name, storage.id), "kept_at_10"
        floor = self._tolerances.stored(storage.id, metric)
        try:
            scores = self._measure(run)[storage.id, collection.name, metric]
        except UNMEASURED as error:
            return self._broken("search", run, name, metric, error)
        found = compare_floor(scores, floor, metric=metric, alpha=self._tolerances.alpha, family=self._family)
        message = (
            f"{storage} keeps {scores.value:.2%} of the ten that exact float32 search finds among {collection.size} "
            f"vectors, {floor:.2%} is required"
        )

        def worst() -> list[WorstText]:
            order = [int(i) for i in np.argsort(scores.items, kind="stable")[:WORST] if scores.items[i] < 1]
            return [WorstText(collection.queries[i], 1.0, float(scores.items[i])) for i in order]

        return judged(
            "search",
            combination.id,
            name,
            metric,
            found,
            message,
            scores.value,
            1.0,
            diagnose=lambda: too_coarse(storage, message),
            worst=worst,
        )

    def ranks(self, combination: Combination, storage: Storage, dataset: Retrieval, metric: str) -> Judgement:
        """Whether a search among stored vectors is as good as one among float32 vectors, by a dataset's judgements."""
        session, run = self._session, self._session.run(combination)
        name, tolerance = stored_name(dataset.name, storage.id), self._tolerances.stored(storage.id, metric)
        try:
            mine = self._measure(run)[storage.id, dataset.name, metric]
            theirs = session.scores(run, dataset)[metric]
        except UNMEASURED as error:
            return self._broken("search", run, name, metric, error)
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
            return self._failed("search", run, name, metric, Diagnosis("dataset", cause, step))
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
        run, metric, name = self._session.run(combination), "mixed_kept_at_10", self._mixture_name(mixture)
        floor = self._tolerances.floor(combination, metric)
        try:
            scores = self._mix(run)[mixture]
        except UNMEASURED as error:
            return self._broken("mixed", run, name, metric, error)
        except ValueError as error:  # a dimension of its own
            diagnosis = Diagnosis("dimension", str(error), "embed documents and queries with one model")
            return self._failed("mixed", run, name, metric, diagnosis)
        found = compare_floor(scores, floor, metric=metric, alpha=self._tolerances.alpha, family=self._family)
        message = (
            f"{MIXTURES[mixture].about(combination.reference.id)} {scores.value:.2%} of the ten that "
            f"{combination.reference} finds alone, {floor:.2%} is required"
        )
        return judged(
            "mixed",
            combination.id,
            name,
            metric,
            found,
            message,
            scores.value,
            1.0,
            diagnose=lambda: self._strangers(run) or self._diagnose(run),
        )

    def engine(self, combination: Combination, case: EngineCase) -> Judgement:
        """Whether an engine's index finds what is there: exactly, or as a graph does; a host's, as float32 does."""
        run = self._session.run(combination)
        try:
            arm = self._arm(run)
        except UNMEASURED as error:
            return self._broken("engine", run, "", case.id, error)
        if not case.kind:
            return self._added_engine(run, arm, case)
        unavailable = next(engine for engine in ENGINES if engine.name == case.engine).load().unavailable()
        if unavailable:
            raise Unavailable(unavailable)
        built = build(case, arm.vectors.documents, arm.ranges[None], self._session.threads)
        try:
            shares, _ = found_share(built, arm.vectors.queries, self._session.threads)
            size, codes = built.bytes_per_vector, built.codes.bytes_per_vector
        finally:
            built.index.close()
        scores = mean_of(shares)
        about = f"{scores.value:.2%} of what exact search of the same codes finds; {size:.0f} bytes a vector"
        about += f", built in {built.build_seconds:.2f} s"
        figures = {"bytes_per_vector": size, "build_seconds": built.build_seconds, "found": scores.value}
        run.indexes[case.id] = figures
        if case.kind == "exact" and size > MOST_BYTES * codes:
            cause = f"{case} holds {size:.0f} bytes a vector, where {case.precision} takes {codes}"
            diagnosis = Diagnosis("bytes", cause, "see in which type the index keeps what it is given")
            return self._failed("engine", run, "", case.id, diagnosis)
        if case.kind == "exact":
            if scores.value == 1:
                return Judgement("engine", combination.id, "pass", about, metric=case.id, value=1.0, limit=1.0)
            missed = int((shares < 1).sum())
            cause = f"{case} misses what exact search finds for {missed} of {len(shares)} queries"
            step = "see whether it is exact: the metric, sums that saturate, the offset of codes"
            failed = self._failed("engine", run, "", case.id, Diagnosis("index", cause, step))
            return replace(failed, value=scores.value, limit=1.0, details=(about,))
        floor = self._tolerances.stored(case.precision, GRAPH_FLOOR)
        found = compare_floor(scores, floor, metric="kept_at_10", alpha=self._tolerances.alpha)
        step = "give the graph more links, or let it look at more candidates (ef)"
        return judged(
            "engine",
            combination.id,
            "",
            case.id,
            found,
            f"{about}, {floor:.2%} is required",
            scores.value,
            1.0,
            diagnose=lambda: Diagnosis("index", f"the graph of {case} finds too little", step),
        )

    def _added_engine(self, run: Run, arm: _Arm, case: EngineCase) -> Judgement:
        """Whether an engine that a host project adds finds what exact float32 search does."""
        session, name = self._session, stored_name(self._collection.name, case.engine)
        factory = session.plan.engines.added[case.engine]
        try:
            index = factory(arm.raw.documents)

            def search(queries: Matrix, k: int) -> Ids:
                return rows_of(index.search(queries, k))

            ids = search(arm.raw.queries, RESULTS)
        except GateError:
            raise
        except Exception as error:
            raise BuildError(f"engine {case} failed: {one_line(error)}", "see its factory and search") from error
        if fault := malformed(ids, len(arm.raw.queries), len(arm.raw.documents)):
            diagnosis = Diagnosis("ids", f"{case} {fault}", "return rows of the documents it was given, best first")
            return self._failed("engine", run, name, "kept_at_10", diagnosis)
        places = np.ones((*ids.shape, 1))
        scores = kept_at_10(Ranking(ids, places), arm.truth)
        floor = self._tolerances.stored(case.engine, "kept_at_10")
        found = compare_floor(scores, floor, metric="kept_at_10", alpha=self._tolerances.alpha)
        message = (
            f"{case} keeps {scores.value:.2%} of the ten that exact float32 search by cosine finds among "
            f"{self._collection.size} vectors, {floor:.2%} is required"
        )
        truth = arm.truth.ids[:, :RESULTS]
        if sure := certain(ids, truth, arm.raw.queries, arm.raw.documents, session.threads):
            failed = self._failed("engine", run, name, "kept_at_10", sure)
            return replace(failed, message=f"{message}; {sure.cause}", value=scores.value, limit=floor)

        def diagnosis_of() -> Diagnosis:
            known = diagnose(search, ids, truth, arm.raw.queries, arm.raw.documents, session.threads)
            step = "compare it with what faiss and usearch find (docs/engines.md)"
            return known or Diagnosis("index", f"{case} finds other documents than exact search by cosine", step)

        return judged(
            "engine",
            run.combination.id,
            name,
            "kept_at_10",
            found,
            message,
            scores.value,
            1.0,
            diagnose=diagnosis_of,
        )

    def measured(self, run: Run) -> dict[Place, Scores]:
        """Everything measured of a run's stored vectors, as baselines are keyed; nothing where none can be searched.

        Raises:
            embedgate.metrics.NotFinite: If an embedding holds NaN or infinity.
            ValueError: If it has other dimensions than the reference, or tells too many documents not apart.
        """
        plan = self._session.plan
        if plan.collection is None or plan.search_unavailable:
            return {}
        self._measure(run)
        if not run.combination.is_reference:
            self._mix(run)
        return self.known(run)

    def known(self, run: Run) -> dict[Place, Scores]:
        """As `measured`, of what a check has asked for already."""
        hashes = {dataset.name: dataset.sha256 for dataset in self._session.datasets}
        found: dict[Place, Scores] = {}
        if self._session.plan.collection is not None:
            hashes[self._collection.name] = self._collection.sha256
        for (storage, dataset, metric), scores in run.stored.items():
            found[stored_name(dataset, storage), hashes[dataset], metric] = scores
        for mixture, scores in run.mixed.items():
            found[self._mixture_name(mixture), self._collection.sha256, "mixed_kept_at_10"] = scores
        return found

    def searched(self, run: Run) -> tuple[Vectors, Ranges]:
        """A run's queries and documents of the collection, and what their 8-bit codes are steps of."""
        arm = self._arm(run)
        return arm.vectors, arm.ranges[None]

    def close(self) -> None:
        """Gives back what is held to be timed."""
        self.budgets.close()

    @property
    def _collection(self) -> Collection:
        collection = self._session.plan.collection
        assert collection is not None, "without a collection, there is nothing to ask"
        return collection

    @cached_property
    def _recipe(self) -> Recipe:
        reference = self._session.run(self._session.reference)
        return Recipe.of(reference.embeddings.of(self._collection.documents))

    def _mixture_name(self, mixture: str) -> str:
        return stored_name(self._collection.name, mixture)

    def _arm(self, run: Run) -> _Arm:
        """What is searched of a run; those of other combinations than it and its reference are let go."""
        combination = run.combination
        if combination not in self._arms:
            keep = (combination, combination.reference)
            self._arms = {each: arm for each, arm in self._arms.items() if each in keep}
            require_finite(run.embeddings.matrix)
            session, collection = self._session, self._collection
            documents = grow(
                run.embeddings.matrix[run.embeddings.rows(collection.documents)],
                self._recipe,
                collection.size,
                folder=session.cache.root / "corpora" / f"{session.model.name}-{combination}-{collection.size}",
                progress=lambda line: session.progress(f"{combination}: {line}"),
            )
            raw = Vectors(run.embeddings.matrix[run.embeddings.rows(collection.queries)], documents)
            if float(np.abs(np.linalg.norm(run.embeddings.matrix, axis=1) - 1).max()) > UNIT:
                documents = normalised(documents)
            vectors = Vectors(run.embeddings.of(collection.queries), documents)
            ranges, origin = self._ranges(run, vectors)
            run.ranges = None if session.settings.ranges else ranges[None]
            arm = _Arm(vectors, raw, ranges, origin, exact(vectors, session.threads))
            self._arms[combination] = arm
        return self._arms[combination]

    def _ranges(self, run: Run, vectors: Vectors) -> tuple[dict[int | None, Ranges], str]:
        real = vectors.documents[: len(self._collection.documents)]
        own = Ranges.of(real)
        dims = {storage.dims for storage in self._session.plan.storages if storage.dims}
        found: dict[int | None, Ranges] = {kept: Ranges.of(normalised(real[:, :kept])) for kept in dims}
        given = self._session.settings.ranges
        if given is not None:
            return {**found, None: load_ranges(given, real.shape[1])}, str(given)
        recorded = self._recorded(run.combination)
        if recorded is not None and len(recorded[0].low) == real.shape[1]:
            ranges, profile = recorded
            # An update keeps the old ones as long as they fit.
            if not self._session.settings.update or _fits(ranges, real):
                return {**found, None: ranges}, f"approved for {profile}"
        return {**found, None: own}, f"of these {len(real)} documents"

    def _measure(self, run: Run) -> Mapping[tuple[str, str, str], Scores]:
        """A run's scores by storage, dataset and metric; those of all storages are measured together, once."""
        if not run.stored:
            arm, session, storages = self._arm(run), self._session, self._session.plan.storages
            found: dict[tuple[str, str, str], Scores] = {}
            in_corpus = rankings(arm.vectors, storages, arm.ranges, session.threads)
            for storage, scores in kept(in_corpus, arm.truth).items():
                found[storage, self._collection.name, "kept_at_10"] = scores
            for dataset in session.datasets:
                if not isinstance(dataset, Retrieval):
                    continue
                vectors = Vectors(run.embeddings.of(dataset.queries), run.embeddings.of(dataset.documents))
                in_dataset = rankings(vectors, storages, arm.ranges, session.threads)
                for storage, by_metric in judged_by(dataset, in_dataset).items():
                    found |= {(storage, dataset.name, metric): scores for metric, scores in by_metric.items()}
            run.stored.update(found)
        return run.stored

    def _mix(self, run: Run) -> Mapping[str, Scores]:
        """A run's scores by mixture with its reference, measured once."""
        if not run.mixed:
            arm, reference = self._arm(run), self._arm(self._session.run(run.combination.reference))
            shapes = [each.vectors.documents.shape[1] for each in (arm, reference)]
            if shapes[0] != shapes[1]:
                raise ValueError(f"{shapes[0]} dimensions cannot share an index with the reference's {shapes[1]}")
            ranges, threads = reference.ranges[None], self._session.threads
            run.mixed.update(mixed(arm.vectors, reference.vectors, ranges, reference.truth, threads))
        return run.mixed

    def _inside(self, arm: _Arm, real: Matrix) -> Scores:
        """Share of values within the ranges: of the queries and, where the ranges are not their own, the documents."""
        ranges = arm.ranges[None]
        parts = [within_ranges(arm.vectors.queries, ranges)]
        if not arm.origin.startswith("of these"):
            parts.append(within_ranges(real, ranges))
        return mean_of(np.concatenate(parts))

    def _ranges_fault(
        self, run: Run, arm: _Arm, ranges: Ranges, real: Matrix, precision: EmbeddingPrecision
    ) -> Judgement | None:
        if 0 < ranges.vectors < FEWEST_CALIBRATION:
            share = 2 / (ranges.vectors + 1)
            cause = (
                f"ranges were taken from {ranges.vectors} vectors ({arm.origin}): of others like them, they cut off "
                f"{share:.1%} of all values; {FEWEST_CALIBRATION} are the fewest"
            )
            diagnosis = Diagnosis("ranges", cause, self._calibrate_again(arm))
            found = Judgement("codes", run.combination.id, "fail", cause, metric=precision, diagnosis=diagnosis)
            # Nothing is wrong with the combination where these data are simply few.
            return replace(found, verdict="inconclusive") if arm.origin.startswith("of these") else found
        width = ranges.high - ranges.low
        used = np.ptp(real, axis=0)
        wide = float(np.median(width / np.maximum(used, np.float32(1e-12))))
        if wide > WIDEST_RANGES:
            cause = (
                f"ranges ({arm.origin}) are {wide:.1f} times as wide as the values of these vectors: taken from "
                "others, such as vectors that are not normalised"
            )
            diagnosis = Diagnosis("ranges", cause, self._calibrate_again(arm))
            return Judgement("codes", run.combination.id, "fail", cause, metric=precision, diagnosis=diagnosis)
        return None

    def _calibrate_again(self, arm: _Arm) -> str:
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

    def _broken(self, check: Check, run: Run, dataset: str, metric: str, error: ValueError) -> Judgement:
        return Judgement(
            check,
            run.combination.id,
            "fail",
            f"{dataset} {metric} cannot be measured: {error}".strip(),
            dataset,
            metric,
            diagnosis=self._diagnose(run),
        )

    def _failed(self, check: Check, run: Run, dataset: str, metric: str, diagnosis: Diagnosis) -> Judgement:
        return Judgement(check, run.combination.id, "fail", diagnosis.cause, dataset, metric, diagnosis=diagnosis)


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


def codes_fault(vectors: Matrix, precision: EmbeddingPrecision, ranges: Ranges) -> str | None:
    """What is wrong with the codes of vectors; None where they say what the vectors say.

    Args:
        vectors: Normalised vectors, float32 `[n, dim]`.
        precision: Their embedding precision.
        ranges: What 8-bit codes are steps of.
    """
    codes = quantize(vectors, precision, ranges if precision in NEEDS_RANGES else None)
    dim = vectors.shape[1]
    width = -(-dim // 8) if precision in BITS else dim
    kind = {"float32": "float32", "float16": "float16", "int8": "int8", "binary": "int8"}.get(precision, "uint8")
    if codes.shape != (len(vectors), width) or codes.dtype != kind:
        return f"{precision} codes are {codes.dtype} {codes.shape}, not {kind} {(len(vectors), width)}"
    twin: EmbeddingPrecision | None = {"int8": "uint8", "binary": "ubinary"}.get(precision)  # type: ignore[assignment]
    if twin and not np.array_equal(unsigned(codes, precision), quantize(vectors, twin, ranges)):
        return f"{precision} and {twin} codes differ by more than their offset"
    decoded = decode(codes, precision, dim, ranges)
    if precision in BITS:
        right = float(((decoded > 0) == (vectors > 0)).mean())
        if right == 1:
            return None
        turned = np.unpackbits(unsigned(codes, precision), axis=-1, count=dim, bitorder="little")
        if ((turned > 0) == (vectors > 0)).all():
            return "bits are packed in the wrong order: the first dimension is in the lowest bit"
        return f"{1 - right:.2%} of the bits are not the sign of their dimension"
    within = (vectors >= ranges.low) & (vectors <= ranges.high) if precision in NEEDS_RANGES else True
    unit = ranges.step if precision in NEEDS_RANGES else np.float32(2**-10 if precision == "float16" else 0)
    wrong = np.abs(decoded - vectors) > WITHIN_STEP * unit + np.float32(1e-6)
    share = float((wrong & within).mean())
    return f"{share:.2%} of the {precision} codes are more than a step from their value" if share else None


def load_ranges(file: object, dim: int) -> Ranges:
    """Ranges from a file as Sentence Transformers takes them, float32 `[2, dim]` in NumPy's format.

    Raises:
        GateError: If it is none, or of other dimensions.
    """
    try:
        both = np.load(str(file), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise GateError(f"{file} cannot be read: {error}", "save ranges [2, dim] by numpy.save") from error
    if not isinstance(both, np.ndarray) or both.shape != (2, dim) or both.dtype.kind != "f":
        shape = getattr(both, "shape", "an archive")
        raise GateError(f"{file} holds {shape}, not the ranges of {dim} dimensions", f"save floats of shape (2, {dim})")
    if not np.isfinite(both).all() or (both[0] > both[1]).any():
        raise GateError(f"{file} has a least value above its greatest, or none", "save low in row 0, high in row 1")
    return Ranges(both[0].astype(np.float32), both[1].astype(np.float32), 0)


def _fits(ranges: Ranges, real: Matrix) -> bool:
    inside = float(within_ranges(real, ranges).mean())
    return inside >= 1 - 2 / (FEWEST_CALIBRATION + 1) and not 0 < ranges.vectors < FEWEST_CALIBRATION
