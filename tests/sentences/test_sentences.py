"""The grammar: many different sentences, of every length, whose order of similarity follows from how they are made."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis.errors import NoSuchExample

from embedgate.data import bundled, load
from embedgate.sentences import SIZE, approved_set, fixed_cases, make_case
from embedgate.sentences.lexicon import lexicon
from embedgate.sentences.relations import RELATIONS
from embedgate.sentences.strategies import any_text, cases, pairs, sentences

SETTINGS = settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def first(count: int) -> int:
    """Always the simplest."""
    assert count > 0
    return 0


def last(count: int) -> int:
    assert count > 0
    return count - 1


def words(text: str) -> set[str]:
    return set(text.lower().replace(".", "").replace(",", "").split())


def test_lexicon_has_twelve_domains_and_more():
    domains = lexicon().domains
    assert len(domains) >= 12
    assert all(len(d.actions) >= 5 and len(d.agents) >= 8 and len(d.places) >= 5 for d in domains)
    assert all(len(action.objects) >= 5 for d in domains for action in d.actions)


def test_no_two_choices_of_the_lexicon_are_one():
    words = lexicon()
    lists = [words.names, words.cities, words.times, words.clauses, words.numbers, words.traits, words.meetings]
    lists += [part for d in words.domains for part in (d.agents, d.places, d.words)]
    lists += [action.objects for d in words.domains for action in d.actions]
    lists += [[action.verb for action in d.actions] for d in words.domains]
    for items in lists:
        assert len(set(items)) == len(items)
    for action in (action for d in words.domains for action in d.actions):
        assert action.verb != action.like
        assert all(entry.startswith("the ") for entry in action.objects)


def test_no_word_is_in_two_pairs_of_words():
    """Else a word of another domain could be the anchor itself, or mean the same."""
    paired = [word for domain in lexicon().domains for pair in domain.words for word in pair]
    assert len(set(paired)) == len(paired)


def test_objects_are_singular():
    """The passive says `was`."""
    objects = {entry for d in lexicon().domains for action in d.actions for entry in action.objects}
    heads = {entry.split(" of ")[0].split(" for ")[0].split()[-1] for entry in objects}
    plural = {head for head in heads if head.endswith("s") and not head.endswith("ss")}
    assert plural <= {"bus", "atlas"}


def test_sentences_hardly_ever_repeat():
    """10,000 anchors of millions: were there fewer than two million, some 25 would be the same by chance."""
    anchors = [case.anchor for case in fixed_cases(30_000) if case.relation in ("negation", "voice", "typo")]
    assert len(set(anchors)) > 0.985 * len(anchors)


def test_lengths_reach_from_one_word_to_beyond_200():
    lengths = [len(text.split()) for case in fixed_cases(5_000) for text in case.texts]
    assert min(lengths) == 1
    assert max(lengths) > 200
    assert 10 < sum(lengths) / len(lengths) < 30


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("choose", [first, last, lambda n: n // 2], ids=["first", "last", "middle"])
def test_the_three_texts_of_a_case_differ(relation, choose):
    case = make_case(choose, relation)
    assert case.relation == relation
    assert len(set(case.texts)) == 3


def test_no_case_of_many_has_a_text_twice():
    assert [case for case in fixed_cases(20_000) if len(set(case.texts)) < 3] == []


def test_the_simplest_choices_make_short_plain_sentences():
    assert make_case(first, "negation").texts == (
        "The banker approved the loan.",
        "The banker authorised the loan.",
        "The banker did not approve the loan.",
    )
    assert make_case(first, "roles").texts == (
        "The banker greeted the accountant.",
        "The accountant was greeted by the banker.",
        "The accountant greeted the banker.",
    )


CHANGES = {
    "negation": lambda case: " did not " in case.farther and " did not " not in case.anchor + case.nearer,
    "numeral": lambda case: any(c.isdigit() for c in case.nearer) and not any(c.isdigit() for c in case.anchor),
    "entity": lambda case: case.anchor.split()[0] == case.nearer.split()[0] != case.farther.split()[0],
    "roles": lambda case: words(case.anchor) == words(case.farther) and " by the " in case.nearer,
    "voice": lambda case: " was " in case.nearer and " was " in case.farther,
    "clause": lambda case: words(case.anchor) <= words(case.nearer) and len(case.nearer) > len(case.anchor),
    "synonym": lambda case: case.anchor.split(" was ")[0] == case.nearer.split(" was ")[0],
    "typo": lambda case: len(case.anchor.split()) == len(case.nearer.split()),
}


@pytest.mark.parametrize("relation", CHANGES)
def test_a_relation_changes_what_it_says(relation):
    made = [case for case in fixed_cases(3_000) if case.relation == relation]
    assert len(made) == 300
    assert [case for case in made if not CHANGES[relation](case)] == []


def test_the_approved_set_is_the_same_everywhere():
    cases, sha256 = approved_set()
    assert len(cases) == SIZE
    assert sha256 == "94de6f89cf873cb47c87933d6a0485250684683d1ee2d526c2f5769acd1b6c55"
    assert {case.relation for case in cases} == set(RELATIONS)


def test_python_versions_agree_on_what_the_set_is_drawn_from():
    assert random.Random(7).random() == 0.32383276483316237


def test_generated_texts_are_in_no_bundled_dataset():
    generated = {text for case in fixed_cases(20_000) for text in case.texts}
    assert not generated & {text for name in bundled() for text in load(name).texts() if len(text.split()) > 1}


@SETTINGS
@given(cases("numeral", "negation"))
def test_cases_of_chosen_relations(case):
    assert case.relation in ("numeral", "negation")


def test_unknown_relation_is_refused():
    with pytest.raises(KeyError, match="irony"):
        cases("irony")


@SETTINGS
@given(pairs())
def test_pairs_are_two_texts(pair):
    assert len(pair) == 2
    assert pair[0] != pair[1]


@SETTINGS
@given(sentences())
def test_sentences_are_texts_of_ascii(text):
    assert text.strip() == text
    assert text.isascii()


@SETTINGS
@given(any_text())
def test_any_text_can_be_encoded(text):
    assert text.encode().decode() == text


@pytest.mark.parametrize(
    "wanted", [lambda text: text == "", lambda text: not text.isascii(), lambda text: len(text.split()) > 20]
)
def test_any_text_is_odd_as_well_as_plain(wanted):
    try:
        assert wanted(find(any_text(), wanted, settings=settings(max_examples=2_000, database=None, deadline=None)))
    except NoSuchExample:
        pytest.fail("no such text is drawn")
