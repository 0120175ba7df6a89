"""Counts of tokens that are made here: where no target of a route counts itself, or none that does can be reached.

A target that counts is asked first, since nobody knows better. What is counted here is sent nowhere and costs nothing, so it
needs no record in the ledger: like a list of models. A target's own count that failed has one, of how it failed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.dialects.count_tokens import CountTokens
from holdfast.errors import (
    HoldfastError,
    InvalidRequest,
    LedgerUnavailable,
    ModelMissing,
    NoPlace,
    OwnKeyRefused,
    RequestRefused,
)
from holdfast.gateway.degraded_header import degraded_header, lost_for
from holdfast.gateway.rate_headers import rate_headers
from holdfast.ledger.entry import End
from holdfast.providers.tokens import count_request, count_request_async
from holdfast.providers.tokens.aside import LARGE

if TYPE_CHECKING:
    from holdfast.engine.call import Call
    from holdfast.engine.engine import Engine
    from holdfast.engine.exchange import Exchange
    from holdfast.engine.idempotency import Visitor
    from holdfast.engine.policy import Target
    from holdfast.providers.tokens import Count

__all__ = ["Tallies", "Tally", "Told"]

_AT_ONCE: Final = 2
"""Large bodies counted at the same time. Each takes a processor for up to a second per megabyte, and one of the threads that
budgets are counted in as well."""
_PATIENCE_S: Final = 5.0
"""Waited for a place at least, also where the targets took all of the request's time."""
_RETRY_S: Final = 1.0

_CALLERS_OWN: Final = (RequestRefused, ModelMissing, OwnKeyRefused, InvalidRequest)
"""What a target that counts says of the question itself: the caller is told that, and no number."""


class Told(msgspec.Struct, frozen=True):
    """A count made here, as its caller gets it."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class Tallies:
    """Counts for one gateway.

    Args:
        engine: knows who counts itself.
        room: for large bodies, where it is shared with others.
    """

    __slots__ = ("engine", "room")

    def __init__(self, engine: Engine, room: asyncio.Semaphore | None = None) -> None:
        self.engine = engine
        self.room = room if room is not None else asyncio.Semaphore(_AT_ONCE)

    def of(self, call: Call) -> Tally | None:
        """How ``call`` is counted; None: it asks for something else than a count."""
        return Tally(self, call, call.dialect) if isinstance(call.dialect, CountTokens) else None


class Tally:
    """One question."""

    __slots__ = ("_call", "_dialect", "_tallies", "_target", "native")

    def __init__(self, tallies: Tallies, call: Call, dialect: CountTokens) -> None:
        self._tallies = tallies
        self._call = call
        self._dialect = dialect
        targets = call.resolved.targets
        native = next(
            (each for each in targets if tallies.engine.endpoint(each, call).dialect.name == dialect.name),
            None,
        )
        self.native = native is not None
        """A target of the route counts itself."""
        self._target = native if native is not None else targets[0]

    async def ask(self, exchange: Exchange | Visitor) -> Told | None:
        """None: a target counted, and the answer is to be read from ``exchange``. Else the count that was made here.

        Raises:
            HoldfastError: it wasn't admitted, or the question is wrong.
        """
        if not self.native:
            return await self._admitted()
        try:
            await exchange.open()
        except HoldfastError as error:
            kept_out = not exchange.accepted and not isinstance(error, LedgerUnavailable)
            if kept_out or isinstance(error, _CALLERS_OWN):
                raise
            try:
                return self._told(await self._count())
            except HoldfastError:
                raise error from None  # the first is the one to mend
        return None

    async def _admitted(self) -> Told:
        """Rate limits hold here too: counting takes the gateway's time, if nobody's money."""
        engine, call = self._tallies.engine, self._call
        if engine.admission is None:
            return self._told(await self._count())
        ticket = await engine.admission.admit(call)
        rate = (
            ()
            if ticket.rate is None
            else (
                *rate_headers(ticket.rate, self._dialect.name, engine.clock.wall_ns()),
                *degraded_header(lost_for(ticket.rate)),
            )
        )
        try:
            told = self._told(await self._count())
        finally:  # it has no attempts, so it gives back every token and keeps its place
            ticket.settle(End(id=call.id, ended_ns=engine.clock.wall_ns(), state="ok"))
        return Told(told.body, (*rate, *told.headers))

    def _told(self, count: Count) -> Told:
        learner = self._tallies.engine.learner
        if learner is not None:
            learner.awake = True
            count = learner.learned.applied(count, self._target.model, self._target.provider)
        headers = [
            (b"x-holdfast-token-count", count.kind.encode()),
            (b"x-holdfast-token-model", str(self._target).encode("latin-1", "replace")),
        ]
        if not count.unseen:  # else nothing bounds it
            headers.append((b"x-holdfast-token-upper-bound", b"%d" % count.upper))
        return Told(self._dialect.write_count(count.tokens), tuple(headers))

    async def _count(self) -> Count:
        """Off the loop if it is large, and no more than a few of those at once."""
        dialect, envelope, target = self._dialect, self._call.envelope, self._target
        if envelope.size < LARGE:
            return await count_request_async(dialect.neutral(envelope), target.model, target.provider)
        await self._enter()
        work = asyncio.ensure_future(asyncio.to_thread(_read_and_count, dialect, self._call, target))
        work.add_done_callback(
            self._leave
        )  # a caller that left leaves its thread at work: its place stays taken
        return await asyncio.shield(work)

    async def _enter(self) -> None:
        left_s = self._call.deadline - self._tallies.engine.clock.monotonic()
        try:
            async with asyncio.timeout(max(_PATIENCE_S, left_s)):
                await self._tallies.room.acquire()
        except TimeoutError:
            raise NoPlace(
                "as many large requests as may be are being counted", retry_after_s=_RETRY_S
            ) from None

    def _leave(self, work: asyncio.Future[Count]) -> None:
        self._tallies.room.release()
        if not work.cancelled():
            work.exception()  # looked at: there may be nobody left to be told


def _read_and_count(dialect: CountTokens, call: Call, target: Target) -> Count:
    return count_request(dialect.neutral(call.envelope), target.model, target.provider)
