"""Texts beyond the model's limit at a server: found out, told, and judged as declared."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.faults import load
from helpers.served import Reply, Served, serving

from embedgate.core.roles import Role
from embedgate.deployed import source_of
from embedgate.encoders.lengths import of_length
from embedgate.encoders.onnx.tokenizer import Tokenizer
from embedgate.properties.contract import CANARIES, Contract


@pytest.fixture(scope="module")
def tokenizer(small):
    return Tokenizer(small)


@pytest.fixture(scope="module")
def embed(small):
    model = load(small.path)
    return lambda texts: model.encode(list(texts))


@pytest.fixture
def gate(small, embed):
    """Serves the small model, refusing what a test says, and gives the candidate's encoder."""
    running = []

    def gated(refuse=lambda texts, body: None, declared=""):
        context = serving(Served(embed, refuse=refuse))
        running.append(context)
        url = context.__enter__().url
        return source_of(f"{url}::long={declared}" if declared else url, small).build(small, None)

    yield gated
    for context in running:
        context.__exit__(None, None, None)


@pytest.fixture
def refuses(tokenizer):
    """Refuses texts beyond the model's limit."""

    def refuse(texts, body):
        if any(tokenizer.cut(text, tokenizer.max_tokens) != text for text in texts):
            return Reply({"error": {"message": "maximum context length is 128 tokens"}}, 400)
        return None

    return refuse


@pytest.fixture
def refuses_unless_asked(refuses):
    """As vLLM does."""
    return lambda texts, body: None if body.get("truncate_prompt_tokens") == -1 else refuses(texts, body)


def told(encoder) -> str:
    return encoder.evidence().details["long texts"]


def sound(encoder, embed, text: str) -> None:
    """The canary's verdict, and the reference's embedding."""
    outcome = Contract(encoder.encode, embed, 384, unit_norm=True, move=1e-3).holds_for(text)
    assert outcome.violation is None, outcome.violation.message
    np.testing.assert_allclose(encoder.encode([text]), embed([text]), atol=1e-5)


@pytest.mark.parametrize("declared", ["", "cut"])
def test_a_server_that_cuts_is_sent_whole_texts(gate, embed, tokenizer, declared):
    encoder = gate(declared=declared)
    assert told(encoder) == "cut"
    assert encoder.evidence().problems == ()
    sound(encoder, embed, of_length(tokenizer, 1))


@pytest.mark.parametrize("declared", ["", "refuse"])
@pytest.mark.parametrize("canary", ["above_limit", "huge"])
def test_a_server_that_refuses_is_sent_what_the_model_reads(gate, embed, tokenizer, refuses, canary, declared):
    encoder = gate(refuses, declared)
    assert told(encoder) == (
        "refused (400: maximum context length is 128 tokens); cut to 128 tokens by embedgate before they are sent"
    )
    assert encoder.evidence().problems == ()
    sound(encoder, embed, CANARIES[canary](tokenizer))


@pytest.mark.parametrize("declared", ["", "cut"])
def test_a_server_that_cuts_where_it_is_asked_is_asked(gate, embed, tokenizer, refuses_unless_asked, declared):
    encoder = gate(refuses_unless_asked, declared)
    assert told(encoder) == "cut, as every request asks (truncate_prompt_tokens=-1)"
    assert encoder.evidence().problems == ()
    sound(encoder, embed, of_length(tokenizer, 1))


def test_it_is_not_asked_where_it_is_declared_to_refuse(gate, refuses_unless_asked):
    assert told(gate(refuses_unless_asked, "refuse")).startswith("refused (400")


def test_a_declaration_that_the_server_does_not_keep_is_a_problem(gate, refuses):
    (problem,) = gate(refuses, "cut").evidence().problems
    assert problem == (
        "declared to cut texts beyond the model's limit (long=cut), and refuses them "
        "(400: maximum context length is 128 tokens)"
    )
    (problem,) = gate(declared="refuse").evidence().problems
    assert problem == "declared to refuse texts beyond the model's limit (long=refuse), and takes them"


def test_texts_that_are_refused_from_a_greater_length_on_are_cut_to_what_is_taken(gate, embed, tokenizer):
    def refuse(texts, body):
        return Reply({"error": "too large"}, 413) if max(map(len, texts)) > 5000 else None

    encoder = gate(refuse)
    assert told(encoder).startswith("refused from some length above 256 tokens (413: too large); cut to 256 tokens")
    sound(encoder, embed, CANARIES["huge"](tokenizer))


def test_a_prompt_that_the_server_adds_leaves_its_room(gate, tokenizer, refuses, small):
    prompt = "one two three four: "
    seen = []

    def refuse(texts, body):
        seen.extend(texts)
        return refuses([prompt + text for text in texts], body)

    context = serving(Served(lambda texts: np.eye(384)[: len(texts)], refuse=refuse))
    with context as served:
        encoder = source_of(f"{served.url}::prompts=server,long=refuse", small).build(small, None)
        encoder.encode_as(Role("query", prompt), [of_length(tokenizer, 50)])
    assert len(tokenizer.ids([prompt + seen[-1]])[0]) == tokenizer.max_tokens


@pytest.mark.parametrize("most", [3, 7, 20])
@pytest.mark.parametrize(
    "text", ["an unbelievable antidisestablishmentarianism of it", "Zürich, Ærø 👍🏽 ﬁne", "a", ""]
)
def test_a_text_is_cut_to_so_many_tokens_at_most(tokenizer, text, most):
    cut = tokenizer.cut(text, most)
    assert text.startswith(cut)
    whole = tokenizer.ids([text])[0]
    assert len(tokenizer.ids([cut])[0]) <= most
    if len(whole) <= most:
        assert cut == text
    elif most > 3:
        assert len(tokenizer.ids([cut])[0]) > most // 2
