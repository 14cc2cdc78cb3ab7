"""Every fault that must turn a gate red does, with its cause named; a sound model stays green.

Each fault is a combination a host project could have added: a factory from model folder to encoder.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.faults import Wrapped, cls_pooling, load, sound, upper_case_kept
from sentence_transformers import SentenceTransformer

from embedgate.checks.quality import of_texts
from embedgate.core.cache import ArtefactCache
from embedgate.core.combination import Combination
from embedgate.core.embeddings import Embeddings
from embedgate.core.judgement import Judgement
from embedgate.core.model import resolve
from embedgate.data import load_calibration
from embedgate.encoders import BuildContext
from embedgate.encoders.onnx.calibration import minmax_int8_graph
from embedgate.encoders.onnx.export import exported_graph
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.encoders.onnxruntime.encoder import GraphEncoder
from embedgate.metrics import metrics_of
from embedgate.metrics.evaluate import measure


def dropped_layer(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    model[0].model.encoder.layer = model[0].model.encoder.layer[:-1]
    return model


def noisy_weights(path: Path, _: str) -> SentenceTransformer:
    model = load(path)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * weight.std() * torch.randn(weight.shape, generator=noise))
    return model


def other_order(path: Path, _: str) -> Wrapped:
    return Wrapped(path, lambda rows, texts: rows[np.argsort([len(text.split()) for text in texts], kind="stable")])


def nan_in_one_row(path: Path, _: str) -> Wrapped:
    broken: set[str] = set()

    def tamper(rows: np.ndarray, texts: list[str]) -> np.ndarray:
        broken.update(() if broken else texts[17:18])  # of all calls the same text
        rows = rows.copy()
        rows[[text in broken for text in texts], 3] = np.nan
        return rows

    return Wrapped(path, tamper)


class OtherBatches:
    """A sound model that is handed the texts in another order and in other batches."""

    def __init__(self, path: Path) -> None:
        self.model = load(path)

    def encode(self, texts: list[str], batch_size: int = 32) -> np.ndarray:
        order = np.random.default_rng(1).permutation(len(texts))
        rows = self.model.encode([texts[i] for i in order], batch_size=7)
        restored = np.empty_like(rows)
        restored[order] = rows
        return restored


def minmax_static(path: Path, _: str) -> GraphEncoder:
    """Static int8 of every product with plain min-max ranges."""
    model = resolve(str(path))
    folder = Path(tempfile.mkdtemp(prefix="embedgate-test-"))
    texts, digest = load_calibration()
    context = BuildContext(2, ArtefactCache(folder), texts, digest)
    batches = list(Tokenizer(model).batches(texts[:128], 32))
    minmax_int8_graph(exported_graph(model, context), folder / "minmax.onnx", batches)
    return GraphEncoder(model, folder / "minmax.onnx", Combination.parse("minmax-int8static-cpu"), context)


# Fault, layer and cause it must be told with.
FAULTS = {
    "cls-fp16-cpu": (cls_pooling, "pooling", "these are the reference's vectors with CLS pooling: cosine 1.0000"),
    "dropped-fp16-cpu": (dropped_layer, "hidden states", "the reference's vectors with its last layer missing"),
    "noisy-fp16-cpu": (noisy_weights, "hidden states", " tensors of weights differ: "),
    "upper-fp16-cpu": (
        upper_case_kept,
        "tokens",
        "with case and accents kept, which the tokenizer folds: cosine 1.0000",
    ),
    "order-fp16-cpu": (other_order, "order", "these are the reference's vectors in another order"),
    "nan-fp16-cpu": (nan_in_one_row, "finiteness", "1 of "),
    "minmax-int8static-cpu": (
        minmax_static,
        "hidden states",
        " in int8, and nothing else is known to differ",
    ),
}
SOUND = {"twice-fp32-cpu": sound, "batches-fp32-cpu": lambda path, _: OtherBatches(path)}


@pytest.fixture(scope="module")
def context(context_with):
    factories = {name: factory for name, (factory, *_) in FAULTS.items()}
    made = context_with({**factories, **SOUND, "disguised-int8-cpu": sound}, data=("triplets",))
    yield made
    made.close()


def judgements(context, name: str) -> dict[str, Judgement]:
    combination = Combination.parse(name)
    found = {"effective": context.ask("effective", combination)}
    for dataset in context.plan.datasets:
        for metric in metrics_of(dataset.kind):
            found[metric] = context.ask("retention", combination, f"{dataset.name}-{metric}")
    for metric in (subject.metric for subject in of_texts(context.plan)):
        found[metric] = context.ask("agreement", combination, metric)
    return found


@pytest.mark.slow("each fault of a combination is red in every metric that sees it, with its layer and cause")
@pytest.mark.parametrize("name", FAULTS)
def test_fault_turns_red_with_its_cause(context, name):
    _, layer, cause = FAULTS[name]
    red = [
        j for j in judgements(context, name).values() if j.verdict == "fail" and j.check in ("retention", "agreement")
    ]
    assert red, f"{name} stayed green"
    for judgement in red:
        assert judgement.diagnosis.layer == layer
        assert cause in judgement.diagnosis.cause
        assert cause in judgement.explain()


def test_int8_that_is_really_fp32_turns_red(context):
    judgement = judgements(context, "disguised-int8-cpu")["effective"]
    assert judgement.verdict == "fail"
    assert "named int8, but all" in judgement.explain()
    assert "every embedding is bit-identical to the fp32 reference's" in judgement.explain()


def test_an_infinite_component_is_not_what_an_id_says(context, monkeypatch):
    combination = Combination.parse("twice-fp32-cpu")
    run = context.session.run(combination)
    rows = run.embeddings.matrix.copy()
    rows[17, 3] = np.inf
    monkeypatch.setattr(run, "embeddings", Embeddings(run.embeddings.inputs, rows))
    judgement = context.ask("effective", combination)
    assert judgement.verdict == "fail"
    assert "1 of" in judgement.diagnosis.cause


@pytest.mark.slow("a sound model in other batches and another order stays green")
@pytest.mark.parametrize("name", SOUND)
def test_sound_model_stays_green(context, name):
    assert {metric: j.verdict for metric, j in judgements(context, name).items() if j.verdict != "pass"} == {}


def test_failure_shows_the_worst_texts_and_slices(context):
    judgement = judgements(context, "dropped-fp16-cpu")["cosine_mean"]
    assert len(judgement.worst) == 5
    assert judgement.worst[0].candidate <= judgement.worst[-1].candidate
    assert "next step: compare num_hidden_layers" in judgement.explain()


def test_slices_are_measured_as_datasets_of_their_own(context):
    combination = Combination.parse("dropped-fp16-cpu")
    (whole,) = context.plan.datasets
    judgement = context.ask("retention", combination, "triplets-triplet_accuracy")
    assert [each.name for each in judgement.slices] == [*whole.slices]
    for each in judgement.slices:
        part = whole.part(whole.slices[each.name])
        runs = (context.session.run(combination), context.session.run(combination.reference))
        alone, reference = (measure(part, run.embeddings)["triplet_accuracy"].value for run in runs)
        assert (each.items, each.value, each.reference_value) == pytest.approx((len(part), alone, reference), abs=1e-5)


def test_judgements_survive_the_way_to_another_process(context):
    for judgement in judgements(context, "dropped-fp16-cpu").values():
        assert Judgement.from_json(json.loads(json.dumps(judgement.to_json()))) == judgement
