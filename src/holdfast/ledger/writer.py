"""One thread that writes, and groups: each transaction takes whatever has come since the last one.

The event loop only appends to a deque. The thread is woken when it sleeps, and wakes all callers of a group
with one ``call_soon_threadsafe``; so the more requests there are, the less one costs.

When a group fails, its intents are refused (nothing was sent yet) and its ends are kept: they are written
with the next intent that comes, or after a pause that grows to a second. Ends are never dropped; instead, new
intents are refused while too many ends wait.

Other parts' statements (:mod:`holdfast.ledger.statement`) ride along. One that carries a payload may be all that a full
disk has no room for, so a group that fails with such ones is tried once more without them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from msgspec import Struct

from holdfast import failpoints
from holdfast.errors import LedgerUnavailable
from holdfast.ledger.base import LedgerHealth
from holdfast.ledger.entry import End, Intent
from holdfast.ledger.recovery import LEASE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.clock import Clock
    from holdfast.ledger.statement import Result, Statement

__all__ = ["GroupFailed", "GroupWriter", "Store", "Written"]

_log = logging.getLogger(__name__)

Waiter: TypeAlias = "asyncio.Future[Any]"

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_PROBE: Final = 32
"""Ends in a group while the store fails: a try must be cheap."""
_MOST_PAYLOAD: Final = 4 * 2**20
"""Bytes of statements' payload after which a group takes no more: everybody in it waits for all of it."""
_SWEEP_S: Final = 0.1
"""Pause between two steps of clearing away."""


