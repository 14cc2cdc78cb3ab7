"""Whatever is wrong with a file is the reader's own error, in one line that names it; and a file is written whole."""

from __future__ import annotations

import io
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from helpers.paths import ROOT
from safetensors.numpy import save

from embedgate.approved.examples import load_pinned
from embedgate.approved.expected_failures import Expectations
from embedgate.approved.form import read
from embedgate.approved.golden import GoldenStore
from embedgate.approved.ranges import RangesStore
from embedgate.approved.tolerances import Tolerances
from embedgate.checks import CheckRegistry
from embedgate.core import files
from embedgate.core.cache import ArtefactCache
from embedgate.core.errors import BaselineError, BuildError, DataError, GateError
from embedgate.core.files import read_json, read_jsonl, read_toml, refuse_no_folder, to_json, write_whole
from embedgate.core.machine import profile
from embedgate.core.model import Model
from embedgate.core.plain import finite
from embedgate.report import receipt, summary
from embedgate.report.summary import Summary
from embedgate.vectors.codes import Ranges

MODEL = Model(Path("somewhere"), "MiniLM", "acme/MiniLM@1", "a" * 64)
DEEP = "[" * 2000
BASELINE = ROOT / "baselines/cpu/all-MiniLM-L6-v2.json"
TOLERANCES = ROOT / "baselines/tolerances.toml"
APPROVAL = {"when": "2026-01-01T00:00:00Z", "who": "Ada", "reason": "first", "libraries": {}}


class Sized(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    size: float = 0.0


def told(error: type[GateError], read_it: Any, *names: object) -> str:
    """The message of a reader's own error, on one line that can be printed, with what it must name."""
    with pytest.raises(GateError) as caught:
        read_it()
    message = str(caught.value)
    assert type(caught.value) is error
    assert message.isprintable()
    for name in names:
        assert str(name) in message
    return message


# Any file


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", ":1:1 is no JSON: Expecting value"),
        (b'{"name": "a",\n "size": }', ":2:10 is no JSON: Expecting value"),
        (b"\xff", " cannot be read: 'utf-8' codec can't decode byte 0xff"),
        (b'\xef\xbb\xbf{"name": "a"}', ":1:1 is no JSON: Unexpected UTF-8 BOM"),
        (b'{"name": "\\ud800"}', " is corrupt: "),
        (b'{"name": "a\0"}', ":1:12 is no JSON: Invalid control character"),
        (DEEP.encode(), " is corrupt: it is nested too deeply"),
        (b'{"name": "a", "size": NaN}', " is corrupt: it holds NaN, which is no number"),
        (b'{"name": "a", "size": -Infinity}', " is corrupt: it holds -Infinity, which is no number"),
        (b'{"name": "a", "size": 1e999}', " is corrupt: size: number out of range"),
        (b'{"name": "a", "size": ' + b"9" * 5000 + b"}", " is corrupt: size: number out of range"),
        (b'{"name": "a", "name": "b"}', " is corrupt: 'name' stands twice in one object"),
        (b'{"name": 3}', " is corrupt: name: expected `str`, got `int`"),
        (b'{"name": "a", "siez": 3}', " is corrupt: unknown key siez; did you mean size?"),
        (b'{"name": "a", "s\\u001b\\n": 3}', " is corrupt: unknown key "),
        (b"{}", " is corrupt: name is missing; set it"),
        (b"[]", " is corrupt: expected `object`, got `array`"),
    ],
)
def test_json_of_another_form_is_told_with_its_place(tmp_path: Path, content: bytes, cause: str) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    assert told(DataError, lambda: read_json(file, Sized, DataError)).startswith(f"{file}{cause}")


def test_a_file_that_is_missing_is_none_and_a_folder_an_error(tmp_path: Path) -> None:
    for reader in (read_json, read_jsonl, read_toml):
        assert reader(tmp_path / "none", Sized, DataError) is None
        told(DataError, lambda reader=reader: reader(tmp_path, Sized, DataError), f"{tmp_path} cannot be read: it is a")
        told(DataError, lambda reader=reader: reader(Path("a\0b"), Sized, DataError), "cannot be read")


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    told(DataError, lambda: read_json(tmp_path / "a", Sized, DataError), "cannot be read")


def test_a_file_that_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_BYTES", 2**20)
    (tmp_path / "a").write_bytes(b" " * (2**20 + 1))
    told(DataError, lambda: read_json(tmp_path / "a", Sized, DataError), "it has more than 1 MiB")


