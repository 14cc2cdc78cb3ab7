"""Folders as repositories of the hub are laid out: a file for each split, and what cannot be read is told."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from embedgate.core.errors import DataError
from embedgate.data import Retrieval, Similarity, load

ROWS = [{"sentence1": "a", "sentence2": "b", "score": 1}, {"sentence1": "c", "sentence2": "d", "score": 2}]
SHARD = "{}-00000-of-00001.parquet"


def put(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def refusal(place: object) -> str:
    with pytest.raises(DataError) as raised:
        load(str(place))
    return str(raised.value)


def test_the_split_test_of_a_folder_data_is_read_and_others_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for split, score in (("test", 3), ("train", 4)):
        put(folder / "data" / SHARD.format(split), [*ROWS, {"sentence1": "e", "sentence2": "f", "score": score}])
    usual, train, test = (load(f"{folder}{keys}") for keys in ("", "::split=train", "::split=test"))
    assert isinstance(usual, Similarity)
    assert isinstance(train, Similarity)
    assert (usual.name, usual.grades.tolist()) == ("mine", [1, 2, 3])
    assert (train.name, train.grades.tolist()) == ("mine-train", [1, 2, 4])
    assert test.sha256 == usual.sha256 != train.sha256
    assert load(f"{folder}::split=train,name=own").name == "own"


def test_what_is_no_split_is_told(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", ROWS)
    assert len(load(f"{tmp_path}::split=a")) == 2
    put(tmp_path / "b.parquet", ROWS)
    several = f"{tmp_path}: needs one data file, has a.parquet, b.parquet; give the path of the file itself"
    assert refusal(tmp_path) == f"{several}, or name a split: {tmp_path}::split=a"
    assert refusal(f"{tmp_path}::split=c").startswith(f"{tmp_path}: no split 'c', has a.parquet, b.parquet; ")


def test_a_split_in_several_files_says_how_to_join_them(tmp_path: Path) -> None:
    for number in range(2):
        put(tmp_path / "data" / f"test-0000{number}-of-00002.parquet", ROWS)
    assert "split test is cut into 2 files: test-00000-of-00002.parquet, test-00001-of-00002" in refusal(tmp_path)
    assert refusal(tmp_path).endswith(f"load_dataset({str(tmp_path)!r}, split='test').to_parquet('test.parquet')")


@pytest.mark.parametrize("judged", ["qrels", "data", "default"])
def test_corpus_and_queries_in_folders_of_their_own(tmp_path: Path, judged: str) -> None:
    put(tmp_path / "corpus" / SHARD.format("corpus"), [{"_id": "d1", "text": "one"}, {"_id": "d2", "text": "two"}])
    put(tmp_path / "queries" / SHARD.format("queries"), [{"_id": "q1", "text": "1"}, {"_id": "q2", "text": "2"}])
    grades = [{"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1} for n in (1, 2)]
    put(tmp_path / judged / SHARD.format("test"), grades)
    dataset = load(str(tmp_path))
    assert isinstance(dataset, Retrieval)
    assert (dataset.documents, dataset.queries, dataset.relevance) == (("one", "two"), ("1", "2"), ({0: 1}, {1: 1}))
    put(tmp_path / "corpus" / "more.parquet", [{"_id": "d3", "text": "three"}])
    assert refusal(tmp_path).endswith(f"join them into one, {tmp_path / 'corpus.jsonl'}")
    (tmp_path / "corpus" / "more.parquet").unlink()
    put(tmp_path / judged / SHARD.format("train"), [{**row, "score": 2} for row in grades])
    assert load(f"{tmp_path}::split=train").relevance == ({0: 2}, {1: 2})  # type: ignore[attr-defined]


def test_a_folder_of_save_to_disk_says_how_to_write_it(tmp_path: Path) -> None:
    for name in ("state.json", "dataset_info.json", "data-00000-of-00001.arrow"):
        (tmp_path / name).write_text("{}")
    assert refusal(tmp_path) == (
        f"{tmp_path}: was written by save_to_disk: data-00000-of-00001.arrow; write it as Parquet: "
        f"datasets.load_from_disk({str(tmp_path)!r}).to_parquet('data.parquet')"
    )
    (tmp_path / "dataset_dict.json").write_text("{}")
    assert "['test'].to_parquet" in refusal(tmp_path)
