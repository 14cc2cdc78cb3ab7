"""Approved values of a session's model, and their approval: baselines, golden texts, ranges."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

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
)
from embedgate.approved.golden import GoldenStore
from embedgate.approved.ranges import RangesStore
from embedgate.approved.sessions import Spread
from embedgate.approved.store import utc_now
from embedgate.approved.tensors import TensorApproval
from embedgate.checks.context import Context
from embedgate.checks.effective import is_sound
from embedgate.checks.machine import probe
from embedgate.checks.stored import FEWEST_CALIBRATION, Approvable, StoredVectors
from embedgate.core.combination import Combination
from embedgate.core.errors import BaselineError
from embedgate.core.machine import HardwareProfile, git_commit, git_identity
from embedgate.data import load_golden
from embedgate.metrics import ORDERING, Scores
from embedgate.metrics.statistics import interval
from embedgate.runtime.session import Run
from embedgate.sentences import approved_set


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

    def measured(self, run: Run) -> dict[Approvable, Scores]:
        """As `measure`, but of what takes an open encoder or a search only what a check has asked for already."""
        session, plan = self._session, self._context.plan
        found = {
            (dataset.name, dataset.sha256, metric): scores
            for dataset in plan.datasets
            for metric, scores in session.scores(run, dataset).items()
        }
        if not run.combination.is_reference:
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
        """Approves what this session measured; the difference as rows of a table.

        Combinations that did not run, hold NaN, or are not what their id says are left out. So is quality where the
        session asked for budgets alone: who approves a slowdown has not looked at it. Each hardware profile has files
        of its own.

        Raises:
            BaselineError: If it cannot be recorded. Where an old file cannot be trusted, none is touched; each file is
                written as a whole or not at all.
        """
        model = self._context.plan.model
        sound = [run for run in self._finished() if is_sound(self._context, run)]
        if not sound and (ran := self._finished()):
            cause = f"{', '.join(run.combination.id for run in ran)} is not what its id says, so nothing is approved"
            raise BaselineError(cause, "run test_is_what_its_id_says, which names what really ran")
        entries = {run.combination: self._to_approve(run) for run in sound}
        by_profile = self._by_profile([run for run in sound if entries[run.combination]])
        if not by_profile:
            raise BaselineError("nothing was measured that could be approved", "see why the combinations did not run")
        for profile in by_profile:
            read(self._store.file(profile.name, model.name))
            self.golden.check(profile, model)
            self.ranges.check(profile, model)
        rows = []
        for profile, runs in by_profile.items():
            rows += self._update(profile, runs, [entry for run in runs for entry in entries[run.combination]])
        return rows

    def _finished(self) -> list[Run]:
        """The runs of which something can be approved: stored vectors are judged by what they are alone."""
        encoding = self._context.plan.encoding
        # Where a part of the texts decided, nothing was measured that could be held against what was approved.
        return [run for run in self._session.finished() if run.combination in encoding and self._session.is_whole(run)]

    def _to_approve(self, run: Run) -> list[Entry]:
        """Returns the entries that an update approves of a run."""
        id_ = run.combination.id
        entries = list(self._kept.get(id_, {}).values())
        measured = self._session.has_measured(run) or self._context.of(StoredVectors).known(run)
        budgets_alone = entries and not (id_ in self._asked or measured)
        if not budgets_alone:
            self._asked.add(id_)
            entries += self._entries(run)
        return entries

    def _entries(self, run: Run) -> list[Entry]:
        entries = []
        for (dataset, sha256, metric), scores in self._measured_or_nothing(run).items():
            bounds = interval(scores, self._context.alpha, metric=metric)
            key = Key(run.combination.id, dataset, metric, sha256)
            entries.append(Entry(key, scores.value, bounds.low, bounds.high, len(scores.items)))
        return entries

    def _update(self, profile: HardwareProfile, runs: Sequence[Run], entries: list[Entry]) -> list[tuple[str, ...]]:
        """Approves runs of one hardware profile; the difference as rows of a table."""
        session, settings, model = self._session, self._context.settings, self._context.plan.model
        # Where a person named one profile for all, its machine is the one with the GPU.
        whose = next((run.combination for run in runs if run.combination.device == "cuda"), runs[0].combination)
        finished = self._by_profile(self._finished())[profile]
        provenance = Provenance.of(
            session.machine_of(whose),
            threads=session.threads,
            batch_size=settings.batch_size,
            libraries=session.libraries_of(whose),
            commit=git_commit(),
            files={run.combination.id: sha256 for run in runs if (sha256 := self._file_of(run.combination))},
            probe=self._context.of(probe) if whose.device == "cpu" and any(each.sessions for each in entries) else None,
        )
        changes = self._store.update(
            profile,
            model,
            entries,
            reason=settings.reason,
            who=git_identity(),
            provenance=provenance,
            remove=[key for key in self._stale_keys(finished) if key.combination in self._asked],
            in_ci_allowed=settings.update_in_ci,
        )
        approval = TensorApproval(utc_now(), git_identity(), settings.reason, session.libraries_of(whose))
        taken = {run.combination.id: own for run in runs if (own := session.known_golden(run)) is not None}
        finite = {id_: found for id_, found in taken.items() if found.finite}
        golden = self.golden.update(profile, model, finite, approval, load_golden()[1])
        # Those in use: to change them is to store every vector anew. Too few vectors have none worth approving.
        in_use = self._context.of(StoredVectors).ranges
        calibrated = {
            run.combination.id: found
            for run in runs
            if (found := in_use.get(run.combination)) is not None
            and found.vectors >= FEWEST_CALIBRATION
            and run.combination.id in self._asked
        }
        ranges = self.ranges.update(profile, model, calibrated, approval)
        return [
            *(
                (combination, dataset, metric, shown(metric, old), shown(metric, new), shown(metric, delta, "+"))
                for combination, dataset, metric, old, new, delta in format_changes(changes)
            ),
            *((combination, "golden", "tokens and embeddings", "", what, "") for combination, what in golden.items()),
            *((combination, "ranges", "of 8-bit codes", "", what, "") for combination, what in ranges.items()),
        ]

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
