"""The assertions: a module per family of checks. `CHECKS` is the one place that knows which there are.

A check is asked by a test of `suites/` that is marked `@pytest.mark.gate("<name>")`. See docs/add-a-check.md.
"""

from __future__ import annotations

from embedgate.checks.baseline import BASELINE, GOLDEN
from embedgate.checks.check import Case, Check, Missing, Subject, candidates, every, indexes, reference
from embedgate.checks.context import Context
from embedgate.checks.effective import EFFECTIVE
from embedgate.checks.engines import ENGINE
from embedgate.checks.index import FOUND, ROWS
from embedgate.checks.memory import MEMORY_KEPT, PRODUCTS_KEPT, SIZE
from embedgate.checks.prompts import PROMPT
from embedgate.checks.properties import ANY_TEXTS, INVARIANCE, MARGINS, ODD_TEXTS, SAME_TOKENS, SIMILARITIES
from embedgate.checks.quality import AGREEMENT, ORDER_KEPT, RETENTION
from embedgate.checks.receipt import RECEIPT
from embedgate.checks.registry import CheckRegistry
from embedgate.checks.search_speed import SEARCH_SPEED
from embedgate.checks.slices import SLICES
from embedgate.checks.speed import SPEED
from embedgate.checks.telling import TELLING_TEXTS
from embedgate.checks.upgrade import SUPERIOR, UPGRADE
from embedgate.checks.vectors import CODES, MIXTURE, STORED, STORED_RANKS

# In the order in which they are asked of a combination, within the phase of each, and told in reports: what says most
# comes first.
CHECKS: tuple[Check, ...] = (
    EFFECTIVE,
    GOLDEN,
    PROMPT,
    TELLING_TEXTS,
    AGREEMENT,
    RETENTION,
    SLICES,
    SAME_TOKENS,
    ODD_TEXTS,
    ANY_TEXTS,
    MARGINS,
    SIMILARITIES,
    ORDER_KEPT,
    INVARIANCE,
    SIZE,
    PRODUCTS_KEPT,
    ROWS,
    FOUND,
    UPGRADE,
    SUPERIOR,
    BASELINE,
    # First, since its process has built nothing yet; the same one then times.
    MEMORY_KEPT,
    SPEED,
    CODES,
    STORED,
    STORED_RANKS,
    MIXTURE,
    ENGINE,
    SEARCH_SPEED,
    RECEIPT,
)

__all__ = [
    "CHECKS",
    "Case",
    "Check",
    "CheckRegistry",
    "Context",
    "Missing",
    "Subject",
    "candidates",
    "every",
    "indexes",
    "reference",
]
