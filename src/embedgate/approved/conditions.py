"""Under what conditions golden texts were approved: where all of them hold again, so must the bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from embedgate.approved.entries import Provenance, Whole
from embedgate.core.errors import counted
from embedgate.core.files import strict
from embedgate.core.machine import changed_versions


@dataclass(frozen=True)
class Conditions:
    """What the bits of a combination's golden texts depend on, besides its libraries, embedgate's version among them.

    The texts' own batches depend on the texts and their roles alone.

    Attributes:
        machine: What tells the very machine from others, see `embedgate.core.machine.machine_id`.
        flags: The CPU's instruction sets of interest.
        gpu: Name of the GPU; None where none was used.
        threads: Threads of every backend.
        batch_size: Texts per batch of the session, for which some artefacts are built.
        reference: SHA-256 of the bits that the combination's reference gave for the golden texts, hex.
    """

    machine: str
    flags: tuple[str, ...]
    gpu: str | None
    threads: int
    batch_size: int
    reference: str

    @classmethod
    def of(cls, was: Provenance, reference: str) -> Conditions:
        """The conditions under which something was measured.

        Args:
            was: Where it was measured.
            reference: SHA-256 of the reference's bits, hex.
        """
        return cls(was.machine, was.flags, was.gpu, was.threads, was.batch_size, reference)

    def departs(self, now: Conditions) -> str:
        """Which of them does not hold now, in a few words; empty where all hold."""
        if self.machine != now.machine:
            return "another machine approved it"
        if self.flags != now.flags:
            return "the CPU had other instruction sets when it was approved"
        if self.gpu != now.gpu:
            return f"it was approved on {self.gpu or 'no GPU'}"
        if self.threads != now.threads:
            return f"it was approved with {counted(self.threads, 'thread')}, and this session has {now.threads}"
        if self.batch_size != now.batch_size:
            return f"it was approved in batches of {self.batch_size}, and this session has batches of {now.batch_size}"
        if self.reference != now.reference:
            return "its reference gives other bits than when it was approved"
        return ""


ConditionsForm = strict(Conditions, threads=Whole, batch_size=Whole)


def conditions_of(form: Any) -> Conditions:
    """The conditions that JSON values say.

    Args:
        form: A `ConditionsForm`.
    """
    return Conditions(**msgspec.structs.asdict(form))


def changed_libraries(approved: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Libraries with another version than when something was approved, with both, in one line; empty where none has."""
    apart = changed_versions(approved, now)
    return ", ".join(f"{name} {then or 'absent'} -> {here or 'absent'}" for name, (then, here) in apart.items())
