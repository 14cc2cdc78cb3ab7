"""quant-regress with its own default: accuracy may fall by two points. The task: which of two pairs is more alike?

python quant_regress_rule.py WORK FAULT DATA
"""

import json
import sys
from pathlib import Path

import numpy as np
from faults import NAMED, encoder_of, reference_of
from pairs import read
from quant_regress import QuantHarness
from quant_regress.evalset import Case, EvalSet
from sentence_transformers import SentenceTransformer


class Answering:
    """An encoder that answers."""

    def __init__(self, encoder):
        self.encoder = encoder

    def answer(self, prompt):
        """Says which pair has the larger cosine."""
        vectors = np.asarray(self.encoder.encode(json.loads(prompt)), dtype=np.float64)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return "first" if unit[0] @ unit[1] > unit[2] @ unit[3] else "second"


def build(precision):
    """The reference as fp32, and the candidate as int8: these are the two names that the harness takes."""
    if precision == "int8":
        return Answering(encoder_of(work, fault))
    return Answering(SentenceTransformer(str(reference_of(work, fault, "folder")), device="cpu", local_files_only=True))


work, fault, rows = Path(sys.argv[1]), NAMED[sys.argv[2]], read(Path(sys.argv[3]))
cases = EvalSet(
    Case(str(n), json.dumps([a, b, c, d]), "first" if x > y else "second")
    for n, ((a, b, x), (c, d, y)) in enumerate(zip(rows[::2], rows[1::2], strict=False))
    if abs(x - y) >= 1
)
found = QuantHarness(build).compare(cases)
print(found.verdict, f"{found.worst_drop_points:+.2f} points of {len(cases)} cases")
sys.exit(found.verdict.value != "pass")
