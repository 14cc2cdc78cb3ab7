"""The options and their ini twins: declared, read into settings, and refused where they mean nothing.

The plugin tells these errors as misuse.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from embedgate.core.errors import GateError
from embedgate.core.files import refuse_no_folder
from embedgate.core.inert import inert
from embedgate.core.isolation import Isolation
from embedgate.core.options import OPTIONS, Option
from embedgate.core.settings import Settings

if TYPE_CHECKING:
    from embedgate.checks import CheckRegistry
    from embedgate.runtime.plan import Plan


# Whether `embedgate.gate` called pytest.
CALLED = pytest.StashKey[bool]()


def declare(parser: pytest.Parser) -> None:
    """Declares the options `--gate-*` and their ini twins `gate_*`."""
    group = parser.getgroup("gate", "embedgate: quality gate for quantized embedding models")
    for option in OPTIONS:
        kind: dict[str, Any] = {"action": "append" if option.repeatable else "store", "metavar": option.metavar}
        group.addoption(
            option.flag,
            default=None,
            help=option.help or argparse.SUPPRESS,
            **(kind if option.metavar else {"action": "store_true"}),
        )
        for level in option.levels:
            # Flags of their own: a value that may be left out would take the path behind it, `--gate-strict suites/`.
            flag, dest = f"{option.flag}={level}", option.ini_name
            group.addoption(flag, action="store_const", const=level, dest=dest, default=None, help=argparse.SUPPRESS)
        if option.ini:
            _declare_twin(parser, option)


def _declare_twin(parser: pytest.Parser, option: Option) -> None:
    kind: Any = option.ini_type
    if option.levels:
        try:
            parser.addini(option.ini_name, option.help, type=bool | str, default=None)
        except (AssertionError, TypeError, ValueError):
            kind = "string"  # a pytest without unions reads `true` as a text, which is one as well
        else:
            return
    parser.addini(option.ini_name, option.help, type=kind, default=None)


def settings_of(config: pytest.Config) -> Settings:
    """The options of a session.

    Paths of the command line are taken from where pytest was called, those of the ini file from its folder.

    Raises:
        GateError: If one means nothing.
    """
    called_in = config.invocation_params.dir
    # Without an ini file, its options come from `-o`, on the command line as well: so does pytest take paths of them.
    ini_folder = config.inipath.parent if config.inipath else called_in
    found: dict[str, Any] = {}
    for option in OPTIONS:
        if option.setting is None:
            continue
        given, folder = config.getoption(option.ini_name), called_in
        if given is None and option.ini:
            given, folder = config.getini(option.ini_name), ini_folder
        if given not in (None, ""):
            found[option.setting] = option.read(given, folder)
    found["is_call"] = config.stash.get(CALLED, False)
    found["processes"] = getattr(config, "workerinput", {}).get("workercount", 1)
    return Settings(**found, invocation=tuple(map(str, config.invocation_params.args)), folder=called_in)


def gives_out(config: pytest.Config) -> bool:
    """Whether this process gives out tests to processes of pytest-xdist."""
    asked = getattr(config.option, "tx", None) or getattr(config.option, "numprocesses", None)
    return bool(asked) and not hasattr(config, "workerinput")


@contextmanager
def misuse() -> Iterator[None]:
    """Tells an error as pytest tells misuse: in a line, and before any test."""
    try:
        yield
    except GateError as error:
        raise pytest.UsageError(inert(str(error))) from error


def refuse_misuse(config: pytest.Config, settings: Settings) -> None:
    """Refuses options that do not go together.

    Raises:
        GateError: With the first that does not.
    """
    _refuse_ignored_ini(config)
    if settings.superior and settings.incumbent is None:
        raise GateError("--gate-superior needs what to be better than", "name it by --gate-incumbent")
    if settings.report is not None:
        refuse_no_folder(settings.report, "--gate-report")
        if any(receipt.parent.resolve() == settings.report.resolve() for receipt in settings.receipts):
            cause = f"--gate-report {settings.report} holds a receipt that is to be verified"
            raise GateError(cause, "name another folder")
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
    if settings.isolate is Isolation.ON and gives_out(config):
        raise GateError("--gate-isolate: pytest-xdist runs tests in processes of its own", "give it or -n, not both")
    if settings.record is not None and getattr(config.option, "numprocesses", None):
        raise GateError("--gate-record needs one process, or each would ask for all answers: run it without -n")
    if settings.ranges is not None and not settings.ranges.is_file():
        raise GateError(f"{settings.ranges} is missing: save ranges [2, dim] by numpy.save")


def refuse_bad_models(plan: Plan) -> None:
    """Tells a model that is missing, unpinned or unsafe once, before any test; the bundled one is left for later.

    Raises:
        GateError: With its cause.
    """
    _ = plan.incumbent, plan.superior
    if plan.settings.model != Settings.model:
        _ = plan.model


def refuse_bad_files(plan: Plan, checks: CheckRegistry) -> None:
    """Tells tolerances, expected failures or pinned examples that are malformed once, before any test.

    So too a base branch that was asked for and cannot be found.

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
    _ = plan.base


def refuse_without_benchmark(config: pytest.Config) -> None:
    """Tells that what times is not there once, before any test.

    Raises:
        GateError: If pytest-benchmark was left out.
    """
    if not config.pluginmanager.hasplugin("benchmark"):
        cause = "budgets of time are timed by pytest-benchmark, whose plugin is not loaded"
        raise GateError(cause, "leave out -p no:benchmark, or budgets: -m 'not budget'")


def refuse_overwriting(plan: Plan) -> None:
    """Tells that answers were recorded already, before any test: they may have been paid for.

    Raises:
        GateError: With the first file that is there.
    """
    sources = (*plan.combinations, *(combination.reference for combination in plan.combinations))
    for file in filter(None, map(plan.recording, sources)):
        if file.exists():
            raise GateError(f"--gate-record: {file} is there already", "give another folder, or delete the file")


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
