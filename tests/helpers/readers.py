"""Every reader of what a person, a pull request or another program can write: `READERS`, and what is no reader: `ELSEWHERE`.

To add one, add a row: `tests/fuzz/test_fuzz.py` damages its seeds, and holds the modules that read anything against the rows.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from embedgate.approved.transaction import FOLDER, JOURNAL
from helpers import foreign_files as foreign
from helpers.foreign_files import ID, MODEL


@dataclass(frozen=True)
class Reader:
    """How something is read.

    Attributes:
        name: Its name, and the folder of its past finds.
        kind: What its files are, a key of `helpers.damage.KINDS`.
        file: Where the file is in the folder that it is tried in; a glob where its name is a hash.
        read: Reads it: takes the folder and the file.
        seeds: Sound files; takes a folder to work in.
        covers: The modules that it goes through, below `src/embedgate`.
        around: Makes what must be beside the file.
        seal: Makes the checksum of a damaged file right, so that what is behind is reached.
        quiet: Whether a malformed file counts for nothing, and is no error.
        share: What part of the inputs it gets, `1 / share`: of files that the same function reads, each gets some.
        needs: A module without which nothing can be read.
        named: What messages name in the place of the file.
    """

    name: str
    kind: str
    file: str
    read: Callable[[Path, Path], Any]
    seeds: Callable[[Path], Sequence[bytes]]
    covers: tuple[str, ...]
    around: Callable[[Path], None] = field(default=lambda folder: None)
    seal: Callable[[bytes], bytes] = field(default=lambda content: content)
    quiet: bool = False
    share: int = 1
    needs: str = ""
    named: str = ""

    @property
    def is_available(self) -> bool:
        """Whether the library that reads it is installed."""
        return not self.needs or find_spec(self.needs) is not None


def these(*seeds: bytes) -> Callable[[Path], Sequence[bytes]]:
    return lambda folder: seeds


def beside(name: str, content: bytes) -> Callable[[Path], None]:
    """Writes a file that must be beside the one that is read."""

    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return write


# What a person approves and decides


def _baseline(folder: Path, file: Path) -> None:
    from embedgate.approved.form import parse, read, render
    from embedgate.approved.sessions import Spread

    found = read(file)
    assert found is not None
    assert parse(render(found).encode(), file) == found, "what was read is not what is written"
    Spread.of(entry.sessions for entry in found.entries.values())


def _golden(folder: Path, file: Path) -> None:
    from embedgate.approved.golden import GoldenStore
    from embedgate.core.machine import profile

    found = GoldenStore(folder).find_all(profile("cpu"), MODEL, ID, "t", foreign.TEXTS)
    if found is not None:
        assert found.value.finite, "what was read is not finite"
        GoldenStore(folder).pack(found.value)


def _ranges(folder: Path, file: Path) -> None:
    from embedgate.approved.ranges import RangesStore
    from embedgate.core.machine import profile

    found = RangesStore(folder).find(profile("cpu"), MODEL, ID)
    if found is not None:
        assert np.isfinite(found.value.both).all(), "ranges are infinite"
        assert (found.value.low <= found.value.high).all(), "ranges are turned round"


def _approval(folder: Path, file: Path) -> None:
    from embedgate.approved.transaction import SCHEMA, _Journal, _move
    from embedgate.core.errors import BaselineError
    from embedgate.core.files import read_json

    found = read_json(file, _Journal, BaselineError, "delete it", SCHEMA)
    assert found is not None
    for each in found.files:
        assert _move(folder, each, "delete it").file.is_relative_to(folder)


def _approvals(folder: Path) -> Sequence[bytes]:
    from embedgate.approved.transaction import _File, _Journal

    sha256 = hashlib.sha256(b"{}").hexdigest()
    journal = _Journal(1, [_File("cpu/MiniLM.json", "0", sha256, None)])
    return [foreign.as_json(msgspec.to_builtins(journal))]


def _tolerances(folder: Path, file: Path) -> None:
    from embedgate.approved.tolerances import Tolerances
    from embedgate.core.combination import Combination
    from embedgate.core.settings import TOLERANCES, bundled_baselines

    found = Tolerances.load(file, over=bundled_baselines() / TOLERANCES)
    assert all(0 <= number < 1 for keys, number in found.numbers.items() if "promise" not in keys)
    found.differences  # noqa: B018 - shown in reports
    found.retention(Combination.parse("torch-int8-cpu"), "spearman")


def _all_tolerances(folder: Path, file: Path) -> None:
    from embedgate.approved.tolerances import Tolerances

    Tolerances.load(file)


def _bundled_tolerances(folder: Path) -> Sequence[bytes]:
    from embedgate.core.settings import TOLERANCES, bundled_baselines

    lines = (bundled_baselines() / TOLERANCES).read_text("utf-8").splitlines()
    return ["\n".join(line for line in lines if line and not line.startswith("#")).encode()]


def _expected(folder: Path, file: Path) -> None:
    from embedgate.approved.expected_failures import Expectations
    from embedgate.core.machine import profile

    found = Expectations.load(file, checks=["retention", "floor"], metrics=["spearman", "ndcg_at_10"])
    found.match("torch-int8-cpu", "pairs", "retention", "spearman", profile("cpu"), "fail")
    [found.complaint(entry) for entry in found.entries]
    msgspec.json.encode(found.to_json())


def _pinned(folder: Path, file: Path) -> None:
    from embedgate.approved.examples import load_pinned

    for text in (text for texts in load_pinned(folder) for text in texts):
        text.encode()


# Data


def _card(folder: Path, file: Path) -> None:
    from embedgate.data.cards import read_card

    msgspec.json.encode(read_card(folder))


def _listed(folder: Path, file: Path) -> None:
    from embedgate.data.listed import Listed, _spec, named

    for each in named(str(file)):
        assert isinstance(each, Listed)
        _spec(each._checked(), folder)


def _data(folder: Path, file: Path) -> None:
    from embedgate.data import load

    load(str(file))


def _folder(folder: Path, file: Path) -> None:
    from embedgate.data import load

    load(str(folder / "data"))


def _write_beir(folder: Path) -> None:
    (folder / "data/qrels").mkdir(parents=True)
    (folder / "data/corpus.jsonl").write_bytes(foreign.CORPUS)
    (folder / "data/queries.jsonl").write_bytes(foreign.QUERIES)
    (folder / "data/qrels/test.tsv").write_bytes(foreign.QRELS)


# Reports


def _receipt(folder: Path, file: Path) -> None:
    from embedgate.report import receipt
    from embedgate.report.summary import SCHEMA

    receipt.read(file, SCHEMA)


def _earlier(folder: Path, file: Path) -> None:
    from embedgate.report.earlier import EarlierReport

    found = EarlierReport.read(file, "--gate-incumbent")
    found.name, found.sha256, found.golden(ID, "t")


def _merged(folder: Path, file: Path) -> None:
    from embedgate.checks import CheckRegistry
    from embedgate.command.merge import _refuse_malformed
    from embedgate.report.receipt import read
    from embedgate.report.summary import SCHEMA

    _refuse_malformed(file, read(file, SCHEMA), CheckRegistry().known)


def _recovered(folder: Path, file: Path) -> None:
    from embedgate.command.recover import recovered

    recovered(folder, 100, colour=False)


def _journals(folder: Path) -> Sequence[bytes]:
    from embedgate.report.records import Record
    from helpers.made_up import MADE
    from helpers.reports import retained

    records = [
        Record("torch-bf16-cpu", judgement=retained("pairs", "spearman", 0.81, 0.82)),
        Record("torch-int8-cpu", skipped="no AVX-512", place="retention pairs spearman"),
        Record("torch-nf4-cpu", error="crashed (SIGSEGV)"),
    ]
    lines = [{"record": record.to_builtins()} for record in records]
    return [foreign.as_jsonl({"began": "2026-11-30T08:15:00+00:00"}, *lines, {"facts": MADE["green"]().facts})]


def _approved(folder: Path, file: Path) -> None:
    from embedgate.approved.form import nonsense
    from embedgate.approved.golden import GoldenStore
    from embedgate.approved.proposal import files_of
    from embedgate.command.approve import _read

    measured = _read(file)
    str(measured.folder)
    for each in measured.proposals:
        assert not any(map(nonsense, each.entries))
        files_of(folder, each.profile, each.model.name)
        GoldenStore(folder).file(each.profile, each.model.name)


def resealed(content: bytes) -> bytes:
    """A report with the right checksum, where it can have one."""
    from embedgate.report.receipt import seal

    try:
        return json.dumps(seal(json.loads(content))).encode()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return content


def _earlier_reports(folder: Path) -> Sequence[bytes]:
    from types import SimpleNamespace

    from helpers.reports import earlier, retained

    judged = [retained("pairs", "spearman", 0.81, 0.82)]
    datasets: Any = [SimpleNamespace(name="pairs", sha256="d" * 64)]
    return [foreign.as_json(earlier(MODEL, datasets, judged, approvable=[proposal()]))]


def proposal() -> dict[str, Any]:
    from embedgate.approved.entries import Entry, Key, Provenance
    from embedgate.approved.form import Identified
    from embedgate.approved.proposal import Proposal
    from embedgate.core.machine import this_machine
    from embedgate.diagnosis.golden import Golden
    from embedgate.vectors.codes import Ranges

    return Proposal(
        "cpu",
        Identified(**foreign.identified()),
        Provenance.of(this_machine(), threads=2, batch_size=32, libraries={}, commit="", files={}),
        (Entry(Key(ID, "pairs", "spearman", "d" * 64), 0.5, 0.4, 0.6, 10),),
        stale=(Key(ID, "pairs", "pearson", "d" * 64),),
        golden={ID: Golden(foreign.vectors())},
        golden_sha256="t",
        ranges={ID: Ranges(*foreign.both(), 500)},
    ).to_json()


PROMPTS = {"": {"text": "", "name": "", "given": False}}
DATASET = {"name": "pairs", "kind": "similarity", "sha256": "d" * 64, "weight": 1, "prompts": PROMPTS, "notes": ["a"]}


def _whole_reports(folder: Path) -> Sequence[bytes]:
    from embedgate.report import json_report
    from helpers.made_up import MADE

    found = [json_report.content(MADE[name]()) for name in ("worse", "upgrade")]
    return [foreign.as_json({**each, **_asked(each), "approvable": [proposal()]}) for each in found]


def _asked(report: dict[str, Any]) -> dict[str, Any]:
    """What of a report the made-up ones leave out."""
    from embedgate.report.summary import SCHEMA

    section = {
        "code_sha256": "a" * 64,
        "files": {"embedgate": "b" * 64, "suites": "c" * 64},
        "commit": "e" * 40,
        "update": False,
        "depth": "standard",
        "named_profile": "",
        "markers": "cpu",
        "keywords": "",
        "globs": [],
        "stored": [],
        "asked": {"torch-bf16-cpu": {"collected": 3, "deselected": 0}},
    }
    more = {"candidates": [], "strict": "", "families": {"quality": 3}, "not_gated": [], "stale_baseline": []}
    facts = {"datasets": [DATASET], "by_night": [], "alpha": 0.05}
    rest = {"baselines": "gate", "incumbent": "", "schema": SCHEMA, "seconds": 3.5, "receipt": section}
    return {**more, **facts, **rest, **{name: report[name] for name in ("incumbent",) if name in report}}


# Models


def _model(folder: Path, file: Path) -> None:
    from embedgate.core.languages import claimed
    from embedgate.core.model import resolve

    found = resolve(str(folder))
    assert found.dim is None or found.dim >= 1
    for text in (
        found.normalises,
        found.pools_prompts,
        found.reads_images,
        found.trained_dims,
        found.files,
        found.tensors,
    ):
        str(text).encode()
    "".join(found.roles.prompts.values()).encode()
    claimed(str(folder))


def _model_reader(file: str, *seeds: bytes, around: Callable[[Path], None] = foreign.write_model) -> Reader:
    kinds = {".json": "json", ".safetensors": "safetensors", ".md": "text"}
    return Reader(
        f"model-{Path(file).parent.name or 'top'}-{Path(file).name}",
        kinds[Path(file).suffix],
        file,
        _model,
        these(*(seeds or (foreign.MODEL_FILES[file],))),
        (
            "core/model.py",
            "core/model_files.py",
            "core/model_safety.py",
            "core/routes.py",
            "core/languages.py",
            "core/model_elsewhere.py",
        ),
        around,
        quiet=file == "README.md",  # which only helps to choose
        share=5,
        named="folder",
    )


def _with_parts(folder: Path) -> None:
    foreign.write_model(folder, without="model.safetensors", **{"model-1.safetensors": foreign.WEIGHTS})


def _quantized(folder: Path, file: Path) -> None:
    from embedgate.core.spec import Spec
    from embedgate.deployed.folder import source

    source(Spec.parse(str(folder)), MODEL)


# Candidates


def _array(folder: Path, file: Path) -> None:
    from embedgate.deployed.stored.arrays import ArrayRows

    ArrayRows(file, folder / "texts.txt").draw(2, 0)


def _stored_table(folder: Path, file: Path) -> None:
    from embedgate.deployed.stored.tables import Asked, ParquetRows

    ParquetRows(file, Asked()).draw(2, 0)


def _stored_lines(folder: Path, file: Path) -> None:
    from embedgate.deployed.stored.tables import Asked, JsonRows

    JsonRows(file, Asked()).draw(2, 0)


def _recorded(folder: Path, file: Path) -> None:
    from embedgate.deployed.recorded import Recording

    found = Recording(file)
    str(found.about.told)
    answers, _ = found.answers()
    assert all(np.isfinite(vector).all() for vector in answers.values())


def _gate_ranges(folder: Path, file: Path) -> None:
    from embedgate.vectors.codes import Ranges

    found = Ranges.load(file, foreign.DIM)
    assert np.isfinite(found.both).all()
    assert found.both.shape == (2, foreign.DIM)


def _gguf(folder: Path, file: Path) -> None:
    from embedgate.deployed.gguf.header import read_header

    found = read_header(file, str(file))
    found.weight_precision, found.computes_in, found.is_float  # noqa: B018 - what sessions ask


def _onnx(folder: Path, file: Path) -> None:
    from embedgate.core.spec import Spec
    from embedgate.deployed import onnx_file

    onnx_file.source(Spec.parse(str(file)), MODEL)
    onnx_file.beside(file)


def _openvino(folder: Path, file: Path) -> None:
    from embedgate.core.spec import Spec
    from embedgate.deployed import openvino_file

    openvino_file.source(Spec.parse(str(file)), MODEL)


def _write_openvino(folder: Path) -> None:
    (folder / "model.bin").write_bytes(foreign.openvino(folder)[1])


def _answer(folder: Path, file: Path) -> None:
    from embedgate.core.errors import AnswerError
    from embedgate.deployed.server.answers import vectors
    from embedgate.deployed.server.client import Answer
    from embedgate.deployed.server.protocols import PROTOCOLS

    answer = Answer(f"POST http://h/{file.name}", 200, file.read_bytes(), {})
    wrong = []
    for protocol in PROTOCOLS:
        try:
            assert np.isfinite(vectors(answer, protocol(), 2)).all()
        except AnswerError as error:
            wrong.append(error)
    if len(wrong) == len(PROTOCOLS):
        raise wrong[int.from_bytes(answer.content[-8:], "little") % len(wrong)]


ANSWERED = (
    {"data": [{"index": 0, "embedding": [0.5, 1]}, {"index": 1, "embedding": "AACAPwAAAEA="}], "model": "m"},
    [[0.5, 1.0], [0.25, 2.0]],
    {"embeddings": [[0.5, 1.0], [0.25, 2.0]], "model": "m"},
    {"outputs": [{"name": "", "shape": [2, 2], "datatype": "FP32", "data": [0.5, 1.0, 0.25, 2.0]}]},
)

# Notes of embedgate's own, which others may write where a cache is shared


def _interrupted(folder: Path, file: Path) -> None:
    from embedgate.runtime.crash_notes import interrupted

    interrupted(folder)


def _artefact(folder: Path, file: Path) -> None:
    from embedgate.core.cache import ArtefactCache

    _, kept = ArtefactCache(folder).get_or_build("onnx", foreign.KEY, lambda _: {})
    assert kept["seconds"] is None or kept["seconds"] >= 0
    assert isinstance(kept["record"], dict)


def _write_artefact(folder: Path) -> None:
    from embedgate.core.cache import ArtefactCache

    ArtefactCache(folder).get_or_build("onnx", foreign.KEY, lambda _: {})


def _progress(folder: Path, file: Path) -> None:
    from embedgate.vectors.corpus import _Kept

    found = _Kept(folder / "corpus.npy", file, "k").chunks()
    assert found is None or found >= 0


def _corpus(folder: Path, file: Path) -> None:
    from embedgate.vectors.corpus import _mapped

    assert _mapped(file, (foreign.TEXTS, foreign.DIM)).shape == (foreign.TEXTS, foreign.DIM)


def _stamp(folder: Path, file: Path) -> None:
    from embedgate.stamp import check, read

    found = check(read(file), lambda texts, role: np.ones((len(texts), 2), np.float32))
    assert np.isfinite(found.cosines).all()


def stamped(content: bytes) -> bytes:
    """A stamp with the right checksum, where it can have one."""
    from embedgate import stamp

    try:
        form = msgspec.json.decode(content, type=stamp._File)
        return foreign.as_json({**json.loads(content), "sha256": stamp._File.of(form.stamp()).sha256})
    except (ValueError, RecursionError):
        return content


# Of a repository


def _ini(folder: Path, file: Path) -> None:
    from embedgate.command.ini import IniFile

    found = IniFile.of(folder)
    str(found.options)
    found.with_lines({"gate_name": "m", "gate_combination": ["a", "b"]})


def _owners(folder: Path, file: Path) -> None:
    from embedgate.command.codeowners import missing_lines

    missing_lines(file.read_bytes().decode("utf-8", "replace"), ["gate/", ".github/"], ["@acme/team"])


_FORMS = ("approved/form.py", "core/files.py", "approved/history.py")
_TENSORS = ("approved/tensors.py", "core/files.py")
_TABLES = ("data/rows.py", "data/files.py", "data/delimited.py", "data/json_rows.py", "data/lines.py", "data/cells.py")
_DATA = (*_TABLES, "data/cards.py")

READERS: tuple[Reader, ...] = (
    Reader(
        "approval",
        "json",
        f"{FOLDER}/{JOURNAL}",
        _approval,
        _approvals,
        ("approved/transaction.py",),
        share=4,
        named="folder",
    ),
    Reader("baseline", "json", "a.json", _baseline, lambda folder: [foreign.baseline()], _FORMS),
    Reader(
        "golden", "safetensors", "cpu/MiniLM.golden.safetensors", _golden, lambda folder: [foreign.golden()], _TENSORS
    ),
    Reader(
        "ranges", "safetensors", "cpu/MiniLM.ranges.safetensors", _ranges, lambda folder: [foreign.ranges()], _TENSORS
    ),
    Reader(
        "tolerances",
        "toml",
        "tolerances.toml",
        _tolerances,
        these(foreign.TOLERANCES),
        ("approved/tolerances.py",),
        share=4,
    ),
    Reader(
        "tolerances-whole",
        "toml",
        "tolerances.toml",
        _all_tolerances,
        _bundled_tolerances,
        ("approved/tolerances.py",),
        share=4,
    ),
    Reader(
        "expected-failures",
        "toml",
        "expected_failures.toml",
        _expected,
        these(foreign.EXPECTED),
        ("approved/expected_failures.py",),
    ),
    Reader("pinned", "jsonl", "pinned_examples.jsonl", _pinned, these(foreign.PINNED), ("approved/examples.py",)),
    Reader("card", "toml", "card.toml", _card, these(foreign.CARD), ("data/cards.py",)),
    Reader("listed", "toml", "gate-data.toml", _listed, these(foreign.LISTED), ("data/listed.py",)),
    Reader("csv", "text", "a.csv", _data, these(foreign.CSV, foreign.TSV.replace(b"\t", b";")), _DATA, share=2),
    Reader("tsv", "text", "a.tsv", _data, these(foreign.TSV), _DATA, share=2),
    Reader("jsonl", "jsonl", "a.jsonl", _data, these(foreign.JSONL), _DATA, share=2),
    Reader("json", "json", "a.json", _data, these(foreign.JSON), _DATA, share=2),
    Reader("texts", "text", "a.txt", _data, these(foreign.TXT), _DATA, share=2),
    Reader(
        "gzip",
        "binary",
        "a.csv.gz",
        _data,
        these(gzip.compress(foreign.CSV, mtime=0)),
        _DATA,
        share=2,
    ),
    Reader(
        "parquet",
        "binary",
        "a.parquet",
        _data,
        lambda folder: [foreign.pairs_in_parquet()],
        _DATA,
        share=2,
        needs="pyarrow",
    ),
    Reader(
        "qrels",
        "text",
        "data/qrels/test.tsv",
        _folder,
        these(foreign.QRELS, foreign.TREC),
        ("data/qrels.py", *_TABLES),
        _write_beir,
        share=4,
        named="folder",
    ),
    Reader(
        "corpus-of-texts",
        "jsonl",
        "data/corpus.jsonl",
        _folder,
        these(foreign.CORPUS),
        _TABLES,
        _write_beir,
        share=4,
        named="folder",
    ),
    Reader(
        "receipt",
        "json",
        "report.json",
        _receipt,
        lambda folder: [resealed(each) for each in _earlier_reports(folder)],
        ("report/receipt.py", "core/files.py"),
    ),
    Reader(
        "earlier-report",
        "json",
        "report.json",
        _earlier,
        _earlier_reports,
        ("report/earlier.py", "approved/proposal.py", "core/judgement.py", "report/records.py"),
        seal=resealed,
    ),
    Reader(
        "merge",
        "json",
        "report.json",
        _merged,
        _whole_reports,
        ("command/merge.py", "core/judgement.py", "report/records.py"),
        seal=resealed,
        share=3,
    ),
    Reader(
        "session-journal",
        "jsonl",
        "journal.jsonl",
        _recovered,
        _journals,
        ("report/journal.py", "report/records.py"),
        share=2,
    ),
    Reader(
        "approve",
        "json",
        "report.json",
        _approved,
        _whole_reports,
        ("command/approve.py", "approved/proposal.py"),
        seal=resealed,
        share=2,
        named="folder",
    ),
    *map(_model_reader, foreign.MODEL_FILES),
    _model_reader("model.safetensors.index.json", foreign.INDEX, around=_with_parts),
    _model_reader("router_config.json", foreign.ROUTER, around=foreign.write_router),
    _model_reader("README.md", foreign.README),
    Reader(
        "quantized-folder",
        "json",
        "config.json",
        _quantized,
        these(*(foreign.as_json({"model_type": "bert", "quantization_config": each}) for each in foreign.QUANTIZED)),
        ("deployed/folder.py",),
        foreign.write_model,
        share=2,
        named="folder",
    ),
    Reader(
        "stored-npy",
        "npy",
        "a.npy",
        _array,
        lambda folder: [foreign.npy(foreign.vectors())],
        ("deployed/stored/arrays.py",),
        beside("texts.txt", b"a\nb\nc\n"),
    ),
    Reader(
        "stored-jsonl",
        "jsonl",
        "a.jsonl",
        _stored_lines,
        these(foreign.STORED),
        ("deployed/stored/tables.py", *_TABLES),
    ),
    Reader(
        "stored-parquet",
        "binary",
        "a.parquet",
        _stored_table,
        lambda folder: [foreign.stored_in_parquet()],
        ("deployed/stored/tables.py",),
        needs="pyarrow",
    ),
    Reader(
        "recorded", "jsonl", "a.answers.jsonl", _recorded, these(foreign.ANSWERS), ("deployed/recorded.py", *_TABLES)
    ),
    Reader(
        "gate-ranges",
        "npy",
        "ranges.npy",
        _gate_ranges,
        lambda folder: [foreign.npy(foreign.both())],
        ("vectors/codes.py",),
    ),
    Reader(
        "gguf",
        "binary",
        "model.gguf",
        _gguf,
        lambda folder: [foreign.gguf(folder)],
        ("deployed/gguf/header.py",),
        needs="gguf",
    ),
    Reader(
        "onnx",
        "binary",
        "model.onnx",
        _onnx,
        lambda folder: [foreign.onnx(folder)],
        ("deployed/onnx_file.py", "encoders/onnx/graph.py"),
        beside("model.onnx.data", b"\0" * 64),
        needs="onnx",
    ),
    Reader(
        "openvino",
        "xml",
        "model.xml",
        _openvino,
        lambda folder: [foreign.openvino(folder)[0]],
        ("deployed/openvino_file.py",),
        _write_openvino,
        share=4,
        needs="openvino",
    ),
    Reader(
        "answer",
        "json",
        "embed",
        _answer,
        these(*map(foreign.as_json, ANSWERED)),
        ("deployed/server/client.py", "deployed/server/protocols.py"),
    ),
    Reader(
        "journal", "json", "running-1.json", _interrupted, these(foreign.NOTE), ("runtime/crash_notes.py",), quiet=True
    ),
    Reader(
        "artefact",
        "json",
        "onnx-*/artefact.json",
        _artefact,
        these(foreign.ARTEFACT),
        ("core/cache.py",),
        _write_artefact,
    ),
    Reader(
        "corpus-progress",
        "json",
        "corpus.json",
        _progress,
        these(foreign.PROGRESS),
        ("vectors/corpus.py",),
        beside("corpus.npy", b"\0" * 200),
        quiet=True,
    ),
    Reader(
        "corpus", "npy", "corpus.npy", _corpus, lambda folder: [foreign.npy(foreign.vectors())], ("vectors/corpus.py",)
    ),
    Reader(
        "stamp",
        "json",
        "index.stamp.json",
        _stamp,
        lambda folder: [stamped(foreign.as_json(foreign.stamp()))],
        ("stamp/__init__.py",),
        seal=stamped,
    ),
    Reader("ini", "text", "pytest.ini", _ini, these(foreign.PYTEST_INI), ("command/ini.py",)),
    Reader("pyproject", "toml", "pyproject.toml", _ini, these(foreign.PYPROJECT), ("command/ini.py",)),
    Reader("owners", "text", "CODEOWNERS", _owners, these(foreign.OWNERS), ("command/init.py",), quiet=True),
)
# Modules that read something else, and what that is.
ELSEWHERE = {
    "command/changes.py": "the bytes of files that it is about to change, to put them back",
    "core/machine.py": "what Linux says of the processor",
    "core/memory.py": "arrays of this session, which it has just written to a file without a name",
    "core/options.py": "values of options, which tests/core/test_options.py asks; and embedgate's own pages",
    "data/nearly.py": "texts that are read already, by their characters",
    "deployed/tensorrt_encoder.py": "engines, which are TensorRT's own bytes: it checks them on a GPU alone",
    "encoders/custom.py": "what a host's encoder returns",
    "encoders/gpu/__init__.py": "what Linux says of the driver",
    "encoders/onnx/export.py": "what torch has noted in the graph that it exports here",
    "encoders/onnxruntime/encoder.py": "what ONNX Runtime notes of a run here",
    "encoders/openvino/encoder.py": "graphs of the cache, whose notes are a row",
    "encoders/replayed_tokens.py": "what the tokenizers library says of a tokenizer that it has loaded",
    "encoders/tensorrt/engine.py": "engines of the cache, by the hash in their notes, which are a row",
    "encoders/tensorrt/inspection.py": "what TensorRT says of an engine that it has loaded",
    "performance/footprint.py": "what Linux says of memory",
    "performance/host.py": "what Linux says of the processor",
    "plugin/options.py": "lines of ini files, to tell that pytest has not read them",
    "report/drawing.py": "pictures that Matplotlib has drawn here",
    "report/html.py": "embedgate's own style",
    "runtime/deaths.py": "what Linux says of processes that it has ended",
    "runtime/processes.py": "what Linux calls threads of this process",
    "runtime/subprocess.py": "answers of a process of its own",
    "runtime/worker.py": "requests of the session that started it",
    "sentences/lexicon.py": "embedgate's own words",
}
