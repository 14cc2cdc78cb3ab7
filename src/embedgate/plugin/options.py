"""The options and their ini twins: declared, read into settings, and refused where they mean nothing.

pytest itself is imported by the plugin alone, which tells these errors as misuse.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedgate.core.errors import GateError
from embedgate.core.settings import EXPLORATIONS, FRESH_OPTION, Settings

if TYPE_CHECKING:
    import pytest

    from embedgate.checks import CheckRegistry
    from embedgate.runtime.plan import Plan


def declare(parser: pytest.Parser) -> None:
    """Declares the options `--gate-*` and their ini twins `gate_*`."""
    group = parser.getgroup("gate", "embedgate: quality gate for quantized embedding models")

    def add(name: str, about: str, kind: str = "string", **keywords: Any) -> None:
        group.addoption(f"--gate-{name}", default=None, help=about, **keywords)
        parser.addini(f"gate_{name.replace('-', '_')}", about, type=kind, default=None)  # type: ignore[arg-type]

    add("model", "model to gate: a folder, or a hub id with its commit (org/name@commit)", metavar="PATH|HUB_ID@REV")
    add("incumbent", "model it is to replace: judges the upgrade", metavar="PATH|HUB_ID@REV")
    add("combination", "combinations to run, a glob (repeatable)", "args", action="append", metavar="GLOB")
    add(
        "data",
        "dataset: a bundled name, a file or folder, or hub:org/name@commit (repeatable)",
        "args",
        action="append",
        metavar="NAME|PATH",
    )
    add("profile", "hardware profile whose baselines count (default: detected)", metavar="NAME")
    add("baselines", "folder of baselines, tolerances.toml and expected_failures.toml", metavar="DIR")
    add("threads", "threads of every backend (default: all usable cores)", metavar="N")
    add("batch-size", "texts per batch (default: 32)", metavar="N")
    add("update", "record what is measured as the approved baseline", "bool", action="store_true")
    add("reason", "why the baseline changes, with --gate-update", metavar="TEXT")
    add("update-in-ci", "allow --gate-update where CI is set", "bool", action="store_true")
    add("strict", "fail on inconclusive and on unavailable combinations", "bool", action="store_true")
    add("report", "write report.json and report.md into this folder", metavar="DIR")
    add(
        "receipt",
        "report.json of a session on a GPU: CUDA combinations are held against it, without a GPU (repeatable)",
        "args",
        action="append",
        metavar="FILE",
    )
    add("exploration", "how long properties are looked into: ci (default) or nightly", metavar="NAME")
    add("seed", "what generated texts are drawn from, and the order of texts of like length", metavar="N")
    add(
        "example",
        'texts that every property is tried on first, as JSON: ["one", "two"] (repeatable)',
        "args",
        action="append",
        metavar="JSON",
    )
    add("cache", "folder of built artefacts (default: the user's cache folder)", metavar="DIR")
    add("corpus-size", "vectors that stored ones are searched among (default: 10000)", metavar="N")
    add("dims", "dimensions to truncate stored vectors to (repeatable)", "args", action="append", metavar="N")
    add("engine", "indexes to judge, a glob such as 'faiss-*' (repeatable)", "args", action="append", metavar="GLOB")
    add("ranges", "ranges of 8-bit codes in production: a .npy file of floats [2, dim]", metavar="FILE")
    group.addoption(
        "--gate-noise",
        action="store_true",
        help="measure how far speed ratios move by chance on this machine, and what slack covers it; runs no test",
    )
    group.addoption(FRESH_OPTION, default=None, help=argparse.SUPPRESS)


def settings_of(config: pytest.Config) -> Settings:
    """The options of a session.

    Raises:
        GateError: If one means nothing.
    """

    def option(name: str) -> Any:
        given = config.getoption(f"gate_{name}")
        return given if given is not None else config.getini(f"gate_{name}")

    def path(name: str) -> Path | None:
        return Path(option(name)).expanduser() if option(name) else None

    def count(name: str, least: int = 1) -> int | None:
        if option(name) in (None, ""):
            return None
        try:
            number = int(option(name))
        except ValueError:
            number = least - 1
        if number < least:
            raise GateError(
                f"--gate-{name.replace('_', '-')} must be a whole number from {least}, not {option(name)!r}"
            )
        return number

    def examples() -> tuple[tuple[str, ...], ...]:
        if not option("example"):
            return ()
        import json

        from embedgate.approved.examples import parse_example

        try:
            return tuple(parse_example(json.loads(text), "--gate-example") for text in option("example"))
        except ValueError as error:
            raise GateError(f'--gate-example is no JSON, such as ["one text", "another"]: {error}') from error

    def dims() -> list[int]:
        words = option("dims") or ()
        if not all(str(word).isdecimal() and int(word) > 0 for word in words):
            raise GateError(f"--gate-dims must be a whole number from 1, not {' '.join(map(str, words))!r}")
        return sorted({int(word) for word in words}, reverse=True)

    exploration = option("exploration") or Settings.exploration
    if exploration not in EXPLORATIONS:
        raise GateError(f"--gate-exploration must be {' or '.join(EXPLORATIONS)}, not {exploration!r}")
    return Settings(
        model=option("model") or Settings.model,
        incumbent=option("incumbent") or None,
        combinations=tuple(option("combination") or ()),
        data=tuple(option("data") or ()),
        profile=option("profile") or None,
        baselines=path("baselines"),
        threads=count("threads"),
        batch_size=count("batch_size") or Settings.batch_size,
        update=bool(option("update")),
        reason=option("reason") or "",
        update_in_ci=bool(option("update_in_ci")),
        strict=bool(option("strict")),
        report=path("report"),
        receipts=tuple(config.invocation_params.dir / Path(file).expanduser() for file in option("receipt") or ()),
        cache=path("cache"),
        exploration=exploration,
        seed=count("seed", least=0),
        examples=examples(),
        corpus_size=count("corpus_size", least=100),
        dims=tuple(dims()),
        engines=tuple(option("engine") or ()),
        ranges=path("ranges"),
        invocation=tuple(map(str, config.invocation_params.args)),
        folder=config.invocation_params.dir,
    )


def refuse_misuse(config: pytest.Config, settings: Settings) -> None:
    """Refuses options that do not go together.

    Raises:
        GateError: With the first that does not.
    """
    _refuse_ignored_ini(config)
    if settings.update:
        from embedgate.core.machine import in_ci

        if not settings.reason.strip():
            raise GateError('--gate-update needs a reason: --gate-reason "why the baseline changes"')
        if in_ci() and not settings.update_in_ci:
            raise GateError("--gate-update is refused in CI: approve on a machine of yours, or add --gate-update-in-ci")
        if settings.ranges is not None:
            raise GateError("--gate-update approves ranges of its own: leave --gate-ranges out")
        if getattr(config.option, "numprocesses", None):
            raise GateError("--gate-update needs one process: run it without -n")
    elif settings.reason:
        raise GateError("--gate-reason goes with --gate-update")
    if settings.ranges is not None and not settings.ranges.is_file():
        raise GateError(f"{settings.ranges} is missing: save ranges [2, dim] by numpy.save")


def refuse_bad_models(plan: Plan) -> None:
    """Tells a model that is missing, unpinned or unsafe once, before any test; the bundled one is left for later.

    Raises:
        GateError: With its cause.
    """
    _ = plan.incumbent
    if plan.settings.model != Settings.model:
        _ = plan.model


def refuse_bad_files(plan: Plan, checks: CheckRegistry) -> None:
    """Tells tolerances, expected failures or pinned examples that are malformed once, before any test.

    Raises:
        GateError: With the first.
    """
    from embedgate.approved.examples import load_pinned
    from embedgate.checks.context import expectations_of, tolerances_of
    from embedgate.core.machine import profile

    if plan.settings.profile:
        profile(plan.settings.profile)
    tolerances_of(plan)
    expectations_of(plan, checks)
    load_pinned(plan.settings.baselines_folder)


def refuse_misfits(plan: Plan) -> None:
    """Tells what cannot be searched once, before any test: dimensions, ranges, or a collection that is too large.

    Where the model's files do not say how many dimensions it has, it is told once it is known.

    Raises:
        GateError: With the first.
    """
    settings = plan.settings
    asked = settings.dims or settings.ranges or settings.corpus_size
    if not asked or plan.collection is None or (dim := plan.model.dim) is None:
        return
    plan.require_searchable(dim)
    if settings.ranges is not None:
        from embedgate.vectors.codes import Ranges

        Ranges.load(settings.ranges, dim)


def _refuse_ignored_ini(config: pytest.Config) -> None:
    """Tells that pytest has not read the ini file that sets the gate where it was called.

    It takes a path among the arguments for a place of tests, an option's value too where it is not joined by `=`, and
    looks for its ini file from the folder that all places share.
    """
    if config.inipath is not None:
        return
    for name in ("pytest.toml", "pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg"):
        file = config.invocation_params.dir / name
        lines = file.read_text("utf-8", errors="replace").splitlines() if file.is_file() else []
        if any(line.startswith("gate_") for line in lines):
            raise GateError(
                f"pytest has not read {file}, which sets the gate, since it takes {config.rootpath} for its rootdir: "
                "join options and their paths by '=', such as --gate-report=DIR"
            )
