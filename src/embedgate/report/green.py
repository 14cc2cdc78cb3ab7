"""What green judgements say of themselves: what they left out, and by which tolerance they were judged."""

from __future__ import annotations

from collections.abc import Iterable

from embedgate.core.judgement import SCORES_NOTHING, TOLERATED_SINCE, TOO_FEW, Judgement
from embedgate.report.summary import Summary


def slices_left(summary: Summary) -> list[str]:
    """Which slices were not judged and why: a line for each dataset, and more where combinations differ in them."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for judgement in _passed(summary, "slices"):
        found.setdefault((judgement.dataset, judgement.metric), []).append(
            (_left(judgement.message), judgement.combination)
        )
    return [f"{dataset} {metric}: {line}" for (dataset, metric), each in found.items() for line in _each_once(each)]


def golden(summary: Summary) -> list[str]:
    """How far golden texts may move and why so far: a line, and more where combinations differ in it."""
    told = []
    for judgement in _passed(summary, "golden"):
        _, found, why = judgement.message.partition(TOLERATED_SINCE)
        line = f"golden texts may move by {judgement.limit:g}, since {why}" if found else ""
        told.append((line, judgement.combination))
    return _each_once(told)


def _passed(summary: Summary, check: str) -> Iterable[Judgement]:
    return (judgement for judgement in summary.judgements("pass") if judgement.check == check)


def _left(message: str) -> str:
    """The part of a message that tells what is not judged; empty where all was."""
    begins = [place for each in (TOO_FEW, SCORES_NOTHING) if (place := message.find(f"; {each}")) >= 0]
    return message[min(begins) + len("; ") :] if begins else ""


def _each_once(told: Iterable[tuple[str, str]]) -> list[str]:
    """What combinations say, each once: with their names where they do not all say the same."""
    of: dict[str, list[str]] = {}
    for line, combination in told:
        of.setdefault(line, []).append(combination)
    if len(of) == 1:
        return [line for line in of if line]
    return [f"{line} ({', '.join(names)})" for line, names in of.items() if line]
