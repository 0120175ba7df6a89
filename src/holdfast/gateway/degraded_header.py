"""What an answer's caller should know: which of the things that processes share was lost when it was admitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.resilience.rate_meter import RateStatus

__all__ = ["DEGRADED", "degraded_header", "lost_for"]

DEGRADED: Final = b"x-holdfast-degraded"


def degraded_header(lost: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """``x-holdfast-degraded: redis``: the lost dependencies by name, each once, in the alphabet's order; none: no header."""
    names = sorted(set(lost))
    return [(DEGRADED, ", ".join(names).encode())] if names else []


def lost_for(rate: RateStatus | None) -> tuple[str, ...]:
    """What was lost for a request that was judged by that rate limit."""
    return ("redis",) if rate is not None and rate.alone else ()
