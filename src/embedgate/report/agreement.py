"""What of a report's judgements is about agreement with the reference: over all texts, or over those of one dataset."""

from __future__ import annotations

from collections.abc import Iterable

from embedgate.core.judgement import Judgement
from embedgate.metrics import ALL_TEXTS

CHECK = "agreement"
# The checks that say what is kept of the reference, with labels and without.
KEPT = ("retention", CHECK)
# The metric that stands for texts without labels, of which nothing is retained.
NEAREST = "top10_overlap"


def is_over_all(judgement: Judgement) -> bool:
    """Whether it is about all texts of several datasets together."""
    return judgement.check == CHECK and judgement.dataset.startswith(ALL_TEXTS)


def is_by_itself(judgement: Judgement) -> bool:
    """Whether it is about a dataset of texts without labels."""
    return judgement.check == CHECK and not is_over_all(judgement)


def over_all(judgements: Iterable[Judgement], metric: str) -> Judgement | None:
    """The judgement over all texts; that of a dataset where it alone was judged; None where there is neither."""
    found = [judgement for judgement in judgements if (judgement.check, judgement.metric) == (CHECK, metric)]
    whole = [judgement for judgement in found if is_over_all(judgement)]
    return next(iter(whole or found), None) if whole or len(found) == 1 else None
