"""What the breakers of several processes share: one small machine for each target, kept where all of them can ask it.

Each process counts its own calls and opens by its own rule (:mod:`holdfast.resilience.breaker`). What it decides is put
here, and here all of them ask before they send a probe. This module is that machine without any I/O; a store in memory runs
it as it is (:mod:`holdfast.stores.memory_breakers`), the one in Redis is its twin in Lua
(:mod:`holdfast.stores.redis_breakers`).

===========  ========================================================================================================
epoch        the number of openings and closings so far. Whoever changes something names the next one: of two who do so
             at the same time the first is obeyed, and the other one takes over what it said
put          opens or closes, if its epoch is newer than the one that is known; else nothing happens
probe        a place for one call in the epoch that the asker knows, once the open time is over. As many are out at once as
             successes are missing, over all who ask: CB2. A place is a lease: one that nobody renews lapses
succeed      the probe was well: its place is free, and with the last success that was missing the breaker closes, for all
give back    the probe has said nothing: its place is free, for whoever asks next
renew        whoever has probes out says so again. That holds where nobody knew of them too: a store that was emptied learns
             what is out, however many those are
===========  ========================================================================================================

What concerns an older epoch than the known one changes nothing (CB3). A probe's failure is a ``put`` of the next epoch.
Times are whole milliseconds by the store's own clock; numbers stay below 2^53.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from holdfast.stores.base import Spell

__all__ = [
    "TABLE",
    "Answer",
    "BreakerStore",
    "Circuit",
    "Event",
    "Grant",
    "Machine",
    "News",
    "ProbeAsk",
    "Standing",
    "State",
]


class State(StrEnum):
    CLOSED = "closed"
    """Calls pass."""
    OPEN = "open"
    """No call passes."""
    HALF_OPEN = "half_open"
    """The open time is over: a few calls pass, and decide."""


class Event(StrEnum):
    OPENED = "opened"
    """A process tells of an opening, in a newer epoch."""
    CLOSED = "closed"
    """A process tells of a closing, in a newer epoch: it closed while it could not ask here."""
    RESTED = "rested"
    """The open time is over."""
    PROVED = "proved"
    """The last success that was missing."""


TABLE: Final[Mapping[State, Mapping[Event, State]]] = {
    State.CLOSED: {Event.OPENED: State.OPEN, Event.CLOSED: State.CLOSED},
    State.OPEN: {Event.OPENED: State.OPEN, Event.CLOSED: State.CLOSED, Event.RESTED: State.HALF_OPEN},
    State.HALF_OPEN: {Event.OPENED: State.OPEN, Event.CLOSED: State.CLOSED, Event.PROVED: State.CLOSED},
}
"""A newer epoch always holds, whatever was known before: the processes that put it have gone through what lies between."""


class Circuit(msgspec.Struct, frozen=True, kw_only=True):
    """How a target's breaker stands for all who share it."""

    epoch: int
    open: bool
    """Or half-open, once its time is over."""
    until_ms: int
    """When its open time is over, by the store's clock; 0: it is closed."""
    times: int
    """How often it has opened since it was closed."""
    successes: int
    """Of probes, in this epoch."""
    by: str
    """Whose word it is: a process's id."""

    def state(self, now_ms: int) -> State:
        if not self.open:
            return State.CLOSED
        return State.OPEN if now_ms < self.until_ms else State.HALF_OPEN


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What every question is answered with."""

    now_ms: int
    """The store's clock."""
    circuit: Circuit | None
    """None: nothing is known of that target."""
    probes: int
    """Out now, as far as anybody has said."""


class Answer(IntEnum):
    """To who asks for a probe's place."""

    GRANTED = 0
    FULL = 1
    """As many are out as may be."""
    RESTING = 2
    """The open time isn't over."""
    MOVED = 3
    """That epoch is over, or closed."""
    UNKNOWN = 4
    """The asker knows more than the store does, which was emptied: tell it, and ask again."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    answer: Answer
    standing: Standing


class ProbeAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants to send a probe."""

    epoch: int
    id: str
    """Of the probe: asked for twice it is one place."""
    most: int
    """Successes that close it, and so the most probes at once."""
    lease_ms: int
    """How long the place is kept if nothing is heard of the asker."""


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed since somebody looked."""

    now_ms: int
    born: int
    """Names this store's memory: another number is another memory, such as after FLUSHALL."""
    version: int
    """Where to go on from."""
    more: bool
    """There is more: ask again."""
    circuits: tuple[tuple[str, Circuit], ...]
    """By target, the oldest change first."""


