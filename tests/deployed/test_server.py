"""A server as a candidate: every protocol, every fault told, and no more than its own verdict lost."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.served import (
    DIM,
    NAME,
    TOKEN,
    Reply,
    Served,
    Together,
    mispooled,
    mispooled_together,
    mixed_up,
    serving,
    stored,
)

from embedgate.core.combination import Combination
from embedgate.core.errors import EncodeError, GateError, ResourceError
from embedgate.core.roles import Role
from embedgate.deployed import source_of
from embedgate.deployed.server.address import Address
from embedgate.deployed.server.client import Client
from embedgate.deployed.server.protocols import PROTOCOLS, Protocol
from embedgate.encoders import Stability
from embedgate.properties.explore import Profile
from embedgate.properties.invariance import look_into
from embedgate.properties.variations import Subject
from embedgate.runtime import resources

TEXTS = [f"text number {number}" for number in range(40)]
QUICK = Profile(rounds=1, cases=1, texts=1, batches=1)
APIS = ("openai", "base64", "tei", "ollama", "kserve")


def built(served: Served, gated, /, **keys: object):
    given = ",".join(f"{key}={value}" for key, value in {"timeout": 5, **keys}.items())
    return source_of(f"{served.url}::{given}", gated).build(gated, None)


@pytest.mark.parametrize("api", APIS)
def test_every_protocol_is_found_and_gives_each_text_its_vector(api, tiny):
    keys = {"model": NAME} if api == "kserve" else {}
    with serving(Served(api=api)) as served:
        encoder = built(served, tiny, **keys)
        np.testing.assert_allclose(encoder.encode(TEXTS), stored(TEXTS), atol=1e-7)
        assert encoder.encode([]).shape == (0, DIM)
        found = encoder.evidence()
    assert found.details["api"] == api.replace("base64", "openai")
    assert found.details["dimensions"] == DIM
    assert found.problems == ()
    library = {"tei": "text-embeddings-inference 1.8.2", "ollama": "ollama 0.9", "kserve": "triton 2.60"}
    assert found.library == library.get(api, "tests")


@pytest.mark.parametrize("end", ["/", "/v1", "/v1/embeddings", "/v2", "/v3"])
def test_a_url_may_end_with_its_version_or_route(end, served, tiny):
    encoder = source_of(served.url + end, tiny).build(tiny, None)
    assert encoder.evidence().details["url"] == f"{served.url}/v1/embeddings"
    assert encoder.evidence().details["model"] == NAME


@pytest.mark.parametrize(
    ("end", "keys", "api"),
    [
        ("/embed", "", "tei"),
        ("/api/embed", f"::model={NAME}", "ollama"),
        ("/v1/embeddings", "", "openai"),
        (f"/v2/models/{NAME}/infer", "", "kserve"),
        ("/embed", "::api=openai", "openai"),
    ],
)
def test_a_route_in_the_url_is_the_one_that_is_gated(end, keys, api, tiny):
    """A server with several routes was gated at the first that it had."""
    description = Served(api="kserve").got(f"/v2/models/{NAME}").body
    speaks = Served(others=("tei", "ollama", "kserve"), extra={f"/v2/models/{NAME}": description})
    with serving(speaks) as served:
        encoder = source_of(f"{served.url}{end}{keys}", tiny).build(tiny, None)
        np.testing.assert_allclose(encoder.encode(TEXTS), stored(TEXTS), atol=1e-7)
        found = encoder.evidence().details
    assert found["api"] == api
    posted = {route for route, headers in served.sent if "Content-Length" in headers}
    assert posted == {"/v1/embeddings" if api == "openai" else end}


def test_a_route_in_the_url_that_is_not_there_is_told(served, tiny):
    message = rf"{served.url}/embed has no route of embeddings \(tried /embed\); .*::api=openai, tei, ollama or kserve$"
    with pytest.raises(GateError, match=message):
        source_of(f"{served.url}/embed", tiny).build(tiny, None)
    assert {route for route, _ in served.sent} == {"/embed"}


@pytest.mark.parametrize(
    ("url", "api", "root", "route"),
    [
        ("http://host/mine/api/embed", "", "http://host/mine", "/api/embed"),
        ("http://host/mine/api/embed", "tei", "http://host/mine/api", "/embed"),
        ("http://host/reembed", "", "http://host/reembed", ""),
        ("http://host/v2/models/a/infer", "", "http://host", "/v2/models/{model}/infer"),
        ("http://host/v3", "", "http://host", ""),
    ],
)
def test_a_url_is_split_into_server_and_route(url, api, root, route):
    address = Address.parse(url, api=api)
    assert (address.root, address.route, address.url) == (root, route, url)


class Vectorize(Protocol):
    """The protocol of docs/add-a-candidate.md."""

    name = "vectorize"
    routes = ("/vectorize",)

    def body(self, texts, model):
        return {"texts": list(texts)}

    def rows(self, answer):
        return list(enumerate(answer["vectors"]))


def test_a_protocol_is_one_class_and_one_entry(served, tiny, monkeypatch):
    monkeypatch.setattr("embedgate.deployed.server.protocols.PROTOCOLS", added := (*PROTOCOLS, Vectorize))
    for module in ("address", "discovery"):
        monkeypatch.setattr(f"embedgate.deployed.server.{module}.PROTOCOLS", added)
    monkeypatch.setattr("embedgate.deployed.server.PROTOCOLS", added)

    def posted(route, body):
        vectors = stored(body["texts"]).tolist() if route == "/vectorize" else None
        return Reply({"vectors": vectors}) if vectors else Reply({"detail": "Not Found"}, 404)

    served.posted = posted
    for url in (served.url, f"{served.url}/vectorize", f"{served.url}::api=vectorize"):
        encoder = source_of(url, tiny).build(tiny, None)
        np.testing.assert_allclose(encoder.encode(TEXTS), stored(TEXTS), atol=1e-7)
        assert encoder.evidence().details["api"] == "vectorize"
    with pytest.raises(GateError, match=r"::api=openai, tei, ollama, kserve or vectorize$"):
        source_of(f"{served.url}/embed", tiny).build(tiny, None)


def test_names_follow_the_address_and_keys(tiny):
    assert source_of("http://127.0.0.1:8111", tiny).combination.id == "127.0.0.1_8111-served-cpu"
    source = source_of("https://host/v1::model=org/my-model,promise=fp16,device=cuda", tiny)
    assert source.combination.id == "org_my_model-fp16-cuda"
    assert source.origin == "https://host/v1"
    assert not source.local
    assert not source.proves


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://me:pass@host", "given with a user or password"),
        ("http://me:pass@host::batch=3,timeout", "http://host::batch=3,timeout has 'timeout', which is no key=value"),
        ("http://host?key=pass", "given with a query"),
        ("http://", "names no host"),
        ("http://host:port", "names no server"),
        ("http://host::tokens=3", "has no key 'tokens'"),
        ("http://host::api=grpc", "api is one of openai, tei, ollama, kserve"),
        ("http://host::long=stop", "long is one of cut, refuse"),
        ("http://host::timeout=soon", "has timeout=soon"),
        ("http://host::batch=0", "has batch=0"),
        ("http://host::token_env=NOT_SET_HERE", "the environment variable NOT_SET_HERE is not set"),
    ],
)
def test_what_cannot_be_meant_is_told_without_secrets(text, message, tiny):
    with pytest.raises(GateError) as told:
        source_of(text, tiny)
    assert message in str(told.value)
    assert "pass@" not in str(told.value)
    assert "=pass" not in str(told.value)


# What a server answers with once it has been found, and what is told of it.
ANSWERS = {
    "too few vectors": (lambda body: {"data": body["data"][1:]}, "39 vectors for 40 texts"),
    "an index twice": (lambda body: _changed(body, 3, index=2), "an index that is wrong or there twice: 2"),
    "no index": (lambda body: {"data": [{"embedding": [1.0]}] * 40}, "another form than openai's (KeyError: 'index')"),
    "null": (lambda body: _changed(body, 3, embedding=[None] * DIM), "a vector that holds null, as JSON has NaN"),
    "NaN": (lambda body: _changed(body, 3, embedding=[float("nan")] * DIM), "holds NaN, infinity or numbers beyond"),
    "beyond float32": (
        lambda body: _changed(body, 3, embedding=[1e300] * DIM),
        "holds NaN, infinity or numbers beyond",
    ),
    "words": (lambda body: _changed(body, 3, embedding=["one"] * DIM), "in the place of a vector (list of <U3 [8])"),
    "another width": (lambda body: _changed(body, 3, embedding=[0.5] * 5), "5 dimensions in the place of 8"),
    "ragged": (lambda body: _changed(body, 3, embedding=[[1.0], [1.0, 2.0]]), "several lengths in the place of"),
    "no base64": (lambda body: _changed(body, 3, embedding="?"), "no base64"),
    "no data": (lambda body: {"error": "no"}, """of another form than openai's (KeyError: 'data'): {"error": "no"}"""),
    "a page": (lambda body: b"<html>welcome</html>", "no JSON: <html>welcome</html>"),
}


