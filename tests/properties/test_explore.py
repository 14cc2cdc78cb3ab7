"""Hypothesis inside a check: the smallest example, texts encoded together, and the host project's settings left alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st

from embedgate.core.depth import DEPTHS
from embedgate.core.errors import BuildError
from embedgate.properties.explore import PROFILES, look, smallest
from embedgate.sentences.strategies import cases

NUMBERS = st.integers(0, 10_000)


def test_finds_the_smallest_example():
    assert smallest(NUMBERS, lambda n: n if n >= 77 else None, examples=100, seed=0) == 77


def test_finds_nothing_where_all_holds():
    assert smallest(NUMBERS, lambda n: None, examples=100, seed=0) is None


def test_the_same_seed_draws_the_same_examples():
    def drawn(seed: int) -> list[str]:
        found: list[str] = []
        smallest(cases(), lambda case: found.append(case.anchor), examples=50, seed=seed)
        return found

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_texts_are_prepared_together_and_once():
    prepared: list[list[str]] = []
    tried: list[str] = []
    smallest(
        cases(),
        lambda case: tried.append(case.anchor),
        examples=80,
        seed=1,
        prepare=lambda drawn: prepared.append([case.anchor for case in drawn]),
    )
    assert len(prepared) == 1
    assert len(tried) >= 80
    assert tried == prepared[0]


def test_shrinking_starts_from_what_was_prepared():
    prepared: list[str] = []

    def violation(case):
        return case if "did not" in case.farther and " on Monday" in case.anchor else None

    found = smallest(
        cases(), violation, examples=500, seed=0, prepare=lambda drawn: prepared.extend(c.farther for c in drawn)
    )
    assert found.relation == "negation"
    assert found.anchor.count(".") == 1
    assert found.anchor.endswith(" on Monday.")
    assert any("did not" in text for text in prepared)


def test_what_breaks_only_once_is_told_all_the_same():
    broken = iter([None, None, "broke once"])
    assert smallest(NUMBERS, lambda n: next(broken, None), examples=50, seed=0) == "broke once"


def test_other_errors_come_through():
    def body(number: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        smallest(NUMBERS, body, examples=5, seed=0)


def test_trouble_comes_through_at_once():
    calls: list[int] = []

    def body(number: int) -> None:
        calls.append(number)
        raise BuildError("memory ran out")

    with pytest.raises(BuildError, match="memory ran out"):
        smallest(NUMBERS, body, examples=50, seed=0)
    assert len(calls) == 1


def test_given_examples_come_first_and_a_smaller_one_like_them_is_looked_for():
    def violation(number: int) -> int | None:
        return number if number >= 77 else None

    as_it_is = look(NUMBERS, violation, first=[3, 5_000], rounds=1, examples=10, seed=0)
    assert as_it_is == (5_000, 2)
    smaller = look(NUMBERS, violation, first=[5_000], like=lambda _: NUMBERS, rounds=1, examples=1, seed=0)
    assert smaller == (77, 1)
    none = look(NUMBERS, lambda n: None, first=[1, 2], rounds=3, examples=10, seed=0)
    assert none == (None, 32)


def test_rounds_draw_from_seeds_of_their_own():
    drawn: list[int] = []
    look(NUMBERS, drawn.append, rounds=3, examples=20, seed=5)
    assert len(set(drawn)) > 30


def test_settings_of_the_host_project_neither_count_nor_change(capsys):
    before = settings.default
    settings.register_profile("host", settings(max_examples=3, phases=[Phase.explicit], derandomize=True))
    settings.load_profile("host")
    try:
        tried: list[int] = []
        smallest(NUMBERS, tried.append, examples=40, seed=0)
        assert len(tried) >= 40
        assert settings.default.max_examples == 3
        assert settings.get_profile("host").phases == (Phase.explicit,)
    finally:
        settings.register_profile("restored", before)
        settings.load_profile("restored")
    smallest(NUMBERS, lambda n: n if n > 5 else None, examples=40, seed=0)
    assert capsys.readouterr().out == ""


def test_random_numbers_of_the_host_project_go_on_as_before():
    random.seed(1)
    expected = random.random()
    random.seed(1)
    smallest(NUMBERS, lambda n: None, examples=20, seed=0)
    assert random.random() == expected


def test_every_profile_can_be_asked_for():
    assert list(PROFILES) == list(DEPTHS)
    assert PROFILES["nightly"].rounds * PROFILES["nightly"].cases > 100 * PROFILES["standard"].cases
