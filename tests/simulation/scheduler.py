"""A virtual-time loop on which tasks that are ready run in an order drawn from a seed.

asyncio runs what is ready first in, first out, so a test on it sees one order of the many that a busy process shows.
What may be in another order, and what may not, is what asyncio itself promises:

=============================================  ==================================================================
a step of a task                               any order among the tasks that are ready: nothing promises which of two
                                               runs first, and on a real loop the sockets decide
a timer's callback                             likewise: timers due at one moment are called "in an undefined order"
any other callback (``call_soon``, ``add_``    in the order they were registered, as the documentation of ``call_soon``
``done_callback``)                             promises; and no task that was woken after one runs before it: whoever
                                               awaits a future may rely on the callbacks that it was given before
the steps of one task                          in order: there is never more than one that is ready
=============================================  ==================================================================
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

from holdfast.testing.virtual_time import VirtualClock, VirtualLoop

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine
    from typing import Any

__all__ = ["INSTANT_LIMIT", "LivelockError", "ShuffledLoop", "run_shuffled"]

T = TypeVar("T")

INSTANT_LIMIT: Final = 1_000_000
"""Callbacks at one moment after which a run is called stuck: time will never move again."""

_LOOK_AHEAD: Final = 16
"""How far down the queue the next task is looked for: as far as a real loop's sockets would mix, and cheap."""


class LivelockError(RuntimeError):
    """Something runs again and again, and the clock stands still."""


class ShuffledLoop(VirtualLoop):
    """A :class:`VirtualLoop` that draws which of the ready tasks goes on."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._ready = self._shuffled = _Shuffled(rng)  # asyncio's own name for its queue

    def advance(self, seconds: float) -> None:
        self._shuffled.here = 0
        super().advance(seconds)


class _Shuffled(deque[asyncio.Handle]):
    """The loop's queue of what is ready; it takes from its left."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._random = rng.random
        self.here = 0
        """Callbacks since the clock moved."""

    def popleft(self) -> asyncio.Handle:
        self.here += 1
        if self.here > INSTANT_LIMIT:
            raise LivelockError(f"{INSTANT_LIMIT} callbacks, and the clock stands still; next is {self[0]!r}")
        length = len(self)
        if length == 1:
            return super().popleft()
        free = 0
        for handle in self:
            if free == _LOOK_AHEAD:
                break
            free += 1
            if not _is_free(handle):  # it may go first, but nothing behind it may
                break
        chosen = int(self._random() * free)
        if chosen == 0:
            return super().popleft()
        handle = self[chosen]
        del self[chosen]
        return handle


def _is_free(handle: asyncio.Handle) -> bool:
    """A timer's callback or a task's step. (asyncio hands a task's steps to the loop as bound methods of the task.)"""
    if isinstance(handle, asyncio.TimerHandle):
        return True
    callback = getattr(handle, "_callback", None)  # None once it was cancelled
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)


def run_shuffled(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], rng: random.Random) -> T:
    """:func:`holdfast.testing.virtual_time.run_virtual` on a :class:`ShuffledLoop`.

    Raises:
        DeadlockError: every task waits for something that can't happen any more.
        LivelockError: the clock stands still for ever.
    """
    with asyncio.Runner(loop_factory=lambda: ShuffledLoop(rng)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, ShuffledLoop)
        return runner.run(main(VirtualClock(loop)))
