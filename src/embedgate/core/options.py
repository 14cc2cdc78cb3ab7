"""The options, in one table: `--help`, `Settings`, the tables of the docs and the options of a receipt come from it.

In a checkout, `python -m embedgate.core.options` writes the tables of README.md and docs/options.md anew.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from embedgate.core.data_place import ELSEWHERE, split_keys
from embedgate.core.depth import DEPTHS
from embedgate.core.errors import GateError
from embedgate.core.files import parse_json
from embedgate.core.hub import HUB_ID
from embedgate.core.isolation import Isolation
from embedgate.core.isolation import parse as parse_isolation
from embedgate.core.model import AGAINST, DEFAULT_MODEL, NO_MODEL, PLAIN_NAME, PLAIN_NAME_STEP
from embedgate.core.roles import parse_prompt
from embedgate.core.settings import FRESH_OPTION, Settings
from embedgate.core.spec import Spec
from embedgate.core.strictness import Strictness
from embedgate.core.strictness import parse as parse_strictness

# The pages that hold a table; and what stands around it there, so that it can be found.
PAGES = ("README.md", "docs/options.md")
BEGIN, END = "<!-- options: written by python -m embedgate.core.options -->\n", "<!-- end of options -->"
_PREFIX = "--gate-"
# The texts of an example: one or more.
Texts = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: what a person reads of it, and how what was given is read.

    Attributes:
        name: Without `--gate-`, for example `batch-size`.
        about: What it does, in a sentence without a full stop; empty for an option that people are not told of.
        metavar: What stands for its value; empty for a flag, which has none.
        levels: Of a flag, what may stand behind it: `--gate-strict=estimate`. Alone, it means the last.
        setting: The field of `Settings` that holds it; None for one that is no setting.
        parse: Makes a value of a text, told the option's flag as well; raises `GateError` if the text means nothing.
        without: What holds where it is not given, in words; empty where its default says it, or nothing need be said.
        repeatable: Whether it can be given several times.
        gather: Makes one value of those of a repeatable option.
        path: Whether a text, seen from a folder, names a file or folder; None where none does.
        rebase: A text that does so, as seen from here; told the folder and the option's flag as well.
        ini: Whether it has a twin in the ini file.
        receipt: `command` where the command that makes a receipt repeats it; `vectors` where a receipt notes it as
            well, since it says how stored vectors are judged.
        page: The page that tells more, as seen from README.md.
    """

    name: str
    about: str
    metavar: str = ""
    levels: tuple[str, ...] = ()
    setting: str | None = None
    parse: Callable[[str, str], Any] = lambda text, _: text
    without: str = ""
    repeatable: bool = False
    gather: Callable[[Iterable[Any]], Any] = tuple
    path: Callable[[str, Path], bool] | None = None
    rebase: Callable[[str, Path, str], str] = lambda text, folder, _: _from_here(text, folder)
    ini: bool = True
    receipt: Literal["", "command", "vectors"] = ""
    page: str = ""

    @property
    def flag(self) -> str:
        """As it is given: `--gate-batch-size`."""
        return _PREFIX + self.name

    @property
    def ini_name(self) -> str:
        """Its twin in the ini file, and its name in pytest's namespace: `gate_batch_size`."""
        return f"gate_{self.name.replace('-', '_')}"

    @property
    def ini_type(self) -> Literal["args", "bool", "string"]:
        """The type of the twin, as pytest names it; with levels, the twin takes these as well."""
        return "bool" if not self.metavar else "args" if self.repeatable else "string"

    @property
    def usage(self) -> str:
        """How it is given: `--gate-batch-size N`."""
        return f"{self.flag}[={'|'.join(self.levels)}]" if self.levels else f"{self.flag} {self.metavar}".rstrip()

    @property
    def default(self) -> Any:
        """Its default, which `Settings` has."""
        found = {each.name: each.default for each in fields(Settings)}.get(self.setting or "")
        return None if found is MISSING else found

    @property
    def help(self) -> str:
        """The option's help: what it does, whether it can be repeated, and what holds without it, in a line."""
        holds = self.without or (str(self.default) if type(self.default) in (int, str) else "")
        notes = ("repeatable" * self.repeatable, f"default: {holds}" * bool(holds))
        told = "; ".join(filter(None, notes))
        return self.about + (f" ({told})" if told else "")

    def read(self, given: Any, folder: Path) -> Any:
        """The setting that something given makes.

        Args:
            given: A text; texts where it is repeatable; of a flag, whether it is on, or its level.
            folder: The folder that paths are taken from.

        Raises:
            GateError: If it means nothing.
        """
        if not self.metavar:
            return self.parse(given, self.flag) if self.levels else bool(given)
        if not self.repeatable:
            return self._one(given, folder)
        return self.gather(self._one(text, folder) for text in given)

    def words(self, settings: Settings) -> list[str]:
        """The words that give it as settings have it; none where they have its default."""
        value: Any = getattr(settings, self.setting) if self.setting else None
        if value == self.default:
            return []
        if not self.metavar:
            return [self.flag if value in (True, *self.levels[-1:]) else f"{self.flag}={value}"]
        # Joined by `=`: pytest takes a path that stands alone for a place of tests.
        return [f"{self.flag}={each}" for each in (value if self.repeatable else (value,))]

    def _one(self, text: str, folder: Path) -> Any:
        if self.path and folder != Path.cwd() and self.path(text, folder):
            text = self.rebase(text, folder, self.flag)
        return self.parse(text, self.flag)


