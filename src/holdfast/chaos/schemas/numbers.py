"""Numbers within bounds."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from holdfast.chaos.schemas.check import divides
from holdfast.chaos.schemas.errors import ImpossibleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from holdfast.chaos.schemas.words import Bounds

__all__ = ["numbers"]

_MOST = 2000
_WIDE = 100  # how far a drawn number is from the bound, where there is only one
_SAFE = 2**53


def numbers(bounds: Bounds, *, whole: bool, chance: Random | None) -> Iterator[float]:
    """Different numbers within the bounds, the plainest first; or, with ``chance``, a drawn one first."""
    if bounds.step is not None or whole:
        yield from _steps(bounds, whole=whole, chance=chance)
        return
    low, high = _ends(bounds)
    if low > high or (low == high and (bounds.above or bounds.below)):
        raise ImpossibleError(f"no number from {bounds.low} to {bounds.high}")
    middle = low + (high - low) / 2
    candidates = [1.5, 0.5, 1.0, 0.0, -1.5, low, high, middle, low + 0.5, high - 0.5, low + 1, high - 1]
    if chance is not None:
        candidates.insert(0, round(chance.uniform(low, high), 2))
    for value in dict.fromkeys(candidates):
        if _fits(bounds, value):
            yield value
    for i in range(1, _MOST):
        value = low + (high - low) * i / _MOST
        if _fits(bounds, value):
            yield value


def _ends(bounds: Bounds) -> tuple[float, float]:
    """The bounds, with one that isn't said put near the other, or near 0."""
    low = bounds.low if bounds.low is not None else min(0.0, bounds.high or 0.0) - _WIDE
    high = bounds.high if bounds.high is not None else max(0.0, low) + _WIDE
    return float(low), float(high)


def _fits(bounds: Bounds, value: float) -> bool:
    over = bounds.low is None or (value > bounds.low if bounds.above else value >= bounds.low)
    under = bounds.high is None or (value < bounds.high if bounds.below else value <= bounds.high)
    return over and under


def _steps(bounds: Bounds, *, whole: bool, chance: Random | None) -> Iterator[float]:
    """Multiples of the step."""
    step = Fraction(str(bounds.step or 1))
    if whole and step.denominator > 1:
        step *= step.denominator
    first, last = _first(bounds, step), _last(bounds, step)
    if first is not None and last is not None and first > last:
        raise ImpossibleError(f"no multiple of {float(step):g} from {bounds.low} to {bounds.high}")
    start = 1 if first is None else max(first, 1)
    start = start if last is None else min(start, last)
    if chance is not None:
        above = start if first is None else first
        start = chance.randint(above, above + _WIDE if last is None else min(last, above + 10**6))
    count = 0
    for i in range(2 * _MOST):
        at = start - i // 2 if i % 2 == 0 else start + (i + 1) // 2  # upwards and downwards: 1, 2, 0, 3, -1 …
        if (first is not None and at < first) or (last is not None and at > last):
            continue
        value = _value(at * step, whole=whole)
        if bounds.step is None or divides(bounds.step, value):
            count += 1
            yield value
    if not count:
        raise ImpossibleError(f"no multiple of {float(step):g} can be told")


def _value(exact: Fraction, *, whole: bool) -> float:
    if exact.denominator == 1 and (whole or abs(exact) < _SAFE):
        return int(exact)
    return float(exact)


def _first(bounds: Bounds, step: Fraction) -> int | None:
    if bounds.low is None:
        return None
    low = Fraction(bounds.low)
    at = math.ceil(low / step)
    return at + 1 if bounds.above and at * step == low else at


def _last(bounds: Bounds, step: Fraction) -> int | None:
    if bounds.high is None:
        return None
    high = Fraction(bounds.high)
    at = math.floor(high / step)
    return at - 1 if bounds.below and at * step == high else at
