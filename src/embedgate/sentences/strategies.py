"""Hypothesis strategies: sentences whose order of similarity is known by construction, and any text at all.

They are for your own tests as well:

    from hypothesis import given
    from embedgate.sentences.strategies import cases

    @given(cases("negation"))
    def test_denial_is_farther(case):
        assert similarity(case.anchor, case.nearer) > similarity(case.anchor, case.farther)
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from embedgate.sentences import Case, make_case
from embedgate.sentences.relations import RELATIONS


def cases(*relations: str) -> SearchStrategy[Case]:
    """Cases: an anchor, a text nearer to it and one farther by construction.

    Args:
        *relations: Names in `embedgate.sentences.relations.RELATIONS`; all where none is given.

    Raises:
        KeyError: If a relation is unknown.
    """
    for relation in relations:
        RELATIONS[relation]
    return _case(relations or tuple(RELATIONS))


def pairs(*relations: str) -> SearchStrategy[tuple[str, str]]:
    """Pairs of sentences: an anchor, and the nearer or the farther text of its case."""
    return st.builds(lambda case, which: (case.anchor, case.texts[which]), cases(*relations), st.sampled_from((1, 2)))


def sentences() -> SearchStrategy[str]:
    """Sentences and short passages, of 1 to over 200 words."""
    return st.builds(lambda case, which: case.texts[which], cases(), st.integers(0, 2))


def any_text() -> SearchStrategy[str]:
    """Any text that can be encoded as UTF-8: none, one character, other scripts, controls, sentences among them."""
    words = st.text(max_size=12)
    return st.one_of(sentences(), words, st.lists(words, max_size=40).map(" ".join))


@st.composite
def _case(draw: DrawFn, relations: tuple[str, ...]) -> Case:
    relation = draw(st.sampled_from(relations))
    return make_case(lambda count: draw(st.integers(0, count - 1)), relation)
