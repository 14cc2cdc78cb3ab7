"""Gives embedgate an encoder by its hook, as a conftest.py does."""

import os
from pathlib import Path

from faults import NAMED, encoder_of


def pytest_gate_combinations(registry):
    """Adds the encoder."""
    work, fault = Path(os.environ["WORK"]), NAMED[os.environ["FAULT"]]
    registry.add("faulty-fp32-cpu", lambda *_: encoder_of(work, fault))
