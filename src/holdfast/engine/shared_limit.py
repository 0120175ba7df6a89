"""One rate limit that others share: the store admits, the own meter follows, and stands in while the store is lost.

The queue is each process' own: whoever is first in it asks the store when the store said that it fits, or sooner, in case
others have given something back. Between processes nobody's turn is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from math import floor
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.resilience.rate_limit import RateLimit, RatePermit
from holdfast.resilience.rate_meter import LimitStatus, RateLimitExceededError, RateStatus
from holdfast.resilience.rate_window import OWN_ENTRIES, in_ticks
from holdfast.resilience.rate_window import TICKS_PER_S as OWN_TICKS_PER_S
from holdfast.resilience.seam import FOREVER
from holdfast.stores.base import StoreLost
from holdfast.stores.rates import TICKS_PER_S, Change, Kept, Want

if TYPE_CHECKING:
    from holdfast.clock import Clock
    from holdfast.engine.shared_rates import SharedRates
    from holdfast.resilience.rate_meter import RateLimitSettings
    from holdfast.resilience.rate_window import Entry, Kind
    from holdfast.stores.base import Spell
    from holdfast.stores.rates import Answer, Stand

__all__ = ["LOOK_AGAIN_S", "SharedLimit", "SharedPermit"]

LOOK_AGAIN_S: Final = 0.25
"""How often the first in a queue asks again: other processes may have given something back."""
_MOST_KEPT: Final = 256
"""Entries of one window that are written back; more are put together, and count from the latest of them."""
_FEWEST: Final = 64
"""Entries of its own that a process has at least before requests share one, however many processes there are."""
_NOWHERE: Final = "."
_ALONE_S: Final = 5.0
"""What a request is told that is larger than this process' part of a limit: by then the store may have healed."""


class SharedPermit(RatePermit):
    """What a request was let in with, here and in the store."""

    __slots__ = ("_generation", "_stored", "_window")

    def __init__(self, limit: SharedLimit, entry: Entry, reserved: int, stored: str) -> None:
        super().__init__(limit, entry, reserved)
        self._window = limit
        self._stored = stored  # the entry's name in the store, as long as nothing was written back
        self._generation = limit.shared.generation

    def settle(self, tokens: int) -> None:
        entry = self._entry
        super().settle(tokens)
        if entry is not None and tokens != self.reserved:
            self._window.settled(self._name(entry), self.reserved - tokens)

    def give_back(self) -> None:
        entry = self._entry
        super().give_back()
        if entry is not None:
            self._window.given_back(self._name(entry), self.reserved)

    def _name(self, entry: Entry) -> str:
        if self._stored and self._generation == self._window.shared.generation:
            return self._stored
        return getattr(
            entry, "mark", _NOWHERE
        )  # not set: it had left the window before it could be written back


