"""How far an observed share may be from the true one: the exact interval of Clopper and Pearson (Biometrika 26, 1934).

Each bound is a quantile of a beta distribution: where the tail of the binomial beyond what was seen has half of what is
left of the confidence. "Exact" means that the interval covers the true share at least as often as it says, whatever the
share and however few the attempts.
"""

from __future__ import annotations

from math import exp, fabs, inf, lgamma, log, log1p, sqrt

__all__ = ["clopper_pearson"]

_EPS = 1e-15
_TINY = 1e-300
_MOST = 100_000  # terms; attempts beyond 10^10 would need more
_STEPS = 200  # of the search; it takes five to ten
_Z = 1.96  # only where the search begins


def clopper_pearson(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The smallest and the largest share that ``count`` out of ``of`` is still likely for.

    Raises ValueError where ``count`` isn't 0 to ``of``, or ``confidence`` isn't between 0 and 1. Nothing seen of nothing
    says nothing: (0, 1). A bound is right to about 1e-12, in some 1,000 steps even where ``of`` is a million.
    """
    if not 0 <= count <= of or not 0 < confidence < 1:
        raise ValueError(f"no interval for {count} of {of} with a confidence of {confidence}")
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else _quantile(tail, count, of - count + 1)
    high = 1.0 if count == of else 1 - _quantile(tail, of - count, count + 1)
    return low, high


def _quantile(mass: float, a: int, b: int) -> float:
    """Where the beta distribution has ``mass`` to its left: Newton's steps, kept in by bisection."""
    low, high = 0.0, 1.0
    mean = a / (a + b)
    at = min(max(mean - _Z * sqrt(mean * (1 - mean) / (a + b + 1)), mean / 100), 1 - _EPS)
    scale = lgamma(a + b) - lgamma(a) - lgamma(b)
    for _ in range(_STEPS):
        over = _left(at, a, b) - mass
        if over > 0:
            high = at
        else:
            low = at
        slope = exp(scale + (a - 1) * log(at) + (b - 1) * log1p(-at))
        ahead = at - over / slope if slope else inf
        if not low < ahead < high:
            ahead = (low + high) / 2
        if fabs(ahead - at) <= 1e-13 * ahead:
            return ahead
        at = ahead
    return at


def _left(x: float, a: int, b: int) -> float:
    """The regularized incomplete beta function: the probability of at least ``a`` out of ``a + b - 1`` at share ``x``."""
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1) / (a + b + 2):  # where its continued fraction converges fast
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: int, b: int) -> float:
    """The continued fraction (DLMF 8.17.22) by Lentz's method; about sqrt(max(a, b)) steps."""
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST):
        before = value
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _off_zero(1 + term * d)
            c = _off_zero(1 + term / c)
            value *= c * d
        if fabs(value - before) <= _EPS * fabs(value):
            break
    return value


def _off_zero(value: float) -> float:
    return value if fabs(value) > _TINY else _TINY