class GroupFailed(Exception):
    """Nothing of a group was written. ``ambiguous``: or all of it was, and the answer got lost."""

    def __init__(self, reason: str, *, ambiguous: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ambiguous = ambiguous


class Written(Struct, frozen=True, kw_only=True):
    """What became of a group."""

    refused: dict[int, str]
    """Intents that can't be stored, by their place in the group, and why. The others are durable."""
    late: int
    """Ends whose request had been given up."""
    ignored: int
    """Ends that had nothing to close."""
    results: Sequence[Result] = ()
    """One for each statement, in their order."""


class Store(Protocol):
    """What a database does for the writer. Synchronous, and called by its thread alone."""

    def write(
        self, intents: Sequence[Intent], ends: Sequence[End], statements: Sequence[Statement] = ()
    ) -> Written:
        """The statements first, then the intents, then the ends. Raises :class:`GroupFailed`."""
        ...

    def renew(self) -> bool:
        """Renew the process' lease and clear a little away. Returns whether there is more to clear.
        Raises :class:`GroupFailed`."""
        ...

    def close(self) -> None:
        """Never raises."""
        ...


_CLOSED: Final = "the ledger is closed"
_END_WAITS_S: Final = 0.002
"""How long an end may wait for an intent to share a transaction with. A crash meanwhile leaves it ``unknown``."""


class _Begun(Struct, gc=False):
    intent: Intent
    waiter: Waiter
    since: float


class _Ended(Struct, gc=False):
    end: End
    since: float


class _Asked(Struct, gc=False):
    statement: Statement
    waiter: Waiter | None
    since: float


class _Flush(Struct, gc=False):
    waiter: Waiter
    since: float
    upto: int = 0
    """How many ends must be settled before."""


class _Group(Struct, gc=False):
    begun: list[_Begun] = []
    asked: list[_Asked] = []


class GroupWriter:
    """A ledger on a :class:`Store`.

    Args:
        store: opened; the writer closes it. clock: dates. max_group: intents and ends in one transaction.
        max_queued: ends that may wait; from then on ``begin`` refuses. What is in flight by then still gets
        in. lease_s: the store's lease; renewed three times as often. close_s: how long ``aclose`` tries to
        write what still waits. monotonic: seconds, for pauses and the lease.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        max_group: int = 512,
        max_queued: int = 100_000,
        lease_s: float = LEASE_S,
        close_s: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,  # noqa: TID251  # injected; Clock's is the loop's
    ) -> None:
        self._store = store
        self._clock = clock
        self._max_group = max_group
        self._max_queued = max_queued
        self._renew_s = lease_s / 3
        self._close_s = close_s
        self._monotonic = monotonic

        # Filled by the callers, emptied by the thread. Deque operations are atomic.
        self._inbox: deque[_Begun | _Ended | _Asked | _Flush] = deque()
        self._signal: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._asleep = False
        self._kick_soon = self._kick_pending = False  # the loop's own
        self._closing = False
        self._close_by = float("inf")
        self._refused_early = 0

        # The thread's own; others only read.
        self._waiting: deque[_Ended] = deque()
        self._later: deque[Statement] = deque()
        """Statements for which nobody waits any more. Like ends, they are kept until they are written."""
        self._flushes: deque[_Flush] = deque()
        self._taken = self._settled = 0
        self._intents = self._ends = self._late = self._ignored = self._refused = self._commits = 0
        self._trouble: str | None = None
        self._lost_at: float | None = None
        """Since when it has been in trouble, as far as the log was told."""
        self._pause_s = 0.0
        self._retry_at = 0.0
        self._renew_at = monotonic() + self._renew_s
        self._stopped = threading.Event()
        # A daemon: an interpreter that exits without aclose must not hang on a disk that does. WAL bears it.
        self._thread = threading.Thread(target=self._run, name="holdfast-ledger", daemon=True)
        self._thread.start()

    # On the loop

    async def begin(self, intent: Intent) -> None:
        reason = self._why_not()
        if reason is not None:
            self._refused_early += 1
            raise LedgerUnavailable(reason)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._put(_Begun(intent, waiter, self._monotonic()))
        if failpoints.armed:
            failpoints.hit("intent.queued")
        # Cancelled: the intent is written all the same, so that the end that follows finds it.
        await waiter

    def end(self, end: End) -> None:
        self._inbox.append(_Ended(end, self._monotonic()))
        if self._asleep and self._trouble is None and not self._kick_pending:
            self._kick_in(_END_WAITS_S)

    async def ask(self, statement: Statement) -> Any:
        """Run it in the next group, and return its answer when that is durable. Cancelled: it is run all the same.

        Raises:
            LedgerUnavailable: it wasn't run, or nobody can say.
        """
        reason = self._why_not()
        if reason is not None:
            self._refused_early += statement.intent is not None
            raise LedgerUnavailable(reason)
        return await self.tell(statement)

    async def tell(self, statement: Statement) -> Any:
        """As :meth:`ask`, for what ends something: taken as long as ends are."""
        if self._stopped.is_set():
            raise LedgerUnavailable(_CLOSED)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._put(_Asked(statement, waiter, self._monotonic()))
        if failpoints.armed and statement.intent is not None:
            failpoints.hit("intent.queued")
        return await waiter

    def post(self, statement: Statement) -> None:
        """As :meth:`tell`, without waiting. Never raises."""
        self._inbox.append(_Asked(statement, None, self._monotonic()))
        if self._asleep and self._trouble is None and not self._kick_pending:
            self._kick_in(_END_WAITS_S)

    async def flush(self) -> None:
        if self._stopped.is_set():
            return
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._put(_Flush(waiter, self._monotonic()))
        await waiter

    def health(self) -> LedgerHealth:
        reason = self._why_not() or self._trouble
        now = self._monotonic()
        return LedgerHealth(
            ok=reason is None,
            reason=reason,
            queued=self._queued(),
            oldest_pending_s=max(0.0, now - self._oldest(now)),
            intents=self._intents,
            ends=self._ends,
            late=self._late,
            ignored=self._ignored,
            refused=self._refused + self._refused_early,
            commits=self._commits,
        )

    async def aclose(self) -> None:
        """Ends that can't be written within ``close_s`` are lost to the file: their requests become
        ``unknown`` there."""
        if not self._closing:
            self._close_by = self._monotonic() + self._close_s
            self._closing = True
            self._wake()
        # A disk that hangs in a system call can't be interrupted: leave it to the daemon thread.
        await asyncio.to_thread(self._stopped.wait, self._close_s + 5.0)

    def _why_not(self) -> str | None:
        if self._closing or self._stopped.is_set():
            return _CLOSED
        queued = self._queued()
        if queued >= self._max_queued:
            why = self._trouble or "the disk is too slow"
            return f"{queued} ends wait to be written, so no more requests are taken: {why}"
        return None

    def _queued(self) -> int:
        return len(self._inbox) + len(self._waiting) + len(self._later)

    def _owes(self) -> bool:
        return bool(self._waiting or self._later)

    def _oldest(self, now: float) -> float:
        for line in (self._waiting, self._inbox):
            with contextlib.suppress(IndexError):  # emptied by the thread just now
                return line[0].since
        return now

    def _put(self, item: _Begun | _Asked | _Flush) -> None:
        self._inbox.append(item)
        if self._asleep and not self._kick_soon:
            # Not at once: the thread would fight this one for the interpreter, and others are about to queue theirs.
            self._kick_soon = True
            asyncio.get_running_loop().call_soon(self._kick)
        if self._stopped.is_set():
            self._abandon()

    def _kick_in(self, seconds: float) -> None:
        """Nobody waits for an end: it goes with the next intent, or alone if none comes soon."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # called from outside a loop: there is nothing to wait with
            self._wake()
            return
        self._kick_pending = True
        loop.call_later(seconds, self._kick_late)

    def _kick_late(self) -> None:
        self._kick_pending = False
        if self._asleep and self._trouble is None:
            self._wake()

    def _kick(self) -> None:
        self._kick_soon = False
        if self._asleep:
            self._wake()

    def _wake(self) -> None:
        self._asleep = False
        self._signal.put(None)

    # In the thread

    def _run(self) -> None:
        try:
            while not self._finished():
                self._sleep()
                group = self._take()
                if group.begun or group.asked or (self._owes() and self._may_write()):
                    self._write(group)
                self._tell_log()
                self._release_flushes()
                if self._monotonic() >= self._renew_at:
                    self._renew()
                    self._tell_log()
        finally:
            self._store.close()
            self._stopped.set()
            self._abandon()

    def _finished(self) -> bool:
        if not self._closing:
            return False
        return not (self._inbox or self._owes() or self._flushes) or self._monotonic() >= self._close_by

    def _sleep(self) -> None:
        self._asleep = True
        # Who appended before this flag was up didn't wake us: look once more before sleeping.
        if not self._inbox and not (self._owes() and self._trouble is None):
            until = min(self._renew_at, self._close_by)
            if self._owes():
                until = min(until, self._retry_at)
            with contextlib.suppress(queue.Empty):
                self._signal.get(timeout=max(0.0, until - self._monotonic()))
        self._asleep = False

    def _take(self) -> _Group:
        """The next intents and statements. Ends go to those that wait: behind every intent that was queued before them."""
        group = _Group()
        payload = 0
        inbox = self._inbox
        for _ in range(min(len(inbox), self._max_group)):
            item = inbox.popleft()
            if isinstance(item, _Begun):
                group.begun.append(item)
            elif isinstance(item, _Ended):
                self._waiting.append(item)
                self._taken += 1
            elif isinstance(item, _Asked):
                group.asked.append(item)
                payload += item.statement.size
                if payload >= _MOST_PAYLOAD:
                    break
            else:
                item.upto = self._taken
                self._flushes.append(item)
                self._retry_at = 0.0
        return group

    def _may_write(self) -> bool:
        return self._trouble is None or self._monotonic() >= self._retry_at

    def _write(self, group: _Group) -> None:
        begun, asked = group.begun, group.asked
        while (begun or asked) and len(self._waiting) > self._room(group):
            # First of all what ended before: these may spend what those gave back. Were they durable before those ends,
            # a crash in between would charge both, and pass a budget; or free a key whose run isn't on record.
            self._write(_Group([], []))
            if self._trouble is not None:
                self._give_up(group, self._trouble, ambiguous=False)
                return
        room = self._room(group)
        ends = [waiting.end for waiting in islice(self._waiting, room)]
        intents = [each.intent for each in begun]
        later = list(islice(self._later, room))
        try:
            written = self._store.write(intents, ends, [*later, *(each.statement for each in asked)])
        except GroupFailed as failure:
            self._failed(group, failure.reason, ambiguous=failure.ambiguous)
            return
        except Exception as defect:  # noqa: BLE001  # the thread must outlive any defect: callers wait for it
            self._give_up(group, f"the ledger can't write: {defect!r}", ambiguous=True)
            return
        self._trouble = None
        self._pause_s = 0.0
        for _ in ends:
            self._waiting.popleft()
        for _ in later:
            self._later.popleft()
        results = written.results[len(later) :]
        for each, result in zip(asked, results, strict=True):
            if result.refused is not None:
                self._refused += each.statement.intent is not None
                if each.statement.instead is not None:
                    self._later.append(each.statement.instead)
        self._settled += len(ends)
        self._commits += 1
        self._intents += len(intents) - len(written.refused) + sum(each.begun for each in results)
        self._ends += len(ends) - written.ignored
        self._late += written.late
        self._ignored += written.ignored
        self._refused += len(written.refused)
        told: list[_Told] = [
            (each.waiter, written.refused.get(place), None) for place, each in enumerate(begun)
        ]
        told += [
            (each.waiter, result.refused, result.answer) for each, result in zip(asked, results, strict=True)
        ]
        if failpoints.armed:
            failpoints.hit("group.told")
        _tell(told)

    def _room(self, group: _Group) -> int:
        """How many ends go with a group."""
        return max(self._max_group - len(group.begun), 1) if self._trouble is None else _PROBE

    def _failed(self, group: _Group, reason: str, *, ambiguous: bool) -> None:
        heavy = [each for each in group.asked if each.statement.size]
        if ambiguous or not heavy:
            self._give_up(group, reason, ambiguous=ambiguous)
            return
        self._give_up(_Group([], heavy), reason, ambiguous=False)
        light = [each for each in group.asked if not each.statement.size]
        if group.begun or light:
            self._write(_Group(group.begun, light))

    def _give_up(self, group: _Group, reason: str, *, ambiguous: bool) -> None:
        self._note(reason)
        intents = [each.intent for each in group.begun]
        intents += [each.statement.intent for each in group.asked if each.statement.intent is not None]
        self._refused += len(intents)
        if ambiguous:
            # They may stand in the file after all, and their callers won't end them.
            ended_ns, since = self._clock.wall_ns(), self._monotonic()
            self._waiting.extend(_Ended(_never_sent(intent, ended_ns, reason), since) for intent in intents)
            self._taken += len(intents)
        for each in group.asked:
            statement = each.statement
            owed = statement.undo if ambiguous and statement.undo is not None else statement.instead
            if owed is not None:
                self._later.append(owed)
        waiters = [each.waiter for each in group.begun] + [each.waiter for each in group.asked]
        _tell([(waiter, reason, None) for waiter in waiters])

    def _renew(self) -> None:
        """Also how an idle ledger notices that its disk is gone, or back."""
        try:
            more = self._store.renew()
        except GroupFailed as failure:
            self._note(failure.reason)
            self._renew_at = self._retry_at
        except Exception as defect:  # noqa: BLE001  # as in _write
            self._note(f"the ledger can't renew its lease: {defect!r}")
            self._renew_at = self._retry_at
        else:
            self._trouble = None
            self._renew_at = self._monotonic() + (_SWEEP_S if more else self._renew_s)

    def _note(self, reason: str) -> None:
        self._trouble = reason
        self._pause_s = min(max(self._pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._retry_at = self._monotonic() + self._pause_s

    def _tell_log(self) -> None:
        """Once for each loss and once for its end, however many requests are refused between. Not from where it is noted:
        a group that fails for one heavy statement and succeeds without it is no loss."""
        if (self._trouble is not None) == (self._lost_at is not None):
            return
        now = self._monotonic()
        if self._trouble is not None:
            self._lost_at = now
            _log.warning("ledger_lost: %s", self._trouble)
        elif self._lost_at is not None:
            _log.info(
                "ledger_healed: after %.3f s; %d ends wait to be written", now - self._lost_at, self._queued()
            )
            self._lost_at = None

    def _release_flushes(self) -> None:
        while self._flushes and self._flushes[0].upto <= self._settled:
            _tell([(self._flushes.popleft().waiter, None, None)])

    def _abandon(self) -> None:
        """Nobody waits for ever: what is still queued when the thread has stopped gets its answer."""
        answers: list[_Told] = [
            (flush.waiter, f"the ledger was closed with {len(self._waiting)} ends unwritten", None)
            for flush in self._flushes
        ]
        self._flushes.clear()
        with contextlib.suppress(IndexError):
            while True:
                item = self._inbox.popleft()
                if isinstance(item, _Ended):
                    self._waiting.append(item)
                else:
                    answers.append((item.waiter, _CLOSED, None))
        _tell(answers)


_Told: TypeAlias = "tuple[Waiter | None, str | None, Any]"
"""Who waits (if anybody does), why it is refused (None: it isn't), and the answer."""


def _tell(answers: list[_Told]) -> None:
    """Wake the callers, with one call for each event loop (nearly always one)."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Told]] = {}
    for answer in answers:
        if answer[0] is not None:
            by_loop.setdefault(answer[0].get_loop(), []).append(answer)
    for loop, group in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_settle, group)


def _settle(answers: list[_Told]) -> None:
    for waiter, reason, answer in answers:
        if waiter is None or waiter.done():  # nobody asked, or its caller was cancelled
            continue
        if reason is None:
            waiter.set_result(answer)
        else:
            waiter.set_exception(LedgerUnavailable(reason))


def _never_sent(intent: Intent, ended_ns: int, reason: str) -> End:
    return End(
        id=intent.id,
        ended_ns=ended_ns,
        state="failed",
        status=LedgerUnavailable.default_status,
        error_label=LedgerUnavailable.label,
        error=reason,
        total_ms=0.0,
        cost_nano=0,
    )
