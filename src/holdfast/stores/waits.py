"""How long requests waited for a store: counted where they wait, read where somebody asks for metrics."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BOUNDS_S", "Outcome", "Waits"]

Outcome: TypeAlias = Literal["answered", "lost"]

BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
"""Seconds, inclusive: the defaults of a command's and of a request's limit stand among them."""


class Waits:
    """All waits of one process, by how they ended. Plain numbers: belongs to its event loop's thread."""

    __slots__ = ("_counts", "_sums", "longest_s")

    def __init__(self) -> None:
        self._counts: dict[Outcome, list[int]] = {
            "answered": [0] * (len(BOUNDS_S) + 1),
            "lost": [0] * (len(BOUNDS_S) + 1),
        }
        self._sums: dict[Outcome, float] = {"answered": 0.0, "lost": 0.0}
        self.longest_s = 0.0
        """The longest that any one request has waited in all, in seconds."""

    def note(self, outcome: Outcome, wait_s: float, spent_s: float) -> None:
        """One call has waited ``wait_s``, and its request ``spent_s`` with all of its calls so far."""
        self._counts[outcome][bisect_left(BOUNDS_S, wait_s)] += 1
        self._sums[outcome] += wait_s
        if spent_s > self.longest_s:
            self.longest_s = spent_s

    def histograms(self) -> Iterator[tuple[Outcome, list[tuple[str, float]], float]]:
        """Of each outcome: how many waited up to each bound, as Prometheus has it, and their sum in seconds."""
        for outcome, counts in self._counts.items():
            buckets, so_far = [], 0
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), counts, strict=True):
                so_far += count
                buckets.append((bound, float(so_far)))
            yield outcome, buckets, self._sums[outcome]
