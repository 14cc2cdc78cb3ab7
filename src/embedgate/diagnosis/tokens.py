"""Names how one tokenizer's ids differ from another's, as far as that is shown.

Ids alone show what stands before or behind every text, and where texts are cut: `embedgate.diagnosis.ids`. Whether
case, accents or whitespace make the difference is shown where one of both reads changed texts: it gives the other's ids.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from embedgate.core.judgement import Diagnosis, Proof, quoted
from embedgate.diagnosis.arm import Ids
from embedgate.diagnosis.ids import (
    Cut,
    Edit,
    Pairs,
    Row,
    body_of,
    cuts_of,
    edits_of,
    ends_of,
    lost_end,
    merged_id,
    shared,
    vocabulary_of,
)

# Reads texts in the place of those that are compared, so in their roles; None where it cannot.
Read: TypeAlias = Callable[[Sequence[str]], Sequence[Ids] | None]

TOKENIZER = "compare tokenizer.json and tokenizer_config.json: lower-casing, special tokens, truncation, version"
LIMITS = "compare max_seq_length in sentence_bert_config.json, and truncation_side in tokenizer_config.json"
PROMPTS = "see who puts prompts before texts: the caller, the encoder, or config_sentence_transformers.json"
TEXTS = "see what changes texts before they are read: the caller, the encoder, or the normalizer in tokenizer.json"
# Under this share of ids that both have of the same text, they hardly read the same.
FEW_SHARED = 0.2
# Names of special tokens in a text.
SPECIAL = re.compile(r"(\[[A-Z]+\]|<[a-z_|/]+>)")
# Share of the texts that a change must explain where a few odd ones differ all the same.
NEARLY_ALL = 0.9
# Of so few ids that are others, each is shown.
FEW_OTHERS = 3


@dataclass(frozen=True)
class Reading:
    """What can be asked of both sides, beside the ids that are there.

    Attributes:
        mine: Reads texts as the one.
        theirs: Reads texts as the other.
        spelt: Spells ids of the other's as text.
        other: What the other is called.
    """

    mine: Read | None = None
    theirs: Read | None = None
    spelt: Callable[[Sequence[int]], str | None] | None = None
    other: str = "the reference"


class Shown(NamedTuple):
    """One explanation that fits every text.

    Attributes:
        told: What it is, in a few words.
        next_step: What to try.
        layer: The layer of the cause.
    """

    told: str
    next_step: str = TOKENIZER
    layer: str = "tokens"


class Changed(NamedTuple):
    """What becomes of texts, and how it is called.

    Attributes:
        lost: What reading texts as if it had been done is called.
        kept: What not doing it is called, where the other one does.
        of: Changes the text.
    """

    lost: str
    kept: str
    of: Callable[[str], str]


def _without_accents(text: str) -> str:
    apart = unicodedata.normalize("NFD", text)
    return "".join(each for each in apart if unicodedata.category(each) != "Mn")


def _lower(text: str) -> str:
    """In lower case, but for names of special tokens: tokenizers find these before they change anything."""
    return "".join(part if SPECIAL.fullmatch(part) else part.lower() for part in SPECIAL.split(text))


# The simpler ones first: of two that fit, one that does more says no more.
CHANGES = (
    Changed("lower case", "capital letters are kept", _lower),
    Changed("no accents", "accents are kept", _without_accents),
    Changed("lower case and no accents", "capital letters and accents are kept", lambda t: _without_accents(_lower(t))),
    Changed("no whitespace at the ends", "whitespace at the ends is kept", str.strip),
    Changed("spaces for newlines", "newlines are kept", lambda text: text.replace("\n", " ")),
    Changed("no newlines", "newlines are kept", lambda text: text.replace("\n", "")),
    Changed("single spaces for whitespace", "whitespace is kept", lambda text: " ".join(text.split())),
    Changed("no whitespace", "whitespace is kept", lambda text: "".join(text.split())),
    Changed("Unicode's NFKC", "compatibility characters are kept", lambda text: unicodedata.normalize("NFKC", text)),
)


def diagnose(
    texts: Sequence[str], mine: Sequence[Ids], theirs: Sequence[Ids], reading: Reading | None = None
) -> Diagnosis | None:
    """Says how one tokenizer's ids differ from another's, and what that is shown to be; None where they are the same.

    Args:
        texts: The texts.
        mine: Per text, the one's ids, int64 `[tokens]`.
        theirs: Per text, the other's.
        reading: What can be asked of both; nothing where it is not given.
    """
    compared = _Compared(texts, [ids.tolist() for ids in mine], [ids.tolist() for ids in theirs])
    if not compared.different:
        return None
    shown = _explained(compared, reading or Reading())
    first = compared.different[0]
    told = " or ".join(each.told for each in shown)
    layers = {each.layer for each in shown}
    return Diagnosis(
        layers.pop() if len(layers) == 1 else "tokens",
        f"the tokenizer gives other ids for {len(compared.different)} of {len(texts)} texts"
        f"{f' ({told})' if told else ''}, first for {quoted(texts[first], 60)}: "
        f"{_ids(compared.mine[first])} instead of {_ids(compared.theirs[first])}",
        shown[0].next_step if shown else TOKENIZER,
        Proof("read", len(texts)),
    )


@dataclass(frozen=True)
class _Compared:
    """Two readings of the same texts."""

    texts: Sequence[str]
    mine: list[Row]
    theirs: list[Row]

    @property
    def different(self) -> list[int]:
        return [i for i, (a, b) in enumerate(zip(self.mine, self.theirs, strict=True)) if a != b]

    @property
    def pairs(self) -> Pairs:
        return [(self.mine[i], self.theirs[i]) for i in self.different]

    @property
    def longest(self) -> tuple[int, int]:
        return max(map(len, self.mine)), max(map(len, self.theirs))


def _explained(compared: _Compared, reading: Reading) -> list[Shown]:
    """Every explanation that fits all texts, of the simplest kind that has one."""
    changed = list(_changes(compared, reading))
    alone = [*_by_ids(compared, reading), *_simplest((each, each.shown) for each in changed if not each.left.different)]
    if alone:
        return alone
    both = ((each, _with(each.shown, other)) for each in changed for other in _by_ids(each.left, reading))
    return _simplest(both) or _of_vocabulary(compared, reading) or _simplest(_nearly(changed, compared))


def _nearly(changed: Sequence[_Change], compared: _Compared) -> Iterator[tuple[_Change, Shown]]:
    """Changes that explain all texts but a few odd ones."""
    count = len(compared.different)
    for each in changed:
        explained = count - len(each.left.different)
        if explained >= NEARLY_ALL * count:
            yield each, each.shown._replace(told=f"{explained} of them: {each.shown.told}")


def _with(change: Shown, other: Shown) -> Shown:
    return Shown(f"{change.told}, and {other.told}", other.next_step)


def _by_ids(compared: _Compared, reading: Reading) -> list[Shown]:
    if not compared.different:
        return []
    pairs, rows = compared.pairs, (compared.mine, compared.theirs)
    if edits := edits_of(pairs, rows):
        return [_edited(edits, compared, reading)]
    if cuts := cuts_of(pairs, ends_of([*rows[0], *rows[1]]), compared.longest):
        return [_cut(cut, len(pairs), reading.other) for cut in cuts if _is_confirmed(cut, compared, reading)]
    if (end := lost_end(pairs, compared.theirs)) is not None:
        return [Shown(f"the longest end without the special token {end}", LIMITS)]
    return []


def _edited(edits: Sequence[Edit], compared: _Compared, reading: Reading) -> Shown:
    """What stands at one end or at both is called, and is a special token where it is the outermost one."""
    edit = edits[0]
    if edit.is_outermost:
        where = "at both ends" if len(edits) == 2 else f"at the {edit.side}"
        how = "other ones" if edit.mine and edit.theirs else "new" if edit.mine else "missing"
        return Shown(f"special tokens {where} are {how}")
    where = f"{'before' if edit.side == 'start' else 'behind'} each of them"
    mine, theirs = (_block(ids, compared, reading) for ids in (edit.mine, edit.theirs))
    if not edit.theirs:
        return Shown(f"{mine} stands {where}", PROMPTS, "prompt")
    if not edit.mine:
        return Shown(f"{theirs} is missing, which {reading.other} has {where}", PROMPTS, "prompt")
    return Shown(f"{mine} stands {where}, in the place of {theirs}", PROMPTS, "prompt")


def _block(ids: Sequence[int], compared: _Compared, reading: Reading) -> str:
    """Ids as a person reads them: as text where the reference reads that as these."""
    plain = f"[{' '.join(map(str, ids[:8]))}{' …' if len(ids) > 8 else ''}]"
    if not ids or reading.spelt is None or reading.theirs is None:
        return plain
    text = reading.spelt(ids) or ""
    again = reading.theirs([text] * len(compared.texts)) or ()
    return f"{quoted(text.strip(), 40)} {plain}" if any(_holds(row.tolist(), ids) for row in again) else plain


def _holds(row: Sequence[int], ids: Sequence[int]) -> bool:
    return any(tuple(row[i : i + len(ids)]) == tuple(ids) for i in range(len(row)))


def _cut(cut: Cut, texts: int, other: str) -> Shown:
    seen = "" if cut.shown == texts else f", as {cut.shown} of them show"
    if cut.mine != cut.theirs:
        others = f"{other}'s from the {cut.theirs} at {cut.other}"
        return Shown(f"they are cut from the {cut.mine} at {cut.kept} tokens, {others}{seen}", LIMITS)
    end = " from the left" if cut.mine == "left" else ""
    if cut.kept < cut.other:
        return Shown(f"they are cut{end} at {cut.kept} tokens, {other}'s longest has {cut.other}", LIMITS)
    return Shown(f"{other}'s are cut{end} at {cut.other} tokens, the longest here has {cut.kept}", LIMITS)


def _is_confirmed(cut: Cut, compared: _Compared, reading: Reading) -> bool:
    """Whether the ends of texts are what is kept of them, where one is cut from the left and that can be asked."""
    read, kept = (reading.theirs, compared.mine) if cut.mine == "left" else (reading.mine, compared.theirs)
    if cut.shown == len(compared.different) or read is None:
        return True
    # So few characters are not cut again, however many tokens each of them has.
    found = read([text[-max(8, max(cut.kept, cut.other) // 4) :] for text in compared.texts])
    if found is None:
        return True
    ends = ends_of([*compared.mine, *compared.theirs])
    bodies = [body_of(row.tolist(), ends) for row in found]
    # The part may begin within a word, whose tokens are others then.
    last = [body[len(body) // 2 :] for body in bodies]
    return all(body_of(kept[i], ends)[-len(last[i]) :] == last[i] for i in compared.different if last[i])


class _Change(NamedTuple):
    """A change of the texts, what it is called, and what still differs with it."""

    of: Callable[[str], str]
    shown: Shown
    left: _Compared


def _simplest(found: Iterable[tuple[_Change, Shown]]) -> list[Shown]:
    """What is shown by changes, but for those that do another one as well: they say no more."""
    pairs = list(found)
    return [
        shown
        for change, shown in pairs
        if not any(other is not change and _includes(change, other) for other, _ in pairs)
    ]


def _includes(change: _Change, other: _Change) -> bool:
    return all(change.of(other.of(text)) == change.of(text) for text in change.left.texts)


def _changes(compared: _Compared, reading: Reading) -> Iterator[_Change]:
    """Every change of the texts, with what still differs after it."""
    seen = {tuple(compared.texts)}
    for change in CHANGES:
        texts = tuple(map(change.of, compared.texts))
        if texts not in seen:
            seen.add(texts)
            yield from _read_again(change, compared, texts, reading)


def _read_again(change: Changed, compared: _Compared, texts: Sequence[str], reading: Reading) -> Iterator[_Change]:
    given = compared.texts
    if reading.theirs is not None and (ids := reading.theirs(texts)) is not None:
        told = f"they are read as {reading.other} reads them with {change.lost}"
        yield _Change(change.of, Shown(told, TEXTS), _Compared(given, compared.mine, [row.tolist() for row in ids]))
    if reading.mine is not None and (ids := reading.mine(texts)) is not None:
        told = f"{change.kept}: with {change.lost}, they are read as {reading.other} reads them"
        yield _Change(change.of, Shown(told, TEXTS), _Compared(given, [row.tolist() for row in ids], compared.theirs))


def _of_vocabulary(compared: _Compared, reading: Reading) -> list[Shown]:
    """What ids say where neither ends, cuts nor a change of the texts explain them."""
    pairs = compared.pairs
    if (found := vocabulary_of(pairs)) is not None:
        others = {theirs: mine for theirs, mine in found.items() if theirs != mine}
        if len(others) <= FEW_OTHERS:
            listed = ", ".join(f"{mine} for {theirs}" for theirs, mine in others.items())
            return [Shown(f"the same ids are others in every text: {listed}")]
        kind = "another vocabulary" if len(others) > len(found) / 2 else "another numbering"
        return [Shown(f"{kind}: {len(others)} of {len(found)} ids are others, each always the same one")]
    if (merged := merged_id(pairs)) is not None:
        one, things = merged
        return [Shown(f"the id {one} stands for {things} different ones, as an unknown token does")]
    if (both := shared(pairs)) < FEW_SHARED and len(pairs) == len(compared.texts):
        few = f"{both:.0%} of its ids are {reading.other}'s for the same text: another vocabulary or other texts"
        return [Shown(few)]
    return []


def _ids(ids: Row) -> str:
    shown = " ".join(map(str, ids[:8]))
    return f"[{shown}{' …' if len(ids) > 8 else ''}] ({len(ids)} tokens)"
