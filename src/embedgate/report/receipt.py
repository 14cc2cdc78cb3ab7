"""Receipts: a session's report as evidence, for another machine, of what was judged on a GPU or on another CPU.

A receipt is a `report.json`. Its section `receipt` says by which code and human decisions was judged, and how much of
what there is to judge. Its checksum finds hand edits and truncated copies. It is no signature: whoever can write the
file can write the checksum, so trust comes from how the file is delivered (docs/receipts.md). Nothing here imports
pytest or torch.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from embedgate.approved.examples import FILE_NAME as PINNED
from embedgate.approved.proposal import SUFFIXES
from embedgate.core.distrust import distrusting
from embedgate.core.errors import GateError
from embedgate.core.files import portable_content, read_json, to_json
from embedgate.core.git import git_commit
from embedgate.core.machine import profile
from embedgate.core.options import receipt_words
from embedgate.core.settings import EXPECTED, TOLERANCES, Settings, bundled_baselines, own_or_bundled
from embedgate.data import load_calibration, load_golden

SECTION = "receipt"
CHECKSUM = "sha256"
AS_WRITTEN = "give a report.json, as it was written"
CODE = (".py", ".toml", ".jinja", ".jsonl")
# A wheel has these inside the package, a checkout beside it: each is a group of its own.
APART = ("suites", "fixtures", "baselines")
CONFTEST = "conftest.py"


@dataclass(frozen=True)
class Invocation:
    """How pytest was called, as far as it matters to a receipt.

    Attributes:
        folder: Where it was called.
        root: Its rootdir.
        places: What was given to it to collect: paths, or modules under `--pyargs`.
        markers: The expression of `-m`.
        keywords: The expression of `-k`.
    """

    folder: Path = Path()
    root: Path = Path()
    places: Sequence[str] = ()
    markers: str = ""
    keywords: str = ""


@dataclass
class Asked:
    """How much of what there is to judge a session was asked for, as numbers of checks by combination.

    Attributes:
        selected: Checks that were to run.
        deselected: Checks that `-k`, `-m` or a plugin left out.
    """

    selected: dict[str, int] = field(default_factory=dict)
    deselected: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, dict[str, int]]:
        """Per combination `collected` and `deselected`."""
        ids = sorted({*self.selected, *self.deselected})
        return {
            id_: {
                "collected": self.selected.get(id_, 0) + self.deselected.get(id_, 0),
                "deselected": self.deselected.get(id_, 0),
            }
            for id_ in ids
        }


def section(
    settings: Settings, model: str, profiles: Sequence[str], invocation: Invocation, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the section that makes a report a receipt, without its checksum.

    Args:
        settings: The session's.
        model: Name of the model, as baselines have it.
        profiles: The hardware profiles of the combinations that ran.
        invocation: How pytest was called.
        asked: What it was asked for, see `Asked.to_json`.
    """
    files = file_groups(settings.baselines_folder, model, profiles, invocation)
    return {
        "code_sha256": combined(files),
        "files": files,
        "commit": git_commit(invocation.folder),
        "update": settings.update,
        "depth": settings.depth,
        "named_profile": settings.profile or "",
        "markers": invocation.markers,
        "keywords": invocation.keywords,
        "globs": list(settings.combinations),
        "stored": stored_options(settings),
        "asked": dict(asked),
    }


def stored_options(settings: Settings) -> list[str]:
    """The options that say how stored vectors are judged, as they are given."""
    return receipt_words(settings, vectors_only=True)


def file_groups(baselines: Path, model: str, profiles: Sequence[str], invocation: Invocation) -> dict[str, str]:
    """SHA-256 of what judges, by group: code, texts beside the datasets, human decisions and what was approved.

    Args:
        baselines: The folder of baselines in use.
        model: Name of the model, as baselines have it.
        profiles: The hardware profiles whose baselines count; each is a group of its own.
        invocation: How pytest was called: a host project's combinations are in its `conftest.py`.
    """
    return {
        **_installed(),
        TOLERANCES: _digest(_tolerances(baselines)),
        PINNED: _digest({PINNED: own_or_bundled(baselines, PINNED)}),
        EXPECTED: _digest({EXPECTED: baselines / EXPECTED}),
        **approved_groups(baselines, model, profiles),
        CONFTEST: _digest(_conftests(invocation)),
    }


def approved_groups(baselines: Path, model: str, profiles: Iterable[str]) -> dict[str, str]:
    """SHA-256 of what was approved of a model for hardware profiles, a group of each."""
    return {f"approved/{name}": _digest(_approved(baselines, model, name)) for name in profiles}


def other_code(report: Mapping[str, Any]) -> list[str]:
    """The groups of embedgate's own code and texts that are others here than where a report was made."""
    there = report[SECTION]["files"]
    return [name for name, digest in _installed().items() if there.get(name) != digest]


