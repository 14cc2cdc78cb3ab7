"""Names how one tokenizer's ids differ from another's, as far as that is shown.

Ids alone show what stands before or behind every text, and where texts are cut: `embedgate.diagnosis.ids`. Whether
case, accents, whitespace or a prompt make the difference is shown where one of both reads changed texts:
`embedgate.diagnosis.rereading`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from embedgate.core.judgement import Diagnosis, Proof, quoted
from embedgate.diagnosis.arm import Ids
from embedgate.diagnosis.ids import (
    Cut,
    Edit,
    Row,
    applied,
    body_of,
    cuts_of,
    edits_of,
    ends_of,
    holds,
    lost_end,
    merged_id,
    shared,
    vocabulary_of,
)
from embedgate.diagnosis.rereading import PROMPTS, TEXTS, Change, Compared, Reading, Shown, changes, prompts, simplest

TOKENIZER = "compare tokenizer.json and tokenizer_config.json: lower-casing, special tokens, truncation, version"
LIMITS = "compare max_seq_length in sentence_bert_config.json, and truncation_side in tokenizer_config.json"
# Under this share of ids that both have of the same text, they hardly read the same.
FEW_SHARED = 0.2
# Share of the texts that a change must explain where a few odd ones differ all the same.
NEARLY_ALL = 0.9
# Of so few ids that are others, each is shown.
FEW_OTHERS = 3


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
    compared = Compared(texts, [ids.tolist() for ids in mine], [ids.tolist() for ids in theirs])
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


def _explained(compared: Compared, reading: Reading) -> list[Shown]:
    """Every explanation that fits all texts, of the simplest kind that has one."""
    by_ids, texts = _by_ids(compared, reading), compared.texts
    changed = [*changes(compared, reading), *(() if by_ids else prompts(compared, reading))]
    alone = [*by_ids, *simplest(((each, each.shown) for each in changed if not each.left.different), texts)]
    if alone:
        return alone
    both = ((each, _with(each.shown, other)) for each in changed for other in _by_ids(each.left, reading))
    return simplest(both, texts) or _of_vocabulary(compared, reading) or simplest(_nearly(changed, compared), texts)


def _nearly(changed: Sequence[Change], compared: Compared) -> Iterator[tuple[Change, Shown]]:
    """Changes that explain all texts but a few odd ones."""
    count = len(compared.different)
    for each in changed:
        explained = count - len(each.left.different)
        if explained >= NEARLY_ALL * count:
            yield each, each.shown._replace(told=f"{explained} of them: {each.shown.told}")


def _with(change: Shown, other: Shown) -> Shown:
    return change._replace(told=f"{change.told}, and {other.told}")


def _by_ids(compared: Compared, reading: Reading) -> list[Shown]:
    if not compared.different:
        return []
    pairs, rows = compared.pairs, (compared.mine, compared.theirs)
    if edits := edits_of(pairs, rows):
        return [_edited(edits, compared, reading)]
    if cuts := cuts_of(pairs, ends_of([*rows[0], *rows[1]]), compared.longest):
        return [_cut(cut, len(pairs), reading.other) for cut in cuts if _may_be(cut, compared, reading)]
    if (end := lost_end(pairs, compared.theirs)) is not None:
        return [Shown(f"the longest end without the special token {end}", LIMITS)]
    if all(len(mine) == compared.longest[0] for mine, _ in pairs):
        # Of texts that are longer than both parts together, the ends alone can show it.
        unseen = Cut("left", "right", *compared.longest, 0)
        return [_cut(unseen, 0, reading.other)] if _ends_are_kept(unseen, compared, reading) else []
    return []


def _edited(edits: Sequence[Edit], compared: Compared, reading: Reading) -> Shown:
    """What stands at one end or at both is called, and where texts are cut otherwise besides."""
    ways = {_how(edit) for edit in edits}
    if len(edits) == 2 and len(ways) == 1 and all(_is_special(edit, compared) for edit in edits):
        shown = [Shown(f"special tokens at both ends are {ways.pop()}", TOKENIZER)]
    else:
        shown = [_one_edit(edit, compared, reading) for edit in edits]
    # The blocks alone have texts cut by as many ids.
    if compared.longest[0] != compared.longest[1]:
        shown += _cut_besides(edits, compared, reading)
    return shown[0]._replace(told=", and ".join(each.told for each in shown))


def _cut_besides(edits: Sequence[Edit], compared: Compared, reading: Reading) -> list[Shown]:
    theirs = [_edited_as(compared, place, edits) for place in range(len(compared.texts))]
    left = Compared(compared.texts, compared.mine, theirs)
    if not left.different:
        return []
    found = cuts_of(left.pairs, ends_of([*left.mine, *left.theirs]), left.longest)
    return [_cut(replace(cut, other=compared.longest[1]), len(left.different), reading.other) for cut in found[:1]]


def _edited_as(compared: Compared, place: int, edits: Sequence[Edit]) -> Row:
    mine, theirs = compared.mine[place], compared.theirs[place]
    return theirs if mine == theirs else applied(edits, theirs)


def _how(edit: Edit) -> str:
    return "other ones" if edit.mine and edit.theirs else "new" if edit.mine else "missing"


def _is_special(edit: Edit, compared: Compared) -> bool:
    """Whether a block is a special token; one that is new at the very end may be a text's, such as a full stop."""
    if not edit.is_special or edit.theirs or edit.outside:
        return edit.is_special
    end = 0 if edit.side == "start" else -1
    return all([*compared.theirs[place]][end : end + 1 or None] == [*edit.mine] for place in compared.different)


