"""Queries that are documents themselves: left out wherever a session ranks by a dataset's judgements."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.parcels import parcels

from embedgate.checks.stored import StoredVectors
from embedgate.core.combination import Combination

REFERENCE = Combination.parse("torch-fp32-cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty documents and ten more, each of which is a query under its id; a document answers each."""
    data = parcels(tmp_path_factory.mktemp("data"))
    asked = [json.loads(line) for line in (data / "queries.jsonl").read_text("utf-8").splitlines()[:10]]
    with (data / "corpus.jsonl").open("a", encoding="utf-8") as corpus:
        corpus.writelines(json.dumps(query) + "\n" for query in asked)
    (data / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in asked), "utf-8")
    (data / "qrels" / "test.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(10)), "utf-8")
    return data


@pytest.fixture(scope="module")
def context(context_with, folder):
    made = context_with(data=(str(folder),))
    yield made
    made.close()


def test_by_the_embeddings(context):
    (dataset,) = context.plan.datasets
    run = context.session.run(REFERENCE)
    assert len(dataset.own) == 10
    queries, documents = run.embeddings.of(dataset.queries, "query"), run.embeddings.of(dataset.documents, "document")
    ranks = []
    for query, scores in enumerate(queries @ documents.T):
        own = dataset.own[query]
        assert scores[own] == pytest.approx(scores.max(), abs=1e-6), "it finds itself first"
        (answer,) = dataset.relevance[query]
        ranks.append(1 + np.count_nonzero(np.delete(scores, own) > scores[answer]))
    expected = np.mean([1 / rank if rank <= 10 else 0 for rank in ranks])
    assert context.session.scores(run, dataset)["mrr_at_10"].value == pytest.approx(expected)


def test_among_stored_vectors(context):
    """Halves of float32 keep all there is to rank by."""
    (dataset,) = context.plan.datasets
    run = context.session.run(REFERENCE)
    stored = context.of(StoredVectors).score(run, "float16", dataset.name, "ndcg_at_10")
    assert stored.items == pytest.approx(context.session.scores(run, dataset)["ndcg_at_10"].items, abs=1e-9)


def test_the_report_tells(context):
    (dataset,) = context.plan.datasets
    assert dataset.notes[0].startswith("10 of 10 queries are documents too")
