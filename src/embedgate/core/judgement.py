"""Judgements: measurement + tolerance + baseline -> a verdict, with the message a person reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from embedgate.core.errors import counted
from embedgate.core.inert import one_line_inert
from embedgate.core.plain import to_plain

Verdict = Literal["pass", "fail", "inconclusive"]

# Check, dataset and metric of a judgement: of one combination, no other has the same.
Place: TypeAlias = tuple[str, str, str]

# What checks of properties judge, besides the variations and canaries that have names of their own.
MARGIN, SIMILARITY = ORDER = ("margin", "similarity")
ANY_TEXT = "any_text"
# Layers of a cause that say what kind of red it is.
APPROVAL, PROMISE, DATASET = "approval", "promise", "dataset"
TOKENS = "tokens"
# The layer of what nothing was found to explain, and what a cause reaches that depends on a text's surroundings.
UNKNOWN, BY_BATCH = "unknown", "batch"
# What a cause reaches that cuts texts at another length.
LENGTH = "length"
# The layer of what gives other vectors when it is asked again.
REPETITION = "repetition"
# The layer of vectors that are of no text.
ANSWERS = "answers"
# Moves of a vector below this share of its length are rounding: another kernel or batch adds in another order.
ROUNDING = 1e-4
# How the lines begin that ask a property again for its example, and that pin it.
REPRODUCE, PIN = EXAMPLE_LINES = ("reproduce: ", "try it first from now on: ")
# Of what was tried for a cause and what could not be, as many as a line or a list names.
NEAREST = 3
# What stands in a message between a tolerance and why it is that one.
TOLERATED_SINCE = " is tolerated, since "
# How the parts of a message of the check `slices` begin that tell what is not judged, and why.
TOO_FEW = "too few items of their own to be judged: "
SCORES_NOTHING = "the reference scores nothing above chance: "
# Checks whose limit is the most that is tolerated; of all others, it is the least.
LIMIT_IS_MOST = ("speed", "search speed", "memory", "size", "invariance", "golden", "texts")
# A command at the end of a line, to be copied.
COMMAND = re.compile(r"\b(?:pytest (?!.*\bpytest )(?:[^`]* )?--gate-[^`]*|embedgate [a-z]+ [^`]*--[^`]*)$")
LONGEST_COMMAND = 400
# Characters of a cause where it is told again, and of a fault's name.
AGAIN = 110


@dataclass(frozen=True)
class WorstText:
    """A text that lost most, shown below a failure.

    Attributes:
        text: The text, or the texts of a pair or triplet joined by ` | `.
        reference: The reference's score of it.
        candidate: The combination's score of it.
    """

    text: str
    reference: float
    candidate: float

    @property
    def moved(self) -> bool:
        """Whether its scores differ as they are shown."""
        return f"{self.reference:+.4f}" != f"{self.candidate:+.4f}"


@dataclass(frozen=True)
class Slice:
    """A part of a dataset, beside the whole that was judged.

    Attributes:
        name: Its name in the dataset.
        items: Number of its items among those that decided.
        value: The combination's value of the metric over them; 0 of a correlation where all have one grade.
        reference_value: The reference's (or the incumbent's).
        low: Lower end of the interval of their difference; None where the slice is shown and not judged.
        high: Its upper end.
        verdict: Of the check `slices`, what the slice itself came to.
    """

    name: str
    items: int
    value: float
    reference_value: float
    low: float | None = None
    high: float | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Tried:
    """A fault that was played through on the reference, and how near that came to the candidate's vectors.

    Attributes:
        fault: What was done to the reference, for example `CLS pooling`.
        distance: Root mean square distance of the candidate's vectors to those, as a share of the latter's length.
        texts: On how many texts, asked for in one way or another, where these were not all.
    """

    fault: str
    distance: float
    texts: int | None = None


@dataclass(frozen=True)
class Proof:
    """How a cause was found.

    Attributes:
        found: `reproduced` where the reference gives the candidate's vectors with that fault, `read` where something
            shows it: tokens, stages, weights, graphs; `nothing` where no cause was found, and this is what was tried.
        texts: How many texts it was looked for on.
        cosine: Of what is reproduced, the mean cosine of the candidate's vectors to the reproduced ones.
        distance: Of what is reproduced, as `Tried.distance`.
        distance_before: As `distance`, to the reference as it is.
        tried: What else came nearest, the nearest first; no more than a dozen.
        attempts: How many faults and pairs of them were tried in all.
        untried: What could not be tried here, and why, one line each.
        layers: Every layer that the cause reaches: of two faults together both, and `batch` where what becomes of a
            text depends on the texts that it is asked for with.
    """

    found: Literal["reproduced", "read", "nothing"]
    texts: int
    cosine: float | None = None
    distance: float | None = None
    distance_before: float | None = None
    tried: tuple[Tried, ...] = ()
    attempts: int = 0
    untried: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()

    def found_in_words(self) -> str:
        """What shows the cause, in one line."""
        on = counted(self.texts, "text")
        if self.found == "read":
            return f"read from what it shows of {on}" if self.texts else "read from what it shows"
        near = [] if self.cosine is None else [f"cosine {self.cosine:.4f}"]
        near += [] if self.distance is None else [f"{self.distance:.2g} off"]
        before = "" if self.distance_before is None else f" ({self.distance_before:.2g} off without it)"
        return f"reproduced by the reference on {on}: {', '.join(near)}{before}"

    def tried_in_words(self, is_known: bool) -> str:
        """What else was tried, the nearest first, in one line; empty where nothing was.

        Args:
            is_known: Whether the cause is known, so that the others came next to it.
        """
        if not self.tried:
            return ""
        nearest = [
            f"{shorten(each.fault, AGAIN)} ({each.distance:.2g} off{f' on {each.texts}' if each.texts else ''})"
            for each in self.tried[:NEAREST]
        ]
        more = max(len(self.tried), self.attempts - is_known) - len(nearest)
        told = ", ".join(nearest) + (f", and {more} more" if more else "")
        return f"{'next best' if is_known else 'ruled out'}: {told}"

    def untried_in_words(self) -> tuple[str, ...]:
        """What could not be tried, a line each."""
        more = len(self.untried) - NEAREST
        told = (f"not tried: {shorten(line)}" for line in self.untried[:NEAREST])
        return (*told, *([f"not tried: {more} more"] if more > 0 else []))


@dataclass(frozen=True)
class Diagnosis:
    """At which layer a combination departs from the reference.

    Attributes:
        layer: `finiteness`, `order`, `texts`, `prompt`, `tokens`, `hidden states`, `weights`, `pooling`,
            `normalisation`, `modules`, `answers`, `repetition`, `rounding`, `batch`, `evidence`, `scores`, `baseline`,
            `approval`, `promise`, `dataset`, `time`, `memory`, `bytes`, `receipt`, `dimension`, `ranges`, `codes`,
            `index`, `ids` or `unknown`. It is `approval` where nothing is approved that could be trusted, and `promise`
            where a combination does not save what its name promises.
        cause: One line that says what differs there.
        next_step: One line that says what to try.
        proof: How the cause was found, or what was ruled out where it is `unknown`; None where the cause is the finding
            itself.
    """

    layer: str
    cause: str
    next_step: str
    proof: Proof | None = None

    @property
    def is_shown(self) -> bool:
        """Whether the cause was reproduced or read, and is no finding of one check alone."""
        if self.proof is None or self.layer == UNKNOWN:
            return False
        return self.proof.found != "nothing"

    @property
    def reaches(self) -> frozenset[str]:
        """Every layer that the cause reaches."""
        return frozenset((self.layer, *(self.proof.layers if self.proof else ())))

    def shown_by(self) -> tuple[str, ...]:
        """How the cause was found, or what it is not, a line each; nothing where the cause is the finding itself."""
        if self.proof is None:
            return ()
        told = self.proof.cosine is not None and f"cosine {self.proof.cosine:.4f}" in self.cause
        found = self.proof.found_in_words() if self.is_shown and not told else ""
        return tuple(filter(None, (found, self.proof.tried_in_words(self.is_shown), *self.proof.untried_in_words())))


@dataclass(frozen=True)
class Judgement:
    """One check of one combination.

    Attributes:
        check: What was checked: the kind of a check in `embedgate.checks.CHECKS`.
        combination: Id of the combination.
        dataset: Name of the dataset; empty where the check is about none.
        metric: Name of the metric, of the variation (`invariance`), of the canary (`contract`) or of the workload
            (`speed`); empty where the check is about none.
        verdict: `pass`, `fail` or `inconclusive`.
        message: What was found, in one line.
        value: The combination's value of the metric.
        reference_value: The reference's (or the incumbent's) value.
        observed: What is compared with the limit: the share of the reference kept or the value itself; of `slices`, the
            difference to the reference's on the slice that has least room to the limit; of `speed`, the
            reference's time that it takes, as a share, or where the profile names a machine, the milliseconds a call.
        low: The interval's lower end, which must stay within the limit to pass (one-sided, level alpha); of `speed`,
            which must stay beyond the limit to fail.
        high: Its upper end, which must stay beyond the limit to fail (one-sided, corrected for the family); of `speed`,
            which must stay within the limit to pass.
        limit: The least that is tolerated; of `LIMIT_IS_MOST`, the most.
        n: Number of items that decided.
        items: Number of items there are; None where no part of them might decide.
        smallest_detectable_loss: The loss this dataset can tell from none (level alpha, power 80%), as a share.
        items_needed: How many items would settle an inconclusive check; None where it is settled or nothing would.
        largest_family: The most checks that its family can have for it to be red, see `embedgate.core.family`; None
            where it is not red, or no family has a part in it.
        diagnosis: The layer of the cause, for a failure; why nothing could be judged, for what is `unjudged`.
        worst: Texts that lost most, for a failure.
        details: Further lines below a failure.
        example: The texts of the smallest example that breaks a property.
        clusters: How many clusters the items that decided come in, where some repeat one another and are drawn
            together; None where each is alone.
        slices: The metric over slices of the dataset; judged by the check `slices` alone.
    """

    check: str
    combination: str
    verdict: Verdict
    message: str
    dataset: str = ""
    metric: str = ""
    value: float | None = None
    reference_value: float | None = None
    observed: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    n: int | None = None
    items: int | None = None
    smallest_detectable_loss: float | None = None
    items_needed: int | None = None
    largest_family: int | None = None
    diagnosis: Diagnosis | None = None
    worst: tuple[WorstText, ...] = ()
    details: tuple[str, ...] = ()
    example: tuple[str, ...] = ()
    clusters: int | None = None
    slices: tuple[Slice, ...] = ()

    @property
    def unjudged(self) -> bool:
        """Whether it is inconclusive since there was nothing to judge by, or nothing was measured."""
        return self.verdict == "inconclusive" and self.diagnosis is not None

    @property
    def is_beyond(self) -> bool:
        """Whether what was observed is itself beyond the limit, however sure that is."""
        if self.observed is None or self.limit is None:
            return False
        return self.observed > self.limit if self.check in LIMIT_IS_MOST else self.observed < self.limit

    @property
    def is_whole(self) -> bool:
        """Whether all items decided, and no part of them."""
        return self.items is None or self.n == self.items

    def required(self, spec: str) -> str:
        """What is required, such as `>= 99.0%`; empty where there is no limit.

        Args:
            spec: How the limit is formatted.
        """
        sign = "<=" if self.check in LIMIT_IS_MOST else ">="
        return "" if self.limit is None else f"{sign} {self.limit:{spec}}"

    @property
    def place(self) -> Place:
        """Check, dataset and metric."""
        return self.check, self.dataset, self.metric

    @property
    def subject(self) -> str:
        """The subject of the judgement, in a few words, for example `pairs spearman`."""
        return " ".join(word for word in (self.dataset, self.metric) if word) or self.check

    def figures(self) -> dict[str, Any]:
        """What it is about, its verdict, and the numbers that decided: as JUnit's properties have them."""
        words = ("check", "combination", "dataset", "metric", "verdict")
        numbers = ("value", "reference_value", "observed", "low", "high", "limit", "n")
        plain = self.to_json()
        found = {name: plain[name] for name in (*words, *numbers)}
        return {name: value for name, value in found.items() if value not in (None, "")}

    def to_json(self) -> dict[str, Any]:
        """As a dict of plain values."""
        found: dict[str, Any] = to_plain(self)
        return found

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Judgement:
        """The inverse of `to_json`.

        Raises:
            ValueError: If it is none.
        """
        return msgspec.convert(record, cls)

    def explain(self) -> str:
        """The text of a failure: the finding, its cause, the worst texts and the next step."""
        lines = [f"{self.combination}: {self.message}"]
        if self.diagnosis and self.diagnosis.cause not in self.message:
            lines.append(f"  cause: {self.diagnosis.layer}: {self.diagnosis.cause}")
        elif self.diagnosis and self.diagnosis.layer != self.check:
            lines.append(f"  layer: {self.diagnosis.layer}")
        if self.diagnosis:
            lines.extend(f"  {line}" for line in self.diagnosis.shown_by())
        lines.extend(f"  {line}" for line in self.details)
        if moved := [worst for worst in self.worst if worst.moved]:
            lines.append("  worst texts (reference -> combination):")
            lines.extend(
                f"    {worst.reference:+.4f} -> {worst.candidate:+.4f}  {literal(worst.text)}" for worst in moved
            )
        if self.diagnosis and self.diagnosis.next_step:
            lines.append(f"  next step: {self.diagnosis.next_step}")
        return "\n".join(map(one_line_inert, lines))

    def explain_again(self) -> str:
        """The text of a failure whose cause was explained above: the finding, and what is its own beside an example."""
        found, lines = self.diagnosis, [f"{self.combination}: {self.message}"]
        if found:
            told = "" if found.cause in self.message else f": {brief(found.cause, AGAIN)}"
            lines.append(f"  cause: as above: {found.layer}{told}")
        own = () if self.example else self.details
        lines += [f"  {line}" for line in own if not line.startswith(EXAMPLE_LINES)]
        return "\n".join(map(one_line_inert, lines))


