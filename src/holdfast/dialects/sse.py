"""Server-sent events, as the WHATWG HTML standard (§9.2) frames them: bytes in, frames out.

Line ends are made ``\\n`` (the standard allows ``\\r\\n`` and ``\\r`` too); apart from that a frame's ``raw`` is what came.
"""

from __future__ import annotations

import msgspec

from holdfast.errors import BadAnswer

__all__ = ["MAX_EVENT_BYTES", "Frame", "SSEParser", "comment"]

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""The largest single event that is buffered: above any real one (a base64 image is some MB), below trouble."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event. ``data`` is None where the frame holds only comments or settings; ``raw`` ends with a blank line."""

    raw: bytes
    data: bytes | None = None
    event: str | None = None


class SSEParser:
    """Cuts bytes into frames, however they were cut on the way.

    Example:
        >>> parser = SSEParser()
        >>> [frame.data for frame in parser.feed(b"data: 1\\n\\nda") + parser.feed(b"ta: 2\\r\\n\\r\\n")]
        [b'1', b'2']
    """

    __slots__ = ("_buffer", "_max_event", "_scanned", "_skip_lf", "_started")

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # up to here the buffer is known to hold no blank line: 1-byte segments stay linear
        self._skip_lf = False
        self._started = False
        self._max_event = max_event_bytes

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes.

        Raises:
            BadAnswer: an event grew past ``max_event_bytes``.
        """
        if self._skip_lf or b"\r" in data:
            data = self._plain_line_ends(data)
        if not self._started:
            data = self._without_bom(data)
        if self._buffer:
            self._buffer += data
            if self._buffer.find(b"\n\n", self._scanned) < 0:
                self._scanned = max(0, len(self._buffer) - 1)
                self._check_size(len(self._buffer))
                return []
            data = bytes(self._buffer)
            self._buffer.clear()
            self._scanned = 0
        *complete, rest = data.split(b"\n\n")
        if rest:
            self._check_size(len(rest))
            self._buffer += rest
            self._scanned = max(0, len(rest) - 1)
        return [_frame(block) for block in complete if block and not block.isspace()]

    def finish(self) -> Frame | None:
        """What is left when the bytes have ended: an event whose blank line never came."""
        rest = bytes(self._buffer).strip(b"\n")
        self._buffer.clear()
        return _frame(rest) if rest else None

    def _plain_line_ends(self, data: bytes) -> bytes:
        if self._skip_lf and data.startswith(b"\n"):  # the second half of a \r\n that was cut in two
            data = data[1:]
        if data:
            self._skip_lf = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _without_bom(self, data: bytes) -> bytes:
        """One byte order mark may stand before everything, and may itself be cut."""
        head = bytes(self._buffer) + data
        if len(head) < 3 and b"\xef\xbb\xbf".startswith(head):
            return data
        self._started = True
        if head.startswith(b"\xef\xbb\xbf"):
            self._buffer.clear()
            self._scanned = 0
            return head[3:]
        return data

    def _check_size(self, size: int) -> None:
        if size > self._max_event:
            raise BadAnswer(f"the provider sent a single stream event of more than {self._max_event} bytes")


def comment(text: str) -> bytes:
    """A comment frame: readers skip it, connections stay awake."""
    return f": {text}\n\n".encode()


def _frame(block: bytes) -> Frame:
    if block.startswith(b"data: ") and b"\n" not in block:
        return Frame(block + b"\n\n", block[6:])
    data: list[bytes] = []
    event: str | None = None
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return Frame(block.lstrip(b"\n") + b"\n\n", b"\n".join(data) if data else None, event)
