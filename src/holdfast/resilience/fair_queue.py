"""A queue in which keys take turns, however many items each has in it.

=====================  =============================================================================================
within a key           first in, first out
between keys           rounds. In its turn a key gives out items until their costs reach its allowance. The last one may
                       go beyond it, and what it goes beyond is taken off the key's next allowance
allowance              1 + the largest excess of the round before: everybody can catch up with whoever was ahead
a key without items    doesn't exist. A new one stands last, with an allowance of 1: as if it had been ahead of all
=====================  =============================================================================================

This is deficit round robin (M. Shreedhar and G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin", SIGCOMM 1995),
with the allowance of S. Kanhere, H. Sethu and A. Parekh, "Fair and Efficient Packet Scheduling Using Elastic Round Robin",
2002: the original's fixed quantum has to be as large as the largest cost that will ever come, and one such item would make
all turns long for good. Two keys that both have items all the time are given the same cost, to within three times the
largest cost that was given out. Every operation takes constant time; memory is by the items, not by the keys ever seen.

Who owns the queue bounds its length. A full one is shared as fairly as the turns are by :meth:`FairQueue.displace`, an idea
of P. McKenney's "Stochastic Fairness Queueing", INFOCOM 1990: room is taken from whoever holds the most.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FairQueue"]

T = TypeVar("T")


class _Line(Generic[T]):
    """One key's items, with their costs."""

    __slots__ = ("allowance", "items", "key", "round")

    def __init__(self, key: str, first_round: int) -> None:
        self.key = key
        # An OrderedDict and no dict: that one looks through all that left its front to find its first.
        self.items: OrderedDict[T, int] = OrderedDict()
        self.round = first_round
        """Its next turn is in this round."""
        self.allowance: int | None = None
        """Above 0: what is left of its turn. Else its turn has not begun, and so much was too much in the one before; None:
        it has had none."""


class FairQueue(Generic[T]):
    """Waiting items by key. Items must be hashable, and stand in it once at a time. Iterating gives them as they came."""

    __slots__ = ("_by_length", "_excess", "_lines", "_longest", "_of", "_past_excess", "_round")

    def __init__(self) -> None:
        self._of: OrderedDict[T, _Line[T]] = OrderedDict()
        self._lines: OrderedDict[str, _Line[T]] = OrderedDict()  # whoever's turn it is stands first
        self._by_length: dict[int, OrderedDict[str, _Line[T]]] = {}
        self._longest = 0
        self._round = 0
        self._excess = 0  # the largest in this round so far
        self._past_excess = 0

    def __len__(self) -> int:
        return len(self._of)

    def __contains__(self, item: T) -> bool:
        return item in self._of

    def __iter__(self) -> Iterator[T]:
        return iter(self._of)

    def push(self, item: T, key: str = "", cost: int = 1) -> None:
        """Puts ``item`` behind the others of ``key``.

        Raises:
            ValueError: ``cost`` is below 1, or the item stands in the queue already.
        """
        if cost < 1:
            raise ValueError(f"cost must be a whole number from 1, not {cost!r}")
        if item in self._of:
            raise ValueError(f"this item is in the queue already: {item!r}")
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(key, self._round + 1)
        self._of[item] = line
        line.items[item] = cost
        self._measure(line, len(line.items) - 1)

    def pop(self) -> T:
        """Takes out the item whose turn it is.

        Raises:
            IndexError: the queue is empty.
        """
        if not self._of:
            raise IndexError("the queue is empty")
        line = next(iter(self._lines.values()))
        if line.round > self._round:
            self._round = line.round
            self._past_excess, self._excess = self._excess, 0
        allowance = line.allowance
        if allowance is None:
            allowance = 1  # whoever comes with one large item at a time must not gain by having left
        elif allowance <= 0:
            allowance += 1 + self._past_excess
        item = next(iter(line.items))
        line.allowance = allowance = allowance - line.items[item]
        if allowance <= 0:
            self._excess = max(self._excess, -allowance)  # the others catch up, though this key may leave now
            line.round = self._round + 1
            self._lines.move_to_end(line.key)
        self.remove(item)
        return item

    def remove(self, item: T) -> bool:
        """Takes ``item`` out, wherever it stands. False: it wasn't there."""
        line = self._of.pop(item, None)
        if line is None:
            return False
        del line.items[item]
        self._measure(line, len(line.items) + 1)
        if not line.items:
            del self._lines[line.key]
            if not self._lines:
                self._round = self._excess = self._past_excess = 0
        return True

    def displace(self, key: str) -> T | None:
        """Makes room for one more of ``key``: takes out the newest item of the key that has the most.

        None: ``key`` has the most itself, or would have, and has to stay out.
        """
        mine = self._lines.get(key)
        if self._longest - (len(mine.items) if mine else 0) < 2:  # 1 would only trade places
            return None
        fullest = next(reversed(self._by_length[self._longest].values()))
        item = next(reversed(fullest.items))
        self.remove(item)
        return item

    def _measure(self, line: _Line[T], before: int) -> None:
        """``line`` has one item more or less than ``before``: keeps the lines by their length."""
        after = len(line.items)
        if before:
            peers = self._by_length[before]
            del peers[line.key]
            if not peers:
                del self._by_length[before]
        if after:
            self._by_length.setdefault(after, OrderedDict())[line.key] = line
        if after > self._longest or (before == self._longest and before not in self._by_length):
            self._longest = after
