"""Looks at a growing part of the items: how sure each look must be, so that a session errs no more often than one look.

A combination may pass at any look; it is red at the last one alone, when all items are in. So only false passes add up
over the looks, and only their level is shared among them: by alpha spending (Lan and DeMets, "Discrete sequential
boundaries for clinical trials", Biometrika 70, 1983), in proportion to the part of the items that is in (Kim and
DeMets, "Design and analysis of group sequential tests based on the type I error spending rate function", Biometrika 74,
1987). Estimates of a growing sample, each over its standard error, are jointly normal for many items, two of them with
the correlation sqrt(fewer / more). The levels follow by numerical integration (Armitage, McPherson and Rowe, "Repeated
significance tests on accumulating data", JRSS A 132, 1969).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Each look has so many times the items of the one before, and the first at least so many.
GROWTH = 3
FEWEST_ITEMS = 200
# Points of the numerical integration, over so many standard deviations to either side.
_POINTS, _WIDTH = 2001, 8.0


def looks(n: int) -> tuple[int, ...]:
    """After how many of `n` items a verdict is tried, ascending; the last is all of them.

    Args:
        n: Number of items.
    """
    found = [n]
    while (fewer := found[0] // GROWTH) >= FEWEST_ITEMS:
        found.insert(0, fewer)
    return tuple(found)


@lru_cache(maxsize=64)
def levels(alpha: float, sizes: tuple[int, ...]) -> tuple[float, ...]:
    """The one-sided level of each look, so that they reject a true hypothesis at most `alpha` of the time together.

    Args:
        alpha: The level that they share.
        sizes: How many items each look has, ascending.

    Returns:
        A level per look, each at most `alpha`; `alpha` itself where there is one look.
    """
    from scipy.stats import norm

    shares = [size / sizes[-1] for size in sizes]
    spent, found = 0.0, []
    # The density of the sum of the items, on a grid in units of its own standard deviation, where no look has passed.
    density: np.ndarray | None = None
    grid = np.linspace(-_WIDTH, _WIDTH, _POINTS)
    step = grid[1] - grid[0]
    for place, share in enumerate(shares):
        to_spend, spent = alpha * share - spent, alpha * share
        if density is None:
            here = norm.pdf(grid)
        else:
            before = shares[place - 1]
            scale = np.sqrt(share - before)
            kernel = norm.pdf((np.sqrt(share) * grid[:, None] - np.sqrt(before) * grid[None, :]) / scale)
            here = kernel @ density * (step * np.sqrt(share) / scale)
        # The boundary: what lies beyond it has the probability that is to be spent.
        beyond = np.cumsum(here[::-1])[::-1] * step
        boundary = float(np.interp(-to_spend, -beyond, grid))
        found.append(float(norm.sf(boundary)))
        density = np.where(grid < boundary, here, 0.0)
    return (*found[:-1], min(found[-1], alpha)) if len(found) > 1 else (alpha,)
