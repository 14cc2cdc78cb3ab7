"""Is the new model as good as the one it replaces? With `--gate-incumbent`, both run as the reference."""

import pytest

pytestmark = pytest.mark.quality


def test_keeps_the_incumbent_quality(gate, gate_upgrade, uphold):
    """Task metrics, paired item by item with the incumbent's."""
    uphold(gate.upgrade(*gate_upgrade))