class BreakerStore(Protocol):
    """Where breakers' states are shared. Every method raises :class:`~holdfast.stores.base.StoreLost`."""

    async def put(
        self, target: str, *, epoch: int, opens: bool, open_ms: int, times: int, by: str
    ) -> Standing:
        """Tells of an opening, for ``open_ms`` from now, or of a closing; ignored unless the epoch is newer."""
        ...

    async def probe(self, target: str, ask: ProbeAsk, spell: Spell | None = None) -> Grant:
        """A place for one probe, or why not. ``spell``: what the request may spend on the store."""
        ...

    async def succeed(self, target: str, *, epoch: int, id: str, most: int, by: str) -> Standing:  # noqa: A002  # a probe's
        """A probe was well. Counts once, and only while its place is held."""
        ...

    async def give_back(self, target: str, *, epoch: int, id: str) -> Standing:  # noqa: A002  # a probe's
        """A probe has said nothing."""
        ...

    async def renew(self, target: str, *, epoch: int, ids: Sequence[str], lease_ms: int) -> Standing:
        """These probes are still out."""
        ...

    def on_healing(self, restore: Callable[[BreakerStore], Awaitable[None]]) -> None:
        """``restore`` is called each time the store was lost and answers again, before it is there for all others."""
        ...

    async def pull(self, born: int, seen: int) -> News:
        """What has changed since the version ``seen`` of the memory ``born``; everything, if it was another memory's."""
        ...


class Machine:
    """One target's. Not thread-safe."""

    __slots__ = ("circuit", "probes")

    def __init__(self) -> None:
        self.circuit: Circuit | None = None
        self.probes: dict[str, int] = {}
        """When each one's lease ends, in milliseconds."""

    def standing(self, now_ms: int) -> Standing:
        self._lapse(now_ms)
        return Standing(now_ms=now_ms, circuit=self.circuit, probes=len(self.probes))

    def put(self, now_ms: int, *, epoch: int, opens: bool, open_ms: int, times: int, by: str) -> bool:
        """Whether it was news."""
        if epoch <= self._epoch:
            return False
        self.circuit = Circuit(
            epoch=epoch,
            open=opens,
            until_ms=now_ms + open_ms if opens else 0,
            times=times if opens else 0,
            successes=0,
            by=by,
        )
        self.probes.clear()  # they belong to an epoch that is over
        return True

    def probe(self, now_ms: int, ask: ProbeAsk) -> Answer:
        circuit = self.circuit
        if circuit is None or circuit.epoch < ask.epoch:
            return Answer.UNKNOWN
        if circuit.epoch > ask.epoch or not circuit.open:
            return Answer.MOVED
        if now_ms < circuit.until_ms:
            return Answer.RESTING
        self._lapse(now_ms)
        if ask.id not in self.probes and len(self.probes) + circuit.successes >= ask.most:
            return Answer.FULL
        self.probes[ask.id] = now_ms + ask.lease_ms
        return Answer.GRANTED

    def succeed(self, now_ms: int, *, epoch: int, id: str, most: int, by: str) -> bool:  # noqa: A002  # a probe's
        """Whether it has closed by it."""
        self._lapse(now_ms)
        circuit = self.circuit
        if circuit is None or circuit.epoch != epoch or self.probes.pop(id, None) is None:
            return False
        successes = circuit.successes + 1
        if successes < most:
            self.circuit = msgspec.structs.replace(circuit, successes=successes)
            return False
        return self.put(now_ms, epoch=epoch + 1, opens=False, open_ms=0, times=0, by=by)

    def give_back(self, *, epoch: int, id: str) -> None:  # noqa: A002  # a probe's
        if self._epoch == epoch:
            self.probes.pop(id, None)

    def renew(self, now_ms: int, *, epoch: int, ids: Sequence[str], lease_ms: int) -> None:
        if self.circuit is not None and self.circuit.epoch == epoch and self.circuit.open:
            self.probes.update(dict.fromkeys(ids, now_ms + lease_ms))

    @property
    def _epoch(self) -> int:
        return 0 if self.circuit is None else self.circuit.epoch

    def _lapse(self, now_ms: int) -> None:
        over = [id_ for id_, ends_ms in self.probes.items() if ends_ms <= now_ms]
        for id_ in over:
            del self.probes[id_]
