"""One run for each idempotency key, however many callers ask for it, and its answer for as long as it is kept.

The first caller's request becomes a :class:`Run`: a task of its own, which nobody who leaves can cancel. Every caller, the
first one too, is a :class:`Visitor` that reads the run's answer from its beginning; the door treats it like an
:class:`~holdfast.engine.exchange.Exchange`. What the store says of a key is :mod:`holdfast.ledger.idempotency`'s.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import msgspec

from holdfast import failpoints
from holdfast.errors import (
    CantExpress,
    HoldfastError,
    IdempotencyConflict,
    IdempotencyRunning,
    LedgerUnavailable,
    ModelMissing,
    NotReplayable,
    Rejected,
    RequestRefused,
)
from holdfast.ledger.idempotency import (
    LARGEST_ANSWER,
    Answer,
    Claim,
    Claimed,
    Conflict,
    Done,
    Running,
    Standing,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.clock import Clock
    from holdfast.engine.call import Call
    from holdfast.engine.engine import Engine
    from holdfast.engine.exchange import Exchange
    from holdfast.engine.policy import Target
    from holdfast.ledger.entry import Intent
    from holdfast.ledger.idempotency import IdempotencyStore
    from holdfast.money.account import Account
    from holdfast.resilience.rate_meter import RateStatus

__all__ = ["Counted", "Keyed", "Runs", "Visitor"]

_LAG: Final = 2**20
"""Bytes that the slowest reader of an answer too large to be kept may be behind before the provider is paused."""
_BUSY_RETRY_S: Final = 1.0
_ELSEWHERE_S: Final = 50.0
"""For so long its callers wait for a run of another process: less than the minute after which many a proxy gives up."""
_FIRST_LOOK_S: Final = 0.1
_LONGEST_LOOK_S: Final = 1.0
"""Pauses between looks at the store meanwhile; each grows by half."""

_DEFINITE: Final = (RequestRefused, ModelMissing, CantExpress)
"""Failures that would come again: they are kept as answers are. All others are transient: the key may run again."""


class Keyed(msgspec.Struct, frozen=True, kw_only=True):
    """A request that carries an idempotency key."""

    call: Call
    key: str
    parts: tuple[bytes, ...]
    """What makes it this request and no other: method, path, body."""
    headers: Callable[[Exchange], list[tuple[bytes, bytes]]]
    """What the answer's head says of how it came about, once there is content."""
    failure: Callable[[HoldfastError], Answer]
    """A failure as its caller is told it."""
    engine: Engine | None = None
    """Of the configuration that it began with; None: whose runs they are."""


class Counted(Protocol):
    """Told what becomes of keyed requests: ``ran``, ``joined``, ``replayed``, or the label of a refusal."""

    def keyed(self, result: str) -> None: ...


Taken: TypeAlias = Standing | Conflict


class _Taken(Rejected):
    """The claim was not made: something stands under the key."""

    def __init__(self, verdict: Taken) -> None:
        super().__init__("the key is taken")
        self.verdict = verdict


