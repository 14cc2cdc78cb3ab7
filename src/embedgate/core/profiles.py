"""Which hardware profile a combination belongs to: its device's."""

from __future__ import annotations

from collections.abc import Callable

from embedgate.core.combination import Combination
from embedgate.core.machine import HardwareProfile, Machine, detect, profile


class Profiles:
    """The hardware profiles of a session: one per device, or one that a person named for all.

    Args:
        named: The name a person gave; None to detect.
        machine: Describes the machine as a combination's device has it. It is asked no earlier than for the profile of
            a combination on that device, since for a GPU that imports torch.

    Raises:
        GateError: If the name is malformed.
    """

    def __init__(self, named: str | None, machine: Callable[[Combination], Machine]) -> None:
        self._named = profile(named) if named else None
        self._machine = machine

    def of(self, combination: Combination) -> HardwareProfile:
        """The profile whose baselines count for a combination."""
        return self._named or detect(self._machine(combination))
