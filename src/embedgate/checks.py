"""The checks of a session: what each compares, and the judgement it comes to."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from embedgate.combination import Combination
from embedgate.data import load_golden
from embedgate.data.types import Dataset
from embedgate.diagnosis import Arm, diagnose
from embedgate.encoders.evidence import UNPROVEN
from embedgate.errors import BaselineError
from embedgate.expectations import Expectations, Expected
from embedgate.golden import drifted, largest_move
from embedgate.golden_store import GoldenApproval, GoldenStore
from embedgate.judgement import Check, Diagnosis, Judgement, WorstText
from embedgate.machine import HardwareProfile, detect, git_commit, git_identity, profile
from embedgate.measure import item_text
from embedgate.metrics import METRICS, ORDERING, NotFinite, Scores
from embedgate.property_checks import PropertyChecks
from embedgate.sentences import approved_set
from embedgate.session import Run, Session
from embedgate.settings import own_or_bundled
from embedgate.statistics import Comparison, compare, compare_drift, compare_floor, interval
from embedgate.store import BaselineStore, Entry, Found, Key, Provenance, format_changes, utc_now
from embedgate.tolerances import Tolerances
from embedgate.upgrade import advise

WORST = 5
PROBES = 16
# Largest difference of an embedding's component under which an int8 output counts as the reference's own. Backends that
# compute in float32 differ by some 1e-7, the best int8 by some 1e-3.
NOT_QUANTIZED = 1e-5


class Judge:
    """Judges a session's runs.

    Args:
        session: The runs.
        family: How many checks this session judges statistically; red verdicts are corrected for it.

    Attributes:
        profile: The hardware profile whose baselines count.
        properties: The checks of what must hold for every text.

    Raises:
        GateError: If the profile's name, the tolerances or the expected failures are malformed.
    """

    def __init__(self, session: Session, family: int = 1) -> None:
        self.session = session
        self.family = max(1, family)
        self._diagnoses: dict[Combination, Diagnosis] = {}
        name = session.settings.profile
        self.profile: HardwareProfile = profile(name) if name else detect(session.machine)
        folder = session.settings.baselines_folder
        self.store = BaselineStore(folder)
        self.tolerances = Tolerances.load(own_or_bundled(folder, "tolerances.toml"), session.registry)
        self.expectations = Expectations.load(folder / "expected_failures.toml")
        self.golden_store = GoldenStore(folder)
        self.properties = PropertyChecks(session, self.tolerances, self._diagnose)

    @cached_property
    def baseline(self) -> Found | None:
        """The approved baseline that serves this model on this profile, inherited ones included."""
        return self.store.find(self.profile, self.session.model)

    def effective(self, combination: Combination) -> Judgement:
        """Whether what ran is what the combination's id says, and every embedding is finite."""
        run = self.session.run(combination)
        evidence = run.evidence
        shown = ", ".join(f"{count} {kind}" for kind, count in sorted(evidence.products.items())) or "not shown"
        problems = list(evidence.problems)
        if not evidence.products and self.session.registry.factory(combination) is None and UNPROVEN not in problems:
            problems.append(UNPROVEN)
        if not np.isfinite(run.embeddings.matrix).all():
            problems.append(self._diagnose(run).cause)
        elif not combination.is_reference:
            reference = self.session.run(combination.reference)
            problems.extend(_not_quantized(run, reference))
        if problems:
            return Judgement(
                "effective",
                combination.id,
                "fail",
                f"is not what its id says: {problems[0]}",
                diagnosis=Diagnosis(
                    "evidence", problems[0], "see how the encoder is built; nothing may stand in for it"
                ),
                details=(*problems[1:], f"evidence: {evidence.library}, products with weights: {shown}"),
            )
        return Judgement(
            "effective",
            combination.id,
            "pass",
            f"ran on {evidence.device} in {evidence.library}; products with weights: {shown}",
        )

    def retention(self, combination: Combination, dataset: Dataset, metric: str) -> Judgement:
        """Whether a combination keeps the reference's quality on a dataset."""
        run, reference = self.session.run(combination), self.session.run(combination.reference)
        tolerance = self.tolerances.retention(combination, metric)
        return self._compare("retention", run, reference, dataset, metric, tolerance, "the reference's")

    def upgrade(self, dataset: Dataset, metric: str) -> Judgement:
        """Whether the model keeps the incumbent's quality on a dataset, both run as the reference."""
        session = self.session
        run, incumbent = session.run(session.reference), session.run(session.reference, session.incumbent)
        tolerance = self.tolerances.upgrade(metric)
        return self._compare("upgrade", run, incumbent, dataset, metric, tolerance, f"{session.incumbent.name}'s")

    def agreement(self, combination: Combination, metric: str) -> Judgement:
        """Whether a combination's embeddings stay near the reference's, text by text."""
        run = self.session.run(combination)
        floor = self.tolerances.floor(combination, metric)
        try:
            scores = self.session.agreement(run)[metric]
        except ValueError as error:  # NaN, or a dimension of its own
            return self._broken("agreement", run, self.session.texts_name, metric, str(error))
        found = compare_floor(scores, floor, metric=metric, alpha=self.tolerances.alpha, family=self.family)
        message = f"{metric} {scores.value:.4f} over {len(scores.items)} texts, {floor:.4f} is required"

        def worst() -> list[WorstText]:
            cosines = self.session.agreement(run)["cosine_mean"].items
            order = np.argsort(cosines)[:WORST]
            return [WorstText(run.embeddings.texts[int(i)], 1.0, float(cosines[i])) for i in order]

        return self._judged(
            "agreement", run, self.session.texts_name, metric, found, message, scores.value, None, worst
        )

    def ordering(self, combination: Combination, metric: str) -> Judgement:
        """Whether enough generated sentences keep the reference's order of similarity."""
        run = self.session.run(combination)
        floor = self.tolerances.floor(combination, metric)
        try:
            scores = self.session.order(run)[metric]
        except NotFinite as error:
            return self._broken("ordering", run, ORDERING, metric, str(error))
        found = compare_floor(scores, floor, metric=metric, alpha=self.tolerances.alpha, family=self.family)
        cases, _ = approved_set()
        turned = Counter(case.relation for case, kept in zip(cases, scores.items, strict=True) if kept < 1)
        shown = ", ".join(f"{relation} {count}" for relation, count in turned.most_common()) or "none"
        message = f"turns {turned.total()} of {len(cases)} orders round ({shown}): keeps {scores.value:.2%}"
        message += f", {floor:.2%} is required"
        return self._judged("ordering", run, ORDERING, metric, found, message, scores.value, None, lambda: ())

    def golden(self, combination: Combination) -> Judgement:
        """Whether the golden texts have the approved tokens and embeddings."""
        session, run = self.session, self.session.run(combination)
        texts, sha256 = load_golden()
        now = session.golden(run)
        if session.settings.update:
            return Judgement("golden", combination.id, "pass", "to be recorded when the session ends")
        try:
            approved = self.golden_store.find(self.profile, session.model, sha256, combination.id)
        except BaselineError as error:
            return self._baseline_failure(combination, error.cause, error.action, check="golden")
        record = self.record_command()
        if approved is None:
            chain = " or ".join(self.profile.chain)
            cause = f"no golden texts of {session.model.name} are approved for {chain}"
            return self._baseline_failure(combination, cause, f"approve what you see by: {record}", check="golden")
        move = self.tolerances.golden_move(combination)
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
            details=(_changed_libraries(approved.approval.libraries, session.libraries),),
        )

    def against_baseline(self, combination: Combination) -> Judgement:
        """Whether what a combination measures is what was approved."""
        session, run = self.session, self.session.run(combination)
        if session.settings.update:
            with suppress(NotFinite):
                session.order(run)  # while its encoder is open
            return Judgement("baseline", combination.id, "pass", "to be recorded when the session ends")
        record = self.record_command()
        try:
            found = self.baseline
        except BaselineError as error:
            return self._baseline_failure(combination, error.cause, error.action)
        if found is None:
            chain = " or ".join([self.profile.name, *self.profile.parents])
            cause = f"no baseline of {session.model.name} is approved for {chain}"
            return self._baseline_failure(combination, cause, f"approve what you see by: {record}")
        missing, worse, better, largest = [], [], [], 0.0
        served: Counter[str] = Counter()
        try:
            session.order(run)
            measured = self.measured(run)
        except ValueError as error:  # NaN, or a dimension of its own
            return self._broken("baseline", run, "", "", str(error))
        for (dataset, sha256, metric), scores in measured.items():
            try:
                approved = found.get(combination.id, dataset, sha256, metric)
            except BaselineError as error:
                return self._baseline_failure(combination, error.cause, error.action)
            if approved is None and dataset == session.texts_name and found.has_other_texts(combination.id, dataset):
                continue  # approved over other datasets together: there, a text has other neighbours
            if approved is None:
                missing.append(f"{dataset} {metric}")
                continue
            entry = approved.entry
            served[approved.profile + (" (inherited)" if approved.inherited else "")] += 1
            drift = self.tolerances.drift(combination, metric, inherited=approved.inherited)
            outcome = compare_drift(scores.value, entry.value, drift)
            largest = max(largest, abs(scores.value - entry.value))
            line = f"{dataset} {metric}: {scores.value:.4f}, approved {entry.value:.4f} (±{drift:g} tolerated)"
            if outcome == "fail":
                worse.append(line)
            elif outcome == "stale":
                better.append(line)
        where = " and ".join(served) or found.profile
        if worse:
            return self._baseline_failure(
                combination,
                f"drifted below what was approved for {where} in {len(worse)} of {len(measured)} values",
                f"find what changed (library versions: see report.json); once it is meant: {record}",
                [*worse, *(f"not approved yet: {name}" for name in missing)],
            )
        if missing:
            return self._baseline_failure(
                combination,
                f"{len(missing)} of {len(measured)} values were never approved for {where}",
                f"approve what you see by: {record}",
                [f"not approved yet: {name}" for name in missing],
            )
        message = f"within what was approved for {where}: {len(measured)} values, largest difference {largest:.4f}"
        if better:
            message += f"; {len(better)} better than approved, approve them by: {record}"
        return Judgement("baseline", combination.id, "pass", message, details=tuple(better))

    def expected(self, judgement: Judgement) -> Expected | None:
        """The entry that expects this judgement to fail, where there is one."""
        return self.expectations.match(
            judgement.combination, judgement.dataset, judgement.check, judgement.metric, self.profile, judgement.verdict
        )

    def index_advice(self) -> str | None:
        """Whether the model's vectors can join the incumbent's index; None where no check has run the incumbent."""
        session = self.session
        if not session.has_run(session.reference, session.incumbent):
            return None
        run, incumbent = session.run(session.reference), session.run(session.reference, session.incumbent)
        return str(advise(run.embeddings, incumbent.embeddings))

    def stale_keys(self) -> list[Key]:
        """Approved values of what this session ran that it did not measure."""
        try:
            found = self.baseline
        except BaselineError:
            return []
        if found is None:
            return []
        measured = [
            Key(run.combination.id, dataset, metric, sha256)
            for run in self.session.finished()
            for dataset, sha256, metric in self._measured_or_nothing(run)
        ]
        datasets = {self.session.texts_name, *(dataset.name for dataset in self.session.datasets)}
        if any(key.dataset == ORDERING for key in measured):
            datasets.add(ORDERING)
        # A combination of which nothing could be measured (NaN) leaves what was approved of it as it is.
        stale = found.stale(measured, {key.combination for key in measured}, datasets)
        return [entry.key for entry in stale]

    def update_baseline(self) -> list[tuple[str, ...]]:
        """Approves what this session measured; the difference as rows of a table.

        Combinations that did not run, hold NaN, or are not what their id says are left out.

        Raises:
            BaselineError: If it cannot be recorded; the old file is then as it was.
        """
        session, settings = self.session, self.session.settings
        sound = [run for run in session.finished() if self.effective(run.combination).verdict == "pass"]
        provenance = Provenance.of(
            session.machine,
            threads=session.threads,
            batch_size=settings.batch_size,
            libraries=session.libraries,
            commit=git_commit(),
        )
        changes = self.store.update(
            self.profile,
            session.model,
            [entry for run in sound for entry in self._entries(run)],
            reason=settings.reason,
            who=git_identity(),
            provenance=provenance,
            remove=self.stale_keys(),
            in_ci_allowed=settings.update_in_ci,
        )
        golden = self.golden_store.update(
            self.profile,
            session.model,
            load_golden()[1],
            {run.combination.id: run.golden for run in sound if run.golden is not None and run.golden.finite},
            GoldenApproval(utc_now(), git_identity(), settings.reason, session.libraries),
        )

        def shown(number: float | None, form: str = ".4f") -> str:
            return "" if number is None else format(number, form)

        return [
            *(
                (combination, dataset, metric, shown(old), shown(new), shown(delta, "+.4f"))
                for combination, dataset, metric, old, new, delta in format_changes(changes)
            ),
            *((combination, "golden", "tokens and embeddings", "", "recorded", "") for combination in golden),
        ]

    def _measured_or_nothing(self, run: Run) -> dict[tuple[str, str, str], Scores]:
        try:
            return self.measured(run)
        except ValueError:  # NaN, or a dimension of its own: judged elsewhere, nothing to approve
            return {}

    def _entries(self, run: Run) -> list[Entry]:
        entries = []
        for (dataset, sha256, metric), scores in self._measured_or_nothing(run).items():
            bounds = interval(scores, self.tolerances.alpha, metric=metric)
            key = Key(run.combination.id, dataset, metric, sha256)
            entries.append(Entry(key, scores.value, bounds.low, bounds.high, len(scores.items)))
        return entries

    def measured(self, run: Run) -> dict[tuple[str, str, str], Scores]:
        """Everything measured of a run, by (dataset, dataset hash, metric), as baselines are keyed."""
        session = self.session
        found = {
            (dataset.name, dataset.sha256, metric): scores
            for dataset in session.datasets
            for metric, scores in session.scores(run, dataset).items()
        }
        if not run.combination.is_reference:
            for metric, scores in session.agreement(run).items():
                found[self.session.texts_name, session.texts_sha256, metric] = scores
            for metric, scores in run.order.items():  # only where a check has asked for it: it takes an open encoder
                found[ORDERING, approved_set()[1], metric] = scores
        return found

    def record_command(self) -> str:
        """The command that approves what this session measures."""
        return f'{shlex.join(["pytest", *self.session.settings.invocation])} --gate-update --gate-reason "..."'

    def _compare(
        self, check: Check, run: Run, other: Run, dataset: Dataset, metric: str, tolerance: float, whose: str
    ) -> Judgement:
        try:
            mine = self.session.scores(run, dataset)[metric]
        except NotFinite as error:
            return self._broken(check, run, dataset.name, metric, str(error))
        try:
            theirs = self.session.scores(other, dataset)[metric]
            found = compare(
                mine,
                theirs,
                tolerance,
                alpha=self.tolerances.alpha,
                family=self.family,
                unit_loss=METRICS[metric].unit_loss,
            )
        except ValueError as error:
            # The reference itself scores nothing here, or holds NaN: that says nothing about the combination.
            step = "give data on which the reference scores above chance"
            return Judgement(
                check,
                run.combination.id,
                "fail",
                f"{metric} on {dataset.name} cannot be judged: {error}",
                dataset.name,
                metric,
                diagnosis=Diagnosis("dataset", f"{dataset.name} cannot judge {metric}: {error}", step),
            )
        message = (
            f"keeps {found.observed:.2%} of {whose} {metric} on {dataset.name} "
            f"({mine.value:.4f} of {theirs.value:.4f}), {1 - tolerance:.2%} is required"
        )

        # A similarity has no better direction of its own: any move away from the reference's is shown.
        change = mine.items - theirs.items
        change = -np.abs(change) if metric == "cosine_spearman" else change

        def worst() -> list[WorstText]:
            order = [int(i) for i in np.argsort(change, kind="stable")[:WORST] if change[i] < 0]
            return [WorstText(item_text(dataset, i), float(theirs.items[i]), float(mine.items[i])) for i in order]

        details = _worst_slices(dataset, change) if found.verdict == "fail" else ()
        return self._judged(check, run, dataset.name, metric, found, message, mine.value, theirs.value, worst, details)

    def _judged(
        self,
        check: Check,
        run: Run,
        dataset: str,
        metric: str,
        found: Comparison,
        message: str,
        value: float,
        reference_value: float | None,
        worst: Callable[[], Sequence[WorstText]],
        details: tuple[str, ...] = (),
    ) -> Judgement:
        if found.verdict == "fail":
            message += f"; even the better end of the interval is {found.high:.4f}"
        elif found.verdict == "inconclusive":
            settles = (
                f"about {found.items_needed} items would settle it"
                if found.items_needed
                else "more items would not settle it"
            )
            message += (
                f"; the interval {found.low:.4f} to {found.high:.4f} holds both answers, {settles} ({found.n} now)"
            )
        failed = found.verdict == "fail"
        return Judgement(
            check,
            run.combination.id,
            found.verdict,
            message,
            dataset,
            metric,
            value=value,
            reference_value=reference_value,
            observed=found.observed,
            low=found.low,
            high=found.high,
            limit=found.limit,
            n=found.n,
            smallest_detectable_loss=found.smallest_detectable_loss,
            items_needed=found.items_needed,
            diagnosis=self._diagnose(run) if failed and check != "upgrade" else None,
            worst=tuple(worst()) if failed else (),
            details=details,
        )

    def _broken(self, check: Check, run: Run, dataset: str, metric: str, cause: str) -> Judgement:
        return Judgement(
            check,
            run.combination.id,
            "fail",
            f"{dataset} {metric} cannot be measured: {cause}".strip(),
            dataset,
            metric,
            diagnosis=self._diagnose(run),
        )

    def _baseline_failure(
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

    def _diagnose(self, run: Run) -> Diagnosis:
        session, combination = self.session, run.combination
        if combination not in self._diagnoses:
            reference = session.run(combination.reference)
            probes = _probes(run, reference)
            self._diagnoses[combination] = diagnose(
                Arm(run.embeddings, run.evidence, session.stages(run, probes)),
                Arm(reference.embeddings, reference.evidence, session.stages(reference, probes)),
                probes,
            )
        return self._diagnoses[combination]


def _changed_libraries(approved: Mapping[str, str], now: Mapping[str, str]) -> str:
    changed = [
        f"{name} {approved.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in sorted({*approved, *now})
        if approved.get(name) != now.get(name)
    ]
    return f"libraries since it was approved: {', '.join(changed) or 'unchanged'}"


def _not_quantized(run: Run, reference: Run) -> list[str]:
    """What shows that a reduced weight precision is really the reference in disguise."""
    weight_precision = run.combination.weight_precision
    if weight_precision == "fp32" or run.embeddings.matrix.shape != reference.embeddings.matrix.shape:
        return []
    difference = float(np.abs(run.embeddings.matrix - reference.embeddings.matrix).max())
    if difference == 0:
        return [f"every embedding is bit-identical to the fp32 reference's, so nothing ran in {weight_precision}"]
    if weight_precision.startswith("int") and difference < NOT_QUANTIZED:
        return [f"no embedding differs from the fp32 reference's by more than {difference:.0e}, so nothing ran in int8"]
    return []


def _worst_slices(dataset: Dataset, change: npt.NDArray[np.float64]) -> tuple[str, ...]:
    """The slices of a dataset whose items lost most, where they lost more than the items as a whole."""
    overall = float(change.mean())
    means = {name: float(change[list(rows)].mean()) for name, rows in dataset.slices.items() if rows}
    lost = sorted((mean, name) for name, mean in means.items() if mean < overall)[:3]
    shown = ", ".join(f"{name} {mean:+.4f} ({len(dataset.slices[name])} items)" for mean, name in lost)
    return (f"lost most in slices: {shown}; {overall:+.4f} overall",) if lost else ()


def _probes(run: Run, reference: Run) -> list[str]:
    """A few texts that show where two runs part: the ones that moved most, and some of every length."""
    texts = run.embeddings.texts
    spread = np.linspace(0, len(texts) - 1, min(PROBES // 2, len(texts))).astype(int)
    if run.embeddings.dim == reference.embeddings.dim:
        cosines = (run.embeddings.normalised * reference.embeddings.normalised).sum(axis=1)
        moved = np.argsort(np.nan_to_num(cosines, nan=-1.0))[: PROBES // 2]
    else:
        moved = spread
    return [texts[int(i)] for i in dict.fromkeys([*spread.tolist(), *moved.tolist()])]
