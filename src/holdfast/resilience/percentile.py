"""A percentile of the latest values, exact over them.

=================  =================================================================================================
what counts        the latest :data:`KEPT` values, whenever they came: older ones make room
percentile *p*     the least of them that at least *p* % of them don't exceed (nearest rank). Always a value that
                   was seen; nothing is interpolated
error              none over what counts. As an estimate of the distribution behind it, that of a sample: of 256 values the
                   95th percentile is with 95 % probability between the 92nd and the 98th of the distribution
memory and time    two copies of what counts; a look-up, and a bisection in 256 values for each that comes
=================  =================================================================================================
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Final

__all__ = ["KEPT", "RecentPercentile"]

KEPT: Final = 256
"""How many values count. Of more the rank were surer and the news older."""


class RecentPercentile:
    """One stream of values. Not thread-safe: it belongs to one event loop's thread."""

    __slots__ = ("_by_age", "_by_size")

    def __init__(self) -> None:
        self._by_age: deque[float] = deque()
        self._by_size: list[float] = []

    def __len__(self) -> int:
        """How many values count, at most :data:`KEPT`."""
        return len(self._by_size)

    def add(self, value: float) -> None:
        """One more.

        Raises:
            ValueError: it isn't a finite number of 0 or more; NaN above all would put the others out of order.
        """
        if not 0 <= value < math.inf:
            raise ValueError(f"only finite values from 0 on have percentiles here, not {value!r}")
        by_age, by_size = self._by_age, self._by_size
        if len(by_age) == KEPT:
            del by_size[bisect_left(by_size, by_age.popleft())]
        by_age.append(value)
        insort(by_size, value)

    def at(self, percentile: float) -> float:
        """The percentile, in (0, 100].

        Raises:
            ValueError: there is no such percentile, or nothing was added yet.
        """
        if not 0 < percentile <= 100:
            raise ValueError(f"a percentile is above 0 and at most 100, not {percentile!r}")
        if not self._by_size:
            raise ValueError("nothing was added yet")
        # Divided last: a whole number of values in a hundred is then a whole number here too, and not rounded up.
        return self._by_size[math.ceil(percentile * len(self._by_size) / 100) - 1]