def _one_edit(edit: Edit, compared: Compared, reading: Reading) -> Shown:
    if _is_special(edit, compared):
        return Shown(f"special tokens at the {edit.side} are {_how(edit)}", TOKENIZER)
    where = f"{'before' if edit.side == 'start' else 'behind'} each of them"
    mine, theirs = (_block(ids, compared, reading) for ids in (edit.mine, edit.theirs))
    if not edit.theirs:
        return Shown(f"{mine} stands {where}", PROMPTS, "prompt")
    if not edit.mine:
        told = f"{theirs} is missing, which {reading.other} has {where}"
        return Shown(told, TEXTS) if _may_be_text(edit, compared, reading) else Shown(told, PROMPTS, "prompt")
    return Shown(f"{mine} stands {where}, in the place of {theirs}", PROMPTS, "prompt")


def _may_be_text(edit: Edit, compared: Compared, reading: Reading) -> bool:
    """Whether what the one lacks may be what the texts themselves begin or end with."""
    spelt = (reading.spelt(edit.theirs) or "").strip().lower() if reading.spelt is not None else ""
    texts = [compared.texts[place].strip().lower() for place in compared.different]
    return not spelt or all(text.startswith(spelt) if edit.side == "start" else text.endswith(spelt) for text in texts)


def _block(ids: Sequence[int], compared: Compared, reading: Reading) -> str:
    """Ids as a person reads them: as text where the reference reads that as these."""
    plain = f"[{' '.join(map(str, ids[:8]))}{' …' if len(ids) > 8 else ''}]"
    if not ids or reading.spelt is None or reading.theirs is None:
        return plain
    text = reading.spelt(ids) or ""
    again = reading.theirs([text] * len(compared.texts)) or ()
    return f"{quoted(text.strip(), 40)} {plain}" if any(holds(row.tolist(), [*ids]) for row in again) else plain


def _cut(cut: Cut, texts: int, other: str) -> Shown:
    seen = "" if cut.shown in (0, texts) else f", as {cut.shown} of them show"
    if cut.mine != cut.theirs:
        others = f"{other}'s from the {cut.theirs} at {cut.other}"
        return Shown(f"they are cut from the {cut.mine} at {cut.kept} tokens, {others}{seen}", LIMITS)
    end = " from the left" if cut.mine == "left" else ""
    if cut.kept < cut.other:
        return Shown(f"they are cut{end} at {cut.kept} tokens, {other}'s longest has {cut.other}", LIMITS)
    return Shown(f"{other}'s are cut{end} at {cut.other} tokens, the longest here has {cut.kept}", LIMITS)


def _may_be(cut: Cut, compared: Compared, reading: Reading) -> bool:
    """Whether what is cut from the left has the ends of all texts, as far as that can be asked."""
    return cut.shown == len(compared.different) or _ends_are_kept(cut, compared, reading) is not False


def _ends_are_kept(cut: Cut, compared: Compared, reading: Reading) -> bool | None:
    """Whether the ends of texts, read alone, are those of what is kept of them; None where that cannot be asked."""
    read, kept = (reading.theirs, compared.mine) if cut.mine == "left" else (reading.mine, compared.theirs)
    # So few characters are not cut again, however many tokens each of them has.
    characters = max(8, max(cut.kept, cut.other) // 4)
    found = read([text[-characters:] for text in compared.texts]) if read is not None else None
    if found is None:
        return None
    ends = ends_of([*compared.mine, *compared.theirs])
    bodies = [body_of(row.tolist(), ends) for row in found]
    # The part may begin within a word, whose tokens are others then.
    last = [body[len(body) // 2 :] for body in bodies]
    return all(last[i] and body_of(kept[i], ends)[-len(last[i]) :] == last[i] for i in compared.different)


def _of_vocabulary(compared: Compared, reading: Reading) -> list[Shown]:
    """What ids say where neither ends, cuts nor a change of the texts explain them."""
    pairs = compared.pairs
    if (found := vocabulary_of(pairs)) is not None:
        others = {theirs: mine for theirs, mine in found.items() if theirs != mine}
        if len(others) <= FEW_OTHERS:
            listed = ", ".join(f"{mine} for {theirs}" for theirs, mine in others.items())
            return [Shown(f"the same ids are others in every text: {listed}", TOKENIZER)]
        kind = "another vocabulary" if len(others) > len(found) / 2 else "another numbering"
        return [Shown(f"{kind}: {len(others)} of {len(found)} ids are others, each always the same one", TOKENIZER)]
    if (merged := merged_id(pairs)) is not None:
        one, things = merged
        return [Shown(f"the id {one} stands for {things} different ones, as an unknown token does", TOKENIZER)]
    if (both := shared(pairs)) < FEW_SHARED and len(pairs) == len(compared.texts):
        few = f"{both:.0%} of its ids are {reading.other}'s for the same text: another vocabulary or other texts"
        return [Shown(few, TOKENIZER)]
    return []


def _ids(ids: Row) -> str:
    shown = " ".join(map(str, ids[:8]))
    return f"[{shown}{' …' if len(ids) > 8 else ''}] ({len(ids)} tokens)"
