"""Content-Encoding, for the servers that compress although we ask them not to."""

from __future__ import annotations

import zlib
from typing import Final

from holdfast.errors import BadAnswer

__all__ = ["MAX_PRODUCED", "Inflater"]

MAX_PRODUCED: Final = 256 * 1024
"""Bytes that one step may produce, however much a bomb would make of its input."""

_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


class Inflater:
    """``gzip`` and ``deflate``, step by step, with bounded output."""

    __slots__ = ("_encoding", "_first", "_more", "_pending", "_stream")

    def __init__(self, encoding: str) -> None:
        """Raises ``BadAnswer`` for an encoding that isn't gzip or deflate (or their old names)."""
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise BadAnswer(
                f"the answer's content-encoding {encoding[:40]!r} was not asked for and is not known"
            )
        self._encoding = encoding
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._pending = b""
        self._more = False
        self._first = True

    @property
    def pending(self) -> bool:
        """:meth:`step` can go on without new input."""
        return self._more

    def step(self, data: bytes) -> bytes:
        """Takes ``data`` in and gives up to ``MAX_PRODUCED`` bytes out; ``b""`` when it needs more input."""
        data = self._pending + data if self._pending else data
        try:
            produced = self._inflate(data)
        except zlib.error as error:
            raise BadAnswer(f"the answer's body is no valid {self._encoding}: {error}") from error
        self._pending = self._stream.unconsumed_tail
        # At the limit zlib may have eaten its input and still hold the rest of a match.
        self._more = bool(self._pending) or len(produced) == MAX_PRODUCED
        if self._stream.unused_data:
            raise BadAnswer(f"the answer's body goes on after the end of its {self._encoding} stream")
        return produced

    def finish(self) -> None:
        """The input has ended: so must the stream have."""
        if not self._stream.eof and not self._first:
            raise BadAnswer(f"the answer's body ends in the middle of its {self._encoding} stream")

    def _inflate(self, data: bytes) -> bytes:
        if self._first and data:
            self._first = False
            # "deflate" means zlib's format, but some servers send the bare stream (RFC 9110 §8.4.1.2). zlib's first
            # byte has 8 in its low half; a bare stream's only if its encoder filled padding with ones.
            if self._encoding == "deflate" and data[0] & 0x0F != 8:
                self._stream = zlib.decompressobj(_RAW)
        return self._stream.decompress(data, MAX_PRODUCED)