def _changed(body: dict, place: int, **values: object) -> dict:
    rows = body["data"]
    return {"data": [*rows[:place], {**rows[place], **values}, *rows[place + 1 :]]}


@pytest.mark.parametrize("fault", ANSWERS)
def test_an_answer_that_is_no_vector_for_each_text_is_told(fault, served, tiny):
    tamper, message = ANSWERS[fault]
    encoder = built(served, tiny, batch=40)
    served.tamper = tamper
    with pytest.raises(EncodeError) as told:
        encoder.encode(TEXTS, batch_size=40)
    assert message in str(told.value)
    assert f"POST {served.url}/v1/embeddings" in str(told.value)
    assert "\n" not in str(told.value)


def test_vectors_are_put_in_the_order_of_their_index(served, tiny):
    served.tamper = lambda body: {"data": body["data"][::-1]}
    np.testing.assert_allclose(built(served, tiny).encode(TEXTS), stored(TEXTS), atol=1e-7)


@pytest.mark.parametrize(("api", "most"), [("openai", 5), ("tei", 16)])
def test_a_limit_of_texts_in_a_request_is_found_and_kept(api, most, tiny):
    def refuse(texts, body):
        return Reply({"error": "too many"}, 413) if len(texts) > most else None

    with serving(Served(api=api, refuse=refuse)) as served:
        encoder = built(served, tiny)
        for _ in range(2):
            np.testing.assert_allclose(encoder.encode(TEXTS), stored(TEXTS), atol=1e-7)
        served.asked.clear()
        encoder.encode(TEXTS)
    assert max(map(len, served.asked)) <= most
    assert encoder.evidence().details["texts in a request"] <= most


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_text_that_is_refused_is_named(status, served, tiny):
    encoder = built(served, tiny)
    served.refuse = lambda texts, body: Reply({"error": {"message": "oops"}}, status) if TEXTS[17] in texts else None
    with pytest.raises(EncodeError, match=rf"answered {status}: oops; the text was 'text number 17'"):
        encoder.encode(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS[:17]), stored(TEXTS[:17]), atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "keys", "message"),
    [
        ({"token": TOKEN}, {}, "answered 401: wrong key: nothing; name the environment variable"),
        ({"token": TOKEN}, {"token_env": "WRONG"}, "answered 401: wrong key: Bearer ***; correct the token"),
        ({}, {"model": "other"}, "The model `other` does not exist.; it serves tiny: say which by ::model=NAME"),
        ({}, {"api": "tei"}, "has no route of embeddings (tried /embed)"),
        ({"api": "kserve"}, {"api": "kserve"}, "needs the model's name"),
        ({"api": "kserve"}, {"api": "kserve", "model": "other"}, "describes no model that is known"),
        ({"extra": {"/v1/models": {"data": [{"id": "a"}, {"id": "b"}]}}}, {}, "serves a, b; say which is this one"),
        ({"embed": lambda texts: np.ones((len(texts), 5))}, {}, "gives 5 dimensions, and tiny has 8"),
        (
            {"refuse": lambda texts, body: Reply("", 307, {"Location": "http://x/y?k=v"})},
            {},
            "redirects to http://x/y,",
        ),
        ({"wait": 3.0}, {"timeout": 0.2}, "was not answered within 0.2 seconds"),
        ({"drip": 0.1}, {"timeout": 0.3}, "was not answered within 0.3 seconds"),
        ({"refuse": lambda texts, body: Reply(None, None)}, {}, "in 4 tries (RemoteProtocolError"),
    ],
)
def test_a_server_that_cannot_be_gated_is_told_in_one_line(settings, keys, message, tiny, monkeypatch):
    monkeypatch.setenv("WRONG", "another-secret")
    with serving(Served(**settings)) as served, pytest.raises(GateError) as told:
        built(served, tiny, **keys)
    assert message in str(told.value)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_server_that_has_gone_is_told_in_one_line(tiny):
    with serving(Served()) as served:
        encoder = built(served, tiny)
    with pytest.raises(ResourceError, match=r"in 4 tries \((ConnectError|ReadError|RemoteProtocolError)") as told:
        encoder.encode(["a"])
    assert "\n" not in str(told.value)
    with pytest.raises(
        ResourceError, match=r"no answer to GET http://127.0.0.1:\d+/v1/models in 4 tries \(ConnectError"
    ):
        built(served, tiny)


