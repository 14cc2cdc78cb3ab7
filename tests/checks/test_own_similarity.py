"""A model that does not normalise: its own similarity decides, and vectors of other lengths are red."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from helpers.faults import Wrapped
from helpers.parcels import parcels
from helpers.small import copy_with
from scipy.spatial.distance import cdist

from embedgate.checks.quality import of_texts
from embedgate.core.combination import Combination
from embedgate.core.model import resolve
from embedgate.core.roles import Input
from embedgate.metrics import LENGTH_KEPT


def unnormalised(small, folder, similarity):
    """The small model without its last module."""
    copy_with(small, folder, similarity_fn_name=similarity)
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    (folder / "modules.json").write_text(json.dumps(modules[:-1]), "utf-8")
    return resolve(str(folder))


def unit(path, _):
    """As a server that normalises whatever the model says."""
    return Wrapped(path, lambda rows, texts: rows / np.linalg.norm(rows, axis=1, keepdims=True))


def other_lengths(path, _):
    """Directions are kept to the bit; every length is off by up to half, always alike for the same text."""

    def factor(text):
        return 0.5 + int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 0xFFFFFF

    return Wrapped(path, lambda rows, texts: rows * np.array([[factor(text)] for text in texts], np.float32))


def doubled(path, _):
    return Wrapped(path, lambda rows, texts: rows * np.float32(2))


def sound(path, _):
    return Wrapped(path, lambda rows, texts: rows)


FAULTS = {"unit-fp16-cpu": unit, "lengths-fp16-cpu": other_lengths}
CAUSES = {
    "unit-fp16-cpu": "these are the reference's vectors with vectors normalised, which the model does not: cosine 1.0000",
    "lengths-fp16-cpu": "embeddings have the reference's directions and other lengths",
}


@pytest.fixture(scope="module")
def model(small, tmp_path_factory):
    return unnormalised(small, tmp_path_factory.mktemp("model") / "dot", "dot")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(parcels(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def context(context_with, data):
    made = context_with({**FAULTS, "doubled-fp16-cpu": doubled, "sound-fp16-cpu": sound}, data=(data,))
    yield made
    made.close()


def agreement(context, name, metric):
    return context.ask("agreement", Combination.parse(name), metric)


@pytest.mark.parametrize("name", FAULTS)
def test_other_lengths_turn_red_although_every_direction_is_right(context, name):
    assert agreement(context, name, "cosine_min").value == pytest.approx(1)
    found = agreement(context, name, LENGTH_KEPT)
    assert found.verdict == "fail"
    assert found.diagnosis.layer == "normalisation"
    assert found.diagnosis.cause.startswith(CAUSES[name])
    assert found.diagnosis.next_step.startswith(("the model does not normalise: see what ", "see what normalises"))


def test_one_factor_of_all_lengths_is_told(context):
    found = agreement(context, "doubled-fp16-cpu", LENGTH_KEPT)
    assert found.verdict == "fail"
    cause = "these are the reference's vectors with every vector 2 times as long: cosine 1.0000"
    assert found.diagnosis.cause.startswith(cause)
    assert found.diagnosis.cause.endswith("of their length off)")
    assert found.diagnosis.next_step == "see what normalises or scales its vectors, and whether the model does"


def test_lengths_that_vary_lose_neighbours_by_dot_product(context):
    assert agreement(context, "lengths-fp16-cpu", "top10_overlap").verdict == "fail"


@pytest.mark.parametrize("metric", ["length_kept", "cosine_mean", "top10_overlap"])
@pytest.mark.parametrize("name", ["sound-fp16-cpu", "onnxruntime-fp32-cpu"])
def test_a_sound_encoder_stays_green(context, name, metric):
    assert agreement(context, name, metric).verdict == "pass"


def test_lengths_are_asked_of_models_that_do_not_normalise(context, context_with, small, few):
    def asked(plan):
        return {subject.metric for subject in of_texts(plan)}

    whole = context_with(model=str(small.path), data=(str(few),))
    assert asked(context.plan) - asked(whole.plan) == {LENGTH_KEPT}


def test_ranks_follow_the_dot_product(context):
    """As computed here from the vectors themselves."""
    run = context.session.run(Combination.parse("torch-fp32-cpu"))
    (dataset,) = context.plan.datasets
    rows = run.embeddings.rows([Input(text, "document") for text in dataset.documents])
    asked = run.embeddings.rows([Input(text, "query") for text in dataset.queries])
    scores = run.embeddings.matrix[asked] @ run.embeddings.matrix[rows].T
    first = np.argsort(-scores, axis=1)[:, :10]
    wanted = [
        len({*found.tolist()} & {*judged}) / len(judged) for found, judged in zip(first, dataset.relevance, strict=True)
    ]
    found = context.session.scores(run, dataset)["recall_at_10"].value
    assert found == pytest.approx(np.mean(wanted), abs=2e-3)


def test_stored_vectors_keep_their_lengths(context):
    from embedgate.checks.stored import StoredVectors

    run = context.session.run(Combination.parse("torch-fp32-cpu"))
    vectors = context.of(StoredVectors).searched(run).vectors
    assert np.abs(np.linalg.norm(vectors.documents, axis=1) - 1).min() > 0.1
    found = context.ask("search.kept", run.combination, "float16")
    assert found.verdict == "pass", found.message


@pytest.mark.parametrize("similarity", ["euclidean", "manhattan"])
def test_a_distance_decides_ranks_and_leaves_out_stored_vectors(small, context_with, data, tmp_path, similarity):
    model = unnormalised(small, tmp_path / similarity, similarity)
    context = context_with({"sound-fp16-cpu": sound}, model=str(model.path), data=(data,))
    combination = Combination.parse("sound-fp16-cpu")
    for metric in ("top10_overlap", LENGTH_KEPT):
        assert context.ask("agreement", combination, metric).verdict == "pass"
    run, (dataset,) = context.session.run(combination), context.plan.datasets
    documents, queries = (
        run.embeddings.matrix[run.embeddings.rows([Input(text, role) for text in texts])]
        for texts, role in ((dataset.documents, "document"), (dataset.queries, "query"))
    )
    nearest = np.argsort(cdist(queries, documents, "cityblock" if similarity == "manhattan" else similarity), axis=1)
    wanted = np.mean([place in nearest[place, :10] for place in range(len(queries))])
    assert context.session.scores(run, dataset)["recall_at_10"].value == pytest.approx(wanted)
    assert f"this model compares by {similarity} distance" in context.plan.search_unavailable
    context.close()
