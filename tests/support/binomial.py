"""Where a count must lie when each of so many attempts has the same chance: exact binomial tails, no approximation."""

import math

ALPHA = 1e-9
"""How often a true share is called wrong: once in a thousand million counts."""


def interval(attempts: int, share: float, alpha: float = ALPHA) -> tuple[int, int]:
    """The smallest and the largest count that are believed: each tail outside has at most ``alpha / 2``."""
    low = _outside(attempts, share, alpha / 2)
    return low, attempts - _outside(attempts, 1 - share, alpha / 2)


def _outside(attempts: int, share: float, alpha: float) -> int:
    """How many counts, from 0 up, have together at most ``alpha``."""
    total = 0.0
    for count in range(attempts + 1):
        total += math.exp(log_chance(count, attempts, share))
        if total > alpha:
            return count
    return attempts


def log_chance(count: int, attempts: int, share: float) -> float:
    """The logarithm of the chance of exactly ``count`` out of ``attempts``."""
    if share in (0.0, 1.0):
        return 0.0 if count == share * attempts else -math.inf
    ways = math.lgamma(attempts + 1) - math.lgamma(count + 1) - math.lgamma(attempts - count + 1)
    return ways + count * math.log(share) + (attempts - count) * math.log1p(-share)
