"""Breakers that several processes share: what one finds out holds for all, and half-open they send P probes together.

While a breaker is closed nobody asks the store: calls pass as if there were one process. A task of the background tells the
store of openings and closings at once, and looks every quarter of a second what others have told. Only a probe waits for the
store, for its lease; the local breaker's own rules hold as well, so that without the store they are all that holds.

=====================  =============================================================================================
opening, closing       decided here by the local rule, in the next epoch; told at once. Who was slower takes over the
                       first one's word
a probe                takes a local place, then a lease over all processes; both come back on every way out
its success            counts in the store too; with the last one that was missing it is closed for all
its failure            opens it here, in the next epoch, and so for all
a process that died    its leases lapse
the store is lost      for :data:`PATIENCE_S` no probe is sent: most losses are shorter. Then each process goes on alone, so
                       there may be P probes of each
the store is back      everybody tells what it knows and which probes it has out; the newest epoch holds
the store was emptied  likewise, and for :data:`QUIET_MS` no new probe gets a lease, until all have told
=====================  =============================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from holdfast.clock import new_id
from holdfast.resilience.breaker import CircuitState
from holdfast.resilience.outcome import Outcome
from holdfast.stores.base import StoreLost
from holdfast.stores.breaker_state import Answer, Grant, ProbeAsk

if TYPE_CHECKING:
    from holdfast.clock import Clock, Rng
    from holdfast.resilience.breaker import Breaker, BreakerPermit
    from holdfast.stores.base import Spell
    from holdfast.stores.breaker_state import BreakerStore, Circuit, Standing

__all__ = [
    "PATIENCE_S",
    "POLL_S",
    "QUIET_MS",
    "SharedBreaker",
    "SharedBreakers",
    "SharedProbe",
    "SharedView",
]

POLL_S: Final = 0.25
"""How often it is looked what others have told."""
PATIENCE_S: Final = 2.0
"""How long the store may be lost before processes send probes on their own."""
QUIET_MS: Final = 1000
"""How long a store that was emptied grants no probe: four looks of everybody who has some out."""

_LEAST_LEASE_MS: Final = 3000
"""A lease is renewed at each look, and must outlive some that fail."""
_AGAIN_S: Final = 0.1
"""How long a no of the store is believed: so a thousand callers at once are one question."""
_PROBE_RETRY_S: Final = 1.0
"""When to come back while probes are out: they mostly decide within a second."""
_ENDED: Final = 1024
"""Ends of probes that wait to be told; beyond that the oldest is left to its lease's end."""
_KNOWN: Final = 8192
"""Targets of which others' word is kept, asked here or not."""

_log = structlog.get_logger("holdfast.engine")


class SharedView(msgspec.Struct, frozen=True, kw_only=True):
    """What one process knows of a breaker that it shares."""

    epoch: int
    """The number of openings and closings, over all processes."""
    here: bool
    """The last of them was decided here, not by another process."""
    probes: int
    """Out over all processes, when the store was last asked."""
    alone: bool
    """The store is lost: this process goes by what it sees itself."""


