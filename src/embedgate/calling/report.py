"""What a gate found, as Python and notebooks take it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedgate.core.errors import GateError, unwritten
from embedgate.core.files import refuse_no_folder
from embedgate.core.judgement import Judgement
from embedgate.report import columns, files, html, json_report, receipt, terminal
from embedgate.report.decision import decision
from embedgate.report.merged import in_order, join
from embedgate.report.summary import SCHEMA, Summary, summarise

if TYPE_CHECKING:
    from pandas import DataFrame

FIGURES = ("value", "reference_value", "observed", "low", "high", "limit", "n", "message")
# Pixels; what is higher scrolls.
HEIGHT = 640


class Report:
    """What a gate found.

    Args:
        summary: The session's findings.
    """

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    @classmethod
    def read(cls, path: str | Path) -> Report:
        """Reads a `report.json` back.

        Raises:
            GateError: If it is missing, of another version, or not as it was written.
        """
        from embedgate.checks import CheckRegistry

        known = CheckRegistry().known
        content = receipt.read(Path(path), SCHEMA, "report")
        try:
            return cls(summarise(join(in_order([content]), known), known))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            cause = f"{path} lacks what this embedgate writes: {type(error).__name__}: {error}"
            raise GateError(cause, "read a report of this version") from error

    @property
    def verdict(self) -> str:
        """The worst of all: `pass`, `inconclusive`, `fail`, or `skipped` where nothing could run."""
        return self._summary.verdict

    @property
    def passed(self) -> bool:
        """Whether nothing is red: as pytest's exit status is 0."""
        return self.verdict != "fail" and not self._summary.others_failed

    @property
    def answer(self) -> str:
        """May it ship? `yes`, `no` or `not known`."""
        return decision(self._summary).answer

    @property
    def why(self) -> str:
        """Why, in a sentence."""
        return decision(self._summary).why

    @property
    def failures(self) -> list[Judgement]:
        """What is red, those apart that were expected to fail."""
        return self._summary.red

    def to_frame(self) -> DataFrame:
        """A row for each judgement, with the numbers that decided.

        Raises:
            GateError: If pandas is not installed.
        """
        about = ("combination", "check", "dataset", "metric", "verdict")
        return _frame([{name: getattr(j, name) for name in (*about, *FIGURES)} for j in self._summary.judged])

    def summary_frame(self) -> DataFrame:
        """A row for each combination: the table, as texts.

        Raises:
            GateError: If pandas is not installed.
        """
        table = columns.table(self._summary)
        headings = [column.heading for column in table.columns]
        return _frame([dict(zip(headings, map(str, cells), strict=True)) for cells in table.rows])

    def to_json(self) -> dict[str, Any]:
        """All that was found, as `report.json` has it: docs/report-schema.md."""
        return receipt.seal(json_report.content(self._summary))

    def save(self, folder: str | Path) -> list[Path]:
        """Writes `report.json`, `report.md`, `report.html` and the plot, as `--gate-report` does.

        Args:
            folder: Where to; made if it is not there.

        Returns:
            The files written.

        Raises:
            GateError: If they cannot be written.
        """
        target = Path(folder).expanduser()
        refuse_no_folder(target, "save()")
        try:
            return files.write(self._summary, target)
        except OSError as error:
            raise GateError(*unwritten(target, error, "name another folder")) from error

    def __repr__(self) -> str:
        """The section that ends a session in the terminal."""
        return terminal.render(self._summary).rstrip("\n")

    def _repr_html_(self) -> str:
        """`report.html`, in a frame of its own: neither sees the other's styles, scripts or cookies."""
        page = escape(html.render(self._summary), quote=True)
        style = f"width: 100%; height: {HEIGHT}px; border: 1px solid #d0d7de"
        return (
            f'<iframe title="embedgate" sandbox="allow-scripts allow-popups" style="{style}" srcdoc="{page}"></iframe>'
        )


def _frame(rows: list[dict[str, Any]]) -> DataFrame:
    try:
        import pandas
    except ImportError as error:
        raise GateError("frames need pandas", "pip install 'embedgate[notebook]'") from error
    return pandas.DataFrame(rows)
