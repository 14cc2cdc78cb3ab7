"""May it ship? What a session comes to in one word and one sentence, and what becomes of an index."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from embedgate.core.errors import counted
from embedgate.core.judgement import Judgement, brief, shorten
from embedgate.report import upgrade
from embedgate.report.facts import depth_line, is_partial
from embedgate.report.findings import BREAKS, DRIFTED, KINDS, NOT_AS_NAMED, NOT_PROVEN, OPEN, Finding, findings
from embedgate.report.summary import Row, Summary

Answer = Literal["yes", "no", "not known"]
_VERDICTS: dict[Answer, Literal["pass", "fail", "inconclusive"]] = {
    "yes": "pass",
    "no": "fail",
    "not known": "inconclusive",
}
QUESTION = "May it ship?"
# Combinations that are named in the sentence, and characters of a message in it.
NAMED = 3
WIDTH = 160


# What one and what several combinations do that are red of a kind.
_VERBS = {kind: (f"is {kind}", f"are {kind}") for kind in KINDS} | {
    DRIFTED: (f"has {DRIFTED}", f"have {DRIFTED}"),
    BREAKS: (BREAKS, BREAKS.replace("breaks", "break", 1)),
    NOT_AS_NAMED: (f"is {NOT_AS_NAMED}", "are not what they say they are"),
    NOT_PROVEN: (f"is {NOT_PROVEN}", "are not proven by their receipts"),
}


@dataclass(frozen=True)
class Decision:
    """What a session comes to.

    Attributes:
        answer: Whether what was judged may ship.
        why: Why, in a sentence without a full stop.
        advice: What becomes of an index and of what is replaced, a line each; nothing where no incumbent was given.
    """

    answer: Answer
    why: str
    advice: tuple[str, ...] = ()

    @property
    def verdict(self) -> Literal["pass", "fail", "inconclusive"]:
        """The verdict in whose colour and with whose mark it is shown."""
        return _VERDICTS[self.answer]

    @property
    def line(self) -> str:
        """Question, answer and reason, in one line."""
        return f"{QUESTION} {self.answer.capitalize()}: {self.why}"


def decision(summary: Summary) -> Decision:
    """The decision that a session's findings come to.

    What is worse than the reference, drifted, or is not what it says may not ship. It is not known of what is not
    approved yet, what could not be judged, and what the data cannot tell.
    """
    answer, why = _decided(summary)
    return Decision(answer, why, upgrade.advice(summary))


def _decided(summary: Summary) -> tuple[Answer, str]:
    found = findings([*summary.judgements("fail"), *_red_by_estimate(summary)], summary.known.against)
    red = [finding for finding in found if finding.kind not in OPEN]
    if red:
        return "no", _red(red)
    if summary.trouble:
        return "not known", _shown(summary.trouble)
    if errors := [row for row in summary.all_rows if row.errors]:
        who = _names(row.combination for row in errors)
        return "not known", f"{who} could not be judged: {_first(errors[0].errors[0])}"
    if found:
        return "not known", _not_held(summary, found)
    if summary.unsettled:
        return "not known", _open(summary.unsettled)
    if not summary.judged:
        return "not known", ": ".join(("nothing was judged", *map(_first, list(summary.skipped)[:1])))
    if summary.verdict != "pass":
        return "not known", _unjudged(summary)
    if chosen := _left_out_by_choice(summary):
        left = f"-k, -m or the places that were given left out {chosen}, those of approved values aside"
        return "not known", f"what was asked passes, and {left}"
    if summary.others_failed:
        return "not known", f"the checks pass, and {counted(summary.others_failed, 'test')} of the project's own failed"
    return "yes", _green(summary)


def _red(found: Sequence[Finding]) -> str:
    """What each combination is, the first one's finding as the example."""
    kinds: dict[str, dict[str, None]] = {}
    for finding in found:
        kinds.setdefault(finding.kind, {}).update(dict.fromkeys(finding.combinations))
    told = [f"{_names(ids)} {_VERBS[kind][len(ids) > 1]}" for kind, ids in kinds.items()]
    judged = [judgement for finding in found if finding.kind == found[0].kind for judgement in finding.judgements]
    # What is kept of a task says more than a cosine does.
    example = next((judgement for judgement in judged if judgement.check == "retention"), judged[0])
    return f"{_and(told)}: {_shown([example.message])}"


def _not_held(summary: Summary, found: Sequence[Finding]) -> str:
    """What nothing is approved of, or the data cannot tell."""
    judged = _passing(summary, besides=summary.known.approved)
    keeps = f"{_pass(judged)} every other check, and " if judged else ""
    steps = dict.fromkeys(finding.next_step for finding in found if finding.next_step)
    return keeps + "; ".join((_shown([found[0].cause]), *list(steps)[:1]))


def _red_by_estimate(summary: Summary) -> list[Judgement]:
    """What a person wants treated as lost where the estimate says so, however unsure that is."""
    return [j for j in summary.unsettled if not summary.strict.is_full and summary.strict.is_red(j)]


def _open(found: Sequence[Judgement]) -> str:
    where = f" in {counted(len(found), 'check')}" if len(found) > 1 else ""
    return f"the data cannot tell{where}: {found[0].combination}: {_shown([found[0].message])}"


def _unjudged(summary: Summary) -> str:
    told = summary.not_judged or [*summary.left_out, *summary.skipped]
    return _shown(told) or "something was not judged"


def _green(summary: Summary) -> str:
    of = _passing(summary)
    if not of and all(row.reference for row in summary.ran):
        of = [row.combination for row in summary.ran]
    rows = (*(row for row in summary.rows if row.combination in of), summary.upgrade)
    checks = sum(j.verdict == "pass" for row in rows for j in row.counted)
    told = [f"{_pass(of)} ({counted(checks, 'check')})"] if checks else []
    if summary.expected:
        told.append(f"{counted(len(summary.expected), 'failure')} {_is(len(summary.expected))} expected")
    return "; ".join([*told, *([depth_line(summary.facts)] if is_partial(summary.facts) else [])])


def _left_out_by_choice(summary: Summary) -> str:
    """How many checks a person left out at this depth, besides those that hold values against approved ones."""
    of = summary.facts.get("checks", {}).get("of", {})
    left = [kind for each in of.values() for kind, depth in each.get("left", {}).values() if not depth]
    count = sum(kind not in summary.known.approved for kind in left)
    return counted(count, "check") if count else ""


def _passing(summary: Summary, besides: Collection[str] = ()) -> list[str]:
    """Candidates of which all that counts is green, checks of some kinds aside."""
    return [row.combination for row in summary.rows if not row.reference and _is_green(row, besides)]


def _is_green(row: Row, besides: Collection[str]) -> bool:
    verdicts = {j.verdict for j in row.counted if not j.unjudged and j.check not in besides}
    return verdicts == {"pass"} and not row.errors


def _pass(ids: Collection[str]) -> str:
    return f"{_names(ids)} {'passes' if len(ids) < 2 else 'pass'}"


def _names(ids: Iterable[str]) -> str:
    each = list(dict.fromkeys(filter(None, ids)))
    shown = each[:NAMED] if len(each) > NAMED + 1 else each
    more = [f"{len(each) - len(shown)} more"] * (len(each) > len(shown))
    return _and([*shown, *more]) or "the model"


def _and(words: Sequence[str]) -> str:
    *some, last = words or [""]
    return f"{', '.join(some)} and {last}" if some else last


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _first(text: str) -> str:
    return shorten((text.splitlines() or [""])[0], WIDTH)


def _shown(lines: Sequence[str]) -> str:
    return brief(lines[0], WIDTH) if lines else ""
