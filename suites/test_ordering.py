"""Does a combination keep the order of similarities? Sentences whose order is known by construction."""

import pytest

pytestmark = pytest.mark.ordering


def test_keeps_the_order(gate, gate_candidate, uphold):
    """Wherever the reference tells two similarities apart by more than noise, the combination does so the same way."""
    uphold(gate.properties.keeps_order(gate_candidate))


def test_keeps_the_similarity(gate, gate_candidate, uphold):
    """No similarity moves further from the reference's than the weight precision explains."""
    uphold(gate.properties.keeps_similarity(gate_candidate))


def test_turns_few_orders_round(gate, gate_candidate, gate_ordering, uphold):
    """The share of orders kept, however small the reference's margin, above the floor of the weight precision."""
    uphold(gate.ordering(gate_candidate, gate_ordering))
