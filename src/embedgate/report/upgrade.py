"""What is new beside what it replaces, as reports tell it: a table with a row per combination, and lines below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedgate.core.errors import counted
from embedgate.core.judgement import Judgement, megabytes
from embedgate.report.columns import Cell, Column, Columns, Table, where_known
from embedgate.report.facts import INDEX, NO_ROLE, UPGRADE
from embedgate.report.summary import HEADLINE, Summary

TITLE = "Beside the incumbent"
ARROW = " → "
# Slices that are told of a dataset.
SLICES = 3
_WORST = ("fail", "inconclusive", "pass")
_MAPS = {"ridge": "ridge regression", "procrustes": "orthogonal Procrustes"}
Side = Mapping[str, Any]


@dataclass(frozen=True)
class Beside:
    """One combination beside what it was held against.

    Attributes:
        combination: Its id.
        judgements: What was judged of it against the incumbent.
        facts: The facts of both sides, see `docs/report-schema.md`; empty where none are known.
        excused: Those that failed as expected, which do not count.
    """

    combination: str
    judgements: tuple[Judgement, ...]
    facts: Side
    excused: frozenset[Judgement] = frozenset()

    @property
    def against(self) -> str:
        """What it was held against, where that has another name."""
        found = str(self.facts.get("against", ""))
        return "" if found == self.combination else found

    @property
    def verdict(self) -> Cell:
        """The worst verdict that counts, and of how many checks it was found."""
        verdicts: list[str] = [j.verdict for j in self.judgements if not j.unjudged and j not in self.excused]
        worst = next((verdict for verdict in _WORST if verdict in verdicts), "")
        if self.excused and worst not in _WORST[:2]:
            return Cell("expected failure")
        shown = f"{worst} {verdicts.count(worst)}/{len(verdicts)}" if worst in _WORST[:2] else worst
        return Cell(shown or "not judged" * bool(self.judgements), worst if worst in _WORST[:2] else "")

    def kept(self, dataset: str, metric: str) -> Cell:
        """Both values of a metric, and the share that is kept; marked where it, or that it be better, is not green."""
        found = [j for j in self.judgements if (j.dataset, j.metric) == (dataset, metric) and j.value is not None]
        if not found or found[0].reference_value is None:
            return Cell()
        shown = f"{found[0].reference_value:.4f}{ARROW}{found[0].value:.4f}"
        if found[0].observed is not None:
            shown += f", {found[0].observed:.1%}"
        counted = [j for j in found if j not in self.excused]
        worst = min(counted, key=lambda j: (_WORST.index(j.verdict), j.check != "superior"), default=None)
        if worst is None or worst.verdict == "pass" or worst.limit is None:
            return Cell(shown)
        return Cell(shown, worst.verdict, f"{'>' if worst.check == 'superior' else '>='} {worst.limit:.1%}")

    def fact(self, name: str, told: Callable[[Any], str]) -> str:
        """A fact of both sides, once where it is the same; a question mark for what is not known."""
        old, new = (self.facts.get(side, {}).get(name) for side in ("old", "new"))
        shown = ["?" if value is None else told(value) for value in (old, new)]
        return "" if old is new is None else shown[0] if shown[0] == shown[1] else ARROW.join(shown)


def _headlines(summary: Summary) -> Iterator[Column[Beside]]:
    judged = summary.upgrade.judgements
    for dataset, metric in dict.fromkeys((j.dataset, j.metric) for j in judged if j.metric in HEADLINE):

        def cell(beside: Beside, dataset: str = dataset, metric: str = metric) -> Cell:
            return beside.kept(dataset, metric)

        note = "per dataset: the incumbent's value, the new one's, and its share of the incumbent's"
        yield Column(f"{dataset} {HEADLINE[metric]}", cell, note)


def _fact(heading: str, name: str, told: Callable[[Any], str], note: str = "") -> Column[Beside]:
    return Column(heading, lambda beside: beside.fact(name, told), note, where_known)


COLUMNS: Columns[Beside] = (
    Column("combination", lambda beside: beside.combination, align="left"),
    Column("against", lambda beside: beside.against, shows=where_known, align="left"),
    Column("verdict", lambda beside: beside.verdict, align="left"),
    _headlines,
    _fact("dimensions", "dim", str),
    _fact("tokens per text", "tokens_per_text", lambda value: f"{value:.1f}"),
    _fact("most tokens", "max_tokens", lambda value: f"{value:,}" if value < 10**9 else "no limit"),
    _fact("weights", "weight_bytes", megabytes),
    _fact(
        "texts per s",
        "texts_per_second",
        lambda value: f"{value:,.0f}",
        "texts per s: as the texts were encoded once, one after the other, which is no timing; budgets time in turns",
    ),
    _fact(
        "share of time",
        "share_of_reference_time",
        lambda value: f"{value:.2f}",
        "share of time: what each takes of its own session's reference, timed in turns",
    ),
    _fact("memory loaded", "memory_loaded", lambda value: megabytes(value, ".0f")),
)


def table(summary: Summary) -> Table[Beside] | None:
    """A row per combination that was held against an incumbent; None where none was."""
    found = _besides(summary)
    return Table.of(summary, COLUMNS, found) if found else None


def advice(summary: Summary) -> tuple[str, ...]:
    """What becomes of the index, for what is told first: a line, and where it must be made anew what that takes."""
    index = summary.facts.get(INDEX)
    if not index:
        return ()
    pair, whose = _told_first(summary), _facts(summary).get("first")
    of = f" (vectors of {whose})" if whose else ""
    return tuple(filter(None, (f"index: {index}{of}", *(told(pair) for told in (_map, _anew)))))


def lines(summary: Summary) -> list[str]:
    """What else is to be known, a line each; what holds for all combinations alike stands once."""
    facts = _facts(summary)
    found, first = _besides(summary), _told_first(summary)
    told = [*_about(facts)]
    for each in (_tokens, _prompts, _compared, lambda pair: _other_index(pair, first)):
        told += _together({beside.combination: each(beside.facts) for beside in found})
    return [*told, *_slices(found[:1]), *_left_out(facts)]


def _facts(summary: Summary) -> Side:
    return summary.facts.get(UPGRADE) or {}


def _besides(summary: Summary) -> list[Beside]:
    """What was held against the incumbent: what is told first, then in the order of the rows."""
    facts, judged = _facts(summary).get("combinations", {}), summary.upgrade.judgements
    excused = frozenset(failure.judgement for failure in summary.upgrade.expected)
    rows = [row.combination for row in summary.rows]
    order = {id_: place for place, id_ in enumerate(dict.fromkeys((_facts(summary).get("first", ""), *rows)))}
    ids = sorted({*facts, *(j.combination for j in judged)}, key=lambda id_: (order.get(id_, len(order)), id_))
    of = {id_: tuple(j for j in judged if j.combination == id_) for id_ in ids}
    return [Beside(id_, of[id_], facts.get(id_, {}), excused.intersection(of[id_])) for id_ in ids]


def _about(facts: Side) -> Iterator[str]:
    if about := facts.get("incumbent"):
        when = f", written {about['created']}" if about["created"] else ""
        yield f"incumbent: {about['source']} ({about['kind']}, {about['fingerprint'][:12]}{when})"
    if changed := facts.get("libraries"):
        told = (f"{name} {each['then'] or 'none'}{ARROW}{each['now'] or 'none'}" for name, each in changed.items())
        yield f"libraries that changed since: {', '.join(told)}"


def _left_out(facts: Side) -> Iterator[str]:
    if left := facts.get("not_compared"):
        yield f"not compared, since the incumbent has not run it: {', '.join(left)}"


def _told_first(summary: Summary) -> Side:
    """The facts of the combination whose index is told of at the head of a report; empty where none is."""
    facts = _facts(summary)
    found: Side = facts.get("combinations", {}).get(facts.get("first"), {})
    return found if summary.facts.get(INDEX) else {}


def _together(told: Mapping[str, str]) -> Iterator[str]:
    """Each line once, with the combinations that it is about where it is not all of them."""
    for line in dict.fromkeys(filter(None, told.values())):
        ids = [id_ for id_, each in told.items() if each == line]
        yield line if len(ids) == len(told) else f"{', '.join(ids)}: {line}"


def _other_index(pair: Side, first: Side) -> str:
    """What becomes of the index, where that is something else than what is told at the head of a report."""
    found = pair.get("index")
    if not found or (first and found["mixed"] == first["index"]["mixed"]):
        return ""
    return f"index: {found['advice']}"


def _tokens(pair: Side) -> str:
    if not (found := pair.get("tokens")):
        return ""
    texts = counted(found["texts"], "text")
    apart = f"{found['other']:.1%} of {texts} have others" if found["other"] else f"the same, of {texts}"
    return f"tokens: {apart}"


def _prompts(pair: Side) -> str:
    old, new = (pair.get(side, {}).get("prompts") for side in ("old", "new"))
    if old is None or new is None or old == new:
        return ""
    roles = [role for role in new if new[role] != old.get(role)]
    told = (f"{role or NO_ROLE} {_quoted(old.get(role))}{ARROW}{_quoted(new[role])}" for role in roles)
    return f"prompts: {', '.join(told)}"


def _quoted(prompt: str | None) -> str:
    return f"{prompt!r}" if prompt else "none"


def _compared(pair: Side) -> str:
    """How vectors are made and compared, where that is another way."""
    told = []
    for name in ("similarity", "normalised"):
        old, new = (pair.get(side, {}).get(name) for side in ("old", "new"))
        if old is not None and old != new:
            told.append(f"{name}: {old}{ARROW}{new}")
    return "; ".join(told)


def _unless_mixed(pair: Side, name: str) -> Side:
    """Facts that are told where new vectors cannot be mixed with old ones; empty elsewhere."""
    apart = pair.get("index", {}).get("mixed") is False
    return (pair.get(name) or {}) if apart else {}


def _map(pair: Side) -> str:
    """What queries of the new model find in the old index by way of a map; nothing where they need none."""
    found = _unless_mixed(pair, "map")
    if "missing" in found:
        return f"no map into the old index: {found['missing']}"
    if not found:
        return ""
    return (
        f"a linear map ({_MAPS[found['kind']]}, fitted on {found['fitted']:,} texts): new queries, mapped, find "
        f"{found['kept']:.1%} of the old index's own ten nearest, on {found['judged']:,} other texts like these; on "
        "yours it may be less"
    )


def _anew(pair: Side) -> str:
    """What embedding everything again takes; nothing where vectors can be mixed."""
    found = _unless_mixed(pair, "anew")
    if "missing" in found:
        return f"embedding everything again: {found['missing']}"
    if not found:
        return ""
    return (
        f"embedding {counted(found['documents'], 'document')} again takes some {_time(found['hours'])} here, for texts "
        f"like these ({found['texts_per_second']:,.0f} a second as encoded in this session), and "
        f"{_size(found['bytes'])} as float32"
    )


def _time(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes" if hours * 60 >= 1 else "seconds"


def _size(count: float) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else megabytes(count)


def _slices(found: Sequence[Beside]) -> Iterator[str]:
    """Of each dataset's heading metric the slices that lost most."""
    judged = (j for beside in found for j in beside.judgements)
    for j in (each for each in judged if each.check == "upgrade" and each.metric in HEADLINE and each.slices):
        worst = sorted(j.slices, key=lambda part: part.value - part.reference_value)[:SLICES]
        told = (f"{s.name} {s.reference_value:.4f}{ARROW}{s.value:.4f} ({counted(s.items, 'item')})" for s in worst)
        yield f"{j.combination}, slices of {j.dataset} {HEADLINE[j.metric]} from the worst: {', '.join(told)}"
