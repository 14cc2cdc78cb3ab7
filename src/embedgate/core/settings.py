"""The settings of a session: all that it was asked to do, apart from pytest."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from embedgate.core.depth import NIGHTLY, STANDARD, Depth
from embedgate.core.isolation import Isolation
from embedgate.core.model import DEFAULT_MODEL, NO_MODEL
from embedgate.core.strictness import Strictness

# What people write in a folder of baselines.
TOLERANCES, EXPECTED = "tolerances.toml", "expected_failures.toml"
# The option that makes of pytest a fresh process to measure in: what it is to be, and its end of the pipe, see
# `embedgate.runtime.worker`.
FRESH_OPTION = "--gate-fresh"


@dataclass(frozen=True)
class Settings:
    """The options of one session.

    Attributes:
        model: The model to gate: a folder, `org/name@<commit>`, or the bundled one.
        name: The name of its baselines; None for its own.
        incumbent: What it is to replace: a model, a combination's id, `WHERE[::key=value,...]`, or an older report;
            None where there is nothing.
        superior: Globs over datasets on which it is to be better than that; empty for none.
        documents: How many documents an index holds that may have to be embedded anew.
        prompts: Prompts of the model to gate in place of its own, each as `ROLE=NAME` or `ROLE=TEXT`.
        combinations: Globs over combination ids; empty for all.
        candidates: What is judged beside combinations, each as `WHERE[::key=value,...]`.
        reference: What all are judged against, in the place of fp32 in torch: an id, or `WHERE[::key=value,...]`.
        record: Folder that candidates' answers are kept in, to be judged later; None for none.
        shipped: Whether every file of another backend in the model's folder is a candidate, too.
        data: Datasets to judge on: bundled names, paths or pinned hub ids; empty for the bundled ones
            in the languages that the model claims.
        profile: Name of the hardware profile; None to detect it.
        baselines: Folder of the approved baselines, tolerances and expected failures.
        base: The branch, or any commit, that a change is to be merged into, by whose tolerances, expected failures and
            approved values is judged as well; `none` for none, None for the one that CI names.
        threads: Threads every backend uses; None for all usable cores.
        processes: Processes of pytest-xdist that share the cores, each with a session of its own.
        batch_size: Texts per batch.
        update: Whether to record what is measured as the new baseline.
        reason: Why, where `update`.
        update_in_ci: Whether `update` is allowed where the environment says CI.
        strict: What fails beside lost quality, such as what is inconclusive.
        report: Folder for `report.json` and `report.md`; None for none.
        receipts: Reports of sessions on a GPU that CUDA combinations are held against; empty where none is asked for.
        cache: Folder of built artefacts; None for the user's cache folder.
        depth: How much of all there is to ask is asked.
        isolate: Whether the tests run in a process of their own.
        time_limit: Minutes that one combination may take there; 0 for no limit.
        seed: What generated texts are drawn from, and the order of texts of like length; None for the depth's own.
        examples: Examples, each of one to three texts, that every property is tried on first.
        corpus_size: How many vectors stored ones are searched among; None for the usual number.
        dims: Numbers of dimensions to truncate stored vectors to; empty for those the model says it is trained for.
        engines: Globs over indexes of engines that search stored vectors; empty for the usual ones.
        ranges: File of the ranges that 8-bit codes of stored vectors are steps of; None for the approved ones.
        invocation: The arguments pytest was called with, to name the command that approves and to start it anew.
        folder: Where it was called.
        is_call: Whether `embedgate.gate` called it, so that people are told calls of that in the place of commands.
    """

    model: str = DEFAULT_MODEL
    name: str | None = None
    incumbent: str | None = None
    superior: tuple[str, ...] = ()
    documents: int = 1_000_000
    prompts: tuple[str, ...] = ()
    combinations: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    reference: str | None = None
    record: Path | None = None
    shipped: bool = False
    data: tuple[str, ...] = ()
    profile: str | None = None
    baselines: Path | None = None
    base: str | None = None
    threads: int | None = None
    processes: int = 1
    batch_size: int = 32
    update: bool = False
    reason: str = ""
    update_in_ci: bool = False
    strict: Strictness = Strictness.USUAL
    report: Path | None = None
    receipts: tuple[Path, ...] = ()
    cache: Path | None = None
    depth: Depth = STANDARD
    isolate: Isolation = Isolation.AUTO
    time_limit: float = 120
    seed: int | None = None
    examples: tuple[tuple[str, ...], ...] = ()
    corpus_size: int | None = None
    dims: tuple[int, ...] = ()
    engines: tuple[str, ...] = ()
    ranges: Path | None = None
    invocation: tuple[str, ...] = ()
    folder: Path = Path()
    is_call: bool = False

    def call(self, **options: object) -> str:
        """The call of `embedgate.gate` that asks for the same with further options; `...` stands for what was given."""
        return f"gate({', '.join(('...', *(f'{name}={value!r}' for name, value in options.items())))})"

    @property
    def stops_early(self) -> bool:
        """Whether a verdict that is certain may be reached on a part of the items."""
        return self.depth != NIGHTLY

    @property
    def threads_alone(self) -> int:
        """Threads of a fresh process, beside which nothing else of the session is at work."""
        return self.threads or _cores()

    @property
    def threads_here(self) -> int:
        """Threads of a session: processes that each use all cores would wait for each other."""
        return self.threads or max(1, _cores() // self.processes)

    @property
    def asks_elsewhere(self) -> bool:
        """Whether what is judged, or judged against, comes from elsewhere than the backends and the host project."""
        return bool(self.candidates or self.shipped or self.reference) or self.model == NO_MODEL

    @property
    def baselines_folder(self) -> Path:
        """The folder of the approved baselines, embedgate's own where none was given."""
        return self.baselines or bundled_baselines()

    @property
    def tolerances_to_edit(self) -> str:
        """The tolerances file of the user's own, in words: where there is none yet, what it is to hold."""
        own = self.baselines and self.baselines / TOLERANCES
        if own and own.is_file():
            return str(own)
        where = str(own) if own else "a tolerances.toml in a folder of your own (--gate-baselines)"
        return f"{where}, which need hold nothing else"


def own_or_bundled(folder: Path, name: str) -> Path:
    """A file of a host project's baselines folder, embedgate's own where it has none."""
    return folder / name if (folder / name).is_file() else bundled_baselines() / name


def bundled_baselines() -> Path:
    """The folder of embedgate's own baselines: `baselines/` in a checkout."""
    return Path(str(resources.files("embedgate.baselines")))


def _cores() -> int:
    from embedgate.core.machine import default_threads  # which imports what no help page needs

    return default_threads()
