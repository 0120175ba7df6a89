"""One block after another: events of blocks that are told side by side, put in a row.

Other dialects may tell several blocks at once: parallel tool calls piece by piece in turn, a thought beside the text. Here a
block ends before the next begins. A text or thought may end anywhere, since what comes later makes another one. A tool call
may not: what other blocks tell waits until its arguments are whole.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from holdfast.model import BlockStarted, ToolCall, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.model import Event

__all__ = ["InTurn"]


class InTurn:
    """Gives events of blocks in an order in which each block is told without a break. Within a block it is as it was."""

    __slots__ = ("_calls", "_current", "_waiting")

    def __init__(self) -> None:
        self._calls: dict[int, _Arguments] = {}
        self._current: int | None = None
        self._waiting: deque[tuple[int, Event]] = deque()

    def add(self, key: int, event: Event) -> Iterator[Event]:
        """What may be told now that ``event`` of the block ``key`` has come."""
        if self._must_wait(key):
            self._waiting.append((key, event))
            return
        yield self._told(key, event)
        yield from self._next()

    def rest(self) -> Iterator[Event]:
        """The answer has ended: what waits is told, block by block, though a call's arguments aren't whole."""
        while self._waiting:
            self._current = self._waiting[0][0]
            waiting, self._waiting = self._waiting, deque()
            for key, event in waiting:
                if key == self._current:
                    yield self._told(key, event)
                else:
                    self._waiting.append((key, event))

    def _must_wait(self, key: int) -> bool:
        if key == self._current:
            return False
        open_call = None if self._current is None else self._calls.get(self._current)
        return open_call is not None and not open_call.whole

    def _next(self) -> Iterator[Event]:
        """What waited for a call that has just become whole."""
        while self._waiting and not self._must_wait(self._waiting[0][0]):
            waiting, self._waiting = self._waiting, deque()
            behind: set[int] = set()  # blocks with an event that waits on: their later ones don't overtake it
            for key, event in waiting:
                if key in behind or self._must_wait(key):
                    behind.add(key)
                    self._waiting.append((key, event))
                else:
                    yield self._told(key, event)

    def _told(self, key: int, event: Event) -> Event:
        self._current = key
        if isinstance(event, BlockStarted) and isinstance(event.part, ToolCall):
            self._calls.setdefault(key, _Arguments()).add(event.part.arguments)
        elif isinstance(event, ToolCallDelta):
            self._calls.setdefault(key, _Arguments()).add(event.arguments)
        return event


class _Arguments:
    """Follows a JSON text, piece by piece, to where its outermost object or list ends. It needn't be valid."""

    __slots__ = ("_depth", "_escaped", "_quoted", "whole")

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self.whole = False

    def add(self, piece: str) -> None:
        for character in piece:
            if self._quoted:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._quoted = False
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                self.whole = self.whole or self._depth <= 0