class Runs:
    """All runs of this process.

    Args:
        engine: runs them, unless they bring one.
        store: keeps keys and answers.
        counted: told what becomes of each keyed request.
        shared: other processes claim keys in ``store`` too. Their runs are waited for, and replayed when they are over; this
        process can't read along.
    """

    def __init__(
        self,
        engine: Engine,
        store: IdempotencyStore,
        *,
        counted: Counted | None = None,
        shared: bool = False,
    ) -> None:
        self.engine = engine
        self.store = store
        self.counted = counted
        self.shared = shared
        self._live: dict[tuple[str, str], Run] = {}

    @property
    def running(self) -> int:
        """Runs that aren't over."""
        return len(self._live)

    def visit(self, keyed: Keyed) -> Visitor:
        """A caller of this key: of the run that is under way, or of a new one.

        Raises:
            InvalidIdempotencyKeyError: the key is none.
            IdempotencyConflict: another request runs under this key.
            IdempotencyRunning: it runs, and as many as may wait for it do.
            NotReplayable: it runs, and its answer is too large to be read from its beginning any more.
        """
        place = (keyed.call.key, keyed.key)
        policy = keyed.call.resolved.policy.idempotency
        claim = Claim(
            tenant=keyed.call.key,
            key=keyed.key,
            fingerprint=self.store.fingerprint(*keyed.parts),
            run_id=keyed.call.id,
            ttl_s=policy.ttl_s,
        )
        run = self._live.get(place)
        if run is None or run.in_vain:
            run = self._live[place] = Run(self, keyed, claim, after=run)
            run.task.add_done_callback(partial(self._over, place, run))
            return Visitor(run, keyed.call, starter=True)
        try:
            run.check_joiner(claim, policy.max_joined)
        except Rejected as error:
            self.count(error.label)
            raise
        self.count("replayed" if run.ended else "joined")
        return Visitor(run, keyed.call, starter=False)

    def _over(self, place: tuple[str, str], run: Run, _task: asyncio.Task[None]) -> None:
        if self._live.get(place) is run:
            del self._live[place]

    def count(self, result: str) -> None:
        if self.counted is not None:
            self.counted.keyed(result)

    def stop(self, reason: HoldfastError) -> None:
        """Ends what still runs, which is told to who waits."""
        for run in self._live.values():
            run.stop(reason)

    async def aclose(self, reason: HoldfastError) -> None:
        """:meth:`stop`, and waits until all keys are settled."""
        self.stop(reason)
        if self._live:
            await asyncio.wait([run.task for run in self._live.values()])