def test_a_server_that_went_away_is_not_waited_for_again(served, tiny):
    source = source_of(served.url, tiny)
    encoder = source.build(tiny, None)
    served.refuse = lambda texts, body: Reply(b"", 502)
    with pytest.raises(ResourceError, match="answered 502") as first:
        encoder.encode(["a"])
    before = len(served.sent)
    with pytest.raises(ResourceError) as again:
        source.build(tiny, None)
    assert str(again.value) == str(first.value)
    assert len(served.sent) == before


def test_a_token_that_a_server_repeats_is_not_shown(tiny, monkeypatch):
    monkeypatch.setenv("MINE", TOKEN)
    repeats = Served(token=TOKEN, tamper=lambda body: f"you sent {TOKEN}".encode())
    with serving(repeats), pytest.raises(EncodeError, match=r"with no JSON: you sent \*\*\*;"):
        built(repeats, tiny, token_env="MINE")


def test_a_token_is_sent_and_never_shown(tiny, monkeypatch, caplog):
    monkeypatch.setenv("MINE", TOKEN)
    caplog.set_level("DEBUG")
    with serving(Served(token=TOKEN)) as served:
        source = source_of(f"{served.url}::token_env=MINE", tiny)
        encoder = source.build(tiny, None)
        np.testing.assert_allclose(encoder.encode(TEXTS), stored(TEXTS), atol=1e-7)
        shown = [repr(vars(each)) for each in (source, encoder)] + [str(encoder.evidence()), caplog.text]
    assert not any(TOKEN in each for each in shown)


