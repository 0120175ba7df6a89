"""Time limits that cost next to nothing, for many short calls that nearly never run out of time.

A loop timer for each limit would be made and cancelled several times a request, and costs more than the rest of the
request's bookkeeping. Here limits that end within the same 10 ms share a slot, and only the next slot has a timer: setting a
limit is a dictionary look-up, lifting it another. (A coarse timer wheel, as in G. Varghese and T. Lauck, "Hashed and
Hierarchical Timing Wheels", SOSP 1987, with a heap of the occupied slots in place of the ticking wheel.)

A limit ends on time or up to 10 ms late, never early.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["SLOT_S", "Limit", "Timers", "timers"]

SLOT_S: Final = 0.01
"""How late a limit may end."""


class Timers:
    """Every pending limit of one event loop. Not thread-safe: it belongs to the loop's thread."""

    __slots__ = ("_armed", "_armed_slot", "_due", "_loop", "_slots")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # A slot is a dict and not a set: alarms ring in the order they were set, so that a run replays.
        self._slots: dict[int, dict[Alarm, None]] = {}
        self._due: list[int] = []
        self._armed: asyncio.TimerHandle | None = None
        self._armed_slot = 0

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        """Calls back at ``when`` (the loop's seconds) or up to 10 ms later, unless the alarm is cancelled before."""
        number = math.ceil(when / SLOT_S)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heapq.heappush(self._due, number)
            if self._armed is None or number < self._armed_slot:
                self._arm(number)
        alarm = Alarm(callback, slot)
        slot[alarm] = None
        return alarm

    def _arm(self, number: int) -> None:
        if self._armed is not None:
            self._armed.cancel()
        self._armed_slot = number
        self._armed = self._loop.call_at(number * SLOT_S, self._ring)

    def _ring(self) -> None:
        self._armed = None
        # Rounded: uvloop counts whole milliseconds, and its timer may fire within one before its time.
        now = round(self._loop.time() / SLOT_S, 1)
        while self._due and self._due[0] <= now:
            slot = self._slots.pop(heapq.heappop(self._due))
            for alarm in list(slot):
                if alarm in slot:  # an alarm before it may have cancelled it
                    del slot[alarm]
                    alarm.callback()
        if self._due and self._armed is None:
            self._arm(self._due[0])


class Alarm:
    """A pending call. Cancelling it more than once, or after it rang, does nothing."""

    __slots__ = ("_slot", "callback")

    def __init__(self, callback: Callable[[], None], slot: dict[Alarm, None]) -> None:
        self.callback = callback
        self._slot = slot

    def cancel(self) -> None:
        self._slot.pop(self, None)
        self.callback = (
            _nothing  # whoever holds this alarm is mostly whom it would call: no cycle for the collector
        )


def _nothing() -> None:
    """What a cancelled alarm would call."""


class _Current(threading.local):
    """Each thread's last loop and its timers: asked for several times a request, and nearly always the same.

    Only the last: a table of all loops would keep them, since timers need theirs. A loop that comes back to its thread gets
    other timers, beside which the ones that it had go on.
    """

    loop: asyncio.AbstractEventLoop | None = None
    timers: Timers | None = None


_current = _Current()


def timers() -> Timers:
    """The running loop's timers."""
    loop = asyncio.get_running_loop()
    found = _current.timers
    if found is None or _current.loop is not loop:
        found = Timers(loop)
        _current.loop, _current.timers = loop, found
    return found


class Limit:
    """``with Limit(timers, when):`` around awaits is ``async with asyncio.timeout_at(when):`` for less, up to 10 ms later.

    Raises:
        TimeoutError: the time came before the block had ended; what it awaited was cancelled.
    """

    __slots__ = ("_alarm", "_cancelling", "_expired", "_task", "_timers", "_when")

    def __init__(self, timers: Timers, when: float) -> None:
        self._timers = timers
        self._when = when
        self._alarm: Alarm | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False

    def __enter__(self) -> Self:
        task = self._task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task to cancel")
        self._cancelling = task.cancelling()
        self._alarm = self._timers.call_at(self._when, self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        task, self._task = self._task, None
        # As asyncio's own: only our cancellation becomes a TimeoutError. If somebody else cancelled the task as well, that
        # one has to be seen.
        if (
            self._expired
            and task is not None
            and task.uncancel() <= self._cancelling
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def _expire(self) -> None:
        if self._task is not None:
            self._expired = True
            self._task.cancel()
