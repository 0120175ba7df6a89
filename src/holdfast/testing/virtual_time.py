"""An event loop on which an hour passes in milliseconds, the same way every time.

When nothing is ready the clock jumps to the next timer. Nothing waits in real time, so a test can live
through a day of failures, and every run sees the same times in the same order::

    async def main(clock: VirtualClock) -> float:
        await asyncio.sleep(3600)
        return clock.monotonic()

    assert run_virtual(main) == 3600.0

Real sockets don't fit in: their bytes would arrive at a virtual time that depends on the machine. The loop
refuses them; :class:`holdfast.testing.memory_transport.MemoryTransport` stands in. Threads do fit in where the
loop knows of them: the clock stands still while a job of ``run_in_executor`` runs, and inside
:meth:`VirtualLoop.hold`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import selectors
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from concurrent.futures import Executor

__all__ = ["DEFAULT_WALL_NS", "DeadlockError", "VirtualClock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DEFAULT_WALL_NS: Final = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z: where the wall clock of a virtual run begins."""

_THREAD_LIMIT_S: Final = 60.0
"""Real seconds to wait for a thread before the run is called stuck."""


class DeadlockError(RuntimeError):
    """Nothing is ready, no timer is set, no thread is at work: what the tasks wait for can never happen."""


class _JumpingSelector(selectors.BaseSelector):
    """The loop asks "wake me in `timeout` seconds"; this one answers at once, and moves the clock instead.

    The only file it accepts is the loop's own wake-up socket, by which threads and signals are heard.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self._real = selectors.DefaultSelector()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self._loop
        if timeout is not None and timeout <= 0:
            return []  # callbacks are ready, and threads put theirs into the loop's queue before they wake it
        if loop.held:
            events = self._real.select(_THREAD_LIMIT_S)
            if not events:
                raise DeadlockError(
                    f"a thread has been at work for {_THREAD_LIMIT_S:.0f} real seconds; {loop.waiting()}"
                )
            return events
        if timeout is None:
            if events := self._real.select(0):
                return events
            raise DeadlockError(
                f"nothing is ready and no timer is set at {loop.time():.3f} s; {loop.waiting()}"
            )
        loop.advance(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self._real.get_map():
            raise RuntimeError(
                "a VirtualLoop has no real sockets, pipes or subprocesses: "
                "use holdfast.testing.memory_transport.MemoryTransport, or a real loop"
            )
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose ``time()`` starts at 0.0 and moves only when nothing else is left to do."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        self.held = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_s

    def advance(self, seconds: float) -> None:
        """Moves the clock.

        After 97 days a float's own step is wider than asyncio's idea of "due now" (a nanosecond), and a timer could
        neither be waited for nor fire. So the step is at least one float wide, and "due" as wide as two.
        """
        now = max(self._virtual_s + seconds, math.nextafter(self._virtual_s, math.inf))
        self._virtual_s = now
        self._clock_resolution = max(1e-9, 2 * math.ulp(now))

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """The clock stands still inside: for work in threads of one's own, which the loop can't see."""
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As asyncio's; a job takes no virtual time."""
        future = super().run_in_executor(executor, func, *args)
        self.held += 1
        # A job that was cancelled may still run in its thread, but nobody waits for it any more.
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: asyncio.Future[Any]) -> None:
        self.held -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        """As asyncio's, which joins the threads in a thread of its own."""
        with self.hold():
            await super().shutdown_default_executor(*args)

    def waiting(self) -> str:
        """One line on what every unfinished task waits for: what a :class:`DeadlockError` says."""
        tasks = sorted(_where(task) for task in asyncio.all_tasks(self))
        return "waiting: " + ("; ".join(tasks) if tasks else "no task")


class VirtualClock:
    """:class:`holdfast.clock.Clock` on a :class:`VirtualLoop`; the wall clock moves with the loop's time."""

    def __init__(self, loop: VirtualLoop, *, start_wall_ns: int = DEFAULT_WALL_NS) -> None:
        self._loop = loop
        self._start_wall_ns = start_wall_ns

    def monotonic(self) -> float:
        return self._loop.time()

    def wall_ns(self) -> int:
        return self._start_wall_ns + round(self._loop.time() * 1e9)


def run_virtual(
    main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, start_wall_ns: int = DEFAULT_WALL_NS
) -> T:
    """Runs ``main(clock)`` to its end on a loop of its own, like ``asyncio.run``, and returns its result.

    Raises:
        DeadlockError: every task waits for something that can't happen any more.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)  # noqa: S101  # what the factory above makes
        return runner.run(main(VirtualClock(loop, start_wall_ns=start_wall_ns)))


def _where(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack()
    if not frames:
        return task.get_name()
    frame = frames[-1]
    return f"{task.get_name()} in {frame.f_code.co_qualname}, line {frame.f_lineno}"
