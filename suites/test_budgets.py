"""Is it really cheaper? Speed against the reference, memory and bytes, each against its approved budget."""

import pytest

pytestmark = pytest.mark.budget


def test_keeps_its_speed(gate, gate_candidate, gate_workload, benchmark, uphold):
    """Its share of the reference's time, both timed in turns, for batches of several sizes and lengths."""
    uphold(gate.budgets.speed(gate_candidate, gate_workload, benchmark))


def test_keeps_its_memory(gate, gate_combination, uphold):
    """Memory once loaded and at its peak in a fresh process, and none that stays with every batch."""
    uphold(gate.budgets.memory(gate_combination))


def test_keeps_its_products(gate, gate_candidate, uphold):
    """The share of its matrix products that compute in the type its id promises: none has fallen back since."""
    uphold(gate.budgets.products(gate_candidate))


def test_keeps_its_size(gate, gate_combination, uphold):
    """Bytes of weights and artefact: as small as the weight precision promises, and as approved."""
    uphold(gate.budgets.size(gate_combination))
