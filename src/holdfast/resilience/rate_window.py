"""An exact sliding window: what was admitted within the last so many seconds, and when how much of it is free again.

In every half-open window ``[t, t + length)``, wherever it starts, the admitted amounts add up to at most the limit, as long
as nothing is added beyond it: an admission counts until ``length`` has passed since it.

========================  ==========================================================================================
time                      whole ticks of 2⁻²⁰ s (about a microsecond). A power of two, so that no conversion to or from a
                          float rounds. *Now* is rounded down and an admission's time up: never early, at most a
                          tick late
one instant               admissions of the same tick share an entry
memory                    up to :data:`OWN_ENTRIES` admissions have entries of their own and are exact to the tick. Beyond
                          that, one joins the newest entry if that began less than ``length / OWN_ENTRIES`` ago, and the
                          whole entry then counts from the later time: again never early, at most that much late (15 ms
                          in a minute). At most ``2 × OWN_ENTRIES + 1`` entries, whatever the limit and the load
========================  ==========================================================================================

The bound on the entries: those opened in a crowd begin at least a granule (``length / OWN_ENTRIES``) apart and live for
less than ``length`` and a granule, so at most ``OWN_ENTRIES + 1`` of them live; the others were opened while there were
fewer than ``OWN_ENTRIES``.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OWN_ENTRIES", "TICKS_PER_S", "Entry", "Kind", "RateWindow", "in_seconds", "in_ticks"]

Kind: TypeAlias = Literal["requests", "tokens"]
"""What is limited."""

TICKS_PER_S: Final = 1 << 20

OWN_ENTRIES: Final = 4096
"""How many admissions a window tells apart before it lets those close together share an entry."""

_GONE: Final = (
    -1
)  # the time of an entry that has left the window: what is settled late finds nothing to give back


def in_ticks(seconds: float) -> int:
    """The shortest whole number of ticks that is no shorter than ``seconds``."""
    return math.ceil(seconds * TICKS_PER_S)


def in_seconds(ticks: int) -> float:
    """Exact for 270 years."""
    return ticks / TICKS_PER_S


class Entry:
    """What was admitted between ``first`` and ``stamp``; all of it counts from ``stamp``."""

    __slots__ = ("first", "mark", "requests", "stamp", "tokens")

    mark: str
    """Its name where it is written down elsewhere; not set: nowhere."""

    def __init__(self, stamp: int, requests: int, tokens: int) -> None:
        self.first = stamp
        self.stamp = stamp
        self.requests = requests
        self.tokens = tokens


class RateWindow:
    """Requests and tokens that were admitted within one length, under one log: both begin and end to count together.

    Times are ticks and never go back; whoever feeds it sees to that. What is read holds for the last :meth:`expire`.

    Args:
        length: in ticks.
    """

    __slots__ = ("_entries", "_granule", "length", "requests", "tokens")

    def __init__(self, length: int) -> None:
        self._entries: deque[Entry] = deque()
        self.requests = 0
        self.tokens = 0
        self.apply(length)

    def apply(self, length: int) -> None:
        """Another length from now on. What still counts goes on counting, for the new length from when it was admitted."""
        self.length = length
        self._granule = -(-length // OWN_ENTRIES)

    def __len__(self) -> int:
        """How many entries it holds: its memory."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """The entries, the oldest first."""
        return iter(self._entries)

    def expire(self, now: int) -> None:
        """Lets go of what doesn't count any more at ``now``."""
        entries = self._entries
        until = now - self.length
        while entries and (oldest := entries[0]).stamp <= until:
            entries.popleft()
            self.requests -= oldest.requests
            self.tokens -= oldest.tokens
            oldest.stamp = _GONE

    def add(self, at: int, requests: int, tokens: int) -> Entry:
        """Books an admission at ``at``, whether it fits or not: asking is the caller's part."""
        entries = self._entries
        self.requests += requests
        self.tokens += tokens
        if entries:
            newest = entries[-1]
            # An admission's time is rounded up, so the next one's may lie before it.
            if at <= newest.stamp or (len(entries) >= OWN_ENTRIES and at - newest.first < self._granule):
                if at > newest.stamp:
                    newest.stamp = at
                newest.requests += requests
                newest.tokens += tokens
                return newest
        entry = Entry(at, requests, tokens)
        entries.append(entry)
        return entry

    def give_back(self, entry: Entry, requests: int, tokens: int) -> None:
        """That much of what ``entry`` holds was never admitted. What has left the window is not given back again."""
        if entry.stamp == _GONE:
            return
        entry.requests -= requests
        entry.tokens -= tokens
        self.requests -= requests
        self.tokens -= tokens
        entries = self._entries
        while entries and not (entries[-1].requests or entries[-1].tokens):
            entries.pop()  # refused elsewhere and given back, over and over, leaves nothing behind

    def soonest(self, now: int, kind: Kind, amount: int, limit: int) -> int:
        """When ``amount`` fits under ``limit`` if nobody else comes: a tick, ``now`` where it fits at once.

        More than the limit is read as so many whole limits that pass before it, each a length apart. That is exact for
        single requests behind others, and never too late for larger amounts.
        """
        rounds, rest = divmod(amount - 1, limit) if amount else (0, -1)
        missing = getattr(self, kind) + rest + 1 - limit
        if missing <= 0:
            return now + rounds * self.length
        for entry in self._entries:
            missing -= getattr(entry, kind)
            if missing <= 0:
                return entry.stamp + (rounds + 1) * self.length
        raise AssertionError("what counts is the sum of the entries")

    def empty_at(self, now: int, kind: Kind) -> int:
        """When all of ``kind`` is free again if nobody else comes."""
        if getattr(self, kind):
            for entry in reversed(self._entries):
                if getattr(entry, kind):
                    return entry.stamp + self.length
        return now