class Run:
    """One run and its answer. It is over when the store knows how it ended.

    Args:
        after: an earlier run of the key, which came to nothing; the key is free when that is over.
    """

    def __init__(self, runs: Runs, keyed: Keyed, claim: Claim, *, after: Run | None = None) -> None:
        self._runs = runs
        self._after = after
        self._keyed = keyed
        self.claim = claim
        self._claimed = False
        self.exchange = (keyed.engine or runs.engine).exchange(keyed.call, begin=self._begin)
        self.opened: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        """An answer: it was run before, and this is a replay. Failed: nobody gets anything else."""
        self.opened.add_done_callback(_look)
        self.visitors: set[Visitor] = set()
        self._parts: list[bytes] = []
        self._first = 0
        """The number of the first part that is still here."""
        self._size = 0
        self.ended = False
        self._transient = False
        self.cut: HoldfastError | None = None
        """Why the answer ends where it ends, if that isn't its end."""
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._stop: HoldfastError | None = None
        self.task = asyncio.create_task(self._live())

    @property
    def in_vain(self) -> bool:
        """It ended in a transient failure: who comes now isn't told that, but may run it again."""
        return self.ended and self._transient

    @property
    def length(self) -> int:
        """How many parts have come."""
        return self._first + len(self._parts)

    @property
    def too_large(self) -> bool:
        """The answer can't be kept."""
        return self._size > LARGEST_ANSWER

    def check_joiner(self, claim: Claim, most: int) -> None:
        """Raises Rejected where no other caller may read this run's answer."""
        key = claim.key
        if claim.fingerprint != self.claim.fingerprint:
            raise IdempotencyConflict(
                f"idempotency key {key}: it was used for another request: use a new key for this one"
            )
        if self.too_large:
            raise NotReplayable(f"idempotency key {key}: its run's answer is too large to be kept")
        if len(self.visitors) >= most:
            raise IdempotencyRunning(
                f"idempotency key {key}: it runs, and {most} callers wait for it", retry_after_s=_BUSY_RETRY_S
            )

    def stop(self, reason: HoldfastError) -> None:
        """Ends it from outside."""
        if not self.task.done() and self._stop is None:
            self._stop = reason
            self.exchange.stop(reason)
            self.task.cancel()

    async def part(self, number: int) -> bytes | None:
        """The answer's part of that number, once it is there; None: there are no more."""
        while number >= self.length:
            if self.ended:
                return None
            await self._more.wait()
        return self._parts[number - self._first]

    def moved(self) -> None:
        """A visitor has read on, or left."""
        self._room.set()

    # The task.

    async def _live(self) -> None:
        try:
            await self._run()
        except asyncio.CancelledError:
            reason = self._stop
            if reason is None:
                raise
            await self._fail(reason)
        except HoldfastError as error:
            await self._fail(error)
        except Exception as error:
            await self._fail(HoldfastError(f"an internal error: {type(error).__name__}"))
            raise
        finally:
            self.exchange.close()
            self._end()
            self.opened.cancel()

    async def _run(self) -> None:
        store, claim, clock = self._runs.store, self.claim, self._runs.engine.clock
        after, self._after = self._after, None
        if after is not None:
            await asyncio.wait([after.task])
        if await store.get(claim.tenant, claim.key, now_ns=clock.wall_ns()) is not None:
            # Before anything is taken from a rate limit: replays are free. What stands there decides.
            verdict = await store.claim(claim, now_ns=clock.wall_ns())
            there = None if isinstance(verdict, Claimed) else await self._awaited(verdict, again=True)
            if there is not None:
                self._answer(there)
                return
            self._claimed = True
        try:
            await self.exchange.open()
        except _Taken as taken:
            self._answer(await self._awaited(taken.verdict, again=False) or taken.verdict)
            return
        headers = tuple(self._keyed.headers(self.exchange))
        self.opened.set_result(None)
        kept: list[bytes] = []
        while not self.exchange.over:
            data = await self.exchange.read()
            if data:
                self._add(data, kept)
                await self._wait_for_readers()
        self._transient = self.exchange.failure is not None  # told in the stream, after its commit
        self._end()
        if failpoints.armed:
            failpoints.hit("idempotency.failed" if self._transient else "idempotency.answered")
        with suppress(
            LedgerUnavailable
        ):  # the store does it as soon as it can; after a crash it is "unknown"
            if self._transient:
                await store.forget(claim, now_ns=clock.wall_ns())
                if failpoints.armed:
                    failpoints.hit("idempotency.forgotten")
            elif self.too_large:
                await store.seal(claim, now_ns=clock.wall_ns())
            else:
                answer = Answer(status=200, headers=headers, body=b"".join(kept))
                await store.finish(claim, answer, now_ns=clock.wall_ns())
                if failpoints.armed:
                    failpoints.hit("idempotency.kept")

    async def _begin(self, intent: Intent) -> None:
        """The claim and the ledger's intent, in one transaction."""
        engine = self._runs.engine
        if self._claimed:
            await engine.ledger.begin(intent)
            return
        verdict = await self._runs.store.claim(self.claim, now_ns=engine.clock.wall_ns(), intent=intent)
        if not isinstance(verdict, Claimed):
            raise _Taken(verdict)
        self._claimed = True
        if failpoints.armed:
            failpoints.hit("idempotency.claimed")
        self._runs.count("ran")

    async def _awaited(self, there: Taken, *, again: bool) -> Taken | None:
        """What stands under the key when another process' run is over; None: the key is this run's now.

        Args:
            there: what stands there before. again: claim it, where the other run leaves the key free; else that run is what
            is told of, and its caller comes back.
        """
        store, claim, clock = self._runs.store, self.claim, self._runs.engine.clock
        until, pause_s = clock.monotonic() + _ELSEWHERE_S, _FIRST_LOOK_S
        while self._runs.shared and isinstance(there, Running) and clock.monotonic() + pause_s <= until:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_LOOK_S)
            standing = await store.get(claim.tenant, claim.key, now_ns=clock.wall_ns())
            if standing is not None and standing.run_id == there.run_id:
                there = standing
            elif not again:
                break
            else:
                verdict = await store.claim(claim, now_ns=clock.wall_ns())
                if isinstance(verdict, Claimed):
                    return None
                there = verdict
        return there

    def _answer(self, verdict: Taken) -> None:
        """Something stands under the key: tell everybody."""
        if isinstance(verdict, Done):
            self._runs.count("replayed")
            self.opened.set_result(verdict.answer)
            return
        error = refusal(verdict, self.claim.key)
        self._runs.count(error.label)
        self.opened.set_exception(error)

    async def _fail(self, error: HoldfastError) -> None:
        """It came to nothing. A definite failure is an answer; after any other the key may run again."""
        self.exchange.close()
        store, claim, clock = self._runs.store, self.claim, self._runs.engine.clock
        before = not self.opened.done()
        if before:
            self.opened.set_exception(error)
        elif not self.ended:
            self.cut = error
        self._transient = not (before and isinstance(error, _DEFINITE))
        self._end()
        if not self._claimed:
            return
        if failpoints.armed:
            failpoints.hit("idempotency.failed")
        with suppress(LedgerUnavailable):  # as above
            if self._transient:
                await store.forget(claim, now_ns=clock.wall_ns())
                if failpoints.armed:
                    failpoints.hit("idempotency.forgotten")
            else:
                await store.finish(claim, self._keyed.failure(error), now_ns=clock.wall_ns())

    # The answer's parts.

    def _add(self, data: bytes, kept: list[bytes]) -> None:
        self._size += len(data)
        self._parts.append(data)
        if self.too_large:
            kept.clear()
        else:
            kept.append(data)
        self._wake()

    async def _wait_for_readers(self) -> None:
        """An answer that isn't kept is held for those who read it, and pauses the provider for the slowest of them."""
        while self.too_large:
            behind = min((visitor.at for visitor in self.visitors), default=self.length)
            del self._parts[: behind - self._first]
            self._first = behind
            if sum(map(len, self._parts)) <= _LAG:
                return
            self._room.clear()
            await self._room.wait()

    def _end(self) -> None:
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        more, self._more = self._more, asyncio.Event()
        more.set()


