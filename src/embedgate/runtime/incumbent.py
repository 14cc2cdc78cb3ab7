"""The incumbent: what a new model, file or library is to replace (`--gate-incumbent`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from embedgate.core.combination import Combination
from embedgate.core.errors import GateError, ModelError
from embedgate.core.model import NO_MODEL, Model, resolve
from embedgate.core.spec import NAME, Spec
from embedgate.deployed import KINDS, Kind, source_of
from embedgate.encoders.registry import Registry
from embedgate.encoders.sources import Answers, Source

if TYPE_CHECKING:
    from embedgate.data.types import Dataset
    from embedgate.report.earlier import EarlierReport

FLAG = "--gate-incumbent"
# The key that names the model whose tokenizer, prompts and similarity a candidate goes with.
OF = "of"
FORMS = "give a model's folder, org/name@<commit>, a combination's id, what --gate-candidate takes, or a report.json"


@dataclass(frozen=True)
class Incumbent:
    """What is to be replaced.

    Attributes:
        kind: `model`: its combinations are held against the same ones of the new model. `candidate` and `combination`:
            it is one way of running a model, against which everything is held. `report`: values are known alone.
        name: What messages call it.
        source: Where it comes from, as a person calls it.
        fingerprint: What tells it from others, hex.
        model: The model whose prompts and similarity it has.
        combination: What it runs as, where it is one; None where it runs as what is held against it.
        report: The report, where it is one.
        candidate: What makes its encoder, where it is a candidate.
    """

    kind: Literal["model", "candidate", "combination", "report"]
    name: str
    source: str
    fingerprint: str
    model: Model
    combination: Combination | None = None
    report: EarlierReport | None = None
    candidate: Source | None = None

    @property
    def runs(self) -> bool:
        """Whether it has vectors in this session."""
        return self.kind != "report"

    @property
    def answers(self) -> Answers:
        """The texts that it knows the vectors of."""
        return self.candidate.answers if self.candidate is not None else "any text"

    def counterpart(self, combination: Combination, registry: Registry) -> Combination:
        """What it runs as, for a combination of the new model to be held against.

        That is the same combination, but the reference for what comes from elsewhere, such as a file that is shipped
        with the new model, and for what cannot be made of the old model.
        """
        if self.combination is not None:
            return self.combination
        source = registry.source(combination)
        return combination.reference if source.origin or source.unfit(self.model) else combination

    def holds(self, combination: Combination) -> bool:
        """Whether a combination of the new model can be held against it."""
        if self.report is not None:
            return self.report.ran(combination.id)
        return combination != self.combination


def incumbent_of(text: str, model: Model, registry: Registry, datasets: tuple[Dataset, ...]) -> Incumbent:
    """The incumbent that a text names.

    Args:
        text: As `--gate-incumbent` takes it.
        model: The model to gate.
        registry: Every combination there is; a candidate is added to it, apart from those of the session.
        datasets: The session's.

    Raises:
        GateError: If it names nothing, or nothing that the model can be held against.
    """
    spec = Spec.parse(text, FLAG)
    place = Path(spec.where).expanduser()
    known = None if place.exists() or spec.given else registry.find(text)
    if known is not None:
        return Incumbent("combination", known.id, text, _sha256(known.id), model, known)
    if spec.where == NO_MODEL:
        raise GateError(f"{FLAG} {NO_MODEL} has no weights to run", "name a server, recorded answers or a report.json")
    if place.suffix.lower() == ".json" and "://" not in spec.where:
        return _report(place, text, model, datasets)
    kind = next(kind for kind in KINDS if kind.fits(spec.where)) if _is_candidate(spec) else None
    return _model(spec, registry, model) if kind is None else _candidate(spec, kind, model, registry)


def _is_candidate(spec: Spec) -> bool:
    """Whether it is of a kind that only a candidate is of; a folder may be a model."""
    *kinds, folder = KINDS
    return any(kind.fits(spec.where) for kind in kinds) or (bool(spec.given) and folder.fits(spec.where))


def _model(spec: Spec, registry: Registry, gated: Model) -> Incumbent:
    """A model, whose combinations run; of a folder that is quantized already, that folder as it is."""
    try:
        found = resolve(spec.where)
    except ModelError as error:
        if Path(spec.where).expanduser().is_dir() and (kept := _quantized(spec, gated, registry)):
            return kept
        is_place = Path(spec.where).expanduser().is_dir() or "@" in spec.where or "/" in spec.where.strip("./")
        raise GateError(f"{FLAG}: {error.cause}", error.action if is_place else FORMS) from error
    return Incumbent("model", found.name, spec.text, found.fingerprint, found)


def _quantized(spec: Spec, gated: Model, registry: Registry) -> Incumbent | None:
    """A folder whose weights are quantized already; None where it is not that alone that it is refused for."""
    try:
        resolve(spec.where, quantized=True)
    except ModelError:
        return None
    return _candidate(spec, KINDS[-1], gated, registry)


def _candidate(spec: Spec, kind: Kind, gated: Model, registry: Registry) -> Incumbent:
    """A candidate, under a name that none of the session's has, of the model that it was made of."""
    whose = _model_of(spec, kind, gated)
    given = {key: value for key, value in spec.given.items() if key != OF}
    own = replace(spec, given={NAME: "incumbent", **given})
    text = own.moved(str, str)
    source = source_of(text, whose, FLAG)
    if source.answers == "own rows":
        cause = f"{FLAG} {spec.where} is stored vectors, which know their own texts alone"
        raise GateError(cause, "give the model that made them, a file, a server, recorded answers or a report.json")
    if reason := source.unfit(whose):
        raise GateError(f"{FLAG} {spec.where}: {reason}", "give what can be run, or a report.json of it")
    registry.add_apart(source)
    loads: Model = getattr(source, "loads", whose)  # a folder has prompts of its own
    digest = source.identity.get("sha256") or _sha256(repr(sorted(source.identity.items())) + source.origin)
    name = Path(source.origin).name if "://" not in source.origin else source.origin
    # Not as it was given, which may hold a server's password.
    return Incumbent("candidate", name, source.origin, digest, loads, source.combination, candidate=source)


def _model_of(spec: Spec, kind: Kind, gated: Model) -> Model:
    """The model whose tokenizer, prompts and similarity a candidate goes with.

    The key `of` names it. A file in the folder of another model is that model's.

    Raises:
        GateError: If the key names no model.
    """
    try:
        if named := spec.given.get(OF):
            return resolve(named)
        place = Path(spec.where).expanduser()
        if kind.of_model and place.is_file():
            folders = (each for each in place.absolute().parents if (each / "modules.json").is_file())
            folder = next(folders, None)
            if folder is not None and folder.resolve() != gated.path.resolve():
                return resolve(str(folder))
    except ModelError as error:
        raise GateError(f"{FLAG} {spec.where}: {error.cause}", error.action) from error
    return gated


def _report(path: Path, text: str, model: Model, datasets: tuple[Dataset, ...]) -> Incumbent:
    from embedgate.report.earlier import EarlierReport

    report = EarlierReport.read(path, FLAG)
    report.require(model, datasets, FLAG)
    return Incumbent("report", report.name, text, report.sha256, model, report=report)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
