"""Time and chance, as arguments.

No part of Holdfast reads a clock, sleeps or rolls dice on its own: it is handed a :class:`Clock` and an :class:`Rng`.
Waiting itself is asyncio's (``loop.call_at``, ``asyncio.sleep``), whose time is the event loop's: on the virtual-time loop
of :mod:`holdfast.testing` an hour passes in milliseconds, and a run replays from its seed.
"""

from __future__ import annotations

import random
import time
from typing import Protocol

__all__ = ["Clock", "Rng", "SystemClock", "new_id", "system_rng"]


class Clock(Protocol):
    """Where durations and dates come from."""

    def monotonic(self) -> float:
        """Seconds, never going back, on the running event loop's own scale: for durations and for ``loop.call_at``."""
        ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC: for dates in the ledger."""
        ...


class Rng(Protocol):
    """Where chance comes from. :class:`random.Random` is one."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """``k`` random bits."""
        ...


class SystemClock:
    """The machine's own time."""

    def monotonic(self) -> float:
        # asyncio's and uvloop's loops count on the same scale, but uvloop's own time() moves in whole milliseconds
        return time.monotonic()

    def wall_ns(self) -> int:
        return time.time_ns()


def system_rng() -> Rng:
    """Chance from the operating system, for production."""
    return random.Random(random.SystemRandom().getrandbits(128))


def new_id(clock: Clock, rng: Rng) -> str:
    """A UUID version 7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, then chance; sorts by time of making."""
    ms = clock.wall_ns() // 1_000_000
    chance = rng.getrandbits(74)
    value = (
        (ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (chance >> 62) << 64 | 0b10 << 62 | chance & (1 << 62) - 1
    )
    h = f"{value:032x}"
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
