"""The datasets of a session: those that were named, else the bundled ones in the languages that the model claims."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from embedgate.core.errors import ModelError
from embedgate.core.languages import MULTILINGUAL, NAMES, claimed
from embedgate.core.model import DEFAULT_MODEL
from embedgate.core.settings import Settings
from embedgate.data.cards import CLAIMED, Card, bundled_cards
from embedgate.data.listed import named
from embedgate.data.readers import load
from embedgate.data.types import Dataset

NO_LANGUAGES = "the model has no card that names its languages"
NO_CARD = "what languages the model's card claims is not known"


@dataclass(frozen=True)
class Data:
    """What a session judges on.

    Attributes:
        datasets: Those that were named; where none was, the bundled ones, with a note each that the model decides on.
        left: By the name of each bundled dataset that was left out for the model's sake, why.
    """

    datasets: tuple[Dataset, ...]
    left: Mapping[str, str] = field(default_factory=dict)


def data_of(settings: Settings) -> Data:
    """Reads the datasets that were named, each or in lists, else the bundled ones in the languages the model claims.

    Raises:
        DataError: If one cannot be read.
    """
    if settings.data:
        return Data(tuple(dataset.load() for text in settings.data for dataset in named(text)))
    # Of the bundled model it is known that it claims English alone: nobody need be told.
    bundled = settings.model == DEFAULT_MODEL
    languages, why = ((), "") if bundled else _languages_of(settings.model)
    datasets, left = [], {}
    for card in bundled_cards():
        if card.default != CLAIMED:
            datasets.append(load(card.name))
        elif fitting := [language for language in languages if language in (*card.foreign, MULTILINGUAL)]:
            datasets.append(_in_languages(load(card.name), card, languages, fitting))
        elif not bundled:
            left[card.name] = why
    return Data(tuple(datasets), left)


def _languages_of(model: str) -> tuple[tuple[str, ...], str]:
    """The languages that a model's card claims, and why it is judged on no other."""
    try:
        languages = claimed(model)
    except ModelError as error:
        return (), f"{NO_CARD}: {error.cause}"
    return languages, f"the model's card claims {', '.join(languages)} alone" if languages else NO_LANGUAGES


def _in_languages(whole: Dataset, card: Card, languages: Collection[str], fitting: Sequence[str]) -> Dataset:
    """A dataset with a note why it is judged on; where its slices are named by languages, its rows of those claimed.

    Rows across languages do not tell of which they are: they are kept where the model claims all of them.

    Args:
        whole: The dataset.
        card: Its card.
        languages: What the model claims.
        fitting: What it claims of the dataset's languages beside English.
    """
    why = f"judged since the model's card claims {', '.join(fitting)}"
    names = [NAMES.get(language, language) for language in fitting]
    claims_all = MULTILINGUAL in fitting or set(card.language.split()) <= set(languages)
    if claims_all or not whole.by_item or not whole.slices.keys() >= set(names):
        return replace(whole, notes=(*whole.notes, why))
    items = sorted({item for name in names for item in whole.slices[name]})
    note = f"{why}, on {len(items):,} of its {len(whole):,} rows: the slices {', '.join(names)} alone"
    # What was approved of the whole, or of other slices, is not held against these.
    sha256 = hashlib.sha256("\0".join((whole.sha256, *names)).encode()).hexdigest()
    return replace(whole, sha256=sha256, notes=(*whole.notes, note)).part(items)
