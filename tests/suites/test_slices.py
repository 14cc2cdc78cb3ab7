"""A part of a dataset that loses is red, however little the whole does; one that is too small is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.faults import Wrapped, sound

from embedgate.checks.slices import Judged, scores_something
from embedgate.core.combination import Combination
from embedgate.core.judgement import Slice
from embedgate.data import load
from embedgate.metrics import mean_of, similarity
from embedgate.metrics.statistics import compare_points

MARK = "zzyzx"
ALPHA = 0.05


def turned(path, _):
    """The vector of every text that is marked points the other way."""

    def turn(rows, texts):
        return rows * np.array([[-1.0 if MARK in text else 1.0] for text in texts], dtype=np.float32)

    return Wrapped(path, turn)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Bundled pairs, of which a sixth is marked in the first text, two slices that are not, one of fifteen, and one
    whose grades are all the same."""
    whole = load("pairs")
    rows = []
    alike = [i for i in range(540) if whole.grades[i] == 4.75][:60]
    for i in range(540):
        names = ["marked"] if i % 6 == 0 else ["even", *["few"] * (i < 30)] if i % 2 else ["odd"]
        names += ["one-grade"] * (i in alike)
        first = whole.first[i] + (f" {MARK}." if i % 6 == 0 else "")
        row = {"sentence1": first, "sentence2": whole.second[i], "score": whole.grades[i], "slices": names}
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    path = tmp_path_factory.mktemp("data") / "mine.jsonl"
    path.write_text("".join(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def context(context_with, pairs):
    made = context_with({"marked-int8-cpu": turned, "twice-int8-cpu": sound}, data=(str(pairs),))
    yield made
    made.close()


def judged(context, name):
    return context.ask("slices", Combination.parse(name), "mine-spearman")


@pytest.mark.slow("a fault of some texts alone turns their slice red, and a sound model none")
def test_a_slice_that_loses_is_red_and_named(context):
    found = judged(context, "marked-int8-cpu")
    assert found.verdict == "fail"
    assert found.message.startswith("marked (90 items) -1.")
    assert "of spearman on mine, 0.02 is tolerated; too few items of their own to be judged: few (15)" in found.message
    assert "; the reference scores nothing above chance: one-grade" in found.message
    assert "even the better end of the interval is -0.5" in found.message
    assert {each.name: each.verdict for each in found.slices} == {"even": "pass", "marked": "fail", "odd": "pass"}
    assert (found.n, found.limit) == (90, -0.02)
    assert found.low < found.observed < found.high < found.limit
    assert found.diagnosis is not None
    whole = context.ask("retention", Combination.parse("marked-int8-cpu"), "mine-spearman")
    assert found.observed < whole.value - whole.reference_value


@pytest.mark.slow("as above: the sound model")
def test_a_sound_model_passes_in_every_slice(context):
    found = judged(context, "twice-int8-cpu")
    assert found.verdict == "pass"
    assert "3 slices of mine judged, least room on " in found.message
    assert {each.verdict for each in found.slices} == {"pass"}


def test_each_slice_has_its_part_of_the_level(context, monkeypatch):
    """A red slice among few may not be one among many: the family counts datasets, and each has its slices."""
    from embedgate.checks import slices

    asked = []
    real = slices.compare_points
    monkeypatch.setattr(slices, "compare_points", lambda *a, **k: asked.append(k["family"]) or real(*a, **k))
    judged(context, "twice-int8-cpu")
    assert asked == [3 * 40] * 3


def test_without_a_slice_of_enough_items_nothing_is_judged(context_with, tmp_path):
    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i}", "score": i, "slices": ["few"]} for i in range(20)]
    path = tmp_path / "small.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    context = context_with(data=(str(path),))
    assert not context.checks.named("slices").cases(context.plan)
    context.close()


def slice_of(change, tolerance, n=60, *, spread=0.3, seed=0):
    """A slice whose items change by so much in the mean, each by another amount."""
    rng = np.random.default_rng(seed)
    moved = rng.normal(0, spread, n)
    reference = mean_of(np.full(n, 0.8))
    mine = mean_of(reference.items + change + moved - moved.mean())
    found = compare_points(mine, reference, tolerance, alpha=ALPHA, family=100)
    return Judged(Slice("s", n, mine.value, 0.8, found.low, found.high, found.verdict), found, n)


@pytest.mark.parametrize(
    ("change", "tolerance", "verdict", "small"),
    [
        (0.0, 0.02, "inconclusive", True),  # its interval is wider than what is tolerated
        (0.0, 0.2, "pass", False),
        (-0.04, 0.02, "inconclusive", False),  # a loss is seen, and not surely: that is to be told
        (-0.6, 0.02, "fail", False),  # a slice that is small and red is red
    ],
)
def test_a_slice_that_could_tell_nothing_is_too_small(change, tolerance, verdict, small):
    found = slice_of(change, tolerance)
    assert (found.found.verdict, found.is_small) == (verdict, small)


def test_a_slice_that_may_have_lost_a_part_of_the_tolerance_is_open():
    found = slice_of(-0.015, 0.02, n=600, spread=0.1)
    assert (found.found.verdict, found.is_small) == ("inconclusive", False)


def test_the_surest_loss_stands_first():
    """A small slice may lose more and less surely: what a merge of many checks would not keep red is not named first."""
    from embedgate.checks.slices import _rank

    large, small = slice_of(-0.04, 0.02, n=600, spread=0.1), slice_of(-0.22, 0.02, n=40)
    assert large.found.verdict == small.found.verdict == "fail"
    assert small.found.high < large.found.high
    assert large.found.largest_family > small.found.largest_family
    assert sorted([small, large], key=_rank) == [large, small]


@pytest.mark.parametrize("sign", [1.0, 0.0, -1.0])
def test_there_must_be_something_to_lose(sign):
    """Where the reference ranks by chance or the wrong way round, noise would be a gain."""
    rng = np.random.default_rng(0)
    grades = rng.uniform(0, 5, 90)
    first = np.stack([np.ones(90), np.zeros(90)], axis=1).astype(np.float32)
    angle = sign * -grades / 5 + rng.normal(0, 0.3, 90) + 1.5
    second = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    assert scores_something(similarity.evaluate(first, second, grades)["spearman"], ALPHA) == (sign > 0)
