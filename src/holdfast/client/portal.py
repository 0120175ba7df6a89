"""From synchronous code into an event loop: a thread of its own that runs the loop, and calls into it.

Works from any number of threads and also where a loop runs already (a notebook). A thread that is interrupted while it
waits (Ctrl-C) cancels what it waits for, and goes on only once that is settled.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread
import contextlib
import os
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from holdfast.errors import Abandoned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["Portal"]

_T = TypeVar("_T")

_SETTLE_S: Final = 5.0
"""How long an interrupted thread waits for what it cancelled: settling takes no time but on a machine that hangs."""
_JOIN_S: Final = 15.0
"""How long closing waits for the thread: the ledger gets 10 s to write its last rows."""


class Portal:
    """An event loop in a thread, started by the first call.

    Args:
        aclose: awaited on the loop before it ends.
        owner: what warnings call it.

    Every process needs its own: threads don't survive ``os.fork``, and a portal says so.
    """

    def __init__(self, aclose: Callable[[], Coroutine[Any, Any, None]], owner: str) -> None:
        self._aclose = aclose
        self._owner = owner
        self._lock = threading.RLock()  # a signal handler may close while its thread begins a call
        self._there: _There | None = None
        self._closed = False
        self._pid = os.getpid()

    def call(self, work: Callable[..., Awaitable[_T]], *args: Any, **kwargs: Any) -> _T:
        """``await work(*args, **kwargs)`` on the loop; blocks until it is over.

        Raises:
            RuntimeError: it is closed, or was made before a fork.
            Exception: what ``work`` raised.
        """
        outcome: concurrent.futures.Future[_T] = concurrent.futures.Future()
        begun: _Begun | None = None
        try:
            with self._lock:
                begun = self._started().begin(lambda: work(*args, **kwargs), outcome)
            return outcome.result()
        except BaseException:
            if begun is not None and not outcome.done():  # not its failure: this thread was interrupted
                begun.cancel()
                concurrent.futures.wait([outcome], _SETTLE_S)
            raise

    def call_if_open(self, work: Callable[..., Awaitable[None]]) -> None:
        """:meth:`call`, where there is still something to talk to."""
        if self._there is not None and not self._closed:
            self.call(work)

    def close(self) -> None:
        """Ends what still runs, and the thread. Idempotent, and safe to call from any thread."""
        if self._pid != os.getpid():  # a fork's copy has no thread, and nothing of it is ours to end
            return
        with self._lock:
            self._closed = True
            there = self._there
        if there is not None:
            there.end(self._aclose)
            there.thread.join(_JOIN_S)

    def __del__(self) -> None:
        there: _There | None = getattr(self, "_there", None)
        if there is None or self._closed or self._pid != os.getpid():
            return
        warnings.warn(
            f"unclosed {self._owner}: call close(), or use `with`", ResourceWarning, source=self, stacklevel=2
        )
        there.end(self._aclose)  # without waiting: this may be any thread, its own too

    def _started(self) -> _There:
        if self._pid != os.getpid():
            raise RuntimeError(
                f"this {self._owner} was made before a fork: make one in each process, after it began"
            )
        if self._closed:
            raise RuntimeError(f"this {self._owner} is closed")
        if self._there is None:
            self._there = _There()
            _OPEN.add(self)
        return self._there


class _Begun:
    """A task on the other side, as this side can cancel it."""

    __slots__ = ("_loop", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.task: asyncio.Task[Any] | None = None

    def cancel(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it was cancelled with it
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:  # runs after the call that made the task, in the order of the loop's callbacks
        if self.task is not None:
            self.task.cancel()


class _There:
    """The other side. Knows nothing of the portal, so that a portal that nobody holds can be let go of."""

    def __init__(self) -> None:
        self._up: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        # A daemon: an interpreter that exits without close() closes by atexit, and must not wait for this before.
        self.thread = threading.Thread(target=self._live, name="holdfast-client", daemon=True)
        self.thread.start()
        self._loop = self._up.result()

    def begin(self, work: Callable[[], Awaitable[_T]], outcome: concurrent.futures.Future[_T]) -> _Begun:
        begun = _Begun(self._loop)

        async def run() -> _T:
            return await work()

        def start() -> None:
            begun.task = task = self._loop.create_task(run())
            task.add_done_callback(lambda done: _hand_over(done, outcome))

        self._loop.call_soon_threadsafe(start)
        return begun

    def end(self, aclose: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Closes and stops, once, behind everything that was begun before. Doesn't wait for it."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._end, aclose)

    def _end(self, aclose: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._ended.done():
            self._ended.set_result(aclose)

    def _live(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if self._up.done():
                raise  # the thread's last words, on stderr
            self._up.set_exception(error)

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Callable[[], Coroutine[Any, Any, None]]] = loop.create_future()
        self._up.set_result(loop)
        aclose = await self._ended
        await aclose()


def _hand_over(task: asyncio.Task[_T], outcome: concurrent.futures.Future[_T]) -> None:
    if task.cancelled():
        outcome.set_exception(Abandoned("the call was cancelled before the answer was complete"))
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


def _close_all() -> None:
    """What a program left open is closed with it: the ledger's last rows are written."""
    for portal in list(_OPEN):
        portal.close()


_OPEN: WeakSet[Portal] = WeakSet()

# atexit comes too late: by then no executor takes work any more, and the ledger's closing needs one. Executors end by the
# same private hook, the last registered first; theirs is registered by the import above.
getattr(threading, "_register_atexit", atexit.register)(_close_all)
