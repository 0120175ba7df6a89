"""When a place will be free, from how long places were held lately. An estimate, for Retry-After.

While N places are taken they come back every ``held / N`` seconds on average (J. Little, "A Proof for the Queuing Formula
L = λW", 1961). Where none has come back for longer than that, the other side hangs, and what was true before isn't: then the
silence is the interval.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LONGEST_S", "SHORTEST_S", "LeaveRate"]

SHORTEST_S: Final = 0.1
"""Nobody is told to come back sooner: who comes at once only comes to be refused again."""
LONGEST_S: Final = 60.0
"""Nor later: beyond it the estimate says nothing but that it is bad now."""

_UNKNOWN_S = 1.0  # how long a place is taken to be held before anybody has left
_GAIN = 1 / 8  # as for round trips in RFC 6298


class LeaveRate:
    """A moving average of how long places are held, and the last sign of life."""

    __slots__ = ("_held_s", "_since")

    def __init__(self) -> None:
        self._held_s: float | None = None
        self._since = 0.0

    def moved(self, now: float) -> None:
        """From here on somebody has to leave: the last free place was taken, or one came back whose time says nothing."""
        self._since = now

    def left(self, held_s: float, now: float) -> None:
        """A place came back after ``held_s``."""
        average = self._held_s
        self._held_s = held_s if average is None else average + _GAIN * (held_s - average)
        self._since = now

    def retry_after_s(self, places: int, ahead: int, now: float) -> float:
        """Seconds until one of ``places``, all taken, is free for whoever comes after ``ahead`` others."""
        held = _UNKNOWN_S if self._held_s is None else self._held_s
        interval = max(held / places, now - self._since)
        return min(max(interval * (ahead + 1), SHORTEST_S), LONGEST_S)
