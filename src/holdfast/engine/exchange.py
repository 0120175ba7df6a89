"""One request's life: written down, tried target by target, committed, handed on piece by piece, settled once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast import failpoints
from holdfast.dialects.base import TEXT
from holdfast.engine.asking import Asked, refused_by_all
from holdfast.engine.attempt import Attempt
from holdfast.engine.billing import settle
from holdfast.engine.bounds import Bounds
from holdfast.engine.chain import Chain
from holdfast.engine.records import elapsed_ms, intent_of, label_of, row_of
from holdfast.engine.resume import Replay
from holdfast.engine.treasury import NOTHING, largest
from holdfast.errors import (
    Abandoned,
    BudgetExceeded,
    CantExpress,
    CostBreakerOpen,
    CostUnbounded,
    HoldfastError,
    NoTimeLeft,
    Superseded,
)
from holdfast.ledger.entry import End
from holdfast.money.cost import format_usd
from holdfast.resilience.timeout import Limit, timers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.clock import Clock
    from holdfast.engine.asking import Wording
    from holdfast.engine.call import Call
    from holdfast.engine.chain import Step
    from holdfast.engine.endpoint import Endpoint
    from holdfast.engine.engine import Engine
    from holdfast.engine.policy import Target
    from holdfast.engine.seams import Permit, Ticket
    from holdfast.engine.treasury import Purse
    from holdfast.ledger.entry import AttemptRow, FinalState, Intent
    from holdfast.ledger.idempotency import Answer
    from holdfast.money.account import Account
    from holdfast.money.rules import Amount
    from holdfast.resilience.rate_meter import RateStatus

__all__ = ["DEFAULT_OUTPUT_TOKENS", "KEEPALIVE_S", "Exchange"]

DEFAULT_OUTPUT_TOKENS = 4_096
"""The output limit of a request that names none and that a hard dollar budget limits, where its route names none either."""

KEEPALIVE_S = 15.0
"""Seconds of silence in a committed stream after which a comment goes out, so that proxies don't cut it."""

_TICK_S = 1e-6
"""What is left of a pause that isn't waited for: less than any timer can tell, and than a clock's last digit after years."""


