"""The checks of engines: whether an index finds what is there, embedgate's engines' and a host project's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from embedgate.approved.tolerances import GRAPH_FLOOR, Tolerances
from embedgate.checks.results import failed, judged, unmeasured
from embedgate.checks.stored import UNMEASURED, Searched, StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, GateError, one_line
from embedgate.core.judgement import Diagnosis, Judgement
from embedgate.metrics import Matrix, Scores, mean_of
from embedgate.metrics.search import Ids, Ranking, kept_at_10
from embedgate.metrics.statistics import Comparison, compare_floor
from embedgate.runtime.session import Run, Session
from embedgate.vectors.collection import stored_name
from embedgate.vectors.engines.base import EngineCase
from embedgate.vectors.faults import diagnose, malformed, suspect
from embedgate.vectors.indexes import build, found_share, rows_of
from embedgate.vectors.storage import RESULTS

# An exact index holds little more than its documents' codes.
MOST_BYTES = 1.25


class EngineChecks:
    """Judges what engines' indexes of a run's vectors find.

    Args:
        session: The runs.
        tolerances: How much a graph, or a host project's engine, may miss.
        stored: What is searched.
        diagnose: Names the layer at which a run departs from its reference.
        family: How many checks of stored vectors the session judges statistically.
    """

    def __init__(
        self,
        session: Session,
        tolerances: Tolerances,
        stored: StoredVectors,
        diagnose: Callable[[Run], Diagnosis],
        family: int,
    ) -> None:
        self._session = session
        self._tolerances = tolerances
        self._stored = stored
        self._diagnose = diagnose
        self._family = family

    def finds(self, combination: Combination, case: EngineCase) -> Judgement:
        """Whether an engine's index finds what is there: exactly, or as a graph does; a host's, as float32 does."""
        run = self._session.run(combination)
        try:
            searched = self._stored.searched(run)
        except UNMEASURED as error:
            dataset, metric = self._session.plan.engine_subject(case)
            return unmeasured("engine", combination.id, dataset, metric, error, self._diagnose(run))
        if not case.kind:
            return self._added_engine(run, searched, case)
        built = build(case, searched.vectors.documents, searched.ranges[None], self._session.threads)
        try:
            shares = found_share(built, searched.vectors.queries, self._session.threads)
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
            return failed("engine", combination.id, "", case.id, diagnosis)
        if case.kind == "exact":
            if scores.value == 1:
                return Judgement("engine", combination.id, "pass", about, metric=case.id, value=1.0, limit=1.0)
            missed = int((shares < 1).sum())
            cause = f"{case} misses what exact search finds for {missed} of {len(shares)} queries"
            step = "see whether it is exact: the metric, sums that saturate, the offset of codes"
            red = failed("engine", combination.id, "", case.id, Diagnosis("index", cause, step))
            return replace(red, value=scores.value, limit=1.0, details=(about,))
        floor = self._tolerances.stored(case.precision, GRAPH_FLOOR)
        found = self._compare(scores, floor)
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

    def _added_engine(self, run: Run, searched: Searched, case: EngineCase) -> Judgement:
        """Whether an engine that a host project adds finds what exact float32 search does."""
        session, name = self._session, stored_name(self._stored.collection.name, case.engine)
        factory = session.plan.engines.added[case.engine]
        try:
            index = factory(np.array(searched.raw.documents))  # a copy, which it may change

            def search(queries: Matrix, k: int) -> Ids:
                return rows_of(index.search(np.array(queries), k))

            ids = search(searched.raw.queries, RESULTS)
        except GateError as error:
            raise BuildError(f"engine {case}: {error.cause}", error.action) from error
        except Exception as error:
            raise BuildError(f"engine {case} failed: {one_line(error)}", "see its factory and search") from error
        if fault := malformed(ids, len(searched.raw.queries), len(searched.raw.documents)):
            diagnosis = Diagnosis("ids", f"{case} {fault}", "return rows of the documents it was given, best first")
            return failed("engine", run.combination.id, name, "kept_at_10", diagnosis)
        places = np.ones((*ids.shape, 1))
        scores = kept_at_10(Ranking(ids, places), searched.truth)
        floor = self._tolerances.engine(case.engine)
        found = self._compare(scores, floor)
        message = (
            f"{case} keeps {scores.value:.2%} of the ten that exact float32 search by cosine finds among "
            f"{self._stored.collection.size} vectors, {floor:.2%} is required"
        )
        truth = searched.truth.ids[:, :RESULTS]
        known = suspect(ids, truth, searched.raw.queries, searched.raw.documents, session.threads)
        if known.is_certain and known.diagnosis is not None:
            cause = f"{message}; {known.diagnosis.cause}"
            red = failed("engine", run.combination.id, name, "kept_at_10", known.diagnosis, cause)
            return replace(red, value=scores.value, limit=floor)

        def diagnosis_of() -> Diagnosis:
            fault = diagnose(search, known, ids, searched.raw.queries, searched.raw.documents, session.threads)
            step = (
                "compare it with what faiss and usearch find (docs/engines.md); where it is meant to lose as much, set "
                f"kept_at_10 in [stored.{case.engine}] of {session.settings.tolerances_to_edit}"
            )
            return fault or Diagnosis("index", f"{case} finds other documents than exact search by cosine", step)

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

    def _compare(self, scores: Scores, floor: float) -> Comparison:
        return compare_floor(scores, floor, metric="kept_at_10", alpha=self._tolerances.alpha, family=self._family)