def _from_here(text: str, folder: Path) -> str:
    """A path that is seen from a folder, as seen from here: shorter than a whole one, and good elsewhere as well."""
    path = Path(text).expanduser()
    return text if path.is_absolute() else os.path.relpath(folder / path)


def _path(text: str, _: str) -> Path:
    return Path(text).expanduser()


def _absolute_path(text: str, flag: str) -> Path:
    return Path.cwd() / _path(text, flag)


def _whole(text: str, flag: str, *, least: int = 1) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise GateError(f"{flag} must be a whole number from {least}, not {text!r}")
    return number


def _minutes(text: str, flag: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise GateError(f"{flag} must be a number of minutes from 0, not {text!r}")
    return number


def _depth(text: str, flag: str) -> str:
    if text not in DEPTHS:
        raise GateError(f"{flag} must be {', '.join(DEPTHS[:-1])} or {DEPTHS[-1]}, not {text!r}")
    return text


def _name(text: str, flag: str) -> str:
    if not PLAIN_NAME.fullmatch(text) or AGAINST in text:
        raise GateError(f"{flag} cannot be {text!r}, since it names files", PLAIN_NAME_STEP)
    return text


def _example(text: str, flag: str) -> tuple[str, ...]:
    form: Any = Texts
    found: tuple[str, ...] = parse_json(text, form, GateError, flag, 'write it such as ["one text", "another"]')
    return found


def _prompt(text: str, flag: str) -> str:
    parse_prompt(text, flag)
    return text


def _candidate(text: str, flag: str) -> str:
    Spec.parse(text, flag)
    return text


def _names_file(*_: object) -> bool:
    return True


def _names_model_folder(text: str, folder: Path) -> bool:
    """Whether a text names a folder, as `embedgate.core.model.resolve` takes it, there or missing."""
    if text in (DEFAULT_MODEL, NO_MODEL):
        return False
    hub_id = HUB_ID.fullmatch(text.partition("@")[0]) and not text.startswith(".")
    return not hub_id or (folder / text).is_dir()


def _candidate_from_here(text: str, folder: Path, flag: str) -> str:
    """A candidate with its paths as seen from here; a path to nothing stays, since it may be in the model's folder."""

    def path(where: str) -> str:
        return _from_here(where, folder) if (folder / where).exists() else where

    return Spec.parse(text, flag).moved(path, lambda file: _from_here(file, folder))


def _names_incumbent(text: str, folder: Path) -> bool:
    """Whether an incumbent names a file or folder, there or missing: not a combination's id that no folder has."""
    spec = Spec.parse(text)
    words = spec.where.split("-")
    if len(words) == 3 and all(words) and "/" not in spec.where and not (folder / spec.where).exists():
        return False
    return bool(spec.given) or _names_path(spec.where, folder)


def _names_path(where: str, folder: Path) -> bool:
    """Whether a text names a file that is there, which may look like a hub id, or a folder, there or missing."""
    return (folder / where).exists() or _names_model_folder(where, folder)


def _incumbent_from_here(text: str, folder: Path, flag: str) -> str:
    """An incumbent with its paths as seen from here; a folder that is missing is told as missing there."""
    spec = Spec.parse(text, flag)
    if not spec.given and "://" not in text:
        return _from_here(text, folder)

    def path(where: str) -> str:
        return _from_here(where, folder) if _names_path(where, folder) else where

    return spec.moved(path, path)


def _names_data_file(text: str, _: Path) -> bool:
    """Whether a text names a file or folder, as `embedgate.data.load` takes it, there or missing."""
    return not _is_named(split_keys(text)[0])


def _is_named(place: str) -> bool:
    """Whether a dataset is named that is no path: a bundled one, or one of a hub or MTEB."""
    if place.startswith(ELSEWHERE):
        return True
    return PLAIN_NAME.fullmatch(place) is not None and (resources.files("embedgate.fixtures") / "data" / place).is_dir()


def _data_from_here(text: str, folder: Path, _: str) -> str:
    place, _ = split_keys(text)
    seen = _from_here(place, folder)
    return (os.path.join(os.curdir, seen) if _is_named(seen) else seen) + text.removeprefix(place)


OPTIONS = (
    Option(
        name="model",
        metavar="PATH|HUB_ID@COMMIT",
        about="the model to gate: a folder, a hub id with its commit, or none where only --gate-reference knows it",
        setting="model",
        path=_names_model_folder,
        receipt="command",
    ),
    Option(
        name="name",
        metavar="NAME",
        about="the name of the model's baselines, so that each version of it can have a folder of another name",
        setting="name",
        without="its folder's, or the hub's",
        parse=_name,
        receipt="command",
        page="docs/baselines.md",
    ),
    Option(
        name="incumbent",
        metavar="MODEL|WHERE|COMBINATION|REPORT",
        about="what is in use today: is the new one as good, and can the old index keep its vectors?",
        setting="incumbent",
        parse=_candidate,
        path=_names_incumbent,
        rebase=_incumbent_from_here,
        page="docs/upgrade.md",
    ),
    Option(
        name="superior",
        metavar="GLOB",
        about="the datasets on which the new one must be better than the incumbent, for example '*'",
        setting="superior",
        without="none, it must be no worse",
        repeatable=True,
        page="docs/upgrade.md#better-and-not-only-no-worse",
    ),
    Option(
        name="documents",
        metavar="N",
        about="with --gate-incumbent: how many documents your index holds, to tell what embedding them anew takes",
        setting="documents",
        parse=_whole,
        page="docs/upgrade.md#the-index",
    ),
    Option(
        name="prompt",
        metavar="ROLE=NAME|TEXT",
        about="the prompt before texts of a role, in place of the model's own: the name of one of its, or a text",
        setting="prompts",
        without="as encode_query and encode_document choose it",
        parse=_prompt,
        repeatable=True,
        receipt="command",
        page="docs/prompts.md",
    ),
    Option(
        name="combination",
        metavar="GLOB",
        about="the combinations to run, for example 'onnxruntime-*'",
        setting="combinations",
        without="all",
        repeatable=True,
        receipt="command",
    ),
    Option(
        name="candidate",
        metavar="WHERE",
        about="a file, folder, server, index or recorded answers to judge in place of combinations: WHERE::key=value",
        setting="candidates",
        parse=_candidate,
        repeatable=True,
        path=_names_file,
        rebase=_candidate_from_here,
        receipt="command",
        page="docs/gate-what-you-ship.md",
    ),
    Option(
        name="reference",
        metavar="WHERE|COMBINATION",
        about="what to judge against in the place of torch's fp32: a combination's id, or a candidate as above",
        setting="reference",
        parse=_candidate,
        path=_names_file,
        rebase=_candidate_from_here,
        receipt="command",
        page="docs/gate-what-you-ship.md#another-reference",
    ),
    Option(
        name="record",
        metavar="DIR",
        about="keep what every candidate answers in this folder, to be judged later",
        setting="record",
        parse=_path,
        path=_names_file,
        page="docs/gate-what-you-ship.md#recorded-answers",
    ),
    Option(
        name="shipped",
        about="judge every ONNX, OpenVINO and GGUF file in the model's folder as well",
        setting="shipped",
        receipt="command",
        page="docs/gate-what-you-ship.md",
    ),
    Option(
        name="data",
        metavar="NAME|PATH",
        about="what to judge on: a file, a folder, a list (.toml), hub:org/name@commit, mteb:TASK, or a bundled name",
        setting="data",
        without="what is bundled in the model's languages",
        repeatable=True,
        path=_names_data_file,
        rebase=_data_from_here,
        receipt="command",
        page="docs/data-formats.md",
    ),
    Option(
        name="profile",
        metavar="NAME",
        about="the hardware profile whose baselines count",
        setting="profile",
        without="detected",
        page="docs/add-a-hardware-profile.md",
    ),
    Option(
        name="baselines",
        metavar="DIR",
        about="your folder of baselines, tolerances.toml and expected_failures.toml",
        setting="baselines",
        without="embedgate's own",
        parse=_path,
        path=_names_file,
        receipt="command",
        page="docs/baselines.md",
    ),
    Option(
        name="base",
        metavar="REF",
        about="the branch that a change is to be merged into: name what differs from its bar, and judge by both",
        setting="base",
        without="in CI, the pull request's",
        page="docs/approve.md#the-bar-of-the-base-branch",
    ),
    Option(name="update", about="approve the measured values as the new baseline", setting="update"),
    Option(name="reason", metavar="TEXT", about="with --gate-update: why the baseline changes", setting="reason"),
    Option(name="update-in-ci", about="allow --gate-update where CI is set", setting="update_in_ci"),
    Option(
        name="strict",
        levels=(Strictness.ESTIMATE.value, Strictness.FULL.value),
        about="fail also where a verdict is inconclusive or a combination cannot run here; =estimate: only where an "
        "inconclusive verdict's estimate itself is beyond the tolerance",
        setting="strict",
        parse=parse_strictness,
        page="docs/statistics.md#strictness",
    ),
    Option(
        name="report",
        metavar="DIR",
        about="write report.json, report.md, report.html and pareto.svg into this folder",
        setting="report",
        parse=_path,
        path=_names_file,
        page="docs/reports.md",
    ),
    Option(
        name="receipt",
        metavar="FILE",
        about="the report.json of a session on a GPU or another CPU: check here that it judged what runs there",
        setting="receipts",
        parse=_absolute_path,
        repeatable=True,
        path=_names_file,
        page="docs/receipts.md",
    ),
    Option(
        name="noise",
        about="run no test; measure how much speed varies on this machine, and print the slack that covers it",
        ini=False,
        page="docs/budgets.md#budgets",
    ),
    Option(
        name="depth",
        metavar="|".join(DEPTHS),
        about="how much to ask: for a push, for a pull request, or all there is",
        setting="depth",
        parse=_depth,
        page="docs/checks.md#depths",
    ),
    Option(
        name="seed",
        metavar="N",
        about="the seed of generated texts, and of the order of texts of equal length",
        setting="seed",
        parse=partial(_whole, least=0),
    ),
    Option(
        name="example",
        metavar="JSON",
        about='the texts to try every property on first, as a failure prints them: ["one", "two"]',
        setting="examples",
        parse=_example,
        repeatable=True,
    ),
    Option(
        name="corpus-size",
        metavar="N",
        about="how many stored vectors to search among, up to a million",
        setting="corpus_size",
        parse=partial(_whole, least=100),
        without="10000",
        receipt="vectors",
        page="docs/stored-vectors.md",
    ),
    Option(
        name="engine",
        metavar="GLOB",
        about="the search engines' indexes to judge, for example 'faiss-*'",
        setting="engines",
        repeatable=True,
        page="docs/engines.md",
    ),
    Option(
        name="dims",
        metavar="N",
        about="the number of dimensions to truncate stored vectors to",
        setting="dims",
        parse=_whole,
        without="those that the model's card names",
        repeatable=True,
        gather=lambda dims: tuple(sorted(set(dims), reverse=True)),
        receipt="vectors",
    ),
    Option(
        name="ranges",
        metavar="FILE",
        about="the ranges of 8-bit codes in production: a .npy file of floats [2, dim]",
        setting="ranges",
        parse=_path,
        without="those approved",
        path=_names_file,
        receipt="vectors",
    ),
    Option(
        name="threads",
        metavar="N",
        about="the number of threads of every backend",
        setting="threads",
        parse=_whole,
        without="all usable cores",
    ),
    Option(name="batch-size", metavar="N", about="texts per batch", setting="batch_size", parse=_whole),
    Option(
        name="cache",
        metavar="DIR",
        about="the folder of built artefacts",
        setting="cache",
        parse=_path,
        without="the user's cache folder",
        path=_names_file,
    ),
    Option(
        name="isolate",
        levels=(Isolation.AUTO.value, Isolation.OFF.value, Isolation.ON.value),
        about="run the tests in a process of their own, so that a native crash costs one verdict",
        setting="isolate",
        parse=parse_isolation,
        without="on Linux, where no other thread is at work",
        page="docs/crashes.md",
    ),
    Option(
        name="time-limit",
        metavar="MINUTES",
        about="end what takes longer for one combination, where tests run in a process of their own; 0 for no limit",
        setting="time_limit",
        parse=_minutes,
        page="docs/crashes.md",
    ),
    Option(name=FRESH_OPTION.removeprefix(_PREFIX), about="", metavar="PIPE", ini=False),
)


def receipt_words(settings: Settings, *, vectors_only: bool = False) -> list[str]:
    """The options that the command of a receipt repeats, as words.

    Args:
        settings: A session's.
        vectors_only: Those alone that say how stored vectors are judged, which a receipt notes.
    """
    wanted = ("vectors",) if vectors_only else ("command", "vectors")
    return [word for option in OPTIONS if option.receipt in wanted for word in option.words(settings)]


def table(page: str) -> str:
    """The options as a Markdown table.

    Args:
        page: The page it stands on, one of `PAGES`; README.md leaves out what its text says of the ini file.
    """
    columns = ["option", "does"] if page == PAGES[0] else ["option", "in the ini file", "does"]
    rows = [columns, ["---"] * len(columns)]
    for option in OPTIONS:
        if option.about:
            more = f", [more]({os.path.relpath(option.page, Path(page).parent)})" if option.page else ""
            cells = {
                "option": f"`{option.usage}`",
                "in the ini file": f"`{option.ini_name}`" if option.ini else "",
                "does": option.help + more,
            }
            rows.append([cells[column].replace("|", "\\|") for column in columns])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def with_table(text: str, page: str) -> str:
    """A page's text with the table as it is now.

    Args:
        text: What the page holds.
        page: Which it is, one of `PAGES`.

    Raises:
        GateError: If it does not say where the table stands.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise GateError(f"{page} has no place for the table of options", f"write {BEGIN.strip()} and {END} around it")
    return before + BEGIN + table(page) + END + after


if __name__ == "__main__":
    for name in PAGES:
        file = Path(name)
        file.write_text(with_table(file.read_text("utf-8"), name), "utf-8")