class _NotThere(Exception):
    """An attempt came to nothing before its commit; the chain knows how."""


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
        "_begin_intent",
        "_bounds",
        "_chain",
        "_close_reason",
        "_deadline",
        "_delivered",
        "_early",
        "_engine",
        "_first",
        "_identity",
        "_intent",
        "_limit",
        "_numbers",
        "_open",
        "_purse",
        "_refusals",
        "_resuming",
        "_rows",
        "_settled",
        "_ticket",
        "_written",
        "call",
        "cost_nano",
        "dropped",
        "failure",
        "first_token_at",
        "forwarded",
        "lowered",
        "output_limit",
        "target",
    )

    replayed: Answer | None = None
    """Never: what is told again is no exchange."""
    told_again = False

    def __init__(
        self, engine: Engine, call: Call, begin: Callable[[Intent], Awaitable[None]] | None = None
    ) -> None:
        self.output_limit: int | None = None
        """The output limit that was set here, where the caller named none; None too once who serves took none."""
        limit = call.resolved.policy.max_output_tokens
        if limit is not None and call.envelope.max_output_tokens is None:
            self.output_limit = limit
            call = replace(call, envelope=replace(call.envelope, max_output_tokens=limit))
        self.call = call
        self._limit = self.output_limit
        self.lowered = False
        """The output limit was lowered to what a budget had room for."""
        self.target: Target | None = None
        """Who serves, from the commit on."""
        self.cost_nano: int | None = None
        """Nano-dollars over all attempts, once it is over; None where a price is unknown."""
        self.first_token_at: float | None = None
        self.dropped: tuple[str, ...] = ()
        """Fields that were left out of what the serving target was sent, as the route permits."""
        self.forwarded: tuple[tuple[bytes, bytes], ...] = ()
        """The serving provider's headers that go to a caller of its dialect."""
        self.failure: HoldfastError | None = None
        """What was told in the stream, after the commit."""
        self._engine = engine
        self._begin_intent = engine.ledger.begin if begin is None else begin
        policy = call.resolved.policy
        self._purse = None if engine.treasury is None else engine.treasury.purse(call)
        self._asked = Asked(call.dialect, call.envelope, permitted=policy.drop)
        self._bounds = Bounds(
            call.envelope,
            book=engine.book,
            pricing=engine.pricing,
            started_ns=call.started_ns,
            free=call.dialect.free,
            window=engine.window,
            limitless=engine.limitless(call),
            whole=policy.unbounded == "window",
            overrides=policy.set,
        )
        self._refusals: list[tuple[Target, CantExpress]] = []
        self._deadline = call.deadline
        self._chain = Chain(
            call.resolved.order(engine.rng.random),
            policy,
            deadline=self._deadline,
            random=engine.rng.random,
            window=engine.window,
            may_retry=None if engine.gate is None else engine.gate.may_retry,
        )
        self._attempt: Attempt | None = None
        """The one that serves."""
        self._open: list[Attempt] = []
        """Begun, and not accounted for: several where one is hedged."""
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
    def rate(self) -> RateStatus | None:
        """How the caller's rate limit stands, where it has one."""
        return None if self._ticket is None else self._ticket.rate

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
            Rejected: it was not admitted, a budget has no room for it, or the intent could not be made durable, or not in
                time; nothing was sent.
            ProviderError: the caller's own fault, as the provider said it, or our key was refused.
            TargetsFailed: every target was tried.
        """
        admission = self._engine.admission
        if admission is not None:
            self._ticket = await admission.admit(self.call)
        try:
            if failpoints.armed:
                failpoints.hit("intent.admitted")
            with Limit(timers(), self._deadline):
                bound = await self._set_aside()
        except TimeoutError:
            self._never_was()
            raise _late("to set aside what it may cost") from None
        except BaseException as error:
            self._never_was(error)
            raise
        intent = self._intent = intent_of(self.call, bound, () if self._purse is None else self._purse.parts)
        try:
            if failpoints.armed:
                failpoints.hit("intent.reserved")
            with Limit(timers(), self._deadline):
                await self._begin_intent(intent)
        except HoldfastError:
            self._never_was()
            raise
        except TimeoutError:  # as below
            late = _late("to write down that it began")
            self._accepted = True
            self._engine.observer.accepted(intent)
            self._settle("failed", late, status=late.status)
            raise late from None
        except BaseException:  # cancelled while waiting: it may have been written
            self._accepted = True
            self._engine.observer.accepted(intent)
            self._close()
            raise
        self._accepted = True
        self._engine.observer.accepted(intent)
        if failpoints.armed:
            failpoints.hit("intent.durable")
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

    # Money.

    async def _set_aside(self) -> Amount:
        """What the request may come to, set aside in every budget that it counts in.

        Raises:
            Rejected: there is no room for it, or nobody can tell what it may cost.
        """
        engine, purse, targets = self._engine, self._purse, self.call.resolved.targets
        if purse is None or not await purse.enter():
            return largest([self._bounds.of(target).amount for target in targets], unknown=True)
        hard = purse.hard
        if hard:
            if purse.hard_usd and self.call.envelope.max_output_tokens is None:
                self._limit_output(DEFAULT_OUTPUT_TOKENS)
            self._bounds.look(targets)
        if hard or engine.pricing.action == "refuse":
            self._check_prices(limited=purse.hard_usd)
        try:
            await purse.reserve(
                largest([self._bounds.of(target).amount for target in targets], unknown=not hard)
            )
        except BudgetExceeded:
            await self._set_aside_less(purse)
        return purse.bound

    def _check_prices(self, *, limited: bool) -> None:
        """Raises CostUnbounded where no target's price is known that must be."""
        refusal = None
        for target in self.call.resolved.targets:
            try:
                self._bounds.check_price(target, limited=limited)
            except CostUnbounded as error:
                refusal = refusal or error
            else:
                return
        if refusal is not None:
            raise refusal

    async def _set_aside_less(self, purse: Purse) -> None:
        """The bound by bytes is too much: tokens are counted, and a shorter answer is asked for where the route says so."""
        targets = self.call.resolved.targets
        if self._engine.learner is not None:
            self._engine.learner.awake = True
        for target in targets:
            await self._bounds.count(target, self._asked.neutral)
        try:
            await purse.reserve(
                largest([self._bounds.of(target).amount for target in targets], unknown=False)
            )
        except BudgetExceeded:
            limit = None
            if self.call.resolved.policy.lower_max_tokens:
                limit = self._bounds.affordable(targets, purse.room_nano(), purse.room_tokens())
            if limit is None:
                raise
            self._limit_output(limit)
            self.lowered = True
            await purse.reserve(
                largest([self._bounds.of(target).amount for target in targets], unknown=False)
            )

    async def _cover(self, step: Step, body_bytes: int) -> int:
        """Sets aside what an attempt may cost.

        Raises:
            _NotThere: there is no room for it, or no time, and the chain knows.
        """
        purse = self._purse
        if purse is None:
            return 0
        try:
            with Limit(timers(), self._deadline):
                return await self._covered(purse, step.target, body_bytes)
        except TimeoutError:
            late = _late(f"to ask {step.target}")
            self._chain.turned_away(step, late)
            raise _NotThere from late
        except (BudgetExceeded, CostBreakerOpen) as error:
            # A hedge that nobody can pay isn't sent; any other attempt is the last one.
            self._chain.turned_away(step, error)
            if not purse.running:
                self._chain.fatal = error
            raise _NotThere from error
        except HoldfastError as error:
            self._chain.turned_away(step, error)
            raise _NotThere from error

    async def _covered(self, purse: Purse, target: Target, body_bytes: int) -> int:
        self._bounds.check_price(target, limited=purse.hard_usd)
        now_ns = self._engine.clock.wall_ns()
        try:
            return await purse.cover(self._bounds.of(target, body_bytes, now_ns).amount)
        except BudgetExceeded:
            if not await self._bounds.count(target, self._asked.neutral):
                raise
            return await purse.cover(self._bounds.of(target, body_bytes, now_ns).amount)

    def _limit_output(self, tokens: int) -> None:
        call = self.call
        self.output_limit = self._limit = tokens
        self.call = call = replace(call, envelope=replace(call.envelope, max_output_tokens=tokens))
        self._bounds.envelope = call.envelope
        self._asked = Asked(call.dialect, call.envelope, permitted=call.resolved.policy.drop)

    def _never_was(self, error: BaseException | None = None) -> None:
        """Nothing was written, so there is nothing to end."""
        self._settled = True
        if self._purse is not None:
            self._purse.close(ok=False, told=error)
        if self._ticket is not None:
            self._ticket.settle(None)

    def warnings(self) -> list[Account]:
        """Budgets that the caller is to be warned of now; each once."""
        return [] if self._purse is None else self._purse.warnings()

    # The chain of attempts.

    async def _advance(self, *, resuming: bool = False) -> bytes:
        """Tries the chain's next targets until one commits; returns its first bytes."""
        clock = self._engine.clock
        gate = self._engine.gate
        while (step := self._chain.next(clock.monotonic())) is not None:
            patience_s = None if resuming or gate is None else gate.hedge_after(step.target)
            try:
                if patience_s is None:  # nearly always
                    return await self._try(step, resuming=resuming)
                return await self._hedged(step, patience_s)
            except _NotThere:
                continue
        raise self._verdict()

    async def _hedged(self, step: Step, patience_s: float) -> bytes:
        """One attempt and, each time that there is no content after ``patience_s``, one at the next target beside it.

        The first to commit serves; the others are cut, and what they may have cost is on record.

        Raises:
            _NotThere: all of them came to nothing, and the chain knows.
        """
        clock, hedge = self._engine.clock, step.target.gates.hedge
        left = hedge.max_hedges if hedge is not None else 1
        tasks = running = [asyncio.create_task(self._try(step, resuming=False))]
        next_at = step.at + patience_s
        try:
            while running:
                timeout = max(0.0, next_at - clock.monotonic()) if left else None
                done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                for task in running:  # in the order they began, so that a run replays
                    if task.done() and not isinstance(task.exception(), _NotThere):
                        if task is not tasks[0] and self._engine.gate is not None:
                            self._engine.gate.hedge_won(step.target)
                        return task.result()
                running = [task for task in running if not task.done()]
                # Nobody done: the time is over, whatever the clock's last digit says.
                if running and left and (not done or clock.monotonic() >= next_at):
                    left, next_at = left - 1, next_at + patience_s
                    if (other := self._hedge(step.target)) is not None:
                        tasks = [*tasks, asyncio.create_task(self._try(other, resuming=False))]
                        running = [*running, tasks[-1]]
            raise _NotThere
        finally:
            await self._outrun(tasks)

    def _hedge(self, slow: Target) -> Step | None:
        """One more attempt beside a slow one, if there is a target for it and the hedges' budget has one left."""
        gate, now = self._engine.gate, self._engine.clock.monotonic()
        if gate is None or not self._chain.may_hedge(now) or not gate.may_hedge(slow):
            return None
        return self._chain.hedge(now)

    async def _outrun(self, tasks: list[asyncio.Task[bytes]]) -> None:
        """Ends whoever still runs; what was outrun is accounted for once its connection is gone."""
        running = [task for task in tasks if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for task in tasks:  # looked at, so that nobody misses the failure of one that came to nothing
            if task.done() and not task.cancelled():
                task.exception()
        if self._attempt is not None:
            for attempt in [each for each in self._open if each is not self._attempt]:
                self._over(attempt, Superseded(f"{self._attempt.target} was faster"))

    async def _try(self, step: Step, *, resuming: bool) -> bytes:
        """One attempt, from its wording to its commit; returns its first bytes.

        Raises:
            _NotThere: it came to nothing, and the chain knows.
        """
        engine, chain, clock = self._engine, self._chain, self._engine.clock
        target = step.target
        endpoint = engine.endpoint(target, self.call)
        try:
            wording = self._word(endpoint, target)
        except CantExpress as error:  # said before any wait: nothing is going to be sent
            self._refusals.append((target, error))
            chain.turned_away(step)
            raise _NotThere from error
        while (pause_s := step.at - clock.monotonic()) > _TICK_S:  # noqa: ASYNC110  # uvloop's timers may be 1 ms early
            await asyncio.sleep(pause_s)
        slot = await self._cover(step, len(wording.body))
        try:
            attempt = await self._let_in(step, endpoint, wording, slot, resuming=resuming)
        except BaseException:  # nothing was sent
            if self._purse is not None:
                self._purse.settle(slot, NOTHING)
            raise
        try:
            first = await attempt.start()
            if self.call.resolved.policy.on_break == "buffer" and not attempt.done:
                first = await self._buffer(attempt, first)
        except HoldfastError as error:
            self._over(attempt, error)
            chain.failed(step, error, clock.monotonic())
            raise _NotThere from error
        if self._attempt is not None:  # of a hedged pair the other one was faster, in this very turn
            self._over(attempt, Superseded(f"{self._attempt.target} was faster"))
            raise _NotThere
        if attempt.permit is not None:
            attempt.permit.progressed()
        self._serve(attempt, wording)
        return first

    async def _let_in(
        self, step: Step, endpoint: Endpoint, wording: Wording, slot: int, *, resuming: bool
    ) -> Attempt:
        """Through the gate, and begun.

        Raises:
            _NotThere: it may not, or not any more; the chain knows.
        """
        engine, chain, target = self._engine, self._chain, step.target
        permit = None
        if engine.gate is not None:
            try:
                permit = await engine.gate.enter(target, self.call, first=step.first, deadline=self._deadline)
            except HoldfastError as error:  # refused here: nothing was sent, so there is no attempt to record
                chain.turned_away(step, error)
                raise _NotThere from error
        if engine.clock.monotonic() >= self._deadline:  # the pause, or the wait, was longer than meant
            late = _late(f"to ask {target}")
            if permit is not None:
                permit.leave(late, None)
            chain.turned_away(step, late)
            raise _NotThere from late
        # While this one waited, the other of a hedged pair met the caller's own fault; or the request was settled, and what
        # is sent now would be on no record.
        if chain.fatal is not None or self._settled:
            if permit is not None:
                permit.leave(Superseded("the request is over"), None)
            chain.turned_away(step)
            raise _NotThere
        return self._begin(step, endpoint, wording, permit, slot, resuming=resuming)

    def _serve(self, attempt: Attempt, wording: Wording) -> None:
        """From here on this attempt's answer is the caller's."""
        self._attempt = attempt
        self._written = attempt.guard.written
        self.target = attempt.target
        if attempt.endpoint.limitless:
            self.output_limit = None
        self.dropped = wording.dropped
        self.forwarded = attempt.forwarded
        if failpoints.armed:
            failpoints.hit("send.first")
        if self.first_token_at is None:
            self.first_token_at = attempt.first_token_at

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
            return refused_by_all(self._refusals)
        return self._chain.verdict()

    def _word(self, endpoint: Endpoint, target: Target) -> Wording:
        overrides = self.call.resolved.policy.set
        if target.set:
            overrides = {**overrides, **target.set}
        if self._limit is not None and not endpoint.limitless:
            overrides = {endpoint.max_tokens_field: self._limit, **overrides}
        return self._asked.word(endpoint, target, overrides)

    def _begin(
        self,
        step: Step,
        endpoint: Endpoint,
        wording: Wording,
        permit: Permit | None,
        slot: int,
        *,
        resuming: bool,
    ) -> Attempt:
        engine, call, written = self._engine, self.call, self._written
        self._numbers += 1
        try:
            attempt = Attempt(
                endpoint,
                step,
                call,
                engine.lane(endpoint, call),
                wording.body,
                number=self._numbers,
                transport=engine.transport,
                clock=engine.clock,
                deadline=self._deadline,
                replay=Replay(call.dialect, "".join(written or ())) if resuming else None,
                permit=permit,
                slot=slot,
            )
        except BaseException as error:
            if permit is not None:
                permit.leave(HoldfastError(f"an internal error: {type(error).__name__}"), None)
            raise
        # Each attempt goes on from what the caller has; what it adds counts only once it serves.
        attempt.guard.written = None if written is None else list(written)
        if self._identity is not None:
            attempt.guard.adopt(*self._identity)
        self._open.append(attempt)
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
        if failpoints.armed:
            failpoints.hit("send.piece")
        self._delivered += len(data)
        return data

    def _is_done(self) -> bool:
        return self._attempt is not None and self._attempt.done

    def _complete(self, data: bytes) -> bytes:
        """The answer is whole: settle, and write the ending."""
        attempt = self._attempt
        if attempt is None or self._settled:
            return data
        if failpoints.armed:
            failpoints.hit("send.end")
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
            self._chain.failed(attempt.step, error, self._engine.clock.monotonic(), elsewhere=True)
            self._identity = (attempt.guard.id, attempt.guard.model)
            self._resuming = asyncio.create_task(self._advance(resuming=True))
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
        self.failure = error
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
        if self._settled:
            return
        reason = self._close_reason or Abandoned("the caller left before the answer was complete")
        for attempt in list(self._open):
            self._over(attempt, reason)
        state: FinalState = "cancelled" if isinstance(reason, Abandoned) else "failed"
        self._settle(state, reason, status=reason.status if self.target is None else 200)

    def _over(self, attempt: Attempt, error: HoldfastError | None) -> None:
        """One attempt is over: its connection is let go, its bill is made, its row is kept. Once for each."""
        if attempt not in self._open:
            return
        self._open.remove(attempt)
        if self._attempt is attempt:
            self._attempt = None
        attempt.close()
        engine, call = self._engine, self.call
        guard = attempt.guard
        bill = settle(
            engine.book,
            engine.pricing,
            attempt.target,
            self._bounds.asked(attempt.target),
            usage=None if error is not None and guard.usage_so_far else guard.usage,
            answered_as=guard.model,
            error=error,
            tier=self._bounds.tier(attempt.target),
            sent=attempt.sent,
            status=attempt.status,
            at_ns=attempt.started_ns,
            input_tokens=self._bounds.input_tokens(attempt.target, len(attempt.body)),
            free=call.dialect.free,
            delivered=attempt.delivered if call.resolved.policy.settle_unseen == "delivered" else None,
        )
        row = row_of(attempt, bill, error, engine.clock.monotonic())
        if self._purse is not None:
            self._purse.settle(attempt.slot, bill.amount)
        if (
            engine.learner is not None
            and bill.source == "provider"
            and bill.flag is None
            and guard.usage is not None
        ):
            engine.learner.billed(attempt.target, guard.usage, call.envelope.size, self._asked.neutral)
        if attempt.permit is not None:
            attempt.permit.leave(error, guard.usage if bill.source == "provider" else None)
        self._rows.append(row)
        if failpoints.armed:
            failpoints.hit("settle.attempt")
        if self._intent is not None:
            engine.observer.attempted(self._intent, row)

    def _settle(self, state: FinalState, error: HoldfastError | None, *, status: int) -> None:
        if self._settled or self._intent is None:
            return
        self._settled = True
        engine, call, rows = self._engine, self.call, self._rows
        charges = () if self._purse is None else self._purse.close(ok=state == "ok", told=error)
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
            error_label=label_of(error),
            error=None if error is None else error.message,
            first_token_ms=elapsed_ms(call.started_at, self.first_token_at),
            total_ms=(engine.clock.monotonic() - call.started_at) * 1e3,
            cost_nano=self.cost_nano,
            usage=serving.usage if serving else None,
            attempts=tuple(rows),
            delivered_bytes=self._delivered,
            skipped=(
                *call.resolved.unkeyed,
                *((str(target), error.field or "") for target, error in self._refusals),
            ),
            charges=charges,
        )
        if failpoints.armed:
            failpoints.hit("settle.charged")
        engine.ledger.end(end)
        if failpoints.armed:
            failpoints.hit("settle.queued")
        if self._ticket is not None:
            self._ticket.settle(end)
        engine.observer.ended(self._intent, end)


def _late(what: str) -> NoTimeLeft:
    return NoTimeLeft(f"no time was left {what}")
