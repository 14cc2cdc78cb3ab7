"""A linear map into an old space, what embedding anew takes, and what it takes to be better."""

from __future__ import annotations

import numpy as np
import pytest

from embedgate.core.similarity import COSINE, EUCLIDEAN, normalised
from embedgate.metrics import mean_of
from embedgate.metrics.compatibility import anew
from embedgate.metrics.mapping import TooFew, mapped
from embedgate.metrics.statistics import compare

N = 400


def drawn(seed: int, dim: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return normalised(rows.astype(np.float32))


class TestMapped:
    def test_a_rotation_is_found(self):
        new = unit(drawn(0, 16))
        turned, _ = np.linalg.qr(drawn(1, 16, 16))
        found = mapped(new, unit(new @ turned))
        assert found.by["procrustes"] > 0.99
        assert found.kept == max(found.by.values())
        assert (found.fitted, found.judged) == (320, 80)

    @pytest.mark.parametrize(("wide", "narrow"), [(24, 16), (16, 24)])
    def test_dimensions_may_differ(self, wide, narrow):
        new = drawn(0, wide)
        assert mapped(unit(new), unit(new @ drawn(1, narrow, wide))).kept > 0.8

    def test_what_is_no_rotation_is_left_to_regression(self):
        new = unit(drawn(0, 16))
        found = mapped(new, unit(new @ drawn(1, 16, 16)))
        assert found.kind == "ridge"
        assert found.by["ridge"] > 0.9 > found.by["procrustes"]

    def test_of_unrelated_spaces_nearly_nothing_is_kept(self):
        assert mapped(unit(drawn(0, 16)), unit(drawn(1, 16))).kept < 0.1

    def test_texts_with_equal_vectors_are_not_both_fitted_and_judged(self):
        """As those that differ in their case alone are: they would be found where they were learnt by heart."""
        noise = 1e-7 * drawn(2, 16, 10 * N)
        rows = [np.tile(unit(drawn(seed, 16)), (10, 1)) + noise for seed in (0, 1)]
        found = mapped(*rows)
        assert found.kept < 0.1
        assert found.fitted + found.judged == pytest.approx(N, abs=20)

    def test_scale_counts_where_distances_do(self):
        new = drawn(0, 16)
        assert mapped(new, 40 * new, EUCLIDEAN).by["procrustes"] > 0.99

    def test_the_same_texts_give_the_same(self):
        new, old = unit(drawn(0, 16)), unit(drawn(0, 16) + drawn(1, 16))
        assert mapped(new, old, COSINE) == mapped(new, old, COSINE)
        assert mapped(new, old, COSINE).kept != mapped(new, old, COSINE, seed=1).kept

    def test_too_few_texts_are_told(self):
        with pytest.raises(TooFew, match=r"^a map of 384 dimensions needs some 480 texts .*, and 400 are here$"):
            mapped(drawn(0, 384), drawn(1, 16))

    def test_as_many_texts_as_are_told_are_enough(self):
        assert mapped(drawn(0, 384, 480), drawn(1, 16, 480)).fitted == 384


def test_embedding_anew_takes_time_and_bytes():
    found = anew(1_000_000, 250.0, 384)
    assert found.hours == pytest.approx(1_000_000 / 250 / 3600)
    assert found.bytes == 4 * 384 * 1_000_000


class TestBeyond:
    """`beyond`: what is to be better than the incumbent, and not only as good."""

    def verdict(self, new: np.ndarray, old: np.ndarray, **more) -> str:
        return compare(mean_of(new), mean_of(old), 0.0, alpha=0.05, beyond=True, **more).verdict

    def test_what_is_exactly_equal_is_not_better(self):
        old = np.random.default_rng(0).random(200)
        assert compare(mean_of(old), mean_of(old), 0.0, alpha=0.05).verdict == "pass"
        assert self.verdict(old, old) == "inconclusive"
        assert self.verdict(old, old, unit_loss=1.0) == "inconclusive"

    def test_a_gain_beyond_chance_is_better_and_a_loss_is_not(self):
        rng = np.random.default_rng(0)
        old, gain = rng.random(200), 0.05 + 0.01 * rng.standard_normal(200)
        assert self.verdict(old + gain, old) == "pass"
        assert self.verdict(old - gain, old) == "fail"
        assert self.verdict(old + 0.1 * rng.standard_normal(200), old) == "inconclusive"

    def test_a_margin_must_be_exceeded(self):
        old = np.full(100, 0.5)
        for gain, verdict in ((0.11, "pass"), (0.1, "inconclusive"), (0.09, "fail")):
            found = compare(mean_of(old * (1 + gain)), mean_of(old), -0.1, alpha=0.05, beyond=True)
            assert found.verdict == verdict, gain
