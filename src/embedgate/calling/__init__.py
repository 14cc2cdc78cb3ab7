"""`embedgate.gate(...)`: the gate from Python and from notebooks, by pytest itself, so that it judges the same."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, Literal

from embedgate.calling.candidates import Candidate, sorted_out
from embedgate.calling.data import Data, as_given, written
from embedgate.calling.keywords import words
from embedgate.calling.report import Report
from embedgate.core.errors import GateError
from embedgate.core.inert import one_line_inert
from embedgate.core.scratch import temporary_folder


class Interrupted(KeyboardInterrupt):
    """Somebody interrupted a gate.

    Attributes:
        report: What had been judged by then; None where nothing had.
    """

    def __init__(self, report: Report | None) -> None:
        super().__init__("the gate was interrupted")
        self.report = report


def gate(
    model: str | Path | None = None,
    candidates: Candidate | Iterable[Candidate] | Mapping[str, Any] = (),
    data: Data | Iterable[Data] = (),
    depth: Literal["quick", "standard", "nightly"] = "quick",
    *,
    quiet: bool = False,
    pytest_args: str | Iterable[str] = (),
    **options: Any,
) -> Report:
    """Gates a model, by the checks of `pytest --pyargs embedgate.suites`, in this process.

        report = embedgate.gate("my-model", {"mine": quantized}, "my.jsonl")
        assert report.passed, report.why

    Nothing is read from the project around: no ini file, no `conftest.py`. Nothing is written into the working folder.
    Without `baselines`, quality is judged against the reference of the same run, and the two checks that know approved
    values alone (`baseline`, `golden`) are not asked. Budgets are held against what embedgate itself has approved,
    which is about the bundled model alone.

    Args:
        model: A folder, a hub id with its commit, or None for the bundled all-MiniLM-L6-v2.
        candidates: What to judge; nothing for every combination. A text is a combination's id or glob
            (`"onnxruntime-*"`), or a file, folder or server as `--gate-candidate` takes it; a path is one of these.
            A pair of a name and an encoder, or a mapping of such, is an object that is there already: anything with
            `encode(texts, batch_size=)`. It is not closed, and nothing is asked that needs it built anew. Instead of
            an encoder, a function `(model_path, device) -> encoder` builds one whenever it is asked for.
        data: Names, paths and hub ids, as `--gate-data` takes them, nothing for all that is bundled; or by their names,
            a DataFrame, a list of rows, or columns. Keys stand behind a name: `{"log::text=question": frame}`.
        depth: How much to ask.
        quiet: Whether to show no progress.
        pytest_args: Further arguments of pytest, such as `["-k", "quality"]`, or as a shell has them: `"-k quality"`.
        **options: Any other option, by its name with underscores: `strict="estimate"`, `baselines="gate"`, `threads=2`.

    Returns:
        What was found.

    Raises:
        TypeError: If there is no such option.
        GateError: If anything given means nothing, or pytest could not run to its end.
        Interrupted: If somebody interrupts it; it has the report of what was judged by then.
    """
    from embedgate.calling.session import Asked, run

    given = words(options)
    with temporary_folder() as scratch:
        texts, held = sorted_out(candidates)
        chosen = [*given, *texts, *written(data, scratch), f"--gate-depth={depth}"]
        chosen += [f"--gate-model={model}"] if model is not None else []
        approved = options.get("baselines") is not None or bool(options.get("update"))
        more = shlex.split(pytest_args) if isinstance(pytest_args, str) else pytest_args
        asked = Asked([*chosen, *more], held, approved)
        try:
            found = run(asked, scratch, show=_shown(quiet))
        except GateError as error:
            told = [_without(scratch, as_given(text, scratch)) for text in (error.cause, error.action)]
            raise type(error)(*told) from None
    report = Report(found.summary) if found.summary else None
    if found.interrupted:
        raise Interrupted(report)
    assert report is not None, "a session that ended has a summary"
    if (target := Path(options["report"]).expanduser() if options.get("report") else None) is not None:
        report.save(target)
    return report


def _without(folder: PurePath, text: str) -> str:
    """A text whose files are not seen in a folder that goes; some are told as Python writes them."""
    before = str(folder / "_")[:-1]
    return text.replace(repr(before)[1:-1], "").replace(before, "")


def _shown(quiet: bool) -> Callable[[str], None] | None:
    """What shows lines of progress; None where pytest does so itself."""
    if quiet:
        return lambda _: None
    if sys.stdout.isatty():
        return None
    out = sys.stdout
    return lambda line: print(one_line_inert(line), file=out, flush=True)


__all__ = ["Interrupted", "Report", "gate"]
