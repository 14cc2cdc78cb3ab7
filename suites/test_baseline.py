"""Did anything drift since it was approved? Every combination against its approved baseline."""


def test_is_what_was_approved(gate, gate_combination, uphold):
    """Every value measured, against the one approved for this hardware profile, model and dataset."""
    uphold(gate.drift.values(gate_combination))