def _installed() -> dict[str, str]:
    """SHA-256 of what is embedgate's own in this installation, by group."""
    package, suites, fixtures = (
        Path(str(resources.files(name))) for name in ("embedgate", "embedgate.suites", "embedgate.fixtures")
    )
    texts = {"calibration": load_calibration()[1], "golden": load_golden()[1]}
    return {**code_groups(package, suites, fixtures), **texts}


def code_groups(package: Path, suites: Path, fixtures: Path) -> dict[str, str]:
    """SHA-256 of embedgate's own code by group, the same in a checkout and in a wheel, whatever the line endings."""
    return {
        "embedgate": _digest(_code(package, APART)),
        "suites": _digest(_code(suites)),
        "fixtures": _digest(_code(fixtures, ("data",))),
    }


def combined(groups: Mapping[str, str]) -> str:
    """One SHA-256 over all groups."""
    return hashlib.sha256("".join(f"{name}\0{groups[name]}\0" for name in sorted(groups)).encode()).hexdigest()


def seal(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report with its checksum, where it has the section of a receipt."""
    if SECTION not in report:
        return dict(report)
    return {**report, SECTION: {**report[SECTION], CHECKSUM: checksum(report)}}


def checksum(report: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a whole report, without the checksum itself."""
    bare = {name: value for name, value in report[SECTION].items() if name != CHECKSUM}
    # Read back first: JSON turns keys into texts, which changes their order.
    plain = json.loads(to_json({**report, SECTION: bare}))
    return hashlib.sha256(to_json(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read(path: Path, schema: int, called: str = "receipt") -> dict[str, Any]:
    """Reads a receipt and checks that it is whole.

    Args:
        path: A `report.json`.
        schema: The schema it must have.
        called: What it is to its reader, for messages.

    Raises:
        GateError: If it is missing, no JSON, of another schema, no receipt, or not as it was written.
    """
    report = read_json(path, Any, GateError, AS_WRITTEN)
    if report is None:
        raise GateError(f"there is no {called} at {path}", AS_WRITTEN)
    if not isinstance(report, dict) or report.get("schema") != schema:
        found = report.get("schema") if isinstance(report, dict) else None
        cause = f"{path} has the schema {reprlib.repr(found)}, and this embedgate reads {schema}"
        raise GateError(cause, "give a report.json of this version")
    if not isinstance(report.get(SECTION), dict):
        raise GateError(
            f"{path} is no {called}: it has no section {SECTION!r}, as if nothing had been judged", AS_WRITTEN
        )
    # What was read may be nested as deeply as can be read, but not written.
    with distrusting(GateError, f"{path} is not as it was written", AS_WRITTEN):
        found = checksum(report)
    if report[SECTION].get(CHECKSUM) != found:
        raise GateError(f"{path} is not as it was written: its checksum is wrong", AS_WRITTEN)
    return report


def _code(folder: Path, apart: Iterable[str] = ()) -> dict[str, Path]:
    skipped = {*apart}
    found = {file.relative_to(folder): file for file in folder.rglob("*") if file.suffix in CODE and file.is_file()}
    return {
        name.as_posix(): file
        for name, file in found.items()
        if name.parts[0] not in skipped and "__pycache__" not in name.parts
    }


def _tolerances(baselines: Path) -> dict[str, Path]:
    """The files of tolerances: embedgate's own, and what a project lays over it."""
    own, bundled = baselines / TOLERANCES, bundled_baselines() / TOLERANCES
    return {"embedgate's": bundled} | ({"own": own} if own != bundled else {})


def _approved(baselines: Path, model: str, own: str) -> dict[str, Path]:
    return {
        f"{name}/{file.name}": file
        for name in profile(own).chain
        for file in (baselines / name / f"{model}{kind}" for kind in SUFFIXES)
    }


def _conftests(invocation: Invocation) -> dict[str, Path]:
    """The `conftest.py` files where pytest was called, of the places given to it, and above both up to rootdir.

    By content alone: without an ini file, what pytest takes for its rootdir depends on the paths among the options.
    """
    root = invocation.root.resolve()
    folders: set[Path] = set()
    for place in ("", *invocation.places):
        path = (invocation.folder / place.partition("::")[0]).resolve()
        folder = path if path.is_dir() else path.parent
        if path.exists():
            folders |= {folder, *(above for above in folder.parents if above.is_relative_to(root))}
    files = sorted(folder / CONFTEST for folder in folders if (folder / CONFTEST).is_file())
    return {hashlib.sha256(portable_content(file)).hexdigest(): file for file in files}


def _digest(files: Mapping[str, Path]) -> str:
    """SHA-256 over names and contents; files that are not there are left out."""
    digest = hashlib.sha256()
    for name in sorted(files):
        if files[name].is_file():
            digest.update(name.encode() + b"\0" + hashlib.sha256(portable_content(files[name])).digest())
    return digest.hexdigest()
