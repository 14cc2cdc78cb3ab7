"""Runs Hypothesis inside a check: explicit settings, so that the host project's profiles neither count nor change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from embedgate.core.depth import Depth
from embedgate.core.errors import GateError

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True)
class Profile:
    """How long to look.

    Attributes:
        rounds: Rounds, each with a seed of its own.
        cases: Sentence cases per round.
        texts: Texts of any kind per round.
        batches: Batches that are encoded again per round, for each variation.
        trials: How often each of the callers that call at once asks for its texts.
    """

    rounds: int
    cases: int
    texts: int
    batches: int
    trials: int = 4


PROFILES: dict[Depth, Profile] = {
    "quick": Profile(rounds=1, cases=50, texts=50, batches=1, trials=2),
    "standard": Profile(rounds=1, cases=100, texts=100, batches=2, trials=2),
    "nightly": Profile(rounds=40, cases=2_000, texts=1_000, batches=12),
}


# How many examples are tried at least for a smaller one than one that was given.
SMALLER = 50


class _Broken(Exception):
    """Tells Hypothesis that an example breaks the property."""


def smallest(
    strategy: SearchStrategy[T],
    violation: Callable[[T], V | None],
    *,
    examples: int,
    seed: int,
    prepare: Callable[[list[T]], None] | None = None,
) -> V | None:
    """Looks for an example that breaks a property, and for the smallest one like it.

    Args:
        strategy: What examples are drawn from.
        violation: What an example breaks; None where it breaks nothing.
        examples: How many examples to try; shrinking one that breaks the property tries more.
        seed: The same seed draws the same examples.
        prepare: Called once with all examples that will be tried, so that their texts can be encoded together. One
            example at a time would leave most of a batch empty; a batch as an example could not be shrunk.

    Returns:
        What the smallest example breaks; None where all examples hold.

    Raises:
        GateError: If `violation` or `prepare` does.
    """
    if prepare is not None:
        drawn: list[T] = []
        _run(strategy, drawn.append, examples, seed)
        prepare(drawn)
    found: list[V] = []
    trouble: list[GateError] = []

    def check(example: T) -> None:
        if trouble:
            return  # nothing is shrunk: it would only be provoked again
        try:
            broken = violation(example)
        except GateError as error:
            trouble.append(error)
            raise _Broken from error
        if broken is not None:
            found.append(broken)
            raise _Broken

    try:
        _run(strategy, check, examples, seed)
    except (_Broken, Flaky):
        if trouble:
            raise trouble[0] from None
        # Flaky: it broke once and held when tried again, as with dropout; what it broke then is as good a finding.
        return found[-1]
    return None


def look(
    strategy: SearchStrategy[T],
    violation: Callable[[T], V | None],
    *,
    first: Iterable[T] = (),
    like: Callable[[T], SearchStrategy[T] | None] = lambda _: None,
    rounds: int,
    examples: int,
    seed: int,
    prepare: Callable[[list[T]], None] | None = None,
) -> tuple[V | None, int]:
    """Tries given examples, then looks for others in rounds, until one breaks a property.

    Args:
        strategy: What examples are drawn from.
        violation: What an example breaks; None where it breaks nothing.
        first: Examples to try first. Hypothesis shrinks only what it has drawn itself.
        like: What to draw from for a smaller example than one of the first; None to tell what that breaks as it is.
        rounds: How many rounds, each from a seed of its own.
        examples: How many examples to try in a round.
        seed: The first round's seed.
        prepare: Called with the examples that will be tried, once for those to try first and once per round.

    Returns:
        What an example breaks, None where all hold; and how many were tried.
    """
    given_first = list(first)
    if prepare is not None and given_first:
        prepare(given_first)
    for example in given_first:
        if (broken := violation(example)) is not None:
            narrower = like(example)
            if narrower is not None:
                more = max(examples, SMALLER)
                broken = smallest(narrower, violation, examples=more, seed=seed, prepare=prepare) or broken
            return broken, len(given_first)
    for turn in range(rounds):
        found = smallest(strategy, violation, examples=examples, seed=seed + turn, prepare=prepare)
        if found is not None:
            return found, len(given_first) + (turn + 1) * examples
    return None, len(given_first) + rounds * examples


def _run(strategy: SearchStrategy[T], body: Callable[[T], None], examples: int, number: int) -> None:
    @seed(number)
    @settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        backend="hypothesis",
    )
    @given(strategy)
    def run(example: T) -> None:
        body(example)

    run()
