"""A part of a dataset that loses is red, however little the whole does; one that is too small is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.faults import Wrapped, sound

from embedgate.checks.slices import enough
from embedgate.core.combination import Combination
from embedgate.data import load

MARK = "zzyzx"
ALPHA = 0.05


def turned(path, _):
    """The vector of every text that is marked points the other way."""

    def turn(rows, texts):
        return rows * np.array([[-1.0 if MARK in text else 1.0] for text in texts], dtype=np.float32)

    return Wrapped(path, turn)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Bundled pairs, of which a sixth is marked in the first text, two slices that are not, and one of fifteen."""
    whole = load("pairs")
    rows = []
    for i in range(540):
        names = ["marked"] if i % 6 == 0 else ["even", *["few"] * (i < 30)] if i % 2 else ["odd"]
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
    assert "of spearman on mine, 0.03 is tolerated; too few items to be judged: few (15)" in found.message
    assert "even the better end of the interval is -0.5" in found.message
    assert {each.name: each.verdict for each in found.slices} == {"even": "pass", "marked": "fail", "odd": "pass"}
    assert (found.n, found.limit) == (90, -0.03)
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


@pytest.mark.parametrize(("tolerance", "unit_loss", "items"), [(0.03, None, 30), (0.05, 1.0, 59), (0.02, 1.0, 149)])
def test_as_many_items_are_asked_for_as_pass_where_nothing_changed(tolerance, unit_loss, items):
    from embedgate.metrics import mean_of
    from embedgate.metrics.statistics import compare_points

    assert enough(ALPHA, tolerance, unit_loss) == items
    if unit_loss:
        verdicts = []
        for n in (items - 5, items + 5):
            scores = mean_of([1.0, 0.0] * (n // 2) + [1.0] * (n % 2))
            verdicts.append(compare_points(scores, scores, tolerance, alpha=ALPHA, unit_loss=unit_loss).verdict)
        assert verdicts == ["inconclusive", "pass"]
