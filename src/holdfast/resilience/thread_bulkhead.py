"""A thread bulkhead: blocking functions in threads of its own, so many at a time, and a bounded queue before them.

=============================  ====================================================================================
a thread is free               the function begins
else, room in the queue        it waits: first come first served
else                           refused at once
its caller has gone            in the queue: it is taken out. In a thread: nothing can stop it, so it keeps its place
                               until it has ended
closed                         what runs ends, what waits is cancelled, what comes is refused
=============================  ====================================================================================

asyncio's own executor lacks the last three: its queue has no bound, and functions that hang take its threads from all
other users of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import OrderedDict
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, Self, TypeVar

from msgspec import Meta

from holdfast.clock import SystemClock
from holdfast.resilience.bulkhead import BulkheadFullError
from holdfast.resilience.leave_rate import LeaveRate
from holdfast.resilience.seam import Refused
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from holdfast.clock import Clock

__all__ = ["ThreadBulkhead", "ThreadBulkheadClosedError", "ThreadBulkheadSettings"]

P = ParamSpec("P")
T = TypeVar("T")


class ThreadBulkheadSettings(Settings, frozen=True, kw_only=True):
    """How many functions run, and how many wait."""

    max_workers: Annotated[int, Meta(ge=1, le=1000)] = 10
    """Threads, each started when it is first needed."""
    queue_size: Annotated[int, Meta(ge=0, le=100_000)] = 100
    """Functions that may wait for a thread."""
    thread_idle_s: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    """Without work for so long, a thread ends. What libraries keep for each, as sessions, is worth some patience."""


class ThreadBulkheadClosedError(Refused):
    """The thread bulkhead was closed."""


def _told(function: Callable[[], T]) -> T:
    """Coroutines can't raise StopIteration and asyncio's futures refuse it: as it is, the caller would wait for ever."""
    try:
        return function()
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error


class ThreadBulkhead:
    """Threads for one kind of blocking call. May be used from any thread.

    Its threads are daemons: a function that hangs doesn't hold up the end of the program. Whoever wants what runs to end
    first calls :meth:`close`.

    Args:
        max_workers: functions at a time.
        queue_size: functions that may wait.
        thread_idle_s: seconds of real time without work after which a thread ends.
        clock: whose monotonic seconds count.
        name: for messages, and the threads' names.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        max_workers: int = 10,
        queue_size: int = 100,
        *,
        thread_idle_s: float = 60.0,
        clock: Clock | None = None,
        name: str = "",
    ) -> None:
        self.settings = ThreadBulkheadSettings(
            max_workers=max_workers, queue_size=queue_size, thread_idle_s=thread_idle_s
        )
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._queue: OrderedDict[Future[Any], Callable[[], Any]] = OrderedDict()
        self._threads: set[threading.Thread] = set()
        self._idle = 0  # threads that wait for work
        self._running = 0
        self._rate = LeaveRate()
        self._closed = False
        self.name = name
        self.refused = 0
        """Functions told no since the beginning."""

    @property
    def running(self) -> int:
        """Functions that run in a thread, those whose callers have gone included."""
        return self._running

    @property
    def waiting(self) -> int:
        """Functions that wait for a thread."""
        return len(self._queue)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``function(*args, **kwargs)`` returns or raises, in a thread and in the caller's context variables.

        Cancelling it takes the function out of the queue. What runs already runs on, and keeps its place as long.

        Raises:
            BulkheadFullError: at once; every thread is at work and the queue is full.
            ThreadBulkheadClosedError: it is closed.
        """
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self.submit(context.run, _told, partial(function, *args, **kwargs)))

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As :meth:`run`, for callers without an event loop: cancelling the future takes the function out of the queue.

        Raises:
            BulkheadFullError, ThreadBulkheadClosedError: as :meth:`run`.
            RuntimeError: not even one thread can be started.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise ThreadBulkheadClosedError(f"{self._called()} was closed")
            settings = self.settings
            ahead = self._running + len(self._queue)
            if ahead >= settings.max_workers + settings.queue_size:
                raise self._full()
            if ahead + 1 == settings.max_workers:
                self._rate.moved(self._clock.monotonic())
            self._queue[future] = partial(function, *args, **kwargs)
            if self._idle >= len(self._queue):
                self._changed.notify()
            elif len(self._threads) < settings.max_workers:
                self._start_thread(future)
        future.add_done_callback(self._take_out)
        return future

    def close(self, *, wait: bool = True) -> None:
        """Cancels what waits and refuses what comes. With ``wait`` it blocks until what runs has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            waiting, threads = tuple(self._queue), tuple(self._threads)
        for future in waiting:
            future.cancel()
        if wait:
            for thread in threads:
                if thread is not threading.current_thread():
                    thread.join()

    async def aclose(self) -> None:
        """:meth:`close` without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _called(self) -> str:
        return f"thread bulkhead {self.name!r}" if self.name else "thread bulkhead"

    def _full(self) -> BulkheadFullError:
        self.refused += 1
        workers, waiting = self.settings.max_workers, max(len(self._queue) - self._idle, 0)
        retry_after_s = self._rate.retry_after_s(workers, len(self._queue), self._clock.monotonic())
        message = f"{self._called()}: {workers} threads are at work, {waiting} functions wait, and there is no room for more"
        return BulkheadFullError(message, name=self.name, retry_after_s=retry_after_s)

    def _start_thread(self, future: Future[Any]) -> None:
        thread = threading.Thread(target=self._work, name=self.name or "thread bulkhead", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more: those that run will come to it
            self._threads.discard(thread)
            if not self._threads:
                del self._queue[future]
                raise

    def _take_out(self, future: Future[Any]) -> None:
        """Cancelled in the queue, it must not hold room there until its turn comes."""
        if not future.cancelled():
            return
        with self._changed:
            waited = self._queue.pop(future, None) is not None
        if waited:
            future.set_running_or_notify_cancel()  # tells concurrent.futures.wait()

    def _work(self) -> None:
        """A thread's life."""
        while (job := self._next()) is not None:
            future, function = job
            since = self._clock.monotonic()
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001  # as in every executor: it is the caller's, whatever it is
                self._end(since)
                future.set_exception(error)
            else:
                self._end(since)
                future.set_result(result)
                del result
            del job, future, function  # what a call held must not live until the next one

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """Waits for work. None: there is none, and the thread is over."""
        with self._changed:
            while not self._closed:
                while self._queue:
                    future, function = self._queue.popitem(last=False)
                    if not future.set_running_or_notify_cancel():
                        continue  # cancelled this very moment
                    self._running += 1
                    return future, function
                self._idle += 1
                in_time = self._changed.wait(self.settings.thread_idle_s)
                self._idle -= 1
                if not in_time and not self._queue:
                    break
            self._threads.discard(threading.current_thread())
            return None

    def _end(self, since: float) -> None:
        """Frees the place before the caller hears of the result: who calls again at once finds it free."""
        with self._changed:
            self._running -= 1
            now = self._clock.monotonic()
            self._rate.left(now - since, now)
