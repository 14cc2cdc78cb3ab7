"""Does an engine's index find what is there? Embedgate's engines, and those of a host project."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, TypeVar

import numpy as np

from embedgate.approved.tolerances import GRAPH_FLOOR
from embedgate.checks.check import Case, Check, Missing, Subject, reference
from embedgate.checks.context import Context
from embedgate.checks.stored import UNMEASURED, Searched, StoredVectors
from embedgate.checks.vectors import by_floor, unavailable
from embedgate.core.combination import Combination
from embedgate.core.depth import NIGHTLY, STANDARD, Depth
from embedgate.core.errors import BuildError, GateError, one_line
from embedgate.core.host_code import BUILDING, CLOSING, HostCode
from embedgate.core.judgement import Diagnosis, Judgement
from embedgate.metrics import KEPT, Matrix, mean_of
from embedgate.metrics.search import Ids, Ranking, kept_at_10
from embedgate.runtime.plan import Plan
from embedgate.vectors.collection import stored_name
from embedgate.vectors.engines.base import EngineCase, EngineRegistry
from embedgate.vectors.faults import diagnose, malformed, suspect
from embedgate.vectors.figures import IndexFigures
from embedgate.vectors.indexes import build, found_share, rows_of
from embedgate.vectors.loads import SearchLoad
from embedgate.vectors.storage import RESULTS

T = TypeVar("T")

# An exact index holds little more than its documents' codes.
MOST_BYTES = 1.25


def indexes(plan: Plan) -> Iterable[Subject]:
    """Each index of an engine."""
    if plan.collection is not None:
        for index in plan.engine_cases:
            if index.kind:
                yield Subject.named(index.id, index)
            else:
                yield Subject(index.id, stored_name(plan.collection.name, index.engine), KEPT, index)


def exact_first(plan: Plan, _: Combination, subject: Subject) -> Depth:
    """Exact indexes, those of a host project and whatever was asked for at standard; embedgate's graphs by night."""
    index: EngineCase = subject.about
    return NIGHTLY if index.kind == "hnsw" and not plan.settings.engines else STANDARD


def cannot_run(plan: Plan, subject: Subject) -> Missing | None:
    """Why an engine cannot run here, or nothing can be searched at all; None where it can."""
    about: EngineCase | SearchLoad = subject.about
    reason = plan.engine_unavailable(about if isinstance(about, EngineCase) else about.case)
    return unavailable(plan, subject) or (Missing(f"{about.engine} cannot run here", reason) if reason else None)


def finds(context: Context, case: Case) -> Judgement:
    """Whether an engine's index finds what is there: exactly, or as a graph does; a host's, as float32 does."""
    run, threads = context.run(case), context.session.threads
    index: EngineCase = case.subject.about
    try:
        searched = context.of(StoredVectors).searched(run)
    except UNMEASURED as error:
        return case.unmeasured(error, context.diagnose(run))
    if not index.kind:
        return _added(context, case, searched)
    built = build(index, searched.vectors.documents, searched.ranges[None], threads)
    with closing(built.index):
        shares = found_share(built, searched.vectors.queries, threads)
        size, codes = built.bytes_per_vector, built.codes.bytes_per_vector
    scores = mean_of(shares)
    about = f"{scores.value:.2%} of what exact search of the same codes finds; {size:.0f} bytes a vector"
    about += f", built in {built.build_seconds:.2f} s"
    if context.is_own:
        run.indexes[index.id] = IndexFigures(size, built.build_seconds, scores.value)
    if index.kind == "exact" and size > MOST_BYTES * codes:
        cause = f"{index} holds {size:.0f} bytes a vector, where {index.precision} takes {codes}"
        return case.failed(Diagnosis("bytes", cause, "see in which type the index keeps what it is given"))
    if index.kind == "exact" and scores.value == 1:
        return case.passed(about, value=1.0, limit=1.0)
    if index.kind == "exact":
        cause = f"{index} misses what exact search finds for {int((shares < 1).sum())} of {len(shares)} queries"
        step = "see whether it is exact: the metric, sums that saturate, the offset of codes"
        return case.failed(Diagnosis("index", cause, step), value=scores.value, limit=1.0, details=(about,))
    floor = context.tolerances.stored(index.precision, GRAPH_FLOOR)
    found = by_floor(context, case, scores, floor)
    step = "give the graph more links, or let it look at more candidates (ef)"
    too_little = Diagnosis("index", f"the graph of {index} finds too little", step)
    message = f"{about}, {floor:.2%} is required"
    return case.compared(found, message, scores.value, 1.0, diagnose=lambda: too_little)


