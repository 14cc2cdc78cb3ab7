"""Whatever is in a file, its reader reads it or refuses it in one line: no traceback, no hang, no endless memory.

`EMBEDGATE_FUZZ=100000 pytest tests/fuzz` tries so many damaged files of each reader, `tox run -e fuzz` does so by night.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("resource", reason="memory is bounded by it, on POSIX alone")
from helpers.damage import KINDS, damaged
from helpers.fuzzing import CORPUS, Tried, smallest
from helpers.paths import ROOT, TESTS
from helpers.readers import ELSEWHERE, READERS, Reader, these

from embedgate.core.errors import DataError, GateError

INPUTS = int(os.environ.get("EMBEDGATE_FUZZ", "2000"))
SOURCE = ROOT / "src/embedgate"
# What reads bytes, or texts that are JSON, TOML, XML, YAML or Python, whoever wrote them.
READS = {
    *("read_json", "read_jsonl", "read_toml", "parse_json", "convert", "read_bytes", "read_text", "frombuffer"),
    *("open_memmap", "memmap", "fromfile", "safe_open", "ParquetFile", "GGUFReader", "read_model", "literal_eval"),
    *("json.loads", "json.load", "tomllib.loads", "tomllib.load", "np.load", "onnx.load", "yaml.load", "pickle.load"),
    *("csv.reader", "msgspec.json.decode", "ElementTree.fromstring", "json_of", "_json_of"),
}
# Past finds that are sound, and were not read.
SOUND = {
    "approve/here",
    "card/bom",
    "merge/created-is-null",
    "model-top-tokenizer_config.json/auto-map",
    "onnx/unknown-key",
    "openvino/entities",
    "pyproject/deep-enough-to-read",
    "texts/carriage-return",
    "tolerances/bom",
}
available = pytest.mark.parametrize(
    "reader", [each for each in READERS if each.is_available], ids=lambda each: each.name
)


@available
def test_damaged_files_are_read_or_refused_in_one_line(reader: Reader, tmp_path: Path) -> None:
    tried = Tried(reader, tmp_path)
    for seed in tried.seeds:
        assert not tried.fault(seed)
    assert tried.read == len(tried.seeds), tried.refused
    finds = [find.told(tmp_path) for find in tried.find(range(INPUTS // reader.share))]
    assert not finds, "\n".join(finds)
    # Or damage does not reach what is behind the first look.
    assert reader.quiet or len(tried.refused) > 2, tried.refused


@pytest.mark.parametrize(
    "reader", [each for each in READERS if (CORPUS / each.name).is_dir()], ids=lambda each: each.name
)
def test_past_finds_are_refused_in_one_line(reader: Reader, tmp_path: Path) -> None:
    if not reader.is_available:
        pytest.skip(f"{reader.needs} is not installed")
    tried, faults, read = Tried(reader, tmp_path), {}, set()
    for file in sorted((CORPUS / reader.name).iterdir()):
        before = tried.read
        faults[file.name] = tried.fault(file.read_bytes())
        if tried.read > before and not reader.quiet:
            read.add(f"{reader.name}/{file.name}")
    assert not any(faults.values()), faults
    assert read == {name for name in SOUND if name.startswith(f"{reader.name}/")}


def test_each_past_find_has_a_reader() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= {reader.name for reader in READERS}


# The table of readers


def calls(source: str) -> Iterator[str]:
    """The names of what a module calls to read something."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            whole = ast.unparse(node.func)
            yield from READS & {whole, whole.rpartition(".")[2]}


def test_every_module_that_reads_something_is_covered() -> None:
    reading = {
        file.relative_to(SOURCE).as_posix() for file in SOURCE.rglob("*.py") if any(calls(file.read_text("utf-8")))
    }
    covered = {module for reader in READERS for module in reader.covers}
    assert not reading - covered - {*ELSEWHERE}, "give each a row in READERS, or say in ELSEWHERE what it reads"
    assert not {*ELSEWHERE} - reading, "these read nothing any more"
    assert not {*ELSEWHERE} & covered, "these have a row"
    assert not covered - {file.relative_to(SOURCE).as_posix() for file in SOURCE.rglob("*.py")}, "these are gone"


def test_what_reads_something_is_seen() -> None:
    assert {*calls("import json\ndef f(p):\n  return json.loads(p.read_bytes()), read_toml(p)")} == {
        "json.loads",
        "read_bytes",
        "read_toml",
    }


