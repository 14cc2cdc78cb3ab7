"""An older report, as what a model is held against that has not changed, while libraries have.

A report holds values and no scores of single items, so a comparison with it is one of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedgate.approved.entries import Key
from embedgate.approved.proposal import SECTION as APPROVABLE
from embedgate.approved.proposal import Proposal
from embedgate.core.combination import device_of
from embedgate.core.distrust import distrusting
from embedgate.core.errors import GateError
from embedgate.core.judgement import Judgement
from embedgate.report import agreement
from embedgate.report.receipt import CHECKSUM, SECTION, read
from embedgate.report.records import RunFacts

if TYPE_CHECKING:
    from embedgate.core.model import Model
    from embedgate.data.types import Dataset
    from embedgate.diagnosis.golden import Golden

CALLED = "report of an earlier session"


@dataclass(frozen=True)
class Known:
    """A value that a report knows.

    Attributes:
        value: The value, over all items of the dataset.
        low: Lower end of its interval; None where the report has none.
        high: Upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class EarlierReport:
    """A report that an earlier session wrote, whole and as it was written.

    Attributes:
        path: The file.
        report: What it says.
    """

    path: Path
    report: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path, flag: str) -> EarlierReport:
        """Reads a report.

        Args:
            path: The file.
            flag: The option that named it, for messages.

        Raises:
            GateError: If it is missing, cut short, changed by hand, of another schema, or nothing was judged in it.
        """
        from embedgate.report.summary import SCHEMA

        try:
            report = read(path, SCHEMA, CALLED)
        except GateError as error:
            raise GateError(
                f"{flag}: {error.cause}", error.action or "give a report.json as embedgate wrote it"
            ) from error
        found = cls(path, report)
        where = f"{flag}: {path} is no report of this embedgate's"
        with distrusting(GateError, where, "make one with it, by --gate-report"):
            _ = (
                found.created,
                found.fingerprint,
                found.libraries,
                str(report["model"]["name"]),
                found._rows,
                found._hashes,
                found._runs,
                found._values,
            )
        return found

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.path.as_posix()} of {self.created[:10]}"

    @property
    def created(self) -> str:
        """When it was written, ISO 8601."""
        return str(self.report["created"])

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model that it judged."""
        return str(self.report["model"]["fingerprint"])

    @property
    def sha256(self) -> str:
        """Its checksum."""
        return str(self.report[SECTION][CHECKSUM])

    @property
    def libraries(self) -> Mapping[str, str]:
        """Versions of the libraries that computed."""
        return dict(self.report["libraries"])

    def require(self, model: Model, datasets: Iterable[Dataset], flag: str) -> None:
        """Requires that a model can be held against it.

        Args:
            model: The model to gate.
            datasets: What it is judged on.
            flag: The option that named it, for messages.

        Raises:
            GateError: If it is about another model, or about none of these data.
        """
        if self.fingerprint != model.fingerprint:
            told = self.report["model"]
            cause = f"{flag}: {self.path} is about the model {told['name']} ({self.fingerprint[:12]})"
            cause += (
                f", and {model.name} ({model.fingerprint[:12]}) is gated: a report holds no vectors of another model"
            )
            raise GateError(cause, "give that model itself, which then runs here and is compared item by item")
        reasons = [self.apart(dataset) for dataset in datasets]
        if all(reasons):
            cause = f"{flag}: {self.path} knows no value of these data: {'; '.join(reasons)}"
            raise GateError(cause, "give the data that it judged by --gate-data, or a report of today's")

    def ran(self, id_: str) -> bool:
        """Whether a combination ran in it."""
        return id_ in self._runs

    def run(self, id_: str) -> RunFacts | None:
        """Evidence and figures of a combination; None where it did not run."""
        return self._runs.get(id_)

    def apart(self, dataset: Dataset) -> str:
        """Why values on a dataset cannot be compared, in a few words; empty where they can."""
        if dataset.name not in self._hashes:
            return f"it has not judged {dataset.name}"
        theirs = self._hashes[dataset.name]
        if theirs != dataset.sha256:
            return f"{dataset.name} had other rows then (SHA-256 {theirs[:12]}, here {dataset.sha256[:12]})"
        return ""

    def value(self, id_: str, dataset: Dataset, metric: str) -> Known | None:
        """A metric of a combination over all items of a dataset that is the same; None where it is not known."""
        key = Key(id_, dataset.name, metric, dataset.sha256)
        return self._values.get(key) if not self.apart(dataset) else None

    def golden(self, id_: str, sha256: str) -> Golden | None:
        """What became of the golden texts of a hash; None where it is not known."""
        found = (each.golden.get(id_) for each in self._proposals if each.golden_sha256 == sha256)
        return next(filter(None, found), None)

    @cached_property
    def _rows(self) -> Mapping[str, Mapping[str, Any]]:
        return {row["combination"]: row for row in self.report["combinations"]}

    @cached_property
    def _hashes(self) -> Mapping[str, str]:
        return {str(each["name"]): str(each["sha256"]) for each in self.report["datasets"]}

    @cached_property
    def _runs(self) -> Mapping[str, RunFacts]:
        found = {id_: RunFacts.from_json(row["run"]) for id_, row in self._rows.items()}
        return {id_: run for id_, run in found.items() if run is not None}

    @cached_property
    def _proposals(self) -> tuple[Proposal, ...]:
        plain = self.report.get(APPROVABLE, ())
        return tuple(Proposal.from_json(each, f"{self.path}: {APPROVABLE}") for each in plain)

    @cached_property
    def _values(self) -> Mapping[Key, Known]:
        """What is known: of what could be approved with its interval, else as it was judged.

        What several hardware profiles of a merged report know otherwise is nobody's value: it counts as it was judged.
        """
        known: dict[Key, set[Known]] = {}
        for entry in (entry for proposal in self._proposals for entry in proposal.entries):
            known.setdefault(entry.key, set()).add(Known(entry.value, entry.low, entry.high))
        return {**dict(self._judged()), **{key: of.pop() for key, of in known.items() if len(of) == 1}}

    def _judged(self) -> Iterator[tuple[Key, Known]]:
        """Values of judgements that all items decided; the reference's stands in those of other combinations."""
        of_reference = {id_ for id_, row in self._rows.items() if row["reference"]}
        for id_, row in self._rows.items():
            for judged in map(Judgement.from_json, row["judgements"]):
                if judged.check not in agreement.KEPT or judged.value is None or judged.dataset not in self._hashes:
                    continue
                if not judged.is_whole:
                    continue
                sha256 = self._hashes[judged.dataset]
                yield Key(id_, judged.dataset, judged.metric, sha256), Known(judged.value)
                if judged.reference_value is not None:
                    for reference in _reference_of(id_, of_reference):
                        yield Key(reference, judged.dataset, judged.metric, sha256), Known(judged.reference_value)


def _reference_of(id_: str, references: Iterable[str]) -> Iterator[str]:
    """The references on a combination's device, of which a session has one."""
    yield from (each for each in references if device_of(each) == device_of(id_))
