"""Approved values of a session's model, and their approval: baselines, golden texts, ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from embedgate.approved.baseline import Approved, BaselineStore, Found
from embedgate.approved.conditions import Conditions, changed_libraries
from embedgate.approved.entries import Entry, Key, Provenance, Ran
from embedgate.approved.form import Identified
from embedgate.approved.golden import GoldenStore
from embedgate.approved.proposal import Proposal, approve, files_of
from embedgate.approved.ranges import RangesStore
from embedgate.approved.sessions import Spread
from embedgate.approved.store import utc_now
from embedgate.approved.tensors import TensorApproval
from embedgate.checks.context import Context
from embedgate.checks.effective import is_sound
from embedgate.checks.machine import probe
from embedgate.checks.stored import FEWEST_CALIBRATION, Approvable, StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError, GateError
from embedgate.core.git import git_commit, git_identity
from embedgate.core.judgement import Judgement
from embedgate.core.machine import HardwareProfile, run_url, who_runs
from embedgate.data import load_golden
from embedgate.diagnosis.golden import Golden
from embedgate.metrics import ORDERING, Scores
from embedgate.metrics.ends import interval
from embedgate.runtime.session import Run, Session
from embedgate.sentences import approved_set
from embedgate.vectors.codes import Ranges


class Approvals:
    """Finds what was approved, gathers what is to be approved, and approves it.

    Attributes:
        golden: The golden texts' store.
        ranges: The store of the ranges of 8-bit codes.
    """

    def __init__(self, context: Context) -> None:
        folder = context.settings.baselines_folder
        self._context = context
        self._session = context.session
        self._store = BaselineStore(folder)
        self.golden = GoldenStore(folder)
        self.ranges = RangesStore(folder)
        self._asked: set[str] = set()
        self._kept: dict[str, dict[str, Entry]] = {}
        self._found: dict[str, Found | None] = {}

    def ask(self, combination: Combination) -> None:
        """Remembers that all of a combination's values are asked for, so that an update approves all of them."""
        self._asked.add(combination.id)

    def keep(self, entry: Entry) -> None:
        """Keeps an entry that an update approves beside the values: a budget."""
        self._kept.setdefault(entry.key.combination, {})[entry.key.metric] = entry

    def baseline(self, combination: Combination) -> Found | None:
        """The approved baseline that serves this model on a combination's profile, inherited ones included.

        Raises:
            BaselineError: If a file cannot be trusted, or was recorded for other weights.
        """
        profile = self._context.profile_of(combination)
        if profile.name not in self._found:
            self._found[profile.name] = self._store.find(profile, self._context.plan.model)
        return self._found[profile.name]

    def find(self, combination: Combination, dataset: str, metric: str) -> Approved | None:
        """The approved measurement of one metric of a combination, whatever the dataset's hash; None where none is.

        Raises:
            BaselineError: If the file cannot be trusted, or was recorded for other weights.
        """
        found = self.baseline(combination)
        return found.find(combination.id, dataset, metric) if found else None

    def spread(self, combination: Combination, alike: tuple[str, ...]) -> Spread:
        """How far approved sessions lie apart, over the entries of a combination's own profile.

        Args:
            combination: The combination.
            alike: How those metrics begin that count.

        Raises:
            BaselineError: As `baseline`.
        """
        found = self.baseline(combination)
        entries = found.baseline.entries.values() if found else ()
        return Spread.of(entry.sessions for entry in entries if entry.key.metric.startswith(alike))

    def measure(self, run: Run) -> dict[Approvable, Scores]:
        """Everything that the depth measures of a run, by dataset, its hash and metric, as baselines are keyed.

        Raises:
            ValueError: If it holds NaN, or has a dimension of its own: nothing can be approved of it.
        """
        if not run.combination.is_reference:
            self._session.order(run)  # while its encoder is open
        self._context.of(StoredVectors).measure(run)
        return self.measured(run)

    def measure_anyway(self, run: Run) -> None:
        """Measures what nothing approved can be held against, so that a report of it can be approved."""
        with suppress(ValueError, BaselineError):
            self.measure(run)

    def measured(self, run: Run) -> dict[Approvable, Scores]:
        """As `measure`, but of what takes an open encoder or a search only what a check has asked for already."""
        session, plan, candidate = self._session, self._context.plan, not run.combination.is_reference
        # With itself, the reference agrees.
        datasets = plan.datasets if candidate else [each for each in plan.datasets if each not in plan.unlabelled]
        found = {
            (dataset.name, dataset.sha256, metric): scores
            for dataset in datasets
            for metric, scores in session.scores(run, dataset).items()
        }
        if candidate:
            if plan.compares_all_texts:
                for metric, scores in session.agreement(run).items():
                    found[plan.texts_name, session.texts_sha256, metric] = scores
            for metric, scores in session.known_order(run).items():
                found[ORDERING, approved_set()[1], metric] = scores
        return found | self._context.of(StoredVectors).known(run)

    def stale_keys(self) -> list[Key]:
        """Approved values of what this session ran that it did not measure; none where its depth does not ask."""
        asked = [run for run in self._finished() if self._context.asks("baseline", run.combination)]
        return [key for runs in self._by_profile(asked).values() for key in self._stale_keys(runs)]

    def _stale_keys(self, runs: Sequence[Run]) -> list[Key]:
        """Approved values of runs of one hardware profile that were not measured."""
        try:
            found = self.baseline(runs[0].combination)
        except BaselineError:
            return []
        if found is None:
            return []
        plan, stored = self._context.plan, self._context.of(StoredVectors)
        stale: list[Key] = []
        for run in runs:
            id_ = run.combination.id
            measured = [Key(id_, dataset, metric, sha256) for dataset, sha256, metric in self._measured_or_nothing(run)]
            if not measured:  # NaN: what was approved of it is left as it is
                continue
            # Of the order of generated sentences, and of each storage, what was measured was measured as a whole.
            names = {plan.texts_name, *(dataset.name for dataset in plan.datasets), *stored.complete(run)}
            names |= {ORDERING} & {key.dataset for key in measured}
            stale += [entry.key for entry in found.stale(measured, {id_}, names)]
        return stale

    def update(self) -> list[tuple[str, ...]]:
        """Approves what `proposals` has; the difference as rows of a table. Each hardware profile has files of its own.

        Raises:
            BaselineError: If it cannot be recorded; all files are then as they were.
        """
        settings, proposals = self._context.settings, self.proposals()
        if not proposals and (ran := self._finished()) and not any(is_sound(self._context, run) for run in ran):
            cause = f"{', '.join(run.combination.id for run in ran)} is not what its id says, so nothing is approved"
            raise BaselineError(cause, "run test_is_what_its_id_says, which names what really ran")
        if not proposals:
            raise BaselineError("nothing was measured that could be approved", "see why the combinations did not run")
        return approve(
            proposals,
            settings.baselines_folder,
            reason=settings.reason,
            who=git_identity(),
            in_ci_allowed=settings.update_in_ci,
        )

    def proposals(self) -> list[Proposal]:
        """What this session measured that can be approved, by hardware profile; of what was asked for alone.

        Combinations that did not run, hold NaN, or are not what their id says are left out. Who asked for one metric
        has not looked at another, nor has who asked for budgets alone looked at quality.
        """
        if self._context.settings.ranges is not None:
            return []  # 8-bit values by ranges of others are no baseline
        sound = [run for run in self._finished() if is_sound(self._context, run)]
        entries = {run.combination: self._to_approve(run) for run in sound}
        worth = [run for run in sound if entries[run.combination] or self._golden(run) or self._ranges(run)]
        return [
            self._proposal(profile, runs, [entry for run in runs for entry in entries[run.combination]])
            for profile, runs in self._by_profile(worth).items()
        ]

    def take_reference(self, run: Run) -> None:
        """Takes the golden texts of a run's reference, whose bits tell whether it computes as when it was approved."""
        reference = run.combination.reference
        if self._session.has_run(reference, run.model):
            with suppress(GateError):  # recorded answers may have none of them
                self._session.golden(self._session.run(reference, run.model))

    def departs(self, run: Run, approval: TensorApproval) -> str:
        """What computes a run's golden texts otherwise than when they were approved; empty where nothing does."""
        was, now = approval.conditions, self._conditions(run)
        if was is None or now is None:
            return "what computed it is not known in full"
        changed = changed_libraries(approval.libraries, self._session.libraries_of(run.combination))
        return f"libraries have changed since it was approved: {changed}" if changed else was.departs(now)

    def _conditions(self, run: Run) -> Conditions | None:
        """What the bits of a run's golden texts depend on; None where its reference's were not taken."""
        reference = run.combination.reference
        if not self._session.has_run(reference, run.model):
            return None
        taken = self._session.known_golden(self._session.run(reference, run.model))
        return None if taken is None else Conditions.of(self._provenance(run.combination), taken.bits)

    def _provenance(self, combination: Combination, commit: str = "", **more: Any) -> Provenance:
        session = self._session
        return Provenance.of(
            session.machine_of(combination),
            threads=session.threads,
            batch_size=self._context.settings.batch_size,
            libraries=session.libraries_of(combination),
            commit=commit,
            **more,
        )

    def _golden(self, run: Run) -> Golden | None:
        """What became of a run's golden texts, where that was asked and can be approved."""
        own = self._session.known_golden(run) if self._was_asked(run, "golden") else None
        return own if own is not None and own.finite else None

    def _ranges(self, run: Run) -> Ranges | None:
        """The ranges of a run's 8-bit codes that are in use, where that was asked and they can be approved.

        To change them is to store every vector anew. Too few vectors have none worth approving.
        """
        found = self._context.of(StoredVectors).ranges.get(run.combination) if self._was_asked(run, "codes") else None
        return found if found is not None and found.vectors >= FEWEST_CALIBRATION else None

    def _finished(self) -> list[Run]:
        """The runs of which something can be approved: stored vectors are judged by what they are alone."""
        encoding = self._context.plan.encoding
        # Where a part of the texts decided, nothing was measured that could be held against what was approved.
        return [run for run in self._session.finished() if run.combination in encoding and self._session.is_whole(run)]

    def _to_approve(self, run: Run) -> list[Entry]:
        """Returns the entries that may be approved of a run."""
        id_ = run.combination.id
        asked = {
            (case.subject.dataset, case.subject.metric)
            for case in self._context.cases
            if case.combination == run.combination
        }
        found = list(self._kept.get(id_, {}).values())
        alone = id_ not in self._asked
        if alone and not (self._context.settings.update and any(dataset for dataset, _ in asked)):
            return found  # budgets alone: nothing else need be measured
        for (dataset, sha256, metric), scores in self._measured_or_nothing(run).items():
            if not alone or (dataset, metric) in asked:
                bounds = interval(scores, self._context.alpha, metric=metric)
                key = Key(id_, dataset, metric, sha256)
                found.append(Entry(key, scores.value, bounds.low, bounds.high, len(scores.items)))
        return found

    def _proposal(self, profile: HardwareProfile, runs: Sequence[Run], entries: list[Entry]) -> Proposal:
        """What runs of one hardware profile measured."""
        context, model = self._context, self._context.plan.model
        # Where a person named one profile for all, its machine is the one with the GPU.
        whose = next((run.combination for run in runs if run.combination.device == "cuda"), runs[0].combination)
        asked = [run for run in self._finished() if run.combination.id in self._asked]
        finished = self._by_profile(asked).get(profile, ())
        golden = {run.combination.id: own for run in runs if (own := self._golden(run)) is not None}
        ranges = {run.combination.id: kept for run in runs if (kept := self._ranges(run)) is not None}
        on_cpu = whose.device == "cpu"
        return Proposal(
            profile.name,
            Identified(model.name, model.source, model.fingerprint, model.tensors, dict(model.files)),
            self._provenance(
                whose,
                git_commit(),
                files={run.combination.id: sha256 for run in runs if (sha256 := self._file_of(run.combination))},
                probe=context.of(probe) if on_cpu and any(each.sessions for each in entries) else None,
                ran=None if context.settings.update else Ran(who_runs(), utc_now(), run_url()),
            ),
            tuple(entries),
            tuple(self._stale_keys(finished)) if finished else (),
            golden,
            load_golden()[1],
            ranges,
            files_of(context.settings.baselines_folder, profile.name, model.name),
            whole=all(run.combination.id in self._asked for run in runs),
            conditions={
                run.combination.id: known
                for run in runs
                if run.combination.id in golden and (known := self._conditions(run))
            },
            libraries={
                run.combination.id: context.session.libraries_of(run.combination)
                for run in runs
                if run.combination.id in {*golden, *ranges}
            },
        )

    def _was_asked(self, run: Run, kind: str) -> bool:
        """Whether a session asked for all that a run measures, or for a kind of check of it."""
        if run.combination.id in self._asked:
            return True
        return any(case.check.kind == kind and case.combination == run.combination for case in self._context.cases)

    def changed_file(self, combination: Combination, approved: Approved) -> str:
        """Says that a combination is another file than the one approved; empty where it is not, or is no file."""
        before, now = approved.provenance.files.get(combination.id, ""), self._file_of(combination)
        if before == now or not (before and now):
            return ""
        return f"it is another file than the one approved: SHA-256 {before[:12]} -> {now[:12]}"

    def _file_of(self, combination: Combination) -> str:
        """SHA-256 of the file that a combination is, hex; empty where it is none."""
        return self._context.plan.registry.source(combination).identity.get("sha256", "")

    def _by_profile(self, runs: Sequence[Run]) -> dict[HardwareProfile, list[Run]]:
        """Runs by the hardware profile of their combinations."""
        found: dict[HardwareProfile, list[Run]] = {}
        for run in runs:
            found.setdefault(self._context.profile_of(run.combination), []).append(run)
        return found

    def _measured_or_nothing(self, run: Run) -> dict[Approvable, Scores]:
        with suppress(ValueError):  # NaN, or a dimension of its own: judged elsewhere, nothing to approve
            return self.measured(run)
        return {}


def libraries_since(session: Session, combination: Combination, approved: Mapping[str, str]) -> str:
    """Which libraries have another version than those that computed what was approved, in one line."""
    changed = changed_libraries(approved, session.libraries_of(combination))
    return f"libraries since it was approved: {changed or 'unchanged'}"


def drifted(judged: Judgement, session: Session, combination: Combination, approved: Approved) -> Judgement:
    """A judgement; of a red one, what has changed since what it is held against was approved, as well."""
    if judged.verdict != "fail":
        return judged
    since = libraries_since(session, combination, approved.provenance.libraries)
    return replace(judged, details=(*judged.details, since))
