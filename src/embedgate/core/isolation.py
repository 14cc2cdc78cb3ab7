"""Whether tests run in a process of their own, whose end costs one verdict and no report."""

from __future__ import annotations

from enum import StrEnum

from embedgate.core.errors import GateError

_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Isolation(StrEnum):
    """Whether tests run in a process of their own.

    Attributes:
        AUTO: Where it costs next to nothing: where the system can fork, and no other thread is at work.
        OFF: Never.
        ON: Always; a session in which they cannot is refused.
    """

    AUTO = "auto"
    OFF = "off"
    ON = "on"


def parse(told: str | bool, flag: str) -> Isolation:
    """Reads what was asked for.

    Args:
        told: As it was given.
        flag: The option.

    Raises:
        GateError: If it is none.
    """
    text = str(told).lower()
    if text in _ON:
        return Isolation.ON
    if text in _OFF:
        return Isolation.OFF
    if text in ("", Isolation.AUTO):
        return Isolation.AUTO
    raise GateError(f"{flag} must be {Isolation.ON}, {Isolation.OFF} or {Isolation.AUTO}, not {told!r}")
