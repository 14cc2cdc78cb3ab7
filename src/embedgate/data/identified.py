"""Languages of texts, told by py3langid: a naive Bayes model that comes with the package, and asks no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

# What is identified: the share of a language that 5% of the texts are in has a standard error of 0.7 points.
SAMPLE = 1000
# Characters of a text that are read.
READ = 500
# What fewer of the sample seem to be in is not told: short texts are now and then taken for a neighbour's language.
LEAST, FEWEST = 0.02, 3
OTHERS = "others"


def languages_of(texts: Sequence[str]) -> dict[str, float] | None:
    """The share of each language among texts, the largest first; None where nothing tells it.

    Nothing does where py3langid is not installed, or where there are a few texts alone.

    Args:
        texts: The texts, of which some that lie evenly are read.

    Returns:
        By ISO 639 code; what is of less than 2%, or of fewer than three texts, together as `others`.
    """
    identifier = _identifier()
    if identifier is None:
        return None
    step = max(1, -(-len(texts) // SAMPLE))
    counts = Counter(str(identifier.classify(text[:READ])[0]) for text in texts[::step])
    least = max(LEAST * counts.total(), FEWEST)
    told = {language: count / counts.total() for language, count in counts.most_common() if count >= least}
    if not told:
        return None
    return told | ({OTHERS: 1 - sum(told.values())} if len(told) < len(counts) else {})


def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        return None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=False)