class SharedLimit(RateLimit):
    """A limit over all processes.

    Args:
        settings: the numbers that all of them have.
        shared: this process' side of the store.
        window: its name there.
        clock: the loop's.
        name: for messages.
    """

    def __init__(
        self, settings: RateLimitSettings, shared: SharedRates, *, window: str, clock: Clock, name: str = ""
    ) -> None:
        super().__init__(settings, clock=clock, name=name)
        self.shared = shared
        self.window = window
        self._whole = settings
        self._parts = 1  # in how many the own meter's limits are divided
        self._length = _length(settings)
        self._last: tuple[Stand, int, float] | None = (
            None  # the store's last word: what, by its clock, by ours
        )
        self._passes_at = 0.0  # when the first in the queue may pass, by the store's last word
        self._pump: asyncio.Task[None] | None = None
        self._again = asyncio.Event()
        self._names = 0
        self._newest = ""
        self._newest_at = 0
        self._touched = 0
        self.unsure = False
        """The store was asked and nobody heard its answer: it may have admitted somebody."""
        self._written = (0, 0)

    @property
    def settings(self) -> RateLimitSettings:
        """The numbers that hold over all processes."""
        return self._whole

    def apply(self, settings: RateLimitSettings) -> None:
        """Other numbers from now on. What was admitted stays, and is judged by them."""
        self._whole = settings
        self._length = _length(settings)
        self._last = None
        self._parts = 0
        self._judge_alone()
        self.wake()

    async def enter(
        self, *, deadline: float = FOREVER, key: str = "", tokens: int = 0, spell: Spell | None = None
    ) -> RatePermit:
        """Lets one request in, as :meth:`RateLimit.enter`; ``spell``: what the request has waited for the store so far.

        Raises:
            RateLimitExceededError: not now, or not within the time, or never.
            ValueError: ``tokens`` is negative.
        """
        if tokens < 0:
            raise ValueError(f"tokens must be 0 or more, not {tokens!r}")
        if not self.shared.reachable():
            return await super().enter(deadline=deadline, key=key, tokens=tokens)
        if self.never(tokens):
            self.refused += 1
            raise self._too_large(tokens, of=self._whole)
        latest = min(deadline, self._clock.monotonic() + self._whole.max_wait_s)
        crowded = self.waiting >= self._whole.max_queue
        try:
            if self._first is None:
                said = await self.shared.take((self,), tokens, spell)
                if isinstance(said, list):
                    return said[0]
            elif crowded or self._passes_at > latest:
                said = await self.shared.ask_only(self, tokens, spell)
            else:
                return await self._wait(key, tokens, latest)
        except StoreLost:
            if not self.shared.reachable():
                return await super().enter(deadline=deadline, key=key, tokens=tokens)
            return self._enter_alone(tokens)
        error = self.refusal(said, 0, tokens)
        self._passes_at = self._clock.monotonic() + (error.retry_after_s or 0.0)
        if crowded or self._passes_at > latest:
            self.refused += 1
            raise error
        return await self._wait(key, tokens, latest)

    def try_take(self, tokens: int = 0) -> RatePermit | None:
        """While the store is lost: as :meth:`RateLimit.try_take`. Else None: it has to be asked, by :meth:`enter`."""
        if self.shared.reachable():
            return None
        self._judge_alone()
        return super().try_take(tokens)

    def status(self) -> RateStatus:
        """As the store said last; while it is lost, what this process allows."""
        if not self.shared.reachable():
            self._judge_alone()
            alone = super().status()
            return RateStatus(
                _of(self._whole.requests, alone.requests), _of(self._whole.tokens, alone.tokens), alone=True
            )
        if self._last is None:
            return RateStatus(_told(self._whole.requests, 0, 0), _told(self._whole.tokens, 0, 0))
        stand, now, heard_at = self._last
        now += floor((self._clock.monotonic() - heard_at) * TICKS_PER_S)
        return RateStatus(
            _told(self._whole.requests, stand.requests, stand.requests_empty_at - now),
            _told(self._whole.tokens, stand.tokens, stand.tokens_empty_at - now),
        )

    def allowed(self) -> tuple[int | None, int | None]:
        """The requests and the tokens that are allowed now, by the store's last word; None: any number."""
        status = self.status()
        return (
            None if status.requests is None else status.requests.remaining,
            None if status.tokens is None else status.tokens.remaining,
        )

    # What this process' side of the store asks and is told.

    def want(self, tokens: int) -> Want:
        """What one request wants of the store's window: the first, before whom nobody waits."""
        whole = self._whole
        return Want(
            self.window,
            self._length,
            whole.requests,
            whole.tokens,
            1,
            tokens,
            self._entry_name(),
        )

    def hear(self, now: int, stand: Stand) -> None:
        """How the store's window stands."""
        self._last = stand, now, self._clock.monotonic()

    def admit(self, want: Want) -> SharedPermit:
        """The store has let one in."""
        self.admitted += 1
        return SharedPermit(self, self._meter.note(want.tokens), want.tokens, want.entry)

    def never(self, tokens: int) -> bool:
        """Whether a request is larger than the whole limit."""
        return self._whole.tokens is not None and tokens > self._whole.tokens

    def refusal(self, answer: Answer, place: int, tokens: int) -> RateLimitExceededError:
        """What the store's no means for a request; ``place``: which of its windows this is."""
        stand = answer.stands[place]
        asks: list[tuple[int, Kind, int]] = []
        if self._whole.requests is not None:
            asks.append((stand.requests_pass_at, "requests", self._whole.requests))
        if self._whole.tokens is not None:
            asks.append((stand.tokens_pass_at, "tokens", self._whole.tokens))
        moment, kind, limit = max(asks)
        asked = 1 if kind == "requests" else tokens
        return self._exceeded(kind, limit, asked, max(0, moment - answer.now) / TICKS_PER_S)

    @property
    def unused(self) -> bool:
        """Nothing of this process' own counts, nor can the store think so."""
        return self._meter.idle and not self.unsure

    @property
    def moved(self) -> bool:
        """Something has changed since it was last written back."""
        return self._written != (self.admitted, self._touched)

    def look_behind(self, tokens: int) -> Want:
        """When a request passes behind all who wait."""
        asked, ahead = self.waiting + 1, self._waiting_tokens + tokens
        return self.want(0)._replace(requests=0, requests_ahead=asked, tokens_ahead=ahead)

    def known(self) -> tuple[str, int, str, list[Kept]]:
        """All that this process has admitted and that counts, to be written back. Its entries are named for that."""
        self._written = self.admitted, self._touched
        self.unsure = False
        self._meter.free()  # brings the window up to now
        entries = list(self._window)
        now = floor(self._clock.monotonic() * OWN_TICKS_PER_S)
        size = -(-len(entries) // _MOST_KEPT) or 1
        kept = []
        for start in range(0, len(entries), size):
            some = entries[start : start + size]
            mark = self._new_name()
            for entry in some:
                entry.mark = mark
            age = max(0, now - some[-1].stamp) * TICKS_PER_S // OWN_TICKS_PER_S
            kept.append(
                Kept(mark, age, sum(entry.requests for entry in some), sum(entry.tokens for entry in some))
            )
        return self.window, self._length, self.shared.owner, kept

    def settled(self, entry: str, unused: int) -> None:
        """A request has used less than it reserved, or more."""
        self._touched += 1
        if unused >= 0:
            self.shared.amend(Change(self.window, self._length, entry, 0, unused))
        else:
            more = self._new_name()
            self.shared.amend(Change(self.window, self._length, entry, 0, 0, more, 0, -unused))

    def given_back(self, entry: str, tokens: int) -> None:
        """A request was never sent."""
        self._touched += 1
        self.shared.amend(Change(self.window, self._length, entry, 1, tokens))

    def wake(self) -> None:
        """The store is up, or lost, or something has been given back: whoever waits is looked at."""
        if self._first is not None or len(self._queue):
            self._serve()

    # The queue.

    def _serve(self) -> None:
        self._again.set()
        if not self.shared.reachable():
            self._judge_alone()
            super()._serve()
            return
        self._silence()
        if self._pump is None and self._next() is not None:
            self._pump = asyncio.get_running_loop().create_task(
                self._ask_for_first(), name=f"rate {self.name}"
            )
            self._pump.add_done_callback(self._pumped)

    def _pumped(self, task: asyncio.Task[None]) -> None:
        self._pump = None
        if not task.cancelled():
            if (error := task.exception()) is not None:
                said = {"message": f"the queue of rate limit {self.name!r} broke", "exception": error}
                task.get_loop().call_exception_handler(said)
            self.wake()  # whoever came while it ended, or is left to this process alone

    async def _ask_for_first(self) -> None:
        """Asks the store for whoever is first, for as long as somebody waits and the store is there."""
        while self.shared.reachable() and (first := self._next()) is not None:
            if first.future.done():  # cancelled, and its task has not run since
                self._dismiss(first)
                continue
            self._again.clear()
            wait_s = LOOK_AGAIN_S
            try:
                said = await self.shared.take((self,), first.tokens)
            except StoreLost:
                if not self.shared.reachable():
                    break
                said = None  # for once: it comes again
            if isinstance(said, list):
                (permit,) = said
                if first.waits and not first.future.done():
                    self._dismiss(first)
                    first.future.set_result(permit)
                else:  # it has left meanwhile
                    permit.give_back()
                continue
            if said is not None:
                error = self.refusal(said, 0, first.tokens)
                wait_s = error.retry_after_s or 0.0
                self._passes_at = self._clock.monotonic() + wait_s
                if self._passes_at > first.latest and first.waits and not first.future.done():
                    self._dismiss(first)
                    self.refused += 1
                    first.future.set_exception(error)
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, LOOK_AGAIN_S)):
                    await self._again.wait()
        self._passes_at = 0.0

    def _refusal(self, tokens: int) -> RateLimitExceededError:
        """What somebody is told whom the store wasn't asked for just now."""
        if not self.shared.reachable():
            self._judge_alone()
            if self._meter.too_large(tokens) and not self.never(tokens):
                return self._too_large(tokens, of=self._meter.settings, retry_after_s=_ALONE_S)
            return super()._refusal(tokens)
        if self.never(tokens):
            return self._too_large(tokens, of=self._whole)
        wait_s = max(0.0, self._passes_at - self._clock.monotonic())
        requests = self._whole.requests
        kind: Kind = "tokens" if requests is None else "requests"
        limit = requests or self._whole.tokens or 0
        asked = tokens if requests is None else 1
        return self._exceeded(kind, limit, asked, wait_s)

    def _too_large(
        self, tokens: int, *, of: RateLimitSettings, retry_after_s: float | None = None
    ) -> RateLimitExceededError:
        return self._exceeded("tokens", of.tokens or 0, tokens, retry_after_s)

    def _exceeded(
        self, kind: Kind, limit: int, asked: int, retry_after_s: float | None
    ) -> RateLimitExceededError:
        return RateLimitExceededError(
            self.name,
            kind=kind,
            limit=limit,
            window_s=self._whole.window_s,
            asked=asked,
            retry_after_s=retry_after_s,
        )

    # Alone.

    def _judge_alone(self) -> None:
        """The own meter goes by this process' part of the limit."""
        parts = self.shared.replicas
        if parts != self._parts:
            self._parts = parts
            whole = self._whole
            self._meter.apply(
                msgspec.structs.replace(
                    whole,
                    requests=None if whole.requests is None else max(1, whole.requests // parts),
                    tokens=None if whole.tokens is None else max(1, whole.tokens // parts),
                )
            )

    def _enter_alone(self, tokens: int) -> RatePermit:
        """The store is up but doesn't answer this request in its time: this process decides, and tells it."""
        self._judge_alone()
        permit = super().try_take(tokens)
        if permit is None:
            self.refused += 1
            raise super()._refusal(tokens)
        return permit

    def _permit(self, entry: Entry, tokens: int) -> RatePermit:
        """Of one whom this process has let in by itself."""
        stored = ""
        if self.shared.reachable():
            stored = self._new_name()
            self.shared.amend(Change(self.window, self._length, _NOWHERE, 0, 0, stored, 1, tokens))
        return SharedPermit(self, entry, tokens, stored)

    # Names of entries in the store.

    def _entry_name(self) -> str:
        """A new one for each request, until there are so many that those close together share one."""
        own = max(_FEWEST, OWN_ENTRIES // self.shared.replicas)
        now = floor(self._clock.monotonic() * OWN_TICKS_PER_S)
        if (
            not self._newest
            or len(self._window) < own
            or (now - self._newest_at) * own >= self._window.length
        ):
            self._newest_at = now
            self._newest = self._new_name()
        return self._newest

    def _new_name(self) -> str:
        self._names += 1
        return f"{self.shared.owner}{self._names}"


def _length(settings: RateLimitSettings) -> int:
    """In the store's ticks, rounded up."""
    return -(-in_ticks(settings.window_s) * TICKS_PER_S // OWN_TICKS_PER_S)


def _of(whole: int | None, alone: LimitStatus | None) -> LimitStatus | None:
    return None if whole is None or alone is None else LimitStatus(whole, alone.remaining, alone.reset_s)


def _told(limit: int | None, counted: int, empty_in: int) -> LimitStatus | None:
    """``empty_in``: ticks of the store's until all of it is free; if that is over, it is."""
    if limit is None:
        return None
    if empty_in <= 0:
        return LimitStatus(limit, limit, 0.0)
    return LimitStatus(limit, max(0, limit - counted), empty_in / TICKS_PER_S)
