"""Percentiles of durations in fixed memory, over any number of them: a sketch with relative error, as DDSketch
(Masson, Rim, Lee, VLDB 2019).

A duration is counted in a bucket; each bucket is 2 % wider than the one before it, so its middle is at most 1 % off. The
least and the largest are exact.
"""

from __future__ import annotations

from math import ceil, exp, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Sketch"]

_WIDTH = log(1.01 / 0.99)
_PER_NS = 1 / _WIDTH
_LARGEST = 1 << 62  # ns: 146 years
_BUCKETS = int(log(_LARGEST) * _PER_NS) + 1  # 2,149


class Sketch:
    """Durations in nanoseconds; what it tells of them is in seconds."""

    __slots__ = ("_counts", "_max", "_min", "_sum", "count")

    def __init__(self) -> None:
        self.count = 0
        self._counts = [0] * _BUCKETS
        self._sum = 0
        self._min = _LARGEST
        self._max = 0

    def add(self, durations: Sequence[int]) -> None:
        """These more; less than 1 ns counts as 1. A batch costs a third of what as many single ones would."""
        if not durations:
            return
        least, largest = min(durations), max(durations)
        if least < 1 or largest > _LARGEST:
            self.add([min(max(ns, 1), _LARGEST) for ns in durations])
            return
        counts = self._counts
        for ns in durations:
            counts[int(log(ns) * _PER_NS)] += 1
        self.count += len(durations)
        self._sum += sum(durations)
        self._max = max(self._max, largest)
        self._min = min(self._min, least)

    def quantile_s(self, share: float) -> float | None:
        """The duration that ``share`` (0 to 1) of all are no longer than, within 1 %; None where there is none."""
        if not self.count:
            return None
        rank = max(1, ceil(share * self.count))
        for bucket, count in enumerate(self._counts):
            rank -= count
            if rank <= 0:
                middle = exp((bucket + 0.5) * _WIDTH)
                return min(max(middle, self._min), self._max) / 1e9
        return self._max / 1e9

    def told(self) -> dict[str, float | int | None]:
        """Count, mean, extremes and percentiles, for the admin API; None where nothing was measured."""
        known = self.count > 0
        return {
            "count": self.count,
            "mean": self._sum / self.count / 1e9 if known else None,
            "min": self._min / 1e9 if known else None,
            "p50": self.quantile_s(0.50),
            "p90": self.quantile_s(0.90),
            "p95": self.quantile_s(0.95),
            "p99": self.quantile_s(0.99),
            "max": self._max / 1e9 if known else None,
        }
