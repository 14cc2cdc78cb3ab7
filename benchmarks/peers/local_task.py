"""STS-B as a task of mteb, read from a file: in the place of `mteb.get_tasks(tasks=["STS12"])`, which needs the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from pairs import read

COLUMNS = ("sentence1", "sentence2", "score")


def task_of(path: Path) -> Any:
    """The pairs of a file as a task."""
    return task(dict(zip(COLUMNS, map(list, zip(*read(path), strict=True)), strict=True)))


def task(columns: dict[str, list[Any]], score: str = "cosine_spearman") -> Any:
    """Pairs as a task.

    Args:
        columns: Their first and second sentences and their grades, by `COLUMNS`.
        score: The score that counts.
    """

    class Local(AbsTaskSTS):
        """The pairs, as a task."""

        metadata = TaskMetadata(
            name="Local",
            dataset={"path": "local/local", "revision": "0" * 40},
            description="sentence pairs of a file",
            reference=None,
            type="STS",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score=score,
            date=None,
            domains=None,
            task_subtypes=None,
            license=None,
            annotations_creators=None,
            dialect=None,
            sample_creation=None,
            bibtex_citation=None,
        )

        def load_data(self, **_: Any) -> None:
            self.dataset, self.data_loaded = DatasetDict({"test": Dataset.from_dict(columns)}), True

    return Local()