def test_names_are_those_of_folders_and_once() -> None:
    assert len({reader.name for reader in READERS}) == len(READERS)


# That it finds something


def planted(kind: str, seed: bytes, hurts) -> Reader:
    """A reader with a fault that only some content shows."""

    def read(folder: Path, file: Path) -> None:
        content = file.read_bytes()
        try:
            found = hurts(content)
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file} is malformed", "mend it") from error
        if found:
            raise IndexError("planted")

    return Reader(f"planted-{kind}", kind, "a", read, these(seed), ())


def lists_of(content: bytes) -> bool:
    return json.loads(content)["a"]["b"] == []


PLANTED = {
    "json": (b'{"a": {"b": [1, 2], "c": "x"}}', lists_of),
    "jsonl": (b'{"a": {"b": [1]}}\n{"a": {"b": [2]}}\n', lambda content: any(map(lists_of, content.splitlines()))),
    "toml": (b"[a]\nb = 1\nday = 2026-01-01\n", lambda content: b"= inf" in content),
    "text": (b"a,b\nc,d\n", lambda content: content.startswith(b"a,\n")),
    "xml": (b'<a size="3"><b/></a>', lambda content: b'size="-1"' in content),
    "binary": (b"\0" * 40, lambda content: content[8:16] == (2**63).to_bytes(8, "little")),
    "npy": (b"", lambda content: b"(2, 3)" in content),
    "safetensors": (b"", lambda content: b'"shape":[]' in content),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_behind_sound_content_is_found_and_made_small(kind: str, tmp_path: Path) -> None:
    from helpers import foreign_files as foreign

    seed, hurts = PLANTED[kind]
    seed = seed or {"npy": foreign.npy(np.zeros((4, 4))), "safetensors": foreign.golden()}[kind]
    assert not hurts(seed) if kind != "jsonl" else True
    finds = [*Tried(planted(kind, seed, hurts), tmp_path).find(range(2000))]
    assert [find.fault.partition(":")[0] for find in finds] == ["IndexError"]
    assert hurts(finds[0].content)
    assert "planted" in finds[0].told(tmp_path)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (GateError("a.txt: \x1b[31m", "do"), ""),
        (GateError("something is wrong", "do"), "does not name a.txt"),
        (GateError("a.txt is wrong"), "does not say what to do"),
        (SystemExit(0), "SystemExit"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_what_is_wrong_with_an_error_is_told(error: BaseException, fault: str, tmp_path: Path) -> None:
    def read(folder: Path, file: Path) -> None:
        if file.read_bytes():
            raise error

    tried = Tried(Reader("told", "text", "a.txt", read, these(b""), ()), tmp_path)
    assert fault in tried.fault(b"x")
    assert bool(fault) == bool(tried.fault(b"x"))


GREEDY = """
import sys
from pathlib import Path

sys.path.insert(0, {tests!r})
import numpy as np
from helpers import fuzzing
from helpers.readers import Reader

def read(folder, file):
    if file.read_bytes() == b"memory":
        np.empty(2**36, np.uint8)
    while file.read_bytes() == b"time":
        pass

fuzzing.PATIENCE = 1
tried = fuzzing.Tried(Reader("greedy", "text", "a.txt", read, lambda _: [b""], ()), Path({folder!r}))
for content in (b"x", b"memory", b"time"):
    print(tried.fault(content) or "none")
"""


def test_what_asks_for_far_too_much_memory_or_time_is_found(tmp_path: Path) -> None:
    """In a process of its own: threads of libraries that others of these tests have imported may need memory then."""
    code = GREEDY.format(tests=str(TESTS), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sound, memory, hung = done.stdout.splitlines()
    assert sound == "none"
    assert "MemoryError" in memory
    assert "Hung" in hung


def test_damage_is_the_same_in_every_process() -> None:
    assert damaged("json", [b'{"a": 1}'], "x", 7) == damaged("json", [b'{"a": 1}'], "x", 7)
    assert len({damaged("json", [b'{"a": 1, "b": [2, 3]}'], "x", number) for number in range(200)}) > 120


def test_damage_takes_numbers_of_any_size() -> None:
    large = f"[{10**400}, {'9' * 4299}, 1e400]".encode()
    assert len({damaged("json", [large], "x", number) for number in range(400)}) > 200


def test_content_is_made_small() -> None:
    assert smallest(b"a" * 100 + b"xy" + b"b" * 50, lambda tried: b"xy" in tried) == b"xy"
