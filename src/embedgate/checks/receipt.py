"""Was it judged elsewhere? Whether what another machine's report says, one with a GPU or another CPU, holds here.

It needs neither that machine nor weights, and imports no torch.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from embedgate.checks.check import Case, Check, local
from embedgate.checks.context import Context
from embedgate.core.combination import Combination
from embedgate.core.depth import STANDARD, reaches
from embedgate.core.distrust import MALFORMED
from embedgate.core.errors import GateError, counted
from embedgate.core.judgement import Diagnosis, Judgement, place_name, printable
from embedgate.core.machine import profile
from embedgate.core.model import AGAINST
from embedgate.core.options import receipt_words
from embedgate.core.settings import Settings
from embedgate.encoders.sources import described
from embedgate.report import receipt
from embedgate.report.facts import MERGED, names_in, sorted_names
from embedgate.report.versions import other_versions, out_of_range
from embedgate.runtime.plan import Plan

# What a combination runs on, in words, and the mark of the tests that run there.
CHIPS = {"cuda": ("CUDA", "gpu"), "cpu": ("the CPU", "cpu")}
WHERE = {"cuda": "on a machine with a GPU", "cpu": "on the machine that it is to be judged on"}
# Named of what is missing.
FEW = 4
OTHER_FILES = "it was judged by other code or decisions than this checkout's"
_ORDER = ("pass", "inconclusive", "fail")


def demanded(plan: Plan) -> tuple[Combination, ...]:
    """The combinations that a receipt must cover: of those asked for, what runs on CUDA, and what runs on the CPU.

    The latter where a receipt is of a machine on whose CPU they ran, or where nothing runs on CUDA: elsewhere the
    machine that demands the receipt judges them itself. Servers and recorded answers run on no machine of a receipt's.

    Raises:
        GateError: If there is none.
    """
    on_gpu = tuple(combination for combination in plan.combinations if combination.device == "cuda")
    on_cpu = tuple(combination for combination in local(plan) if combination.device == "cpu")
    too = on_cpu and (not on_gpu or any(_ran(on_cpu, each) for each in plan.receipts.values()))
    found = (*on_gpu, *on_cpu) if too else on_gpu
    if not found:
        cause = "--gate-receipt proves nothing here: no chosen combination runs on CUDA or on a CPU"
        raise GateError(cause, "leave it out, or ask for one by --gate-combination")
    return found


def _ran(combinations: Sequence[Combination], report: Mapping[str, Any] | GateError) -> bool:
    """Whether a receipt is of a session that ran any of the combinations; what cannot be read is told by the check."""
    ids = {combination.id for combination in combinations}
    try:
        rows = () if isinstance(report, GateError) else report["combinations"]
        return any(row["run"] for row in rows if row["combination"] in ids)
    except MALFORMED:
        return False


@dataclass(frozen=True)
class _File:
    """One receipt as it was read.

    Attributes:
        path: Where it is.
        report: What it holds; empty where it cannot be read.
        findings: What is wrong with it for every combination.
        notes: What a reader should know all the same.
    """

    path: Path
    report: Mapping[str, Any]
    findings: tuple[str, ...]
    notes: tuple[str, ...] = ()


def verify(context: Context, case: Case) -> Judgement:
    """Whether any receipt shows that a combination was judged, as it would be here, and was good enough.

    Raises:
        GateError: If the model of this checkout cannot be found: that says nothing about a receipt.
    """
    return context.of(Receipts).verify(case)


class Receipts:
    """Holds receipts against this checkout; each is read once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._plan = context.plan

    def verify(self, case: Case) -> Judgement:
        """The judgement of the receipt that says most for a combination, what others say below it."""
        _ = self._plan.model
        found = [self._held(case, file) for file in self._files]
        best = min(found, key=lambda pair: (_ORDER.index(pair[0].verdict), not pair[1]))[0]
        others = [judgement for judgement, _ in found if judgement is not best and judgement.verdict != "pass"]
        also = () if best.verdict == "pass" else tuple(f"also {j.message}" for j in others)
        return replace(best, details=(*best.details, *also))

    @cached_property
    def _files(self) -> list[_File]:
        return [self._read(path, report) for path, report in self._plan.receipts.items()]

    def _read(self, path: Path, report: Mapping[str, Any] | GateError) -> _File:
        if isinstance(report, GateError):
            return _File(path, {}, (str(report),))
        try:
            findings = tuple(self._mismatches(report))
            return _File(path, report, findings, tuple(other_versions(report["libraries"])))
        except (*MALFORMED, GateError) as error:
            return _File(path, {}, (f"{path} lacks what a receipt has: {type(error).__name__}: {error}",))

    def _mismatches(self, report: Mapping[str, Any]) -> Iterator[str]:
        """Tells why a receipt is of something else than this checkout, or of no session that proves anything."""
        section, model, settings = report[receipt.SECTION], self._plan.model, self._plan.settings
        if report["model"]["fingerprint"] != model.fingerprint:
            was = report["model"]
            yield (
                f"it is of another model: {was['name']} ({was['fingerprint'][:12]}), "
                f"not {model.name} ({model.fingerprint[:12]})"
            )
        yield from self._other_files(section["files"], self._decisions)
        if section["code_sha256"] != receipt.combined(section["files"]):
            yield f"{OTHER_FILES}: code_sha256"
        yield from self._other_data(report["datasets"])
        if beyond := list(out_of_range(report["libraries"])):
            yield f"it was measured with versions that embedgate does not take: {', '.join(beyond)}"
        if settings.strict.is_full and (other := list(other_versions(report["libraries"]))):
            yield f"{other[0]}, and --gate-strict is on"
        if section["update"]:
            yield "it is of a session that approved what it measured (--gate-update), so nothing was held against it"
        if not reaches(section["depth"], STANDARD):
            yield f"it was judged at the depth {section['depth']}, and a receipt must hold what {STANDARD} asks"
        if (named := section["named_profile"]) and named != settings.profile:
            yield f"it was held against the hardware profile {named} by --gate-profile, not its machine's own"
        if (stored := section.get("stored", [])) != (own := receipt.stored_options(settings)):
            there, here_too = (" ".join(words) or "no option" for words in (stored, own))
            yield f"its stored vectors were judged under {there}, and here is {here_too}"
        if trouble := (*report["trouble"], *report["complaints"]):
            yield f"its session reported an error: {trouble[0]}"

    @cached_property
    def _decisions(self) -> Mapping[str, str]:
        """SHA-256 of what judges here, by group, but for what was approved."""
        settings = self._plan.settings
        return receipt.file_groups(settings.baselines_folder, self._plan.model.name, (), self._context.invocation)

    def _other_files(self, there: Mapping[str, str], here: Mapping[str, str]) -> Iterator[str]:
        if differ := sorted(name for name, digest in here.items() if there.get(name) != digest):
            yield f"{OTHER_FILES}: {', '.join(differ)}"

    def _other_approved(self, combination: Combination, report: Mapping[str, Any]) -> Iterator[str]:
        """Tells that what was approved for the machine of a combination is something else here."""
        folder, files = self._plan.settings.baselines_folder, report[receipt.SECTION]["files"]
        profiles = names_in(report["profiles"].get(combination.id))
        yield from self._other_files(files, receipt.approved_groups(folder, self._plan.model.name, profiles))

    def _other_data(self, datasets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        there = {dataset["name"]: dataset["sha256"] for dataset in datasets}
        here = {dataset.name: dataset.sha256 for dataset in self._plan.datasets}
        if missing := sorted(here.keys() - there):
            yield f"it was not judged on {', '.join(missing)}"
        if changed := sorted(name for name in here.keys() & there if here[name] != there[name]):
            yield f"it was judged on other content of {', '.join(changed)}"
        weights = {dataset["name"]: dataset.get("weight", 1) for dataset in datasets}
        if unlike := sorted(each.name for each in self._plan.datasets if weights.get(each.name, 1) != each.weight):
            yield f"it was judged with other weights of {', '.join(unlike)}"
        if more := sorted(there.keys() - here):
            yield f"it was judged on {', '.join(more)} as well, which gives every text other neighbours"

    def _other_candidates(self, combination: Combination, report: Mapping[str, Any]) -> Iterator[str]:
        """Tells that another file, folder or server ran under the same id, or was what it was judged against."""
        there = {each["combination"]: each for each in report.get("candidates", ())}
        was, now = (name.partition(AGAINST)[2] for name in (report["model"]["name"], self._plan.model.name))
        if was != now:
            usual = combination.default_reference.id
            yield f"it was judged against {was or usual}, and here it is {now or usual} (--gate-reference)"
        for each in dict.fromkeys((combination, combination.reference)):
            source, known = self._plan.registry.source(each), there.get(each.id)
            mine = described(source) if source.origin else None
            if _identity(mine) != _identity(known) and (known or each == combination):
                yield f"{each} was another one there: {_named(known)}, and here it is {_named(mine)}"

    def _held(self, case: Case, file: _File) -> tuple[Judgement, bool]:
        """Judges what a receipt says of a combination, and tells whether it is about it at all."""
        try:
            rows = file.report.get("combinations", ())
            row = next((row for row in rows if row["combination"] == case.combination.id), None)
            others = self._other_candidates(case.combination, file.report) if file.report else ()
            if findings := (*file.findings, *others):
                return self._failed(case, file, findings), row is not None
            if row is None:
                return self._failed(case, file, ["that session did not run it"]), False
            return self._judged(case, file, row), True
        except MALFORMED as error:
            finding = f"its content is malformed: {type(error).__name__}: {error}"
            return self._failed(case, file, [finding]), True

    def _judged(self, case: Case, file: _File, row: Mapping[str, Any]) -> Judgement:
        report, combination = file.report, case.combination
        if row["verdict"] == "skipped":
            return self._open(case, f"{combination} could not run where {file.path} was made: {row['reason']}")
        if row["verdict"] == "error":
            return self._failed(case, file, [f"error there: {_line(row['reason'])}"])
        judgements = [Judgement.from_json(record) for record in row["judgements"]]
        findings = [*self._other_approved(combination, report)]
        findings += self._missing(combination, judgements, report[receipt.SECTION])
        findings += _elsewhere(combination, row, report)
        failed = [j for j in judgements if j.verdict == "fail"]
        expected = [j for j in failed if self._expects(j, names_in(report["profiles"][combination.id]))]
        findings += [f"failed there: {_line(j.message)}" for j in failed if j not in expected]
        if not failed and row["verdict"] not in ("pass", "reference", "inconclusive"):
            findings.append(f"it is {row['verdict']!r} there, though no check of it failed")
        if findings:
            return self._failed(case, file, findings)
        notes = [*file.notes, *(f"expected failure: {_line(j.message)}" for j in expected)]
        unsettled = [j for j in judgements if j.verdict == "inconclusive" and not j.unjudged]
        strict = self._plan.settings.strict
        if not strict.is_full and (red := [*filter(strict.is_red, unsettled)]):
            return self._failed(case, file, [f"inconclusive there: {_line(strict.told(red[0]).message)}"])
        if unsettled:
            message = f"{file.path}: inconclusive there: {_line(unsettled[0].message)}"
            return case.judgement("inconclusive", message, details=tuple(notes))
        if (by_base := self._by_base(combination, report)) and self._plan.settings.strict.is_full:
            return self._failed(case, file, by_base)
        notes += by_base
        unjudged = [j for j in judgements if j.unjudged]
        causes = dict.fromkeys(j.diagnosis.cause for j in unjudged if j.diagnosis)
        told = [f"{counted(len(unjudged), 'check')} not judged there: {_line('; '.join(causes))}"] if unjudged else []
        if unjudged and self._plan.settings.strict.is_full:
            return self._open(case, f"{combination} in {file.path}: {told[0]}")
        message = (
            f"verified: measured on {_measured_on(combination, report)} on {report['created'][:10]}, "
            f"{len(judgements)} checks, commit {_short(report[receipt.SECTION]['commit'])} ({file.path.name})"
        )
        return case.passed(printable(message), n=len(judgements), details=(*notes, *told))

    def _missing(
        self, combination: Combination, judgements: Iterable[Judgement], section: Mapping[str, Any]
    ) -> Iterator[str]:
        """Tells what should have been judged of a combination and was not."""
        judged = {j.place for j in judgements}
        wanted = self._context.checks.places(self._plan, combination, of_receipts=True)
        if missing := sorted(wanted - judged):
            shown = ", ".join(map(place_name, missing[:FEW])) + (", ..." if len(missing) > FEW else "")
            asked = section["asked"].get(combination.id, {})
            chosen = [f"{option} {section[key]!r}" for option, key in (("-m", "markers"), ("-k", "keywords"))]
            chosen.append(f"depth {section['depth']}")
            left_out = asked.get("deselected", 0)
            why = f"; deselected: {left_out} ({', '.join(chosen)})" if left_out else ""
            yield f"not judged there: {len(missing)} of {counted(len(wanted), 'check')}: {shown}{why}"

    def _by_base(self, combination: Combination, report: Mapping[str, Any]) -> list[str]:
        """What a receipt says of the base branch's bar, where that is not this one."""
        base, there = self._plan.base, report["base"]
        if base is None or not base.changed:
            return []
        if there.get("commit") != base.commit:
            return [f"it was not judged by {base.ref}'s bar, which is another one than this checkout's"]
        others = (each for each in there["otherwise"] if each["other"]["combination"] == combination.id)
        red = [each["other"] for each in others if each["other"]["verdict"] == "fail" and not each["expected"]]
        return [f"by {base.ref}'s bar it failed there: {_line(each['message'])}" for each in red]

    def _expects(self, judgement: Judgement, profiles: Sequence[str]) -> bool:
        subject = judgement.combination, judgement.dataset, judgement.check, judgement.metric
        entries = self._context.expectations.entries
        return bool(profiles) and any(
            all(entry.matches(*subject, profile(name)) for name in profiles) for entry in entries
        )

    def _failed(self, case: Case, file: _File, findings: Sequence[str]) -> Judgement:
        first, *others = map(printable, findings)
        # Which file, where the finding does not begin with it already.
        cause = first if first.startswith(("there is no", str(file.path))) else f"{file.path}: {first}"
        return case.failed(Diagnosis("receipt", cause, self._next(case)), details=tuple(others))

    def _open(self, case: Case, cause: str) -> Judgement:
        return case.unjudged(Diagnosis("receipt", printable(cause), self._next(case)))

    def _next(self, case: Case) -> str:
        """How to come by a receipt that holds."""
        device = case.combination.device
        rerun = _rerun(self._context.settings, self._context.command, device)
        return f"{WHERE[device]} run {rerun}; then give its report.json"


NO_CANDIDATE = "no file, folder or server"


def _named(candidate: Mapping[str, Any] | None) -> str:
    """A candidate of a report in a few words."""
    if candidate is None:
        return NO_CANDIDATE
    identity = _identity(candidate)
    told = identity.get("sha256", "")[:12] or ", ".join(f"{key} {value}" for key, value in identity.items())
    return f"{candidate['origin']} ({told})"


def _identity(candidate: Mapping[str, Any] | None) -> Mapping[str, str]:
    found: Mapping[str, str] = candidate["identity"] if candidate else {}
    return found


def _elsewhere(combination: Combination, row: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    """Whether a combination ran on something else than its device, by its own evidence."""
    if combination.device == "cuda" and not report["machine"]["gpu"]:
        yield f"it was made on a machine without a GPU ({report['machine']['cpu']})"
    device = row["run"].get("evidence", {}).get("device", "unknown")
    if not str(device).startswith(combination.device):
        yield f"it ran on {device} there, not on {CHIPS[combination.device][0]}"


def _measured_on(combination: Combination, report: Mapping[str, Any]) -> str:
    """The chip that a combination ran on; of a CPU, of which there are many, also its hardware profile."""
    own = report["profiles"][combination.id]
    parts = report.get(MERGED, {"reports": ()})["reports"]
    made = [each for each in parts if {*names_in(own)} & {*names_in(each["profile"])}]
    chip = "gpu" if combination.device == "cuda" else "cpu"
    names = sorted_names(*(each["machine"][chip] for each in made or [report]))
    return names if combination.device == "cuda" else f"{names} ({own})"


def _rerun(settings: Settings, command: Sequence[str], device: str) -> str:
    """The command that makes a receipt for this checkout."""
    return shlex.join([*command, "-m", CHIPS[device][1], "--gate-report=DIR", *receipt_words(settings)])


def _short(commit: str) -> str:
    told = (name[:12] + ("-dirty" if name.endswith("-dirty") else "") for name in names_in(commit))
    return " and ".join(told) or "unknown"


def _line(text: str) -> str:
    return printable((text.splitlines() or [""])[0])


RECEIPT = Check(
    "receipt",
    verify,
    demanded,
    asked=lambda plan: bool(plan.settings.receipts),
    depth="quick",
    against="receipt",
    builds=False,
    in_receipts=False,
    texts="none",
    tolerances=(),
)
