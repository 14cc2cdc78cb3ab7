"""Stamps: what embeds queries as the index was made fits; another model, prompt, order or length is named."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import stub_devices

from embedgate.command import main
from embedgate.core.errors import GateError
from embedgate.stamp import CANARIES, Canary, Stamp, check, read, write

DIM = 16


def row(text: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
    found = np.random.default_rng(seed).standard_normal(DIM)
    return (found / np.linalg.norm(found)).astype(np.float32)


PROMPTS = {"query": "query: ", "document": "passage: "}


def embed(texts, role):
    return np.stack([row(PROMPTS[role] + text) for text in texts])


@pytest.fixture
def stamp() -> Stamp:
    canaries = [
        Canary(text, role, vector)
        for role, texts in CANARIES.items()
        for text, vector in zip(texts, embed(texts, role), strict=True)
    ]
    return Stamp(
        "e5", "acme/e5@1", "a" * 64, "torch-fp32-cpu", "cosine", DIM, True, "float32", PROMPTS, 0.99, tuple(canaries)
    )


def test_what_made_the_index_fits(stamp):
    found = check(stamp, embed)
    assert found.fits
    assert min(found.cosines) == pytest.approx(1)
    assert len(found.cosines) == sum(map(len, CANARIES.values())) == 12
    found.require()


def test_a_little_less_precise_fits(stamp):
    assert check(stamp, lambda texts, role: embed(texts, role) + 0.01 * row("noise")).fits


def test_lists_are_vectors_too(stamp):
    assert check(stamp, lambda texts, role: embed(texts, role).tolist()).fits


@pytest.mark.parametrize(
    ("faulty", "told"),
    [
        (
            lambda texts, role: np.stack([row(text) for text in texts]),
            "12 texts of 12 are embedded otherwise than in the index of e5: the least cosine is",
        ),
        (
            lambda texts, role: np.stack([row(text) for text in texts]) if role == "query" else embed(texts, role),
            "texts as a query are embedded otherwise, others alike",
        ),
        (lambda texts, role: embed(texts, role)[:, :8], "vectors have 8 dimensions, the index's have 16"),
        (lambda texts, role: 2 * embed(texts, role), "vectors have lengths of 2 to 2, the index's have 1"),
        (
            lambda texts, role: np.roll(embed(texts, role), 1, axis=0),
            "12 texts got the vector of another text: answers are mixed up",
        ),
        (lambda texts, role: np.nan * embed(texts, role), "a vector holds NaN or infinity"),
        (lambda texts, role: embed(texts, role)[0], "6 texts gave an array of shape [16]"),
        (lambda texts, role: [[1.0], [1.0, 2.0]], "6 texts gave no array of numbers: "),
        (lambda texts, role: embed(texts, role)[:-1], "6 texts gave an array of shape [5, 16]"),
    ],
)
def test_what_does_not_is_named(stamp, faulty, told):
    found = check(stamp, faulty)
    assert not found.fits
    assert found.problems[0].startswith(told)
    with pytest.raises(GateError, match="embed queries by what made the index, or embed the index anew"):
        found.require()


def test_the_prompt_that_was_missed_is_told(stamp):
    found = check(stamp, lambda texts, role: embed(texts, "query"))
    assert "prompts of the index: document 'passage: '" in found.problems[0]


def test_lengths_count_where_dot_products_compare(stamp):
    dot = replace(stamp, similarity="dot", normalised=False)
    assert check(dot, embed).fits
    assert "0.5 to 0.5 times the lengths" in check(dot, lambda texts, role: 0.5 * embed(texts, role)).problems[0]
    cosine = replace(stamp, normalised=False)
    assert check(cosine, lambda texts, role: 0.5 * embed(texts, role)).fits


def test_it_comes_back_as_it_was_written(stamp, tmp_path):
    file = tmp_path / "index.stamp.json"
    write(stamp, file)
    again = read(file)
    assert replace(again, canaries=()) == replace(stamp, canaries=())
    for mine, theirs in zip(again.canaries, stamp.canaries, strict=True):
        assert (mine.text, mine.role) == (theirs.text, theirs.role)
        assert (mine.vector == theirs.vector).all()
    assert check(file, embed).fits


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda form: form.update(dim=8), "its checksum is wrong"),
        (lambda form: form["canaries"][0].update(vector="AAAA"), "its checksum is wrong"),
        (lambda form: form["canaries"][0].update(vector="?"), "its checksum is wrong"),
        (lambda form: form.update(schema=2), "was written by a newer embedgate"),
        (lambda form: form.pop("prompts"), "prompts is missing"),
        (lambda form: form.update(more=1), "unknown key more"),
    ],
)
def test_one_that_was_edited_is_refused(stamp, tmp_path, change, told):
    file = tmp_path / "index.stamp.json"
    write(stamp, file)
    form = json.loads(file.read_text("utf-8"))
    change(form)
    file.write_text(json.dumps(form), "utf-8")
    with pytest.raises(GateError, match=told):
        read(file)


def test_one_that_is_missing_is_told(tmp_path):
    with pytest.raises(GateError, match=r"there is no stamp at .*embedgate stamp"):
        check(tmp_path / "index.stamp.json", embed)


def test_ten_lines_without_embedgate_check_it(stamp, tmp_path):
    """As docs/stamps.md has them."""
    file = tmp_path / "index.stamp.json"
    write(stamp, file)

    def holds(one) -> None:
        for canary in json.loads(file.read_text("utf-8"))["canaries"]:
            kept = np.frombuffer(base64.b64decode(canary["vector"]), "<f4")
            mine = np.asarray(one(canary["text"], canary["role"]), np.float32)
            assert mine.shape == kept.shape
            assert mine @ kept / np.linalg.norm(mine) / np.linalg.norm(kept) >= 0.99

    holds(lambda text, role: embed([text], role)[0])
    with pytest.raises(AssertionError):
        holds(lambda text, role: row(text))


class TestCommand:
    @pytest.fixture(autouse=True)
    def stubs(self, monkeypatch, cache, project):
        stub_devices.install(monkeypatch, gpu=None)
        monkeypatch.setenv("EMBEDGATE_CACHE", str(cache))
        monkeypatch.chdir(project.path)

    def test_it_stamps_an_index_of_a_model(self, model, project, capsys):
        assert main(["stamp", "--model", str(model.path), "--embedding-precision", "int8"]) == 0
        assert "wrote index.stamp.json: 12 texts by torch-fp32-cpu of " in capsys.readouterr().out
        stamp = read(project.path / "index.stamp.json")
        assert (stamp.fingerprint, stamp.embedding_precision) == (model.fingerprint, "int8")
        assert (stamp.dim, stamp.similarity, stamp.normalised) == (384, "cosine", True)
        encoder = stub_devices.Stub(None)
        encoder.combination = type("Reference", (), {"is_reference": True})
        assert check(stamp, lambda texts, role: encoder.encode(texts)).fits

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--least-cosine", "1.5"), "--least-cosine must be above 0 and at most 1, not 1.5"),
            (("--combination", "acme-int8-cpu"), "there is no combination 'acme-int8-cpu'"),
            (("--combination", "torch-bf16-cpu", "--candidate", "x"), "--combination and --candidate were both given"),
            (("--combination", "torch-*"), "there is no combination 'torch-*'"),
            (("--model", "none"), "a stamp names the model, and none was given"),
            (("--prompt", "query"), "--prompt"),
            (("--model", "nowhere"), "no model folder at 'nowhere'"),
        ],
    )
    def test_what_means_nothing_is_told_in_one_line(self, options, told, capsys):
        assert main(["stamp", *options]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("embedgate stamp: ")
        assert told in line


def test_checking_imports_no_torch():
    code = "import sys, embedgate.stamp; assert not {'torch', 'sentence_transformers', 'pytest'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
