"""MTEB with the rule of vLLM's tests: the score may fall by less than 5e-4, and a very long text gives a sound vector.

python mteb_rule.py WORK FAULT DATA
"""

import sys
from pathlib import Path

import mteb
import numpy as np
from faults import NAMED, encoder_of, reference_of
from local_task import task_of
from mteb.models import ModelMeta
from sentence_transformers import SentenceTransformer

TOLERANCE = 5e-4
LONG = ["The chef prepared a delicious meal." * 1000]


class Asked(mteb.EncoderProtocol):
    """An encoder as mteb asks it, in shuffled order."""

    mteb_model_meta = ModelMeta.create_empty({"name": "local/asked", "revision": "1"})

    def __init__(self, encoder):
        self.encoder = encoder

    def encode(self, inputs, *args, **kwargs):
        """Embeddings in the order of the texts."""
        texts = [text for batch in inputs for text in batch["text"]]
        order = np.random.default_rng(42).permutation(len(texts))
        found = np.asarray(self.encoder.encode([texts[i] for i in order], batch_size=32))
        return found[np.argsort(order)]

    def similarity_pairwise(self, first, second):
        """Cosines."""
        return (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)

    def similarity(self, first, second):
        """Cosines of all with all."""
        unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (first, second)]
        return unit[0] @ unit[1].T


def score(encoder):
    """The main score of the task."""
    found = mteb.evaluate(Asked(encoder), task_of(Path(sys.argv[3])), cache=None, show_progress_bar=False)
    return found.task_results[0].get_score()


work, fault = Path(sys.argv[1]), NAMED[sys.argv[2]]
reference = SentenceTransformer(str(reference_of(work, fault, "folder")), device="cpu", local_files_only=True)
candidate = encoder_of(work, fault)
vectors = [np.asarray(encoder.encode(LONG)) for encoder in (reference, candidate)]
if not np.isfinite(vectors[1]).all():
    sys.exit("RED: the long text gives NaN")
if np.sum(vectors[0] * vectors[1]) / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1]) < 0.99:
    sys.exit("RED: the long text's vectors differ")
lost = score(reference) - score(candidate)
if not lost < TOLERANCE:
    sys.exit(f"RED: the score falls by {lost:.4f}")
print(f"GREEN: the score falls by {lost:+.5f}")
