"""Several calls for one answer, the later ones started only when they are needed: the first success wins.

=====================================  =========================================================================
call 0                                 starts at once
call *i* starts                        when the delay after call *i* - 1 has passed (SLOW), or at once when all that
                                       were started have failed (FAILED); if ``allow`` says yes
one succeeds                           it wins; of several in one turn of the loop, the one that was started first
one fails while another runs           nothing yet: the other may still win
all have failed, and no more may come  the error of call 0, with a note for each of the others
the winner is known, or the caller     the others are cancelled, and waited for as long as ``grace_s``
leaves
a call doesn't end in that time        it is left to end by itself; nobody waits for it any more
each call that is not the winner       is told to ``on_loser``, once, when it has ended: with its result if it had come
                                       that far, so that what it cost can be booked
=====================================  =========================================================================

The winner's result is lost in one case only: the caller is cancelled before it gets it. ``on_loser`` is told it then.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

__all__ = ["GRACE_S", "Cause", "Loser", "race"]

T = TypeVar("T")

GRACE_S: Final = 1.0
"""How long a winner waits for the others to end. Closing a connection takes far less."""

_stragglers: Final[set[asyncio.Task[object]]] = set()
"""Cancelled calls that didn't end in time. The event loop alone wouldn't keep them alive until they do."""


class Cause(Enum):
    """Why another call would be started."""

    SLOW = "slow"
    """The delay has passed, and the others still run."""
    FAILED = "failed"
    """All others have failed."""


@dataclass(frozen=True, slots=True)
class Loser(Generic[T]):
    """A call that was started and did not win."""

    index: int
    result: T | None
    """Of use only if there is no error."""
    error: BaseException | None
    """A :class:`asyncio.CancelledError` where it was cancelled."""


async def race(
    start: Callable[[int], Awaitable[T]],
    count: int,
    delays: Iterable[float],
    *,
    allow: Callable[[int, Cause], bool] | None = None,
    on_loser: Callable[[Loser[T]], None] | None = None,
    grace_s: float = GRACE_S,
) -> tuple[int, T]:
    """The winner's number and its result.

    Args:
        start: gives call number 0, 1, … to be awaited, each in a task of its own.
        count: calls at most, 1 or more.
        delays: seconds between one start and the next. After the last of them (and after an infinite one) calls are started
            only when all others have failed.
        allow: asked right before each call but the first. After a no to SLOW time starts no more calls. By default yes.
        on_loser: as above. What it raises goes to the loop's exception handler.
        grace_s: how long to wait for the losers.

    Raises:
        BaseException: the error of call 0 when all have failed.
    """
    if count < 1:
        raise ValueError(f"a race needs at least 1 call, not {count}")
    run = _Race(start, count, iter(delays), allow, grace_s)
    winner: int | None = None
    try:
        first = await run.first_success()
        await run.stop()
        winner = first
        return first, run.tasks[first].result()
    except BaseException:
        # Cancelled again, it stops waiting; what still runs then has been cancelled all the same.
        await run.stop()
        raise
    finally:
        for index, task in enumerate(run.tasks):
            if index != winner:
                _tell(index, task, on_loser)
        run.tasks.clear()  # an error holds its frames, and they hold the tasks: no cycle for the collector


class _Race(Generic[T]):
    """The calls of one race."""

    __slots__ = ("_allow", "_count", "_delays", "_due", "_grace_s", "_loop", "_start", "_until", "tasks")

    def __init__(
        self,
        start: Callable[[int], Awaitable[T]],
        count: int,
        delays: Iterator[float],
        allow: Callable[[int, Cause], bool] | None,
        grace_s: float,
    ) -> None:
        self._start = start
        self._count = count
        self._delays = delays
        self._allow = allow
        self._grace_s = grace_s
        self._loop = asyncio.get_running_loop()
        self._due = math.inf
        self._until: float | None = None
        self.tasks: list[asyncio.Task[T]] = []

    async def first_success(self) -> int:
        """Starts calls by the rules until one succeeds.

        Raises:
            BaseException: all failed.
        """
        self._launch()
        while True:
            running = [task for task in self.tasks if not task.done()]
            if not running:
                if not self._may_start(Cause.FAILED):
                    raise self._verdict()
                self._launch()
                continue
            left = self._due - self._loop.time()
            if left <= 0:
                if self._may_start(Cause.SLOW):
                    self._launch()
                else:
                    self._due = math.inf
                continue
            timeout = left if left < math.inf and len(self.tasks) < self._count else None
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for index, task in enumerate(self.tasks):
                if task in done and _error(task) is None:
                    return index

    async def stop(self) -> None:
        """Cancels what runs, and waits for it as long as grace allows; a second time, for what is left of that."""
        running = [task for task in self.tasks if not task.done()]
        now = self._loop.time()
        if self._until is None:
            self._until = now + self._grace_s
            # Only once: a second cancel would cut short what a call does to end well.
            for task in running:
                task.cancel()
        if running and self._until > now:
            await asyncio.wait(running, timeout=self._until - now)

    def _launch(self) -> None:
        self.tasks.append(self._loop.create_task(_run(self._start, len(self.tasks))))
        self._due = self._loop.time() + next(self._delays, math.inf)

    def _may_start(self, cause: Cause) -> bool:
        number = len(self.tasks)
        return number < self._count and (self._allow is None or self._allow(number, cause))

    def _verdict(self) -> BaseException:
        """The error of call 0. The others' are notes, for whoever reads it; ``on_loser`` gets them whole."""
        errors = [_error(task) or asyncio.InvalidStateError() for task in self.tasks]
        first = errors[0]
        for index, error in enumerate(errors[1:], start=1):
            note = f"call {index} of the race failed too: {type(error).__name__}: {error}"
            # An error object that is raised over and over mustn't collect a note each time.
            if error is not first and note not in getattr(first, "__notes__", ()):
                first.add_note(note)
        return first


async def _run(start: Callable[[int], Awaitable[T]], index: int) -> T:
    return await start(index)


def _error(task: asyncio.Task[T]) -> BaseException | None:
    """A finished task's error. Asking for it is also what keeps asyncio from reporting it as never seen."""
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _tell(index: int, task: asyncio.Task[T], on_loser: Callable[[Loser[T]], None] | None) -> None:
    """Now, or when the call has ended."""
    if not task.done():
        _stragglers.add(task)
        task.add_done_callback(partial(_ended, index, on_loser))
        return
    error = _error(task)
    if on_loser is None:
        return
    try:
        on_loser(Loser(index, task.result() if error is None else None, error))
    except Exception as fault:  # noqa: BLE001  # a reporter's fault must not take the winner's place
        task.get_loop().call_exception_handler(
            {"message": "on_loser of a race failed", "exception": fault, "task": task}
        )


def _ended(index: int, on_loser: Callable[[Loser[T]], None] | None, task: asyncio.Task[T]) -> None:
    _stragglers.discard(task)
    _tell(index, task, on_loser)