class SharedBreakers:
    """All shared breakers of one process. Belongs to its event loop's thread.

    Args:
        store: where the states are shared.
        clock, rng: time, and chance for the probes' ids.
        me: names this process to the others.
    """

    def __init__(self, store: BreakerStore, *, clock: Clock, rng: Rng, me: str) -> None:
        self.store = store
        self.me = me
        self.monotonic = clock.monotonic
        self._clock = clock
        self._rng = rng
        self._breakers: dict[str, SharedBreaker] = {}
        self._busy: dict[str, SharedBreaker] = {}  # who has something to tell, or isn't closed
        self._known: dict[str, Circuit] = {}  # others' word, the oldest first
        self._asking: set[asyncio.Task[Grant]] = set()
        self._offset_ms = 0.0  # from our clock to the store's
        self._born = self._seen = 0
        self._lost_since: float | None = None
        self._faulty = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        store.on_healing(self._restore)

    def __len__(self) -> int:
        """Breakers that are shared now."""
        return len(self._breakers)

    def share(self, target: str, breaker: Breaker) -> SharedBreaker:
        """``breaker`` is shared as ``target``'s from now on, and takes over what others have told of it."""
        known = self._breakers.get(target)
        if known is not None and known.breaker is breaker:
            return known
        shared = self._breakers[target] = SharedBreaker(self, target, breaker)
        if (circuit := self._known.get(target)) is not None:
            shared.learn(circuit)
        return shared

    def forget(self, target: str) -> None:
        """That one is out of use here. Others' word on it is kept."""
        self._breakers.pop(target, None)
        self._busy.pop(target, None)

    def start(self) -> None:
        """Begins to look and to tell, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Tells what is still to be told, if the store is there, and ends."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        if self._asking:
            await asyncio.wait(self._asking)
        with contextlib.suppress(StoreLost):
            await self._tell(self.store)

    # What breakers ask.

    def lost_s(self) -> float:
        """For how long the store has been lost; 0: it is there, or it isn't known yet that it isn't."""
        return 0.0 if self._lost_since is None else self.monotonic() - self._lost_since

    def probe_id(self) -> str:
        return new_id(self._clock, self._rng)

    def ask(self, target: str, ask: ProbeAsk, spell: Spell | None) -> asyncio.Task[Grant]:
        """The question goes to its end even if its caller doesn't: only then is it known what is to be given back."""
        task = asyncio.get_running_loop().create_task(self._ask(target, ask, spell))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    def seconds_until(self, until_ms: int) -> float:
        """From now to a moment of the store's clock."""
        return (until_ms - self._offset_ms) / 1000 - self.monotonic()

    def hear(self, now_ms: int) -> None:
        """The store is there, and its clock says so."""
        self._lost_since = None
        self._offset_ms = now_ms - self.monotonic() * 1000

    def work(self, shared: SharedBreaker, *, now: bool = True) -> None:
        """There is something to tell, or to watch; ``now``: at once."""
        if self._breakers.get(shared.target) is shared:
            self._busy[shared.target] = shared
            if now:
                self._wake.set()

    async def _ask(self, target: str, ask: ProbeAsk, spell: Spell | None) -> Grant:
        try:
            grant = await self.store.probe(target, ask, spell)
        except StoreLost:
            self._lost()
            raise
        self.hear(grant.standing.now_ms)
        return grant

    def _lost(self) -> None:
        if self._lost_since is None:
            self._lost_since = self.monotonic()

    # The background.

    async def _run(self) -> None:
        while True:
            try:
                await self._tell(self.store)
                await self._look()
            except StoreLost:
                self._lost()
                await asyncio.sleep(POLL_S)
                continue
            except Exception:  # noqa: BLE001  # a fault of ours must not end the sharing for good
                if not self._faulty:  # once: whatever it is, it comes again at the next look
                    self._faulty = True
                    _log.exception("breakers_sharing_failed")
                await asyncio.sleep(POLL_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):  # wait_for swallows a cancellation that meets the event
                    await self._wake.wait()

    async def _tell(self, store: BreakerStore) -> None:
        self._wake.clear()
        for target, shared in list(self._busy.items()):
            if await shared.tell(store):
                continue
            self._busy.pop(target, None)

    async def _look(self) -> None:
        more = True
        while more:
            news = await self.store.pull(self._born, self._seen)
            self.hear(news.now_ms)
            emptied = self._born not in (0, news.born) or news.version < self._seen
            self._born, self._seen, more = news.born, news.version, news.more
            if emptied:
                self._known.clear()
            for target, circuit in news.circuits:
                self._keep(target, circuit)
            if emptied:
                _log.warning("breakers_store_emptied")
                self._retell()

    def _keep(self, target: str, circuit: Circuit) -> None:
        self._known.pop(target, None)
        self._known[target] = circuit
        if len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]
        shared = self._breakers.get(target)
        if shared is not None:
            shared.learn(circuit)

    def _retell(self) -> None:
        """The store has forgotten something: what is known here is told again, which changes nothing that is known there."""
        for shared in self._breakers.values():
            if shared.epoch:
                shared.retell()

    async def _restore(self, store: BreakerStore) -> None:
        """Before the store is asked again by anybody here: what was decided and sent without it."""
        for shared in self._busy.values():
            shared.renew()
        await self._tell(store)
        self._lost_since = None  # it has answered: if it goes again at once, that is another loss


