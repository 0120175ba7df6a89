"""Attempts as they end, for as long as the client listens."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from holdfast.chaos.journal_rows import line
from holdfast.chaos.plan import FOREVER, Part, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.chaos.journal import Entry, Journal
    from holdfast.chaos.journal_filter import Filter

__all__ = ["Follower"]

_WAITING = 65_536  # numbers of attempts that a slow reader may lag behind
_BLOCK = 65_536  # bytes gathered for one write


class Follower:
    """One listener. First what has ended before, then each attempt once, when it ends.

    What it hasn't read yet waits as numbers, not as entries: a slow reader holds no memory, and is told how many
    attempts the journal had given up before it came to them.
    """

    def __init__(self, journal: Journal, where: Filter, limit: int | None, *, events: bool) -> None:
        self._journal = journal
        self._past = where
        self._where = msgspec.structs.replace(where, since=0)
        """Whatever ends from now on is news, also where it arrived before."""
        self._left = limit
        self._events = events
        self._ended: deque[int] = deque()
        self._missed = 0
        self._idle: Part | None = None
        self._wake: Callable[[], None] = lambda: None
        self._last = 0
        self._ran: frozenset[int] = frozenset()

    def reply(self) -> Reply:
        content_type = "text/event-stream" if self._events else "application/x-ndjson"
        headers = {"content-type": content_type, "cache-control": "no-cache"}
        return Reply(200, headers, self._parts(), early_head=True, live=self._start)

    def _start(self, wake: Callable[[], None]) -> Callable[[], None]:
        self._wake = wake
        self._last = self._journal.last_seq
        self._ran = self._journal.running()  # they are told when they end
        return self._journal.follow(self._end)

    def _end(self, seq: int) -> None:
        if len(self._ended) >= _WAITING:
            self._ended.popleft()
            self._missed += 1
        self._ended.append(seq)
        if self._idle is not None:
            # The player may have this part in hand without sleeping on it yet (the socket was full): then no call
            # wakes it, but it finds a part that is due.
            self._idle.hold = 0.0
            self._idle = None
            self._wake()

    def _parts(self) -> Iterator[Part]:
        at: int | None = self._past.since + 1
        while at is not None and at <= self._last and self._left != 0:
            found, at = self._journal.scan(self._past, at)
            ended = (e for e in found if e.seq <= self._last and e.end is not None and e.seq not in self._ran)
            yield from self._told(ended)
        while self._left != 0:
            if not self._ended:
                self._idle = Part(b"", "noise", hold=FOREVER)
                yield self._idle
            yield from self._told(self._next_ended())

    def _next_ended(self) -> Iterator[Entry]:
        while self._ended:
            entry = self._journal.find(self._ended.popleft())
            if entry is None:
                self._missed += 1
            elif self._where.fits(entry):
                yield entry

    def _told(self, entries: Iterator[Entry]) -> Iterator[Part]:
        gathered: list[bytes] = []
        size = 0
        for entry in entries:
            gathered.append(self._framed(line(entry)))
            size += len(gathered[-1])
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    break
            if size >= _BLOCK:
                yield Part(b"".join(gathered), "noise")
                gathered, size = [], 0
        if self._missed:
            gathered.append(self._framed(b'{"missed":%d}' % self._missed, b"event: missed\n"))
            self._missed = 0
        yield Part(b"".join(gathered), "noise")

    def _framed(self, data: bytes, kind: bytes = b"") -> bytes:
        return b"%bdata: %b\n\n" % (kind, data) if self._events else data + b"\n"