def rounding(move: float) -> str:
    """That a move of a vector, as a share of its length, is rounding, to be put behind it; empty where it is not."""
    return ", which is rounding" if move < ROUNDING else ""


def place_name(place: Place) -> str:
    """A place as reports name it, for example `retention pairs spearman`."""
    return " ".join(filter(None, place))


def megabytes(count: float, spec: str = ".1f") -> str:
    """Bytes as a person reads them, in millions: `86.7 MB`."""
    return f"{count / 1e6:{spec}} MB"


def shorten(text: str, width: int = 110) -> str:
    """A text on one line, control characters escaped, cut to a width in characters."""
    return _cut(printable(text), width)


def literal(text: str, width: int = 110) -> str:
    """A text of the data on one line, cut to a width; line breaks and odd spaces are escaped, too."""
    return _cut(one_line_inert(text), width)


def brief(text: str, width: int) -> str:
    """A text as `shorten` gives it, but for a command at its end, which is kept whole or left out."""
    line = printable(text)
    command = COMMAND.search(line)
    if command is None or len(line) <= width:
        return shorten(line, width)
    before = shorten(line[: command.start()].rstrip(), width)
    return f"{before} {command[0]}" if len(command[0]) <= LONGEST_COMMAND else before


def quoted(text: str, width: int) -> str:
    """A text of the data as `literal` gives it, in quotes."""
    return f"'{literal(text, width)}'"


def printable(text: str) -> str:
    """A text on one line, control characters, odd spaces and unpaired surrogates escaped."""
    if text.isspace():
        return one_line_inert(text)
    return one_line_inert(" ".join(text.split()))


def _cut(line: str, width: int) -> str:
    """A line cut to a width, with one ellipsis where it was."""
    return line if len(line) <= width else line[: width - 1].rstrip(" .…") + "…"
