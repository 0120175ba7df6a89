"""One HTTP/1.1 connection.

The protocol object is the parser's callback as well: between the socket and a reader's bytes stand llhttp and one
future. Chunks that arrive in one TCP segment are given out as one.

A connection serves one request at a time. It offers itself for the next one (`on_idle`) as soon as the answer is
complete on the wire, not when it was read: what is unread is held by the answer. Whatever is odd (bytes after the
end, an upload that the server cut short, a cancelled reader) ends it: a connection is reused only if nothing is left
in it that could be taken for the next answer.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Final, cast

import httptools

from holdfast.errors import BadAnswer, HoldfastError
from holdfast.transport.answer import Answer
from holdfast.transport.base import ConnectionBroken
from holdfast.transport.headers import Headers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Connection"]

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_INTERIM: Final = 16
"""1xx answers before the real one."""

HIGH_WATER: Final = 64 * 1024
"""Unread body bytes at which reading from the socket stops. One more segment (≤ 256 KiB) may come before it does."""

WRITE_PIECE: Final = 256 * 1024
LINGER_BYTES: Final = 16 * 1024

_CAN_POLL: Final = hasattr(select, "poll")


class Connection(asyncio.Protocol):
    """An asyncio protocol for one connection. Made by the pool, which hears of its idleness and its end."""

    def __init__(self, on_idle: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self._on_idle = on_idle
        self._on_lost = on_lost
        self.transport: asyncio.Transport
        self.idle_limit_s = float("inf")
        """Seconds for which the server said (``Keep-Alive: timeout=``) that it keeps an idle connection."""
        self.expires_at = 0.0
        """Set by the pool, while idle: the loop's time from which it isn't used any more."""
        self.served = 0
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: Answer | None = None
        self._head = b""
        """Of the head what has come of it, and what came in the same segment after it."""
        self._in_head = False
        self._keep_alive = False
        self._no_body = False
        self._interim = 0
        self._overhead = 0
        self._drain_left: int | None = None
        self._fault: BadAnswer | None = None
        self._unsent: memoryview | None = None
        self._write_paused = False
        self._read_paused = False
        self.lost = False
        """Aborted or ended: of no use any more."""
        self._poll: select.poll | None = None

    # The pool's side.

    def start(self, head: bytes, body: bytes, *, no_body: bool) -> Answer:
        """Writes a request; ``no_body`` when its answer has none whatever its headers say (HEAD)."""
        self._answer = answer = Answer(self)
        self._in_head = True
        self._head = b""
        self._no_body = no_body
        self._interim = 0
        self._overhead = 0
        if len(body) <= WRITE_PIECE // 4:
            self.transport.write(head + body if body else head)
        else:
            self.transport.write(head)
            self._unsent = memoryview(body)
            self._send_more()
        return answer

    def usable(self) -> bool:
        """No end and no unexpected byte has come, as far as the kernel knows at this moment.

        The loop may not have got round to reading them yet: after a long callback a FIN can be older than this call.
        """
        if self.lost or self.transport.is_closing():
            return False
        if not _CAN_POLL:
            return True
        poll = self._poll
        if poll is None:
            self._poll = poll = select.poll()
            poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def abort(self) -> None:
        """Closes the socket at once, and drops what is unsent."""
        self._answer = None
        self._unsent = None
        if not self.lost:
            self.lost = True
            self.transport.abort()

    def shut(self, why: str) -> None:
        """:meth:`abort`, and whoever waits for the answer hears of it."""
        self._end(ConnectionBroken(why, silent=self._silent(), reused=self.served > 0))

    # The answer's side.

    def resume(self) -> None:
        """There is room for more."""
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()

    def drain(self) -> None:
        """Nobody reads what still comes: it is dropped, and beyond ``LINGER_BYTES`` the connection with it."""
        self._drain_left = LINGER_BYTES
        self.resume()

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or self._parser is None:
            self.abort()  # bytes without a request: whatever they are, they aren't the next request's answer
            return
        self._overhead += len(data)
        if self._in_head:
            self._head = self._head + data if self._head else data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not answer.complete:
                self._end(self._fault or BadAnswer(f"the answer is no valid HTTP: {error}"))
                return
            self._keep_alive = False  # more than an answer came
        if answer.complete:
            self._complete()
        elif self._overhead > MAX_HEAD_BYTES:
            # No body byte for 64 KiB: an endless head, trailer or chunk extension.
            part = "head" if self._in_head else "chunk framing"
            self._end(BadAnswer(f"the answer's {part} is longer than {MAX_HEAD_BYTES} bytes"))
        elif answer.unread > HIGH_WATER and not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._end_of_stream(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_of_stream(exc)
        self._parser = None  # it holds our bound methods: a cycle
        self._poll = None
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._send_more()

    # llhttp's side.

    def on_headers_complete(self) -> None:
        answer, parser = self._answer, self._parser
        if answer is None or parser is None or not self._in_head:
            raise self._refuse("a second answer to one request")
        status = parser.get_status_code()
        came = self._head.lstrip(b"\r\n")  # llhttp, too, lets empty lines before the status line pass
        # llhttp has found the head valid, its line ends included; it is looked at as one piece, because a callback for
        # each of its fields would cost more than all the rest.
        end = came.find(b"\r\n\r\n")
        if not 0 < end <= MAX_HEAD_BYTES:
            raise self._refuse(f"the answer's head is longer than {MAX_HEAD_BYTES} bytes")
        if status < 200:
            self._head = came[end + 4 :]
            self._skip_interim(status)
            return
        if status > 599:
            raise self._refuse(f"the answer's status is {status}")
        self._in_head = False
        self._head = b""
        self._overhead = 0
        block = came[came.find(b"\r\n") : end + 2]
        headers = Headers(block)
        if self._no_body:
            answer.begin(status, headers, "", until_eof=False)
            answer.finish()
            raise _Stop  # llhttp can't be told that no body follows
        names = block.lower()
        has_length = b"\r\ncontent-length:" in names or status in (204, 304)
        if b"\r\ntransfer-encoding:" in names:
            has_length = True
            if [value.lower() for value in headers.all("transfer-encoding")] != ["chunked"]:
                raise self._refuse("the answer's transfer-encoding is not known")
        if b"\r\nkeep-alive:" in names:
            self.idle_limit_s = _keep_alive_timeout(headers["keep-alive"])
        encoding = _content_encoding(headers) if b"\r\ncontent-encoding:" in names else ""
        self._keep_alive = parser.should_keep_alive()
        if status >= 400 and self._unsent is not None:
            self._unsent = None  # the server said no before it had read all: the rest would be for nobody
            self._keep_alive = False
        answer.begin(status, headers, encoding, until_eof=not has_length)

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        answer = self._answer
        if answer is None:
            return
        if self._drain_left is None:
            answer.add(data)
            return
        self._drain_left -= len(data)
        if self._drain_left < 0:
            raise _Stop

    def on_message_complete(self) -> None:
        if not self._in_head and self._answer is not None:
            self._answer.finish()

    # Inside.

    def _skip_interim(self, status: int) -> None:
        self._interim += 1
        if status == 101:
            raise self._refuse("the answer switches protocols, which nobody asked for")
        if self._interim > MAX_INTERIM:
            raise self._refuse(f"more than {MAX_INTERIM} interim (1xx) answers and no final one")

    def _refuse(self, why: str) -> _Stop:
        self._fault = BadAnswer(why)
        return _Stop()

    def _send_more(self) -> None:
        unsent = self._unsent
        while unsent is not None and not self._write_paused and not self.lost:
            self.transport.write(unsent[:WRITE_PIECE])
            self._unsent = unsent = unsent[WRITE_PIECE:] if len(unsent) > WRITE_PIECE else None

    def _complete(self) -> None:
        """The answer is whole: this connection is free, or at its end."""
        self._answer = None
        self._drain_left = None
        if not self._keep_alive or self._unsent is not None or self.transport.get_write_buffer_size():
            self.abort()
            return
        self.resume()
        self.served += 1
        self._on_idle(self)

    def _end_of_stream(self, exc: Exception | None) -> None:
        answer = self._answer
        if answer is None:
            self.abort()
            return
        if answer.until_eof and exc is None:
            answer.finish()
            self._answer = None
            self.abort()
            return
        where = "before a byte of the answer came" if self._silent() else "in the middle of the answer"
        how = f" ({exc})" if exc is not None and str(exc) else ""
        verb = "was reset" if exc is not None else "ended"
        message = f"the connection {verb} {where}{how}"
        self._end(ConnectionBroken(message, silent=self._silent(), reused=self.served > 0))

    def _silent(self) -> bool:
        return self._in_head and self._overhead == 0

    def _end(self, failure: HoldfastError) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.finish(failure)
        self.abort()


class _Stop(Exception):
    """Makes llhttp stop; why is in the connection's `_fault`, or the answer is complete."""


def _content_encoding(headers: Headers) -> str:
    """All codings but ``identity``, as one string: what has two is unknown to `Inflater`."""
    codings = [part.strip().lower() for value in headers.all("content-encoding") for part in value.split(",")]
    return ",".join(coding for coding in codings if coding not in ("", "identity"))


def _keep_alive_timeout(value: str) -> float:
    """Seconds less one, since the server's clock began before ours; without a sane ``timeout=`` no limit."""
    for part in value.split(","):
        name, _, number = part.partition("=")
        digits = number.strip()
        if name.strip().lower() == "timeout" and digits.isascii() and digits.isdigit() and len(digits) < 10:
            return float(digits) - 1
    return float("inf")
