"""Registers cases with embedgate by its hook, as a conftest.py does."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from eyes.encoder import Faulty, sound_ones
from eyes.sound import PLAIN
from eyes.zoo import cases

CASES, WORK, TOLD = "EYES_CASES", "EYES_WORK", "EYES_TOLD"
# Set where cases come without their faults, to be approved.
SOUND = "EYES_SOUND"


def pytest_gate_combinations(registry):
    """Adds them, and judges each as if it were alone."""
    known = cases()
    chosen = [known[name] for name in json.loads(os.environ[CASES])]
    _judge_alone(len(chosen))
    shared = {}
    for case in chosen:
        registry.add(case.combination, lambda path, _, case=case: _made(case, path, shared))


def _made(case, path, shared):
    """An encoder of a case; the sound ones are shared."""
    work, told = Path(os.environ[WORK]), Path(os.environ[TOLD])
    sound = shared.setdefault(path, sound_ones(path, work / "kept"))[case.promise]
    case = replace(case, fault=PLAIN) if os.environ.get(SOUND) else case
    return Faulty(case, path, sound, told / f"{case.combination}.json")


def _judge_alone(many):
    """Has each case judged in a family of its own checks.

    They have one session for the sake of time: what is red must not depend on how many were asked beside it.
    """
    from embedgate.checks.context import Context

    of_all = Context.family
    Context.family = lambda self, case: max(1, of_all(self, case) // many)
