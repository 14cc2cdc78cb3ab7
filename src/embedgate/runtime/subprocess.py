"""Measures in a fresh process: pytest once more with the same arguments, which measures instead of testing.

Conftests and plugins are loaded as in the process that asks, so a host project's own combinations are there as well.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from embedgate.core.combination import Combination
from embedgate.core.errors import BuildError, GateError, one_line
from embedgate.core.files import read_json, to_json, write_whole
from embedgate.core.settings import FRESH_OPTION
from embedgate.performance.footprint import Footprint
from embedgate.performance.paired import Aim, Row
from embedgate.performance.workloads import WORKLOADS
from embedgate.runtime import resources

if TYPE_CHECKING:
    from embedgate.runtime.plan import Plan
    from embedgate.runtime.session import Session

# For starting and building, and again for each workload.
TIMEOUT_SECONDS = 600
ALONE = "run this combination alone; it may need more memory or time than there is"


T = TypeVar("T")


class _Request(msgspec.Struct):
    what: Literal["footprint", "rows"]
    combination: str
    workloads: dict[str, Aim] = {}


class _Answer(msgspec.Struct, Generic[T]):
    """The result that was found; or what prevented it, and what to do."""

    found: T | None = None
    cause: str = ""
    action: str = ""


@dataclass(frozen=True)
class FreshProcess:
    """Starts a process for each measurement.

    Attributes:
        arguments: What pytest was called with.
        folder: Where it was called.
    """

    arguments: Sequence[str]
    folder: Path

    def footprint(self, combination: Combination) -> Footprint:
        """Memory and cold start of a combination.

        Raises:
            GateError: If it cannot be measured.
        """
        return self._ask(_Request("footprint", combination.id), Footprint)

    def rows(self, combination: Combination, workloads: Mapping[str, Aim]) -> dict[str, list[Row]]:
        """Turns of a combination and its reference, as in `embedgate.performance.paired.Blocks.rows`, by workload.

        Args:
            combination: The combination.
            workloads: By the id of a workload, what is asked about it.

        Raises:
            GateError: If it cannot be measured.
        """
        return self._ask(_Request("rows", combination.id, dict(workloads)), dict[str, list[Row]])

    def _ask(self, request: _Request, form: type[T]) -> T:
        with tempfile.TemporaryDirectory(prefix="embedgate-") as folder:
            file = Path(folder) / "request.json"
            write_whole(file, to_json(msgspec.to_builtins(request)).encode())
            # First, since whatever comes after a `--` of the user's is a path.
            command = [sys.executable, "-m", "pytest", f"{FRESH_OPTION}={file}", *self.arguments]
            timeout = TIMEOUT_SECONDS * (1 + len(request.workloads))
            try:
                done = subprocess.run(
                    command,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    encoding="utf-8",
                    errors="replace",
                    timeout=timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise BuildError(
                    f"{request.combination} took more than {timeout // 60} minutes in a fresh process", ALONE
                ) from error
            except OSError as error:
                raise BuildError(f"no fresh process could be started: {error}") from error
            answer: type[_Answer[T]] = _Answer[form]  # type: ignore[valid-type]
            found = read_json(file.with_suffix(".answer"), answer, BuildError, ALONE)
            if found is None:
                how = f"was killed by signal {-done.returncode}" if done.returncode < 0 else "ended without an answer"
                said = _error_of(done.stderr) or _error_of(done.stdout) or "it printed nothing"
                raise BuildError(f"the fresh process of {request.combination} {how}: {said}", ALONE)
        if found.found is None:
            raise GateError(found.cause, found.action)
        return found.found


def answer(plan: Plan, file: Path) -> None:
    """Does the work of a fresh process: measures as asked, and writes the answer beside the request."""
    from embedgate.runtime.session import Session

    request = read_json(file, _Request, GateError)
    if request is None:
        raise GateError(
            f"there is no request at {file}", f"leave {FRESH_OPTION} to embedgate, which starts itself by it"
        )
    session = Session(plan)
    try:
        found = _Answer(_measure(session, request))
    except Exception as error:
        found = _trouble(error, request.combination)
    finally:
        session.close()
    write_whole(file.with_suffix(".answer"), to_json(msgspec.to_builtins(found)).encode())


def _trouble(error: Exception, id_: str) -> _Answer[Any]:
    """Makes an answer of what went wrong; memory that ran out is told as such."""
    told: GateError | None = resources.told(error, Combination.parse(id_), "being measured in a fresh process")
    if told is None:
        known = error if isinstance(error, GateError) else None
        told = known or GateError(f"{id_} failed in a fresh process: {one_line(error)}", ALONE)
    return _Answer(None, told.cause, told.action)


def _measure(session: Session, request: _Request) -> Any:
    combination = session.plan.registry.find(request.combination)
    if combination is None:
        raise GateError(
            f"{request.combination} is not known in a fresh process",
            "add it in the conftest.py of the folder that pytest is called in, or in a plugin",
        )
    if request.what == "footprint":
        from embedgate.performance.footprint import measure

        return measure(session.pool, combination)
    from embedgate.performance.timing import Timing

    timing = Timing(session.pool)
    return {name: timing.rows(combination, WORKLOADS[name], aim) for name, aim in request.workloads.items()}


def _error_of(output: str) -> str:
    """The line that tells an error, or else the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line.lower() and "usage:" not in line]
    return (told or lines or [""])[-1]
