"""A session's stored vectors: what is searched of each run, and what is found, measured once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from embedgate.approved.ranges import RangesStore
from embedgate.approved.store import OtherModelError
from embedgate.approved.tensors import ApprovedTensors
from embedgate.checks.context import Context, measuring
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.roles import DOCUMENT, QUERY
from embedgate.core.similarity import COSINE, normalised
from embedgate.data.types import Retrieval
from embedgate.metrics import KEPT, MIXED_KEPT, Matrix, NotFinite, Scores, require_finite
from embedgate.metrics.search import Indistinct, Ranking, judged, kept_at_10
from embedgate.performance.timing import spare_threads
from embedgate.runtime.session import Run
from embedgate.vectors.codes import Ranges
from embedgate.vectors.collection import Collection, stored_name
from embedgate.vectors.corpus import Recipe, grow
from embedgate.vectors.measure import Vectors, exact, mixed, rankings, within_ranges
from embedgate.vectors.speed import SearchTiming
from embedgate.vectors.storage import MIXTURES

# Of n calibration vectors, the ranges miss 2 / (n + 1) of the values of others like them, in each dimension, whatever
# the distribution (David and Nagaraja, Order Statistics, 2003, section 7.2): 1% with 200.
FEWEST_CALIBRATION = 200
# Lengths that differ from 1 by less are rounding.
UNIT = 1e-4
# What says of itself that nothing can be measured: lost quality.
UNMEASURED = (NotFinite, Indistinct)

# Dataset, its hash and metric, as baselines are keyed.
Approvable = tuple[str, str, str]


@dataclass
class Searched:
    """The vectors of one run that are searched.

    Attributes:
        vectors: Queries and documents of the collection, as they are compared.
        raw: The same as the encoder gave them.
        ranges: What 8-bit codes are steps of, by the number of dimensions kept; None for all.
        origin: Where those for all dimensions come from, in words.
        calibrated: Whether that is elsewhere than in these documents.
        truth: What exact float32 search finds in the collection.
    """

    vectors: Vectors
    raw: Vectors
    ranges: dict[int | None, Ranges]
    origin: str
    calibrated: bool
    truth: Ranking


@measuring
class StoredVectors:
    """The vectors of a session's runs that are searched, and what is found.

    Attributes:
        ranges: By combination, what 8-bit codes are steps of, where these are its own or the approved ones.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._session = context.session
        self._plan = context.plan
        self._searched: dict[Combination, Searched] = {}
        self._timing: tuple[Combination, SearchTiming] | None = None
        self._recipes: dict[Combination, Recipe] = {}
        self._scores: dict[Combination, dict[tuple[str, str, str], Scores]] = {}
        self._mixed: dict[Combination, dict[str, Scores]] = {}
        self._unmeasured: dict[Combination, ValueError] = {}
        self._indistinct: dict[Combination, dict[tuple[str, str], Indistinct]] = {}
        self._unmixed: dict[Combination, ValueError] = {}
        self.ranges: dict[Combination, Ranges] = {}

    @property
    def collection(self) -> Collection:
        """The collection that is searched."""
        collection = self._plan.collection
        assert collection is not None, "without a collection, there is nothing to ask"
        return collection

    def _recipe(self, combination: Combination) -> Recipe:
        """How documents are grown: as the combination's reference has their neighbours."""
        reference = combination.reference
        if reference not in self._recipes:
            run = self._session.run(reference)
            self._session.encode_more(run, self._session.texts.searched_documents)
            embeddings = run.embeddings
            try:
                rows = embeddings.rows(self._session.texts.searched_documents)
                self._recipes[reference] = Recipe.of(embeddings.unit(rows))
            except NotFinite:
                raise
            except ValueError as error:  # hardly two different vectors
                raise Indistinct(len(self.collection.documents)) from error
        return self._recipes[reference]

    def mixture_name(self, mixture: str) -> str:
        """The name under which what is found in a mixture is approved."""
        return stored_name(self.collection.name, mixture)

    def searched(self, run: Run) -> Searched:
        """Returns a run's vectors that are searched; those of other combinations than it and its reference are let go.

        Raises:
            NotFinite: If an embedding holds NaN or infinity.
            Indistinct: If too many documents score alike.
        """
        combination = run.combination
        if combination in self._unmeasured:
            raise self._unmeasured[combination]
        if combination not in self._searched:
            self.close()  # an index of others would hold their vectors
            keep = (combination, combination.reference)
            self._searched = {each: made for each, made in self._searched.items() if each in keep}
            try:
                self._searched[combination] = self._grown(run)
            except UNMEASURED as error:
                self._unmeasured[combination] = error
                raise
        return self._searched[combination]

    def timing(self, run: Run) -> SearchTiming:
        """Times searches of a run; kept until the vectors of another run are made.

        Raises:
            NotFinite: If an embedding holds NaN or infinity.
            Indistinct: If too many documents score alike.
        """
        searched = self.searched(run)
        if self._timing is None or self._timing[0] != run.combination:
            self.close()
            timing = SearchTiming(searched.vectors, searched.ranges[None], spare_threads(self._session.threads))
            self._timing = run.combination, timing
        return self._timing[1]

    def close(self) -> None:
        """Gives back the memory of indexes that are timed."""
        if self._timing is not None:
            self._timing[1].close()
        self._timing = None

    def _grown(self, run: Run) -> Searched:
        session = self._session
        session.encode_more(run, (*session.texts.searched_documents, *session.texts.searched_queries))
        require_finite(run.embeddings.matrix)
        self._plan.require_searchable(run.embeddings.dim)
        collection, combination = self.collection, run.combination
        given = self._context.settings.ranges is not None
        documents = grow(
            run.embeddings.matrix[run.embeddings.rows(session.texts.searched_documents)],
            self._recipe(combination),
            collection.size,
            folder=session.cache.root / "corpora" / f"{run.model.name}-{combination}-{collection.size}",
            progress=lambda line: session.progress(f"{combination}: {line}"),
        )
        similarity = run.embeddings.similarity
        raw = Vectors(run.embeddings.matrix[run.embeddings.rows(session.texts.searched_queries)], documents, similarity)
        if similarity is COSINE and float(np.abs(np.linalg.norm(run.embeddings.matrix, axis=1) - 1).max()) > UNIT:
            documents = normalised(documents)
        vectors = Vectors(run.embeddings.at(session.texts.searched_queries), documents, similarity)
        ranges, origin, calibrated = self._ranges(run, vectors)
        if not given:
            self.ranges[combination] = ranges[None]
        return Searched(vectors, raw, ranges, origin, calibrated, exact(vectors, session.threads))

    def real(self, vectors: Vectors) -> Matrix:
        """The documents that are no grown ones."""
        return vectors.documents[: len(self.collection.documents)]

    def _ranges(self, run: Run, vectors: Vectors) -> tuple[dict[int | None, Ranges], str, bool]:
        real = self.real(vectors)
        own = Ranges.of(real)
        dims = {storage.dims for storage in self._plan.storages if storage.dims}
        found: dict[int | None, Ranges] = {
            kept: Ranges.of(run.embeddings.similarity.prepared(real[:, :kept])) for kept in dims
        }
        given = self._context.settings.ranges
        if given is not None:
            return {**found, None: Ranges.load(given, real.shape[1])}, str(given), True
        recorded = self.recorded(run.combination)
        if recorded is not None and len(recorded.value.low) == real.shape[1]:
            ranges, profile = recorded.value, recorded.profile
            # An update keeps the old ones as long as they fit.
            if not self._context.settings.update or _fits(ranges, real):
                return {**found, None: ranges}, f"approved for {profile}", True
        return {**found, None: own}, f"of these {len(real)} documents", False

    def recorded(self, combination: Combination) -> ApprovedTensors[Ranges] | None:
        """The approved ranges of a combination; None where none are."""
        store = RangesStore(self._context.settings.baselines_folder)
        try:
            return store.find(self._context.profile_of(combination), self._plan.model, combination.id)
        except BaselineError as error:
            # New ones are being recorded; or none counts, and what is measured may be approved from the report.
            if self._context.settings.update or isinstance(error, OtherModelError):
                return None
            raise

    def score(self, run: Run, storage: str, dataset: str, metric: str) -> Scores:
        """A run's scores in one storage; those in all storages are measured together, once.

        Args:
            run: The run.
            storage: Id of the storage.
            dataset: Name of the collection or of a dataset with judgements.
            metric: Name of the metric.

        Raises:
            NotFinite: If an embedding holds NaN or infinity.
            Indistinct: If too many documents score alike in this storage, or in all.
        """
        self._measure(run)
        if (error := self._indistinct[run.combination].get((storage, dataset))) is not None:
            raise error
        return self._scores[run.combination][storage, dataset, metric]

    def _measure(self, run: Run) -> None:
        if run.combination in self._indistinct:
            return
        searched, session, name = self.searched(run), self._session, self.collection.name
        storages = self._plan.storages
        found: dict[tuple[str, str, str], Scores] = {}
        indistinct: dict[tuple[str, str], Indistinct] = {}
        for storage, result in rankings(searched.vectors, storages, searched.ranges, session.threads):
            if isinstance(result, Indistinct):
                indistinct[storage, name] = result
            else:
                found[storage, name, KEPT] = kept_at_10(result, searched.truth)
        for dataset in self._plan.datasets:
            if not isinstance(dataset, Retrieval):
                continue
            vectors = Vectors(
                run.embeddings.of(dataset.queries, QUERY),
                run.embeddings.of(dataset.documents, DOCUMENT),
                run.embeddings.similarity,
            )
            for storage, result in rankings(vectors, storages, searched.ranges, session.threads, dataset.own):
                if isinstance(result, Indistinct):
                    indistinct[storage, dataset.name] = result
                    continue
                for metric, scores in judged(result, dataset.relevance, dataset.unreachable).items():
                    found[storage, dataset.name, metric] = replace(scores, clusters=dataset.clusters)
        self._scores[run.combination] = found  # all, or nothing where memory runs out
        self._indistinct[run.combination] = indistinct

    def mixed(self, run: Run) -> Mapping[str, Scores]:
        """A run's scores by mixture with its reference, measured once.

        Raises:
            NotFinite: If an embedding holds NaN or infinity.
            Indistinct: If too many documents score alike.
            ValueError: If it has other dimensions than the reference.
        """
        if run.combination in self._unmixed:
            raise self._unmixed[run.combination]
        if run.combination not in self._mixed:
            try:
                self._mixed[run.combination] = dict(self._mix(run))
            except ValueError as error:
                self._unmixed[run.combination] = error
                raise
        return self._mixed[run.combination]

    def _mix(self, run: Run) -> Mapping[str, Scores]:
        reference = self.searched(self._session.run(run.combination.reference))
        candidate = self.searched(run)
        shapes = [each.vectors.documents.shape[1] for each in (candidate, reference)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{shapes[0]} dimensions cannot share an index with the reference's {shapes[1]}")
        ranges, threads = reference.ranges[None], self._session.threads
        return mixed(candidate.vectors, reference.vectors, ranges, reference.truth, threads)

    def measure(self, run: Run) -> None:
        """Measures whatever the session's depth asks of a run's stored vectors; nothing where none can be searched.

        Raises:
            embedgate.metrics.NotFinite: If an embedding holds NaN or infinity.
            ValueError: If it has other dimensions than the reference, or tells too many documents not apart.
        """
        if self._plan.collection is None or self._plan.search_unavailable:
            return
        if self._context.asks("search.kept", run.combination):
            self._measure(run)
        if self._context.asks("mixed", run.combination):
            self.mixed(run)

    def known(self, run: Run) -> dict[Approvable, Scores]:
        """Everything measured so far of a run's stored vectors, as baselines are keyed.

        What tells too many documents not apart in one storage is left out, since its own check says so.
        """
        hashes = {dataset.name: dataset.sha256 for dataset in self._plan.datasets}
        found: dict[Approvable, Scores] = {}
        if self._plan.collection is not None:
            hashes[self.collection.name] = self.collection.sha256
        for (storage, dataset, metric), scores in self._scores.get(run.combination, {}).items():
            found[stored_name(dataset, storage), hashes[dataset], metric] = scores
        for mixture, scores in self._mixed.get(run.combination, {}).items():
            found[self.mixture_name(mixture), self.collection.sha256, MIXED_KEPT] = scores
        return found

    def complete(self, run: Run) -> set[str]:
        """Names under which all there is to approve of a run's stored vectors has been measured.

        What is approved under others, such as of vectors truncated to other dimensions, is left alone.
        """
        if self._plan.collection is None:
            return set()
        bases = [self.collection.name, *(d.name for d in self._plan.datasets if isinstance(d, Retrieval))]
        storages = self._plan.storages if run.combination in self._scores else ()
        mixtures = MIXTURES if run.combination in self._mixed else ()
        unknown = self._indistinct.get(run.combination, {})
        found = {stored_name(base, s.id) for base in bases for s in storages if (s.id, base) not in unknown}
        return found | {self.mixture_name(mixture) for mixture in mixtures}


def _fits(ranges: Ranges, real: Matrix) -> bool:
    inside = float(within_ranges(real, ranges).mean())
    return inside >= 1 - 2 / (FEWEST_CALIBRATION + 1) and not 0 < ranges.vectors < FEWEST_CALIBRATION
