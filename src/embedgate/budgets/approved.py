"""Budgets as they are approved: found for a machine like this one, and kept to be approved."""

from __future__ import annotations

from collections.abc import Callable

from embedgate.combination import Combination
from embedgate.errors import BaselineError
from embedgate.machine import HardwareProfile, Machine
from embedgate.metrics import BUDGET
from embedgate.session import Run, Session
from embedgate.store import Approved, Entry, Provenance

# What systems say where they do not know the model of a CPU.
UNKNOWN_CPUS = ("", "arm", "arm64", "aarch64", "i386", "x86_64")


class ApprovedBudgets:
    """The approved budgets of a session's combinations.

    Args:
        session: The runs.
        profile_of: The hardware profile whose budgets count for a combination.
        approved: Finds the approved measurement of a combination, dataset and metric.
    """

    def __init__(
        self,
        session: Session,
        profile_of: Callable[[Combination], HardwareProfile],
        approved: Callable[[str, str, str], Approved | None],
    ) -> None:
        self._session = session
        self._profile_of = profile_of
        self._approved = approved

    def find(
        self, combination: Combination, metric: str, sha256: str, portable: bool = False
    ) -> tuple[Approved | None, str]:
        """What was approved for a machine like this one, or why there is none.

        What a combination takes depends on the machine more than what it computes: another CPU has another ratio, and
        another number of threads another memory. So nothing is inherited but what is `portable`. On a GPU the CPU
        counts as well: it tokenises and starts every kernel, which is most of the time of small batches.

        Raises:
            BaselineError: If the baseline cannot be trusted; not where a new one is being recorded.
        """
        try:
            found = self._approved(combination.id, BUDGET, metric)
        except BaselineError:
            if self._session.settings.update:
                return None, ""
            raise
        if found is None:
            return None, f"no budget is approved for {self._profile_of(combination)}"
        if found.entry.key.dataset_sha256 != sha256:
            return None, "what is measured has changed since budgets were approved"
        if portable:
            return found, ""
        machine, was = self._session.machine_of(combination), found.provenance
        if found.inherited:
            return None, f"budgets are approved for {found.profile} and not for {self._profile_of(combination)}"
        if machine.gpu is None and machine.cpu.lower() in UNKNOWN_CPUS:
            return None, "this system does not tell the model of its CPU, so no budget can be known to be its own"
        if differing := _differing(was, machine):
            return None, f"budgets are approved for {differing[0]}, and this is {differing[1]}"
        if was.threads != self._session.threads:
            return None, f"budgets are approved for {was.threads} threads, and these are {self._session.threads}"
        return found, ""

    def keep(self, run: Run, entry: Entry, approved: Approved | None, slack: float) -> None:
        """Keeps an entry to be approved; the old one where it still says the same, so that no budget creeps."""
        metric, was = entry.key.metric, approved.entry if approved and not approved.inherited else None
        same = was is not None and was.low * (1 - slack) <= entry.value <= was.high * (1 + slack)
        run.to_approve[metric] = was if was is not None and same else entry


def _differing(was: Provenance, now: Machine) -> tuple[str, str] | None:
    """In which parts two machines differ, as each of them has it; None where they are alike.

    What runs on the CPU does not depend on which GPU the machine has.
    """
    parts = [
        *([(was.gpu or "another GPU", now.gpu)] if now.gpu else ()),
        (was.cpu, now.cpu),
        *([(" ".join(was.flags), " ".join(now.flags))] if was.cpu == now.cpu else ()),
    ]
    differing = [pair for pair in parts if pair[0] != pair[1]]
    one, other = (" with ".join(pair[side] for pair in differing) for side in (0, 1))
    return (one, other) if differing else None
