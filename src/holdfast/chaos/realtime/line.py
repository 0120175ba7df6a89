"""The bytes of a session: messages in, frames out, in order, and how much of them truly went.

Nothing is produced while the client doesn't read: the transport's buffer is kept at zero, so that one write at most waits
there; what a client's own events call forth waits here, and beyond a bound no more of its events are taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN

from holdfast.chaos.plan import Reply
from holdfast.chaos.play import Player, linger_reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.server import ServerProtocol

    from holdfast.chaos.clock import Clock, Timer
    from holdfast.chaos.journal import End
    from holdfast.chaos.plan import Part

    Served = Callable[[int, list[Part]], None]

__all__ = ["Line"]

_CLOSE_WAIT_S = 5.0  # for the client's close frame, or its end
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
_FULL = 1 << 20  # bytes waiting here before no more of the client's events are taken


class _Write(msgspec.Struct, gc=False):
    """Bytes to be written, and who wants to know when they are."""

    data: bytes
    sizes: Iterator[int] | None = None
    """Of its segments, one after the other; what is left when they are used up is one segment. None: so is all of it."""
    pause: float = 0.0
    """Seconds between them."""
    parts: list[Part] = []
    served: Served | None = None
    at: int = 0


class Line:
    """One WebSocket on its transport. ``free`` is called whenever all that was to be written has been."""

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: ServerProtocol,
        clock: Clock,
        *,
        count: Callable[[int], None],
        free: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._protocol = protocol
        self._clock = clock
        self._count = count
        self._free = free
        self._writes: deque[_Write] = deque()
        self._waiting: deque[_Write] = deque()  # whole messages, behind one that is sent in pieces
        self._size = 0
        self._blocked = False
        self._unflushed: tuple[int, _Write] | None = None
        self._turn: Timer | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._farewell: Player | None = None
        self._message: list[bytes] = []  # the pieces of one that is coming
        self._text = True
        self._last: Callable[[], None] | None = None  # what ends it, once all was written
        self.deaf = False
        """Whether nothing that comes is heard any more, pings included."""

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._protocol.state is OPEN and not self.deaf and not self._transport.is_closing()

    @property
    def clogged(self) -> bool:
        """Whether something waits to be written."""
        return self._blocked or bool(self._writes) or self._turn is not None

    @property
    def in_message(self) -> bool:
        """Whether a message was begun that is sent in pieces."""
        return self._protocol.expect_continuation_frame

    @property
    def full(self) -> bool:
        """Whether too much waits for a client that doesn't read."""
        return self._size >= _FULL

    @property
    def over(self) -> bool:
        """Whether all has been said, as the protocol sees it."""
        return self._protocol.eof_sent

    @property
    def end(self) -> End:
        """How a connection that is over has ended, if nobody knows better."""
        if self._protocol.close_sent is None:
            return "client_left"
        return "closed_by_us" if self._protocol.close_rcvd is None else "complete"

    # In.

    def receive(self, data: bytes) -> list[bytes | None]:
        """The messages that are whole now; None stands for one that is no text."""
        self._protocol.receive_data(data)
        messages: list[bytes | None] = []
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode in _DATA:
                self._take(frame, messages)
        self.flush()
        return messages

    def _take(self, frame: Frame, messages: list[bytes | None]) -> None:
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        self._message.append(bytes(frame.data))
        if frame.fin:
            messages.append(b"".join(self._message) if self._text else None)
            self._message.clear()

    # Out.

    def send(self, message: bytes) -> None:
        """A whole message of the session's own; it waits for one that is being sent in pieces."""
        if not self.open:
            return
        if self.in_message:
            self._waiting.append(_Write(message))
            self._size += len(message)
            return
        self._protocol.send_text(message)
        self.flush()

    def send_parts(
        self,
        messages: list[bytes],
        parts: list[Part],
        served: Served,
        sizes: Iterator[int] | None = None,
        pause: float = 0.0,
    ) -> None:
        """Whole messages in one write, or in segments of those sizes; ``served`` is told when they went."""
        for message in messages:
            self._protocol.send_text(message)
        self._put(_Write(self._framed(), sizes, pause, parts, served))

    def send_piece(self, piece: bytes, parts: list[Part], served: Served, *, last: bool) -> None:
        """The next piece of a message; ``last`` ends it."""
        if self.in_message:
            self._protocol.send_continuation(piece, fin=last)
        else:
            self._protocol.send_text(piece, fin=last)
        self._put(_Write(self._framed(), parts=parts, served=served))
        if last:
            while self._waiting and self.open:
                message = self._waiting.popleft().data
                self._size -= len(message)
                self._protocol.send_text(message)
            self.flush()
            if not self.clogged:
                self._loop.call_soon(self._free)  # other responses may have waited for this message's end

    def _framed(self) -> bytes:
        return b"".join(self._protocol.data_to_send())

    def flush(self) -> None:
        """Write what the protocol has to say; its end of all is the connection's."""
        for data in self._protocol.data_to_send():
            if data:
                self._put(_Write(data))
            else:
                self._say_no_more()

    def greet(self, head: bytes) -> None:
        """The handshake's answer."""
        self._put(_Write(head))

    def _put(self, write: _Write) -> None:
        self._size += len(write.data)
        self._writes.append(write)
        if self._turn is None:
            self._write()

    def _write(self) -> None:
        """Write until the socket is full; one segment per turn of the loop, where they are to be apart."""
        self._turn = None
        while self._writes and not self._blocked and not self._transport.is_closing():
            write = self._writes[0]
            size = next(write.sizes, 0) if write.sizes is not None else 0
            data = write.data[write.at : write.at + size] if size else write.data[write.at :]
            write.at += len(data)
            self._size -= len(data)
            whole = write.at >= len(write.data)
            if whole:
                self._writes.popleft()
            self._transport.write(data)
            if not self._passed(len(data), write, whole=whole):
                return
            if write.sizes is not None and self._rests(write.pause):
                return

    def _rests(self, pause: float) -> bool:
        """Whether there is something to wait for between two segments."""
        if pause:
            self._turn = self._clock.call_at(self._clock.now() + pause, self._write_on)
        elif self._writes:
            self._turn = self._loop.call_soon(self._write_on)
        return self._turn is not None

    def _passed(self, size: int, write: _Write, *, whole: bool) -> bool:
        """Whether the kernel took it all."""
        if self._blocked:  # set by the transport during the write: some of it waits in this process
            self._unflushed = (size, write)
            return False
        self._went(size, write, whole=whole)
        return True

    def _write_on(self) -> None:
        self._write()
        if self._last is not None and not self._writes:
            self._last()
        elif not self.clogged:
            self._free()

    def _went(self, size: int, write: _Write, *, whole: bool) -> None:
        self._count(size)
        if write.served is not None:
            write.served(size, write.parts if whole else [])

    def block(self) -> None:
        """The socket is full."""
        self._blocked = True

    def unblock(self) -> None:
        """All was handed to the kernel."""
        self._blocked = False
        if self._unflushed is not None:
            (size, write), self._unflushed = self._unflushed, None
            self._went(size, write, whole=write.at >= len(write.data))
        if self._turn is None:
            self._write_on()

    # Ends.

    def close(self, code: int, reason: str = "") -> None:
        """The closing handshake, from our side."""
        if not self.open:
            return
        self._protocol.send_close(code, reason)
        self.flush()
        self._wait_for_end()

    def finish(self) -> None:
        """A FIN, behind what was written."""
        self._last = self._transport.close
        if not self._writes:
            self._last()

    def _say_no_more(self) -> None:
        """Our FIN, as the protocol ends; what the client still sends is read, since unread it would make this a RST."""
        self._last = self._transport.write_eof
        if not self._writes:
            self._last()
        self._wait_for_end()

    def _wait_for_end(self) -> None:
        if self._close_timer is None:
            self._close_timer = self._loop.call_later(_CLOSE_WAIT_S, self._transport.abort)

    def half_close(self) -> None:
        """A FIN, and then nothing, until the client leaves."""
        self.deaf = True
        self._transport.write_eof()

    def reset(self, done: Callable[[], None]) -> None:
        """A RST, once what was written has left; ``done`` is called just before."""
        self.deaf = True

        def now() -> None:
            done()
            linger_reset(self._transport)

        nothing = Reply(None, {}, (), ending="reset")
        self._farewell = Player(
            self._transport,
            nothing,
            clock=self._clock,
            http11=True,
            close=True,
            served=lambda _size, _parts: None,
            head_sent=lambda: None,
            done=now,
        )
        self._farewell.start()

    def abandon(self) -> None:
        """The client left by a clean close: count what of the last write went to the kernel."""
        if self._unflushed is not None:
            (size, write), self._unflushed = self._unflushed, None
            self._went(size - self._transport.get_write_buffer_size(), write, whole=False)

    def stop(self) -> None:
        """The connection is gone."""
        self.deaf = True
        self._writes.clear()
        self._waiting.clear()
        if self._turn is not None:
            self._turn.cancel()
        if self._close_timer is not None:
            self._close_timer.cancel()
        if self._farewell is not None:
            self._farewell.stop()
