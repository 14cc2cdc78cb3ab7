"""The texts of a session: which ones there are, which are encoded at first, and in which order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property

from embedgate.core.combination import Combination
from embedgate.core.model import Model
from embedgate.core.roles import DOCUMENT, QUERY, STS, Input
from embedgate.runtime.plan import Plan
from embedgate.runtime.portions import Needs, Portions
from embedgate.sentences import approved_set

# What an encoder is asked first of all, where no other text is at hand.
PROBE = Input("one text")


class SessionTexts:
    """The texts of a session.

    Args:
        plan: What was asked for.
        needs: Which texts combinations must encode.
    """

    def __init__(self, plan: Plan, needs: Needs) -> None:
        self._plan = plan
        self._needs = needs

    @cached_property
    def judged(self) -> tuple[Input, ...]:
        """Every unique text and role of the datasets, longest first, so that batches hold texts of like length."""
        unique = dict.fromkeys(each for dataset in self._plan.datasets for each in dataset.inputs())
        return tuple(sorted(unique, key=lambda each: len(each.text), reverse=True))

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """As `judged`, with those of the collection that is searched: of a model with prompts, these are others."""
        if self._plan.collection is None or self._plan.search_unavailable:
            return self.judged
        unique = dict.fromkeys((*self.judged, *self.searched_documents, *self.searched_queries))
        return tuple(sorted(unique, key=lambda each: len(each.text), reverse=True))

    def at_first(self, combination: Combination, model: Model) -> tuple[Input, ...]:
        """The texts that are encoded at first: all, or what must be there where a part of them may decide."""
        incumbent = self._plan.incumbent
        if incumbent and incumbent.candidate and combination == incumbent.combination:
            return self.judged  # a file of answers need not hold more
        if model is self._plan.model:
            if combination in self._needs.none:
                return (PROBE,)
            if self.stops_early(combination):
                return self._first
        searches = self._needs.searched is None or combination in self._needs.searched
        # What is recorded must serve any check; and whoever judges by records has no more than these.
        keeps = self._plan.recording(combination) is not None or not self._plan.is_live(combination)
        return self.inputs if searches or keeps else self.judged

    @cached_property
    def _first(self) -> tuple[Input, ...]:
        first = set(self.portions.first)
        return tuple(each for each in self.judged if each in first)

    @cached_property
    def searched_documents(self) -> tuple[Input, ...]:
        """The documents of the collection, as their embeddings are kept."""
        return self._used_as(DOCUMENT, self._plan.collection.documents if self._plan.collection else ())

    @cached_property
    def searched_queries(self) -> tuple[Input, ...]:
        """The queries of the collection, as their embeddings are kept."""
        return self._used_as(QUERY, self._plan.collection.queries if self._plan.collection else ())

    def _used_as(self, role: str, inputs: Sequence[Input]) -> tuple[Input, ...]:
        """Texts in a role: as they are encoded anyway, where that makes the same embedding; else anew."""
        roles = self._plan.model.roles
        same = {each.role for each in inputs if roles[each.role].same_as(roles[role])}
        return tuple(each if each.role in same else Input(each.text, role) for each in inputs)

    @cached_property
    def portions(self) -> Portions:
        """The parts of the datasets that may decide."""
        return Portions(self._plan.datasets, self._plan.settings.seed or 0)

    def stops_early(self, combination: Combination) -> bool:
        """Whether a part of the texts may decide about a combination of the model to gate."""
        return combination in self._needs.early

    def in_part(self, combination: Combination) -> bool:
        """Whether a combination of the model to gate encodes a part of the datasets' texts, at first at least."""
        return combination in self._needs.early or combination in self._needs.none

    def encoding_order(self, inputs: Sequence[Input]) -> tuple[int, ...]:
        """Which of the texts is encoded when: a seed of one's own shuffles texts of like length among the batches.

        What is measured keeps the order of `inputs`, and so the sample of them whose neighbours are looked up.
        """
        rows = list(range(len(inputs)))
        if self._plan.settings.seed:
            random.Random(self._plan.settings.seed).shuffle(rows)
        return tuple(sorted(rows, key=lambda row: len(inputs[row].text), reverse=True))

    @property
    def ordered(self) -> tuple[Input, ...]:
        """The texts of the approved set of generated sentences, whose order of similarities is measured."""
        texts = dict.fromkeys(text for case in approved_set()[0] for text in case.texts)
        return tuple(Input(text, STS) for text in texts)
