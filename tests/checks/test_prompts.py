"""The prompt of each role: dropped, doubled and exchanged ones are red and named, sound encoders stay green."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from helpers.parcels import parcels
from helpers.prompted import (
    AddsItsOwn,
    AddsUnsaid,
    Alone,
    ByRole,
    CachesByText,
    Doubles,
    Drops,
    DropsAlone,
    DropsLater,
    DropsMost,
    DropsSome,
    Exchanges,
    Mixes,
    PutsBehind,
    with_prompts,
    without_prompts,
)

from embedgate.checks.prompts import PROBES, Missed, of_roles
from embedgate.core.combination import Combination
from embedgate.core.model import resolve
from embedgate.core.roles import Input, Roles
from embedgate.diagnosis.prompts import wrong_ways

FAULTS = {
    "drops-fp32-cpu": (Drops, "query", "a query comes without its prompt"),
    "lost-fp32-cpu": (without_prompts, "query", "a query comes without its prompt"),
    "doubles-fp32-cpu": (Doubles, "document", "a document comes with its prompt twice"),
    "behind-fp32-cpu": (PutsBehind, "query", "a query comes with its prompt after the text"),
    "exchanges-fp32-cpu": (Exchanges, "query", "a query is encoded as document"),
    "adds-fp32-cpu": (AddsItsOwn, "document", "a document is encoded as query"),
    "unsaid-fp32-cpu": (AddsUnsaid, "document", "a document comes with the prompt of query before its own"),
}
SOUND = {"byrole-fp32-cpu": ByRole, "alone-fp32-cpu": Alone}


@pytest.fixture(scope="module", params=["cosine", "dot"])
def model(small, tmp_path_factory, request):
    """As it is; and one that does not normalise, whose vectors are longer than 1."""
    made = with_prompts(small, tmp_path_factory.mktemp("model"), similarity_fn_name=request.param)
    if request.param == "dot":
        file = made.path / "modules.json"
        file.write_text(json.dumps([each for each in json.loads(file.read_text()) if "Normalize" not in each["type"]]))
    return resolve(str(made.path))


@pytest.fixture(scope="module")
def context(context_with, tmp_path_factory):
    factories = {name: (lambda path, device, make=make: make(path, device)) for name, (make, *_) in FAULTS.items()}
    made = context_with(
        {
            **factories,
            **SOUND,
            "cache-fp32-cpu": CachesByText,
            "some-fp32-cpu": DropsSome,
            "most-fp32-cpu": DropsMost,
            "mixes-fp32-cpu": Mixes,
            "dropsalone-fp32-cpu": DropsAlone,
            "later-fp32-cpu": DropsLater,
        },
        data=(str(parcels(tmp_path_factory.mktemp("data"))),),
    )
    yield made
    made.close()


@pytest.mark.parametrize("name", FAULTS)
def test_a_missed_prompt_turns_red_with_what_happened(context, name):
    _, role, cause = FAULTS[name]
    judgement = context.ask("prompt", Combination.parse(name), role)
    assert judgement.verdict == "fail"
    assert judgement.diagnosis.layer == "prompt"
    assert judgement.message.startswith(cause)
    assert judgement.value == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", [*SOUND, "onnxruntime-fp32-cpu", "torch-bf16-cpu"])
@pytest.mark.parametrize("role", ["query", "document"])
def test_a_sound_encoder_stays_green(context, name, role):
    judgement = context.ask("prompt", Combination.parse(name), role)
    assert judgement.verdict == "pass", judgement.message


def test_a_cache_by_the_text_alone_is_found(context):
    """No dataset has a text in two roles, so nothing else sees it."""
    judgement = context.ask("prompt", Combination.parse("cache-fp32-cpu"), "query")
    assert judgement.verdict == "fail"
    assert (
        "texts that were encoded as query before get the same embedding when they come as document" in judgement.message
    )
    assert "look for a cache that keeps embeddings by the text alone" in str(judgement.diagnosis)


@pytest.mark.parametrize(("name", "share"), [("some-fp32-cpu", 1 / 3), ("most-fp32-cpu", 0.9)])
def test_a_prompt_that_only_some_texts_lack_is_named(context, name, share):
    """On average, a third of the texts lie a third of the way, and most of them nearly all of it."""
    judgement = context.ask("prompt", Combination.parse(name), "query")
    assert judgement.verdict == "fail"
    assert judgement.message.startswith("a query comes without its prompt in ")
    assert judgement.value == pytest.approx(share, abs=0.1)
    assert "their place in a batch" in str(judgement.diagnosis)


def test_several_wrong_ways_are_counted(context):
    """No text is right, and on average they lie half of no way."""
    judgement = context.ask("prompt", Combination.parse("mixes-fp32-cpu"), "query")
    assert judgement.verdict == "fail"
    assert judgement.value == 1
    ways = ("comes without its prompt in ", "comes with its prompt twice in ", "is encoded as document in ")
    assert all(way in judgement.message for way in ways)
    counts = [int(number) for number in re.findall(r" in (\d+)", judgement.message)]
    assert sum(counts) == PROBES
    assert f" of {PROBES} texts, among them 'Where is my " in judgement.message


@pytest.mark.parametrize(
    ("name", "when", "step"),
    [
        ("dropsalone-fp32-cpu", "alone", "add the prompt where a single text is encoded"),
        ("later-fp32-cpu", "again", "look for what changes from call to call"),
    ],
)
def test_a_prompt_that_is_lost_on_another_call_is_told_as_such(context, name, when, step):
    judgement = context.ask("prompt", Combination.parse(name), "query")
    assert judgement.verdict == "fail"
    assert judgement.message.startswith(f"a query comes without its prompt when it is encoded {when}: ")
    assert judgement.value == pytest.approx(1, abs=0.01)
    assert step in str(judgement.diagnosis)


@pytest.mark.parametrize("variation", ["padding", "batch_size"])
def test_invariance_blames_no_padding_for_a_prompt_that_is_lost_alone(context, variation):
    judgement = context.ask("invariance", Combination.parse("dropsalone-fp32-cpu"), variation)
    assert judgement.verdict == "fail"
    assert judgement.diagnosis.layer == "prompt"
    assert judgement.diagnosis.cause == "a text for sts comes without its prompt when it is encoded alone"


def test_no_odd_text_is_blamed_for_a_prompt_that_is_lost_alone(context):
    """Its neighbour alone has another embedding than in any batch."""
    assert context.ask("contract.odd", Combination.parse("dropsalone-fp32-cpu"), "one_token").verdict == "pass"


@pytest.mark.parametrize("name", ["drops-fp32-cpu", "adds-fp32-cpu"])
def test_the_other_role_of_a_fault_stays_green(context, name):
    """Both roles get the same embedding then, and none is remembered."""
    role = {"drops-fp32-cpu": "document", "adds-fp32-cpu": "query"}[name]
    assert context.ask("prompt", Combination.parse(name), role).verdict == "pass"


def test_noise_is_no_prompt(context, monkeypatch):
    """Quantization moves embeddings as far, and elsewhere."""
    run = context.session.run(Combination.parse("byrole-fp32-cpu"))
    rng = np.random.default_rng(0)
    unit = run.embeddings.normalised
    noise = rng.standard_normal(unit.shape).astype(np.float32)
    noise *= 0.5 / np.linalg.norm(noise, axis=1, keepdims=True)
    monkeypatch.setattr(run.embeddings, "matrix", unit + noise)
    assert context.ask("prompt", run.combination, "query").verdict == "pass"


def test_the_reference_encodes_each_wrong_way_once_for_all_combinations(context, monkeypatch):
    session, asked = context.session, []
    encode_as = session.encode_as

    def noting(run, role, texts):
        if run.combination.is_reference and len(texts) == PROBES:
            asked.append(role)
        return encode_as(run, role, texts)

    monkeypatch.setattr(session, "encode_as", noting)
    context.provide(Missed, Missed(context))
    for name in ("drops-fp32-cpu", "exchanges-fp32-cpu", *SOUND):
        context.ask("prompt", Combination.parse(name), "query")
    assert len(asked) == len(wrong_ways(context.plan.model.roles, "query"))


def test_it_is_asked_of_roles_whose_prompt_can_be_missed(context):
    assert [subject.metric for subject in of_roles(context.plan)] == ["query", "document"]


def test_a_model_without_prompts_is_not_asked(small, context_with, few):
    context = context_with(model=str(small.path), data=(str(few),))
    assert list(of_roles(context.plan)) == []


def test_a_text_in_two_roles_is_encoded_once_where_the_model_does_the_same(small, context_with, few, tmp_path):
    """Pairs and labelled texts of the same words."""
    asked = []

    class Counts(Alone):
        def encode(self, texts, batch_size=32):
            asked.extend(texts)
            return super().encode(texts, batch_size)

    labelled = tmp_path / "labelled.csv"
    labelled.write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(12)), "utf-8")
    context = context_with({"acme-fp32-cpu": Counts}, model=str(small.path), data=(str(few), str(labelled)))
    run = context.session.run(Combination.parse("acme-fp32-cpu"))
    assert len(asked) == len(set(asked)) == 24
    assert len(run.embeddings) == 36
    first, second = (run.embeddings.row(Input("text 3", role)) for role in ("sts", "clustering"))
    np.testing.assert_array_equal(first, second)
    context.close()


def test_every_way_to_miss_a_role_is_tried_once():
    roles = Roles("config", {"query": "q: ", "passage": "p: "})
    assert [way.about for way in wrong_ways(roles, "query")] == [
        "comes without its prompt",
        "comes with its prompt twice",
        "comes with its prompt after the text",
    ]
    assert [way.about for way in wrong_ways(roles, "document")] == ["is encoded as query"]
    chosen = Roles("config", {"query": "q: "}, chosen={"query": "Find: "})
    assert [way.about for way in wrong_ways(chosen, "query")] == [
        "comes without its prompt",
        "comes with its prompt twice",
        "comes with its prompt after the text",
        "comes with the model's own prompt",
    ]


def test_the_session_tells_the_prompts(context):
    from embedgate.checks.facts import facts_of
    from embedgate.report.facts import lines

    context.ask("prompt", Combination.parse("byrole-fp32-cpu"), "query")
    (line,) = [line for line in lines(facts_of(context)) if "prompt" in line]
    assert line == "prompts of parcels: document 'passage of text: ' (document), query 'search query: ' (query)"
