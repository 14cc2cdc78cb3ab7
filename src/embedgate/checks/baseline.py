"""The checks against what was approved, and its approval: baselines and golden texts."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from embedgate.approved.baseline import (
    Approved,
    BaselineStore,
    Entry,
    Found,
    Key,
    Provenance,
    format_changes,
    read,
    shown,
    utc_now,
)
from embedgate.approved.golden import GoldenStore
from embedgate.approved.ranges import RangesStore
from embedgate.approved.tensors import TensorApproval
from embedgate.approved.tolerances import Tolerances
from embedgate.checks.stored import FEWEST_CALIBRATION, StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.judgement import Check, Diagnosis, Judgement
from embedgate.core.machine import HardwareProfile, git_commit, git_identity
from embedgate.data import load_golden
from embedgate.diagnosis.golden import drifted, largest_move
from embedgate.metrics import ORDERING, Scores
from embedgate.metrics.statistics import compare_drift, interval
from embedgate.runtime.session import Run, Session
from embedgate.sentences import approved_set

# How the names of what is found among 8-bit codes by their approved ranges end.
EIGHT_BITS = "@int8"


class DriftChecks:
    """Judges a session's runs against what was approved, and approves what they measure.

    Args:
        session: The runs.
        profile_of: The hardware profile whose baselines count for a combination.
        tolerances: How far from what was approved is acceptable.
        diagnose: Names the layer at which a run departs from its reference.
        sound: Whether a run is what its combination's id says, so that it may be approved.
        stored: What is found among stored vectors, which is approved as well.
    """

    def __init__(
        self,
        session: Session,
        profile_of: Callable[[Combination], HardwareProfile],
        tolerances: Tolerances,
        diagnose: Callable[[Run], Diagnosis],
        sound: Callable[[Run], bool],
        stored: StoredVectors,
    ) -> None:
        self._session = session
        self._profile_of = profile_of
        self._tolerances = tolerances
        self._diagnose = diagnose
        self._sound = sound
        self._store = BaselineStore(session.settings.baselines_folder)
        self.stored = stored
        self._golden_store = GoldenStore(session.settings.baselines_folder)
        self._ranges_store = RangesStore(session.settings.baselines_folder)
        self._asked: set[str] = set()
        self._found: dict[str, Found | None] = {}

    def values(self, combination: Combination) -> Judgement:
        """Whether what a combination measures is what was approved."""
        session, run = self._session, self._session.run(combination)
        self._asked.add(combination.id)
        if session.settings.update:
            with suppress(ValueError):  # NaN, or a dimension of its own: nothing to approve
                self._order(run)
                self.stored.measured(run)
            return Judgement("baseline", combination.id, "pass", "to be recorded when the session ends")
        record = self.record_command
        try:
            found = self._baseline(combination)
        except BaselineError as error:
            return self._failure(combination, error.cause, error.action)
        if found is None:
            chain = " or ".join(self._profile_of(combination).chain)
            cause = f"no baseline of {session.model.name} is approved for {chain}"
            return self._failure(combination, cause, f"approve what you see by: {record}")
        missing, worse, better, largest = [], [], [], 0.0
        served: Counter[str] = Counter()
        try:
            self._order(run)
            self.stored.measured(run)
            measured = self._measured(run)
        except ValueError as error:  # NaN, or a dimension of its own
            return replace(
                self._failure(combination, f"cannot be measured: {error}", ""), diagnosis=self._diagnose(run)
            )
        try:
            if gone := self._missing_ranges(run, found):
                return self._failure(combination, gone, f"restore the file from git, or record it anew: {record}")
        except BaselineError as error:
            return self._failure(combination, error.cause, error.action)
        for (dataset, sha256, metric), scores in measured.items():
            try:
                approved = found.get(combination.id, dataset, sha256, metric)
            except BaselineError as error:
                return self._failure(combination, error.cause, error.action)
            if approved is None and found.has_other_texts(combination.id, dataset):
                continue  # approved over other datasets together: there, a text has other neighbours
            if approved is None:
                missing.append(f"{dataset} {metric}")
                continue
            entry = approved.entry
            served[approved.profile + (" (inherited)" if approved.inherited else "")] += 1
            drift = self._tolerances.drift(combination, metric, inherited=approved.inherited)
            outcome = compare_drift(scores.value, entry.value, drift)
            largest = max(largest, abs(scores.value - entry.value))
            line = f"{dataset} {metric}: {scores.value:.4f}, approved {entry.value:.4f} (±{drift:g} tolerated)"
            if outcome == "fail":
                worse.append(line)
            elif outcome == "stale":
                better.append(line)
        where = " and ".join(served) or found.profile
        if worse:
            return self._failure(
                combination,
                f"drifted below what was approved for {where} in {len(worse)} of {len(measured)} values",
                f"find what changed (library versions: see report.json); once it is meant: {record}",
                [*worse, *(f"not approved yet: {name}" for name in missing)],
            )
        if missing:
            return self._failure(
                combination,
                f"{len(missing)} of {len(measured)} values were never approved for {where}",
                f"approve what you see by: {record}",
                [f"not approved yet: {name}" for name in missing],
            )
        message = f"within what was approved for {where}: {len(measured)} values, largest difference {largest:.4f}"
        if better:
            message += f"; {len(better)} better than approved, approve them by: {record}"
        return Judgement("baseline", combination.id, "pass", message, details=tuple(better))

    def _missing_ranges(self, run: Run, found: Found) -> str | None:
        """What is said where values of 8-bit codes are approved, and their ranges are not."""
        if run.ranges is None or run.ranges.vectors < FEWEST_CALIBRATION:
            return None  # too few are never approved
        id_ = run.combination.id
        approved = any(
            entry.key.combination == id_ and entry.key.dataset.endswith(EIGHT_BITS)
            for entry in found.baseline.entries.values()
        )
        profile = self._profile_of(run.combination)
        if not approved or self._ranges_store.find(profile, self._session.model, id_) is not None:
            return None
        file = self._ranges_store.file(found.profile, self._session.model)
        return f"ranges of {id_} were approved and are missing: {file}"

    def golden(self, combination: Combination) -> Judgement:
        """Whether the golden texts have the approved tokens and embeddings."""
        session, run, profile = self._session, self._session.run(combination), self._profile_of(combination)
        texts, sha256 = load_golden()
        now = session.golden(run)
        if session.settings.update:
            return Judgement("golden", combination.id, "pass", "to be recorded when the session ends")
        try:
            approved = self._golden_store.find(profile, session.model, sha256, combination.id)
        except BaselineError as error:
            return self._failure(combination, error.cause, error.action, check="golden")
        record = self.record_command
        if approved is None:
            chain = " or ".join(profile.chain)
            cause = f"no golden texts of {session.model.name} are approved for {chain}"
            return self._failure(combination, cause, f"approve what you see by: {record}", check="golden")
        move = self._tolerances.golden_move(combination)
        found = drifted(now, approved.golden, texts, move)
        if found is None:
            worst = largest_move(now, approved.golden)
            message = f"{len(texts)} texts as approved for {approved.profile}: largest move {worst:.2g}, "
            message += f"{move:g} is tolerated"
            return Judgement("golden", combination.id, "pass", message, value=worst, limit=move, n=len(texts))
        return Judgement(
            "golden",
            combination.id,
            "fail",
            f"{found.layer} of the golden texts drifted from what was approved for {approved.profile}",
            limit=move,
            n=len(texts),
            diagnosis=replace(found, next_step=f"{found.next_step}; once it is meant: {record}"),
            details=(_changed_libraries(approved.approval.libraries, session.libraries_of(combination)),),
        )

    def stale_keys(self) -> list[Key]:
        """Approved values of what this session ran that it did not measure."""
        return [key for runs in self._by_profile(self._session.finished()).values() for key in self._stale_keys(runs)]

    def _stale_keys(self, runs: Sequence[Run]) -> list[Key]:
        """Approved values of runs of one hardware profile that were not measured."""
        try:
            found = self._baseline(runs[0].combination)
        except BaselineError:
            return []
        if found is None:
            return []
        measured = [
            Key(run.combination.id, dataset, metric, sha256)
            for run in runs
            for dataset, sha256, metric in self._measured_or_nothing(run)
        ]
        names = {self._session.texts_name, *(dataset.name for dataset in self._session.datasets)}
        names |= {name for run in runs for name in self.stored.complete(run)}
        # A combination of which nothing could be measured (NaN) leaves what was approved of it as it is.
        stale = found.stale(measured, {key.combination for key in measured}, names)
        ordered = {key.combination for key in measured if key.dataset == ORDERING}
        return [entry.key for entry in (*stale, *found.stale(measured, ordered, {ORDERING}))]

    def update(self) -> list[tuple[str, ...]]:
        """Approves what this session measured; the difference as rows of a table.

        Combinations that did not run, hold NaN, or are not what their id says are left out. So is quality where the
        session asked for budgets alone: who approves a slowdown has not looked at it. Each hardware profile has files
        of its own.

        Raises:
            BaselineError: If it cannot be recorded. Where an old file cannot be trusted, none is touched; each file is
                written as a whole or not at all.
        """
        session, store = self._session, self._store
        sound = [run for run in session.finished() if self._sound(run)]
        if not sound and (ran := session.finished()):
            cause = f"{', '.join(run.combination.id for run in ran)} is not what its id says, so nothing is approved"
            raise BaselineError(cause, "run test_is_what_its_id_says, which tells what it is")
        measured = {id(run): self._to_approve(run) for run in sound}
        by_profile = self._by_profile([run for run in sound if measured[id(run)]])
        if not by_profile:
            raise BaselineError("nothing was measured that could be approved", "see why the combinations did not run")
        for profile in by_profile:
            read(store.file(profile.name, session.model.name))
            self._golden_store.check(profile, session.model)
            self._ranges_store.check(profile, session.model)
        rows = []
        for profile, runs in by_profile.items():
            rows += self._update(profile, runs, [entry for run in runs for entry in measured[id(run)]])
        return rows

    def _to_approve(self, run: Run) -> list[Entry]:
        """What an update approves of a run."""
        entries = list(run.to_approve.values())
        measured = run.scores or run.agreement or run.stored or run.mixed
        budgets_alone = entries and not (run.combination.id in self._asked or measured)
        if not budgets_alone:
            self._asked.add(run.combination.id)
            entries += self._entries(run)
        return entries

    def _update(self, profile: HardwareProfile, runs: Sequence[Run], entries: list[Entry]) -> list[tuple[str, ...]]:
        """Approves runs of one hardware profile; the difference as rows of a table."""
        session, settings = self._session, self._session.settings
        # Where a person named one profile for all, its machine is the one with the GPU.
        whose = next((run.combination for run in runs if run.combination.device == "cuda"), runs[0].combination)
        finished = self._by_profile(session.finished())[profile]
        provenance = Provenance.of(
            session.machine_of(whose),
            threads=session.threads,
            batch_size=settings.batch_size,
            libraries=session.libraries_of(whose),
            commit=git_commit(),
        )
        changes = self._store.update(
            profile,
            session.model,
            entries,
            reason=settings.reason,
            who=git_identity(),
            provenance=provenance,
            remove=[key for key in self._stale_keys(finished) if key.combination in self._asked],
            in_ci_allowed=settings.update_in_ci,
        )
        approval = TensorApproval(utc_now(), git_identity(), settings.reason, session.libraries_of(whose))
        golden = self._golden_store.update(
            profile,
            session.model,
            load_golden()[1],
            {run.combination.id: run.golden for run in runs if run.golden is not None and run.golden.finite},
            approval,
        )
        # Those in use: to change them is to store every vector anew. Too few vectors have none worth approving.
        taken = {
            run.combination.id: run.ranges
            for run in runs
            if run.ranges is not None and run.ranges.vectors >= FEWEST_CALIBRATION and run.combination.id in self._asked
        }
        ranges = self._ranges_store.update(profile, session.model, taken, approval)

        return [
            *(
                (combination, dataset, metric, shown(metric, old), shown(metric, new), shown(metric, delta, "+"))
                for combination, dataset, metric, old, new, delta in format_changes(changes)
            ),
            *((combination, "golden", "tokens and embeddings", "", what, "") for combination, what in golden.items()),
            *((combination, "ranges", "of 8-bit codes", "", what, "") for combination, what in ranges.items()),
        ]

    def approved(self, combination: str, dataset: str, metric: str) -> Approved | None:
        """The approved measurement of one metric of a combination, whatever the dataset's hash; None where none is.

        Raises:
            BaselineError: If the file cannot be trusted, or was recorded for other weights.
        """
        found = self._baseline(Combination.parse(combination))
        return found.find(combination, dataset, metric) if found else None

    @property
    def record_command(self) -> str:
        """The command that approves what this session measures."""
        return f'{shlex.join(["pytest", *self._session.settings.invocation])} --gate-update --gate-reason "..."'

    def _baseline(self, combination: Combination) -> Found | None:
        """The approved baseline that serves this model on a combination's profile, inherited ones included."""
        profile = self._profile_of(combination)
        if profile.name not in self._found:
            self._found[profile.name] = self._store.find(profile, self._session.model)
        return self._found[profile.name]

    def _by_profile(self, runs: Sequence[Run]) -> dict[HardwareProfile, list[Run]]:
        """Runs by the hardware profile of their combinations."""
        found: dict[HardwareProfile, list[Run]] = {}
        for run in runs:
            found.setdefault(self._profile_of(run.combination), []).append(run)
        return found

    def _order(self, run: Run) -> None:
        """Has the order of generated sentences measured while the run's encoder is open."""
        if not run.combination.is_reference:
            self._session.order(run)

    def _measured_or_nothing(self, run: Run) -> dict[tuple[str, str, str], Scores]:
        try:
            return self._measured(run)
        except ValueError:  # NaN, or a dimension of its own: judged elsewhere, nothing to approve
            return {}

    def _entries(self, run: Run) -> list[Entry]:
        entries = []
        for (dataset, sha256, metric), scores in self._measured_or_nothing(run).items():
            bounds = interval(scores, self._tolerances.alpha, metric=metric)
            key = Key(run.combination.id, dataset, metric, sha256)
            entries.append(Entry(key, scores.value, bounds.low, bounds.high, len(scores.items)))
        return entries

    def _measured(self, run: Run) -> dict[tuple[str, str, str], Scores]:
        """Everything measured of a run, by (dataset, dataset hash, metric), as baselines are keyed."""
        session = self._session
        found = {
            (dataset.name, dataset.sha256, metric): scores
            for dataset in session.datasets
            for metric, scores in session.scores(run, dataset).items()
        }
        if not run.combination.is_reference:
            for metric, scores in session.agreement(run).items():
                found[self._session.texts_name, session.texts_sha256, metric] = scores
            for metric, scores in run.order.items():  # only where a check has asked for it: it takes an open encoder
                found[ORDERING, approved_set()[1], metric] = scores
        found |= self.stored.known(run)
        return found

    def _failure(
        self,
        combination: Combination,
        cause: str,
        action: str,
        details: Sequence[str] = (),
        check: Check = "baseline",
    ) -> Judgement:
        return Judgement(
            check,
            combination.id,
            "fail",
            cause,
            diagnosis=Diagnosis("baseline", cause, action),
            details=tuple(details),
        )


def _changed_libraries(approved: Mapping[str, str], now: Mapping[str, str]) -> str:
    changed = [
        f"{name} {approved.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in sorted({*approved, *now})
        if approved.get(name) != now.get(name)
    ]
    return f"libraries since it was approved: {', '.join(changed) or 'unchanged'}"
