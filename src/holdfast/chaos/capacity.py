"""A provider's capacity: so many attempts at once, a queue for some more, and a refusal for the rest."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos.limits import Count, Positive

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Capacity", "Places", "Ticket"]


class Capacity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is served at once."""

    concurrent: Positive
    """Attempts that are answered at once; an attempt holds its place to the last byte."""
    queue: Count = 0
    """Attempts that wait for a place, first come, first served; no byte is sent meanwhile."""
    per: Literal["server", "model", "key"] = "server"
    """Whether all share the places, or each model or API key has its own."""
    beyond: Any = "overloaded"
    """The step for attempts that find the queue full: ``"overloaded"`` is Anthropic's 529, ``"429 retry-after=1"`` …"""


class Ticket:
    """One attempt's place, or its turn in the queue."""

    def __init__(self, places: "_Places") -> None:
        self._places = places
        self._go: Callable[[], None] | None = None
        self.running = False

    def wait(self, go: "Callable[[], None]") -> bool:
        """Whether it has its place already; else ``go`` is called once it has."""
        self._go = None if self.running else go
        return self.running

    def leave(self) -> None:
        """The attempt is over, wherever it stood."""
        self._places.leave(self)

    def enter(self) -> None:
        """A place is free."""
        self.running = True
        go, self._go = self._go, None
        if go is not None:
            go()


class _Places:
    """The places of one model, key or server."""

    def __init__(self, of: "Places") -> None:
        self._of = of
        self._running = 0
        self._queue: OrderedDict[Ticket, None] = OrderedDict()
        self._moving = False

    @property
    def idle(self) -> bool:
        return not self._running and not self._queue

    def ask(self, capacity: Capacity) -> Ticket | None:
        """A ticket; None where the queue is full too."""
        ticket = Ticket(self)
        if self._running < capacity.concurrent:
            self._running += 1
            ticket.enter()
        elif len(self._queue) < capacity.queue:
            self._queue[ticket] = None
        else:
            return None
        return ticket

    def leave(self, ticket: Ticket) -> None:
        if ticket.running:
            ticket.running = False
            self._running -= 1
            self.move_up(self._of.capacity)
        else:
            self._queue.pop(ticket, None)

    def move_up(self, capacity: Capacity | None) -> None:
        """Give free places to those who wait."""
        # An answer that is over at once leaves before ``enter`` returns: its place is given on here, not one call deeper.
        if self._moving:
            return
        self._moving = True
        try:
            while self._queue and (capacity is None or self._running < capacity.concurrent):
                ticket, _ = self._queue.popitem(last=False)
                self._running += 1
                ticket.enter()
        finally:
            self._moving = False


class Places:
    """Who is being served and who waits, of all models and keys."""

    def __init__(self) -> None:
        self._by: dict[str, _Places] = {}
        self.capacity: Capacity | None = None
        """What holds now; None: no bound."""

    def set(self, capacity: Capacity | None) -> None:
        """Another capacity: who has a place keeps it, who waits may get one."""
        self.capacity = capacity
        for places in self._by.values():
            places.move_up(capacity)

    def ask(self, model: str, key: str) -> Ticket | None:
        """A ticket for an attempt; None where it is to be refused. Only where there is a capacity."""
        capacity = self.capacity
        assert capacity is not None  # noqa: S101  # nobody asks else
        scope = {"server": "", "model": model, "key": key}[capacity.per]
        places = self._by.get(scope)
        if places is None:
            for gone in [name for name, known in self._by.items() if known.idle]:
                del self._by[gone]
            places = self._by[scope] = _Places(self)
        return places.ask(capacity)
