"""Plays one response on the line: each event a message, after its pauses, while the client reads."""

from __future__ import annotations

import asyncio
from itertools import repeat
from typing import TYPE_CHECKING

from holdfast.chaos.plan import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.clock import Clock, Timer
    from holdfast.chaos.plan import Part, Reply
    from holdfast.chaos.realtime.line import Line

__all__ = ["Speaker"]

_LARGEST = 1 << 20  # bytes gathered for one write
_BURST = 64  # writes before others get their turn
_OPENED = b'"delta":"'
_CLOSED = b'"}'


class Speaker:
    """One reply being played. ``served`` is told of parts that went; ``done`` once, when all has been written.

    A reply without a status says nothing. Headers, and what a fault does to them, have no place here.
    """

    def __init__(
        self,
        line: Line,
        reply: Reply,
        clock: Clock,
        *,
        begun: Callable[[], None],
        served: Callable[[int, list[Part]], None],
        done: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._line = line
        self._reply = reply
        self._clock = clock
        self._begun = begun
        self._served = served
        self._done = done
        self._parts = iter(reply.parts)
        self._sizes = repeat(reply.segment) if reply.segment else reply.segments
        self._next: Part | None = None
        self._timer: Timer | None = None
        self._started = False
        self._stopped = False
        self._finished = False
        self._in_piece = False
        self._due = 0.0

    @property
    def in_piece(self) -> bool:
        """Whether a message of this response was begun and isn't whole yet."""
        return self._in_piece

    def start(self) -> None:
        if self._reply.wait is None or self._reply.wait(self._enter):
            self._enter()

    def stop(self) -> None:
        """No more of it is played."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def free(self) -> None:
        """The line has room again. Time that the client took isn't made up for."""
        if not self._started or self._stopped:
            return
        self._due = max(self._due, self._clock.now())
        if self._timer is None:
            self._advance()

    def _enter(self) -> None:
        """There is a place for this response: its pauses begin."""
        if self._stopped:
            return
        self._due = self._clock.now()
        if self._reply.delay:
            self._due += self._reply.delay
            self._timer = self._clock.call_at(self._due, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        self._timer = None
        self._started = True
        if self._reply.status is not None:
            self._begun()
            self._next = next(self._parts, None)
        self._advance()

    @property
    def _must_wait(self) -> bool:
        return self._line.clogged or (self._line.in_message and not self._in_piece)

    def _advance(self) -> None:
        """Write until something must be waited for: a pause, a full socket, or the others' turn."""
        self._timer = None
        for _ in range(_BURST):
            if self._stopped or self._must_wait or not self._line.open:
                return
            part = self._next
            if part is None:
                self._finish()
                return
            if (part.pause or part.hold) and self._wait(part):
                return
            self._write(part)
        if not self._stopped and self._timer is None:
            self._timer = self._loop.call_soon(self._advance)

    def _wait(self, part: Part) -> bool:
        """Whether ``part`` isn't due yet. Times are absolute, so that late timers don't add up to a slower pace."""
        if part.hold == FOREVER:
            return True
        if part.hold:
            self._due = self._clock.now() + part.hold
        self._due += part.pause
        part.pause = part.hold = 0.0
        if self._due <= self._clock.now():
            return False
        self._timer = self._clock.call_at(self._due, self._advance)
        return True

    def _write(self, part: Part) -> None:
        if self._in_piece or part.data.endswith(_OPENED):  # an event that comes in pieces, as a huge one does
            self._next = next(self._parts, None)
            self._in_piece = not part.data.endswith(_CLOSED)
            self._line.send_piece(part.data, [part], self._served, last=not self._in_piece)
            return
        parts = [part]
        tokens, size = part.tokens, len(part.data)
        following = next(self._parts, None)
        while (
            following is not None
            and not following.waits
            and tokens < self._reply.batch
            and size < _LARGEST
            and not following.data.endswith(_OPENED)
            and self._reply.batch > 1
        ):
            parts.append(following)
            tokens += following.tokens
            size += len(following.data)
            following = next(self._parts, None)
        self._next = following
        self._line.send_parts(
            [p.data for p in parts], parts, self._served, self._sizes, self._reply.segment_pause
        )

    def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            self._done()
