"""`embedgate init`: writes what another repository needs to gate its model, and changes nothing that is there."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any

from embedgate.command import codeowners
from embedgate.command.changes import Change, make, refuse_unwritable
from embedgate.command.ini import IniFile, Value, with_more
from embedgate.command.telling import say
from embedgate.core.errors import GateError, ModelError, counted
from embedgate.core.files import portable_content
from embedgate.core.git import git_origin
from embedgate.core.hub import Repository
from embedgate.core.model import DEFAULT_MODEL, NO_MODEL
from embedgate.core.model_safety import check_safe
from embedgate.core.options import OPTIONS, Option
from embedgate.core.settings import EXPECTED, TOLERANCES, bundled_baselines
from embedgate.data.spec import Spec as DataSpec

# The options that can be written into the ini file.
WRITTEN = ("model", "combination", "candidate", "data")
BASELINES, FOLDER = "gate_baselines", "gate"
# What shows by which host a repository is kept.
MARKS = {"github": ".github", "gitlab": ".gitlab-ci.yml"}
# What a host needs, by its place in `embedgate.ci`, which is docs/ci/ in a checkout; and what a GPU runner needs, too.
FILES = {
    "github": {
        "requirements-gate.txt": "requirements-gate.txt",
        "github/gate.yml": ".github/workflows/gate.yml",
        "github/gate-approve.yml": ".github/workflows/gate-approve.yml",
    },
    "gitlab": {"requirements-gate.txt": "requirements-gate.txt", "gitlab/gate.yml": ".gitlab/gate.yml"},
    "none": {},
}
ON_GPU = {
    "github": {
        "requirements-gate-gpu.txt": "requirements-gate-gpu.txt",
        "github/gate-gpu.yml": ".github/workflows/gate-gpu.yml",
    },
    "gitlab": {
        "requirements-gate-gpu.txt": "requirements-gate-gpu.txt",
        "gitlab/gate-gpu.yml": ".gitlab/gate-gpu.yml",
    },
    "none": {},
}
GITLAB = ".gitlab-ci.yml"
OWN_TOLERANCES = """\
# What this project tolerates otherwise than embedgate does. It holds only what differs: for all the rest, embedgate's
# own numbers hold. A table with `all` replaces embedgate's table of that name. For example:
#
# [weight_precision.int8.retention]
# ndcg_at_10 = 0.005
#
# What embedgate says of its own file:
#
"""


def declare(parser: argparse.ArgumentParser) -> None:
    """Adds what can be given."""
    add = parser.add_argument
    for option in map(_option, WRITTEN):
        several: dict[str, Any] = {"action": "append", "default": []} if option.repeatable else {}
        add(
            f"--{option.name}",
            metavar=option.metavar,
            help=option.about + " (repeatable)" * option.repeatable,
            **several,
        )
    add("--ci", choices=[*FILES], help="whose workflow to write (default: found by its files and by the origin)")
    add("--gpu", action="store_true", help="write the workflow of a GPU runner, too")
    add("--owner", action="append", default=[], metavar="@TEAM", help="who must review the bar (repeatable)")
    add("--dry-run", action="store_true", help="tell what would be written, and write nothing")


def run(options: argparse.Namespace) -> int:
    """Writes what is not there yet.

    Raises:
        GateError: If something that was given means nothing, or something cannot be written; then nothing is.
    """
    folder = Path.cwd()
    _refuse_below_top(folder)
    codeowners.refuse_malformed(options.owner)
    try:
        changes = [*_plan(folder, options)]
    except OSError as error:
        raise GateError(f"{error.filename} cannot be read: {error.strerror}", "give read permission") from error
    refuse_unwritable(folder, changes)
    if not options.dry_run:
        make(folder, changes)
    for change in changes:
        say(change.told(done=not options.dry_run))
    for line in _next_steps(folder, changes, options.ci or _host(folder), options.dry_run):
        say(line)
    return 0


def _plan(folder: Path, options: argparse.Namespace) -> Iterator[Change]:
    ini = IniFile.of(folder)
    yield from _ini_lines(ini, _values(folder, ini, options))
    baselines = _baselines(folder, ini)
    yield _file(folder, f"{baselines}/{TOLERANCES}", OWN_TOLERANCES + _header(TOLERANCES))
    yield _file(folder, f"{baselines}/{EXPECTED}", _header(EXPECTED))
    host = options.ci or _host(folder)
    if options.gpu and host == "none":
        raise GateError("--gpu needs a workflow to add to", "say whose: --ci github or --ci gitlab")
    files = FILES[host] | (ON_GPU[host] if options.gpu else {})
    for source, path in files.items():
        yield _file(folder, path, _template(source))
    if host == "gitlab":
        yield _included(folder, [path for path in files.values() if path.endswith(".yml")])
    yield from _owners(folder, host, baselines, files.values(), options.owner)


def _values(folder: Path, ini: IniFile, options: argparse.Namespace) -> dict[str, Value]:
    """What the ini file is to say, by option.

    Raises:
        GateError: If something that was given means nothing.
    """
    if options.model is None and "gate_model" not in ini.options:
        step = f"give its folder, --model ./my-model, or the one that embedgate brings along, --model {DEFAULT_MODEL}"
        raise GateError("no model was given", step)
    if options.model is not None:
        _refuse_no_model(folder, options.model)
    found: dict[str, Value] = {}
    for option in map(_option, WRITTEN):
        given = getattr(options, option.name)
        for text in given if option.repeatable else ():
            option.parse(text, f"--{option.name}")
        if given:
            found[option.ini_name] = given
    for text in options.data:
        _refuse_no_data(folder, text)
    return found | {BASELINES: FOLDER}


def _refuse_no_model(folder: Path, text: str) -> None:
    if text in (DEFAULT_MODEL, NO_MODEL):
        return
    if (place := folder / Path(text).expanduser()).is_dir():
        check_safe(place)
    elif _names_path("model", text, folder):
        raise ModelError(f"no model folder at {text!r}", "give a folder, or a hub id as org/name@<commit>")
    elif Repository.of(text) is None:
        raise ModelError(f"hub id {text} is not pinned", "write it as org/name@<commit>, of 40 hex digits")


def _refuse_no_data(folder: Path, text: str) -> None:
    place = DataSpec.parse(text).place
    if _names_path("data", place, folder) and not (folder / Path(place).expanduser()).exists():
        step = (
            "give a file (.csv, .jsonl, .parquet, .txt, ...), a folder, a list of datasets (.toml), "
            "hub:org/name@commit, mteb:TASK or a bundled name"
        )
        raise GateError(f"there is no dataset at {place!r}", step)


def _names_path(name: str, text: str, folder: Path) -> bool:
    path = _option(name).path
    return path is not None and path(text, folder)


def _ini_lines(ini: IniFile, values: Mapping[str, Value]) -> Iterator[Change]:
    new = {name: value for name, value in values.items() if name not in ini.options}
    if new:
        verb = f"add {counted(len(new), 'line')} to" if ini.text else "write"
        yield Change(ini.path.name, ini.with_lines(new), verb)
    for name in (name for name in values if name in ini.options):
        yield Change(ini.path.name, None, f"leave {name} as it is in", f": {ini.options[name]}")


def _baselines(folder: Path, ini: IniFile) -> str:
    """The folder of baselines, as seen from the repository's.

    Raises:
        GateError: If it lies elsewhere.
    """
    found = str(ini.options.get(BASELINES, FOLDER))
    path = (folder / found).resolve()
    if not path.is_relative_to(folder.resolve()) or path == folder.resolve():
        step = "name a folder of its own in the repository"
        raise GateError(f"{BASELINES} in {ini.path.name} is {found!r}, no folder below this one", step)
    return path.relative_to(folder.resolve()).as_posix()


def _file(folder: Path, path: str, text: str) -> Change:
    """A file that is written where there is none."""
    if not (folder / path).exists():
        return Change(path, text.encode(), "write")
    is_same = (folder / path).is_file() and portable_content(folder / path) == text.encode()
    return Change(path, None, "leave", "" if is_same else ", which differs from what this embedgate writes")


def _header(name: str) -> str:
    """The comment that embedgate's own file begins with."""
    lines = (bundled_baselines() / name).read_text("utf-8").splitlines(keepends=True)
    return "".join(takewhile(lambda line: line.startswith("#"), lines))