@pytest.mark.parametrize(("status", "tries"), [(429, 3), (503, 3), (None, 3), (500, 1)])
def test_what_another_try_may_mend_is_tried_again(status, tries, served):
    left = [2]

    def refuse(texts, body):
        left[0] -= 1
        return Reply({"error": "busy"}, status, {"Retry-After": "60"}) if left[0] >= 0 else None

    served.refuse = refuse
    pauses: list[float] = []
    client = Client(Address.parse(served.url), 5, pause=pauses.append)
    answer = client.post("/v1/embeddings", {"model": NAME, "input": ["a"]})
    assert answer.status == (200 if tries == 3 else 500)
    assert len(served.asked) == tries
    assert pauses == ([5.0, 5.0] if status in (429, 503) else [0.1, 0.4] if status is None else [])


def test_a_connection_that_is_dropped_between_requests_is_opened_again(served, tiny):
    encoder = built(served, tiny)
    turns = iter(range(1000))
    served.refuse = lambda texts, body: Reply(None, None) if next(turns) % 2 else None
    np.testing.assert_allclose(encoder.encode(TEXTS, batch_size=4), stored(TEXTS), atol=1e-7)


def test_prompts_are_put_in_front_unless_the_server_does_it(served, tiny):
    role = Role("query", "query: ")
    np.testing.assert_allclose(built(served, tiny).encode_as(role, ["a"]), stored(["query: a"]), atol=1e-7)
    own = built(served, tiny, prompts="server")
    np.testing.assert_allclose(own.encode_as(role, ["a"]), stored(["a"]), atol=1e-7)
    assert own.evidence().details["prompts"] == "added by the server"


def test_a_type_that_contradicts_the_promise_is_told(tiny):
    info = {"model_dtype": "float16", "version": "1", "max_client_batch_size": 16}
    with serving(Served(extra={"/info": info})) as served:
        (problem,) = built(served, tiny, promise="fp32").evidence().problems
        assert problem == "named fp32, but the server says that it computes in fp16"
        assert built(served, tiny, promise="fp16").evidence().problems == ()


