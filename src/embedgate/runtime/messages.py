"""What a session and a fresh process say to each other: a request, and its answer, as JSON over a pipe."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

from embedgate.performance.paired import Aim

T = TypeVar("T")

# Whose turn it is.
Arm = Literal["reference", "candidate"]


class FootprintOf(msgspec.Struct, tag="footprint"):
    """Asks for memory and cold start, of a process that has built nothing yet."""

    combination: str


class RowsOf(msgspec.Struct, tag="rows"):
    """Asks for turns of workloads as `embedgate.performance.paired.Blocks.rows` has them, by workload."""

    combination: str
    workloads: dict[str, Aim]


class ArmsOf(msgspec.Struct, tag="arms"):
    """Asks for both arms of a workload to be built and warmed up, so that their turns can be asked for."""

    combination: str
    workload: str


class TurnOf(msgspec.Struct, tag="turn"):
    """Asks for one turn of the arms asked for last: the seconds of each of its calls."""

    arm: Arm


Request = FootprintOf | RowsOf | ArmsOf | TurnOf


class ArmsBuilt(msgspec.Struct):
    """What is known of two arms that are warm.

    Attributes:
        threads: Threads that both were built with.
        other_threads: Threads that the candidate tells of, where it was to have others; else None.
        tokenise_seconds: What tokenising the texts of a turn takes; None where the model's tokenizer is not known.
    """

    threads: int
    other_threads: int | None
    tokenise_seconds: float | None


class Answer(msgspec.Struct, Generic[T]):
    """The result that was found; or what prevented it, and what to do."""

    found: T | None = None
    cause: str = ""
    action: str = ""