@cache
def _template(source: str) -> str:
    return (resources.files("embedgate.ci") / source).read_text("utf-8")


def _host(folder: Path) -> str:
    """Which of the hosts keeps the repository: as its files say, else its origin, else none."""
    found = [host for host, mark in MARKS.items() if (folder / mark).exists()]
    if len(found) != 1:
        origin = re.match(r"(?:\w+://)?(?:[^@/]*@)?([^:/]+)", git_origin(folder))
        found = [host for host in MARKS if origin and host in origin[1].lower()]
    return found[0] if found else "none"


def _included(folder: Path, paths: Sequence[str]) -> Change:
    """GitLab's own file, which includes the others."""
    lines = [f"  - local: {path}" for path in paths]
    if not (folder / GITLAB).exists():
        return Change(GITLAB, "\n".join(("include:", *lines, "")).encode(), "write")
    return Change(GITLAB, None, "leave")


def _owners(folder: Path, host: str, baselines: str, files: Iterable[str], owners: Sequence[str]) -> Iterator[Change]:
    path = codeowners.place(folder, host)
    if host == "none" and not owners and not (folder / path).exists():
        return
    if (folder / path).is_dir():
        raise GateError(f"{path} is no file", "move it away: a file of that name is needed")
    content = (folder / path).read_bytes() if (folder / path).exists() else b""
    try:
        text = content.decode()
    except ValueError as error:
        raise GateError(f"{path} cannot be read: {error}", "write it in UTF-8") from error
    decisions = (f"{baselines}/{name}" for name in (TOLERANCES, EXPECTED))
    owned = [f"{baselines}/", *decisions, *files, *([GITLAB] if host == "gitlab" else []), path]
    if lines := codeowners.missing_lines(text, owned, owners):
        yield Change(path, with_more(text, lines).encode(), "add lines to" if content else "write")
    else:
        note = ", where embedgate's lines are comments: put in your team" if codeowners.UNOWNED in text else ""
        yield Change(path, None, "leave", note)


def _refuse_below_top(folder: Path) -> None:
    """CI and CODEOWNERS count at the top of a repository alone."""
    if (folder / ".git").exists():
        return
    if top := next((each for each in folder.parents if (each / ".git").exists()), None):
        raise GateError(f"{folder} is not the top of its repository", f"call it there: cd {shlex.quote(str(top))}")


def _next_steps(folder: Path, changes: Sequence[Change], host: str, is_dry_run: bool) -> Iterator[str]:
    if is_dry_run:
        yield "nothing was written: --dry-run"
        return
    if host == "none":
        yield "no workflow was written: --ci github or --ci gitlab writes one"
    yaml = (folder / GITLAB).read_text("utf-8", "replace") if (folder / GITLAB).is_file() else ""
    for change in changes:
        if change.path.startswith(".gitlab/gate") and change.path.endswith(".yml") and change.path not in yaml:
            yield f"next: include it in {GITLAB}: local: {change.path}"
    yield "next: pytest --pyargs embedgate.suites --gate-report out"
    yield '      embedgate approve out/report.json --reason "first values"'


def _option(name: str) -> Option:
    return next(option for option in OPTIONS if option.name == name)