def _added(context: Context, case: Case, searched: Searched) -> Judgement:
    """Whether an engine that a host project adds finds what exact float32 search does."""
    engine: EngineCase = case.subject.about
    engines = context.plan.engines
    factory, code = engines.added[engine.engine], engines.code_of(engine.engine).anew(context.session.progress)
    # A copy, since the index may change it.
    index = _of_host(code, BUILDING, lambda: factory(np.array(searched.raw.documents)))
    try:
        return _of_index(context, case, searched, index, code)
    finally:
        _of_host(code, CLOSING, lambda: close() if callable(close := getattr(index, "close", None)) else None)


def _of_host(code: HostCode, doing: str, call: Callable[[], T]) -> T:
    """Calls what a host project has written.

    Raises:
        BuildError: If it raises.
    """

    def told() -> T:
        try:
            return call()
        except GateError as error:
            raise BuildError(f"{code.owner}: {error.cause}", error.action) from error
        except Exception as error:
            raise BuildError(f"{code.owner} failed: {one_line(error)}", "see its factory and search") from error

    return code.call(doing, told)


def _of_index(context: Context, case: Case, searched: Searched, index: Any, code: HostCode) -> Judgement:
    engine, threads = case.subject.about, context.session.threads
    raw, size = searched.raw, context.of(StoredVectors).collection.size

    def search(queries: Matrix, k: int) -> Ids:
        return _of_host(code, "searching", lambda: rows_of(index.search(np.array(queries), k)))

    ids = search(raw.queries, RESULTS)
    if fault := malformed(ids, len(raw.queries), len(raw.documents)):
        return case.failed(
            Diagnosis("ids", f"{engine} {fault}", "return rows of the documents it was given, best first")
        )
    measure = raw.similarity.measure
    scores = kept_at_10(Ranking(ids, np.ones((*ids.shape, 1))), searched.truth)
    floor = context.tolerances.engine(engine.engine)
    found = by_floor(context, case, scores, floor)
    message = (
        f"{engine} keeps {scores.value:.2%} of the ten that exact float32 search by {measure} finds among "
        f"{size} vectors, {floor:.2%} is required"
    )
    known = suspect(ids, searched.truth.ids[:, :RESULTS], raw, threads)
    if known.is_certain and known.diagnosis is not None:
        return case.failed(known.diagnosis, f"{message}; {known.diagnosis.cause}", value=scores.value, limit=floor)

    def diagnosis() -> Diagnosis:
        fault = diagnose(search, known, ids, raw, threads)
        step = (
            "compare it with what faiss and usearch find (docs/engines.md); where it is meant to lose as much, set "
            f"{KEPT} in [stored.{engine.engine}] of {context.settings.tolerances_to_edit}"
        )
        return fault or Diagnosis("index", f"{engine} finds other documents than exact search by {measure}", step)

    return case.compared(found, message, scores.value, 1.0, diagnose=diagnosis)


def _known_indexes() -> Iterable[str]:
    return (index.id for index in EngineRegistry().known_cases())


ENGINE = Check(
    "engine",
    finds,
    reference,
    indexes,
    unavailable=cannot_run,
    depth=exact_first,
    phase="searches",
    family="search",
    in_receipts=False,
    tolerances=("stored",),
    vocabulary=_known_indexes,
)