def test_an_answer_of_no_vectors_is_told_of_kserve(tiny):
    with serving(Served(api="kserve")) as served:
        encoder = built(served, tiny, model=NAME)
        served.tamper = lambda body: {"outputs": [{**body["outputs"][0], "shape": [0, DIM], "data": []}]}
        with pytest.raises(EncodeError, match=r"JSON of another form than kserve's \(ValueError: no vectors\)"):
            encoder.encode(["a"])


def test_a_compression_that_cannot_be_read_is_told(served, tiny):
    encoder = built(served, tiny)
    served.refuse = lambda texts, body: Reply(b"no gzip", 200, {"Content-Encoding": "gzip"})
    with pytest.raises(ResourceError, match=r"/v1/embeddings answered in a compression that cannot be read: .*; see"):
        encoder.encode(["a"])


@pytest.mark.parametrize("status", [429, 503, None])
@pytest.mark.parametrize("api", ["openai", "tei", "ollama"])
def test_what_a_server_does_not_say_of_itself_is_not_needed(status, api, tiny):
    """One that gives embeddings was an error, since `GET /info` was not answered."""
    silent = dict.fromkeys(("/info", "/version", "/api/version", "/v2", "/"), Reply("", status, {"Retry-After": "60"}))
    with serving(Served(api=api, extra=silent)) as served:
        encoder = built(served, tiny)
        np.testing.assert_allclose(encoder.encode(TEXTS), stored(TEXTS), atol=1e-7)
    assert encoder.evidence().library == ("tests" if api == "openai" else "unknown server")


def test_a_refusal_is_told_where_models_cannot_be_listed(tiny):
    refuses = Served(refuse=lambda texts, body: Reply({"error": "out of order"}, 400))
    refuses.extra["/api/tags"] = Reply(None, None)
    with serving(refuses), pytest.raises(GateError, match=r"answered 400: out of order; see the server's log"):
        built(refuses, tiny, model=NAME)


# Faults that show under load alone, and the variation that sees each.
LOADED = {
    "sound": (lambda: stored, None),
    "sound, together": (lambda: Together(stored), None),
    "mixed up": (lambda: Together(stored, mixed_up), "concurrency"),
    "pooled otherwise together": (lambda: Together(stored, mispooled_together), "concurrency"),
    "pooled otherwise": (lambda: mispooled, "batch_size"),
}


@pytest.mark.parametrize("fault", LOADED)
@pytest.mark.parametrize("variation", ["concurrency", "batch_size"])
def test_faults_under_load_are_seen(fault, variation, tiny, monkeypatch):
    monkeypatch.setattr("embedgate.properties.explore.SMALLER", 2)  # a smaller example is looked for more briefly
    make, seen_by = LOADED[fault]
    with serving(Served(embed=make())) as served:
        encoder = built(served, tiny)
        outcome = look_into(Subject(encoder, lambda: encoder, None), variation, Stability(1e-5), QUICK, seed=0)
    if seen_by != variation:
        assert outcome.violation is None, outcome.violation.message
    else:
        assert outcome.violation is not None
        assert outcome.violation.layer == ("order" if fault == "mixed up" else "unknown")


def test_a_text_that_ends_the_connection_is_named_and_others_are_answered(served, tiny):
    encoder = built(served, tiny)
    served.refuse = lambda texts, body: Reply("", None) if "poison" in texts else None
    with pytest.raises(EncodeError, match=r"and it answers others; the text was 'poison'; see the server's log"):
        encoder.encode(["one", "two", "poison", "three"])
    np.testing.assert_allclose(encoder.encode(["one"]), stored(["one"]), atol=1e-6)


def test_what_a_server_says_of_its_memory_is_not_this_process_own(served, tiny):
    served.tamper = lambda body: {"error": {"message": "CUDA out of memory"}}
    with pytest.raises(EncodeError, match=r"answered with JSON of another form .*CUDA out of memory") as raised:
        built(served, tiny)
    assert resources.told(raised.value.anew(), Combination("tiny", "served", "cpu"), "building") is None


def test_a_server_that_takes_no_more_is_told_so(served, tiny):
    encoder = built(served, tiny)
    served.refuse = lambda texts, body: Reply({"error": "slow down"}, 429)
    with pytest.raises(ResourceError, match=r"in 4 tries \(429: .*slow down.*\); it takes no more requests for now"):
        encoder.encode(["one"])
