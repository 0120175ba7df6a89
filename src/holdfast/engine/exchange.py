"""One request's life: written down, tried target by target, committed, handed on piece by piece, settled once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from holdfast.dialects.base import TEXT
from holdfast.engine.asking import Asked, refused_by_all
from holdfast.engine.attempt import Attempt, Limits
from holdfast.engine.billing import bound, settle
from holdfast.engine.chain import Chain
from holdfast.engine.resume import Replay
from holdfast.errors import Abandoned, CantExpress, HoldfastError, NotSupported, TargetsFailed
from holdfast.ledger.entry import AttemptRow, End, Intent
from holdfast.money.cost import format_usd

if TYPE_CHECKING:
    from holdfast.clock import Clock
    from holdfast.dialects.base import Dialect, Envelope
    from holdfast.engine.asking import Wording
    from holdfast.engine.endpoint import Endpoint
    from holdfast.engine.engine import Engine
    from holdfast.engine.policy import Target
    from holdfast.engine.route import Resolved
    from holdfast.engine.seams import Permit, Ticket
    from holdfast.ledger.entry import FinalState

__all__ = ["KEEPALIVE_S", "Call", "Exchange"]

KEEPALIVE_S = 15.0
"""Seconds of silence in a committed stream after which a comment goes out, so that proxies don't cut it."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a door hands to the engine: who asks for what, and when it came in."""

    id: str
    dialect: Dialect
    envelope: Envelope
    resolved: Resolved
    started_at: float
    """Monotonic seconds: the deadline counts from here."""
    started_ns: int
    key: str = "local"
    session: str | None = None
    tags: dict[str, str] = {}  # msgspec copies an empty mutable default for each instance
    limits: Limits = Limits()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """The caller's own, of its dialect (``Dialect.forwarded``): for targets that speak it."""
    query: str = ""
    """Of the URL, likewise."""


