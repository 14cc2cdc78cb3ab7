"""Values of embedgate on tasks of MTEB beside mteb's own of the same model: the table of docs/data-formats.md.

    python -m pip install -e '.[mteb]' && python benchmarks/mteb_scores.py [pairs passages topics my.csv ...]

Each dataset, as `--gate-data` takes it, is made a task that mteb evaluates, and that embedgate reads by its name. For
labels there are two tasks, since mteb clusters in two ways, and mteb is asked with several seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
SEEDS = (42, 1, 2, 3, 4)
SCORES = {
    "similarity": {"spearman": "cosine_spearman"},
    "retrieval": {name: name for name in ("ndcg_at_10", "recall_at_10", "mrr_at_10")},
    "labelled": {"v_measure": "v_measure"},
}


def tasks(dataset: Any) -> Iterator[type]:
    """The dataset as tasks of mteb."""
    from helpers import mteb_local as local

    name = dataset.name
    match dataset.kind:
        case "similarity":
            columns = {"sentence1": dataset.first, "sentence2": dataset.second, "score": dataset.grades}
            yield local.sts(f"{name}-STS", {key: list(cells) for key, cells in columns.items()})
        case "retrieval":
            corpus = [{"id": f"d{i}", "text": text} for i, text in enumerate(dataset.documents)]
            queries = [{"id": f"q{i}", "text": text} for i, text in enumerate(dataset.queries)]
            judged = {
                f"q{i}": {f"d{row}": grade for row, grade in found.items()} for i, found in enumerate(dataset.relevance)
            }
            yield local.retrieval(f"{name}-Retrieval", corpus, queries, judged)
        case "labelled":
            texts, labels = list(dataset.items), list(dataset.labels)
            whole = {"max_fraction_of_documents_to_embed": None}
            yield local.clustering(f"{name}-Clustering", {"sentences": texts, "labels": labels}, **whole)
            yield local.sets(f"{name}-ClusteringLegacy", {"sentences": [texts], "labels": [labels]})


def remembering(encode: Any) -> Any:
    """Encodes each text once, so that both judge the same embeddings and seeds cost no time."""
    seen: dict[str, Any] = {}

    def encode_once(inputs: Any, **options: Any) -> Any:
        new = [text for text in dict.fromkeys(inputs) if text not in seen]
        if new:
            seen.update(zip(new, encode(new, **options), strict=True))
        return np.stack([seen[text] for text in inputs])

    return encode_once


def by_mteb(task: type, model: Any, kind: str) -> dict[str, list[float]]:
    """The scores of mteb, of clusters by several seeds."""
    import mteb

    found: dict[str, list[float]] = {theirs: [] for theirs in SCORES[kind].values()}
    for seed in SEEDS if kind == "labelled" else SEEDS[:1]:
        result = mteb.evaluate(model, task(seed=seed), cache=None, show_progress_bar=False, co2_tracker=False)
        for name, values in found.items():
            values.append(result.task_results[0].scores["test"][0][name])
    return found


def by_embedgate(task: type, model: Any) -> dict[str, float]:
    """The values of embedgate on the task, read by its name."""
    import mteb

    from embedgate.core.embeddings import Embeddings
    from embedgate.data import load
    from embedgate.metrics.evaluate import measure

    mteb.get_task = lambda _: task()
    dataset = load(f"mteb:{task.metadata.name}")
    inputs = dataset.inputs()
    vectors = model.encode([each.text for each in inputs], show_progress_bar=False)
    return {name: scores.value for name, scores in measure(dataset, Embeddings(inputs, vectors)).items()}


def main() -> None:
    """Prints the table, a row at a time."""
    from sentence_transformers import SentenceTransformer

    from embedgate.core.model import DEFAULT_MODEL, resolve
    from embedgate.data import load

    model = SentenceTransformer(str(resolve(DEFAULT_MODEL).path), device="cpu", local_files_only=True)
    model.encode = remembering(model.encode)
    print("| task | score | embedgate | mteb |\n| --- | --- | --- | --- |")
    for dataset in map(load, sys.argv[1:] or ("pairs", "passages", "topics")):
        for task in tasks(dataset):
            theirs, ours = by_mteb(task, model, dataset.kind), by_embedgate(task, model)
            for name, their_name in SCORES[dataset.kind].items():
                values = theirs[their_name]
                spread = f" ({min(values):.4f} to {max(values):.4f})" if max(values) > min(values) else ""
                row = (task.metadata.name, their_name, f"{ours[name]:.5f}", f"{mean(values):.5f}{spread}")
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
