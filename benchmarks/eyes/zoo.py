"""Every fault and every sound encoder that is asked about, and what each promises to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from causes import zoo as causes
from causes.fault import Fault

from eyes import answering, computing, reading, sound

Promise: TypeAlias = Literal["fp16", "int8"]
PROMISES: tuple[Promise, ...] = ("fp16", "int8")


@dataclass(frozen=True)
class Case:
    """A fault, or none, in an encoder that promises a weight precision.

    Attributes:
        fault: The fault.
        promise: The weight precision; under `int8`, the fault is on top of a sound int8.
    """

    fault: Fault
    promise: Promise

    @property
    def name(self) -> str:
        """As the command line and `found-*.json` call it."""
        return f"{self.fault.name}/{self.promise}"

    @property
    def combination(self) -> str:
        """Its id in a session."""
        return f"{self.fault.name.replace('-', '_')}-{self.promise}-cpu"

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.fault.kind == "sound"


def cases() -> dict[str, Case]:
    """All of them, by name."""
    known = faults().values()
    return {case.name: case for promise in PROMISES for fault in known for case in [Case(fault, promise)]}


def faults() -> dict[str, Fault]:
    """All faults, and all that is sound, by name."""
    known = causes.faults()
    found = [
        *reading.READING,
        *(known[name] for name in reading.KNOWN),
        *computing.COMPUTING,
        *(known[name] for name in computing.KNOWN),
        *answering.ANSWERING,
        *(known[name] for name in answering.KNOWN),
        *sound.UNUSUAL,
        *(known[name] for name in sound.KNOWN),
    ]
    return {fault.name: fault for fault in found}
