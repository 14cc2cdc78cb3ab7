"""Tasks of MTEB that hold their data themselves, in the place of those that mteb loads from the hub."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskClusteringLegacy,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
    AbsTaskSTS,
)
from mteb.abstasks.task_metadata import TaskMetadata

REVISION = "0" * 40
MAIN_SCORES = {
    "STS": "cosine_spearman",
    "PairClassification": "max_ap",
    "Retrieval": "ndcg_at_10",
    "Clustering": "v_measure",
    "Classification": "accuracy",
}


def metadata(name: str, type_: str, **fields: Any) -> TaskMetadata:
    """What mteb knows of a task."""
    unknown = (
        "reference date domains task_subtypes license annotations_creators dialect sample_creation bibtex_citation"
    )
    known = {
        "dataset": {"path": "local/local", "revision": REVISION},
        "description": "held by the tests",
        "category": "t2t",
        "modalities": ["text"],
        "eval_splits": ["test"],
        "eval_langs": ["eng-Latn"],
        "main_score": MAIN_SCORES[type_],
    }
    return TaskMetadata(name=name, type=type_, **dict.fromkeys(unknown.split()), **(known | fields))


def _task(base: type, name: str, type_: str, data: Any, about: dict[str, Any], **attributes: Any) -> type:
    def load_data(self: Any, *_: Any, **__: Any) -> None:
        self.dataset, self.data_loaded = data, True

    return type(name, (base,), {"metadata": metadata(name, type_, **about), "load_data": load_data, **attributes})


def split_of(columns: dict[str, list[Any]]) -> DatasetDict:
    return DatasetDict({"test": Dataset.from_dict(columns)})


def sts(name: str, columns: dict[str, list[Any]] | DatasetDict | dict[str, DatasetDict], **about: Any) -> type:
    """Graded pairs: columns `sentence1`, `sentence2` and `score`, or these by split, or by subset and split."""
    data = columns if isinstance(next(iter(columns.values())), Dataset | DatasetDict) else split_of(columns)
    return _task(AbsTaskSTS, name, "STS", data, about)


def pairs(name: str, columns: dict[str, list[Any]], **about: Any) -> type:
    """Pairs that say the same or not: columns `sentence1`, `sentence2` and `labels`."""
    return _task(AbsTaskPairClassification, name, "PairClassification", split_of(columns), about)


def clustering(name: str, columns: dict[str, list[Any]], *, about: dict[str, Any] | None = None, **own: Any) -> type:
    """Labelled texts: columns `sentences` and `labels`. Attributes say how many of them mteb draws."""
    return _task(AbsTaskClustering, name, "Clustering", split_of(columns), about or {}, **own)


def sets(name: str, columns: dict[str, list[Any]]) -> type:
    """Sets of labelled texts, as MTEB had them at first: columns `sentences` and `labels`, each cell a list."""
    return _task(AbsTaskClusteringLegacy, name, "Clustering", split_of(columns), {})


def classification(name: str, columns: dict[str, list[Any]]) -> type:
    """Labelled texts: columns `text` and `label`."""
    return _task(AbsTaskClassification, name, "Classification", split_of(columns), {})


def retrieval(
    name: str,
    corpus: list[dict[str, str]],
    queries: list[dict[str, Any]],
    relevant: dict[str, dict[str, int]],
    *,
    top_ranked: dict[str, list[str]] | None = None,
    about: dict[str, Any] | None = None,
    **own: Any,
) -> type:
    """Documents and queries, each with its `id` and `text`, and who answers what."""
    split = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list(queries),
        "relevant_docs": relevant,
        "top_ranked": top_ranked,
    }
    return _task(AbsTaskRetrieval, name, "Retrieval", {"default": {"test": split}}, about or {}, **own)