class Exchange:
    """One call and its answer.

    Await :meth:`open`; it returns once there is content (or a whole plain answer) and raises while an honest error
    status can still be sent. Then await :meth:`read` until it returns ``b""``. Call :meth:`close` in every case: it settles
    what is unsettled, once, and cuts what is still open. One task at a time.
    """

    __slots__ = (
        "_accepted",
        "_asked",
        "_attempt",
        "_chain",
        "_close_reason",
        "_deadline",
        "_delivered",
        "_early",
        "_engine",
        "_first",
        "_identity",
        "_intent",
        "_numbers",
        "_permit",
        "_refusals",
        "_resuming",
        "_rows",
        "_settled",
        "_ticket",
        "_written",
        "call",
        "cost_nano",
        "dropped",
        "first_token_at",
        "forwarded",
        "output_limit",
        "target",
    )

    def __init__(self, engine: Engine, call: Call) -> None:
        self.output_limit: int | None = None
        """The output limit that the route set, where the caller named none."""
        limit = call.resolved.policy.max_output_tokens
        if limit is not None and call.envelope.max_output_tokens is None:
            self.output_limit = limit
            call = replace(call, envelope=replace(call.envelope, max_output_tokens=limit))
        self.call = call
        self.target: Target | None = None
        """Who serves, from the commit on."""
        self.cost_nano: int | None = None
        """Nano-dollars over all attempts, once it is over; None where a price is unknown."""
        self.first_token_at: float | None = None
        self.dropped: tuple[str, ...] = ()
        """Fields that were left out of what the serving target was sent, as the route permits."""
        self.forwarded: tuple[tuple[bytes, bytes], ...] = ()
        """The serving provider's headers that go to a caller of its dialect."""
        self._engine = engine
        policy = call.resolved.policy
        self._asked = Asked(call.dialect, call.envelope, permitted=policy.drop)
        self._refusals: list[tuple[Target, CantExpress]] = []
        total_s = policy.total_s if call.limits.total_s is None else min(policy.total_s, call.limits.total_s)
        self._deadline = call.started_at + total_s
        self._chain = Chain(
            call.resolved.order(engine.rng.random),
            policy,
            deadline=self._deadline,
            random=engine.rng.random,
            window=engine.window,
        )
        self._attempt: Attempt | None = None
        self._rows: list[AttemptRow] = []
        self._numbers = 0
        self._first: bytes | None = None
        self._delivered = 0
        self._written: list[str] | None = [] if policy.on_break == "resume" else None
        self._resuming: asyncio.Task[bytes] | None = None
        self._identity: tuple[str | None, str | None] | None = (
            None  # of the stream that a resumption goes on with
        )
        self._ticket: Ticket | None = None
        self._permit: Permit | None = None
        self._settled = False
        self._accepted = False
        self._early = False
        self._intent: Intent | None = None
        self._close_reason: HoldfastError | None = None

    @property
    def attempts(self) -> int:
        """How many attempts were begun."""
        return self._numbers

    @property
    def accepted(self) -> bool:
        """The intent is durable: from here on the request has a record."""
        return self._accepted

    @property
    def over(self) -> bool:
        """Nothing is left to read, and everything is settled."""
        return self._settled and self._first is None

    @property
    def clock(self) -> Clock:
        return self._engine.clock

    @property
    def stopped(self) -> HoldfastError | None:
        """Why it was stopped from outside, if it was."""
        return self._close_reason

    def told_early(self) -> None:
        """A 200 went out before there was content (``keepalive_s``): whatever happens now, that is what the caller got."""
        self._early = True

    def stop(self, reason: HoldfastError) -> None:
        """Says why the task that uses this exchange is about to be cancelled."""
        self._close_reason = reason

    async def open(self) -> None:
        """Writes the intent, then tries the targets until one has content.

        Raises:
            Rejected: it was not admitted, or the intent could not be made durable; nothing was sent.
            ProviderError: the caller's own fault, as the provider said it, or our key was refused.
            TargetsFailed: every target was tried.
        """
        admission = self._engine.admission
        if admission is not None:
            self._ticket = await admission.admit(self.call)
        intent = self._intent = self._write_intent()
        try:
            await self._engine.ledger.begin(intent)
        except HoldfastError:
            self._settled = True  # nothing was written, so there is nothing to end
            if self._ticket is not None:
                self._ticket.settle(None)
            raise
        except BaseException:  # cancelled while waiting: it may have been written
            self._accepted = True
            self._engine.observer.accepted(intent)
            self._close()
            raise
        self._accepted = True
        self._engine.observer.accepted(intent)
        try:
            first = await self._advance()
        except HoldfastError as error:
            self._settle("failed", error, status=error.status)
            raise
        except BaseException as error:
            self._blame(error)
            self._close()
            raise
        self._first = self._complete(first) if self._is_done() else self._count(first)

    async def read(self) -> bytes:
        """The next bytes for the caller; ``b""`` at the end. A break is told in the caller's dialect, and recorded."""
        if self._first is not None:
            first, self._first = self._first, None
            if first:
                return first
        try:
            data = await self._read()
        except BaseException as error:
            self._blame(error)
            raise
        return data

    def close(self) -> None:
        """Settles and cuts what is still open. Idempotent; after a finished read it does nothing."""
        self._close()

    # The chain of attempts.

    async def _advance(self, replay: Replay | None = None) -> bytes:
        """Tries the chain's next targets until one commits; returns its first bytes."""
        clock = self._engine.clock
        delivered = len(self._written or ())
        while True:
            now = clock.monotonic()
            step = self._chain.next(now)
            if step is None:
                raise self._verdict()
            endpoint = self._engine.endpoint(step.target, self.call.dialect.name)
            try:
                wording = self._word(endpoint, step.target)
            except CantExpress as error:  # said before any wait: nothing is going to be sent
                self._refusals.append((step.target, error))
                self._chain.skipped()
                continue
            if step.at > now:
                await asyncio.sleep(step.at - now)
            try:
                if self._engine.gate is not None:
                    self._permit = await self._engine.gate.enter(step.target, deadline=self._deadline)
            except HoldfastError as error:  # refused here: nothing was sent, so there is no attempt to record
                self._chain.failed(error, clock.monotonic())
                continue
            attempt = self._attempt = self._begin(step.target, endpoint, wording.body, replay)
            try:
                first = await attempt.start()
            except HoldfastError as error:
                self._over(attempt, error)
                self._chain.failed(error, clock.monotonic())
                if self._written is not None:
                    del self._written[delivered:]  # what came together with the fault never went out
                if replay is not None:
                    replay = Replay(self.call.dialect, "".join(self._written or ()))
                continue
            if self.call.resolved.policy.on_break == "buffer" and not attempt.done:
                try:
                    first = await self._buffer(attempt, first)
                except HoldfastError as error:
                    self._over(attempt, error)
                    self._chain.failed(error, clock.monotonic())
                    continue
            self.target = step.target
            self.dropped = wording.dropped
            self.forwarded = attempt.forwarded
            if self.first_token_at is None:
                self.first_token_at = attempt.first_token_at
            return first

    async def _buffer(self, attempt: Attempt, first: bytes) -> bytes:
        """``on_break = "buffer"``: the whole answer before anything goes out, so that any target may still serve."""
        engine = self._engine
        parts, size = [first], len(first)
        while not attempt.done:
            data = await attempt.more(KEEPALIVE_S)
            if data:
                parts.append(data)
                size += len(data)
                engine.check_buffer(size)
        return b"".join(parts)

    def _verdict(self) -> HoldfastError:
        """The answer where no attempt is left. What a target could not be asked counts only if none could be."""
        if self._refusals and not self._chain.failures:
            if self.call.dialect.free:
                return NotSupported("no target of this route counts tokens, and the gateway doesn't itself")
            return refused_by_all(self._refusals)
        return self._chain.verdict()

    def _word(self, endpoint: Endpoint, target: Target) -> Wording:
        overrides = self.call.resolved.policy.set
        if target.set:
            overrides = {**overrides, **target.set}
        if self.output_limit is not None:
            overrides = {endpoint.max_tokens_field: self.output_limit, **overrides}
        return self._asked.word(endpoint, target, overrides)

    def _begin(self, target: Target, endpoint: Endpoint, body: bytes, replay: Replay | None) -> Attempt:
        engine, call = self._engine, self.call
        self._numbers += 1
        attempt = Attempt(
            endpoint,
            target,
            call,
            engine.lane(endpoint, call),
            body,
            number=self._numbers,
            transport=engine.transport,
            clock=engine.clock,
            deadline=self._deadline,
            replay=replay,
        )
        attempt.guard.written = self._written
        if self._identity is not None:
            attempt.guard.adopt(*self._identity)
        return attempt

    # After the commit.

    async def _read(self) -> bytes:
        if self._resuming is not None:
            return await self._resumed()
        attempt = self._attempt
        if attempt is None:
            return b""
        try:
            data = await attempt.more(KEEPALIVE_S)
        except HoldfastError as error:
            return await self._broken(attempt, error)
        if data is None:
            return self.call.dialect.comment("keepalive")
        return self._complete(data) if attempt.done else self._count(data)

    def _count(self, data: bytes) -> bytes:
        self._delivered += len(data)
        return data

    def _is_done(self) -> bool:
        return self._attempt is not None and self._attempt.done

    def _complete(self, data: bytes) -> bytes:
        """The answer is whole: settle, and write the ending."""
        attempt = self._attempt
        if attempt is None or self._settled:
            return data
        closing = attempt.closing() if self.call.envelope.stream else b""
        self._delivered += len(data) + len(closing)
        self._over(attempt, None)
        self._settle("ok", None, status=200)
        if not self.call.envelope.stream:
            return data
        end_frame = self.call.dialect.end_frame
        if not end_frame:  # what was held back is the end itself, and nobody reads on after it
            return data + self._last_comment() + closing
        return data + closing + self._last_comment() + end_frame

    async def _broken(self, attempt: Attempt, error: HoldfastError) -> bytes:
        self._over(attempt, error)
        if self._may_resume(attempt):
            self._chain.failed(error, self._engine.clock.monotonic(), elsewhere=True)
            replay = Replay(self.call.dialect, "".join(self._written or ()))
            self._identity = (attempt.guard.id, attempt.guard.model)
            self._resuming = asyncio.create_task(self._advance(replay))
            return await self._resumed()
        return self._fail(error)

    def _may_resume(self, attempt: Attempt) -> bool:
        """Text only, one choice: other content can't be repeated byte for byte.

        Nor can a dialect that is only passed through be gone on with: its events are numbered and name their items.
        """
        call = self.call
        translatable = call.dialect.codec is not None
        return (
            self._written is not None
            and translatable
            and call.envelope.choices == 1
            and attempt.guard.content == TEXT
        )

    async def _resumed(self) -> bytes:
        """What the resumption brings, or a comment while it still repeats what the caller has."""
        task = self._resuming
        if task is None:
            raise RuntimeError("no resumption is under way")
        await asyncio.wait({task}, timeout=KEEPALIVE_S)
        keepalive = self.call.dialect.comment("keepalive")
        if not task.done():
            return keepalive
        self._resuming = None
        try:
            data = task.result()
        except HoldfastError as error:
            return self._fail(error)
        return self._complete(data) if self._is_done() else self._count(data) or keepalive

    def _fail(self, error: HoldfastError) -> bytes:
        """An error event in the caller's dialect, and no end marker."""
        self._settle("failed", error, status=200)
        return self._last_comment() + self.call.dialect.error_frame(error, self.call.id)

    def _last_comment(self) -> bytes:
        """Headers went out long ago: what is known only now goes into a comment, which readers skip."""
        said = f"holdfast request-id={self.call.id} attempts={self._numbers}"
        if self.target is not None:
            said += f" provider={self.target.provider} model={self.target.model}"
        if self.cost_nano is not None:
            said += f" cost-usd={format_usd(self.cost_nano)}"
        return self.call.dialect.comment(said)

    # Settling: exactly once, on every way out.

    def _blame(self, error: BaseException) -> None:
        """A fault of our own is no caller that left."""
        if not isinstance(error, asyncio.CancelledError) and self._close_reason is None:
            self._close_reason = HoldfastError(f"an internal error: {type(error).__name__}")

    def _close(self) -> None:
        resuming, self._resuming = self._resuming, None
        if resuming is not None:
            resuming.cancel()
        attempt, self._attempt = self._attempt, None
        if self._settled:
            return
        reason = self._close_reason or Abandoned("the caller left before the answer was complete")
        if attempt is not None:
            self._over(attempt, reason)
        state: FinalState = "cancelled" if isinstance(reason, Abandoned) else "failed"
        self._settle(state, reason, status=reason.status if self.target is None else 200)

    def _over(self, attempt: Attempt, error: HoldfastError | None) -> None:
        """One attempt is over: its connection is let go, its bill is made, its row is kept. Once for each."""
        self._attempt = None  # whoever leaves while we wait for the next one doesn't end this one again
        attempt.close()
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.leave(error)
        engine, call = self._engine, self.call
        guard = attempt.guard
        bill = settle(
            engine.book,
            attempt.target,
            call.envelope,
            usage=guard.usage,
            answered_as=guard.model,
            error=error,
            sent=attempt.sent,
            status=attempt.status,
            at_ns=attempt.started_ns,
            free=call.dialect.free,
        )
        now = engine.clock.monotonic()
        row = AttemptRow(
            number=attempt.number,
            provider=attempt.target.provider,
            deployment=attempt.target.deployment,
            model=attempt.target.model,
            started_ns=attempt.started_ns,
            outcome="ok" if error is None else error.label,
            status=attempt.status,
            error=None if error is None else error.message,
            retry_after_s=None if error is None else error.retry_after_s,
            first_byte_ms=_ms(attempt.started_at, attempt.first_byte_at),
            first_token_ms=_ms(attempt.started_at, attempt.first_token_at),
            total_ms=(now - attempt.started_at) * 1e3,
            finish_reason=guard.finish_reason,
            usage=guard.usage,
            cost_nano=bill.nano,
            price_id=bill.price_id,
            billed=bill.source,
            upstream_id=attempt.upstream_id,
        )
        self._rows.append(row)
        if self._intent is not None:
            engine.observer.attempted(self._intent, row)

    def _settle(self, state: FinalState, error: HoldfastError | None, *, status: int) -> None:
        if self._settled or self._intent is None:
            return
        self._settled = True
        if self._permit is not None:  # of an attempt that could not even be made
            self._permit.leave(error)
            self._permit = None
        engine, call, rows = self._engine, self.call, self._rows
        costs = [row.cost_nano for row in rows]
        self.cost_nano = None if None in costs else sum(cost for cost in costs if cost is not None)
        serving = rows[-1] if rows and self.target is not None else None
        end = End(
            id=call.id,
            ended_ns=engine.clock.wall_ns(),
            state=state,
            status=200 if self._early else status,
            provider=serving.provider if serving else None,
            model=serving.model if serving else None,
            finish_reason=serving.finish_reason if serving else None,
            error_label=_label(error),
            error=None if error is None else error.message,
            first_token_ms=_ms(call.started_at, self.first_token_at),
            total_ms=(engine.clock.monotonic() - call.started_at) * 1e3,
            cost_nano=self.cost_nano,
            usage=serving.usage if serving else None,
            attempts=tuple(rows),
            delivered_bytes=self._delivered,
            skipped=tuple((str(target), error.field or "") for target, error in self._refusals),
        )
        engine.ledger.end(end)
        if self._ticket is not None:
            self._ticket.settle(end)
        engine.observer.ended(self._intent, end)

    def _write_intent(self) -> Intent:
        engine, call = self._engine, self.call
        amounts: list[int | None] = [0]
        if not call.dialect.free:
            amounts = [
                bound(engine.book, target, call.envelope, at_ns=call.started_ns).nano
                for target in call.resolved.targets
            ]
        return Intent(
            id=call.id,
            started_ns=call.started_ns,
            key=call.key,
            session=call.session,
            tags=call.tags,
            route=call.resolved.route,
            model=call.envelope.model,
            dialect=call.dialect.name,
            stream=call.envelope.stream,
            request_bytes=call.envelope.size,
            bound_nano=None if None in amounts else max(amount for amount in amounts if amount is not None),
        )


def _label(error: HoldfastError | None) -> str | None:
    """A chain that failed the same way everywhere says how; the rows have the rest."""
    if isinstance(error, TargetsFailed):
        labels = {failure.label for _, failure in error.failures}
        return labels.pop() if len(labels) == 1 else error.label
    return None if error is None else error.label


def _ms(start: float, moment: float | None) -> float | None:
    return None if moment is None else (moment - start) * 1e3
