"""A virtual-time loop for several processes at once: each of them can be frozen, thawed or killed at any instant.

What belongs to a process carries its mark in the context that asyncio hands on from callback to callback. What is ready of a
frozen process is put aside until it thaws: its tasks, its timers, what comes over its connections. It notices nothing but
that time has passed. A dead process is one that never thaws: nothing of it is cleaned up, and no ``finally`` runs.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

from tests.simulation.scheduler import ShuffledLoop, _Shuffled

from holdfast.resilience.timeout import Timers
from holdfast.testing.virtual_time import VirtualClock

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine

__all__ = ["Process", "ReplicaLoop", "run_replicas"]

T = TypeVar("T")


class Process:
    """Something that can stand still."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.still = False
        self.dead = False
        self.froze_at: list[tuple[float, float]] = []
        """From when to when it stood still."""
        self.parked: list[asyncio.Handle] = []
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.context = copy_context()
        self.context.run(_PROCESS.set, self)


_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class _Ready(_Shuffled):
    """What is ready, but for what belongs to somebody who stands still.

    Args:
        gone: what is taken where nothing is left: asyncio counts a turn's callbacks before it begins, and one of them may
            have put others aside.
    """

    def __init__(self, rng: random.Random, gone: asyncio.Handle) -> None:
        super().__init__(rng)
        self._gone = gone

    def popleft(self) -> asyncio.Handle:
        return super().popleft() if self else self._gone

    def append(self, handle: asyncio.Handle) -> None:
        process = handle._context.get(_PROCESS)  # asyncio's own name for where a callback runs
        if process is not None and process.still:
            process.parked.append(handle)
        else:
            super().append(handle)


class Network(Protocol):
    """Who answers where a process connects to."""

    async def connect(self, process: Process, factory: Callable[[], asyncio.Protocol]) -> Any: ...


class ReplicaLoop(ShuffledLoop):
    """A :class:`ShuffledLoop` that several processes share."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        gone = asyncio.Handle(_nothing, (), self)
        gone.cancel()
        self._ready = self._shuffled = _Ready(rng, gone)
        self._still: set[Process] = set()
        self.outside = Context()
        """Belongs to no process."""
        self.network: Network | None = None

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        # One wheel of time limits serves all tasks of a loop; it mustn't stand still with who wound it up.
        if isinstance(getattr(callback, "__self__", None), Timers):
            context = self.outside
        return super().call_at(when, callback, *args, context=context)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        task = super().create_task(coro, name=name, context=context)
        process = _PROCESS.get() if context is None else context.get(_PROCESS)
        if process is not None:
            process.tasks.add(task)
        return task

    async def create_connection(  # type: ignore[override]  # as much of it as the processes use
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int, **_: Any
    ) -> tuple[Any, asyncio.Protocol]:
        process, network = _PROCESS.get(), self.network
        if process is None or network is None:
            raise ConnectionRefusedError(f"nobody answers at {host}:{port}")
        return await network.connect(process, protocol_factory)

    def spawn(self, process: Process, work: Coroutine[Any, Any, T], name: str = "") -> asyncio.Task[T]:
        """A task of a process'."""
        return self.create_task(work, name=f"{process.name} {name}", context=process.context)

    def freeze(self, process: Process) -> None:
        """From now on it stands still."""
        process.still = True
        self._still.add(process)
        kept = list(self._ready)
        self._ready.clear()
        for handle in kept:
            self._ready.append(handle)

    def thaw(self, process: Process) -> None:
        """It goes on with all that came meanwhile."""
        process.still = False
        self._still.discard(process)
        parked, process.parked = process.parked, []
        self._ready.extend(parked)

    def thaw_all(self) -> None:
        """Where it is over: who stands still can't be cancelled either."""
        for process in sorted(self._still, key=lambda process: process.name):
            self.thaw(process)


def run_replicas(
    main: Callable[[ReplicaLoop, VirtualClock], Coroutine[Any, Any, T]], rng: random.Random
) -> T:
    """Runs ``main`` on a loop of its own, to its end.

    Raises:
        DeadlockError: every task waits for something that can't happen any more.
        LivelockError: the clock stands still for ever.
    """
    with asyncio.Runner(loop_factory=lambda: ReplicaLoop(rng)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, ReplicaLoop)
        try:
            return runner.run(main(loop, VirtualClock(loop)))
        finally:
            loop.thaw_all()


def _nothing() -> None:
    """Is never called."""
