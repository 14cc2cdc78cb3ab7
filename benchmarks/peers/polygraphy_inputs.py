"""Real texts as the graphs' inputs, for `polygraphy run --data-loader-script`."""

import os
from pathlib import Path

from faults import tokens
from pairs import read
from transformers import AutoTokenizer


def load_data():
    """Eight batches of 32 sentences."""
    tokenizer = AutoTokenizer.from_pretrained(os.environ["REFERENCE"])
    texts = [first for first, _, _ in read(Path(os.environ["DATA"]))]
    for start in range(0, 256, 32):
        yield tokens(tokenizer, texts[start : start + 32])
