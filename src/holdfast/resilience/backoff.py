"""How long to wait before trying again: exponential, capped, with jitter.

The full jitter is the one that M. Brooker's "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015) found to finish
a contended job with the least work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Backoff", "spread"]

_MAX_EXPONENT = 1000  # beyond it a float overflows, and any cap was reached long before


class Backoff(Settings, frozen=True, kw_only=True):
    """Delays in seconds before retry 1, 2, …. The cap holds with jitter included.

    Raises:
        ValueError: a setting is out of its range.
    """

    base_s: Annotated[float, Meta(ge=0, le=3600)] = 0.5
    """Before the first retry, jitter apart; 0: at once, and so are all others."""
    multiplier: Annotated[float, Meta(ge=1, le=100)] = 2.0
    """What each further delay is longer by."""
    max_s: Annotated[float, Meta(ge=0, le=86_400)] = 8.0
    """No delay is longer."""
    jitter: Literal["full"] | Annotated[float, Meta(ge=0, le=1)] = "full"
    """``"full"``: uniform in [0, delay]; a fraction *f*: uniform in [(1 - f) × delay, (1 + f) × delay], cut at the cap."""

    def check(self) -> None:
        if isinstance(self.jitter, str) and self.jitter != "full":
            raise ValueError(f'jitter must be "full" or a number from 0 to 1, not {self.jitter!r}')

    def ceiling(self, retry: int) -> float:
        """The delay before retry number ``retry`` (from 1), jitter apart."""
        if retry < 1:
            raise ValueError(f"retries are counted from 1, not {retry}")
        try:
            delay = self.base_s * self.multiplier ** min(retry - 1, _MAX_EXPONENT)
        except OverflowError:
            return self.max_s if self.base_s else 0.0
        return min(delay, self.max_s)

    def delay(self, retry: int, random: Callable[[], float]) -> float:
        """One drawn delay. ``random`` gives floats in [0, 1)."""
        ceiling = self.ceiling(retry)
        if self.jitter == "full":
            return ceiling * random()
        return spread(ceiling, self.jitter, self.max_s, random)


def spread(delay: float, factor: float, cap: float, random: Callable[[], float]) -> float:
    """Uniform in [(1 - factor) × delay, (1 + factor) × delay], of that range only what is below ``cap``.

    The range is cut and not the result: a cut result would send half of all callers off at the cap, in the same moment.
    """
    delay = min(delay, cap)
    low = delay * (1 - factor)
    high = min(delay * (1 + factor), cap)
    return min(low + (high - low) * random(), high)  # the sum may be rounded up beyond it