class Visitor:
    """One caller of a run: what its door needs of an exchange."""

    def __init__(self, run: Run, call: Call, *, starter: bool) -> None:
        self.call = call
        self.at = 0
        """The number of the part that it reads next."""
        self.replayed: Answer | None = None
        """The kept answer, where it was run before."""
        self.told_again = run.ended
        """The answer was complete before this caller came."""
        self._run = run
        self._starter = starter
        self._stopped: HoldfastError | None = None
        self._read_all = False
        run.visitors.add(self)

    async def open(self) -> None:
        """Returns once there is content. Raises what the run's exchange raises, and the refusals of keys."""
        self.replayed = await asyncio.shield(self._run.opened)
        self.told_again |= self.replayed is not None

    async def read(self) -> bytes:
        """The next bytes; ``b""`` at the end."""
        if self.replayed is not None:
            self._read_all = True
            return self.replayed.body
        data = await self._run.part(self.at)
        if data is None:
            self._read_all = True
            cut = self._run.cut
            return b"" if cut is None else self.call.dialect.error_frame(cut, self.call.id)
        self.at += 1
        self._run.moved()
        return data

    @property
    def over(self) -> bool:
        """Nothing is left to read."""
        run = self._run
        return self._read_all or (run.ended and run.cut is None and self.at >= run.length)

    def close(self) -> None:
        """Leaves. The run goes on."""
        self._run.visitors.discard(self)
        self._run.moved()

    def stop(self, reason: HoldfastError) -> None:
        """Says why the task of this caller is about to be cancelled."""
        self._stopped = reason

    @property
    def stopped(self) -> HoldfastError | None:
        return self._stopped

    def told_early(self) -> None:
        """This caller got a 200 before there was content."""
        if self._starter:
            self._run.exchange.told_early()

    @property
    def accepted(self) -> bool:
        """The run has a record in the ledger."""
        return self._run.exchange.accepted

    @property
    def clock(self) -> Clock:
        return self._run.exchange.clock

    @property
    def attempts(self) -> int:
        return self._run.exchange.attempts

    @property
    def target(self) -> Target | None:
        return self._run.exchange.target

    @property
    def dropped(self) -> tuple[str, ...]:
        return self._run.exchange.dropped

    @property
    def forwarded(self) -> tuple[tuple[bytes, bytes], ...]:
        return self._run.exchange.forwarded

    @property
    def output_limit(self) -> int | None:
        return self._run.exchange.output_limit

    @property
    def lowered(self) -> bool:
        return self._run.exchange.lowered

    def warnings(self) -> list[Account]:
        return self._run.exchange.warnings()

    @property
    def rate(self) -> RateStatus | None:
        return self._run.exchange.rate

    @property
    def cost_nano(self) -> int | None:
        return self._run.exchange.cost_nano


def _look(opened: asyncio.Future[Answer | None]) -> None:
    """A failure that nobody waited for is no forgotten one: it is in the ledger."""
    if not opened.cancelled():
        opened.exception()
