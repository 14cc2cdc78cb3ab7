"""A server that means harm, or stands where one does: what it answers costs its own verdict alone, and shows no token."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from helpers.served import DIM, NAME, TOKEN, Reply, Served, serving, stored

from embedgate.core.errors import EncodeError, GateError, ResourceError
from embedgate.deployed import source_of
from embedgate.deployed.server import client

ELSEWHERE = (
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:1/v1/embeddings",
    "file:///etc/passwd",
    "https://evil.example/v1/embeddings?to=you",
    "//evil.example/v1/embeddings",
    "/v1/other",
)


def built(served: Served, gated, /, **keys: object):
    given = ",".join(f"{key}={value}" for key, value in {"timeout": 20, **keys}.items())
    return source_of(f"{served.url}::{given}", gated).build(gated, None)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_redirect_is_not_followed_and_no_token_goes_along(status, place, tiny, monkeypatch):
    monkeypatch.setenv("MINE", TOKEN)
    refuses = Served(token=TOKEN, refuse=lambda texts, body: Reply("", status, {"Location": place}))
    with serving(refuses) as served, pytest.raises(ResourceError) as told:
        built(served, tiny, token_env="MINE")
    assert f"redirects to {place.partition('?')[0]}, and redirects are not followed; give that URL" in str(told.value)
    assert TOKEN not in str(told.value)


def test_a_token_goes_to_no_other_server(tiny, monkeypatch):
    """Neither by what embeddings are asked of nor by what a server is asked about itself."""
    monkeypatch.setenv("MINE", TOKEN)
    with serving(Served()) as other:
        to_other = dict.fromkeys(
            ("/info", "/version", "/api/version", "/v2", "/"), Reply("", 302, {"Location": f"{other.url}/info"})
        )
        with serving(Served(token=TOKEN, extra=to_other)) as served:
            built(served, tiny, token_env="MINE").encode(["a text"])
        assert other.sent == []
    assert all(headers["Authorization"] == f"Bearer {TOKEN}" for _, headers in served.sent)


def test_a_login_in_the_address_of_a_redirect_is_not_shown(tiny):
    refuses = Served(refuse=lambda texts, body: Reply("", 307, {"Location": "https://me:s3cret@host/v1?key=s3cret"}))
    with serving(refuses) as served, pytest.raises(ResourceError) as told:
        built(served, tiny)
    assert "redirects to https://host/v1," in str(told.value)
    assert "s3cret" not in str(told.value)


class TestBombs:
    """Answers that would fill memory."""

    @pytest.fixture(autouse=True)
    def smaller(self, monkeypatch):
        monkeypatch.setattr(client, "LARGEST", 1 << 22)

    @pytest.mark.parametrize(("packing", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("", bytes)])
    def test_an_answer_ends_where_it_is_too_large(self, packing, pack, served, tiny):
        encoder = built(served, tiny)
        bomb, headers = pack(bytes(1 << 26)), {"Content-Encoding": packing} if packing else {}
        served.refuse = lambda texts, body: Reply(bomb, 200, headers)
        tracemalloc.start()
        try:
            with pytest.raises(ResourceError, match=r"/v1/embeddings answered with more than 4 MiB; .*::batch=N"):
                encoder.encode(["a text"])
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert most < (1 << 26) * (3 if packing else 1)  # one part of 64 KiB unpacks to as much

    @pytest.mark.parametrize("packing", ["gzip, gzip", "deflate,gzip", "zstd", "br", "GZIP, identity"])
    def test_packed_twice_or_otherwise_than_asked_for_is_not_unpacked(self, packing, served, tiny):
        encoder = built(served, tiny)
        bomb = gzip.compress(gzip.compress(bytes(1 << 24)))
        served.refuse = lambda texts, body: Reply(bomb, 200, {"Content-Encoding": packing})
        message = "in a compression that cannot be read: packed by .*, and asked for gzip or deflate; see the server"
        with pytest.raises(ResourceError, match=message):
            encoder.encode(["a text"])

    def test_what_is_packed_as_asked_for_is_read(self, served, tiny):
        encoder = built(served, tiny)
        assert {headers["Accept-Encoding"] for _, headers in served.sent} == {"gzip, deflate"}
        rows = [{"index": 0, "embedding": stored(["a text"])[0].tolist()}]
        body = gzip.compress(json.dumps({"data": rows}).encode())
        served.refuse = lambda texts, asked: Reply(body, 200, {"Content-Encoding": "gzip"})
        assert encoder.encode(["a text"]).shape == (1, DIM)

    @pytest.mark.parametrize(
        "body",
        [b"[" * 100_000, b'{"data":' * 100_000, b'{"data": [{"index": 0, "embedding": [' + b"9" * 5000 + b"]}]}"],
        ids=["arrays", "objects", "digits"],
    )
    def test_json_that_nests_or_counts_without_end_is_told(self, body, served, tiny):
        encoder = built(served, tiny)
        served.refuse = lambda texts, asked: Reply(body, 200)
        with pytest.raises(EncodeError, match=r"answered with .*") as told:
            encoder.encode(["a text"])
        assert "\n" not in str(told.value)

    @pytest.mark.parametrize("body", [b"[" * 100_000, b'{"error":' * 100_000])
    def test_so_is_a_refusal(self, body, served, tiny):
        encoder = built(served, tiny)
        served.refuse = lambda texts, asked: Reply(body, 400)
        with pytest.raises(EncodeError, match="answered 400") as told:
            encoder.encode(["a text"])
        assert len(str(told.value)) < 1000


def test_a_proxy_of_the_environment_sees_nothing_of_a_local_server(served, tiny, monkeypatch):
    """What is sent to this machine leaves it by no proxy."""
    with serving(Served()) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        built(served, tiny).encode(["a text"])
        assert proxy.sent == []


def test_names_that_a_server_gives_are_no_markup_and_no_lines(tiny):
    hostile = "a\x1b[31m\n[/]<script>"
    models = {"/v1/models": {"data": [{"id": NAME, "owned_by": hostile}, {"id": hostile}]}}
    with serving(Served(extra=models)) as served, pytest.raises(GateError) as told:
        built(served, tiny)
    assert "\x1b" not in str(told.value)
    assert "\n" not in str(told.value)
