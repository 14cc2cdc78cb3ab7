"""The checks of a session: what each compares, and the judgement it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from embedgate.approved.expected_failures import Expectations, Expected
from embedgate.approved.tolerances import Tolerances
from embedgate.checks.baseline import DriftChecks
from embedgate.checks.budgets import ApprovedBudgets
from embedgate.checks.performance import BudgetChecks
from embedgate.checks.properties import PropertyChecks
from embedgate.checks.results import failed, judged, unmeasured
from embedgate.checks.stored import StoredVectors
from embedgate.checks.vectors import Families, SearchChecks
from embedgate.core.combination import Combination
from embedgate.core.judgement import Check, Diagnosis, Judgement, WorstText
from embedgate.core.machine import HardwareProfile
from embedgate.core.profiles import Profiles
from embedgate.core.settings import own_or_bundled
from embedgate.data.types import Dataset
from embedgate.diagnosis.layers import Arm, diagnose
from embedgate.encoders.evidence import UNPROVEN
from embedgate.metrics import METRICS, ORDERING, NotFinite
from embedgate.metrics.compatibility import advise
from embedgate.metrics.evaluate import item_text
from embedgate.metrics.statistics import Comparison, compare, compare_floor
from embedgate.runtime.session import Run, Session
from embedgate.sentences import approved_set

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
        budget_family: How many budgets of time it judges.
        search_family: How many checks of stored vectors it judges statistically; a family of its own.

    Attributes:
        properties: The checks of what must hold for every text.
        drift: The checks against what was approved, and its approval.
        budgets: The checks of speed, memory and size.
        search: The checks of stored vectors.

    Raises:
        GateError: If the profile's name, the tolerances or the expected failures are malformed.
    """

    def __init__(self, session: Session, family: int = 1, budget_family: int = 1, search_family: int = 1) -> None:
        self.session = session
        self.family = max(1, family)
        self._diagnoses: dict[Combination, Diagnosis] = {}
        self._profiles = Profiles(session.settings.profile, session.machine_of)
        folder = session.settings.baselines_folder
        self.tolerances = Tolerances.load(
            own_or_bundled(folder, "tolerances.toml"), session.registry, session.plan.engines.added
        )
        self.expectations = Expectations.load(folder / "expected_failures.toml")
        self.drift = DriftChecks(
            session,
            self.profile_of,
            self.tolerances,
            self._diagnose,
            sound=lambda run: self.effective(run.combination).verdict == "pass",
            stored=StoredVectors(session, self.profile_of),
        )
        approved = ApprovedBudgets(session, self.profile_of, self.drift.approved)
        self.search = SearchChecks(
            session,
            self.tolerances,
            self._diagnose,
            self.drift.stored,
            approved,
            self.drift.record_command,
            Families(search_family, max(1, budget_family)),
        )
        self.properties = PropertyChecks(session, self.tolerances, self._diagnose)
        self.budgets = BudgetChecks(
            session,
            self.profile_of,
            self.tolerances,
            approved,
            self.drift.record_command,
            max(1, budget_family),
        )

    def profile_of(self, combination: Combination) -> HardwareProfile:
        """The hardware profile whose baselines count for a combination: its device's."""
        return self._profiles.of(combination)

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
            return unmeasured(
                "agreement", run.combination.id, self.session.texts_name, metric, error, self._diagnose(run)
            )
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
            return unmeasured("ordering", run.combination.id, ORDERING, metric, error, self._diagnose(run))
        found = compare_floor(scores, floor, metric=metric, alpha=self.tolerances.alpha, family=self.family)
        cases, _ = approved_set()
        turned = Counter(case.relation for case, kept in zip(cases, scores.items, strict=True) if kept < 1)
        shown = ", ".join(f"{relation} {count}" for relation, count in turned.most_common()) or "none"
        message = f"turns {turned.total()} of {len(cases)} orders round ({shown}): keeps {scores.value:.2%}"
        message += f", {floor:.2%} is required"
        return self._judged("ordering", run, ORDERING, metric, found, message, scores.value, None, lambda: ())

    def expected(self, judgement: Judgement) -> Expected | None:
        """The entry that expects this judgement to fail, where there is one."""
        profile = self.profile_of(Combination.parse(judgement.combination))
        return self.expectations.match(
            judgement.combination, judgement.dataset, judgement.check, judgement.metric, profile, judgement.verdict
        )

    def index_advice(self) -> str | None:
        """Whether the model's vectors can join the incumbent's index; None where no check has run the incumbent."""
        session = self.session
        if not session.has_run(session.reference, session.incumbent):
            return None
        run, incumbent = session.run(session.reference), session.run(session.reference, session.incumbent)
        return str(advise(run.embeddings, incumbent.embeddings))

    def close(self) -> None:
        """Releases encoders and indexes."""
        self.search.close()
        self.session.close()

    def _compare(
        self, check: Check, run: Run, other: Run, dataset: Dataset, metric: str, tolerance: float, whose: str
    ) -> Judgement:
        try:
            mine = self.session.scores(run, dataset)[metric]
        except NotFinite as error:
            return unmeasured(check, run.combination.id, dataset.name, metric, error, self._diagnose(run))
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
            cause = f"{metric} on {dataset.name} cannot be judged: {error}"
            step = "give data on which the reference scores above chance"
            return failed(check, run.combination.id, dataset.name, metric, Diagnosis("dataset", cause, step))
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
        diagnose = None if check == "upgrade" else lambda: self._diagnose(run)
        return judged(
            check,
            run.combination.id,
            dataset,
            metric,
            found,
            message,
            value,
            reference_value,
            diagnose=diagnose,
            worst=worst,
            details=details,
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