def test_a_newer_schema_is_told_whatever_else_is_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"schema": 8, "other": []}')
    message = told(DataError, lambda: read_json(file, Sized, DataError, "restore it", newest=7))
    assert message == f"{file} was written by a newer embedgate (schema 8, this one reads 7); upgrade embedgate"


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_what_people_write_may_have_a_bom_and_any_ends_of_lines(tmp_path: Path, ends: str) -> None:
    (tmp_path / "a.toml").write_bytes(f"\ufeffname = 'a'{ends}size = 2{ends}".encode())
    (tmp_path / "a.jsonl").write_bytes(f'\ufeff{{"name": "a"}}{ends}{ends}{{"name": "\u2028"}}{ends}'.encode())
    assert read_toml(tmp_path / "a.toml", Sized, DataError) == Sized("a", 2.0)
    assert read_jsonl(tmp_path / "a.jsonl", Sized, DataError) == [Sized("a"), Sized("\u2028")]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("name = ", " is no TOML: Invalid value (at end of document)"),
        ("name = 'a'\nname = 'b'", " is no TOML: Cannot overwrite a value"),
        ("size = 1979-99-99", " is no TOML: "),
        ("name = 'a\0'", " is no TOML: "),
        ("size = " + "9" * 5000, " is no TOML: it holds a number that is too long"),
        ("a = " + DEEP, " is no TOML: it is nested too deeply"),
        ("a = " + "{a = " * 2000, " is no TOML: it is nested too deeply"),
        ("a" + ".a" * 5000 + " = 1", ": unknown key a; choose from name, size"),
        ("[a" + ".a" * 5000 + "]", ": unknown key a; choose from name, size"),
        ("name = 07:32:00", ": name: expected `str`, got `time`"),
        ("name = 'a'\nsize = " + "9" * 400, ": size: number out of range"),
    ],
)
def test_toml_of_another_form_is_told_with_its_place(tmp_path: Path, text: str, cause: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    assert told(DataError, lambda: read_toml(file, Sized, DataError)).startswith(f"{file}{cause}")


# Each reader


def safetensors(head: object, **tensors: np.ndarray) -> bytes:
    whole = {f"a-int8-cpu/{name}": np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return bytes(save(whole, {"embedgate": head if isinstance(head, str) else json.dumps(head)}))


def head(**changes: object) -> dict[str, object]:
    whole = {"schema": 1, "fingerprint": "a" * 64, "texts_sha256": "", "approvals": {"a-int8-cpu": APPROVAL}}
    return {**whole, **changes}


EMBEDDINGS = np.zeros((2, 4), np.float16)
BOTH, VECTORS = np.zeros((2, 4), np.float32), np.array([500])


@pytest.mark.parametrize(
    "content",
    [
        safetensors(DEEP),
        safetensors('{"schema": Infinity}'),
        safetensors("[]"),
        safetensors(head(schema="1")),
        safetensors(head(schema=0)),
        safetensors(head(fingerprint=None)),
        safetensors(head(approvals=[])),
        safetensors(head(approvals={"a-int8-cpu": {**APPROVAL, "who": 3}})),
        safetensors(head(approvals={"a-int8-cpu": {**APPROVAL, "libraries": []}})),
        safetensors(head(other=1)),
        safetensors(head()),
        safetensors(head(), embeddings=EMBEDDINGS[0]),
        safetensors(head(), embeddings=EMBEDDINGS[:0]),
        safetensors(head(), embeddings=EMBEDDINGS.astype(np.int8)),
        safetensors(head(), embeddings=EMBEDDINGS, hidden=EMBEDDINGS[0]),
        safetensors(head(), embeddings=EMBEDDINGS, hidden=EMBEDDINGS[:1]),
        safetensors(head(), embeddings=EMBEDDINGS, token_ids=np.arange(3)),
        safetensors(head(), embeddings=EMBEDDINGS, token_ids=np.arange(3), lengths=np.array([1.0, 2.0])),
        safetensors(head(), embeddings=EMBEDDINGS, token_ids=np.arange(3), lengths=np.array([[1, 2]])),
        safetensors(head(), embeddings=EMBEDDINGS, token_ids=np.arange(3), lengths=np.array([4, -1])),
        safetensors(head(), embeddings=EMBEDDINGS * np.nan),
        safetensors(head(), embeddings=EMBEDDINGS, other=EMBEDDINGS),
    ],
)
def test_golden_texts_of_another_form_are_refused(tmp_path: Path, content: bytes) -> None:
    store = GoldenStore(tmp_path)
    file = store.file("cpu", "MiniLM")
    write_whole(file, content)
    told(BaselineError, lambda: store.find(profile("cpu"), MODEL, "a-int8-cpu"), file)


@pytest.mark.parametrize(
    "content",
    [
        safetensors(DEEP),
        safetensors(head()),
        safetensors(head(), ranges=BOTH),
        safetensors(head(), ranges=BOTH[0], vectors=VECTORS),
        safetensors(head(), ranges=BOTH[:, :0], vectors=VECTORS),
        safetensors(head(), ranges=BOTH[:1], vectors=VECTORS),
        safetensors(head(), ranges=BOTH.astype(np.int64), vectors=VECTORS),
        safetensors(head(), ranges=BOTH, vectors=VECTORS[:0]),
        safetensors(head(), ranges=BOTH, vectors=np.array([[500]])),
        safetensors(head(), ranges=BOTH, vectors=-VECTORS),
        safetensors(head(), ranges=BOTH, vectors=np.array([np.inf])),
        safetensors(head(), ranges=BOTH, vectors=VECTORS, other=VECTORS),
    ],
)
def test_ranges_of_another_form_are_refused(tmp_path: Path, content: bytes) -> None:
    store = RangesStore(tmp_path)
    file = store.file("cpu", "MiniLM")
    write_whole(file, content)
    told(BaselineError, lambda: store.find(profile("cpu"), MODEL, "a-int8-cpu"), file)


def npy(header: str, rest: bytes = b"") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + rest


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, BOTH)
    return stream.getvalue()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        archive(),
        b"\x80\x04N.",
        npy("{"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1000000000000)}\n"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, " + "9" * 40 + ")}\n"),
        npy("{'descr': '<f4', 'fortran_order': False, b'shape': (2, 4)}\n"),
        npy("(" * 500),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)}\n", b"\0" * 31),
    ],
)
def test_a_file_that_holds_no_ranges_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ranges.npy"
    file.write_bytes(content)
    told(GateError, lambda: Ranges.load(file, 4), file, "save ranges [2, dim] by numpy.save")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"value": ', '"value": 1' + "0" * 400),
        ('"interval": [', '"interval": [1' + "0" * 400 + ", "),
        ('"n": ', '"n": 1' + "0" * 30),
        ('"metric": "', '"metric": "\\ud800'),
        ('"reason": "', '"reason": "\\ud800'),
        ("{", "\ufeff{"),
    ],
)
def test_a_baseline_with_what_no_baseline_has_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = BASELINE.read_text("utf-8")
    assert old in text
    file = tmp_path / "a.json"
    file.write_text(text.replace(old, new, 1), "utf-8")
    told(BaselineError, lambda: read(file), file, f"git checkout -- {file}")


