"""Does a combination keep the order of similarities? Sentences whose order is known by construction."""

import pytest

pytestmark = pytest.mark.ordering


@pytest.mark.gate("ordering.margin")
def test_keeps_the_order(uphold):
    """Wherever the reference tells two similarities apart by more than noise, the combination does so the same way."""
    uphold()


@pytest.mark.gate("ordering.similarity")
def test_keeps_the_similarity(uphold):
    """No similarity moves further from the reference's than the weight precision explains."""
    uphold()


@pytest.mark.gate("ordering.kept")
def test_reverses_few_orders(uphold):
    """The share of orders kept, however small the reference's margin, above the floor of the weight precision."""
    uphold()
