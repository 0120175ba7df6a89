"""How long to wait before trying again: exponential, capped, with jitter.

The full jitter is the one that M. Brooker's "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015) found to finish
a contended job with the least work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backoff"]

_MAX_EXPONENT = 1000  # beyond it a float overflows, and any cap was reached long before


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Delays in seconds before retry 1, 2, …. The cap holds with jitter included."""

    base_s: float = 0.5
    multiplier: float = 2.0
    max_s: float = 8.0
    jitter: Literal["full"] | float = "full"
    """``"full"``: uniform in [0, delay]; a fraction *f* in 0–1: uniform in [(1 - f) × delay, (1 + f) × delay]."""

    def ceiling(self, retry: int) -> float:
        """The delay before retry number ``retry`` (from 1), jitter apart."""
        if retry < 1:
            raise ValueError(f"retries are counted from 1, not {retry}")
        try:
            delay = self.base_s * self.multiplier ** min(retry - 1, _MAX_EXPONENT)
        except OverflowError:
            return self.max_s
        return min(delay, self.max_s)

    def delay(self, retry: int, random: Callable[[], float]) -> float:
        """One drawn delay. ``random`` gives floats in [0, 1)."""
        ceiling = self.ceiling(retry)
        if self.jitter == "full":
            return ceiling * random()
        return min(ceiling * (1 + self.jitter * (2 * random() - 1)), self.max_s)