class SharedBreaker:
    """One breaker, in the place where a gate asks it."""

    __slots__ = (
        "_adopting",
        "_ended",
        "_full_until",
        "_house",
        "_out",
        "_probes",
        "_renewed",
        "_untold",
        "breaker",
        "by",
        "epoch",
        "target",
    )

    def __init__(self, house: SharedBreakers, target: str, breaker: Breaker) -> None:
        self._house = house
        self.target = target
        self.breaker = breaker
        self.epoch = 0
        """As far as known here: openings and closings over all processes."""
        self.by = ""
        self._adopting = False
        self._untold = False
        self._out: dict[str, int] = {}  # probes' ids and their epochs
        self._ended: dict[str, tuple[int, bool]] = {}  # probes' ids, their epochs and whether they were well
        self._full_until = self._renewed = -math.inf
        self._probes = 0
        breaker.on_change(self._moved)

    def check(self) -> None:
        """As the breaker's: whether a call would be let in, as far as that is known without asking.

        Raises:
            CircuitBreakerOpenError: it wouldn't.
        """
        breaker = self.breaker
        breaker.check()
        if self._house.monotonic() < self._full_until and breaker.state is CircuitState.HALF_OPEN:
            raise breaker.refusal(_PROBE_RETRY_S)

    async def admit(self, spell: Spell | None = None) -> BreakerPermit | SharedProbe:
        """Lets one call in; a closed breaker can be asked itself.

        Half-open that takes a lease of the store, on the request's time. Cancelled, it comes back.

        Raises:
            CircuitBreakerOpenError: not now.
        """
        breaker, house = self.breaker, self._house
        permit = breaker.admit()  # first: so few ask the store, however many come
        if breaker.closed:
            return permit
        if house.monotonic() < self._full_until:
            permit.leave(Outcome.NEUTRAL)
            raise breaker.refusal(_PROBE_RETRY_S)
        probe = SharedProbe(self, permit, house.probe_id(), self.epoch)
        its = breaker.settings
        ask = ProbeAsk(epoch=probe.epoch, id=probe.id, most=its.success_threshold, lease_ms=self._lease_ms)
        asking = house.ask(self.target, ask, spell)
        try:
            grant = await asyncio.shield(asking)
        except StoreLost:
            if not permit.stale and house.lost_s() >= PATIENCE_S:
                return self._let_out(probe)  # alone from here on: what is local has let it through
            probe.leave(Outcome.NEUTRAL)
            raise breaker.refusal(_PROBE_RETRY_S) from None
        except BaseException:  # cancelled: a lease that is granted yet is given back then
            permit.leave(Outcome.NEUTRAL)
            asking.add_done_callback(partial(_unwanted, probe))
            raise
        if grant.answer is Answer.GRANTED and not permit.stale:
            self._probes = grant.standing.probes
            return self._let_out(probe)
        probe.leave(Outcome.NEUTRAL)
        self.heard(grant.standing)
        if grant.answer is Answer.UNKNOWN:
            self.retell()
        elif grant.answer in (Answer.FULL, Answer.RESTING):
            self._full_until = house.monotonic() + _AGAIN_S
        if breaker.state is CircuitState.CLOSED:
            return breaker.admit()
        breaker.check()
        raise breaker.refusal(_PROBE_RETRY_S)

    def view(self) -> SharedView:
        """How it stands."""
        house = self._house
        return SharedView(
            epoch=self.epoch, here=self.by == house.me, probes=self._probes, alone=house.lost_s() > 0
        )

    # What the background calls.

    def learn(self, circuit: Circuit) -> None:
        """What the store knows of it."""
        breaker, remaining_s = self.breaker, self._house.seconds_until(circuit.until_ms)
        was_open = breaker.state is CircuitState.OPEN  # first: time may have moved it on, and so the epoch
        if circuit.epoch < self.epoch:
            self.retell()
            return
        agreed = circuit.epoch == self.epoch and circuit.open is not breaker.closed
        self.epoch, self.by = circuit.epoch, circuit.by
        self._untold = False
        if agreed and not was_open:
            return  # probes may be out, which count
        self._adopting = True
        try:
            breaker.adopt(max(0.0, remaining_s) if circuit.open else None, reopened=circuit.times)
        finally:
            self._adopting = False
        if not breaker.closed:
            self._house.work(self, now=False)

    def heard(self, standing: Standing) -> None:
        """The store's answer."""
        self._house.hear(standing.now_ms)
        self._probes = standing.probes
        if standing.circuit is not None:
            self.learn(standing.circuit)
        elif self.epoch:
            self.retell()

    def retell(self) -> None:
        """The store doesn't know what is known here."""
        self._untold = True
        self.renew()
        self._house.work(self)

    def renew(self) -> None:
        """Which probes are out is told without delay."""
        self._renewed = -math.inf

    async def tell(self, store: BreakerStore) -> bool:
        """Whether there is more to tell, or to watch. Raises StoreLost."""
        state = self.breaker.state  # also brings it up to now: probes that are out for too long open it
        if self._untold:
            await self._put(store, state)
        for id_, (epoch, well) in list(self._ended.items()):
            if well:
                most = self.breaker.settings.success_threshold
                standing = await store.succeed(self.target, epoch=epoch, id=id_, most=most, by=self._house.me)
            else:
                standing = await store.give_back(self.target, epoch=epoch, id=id_)
            self._ended.pop(id_, None)
            self.heard(standing)
        now = self._house.monotonic()
        if self._out and now >= self._renewed + POLL_S / 2:
            ids = [id_ for id_, epoch in self._out.items() if epoch == self.epoch]
            if ids:
                self.heard(await store.renew(self.target, epoch=self.epoch, ids=ids, lease_ms=self._lease_ms))
            self._renewed = now
        return bool(self._untold or self._out or self._ended or not self.breaker.closed)

    async def _put(self, store: BreakerStore, state: CircuitState) -> None:
        epoch, breaker = self.epoch, self.breaker
        open_ms = 0
        if state is CircuitState.OPEN:
            open_ms = max(1, math.ceil(breaker.snapshot().retry_after_s * 1000))
        elif state is CircuitState.HALF_OPEN:  # the store knew nothing: all who have probes out tell it first
            open_ms = QUIET_MS
        standing = await store.put(
            self.target,
            epoch=epoch,
            opens=state is not CircuitState.CLOSED,
            open_ms=open_ms,
            times=breaker.reopened,
            by=self._house.me,
        )
        if epoch == self.epoch:  # else it has moved on meanwhile, and that is to be told as well
            self._untold = False
        self.heard(standing)

    # What probes and the breaker call.

    def over(self, probe: SharedProbe, *, well: bool) -> None:
        """A probe has told what it had to tell: its place is free."""
        self._out.pop(probe.id, None)
        if probe.epoch == self.epoch or well:
            self._ended[probe.id] = probe.epoch, well
            if len(self._ended) > _ENDED:
                del self._ended[next(iter(self._ended))]
            self._house.work(self)

    def _let_out(self, probe: SharedProbe) -> SharedProbe:
        """Only now is its lease renewed: a lease that is renewed needs no place."""
        self._out[probe.id] = probe.epoch
        self._house.work(self, now=False)
        return probe

    def _moved(self, _before: CircuitState, after: CircuitState) -> None:
        if self._adopting:
            return
        if after is CircuitState.HALF_OPEN:
            return
        self.epoch += 1
        self.by = self._house.me
        self.retell()

    @property
    def _lease_ms(self) -> int:
        return max(_LEAST_LEASE_MS, math.ceil(self.breaker.settings.half_open_s * 1000))


class SharedProbe:
    """A probe that was let out, as a breaker's permit."""

    __slots__ = ("_permit", "_shared", "epoch", "id")

    def __init__(self, shared: SharedBreaker, permit: BreakerPermit, id_: str, epoch: int) -> None:
        self._shared: SharedBreaker | None = shared  # None: the store has been told
        self._permit = permit
        self.id = id_
        self.epoch = epoch

    def progressed(self) -> None:
        """The answer has begun: the probe is a success."""
        self._permit.progressed()
        self._over(well=True)

    def leave(self, outcome: Outcome) -> None:
        """The call is over. Only the first one counts."""
        self._permit.leave(outcome)
        self._over(well=outcome is Outcome.SUCCESS)

    def _over(self, *, well: bool) -> None:
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.over(self, well=well)


def _unwanted(probe: SharedProbe, asked: asyncio.Task[Grant]) -> None:
    """The answer to a question whose caller has left. That it failed is known already."""
    if not asked.cancelled():
        asked.exception()
    probe.leave(Outcome.NEUTRAL)
