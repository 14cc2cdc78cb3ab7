"""The table of stored vectors: what each storage keeps, takes and costs."""

from __future__ import annotations

from collections.abc import Sequence

from embedgate.core.judgement import Judgement
from embedgate.metrics import CORPUS
from embedgate.report.summary import Row, Summary
from embedgate.vectors.collection import stored_in
from embedgate.vectors.loads import BATCHES

Table = tuple[list[str], list[list[str]]]


def table(summary: Summary) -> Table | None:
    """Headings and rows, a row per storage; None where no stored vectors were judged or timed."""
    found = [(row, j) for row in summary.ran for j in row.judgements if j.check == "search" and stored_in(j.dataset)]
    timed = [load for row in summary.rows for load in _speeds(row) if "-exact-" in load]
    if not found and not timed:
        return None
    in_loads = (load.partition("-exact-")[2].rpartition("-batch")[0] for load in timed)
    storages = list(dict.fromkeys([*(_storage(j) for _, j in found), *in_loads]))
    ran = [row for row, _ in found] or summary.rows
    whose = next((row for row in ran if row.reference), ran[0])
    judged = list(
        dict.fromkeys((str(stored_in(j.dataset)), j.metric) for _, j in found if not j.dataset.startswith(CORPUS))
    )
    engines = list(dict.fromkeys(load.partition("-exact-")[0] for load in timed))
    headings = ["storage", "bytes/vector", "kept", "least kept"]
    headings += [f"{dataset} {_LABELS.get(metric, metric)}" for dataset, metric in judged]
    headings += [f"{engine} speed" for engine in engines]
    rows = []
    for storage in storages:
        mine = [(row, j) for row, j in found if _storage(j) == storage]
        cells = [storage, _bytes(storage, whose), _share(_kept(mine, whose)), _least(mine)]
        for dataset, metric in judged:
            one = next(
                (j for row, j in mine if row is whose and (stored_in(j.dataset), j.metric) == (dataset, metric)), None
            )
            cells.append(_share(one.observed if one else None))
        cells += [_speed(summary, engine, storage) for engine in engines]
        rows.append(cells)
    shown = [column for column in range(len(headings)) if any(row[column] for row in rows)]
    return [headings[column] for column in shown], [[row[column] for column in shown] for row in rows]


def note(headings: Sequence[str]) -> str:
    """What the columns of a table say."""
    told = []
    if any(heading.split(" ")[-1] in _LABELS.values() for heading in headings):
        told.append("shares of judged metrics are of what float32 vectors score")
    if "kept" in headings:
        told.append("kept is the share of exact float32 search's ten that is still found by the reference")
    if "least kept" in headings:
        told.append("least kept by the combination that keeps least")
    if any(heading.endswith(" speed") for heading in headings):
        batches = f"exact search of one query at a time and of {BATCHES[-1]}"
        told.append(f"speed is how many times faster than float32 in the same engine, {batches}")
    return f"stored vectors: {'; '.join(told)}"


_LABELS = {"ndcg_at_10": "nDCG@10", "recall_at_10": "recall@10"}


def _storage(judgement: Judgement) -> str:
    return judgement.dataset.rpartition("@")[2]


def _kept(found: list[tuple[Row, Judgement]], whose: Row) -> float | None:
    return next((j.value for row, j in found if row is whose and j.metric == "kept_at_10"), None)


def _least(found: list[tuple[Row, Judgement]]) -> str:
    values = [(j.value, row.combination) for row, j in found if j.metric == "kept_at_10" and j.value is not None]
    if len(values) < 2:
        return ""
    value, combination = min(values)
    return f"{value:.1%} {combination}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _bytes(storage: str, row: Row) -> str:
    dim = row.run.get("dim")
    if not dim:
        return ""
    words = storage.split("-")
    if words[0].endswith("d") and words[0][:-1].isdecimal():
        dim, words = int(words[0][:-1]), words[1:]
    width = {"float32": 4 * dim, "float16": 2 * dim, "int8": dim, "uint8": dim}
    return str(width.get(words[0], -(-dim // 8)))


def _speeds(row: Row) -> dict[str, dict[str, float]]:
    return dict(row.run.get("search_speed", {}))


def _speed(summary: Summary, engine: str, storage: str) -> str:
    speeds = {name: figures for row in summary.rows for name, figures in _speeds(row).items()}
    found = [speeds.get(f"{engine}-exact-{storage}-batch{batch}") for batch in BATCHES]
    return " / ".join(f"{1 / figures['ratio']:.1f}x" for figures in found if figures)