@pytest.mark.parametrize("text", ["alpha = " + DEEP, "alpha = " + "9" * 5000, "stored = 1", "stored = { 1 = 2 }", "\0"])
def test_what_people_write_wrongly_is_refused(tmp_path: Path, text: str) -> None:
    for name, load in (("tolerances.toml", Tolerances.load), ("expected_failures.toml", expectations)):
        (tmp_path / name).write_text(text)
        told(GateError, lambda load=load, name=name: load(tmp_path / name), tmp_path / name)


def test_tolerances_may_have_a_bom(tmp_path: Path) -> None:
    file = tmp_path / "tolerances.toml"
    file.write_text("\ufeff" + TOLERANCES.read_text("utf-8"), "utf-8")
    assert Tolerances.load(file).alpha == Tolerances.load(TOLERANCES).alpha


def expectations(file: Path) -> Expectations:
    return Expectations.load(file, checks=CheckRegistry().kinds, metrics=CheckRegistry().vocabulary)


@pytest.mark.parametrize("line", [DEEP, '{"texts": ["\\ud800"]}', '{"texts": ["a"], "texts": ["b"]}', '{"texts": NaN}'])
def test_a_line_that_is_no_example_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "pinned_examples.jsonl").write_text('{"texts": ["a"]}\n' + line)
    told(GateError, lambda: load_pinned(tmp_path), tmp_path / "pinned_examples.jsonl:2")


@pytest.mark.parametrize(
    "content", [b"\xff", b"[", DEEP.encode(), b'{"kind": "k", "key": {}, "record": {}, "seconds": "x"}']
)
def test_a_damaged_record_of_an_artefact_says_what_to_delete(tmp_path: Path, content: bytes) -> None:
    cache = ArtefactCache(tmp_path)
    folder, _ = cache.get_or_build("onnx", {}, lambda _: {})
    (folder / "artefact.json").write_bytes(content)
    told(BuildError, lambda: cache.get_or_build("onnx", {}, lambda _: {}), folder / "artefact.json", f"delete {folder}")


@pytest.mark.parametrize("text", [DEEP, '{"schema": ' + "1" * 5000 + "}", '{"schema": "\\ud800"}', '{"schema": NaN}'])
def test_a_receipt_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    told(GateError, lambda: receipt.read(file, summary.SCHEMA), file)


# Writing


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.json"
    write_whole(file, b"old")
    file.chmod(0o640)
    write_whole(file, b"new", durable=False)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new", 0o640)
    assert os.listdir(file.parent) == ["a.json"]


def test_trouble_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a", b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a", b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a", b"old")]


def test_json_holds_no_infinite_number() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"high": math.inf})
    assert finite({"high": math.inf, "rows": [(1.5, math.nan)]}) == {"high": None, "rows": [[1.5, None]]}


def test_a_report_with_an_infinite_number_is_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedgate.report import files as reports

    monkeypatch.setattr(reports.json_report, "content", lambda summary: {"receipt": {}, "high": math.inf})
    for module in (reports.markdown, reports.html):
        monkeypatch.setattr(module, "render", lambda summary: "")
    monkeypatch.setattr(reports.pareto, "plot", lambda summary: None)
    reports.write(Summary.__new__(Summary), tmp_path)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert report["high"] is None
    assert report["receipt"]["sha256"] == receipt.checksum(report)


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    for place in (tmp_path / "taken", tmp_path / "taken" / "out"):
        with pytest.raises(GateError, match="taken is a file; name a folder"):
            refuse_no_folder(place, "--out")
    refuse_no_folder(tmp_path / "new" / "out", "--out")
