"""A stream without ``alt=sse``: one JSON array, whose elements come one by one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from holdfast.dialects.sse import SSEParser

if TYPE_CHECKING:
    from holdfast.dialects.sse import Frame

__all__ = ["ArrayFraming"]

_BREAK: Final = b"\n"
_ERROR: Final = re.compile(rb'\s*\{\s*"error"\s*:')


class ArrayFraming:
    """Our own server-sent events to the pieces of one JSON array, however they are cut.

    What isn't an event (a comment, a blank line that shows life) becomes a newline, which may stand between elements. After
    an error nothing more is said: it is the last element.
    """

    __slots__ = ("_begun", "_ended", "_parser")

    content_type: ClassVar[str] = "application/json; charset=UTF-8"

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._begun = False
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        """The array's bytes for the events that ``data`` completes; a newline where it shows nothing but life.

        Raises:
            BadAnswer: an event grew past its bound.
        """
        out = b"".join([self._piece(frame) for frame in self._parser.feed(data)])
        if out or self._ended or not data or data.strip():
            return out
        return _BREAK

    def finish(self) -> bytes:
        """The end of the array. Said once; after an error it was said already."""
        frame = self._parser.finish()
        out = b"" if frame is None else self._piece(frame)
        return out if self._ended else out + self._end()

    def _piece(self, frame: Frame) -> bytes:
        if self._ended:
            return b""
        if frame.data is None:
            return _BREAK
        before, self._begun = (b",\r\n" if self._begun else b"["), True
        return before + frame.data + (self._end() if _ERROR.match(frame.data) else b"")

    def _end(self) -> bytes:
        self._ended = True
        return b"]" if self._begun else b"[]"
