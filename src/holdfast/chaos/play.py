"""Puts a reply on the socket, byte for byte and at its times, and counts what truly went.

The only place that knows sockets. Nothing is produced while the client doesn't read: the transport's buffer is kept at
zero, so at most one write waits in this process, and a huge body never stands in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

from holdfast.chaos.plan import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.clock import Clock, Timer
    from holdfast.chaos.plan import Part, Reply

__all__ = ["Player", "linger_reset"]

_LARGEST = 1 << 20  # bytes gathered for one write
_BURST = 64  # writes before others get their turn
_UNSENT_WAIT_S = 2.0  # longest wait for a client that takes nothing, before a reset
_UNSENT_STEP_S = 0.0005
_SIOCOUTQNSD = 0x894B  # linux/sockios.h: bytes of the send queue that never left
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_NO_LINGER = struct.pack("ii", 1, 0)


def linger_reset(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN; what the kernel still holds is thrown away."""
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the peer may have been faster
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


class Player:
    """One reply being played. ``served`` is told of parts that went; ``done`` once, at our end of the exchange."""

    def __init__(
        self,
        transport: asyncio.Transport,
        reply: Reply,
        *,
        clock: Clock,
        http11: bool,
        close: bool,
        served: Callable[[int, list[Part]], None],
        head_sent: Callable[[], None],
        done: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._reply = reply
        self._clock = clock
        self._chunked = reply.length is None and http11
        self._close = close
        self._served = served
        self._head_sent = head_sent
        self._done = done
        self._parts = iter(reply.parts)
        self._next: Part | None = None
        self._head = b""
        self._timer: Timer | None = None
        self._blocked = False
        self._unflushed: tuple[int, list[Part]] | None = None
        self._rest = b""
        self._rest_at = 0
        self._rest_parts: list[Part] = []
        self._segment_left = 0
        self._due = 0.0
        self._sleeping = False
        self._stop_source: Callable[[], None] | None = None

    def start(self) -> None:
        if self._reply.wait is None or self._reply.wait(self._enter):
            self._enter()

    def _enter(self) -> None:
        """There is a place for this reply: its pauses begin."""
        if self._blocked:  # the client left while it waited
            return
        self._due = self._clock.now()
        if self._reply.live is not None:
            self._stop_source = self._reply.live(self._wake)
        if self._reply.delay:
            self._due += self._reply.delay
            self._timer = self._clock.call_at(self._due, self._begin)
        else:
            self._begin()

    def _wake(self) -> None:
        """A live source has more."""
        if self._sleeping:
            self._sleeping = False
            self._timer = self._loop.call_soon(self._go_on_live)

    def _go_on_live(self) -> None:
        self._timer = None
        self._next = next(self._parts, None)
        self._advance()

    def abandon(self) -> None:
        """The client left by a clean close: count what of the last write went to the kernel, and stop."""
        if self._unflushed is not None:
            written, _ = self._unflushed
            self._unflushed = None
            self._served(written - self._transport.get_write_buffer_size(), [])
        self.stop()

    def stop(self) -> None:
        """The connection is gone, or the reply has ended: nothing more is written."""
        if self._stop_source is not None:
            self._stop_source()
            self._stop_source = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._blocked = True

    def block(self) -> None:
        """The socket is full."""
        self._blocked = True

    def unblock(self) -> None:
        """All was handed to the kernel: go on. Time that the client took isn't made up for."""
        self._blocked = False
        if self._unflushed is not None:
            written, self._unflushed = self._unflushed, None
            self._served(*written)
        self._due = max(self._due, self._clock.now())
        if self._timer is None:
            self._advance()

    def _begin(self) -> None:
        self._timer = None
        if self._reply.status is not None:
            self._head = self._render_head(self._reply.status)
            self._next = next(self._parts, None)
            if self._reply.head_step:
                self._drip()
                return
            if self._reply.early_head and self._next is not None and self._next.waits:
                self._write(b"", [])
        self._advance()

    def _drip(self) -> None:
        """The head, bit by bit."""
        self._timer = None
        if self._blocked or self._transport.is_closing():
            return
        size = self._reply.head_step
        now, self._head = self._head[:size], self._head[size:]
        if not self._head:
            self._head_sent()
        self._send(now, [])
        if self._reply.head_pause == FOREVER:
            return
        self._due += self._reply.head_pause
        self._timer = self._clock.call_at(self._due, self._drip if self._head else self._advance)

    def _render_head(self, status: int) -> bytes:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self._reply.headers.items()]
        if self._reply.length is not None:
            lines.append(f"content-length: {self._reply.length}")
        elif self._chunked:
            lines.append("transfer-encoding: chunked")
        if self._close or (self._reply.length is None and not self._chunked):
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _advance(self) -> None:
        """Write until something must be waited for: a pause, a full socket, or the others' turn."""
        self._timer = None
        for _ in range(_BURST):
            if self._blocked or self._transport.is_closing():  # a failed write closes before it is reported
                return
            if self._rest:
                self._write_segment()
                if self._reply.segment_pause:
                    due = self._clock.now() + self._reply.segment_pause
                    self._timer = self._clock.call_at(due, self._advance)
                else:
                    self._timer = self._loop.call_soon(self._advance)  # one turn of the loop per segment
                return
            part = self._next
            if part is None:
                self._finish()
                return
            if (part.pause or part.hold) and self._wait(part):
                return
            self._write_batch(part)
        if not self._blocked:
            self._timer = self._loop.call_soon(self._advance)

    def _wait(self, part: Part) -> bool:
        """Whether ``part`` isn't due yet. Times are absolute, so that late timers don't add up to a slower pace."""
        if part.hold == FOREVER:
            self._sleeping = self._stop_source is not None
            return True
        if part.hold:
            self._due = self._clock.now() + part.hold
        self._due += part.pause
        part.pause = part.hold = 0.0
        if self._due <= self._clock.now():
            return False
        self._timer = self._clock.call_at(self._due, self._advance)
        return True

    def _write_batch(self, part: Part) -> None:
        """Write ``part`` and, up to the batch's tokens, those that follow without a pause."""
        parts = [part]
        tokens = part.tokens
        following = next(self._parts, None)
        if self._reply.batch > 1:
            size = len(part.data)
            while (
                following is not None
                and not following.waits
                and tokens < self._reply.batch
                and size < _LARGEST
            ):
                parts.append(following)
                tokens += following.tokens
                size += len(following.data)
                following = next(self._parts, None)
        self._next = following
        data = part.data if len(parts) == 1 else b"".join([p.data for p in parts])
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if following is None and self._reply.ending == "complete":
                data += b"0\r\n\r\n"
        self._write(data, parts)

    def _write(self, data: bytes, parts: list[Part]) -> None:
        if self._head:
            data = self._head + data
            self._head = b""
            self._head_sent()
        if self._reply.segment or self._reply.segments is not None:
            self._rest += data
            self._rest_parts += parts
            return
        self._send(data, parts)

    def _write_segment(self) -> None:
        if not self._segment_left:
            self._segment_left = self._reply.segment or next(self._reply.segments or iter(()), sys.maxsize)
        data = self._rest[self._rest_at : self._rest_at + self._segment_left]
        self._rest_at += len(data)
        self._segment_left -= len(data)
        parts: list[Part] = []
        if self._rest_at >= len(self._rest):
            self._rest, self._rest_at = b"", 0
            parts, self._rest_parts = self._rest_parts, []
        self._send(data, parts)

    def _send(self, data: bytes, parts: list[Part]) -> None:
        self._transport.write(data)
        if self._blocked:  # set by the transport during the write: some of it waits in this process
            self._unflushed = (len(data), parts)
        else:
            self._served(len(data), parts)

    def _finish(self) -> None:
        if self._head:  # an empty body
            empty = b"0\r\n\r\n" if self._chunked and self._reply.ending == "complete" else b""
            self._write(empty, [])
            if self._rest or self._blocked:
                self._timer = None if self._blocked else self._loop.call_soon(self._advance)
                return
        if self._reply.ending == "reset":
            self._reset_when_sent(_unsent(self._transport), self._loop.time() + _UNSENT_WAIT_S)
        elif self._reply.ending != "hang":
            self._done()

    def _reset_when_sent(self, last: int, until: float) -> None:
        """A reset destroys what our kernel hasn't sent yet, and no event tells when it has: look, briefly.

        A client that reads slowly is waited for; one that takes nothing for a while gets its reset.
        """
        self._timer = None
        unsent = _unsent(self._transport)
        now = self._loop.time()
        if unsent < last:
            until = now + _UNSENT_WAIT_S
        if unsent and now < until:
            self._timer = self._loop.call_later(_UNSENT_STEP_S, self._reset_when_sent, unsent, until)
            return
        self._done()


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes written that our kernel still holds back; 0 where the system doesn't tell."""
    if sys.platform != "linux":
        return 0
    import fcntl  # not on every platform

    sock = transport.get_extra_info("socket")
    try:
        answer = fcntl.ioctl(sock.fileno(), _SIOCOUTQNSD, b"\0\0\0\0")
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", answer)[0])
