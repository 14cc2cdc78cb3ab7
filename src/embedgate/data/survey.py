"""What a dataset is made of, as far as its texts and labels show it: no model is asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedgate.core.errors import counted, listed
from embedgate.core.letters import script_of
from embedgate.data.alike import folded
from embedgate.data.cells import NO_TEXT
from embedgate.data.grades import are_numbers
from embedgate.data.identified import languages_of
from embedgate.data.types import Dataset, Labelled, Retrieval, Similarity, Texts, Triplets

# Of lengths: the least, the middle, what most are within, and the largest.
QUANTILES = {"least": 0.0, "median": 0.5, "p95": 0.95, "most": 1.0}
# Labels or grades that are told one by one.
TOLD = 8
# Nearly equal texts are looked for among items that have so many characters together: that takes some seconds.
MOST_CHARACTERS = 50_000_000


@dataclass(frozen=True)
class Lengths:
    """How long the texts of one role are.

    Attributes:
        texts: How many different texts there are.
        words: Numbers of words, as blanks separate them, by the names of `QUANTILES`.
        characters: Numbers of characters, by the same.
    """

    texts: int
    words: Mapping[str, int]
    characters: Mapping[str, int]


@dataclass(frozen=True)
class Part:
    """A slice of a dataset.

    Attributes:
        items: How many items it has.
        independent: As how many they count, see `embedgate.data.alike`.
    """

    items: int
    independent: int


@dataclass(frozen=True)
class Survey:
    """What a dataset is made of.

    Attributes:
        name: Its name.
        kind: Its kind.
        source: Where it was read from.
        weight: As how many checks each check on it counts.
        sha256: What identifies its content, hex.
        items: How many items a metric scores.
        texts: How many different texts there are.
        equal: How many items say word for word what an item before them says.
        independent: As how many the items count, since equal and nearly equal ones are drawn together.
        together: Which items count as one, beside equal ones.
        compared: Whether nearly equal items were looked for; if not, `independent` is by equal ones alone.
        labels: The labels, grades or judgements, in a line.
        scripts: The share of the texts by the script that most of their letters are of, the largest first.
        languages: The share of a sample of the texts by language, the largest first; None where nothing tells them.
        lengths: How long the texts are, by role.
        slices: The slices, by name.
        odd: What may be a mistake, a line each.
        notes: How it was understood, beyond the plain case.
    """

    name: str
    kind: str
    source: str
    weight: int
    sha256: str
    items: int
    texts: int
    equal: int
    independent: int
    together: tuple[str, ...]
    compared: bool
    labels: str
    scripts: Mapping[str, float]
    languages: Mapping[str, float] | None
    lengths: Mapping[str, Lengths]
    slices: Mapping[str, Part]
    odd: tuple[str, ...]
    notes: tuple[str, ...]


def survey(dataset: Dataset, *, thorough: bool = False) -> Survey:
    """Looks a dataset through.

    Args:
        dataset: The dataset.
        thorough: Whether nearly equal items are looked for among any number of characters.
    """
    texts, said = dataset.texts(), [dataset.item_text(item) for item in range(len(dataset))]
    compared = thorough or sum(map(len, said)) <= MOST_CHARACTERS
    alone = _independent(dataset, said, range(len(dataset)), compared=compared)
    return Survey(
        name=dataset.name,
        kind=dataset.kind,
        source=dataset.source,
        weight=dataset.weight,
        sha256=dataset.sha256,
        items=len(dataset),
        texts=len(texts),
        equal=len(said) - len(set(said)),
        independent=alone,
        together=dataset.together,
        compared=compared,
        labels=_labels(dataset),
        scripts=_shares(map(script_of, texts)),
        languages=languages_of(texts),
        lengths=_lengths(dataset),
        slices={
            name: Part(len(rows), _independent(dataset, said, rows, compared=compared))
            for name, rows in sorted(dataset.slices.items())
        },
        odd=tuple(_odd(dataset)),
        notes=dataset.notes,
    )


def _independent(dataset: Dataset, said: Sequence[str], items: Sequence[int], *, compared: bool) -> int:
    """As how many some items count."""
    if not compared:
        return len({said[item] for item in items})
    return len(items) if dataset.clusters is None else len(np.unique(dataset.clusters[list(items)]))


def _shares(values: Iterable[str]) -> dict[str, float]:
    counts = Counter(values)
    return {value: count / counts.total() for value, count in counts.most_common()}


def _lengths(dataset: Dataset) -> dict[str, Lengths]:
    by_role: defaultdict[str, list[str]] = defaultdict(list)
    for each in dataset.inputs():
        by_role[each.role].append(each.text)
    return {
        role: Lengths(len(texts), _quantiles(len(text.split()) for text in texts), _quantiles(map(len, texts)))
        for role, texts in by_role.items()
    }


def _quantiles(lengths: Iterable[int]) -> dict[str, int]:
    found = np.quantile(np.fromiter(lengths, dtype=np.int64), list(QUANTILES.values()), method="inverted_cdf")
    return {name: int(length) for name, length in zip(QUANTILES, found, strict=True)}


def _labels(dataset: Dataset) -> str:
    """Labels, grades or judgements, in a line."""
    match dataset:
        case Labelled():
            return _counts(Counter(dataset.labels), "label")
        case Similarity():
            return _grades(dataset.grades.tolist())
        case Retrieval():
            return _judgements(dataset)
        case Triplets():
            return counted(len(set(dataset.anchors)), "different anchor")
    return ""


def _counts(counts: Counter[str], noun: str) -> str:
    shown = [f"{name} {count:,}" for name, count in counts.most_common(TOLD)]
    if (more := len(counts) - TOLD) > 0:
        shown.append(f"{more:,} more, the smallest {min(counts.values()):,}")
    return f"{counted(len(counts), noun)}: {', '.join(shown)}"


def _grades(grades: Sequence[float]) -> str:
    counts = Counter(grades)
    if len(counts) <= TOLD:
        return "grades: " + ", ".join(f"{grade:g} in {counts[grade]:,}" for grade in sorted(counts))
    low, middle, high = np.quantile(grades, (0.25, 0.5, 0.75))
    return (
        f"{len(counts):,} different grades from {min(counts):g} to {max(counts):g}: "
        f"quarters end at {low:g}, {middle:g}, {high:g}"
    )


def _judgements(dataset: Retrieval) -> str:
    relevant = [len(grades) for grades in dataset.relevance]
    grades = Counter(grade for of in dataset.relevance for grade in of.values())
    shown = ", ".join(f"{grade} in {count:,}" for grade, count in sorted(grades.items())[:TOLD])
    return (
        f"{len(dataset.documents):,} documents; relevant to a query: {min(relevant)} to {max(relevant)}, "
        f"{np.mean(relevant):.1f} in the mean; grades: {shown}"
    )


def _odd(dataset: Dataset) -> Iterator[str]:
    """What may be a mistake: items that contradict each other or themselves."""
    for role, texts in _texts(dataset).items():
        yield from _no_texts(role, texts)
    match dataset:
        case Labelled():
            yield from _contradictions(dataset.items, dataset.labels, "text", "labels")
            single = [label for label, count in Counter(dataset.labels).items() if count == 1]
            if single:
                yield f"{counted(len(single), 'label')} of one text: {listed(single)}"
            yield from _nearly_equal(dataset.labels)
        case Similarity():
            pairs = [tuple(sorted(pair)) for pair in zip(dataset.first, dataset.second, strict=True)]
            yield from _contradictions(pairs, dataset.grades.tolist(), "pair", "grades")
            yield from _equal(dataset.first, dataset.second, "pair of one text twice", "pairs of one text twice")
        case Triplets():
            yield from _equal(
                dataset.anchors,
                dataset.positives,
                "triplet whose anchor is its positive",
                "triplets whose anchor is their positive",
            )
            yield from _equal(
                dataset.anchors,
                dataset.negatives,
                "triplet whose anchor is its negative",
                "triplets whose anchor is their negative",
            )
            yield from _equal(
                dataset.positives,
                dataset.negatives,
                "triplet whose positive is its negative",
                "triplets whose positive is their negative",
            )


def _texts(dataset: Dataset) -> Mapping[str, Sequence[str]]:
    """The texts of a dataset by what they are called in it."""
    match dataset:
        case Similarity():
            return {"sentence1": dataset.first, "sentence2": dataset.second}
        case Triplets():
            return {"anchor": dataset.anchors, "positive": dataset.positives, "negative": dataset.negatives}
        case Retrieval():
            return {"query": dataset.queries, "document": dataset.documents}
        case Labelled() | Texts():
            return {"text": dataset.items}
    return {}


def _no_texts(role: str, texts: Sequence[str]) -> Iterator[str]:
    """What stands where a text should: ids, or a word for nothing."""
    if are_numbers(texts):
        yield f"all texts of {role} are numbers"
    for word, count in Counter(text.strip() for text in texts if text.strip() in NO_TEXT).items():
        yield f"{counted(count, 'text')} of {role} {'is' if count == 1 else 'are'} {word}"


def _contradictions(keys: Iterable[object], values: Iterable[object], what: str, of: str) -> Iterator[str]:
    found: defaultdict[object, set[object]] = defaultdict(set)
    for key, value in zip(keys, values, strict=True):
        found[key].add(value)
    if several := sum(len(each) > 1 for each in found.values()):
        yield f"{counted(several, what)} with several {of}"


def _equal(ones: Sequence[str], others: Sequence[str], what: str, several: str) -> Iterator[str]:
    if same := sum(one == other for one, other in zip(ones, others, strict=True)):
        yield f"{same:,} {what if same == 1 else several}"


def _nearly_equal(labels: Iterable[str]) -> Iterator[str]:
    """Labels that differ by case and blanks alone, which are clusters of their own."""
    written: defaultdict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys(labels):
        written[folded(label)].append(label)
    if several := [repr(label) for alike in written.values() if len(alike) > 1 for label in alike]:
        yield f"{len(several):,} labels differ by case or blanks alone: {listed(several)}"
