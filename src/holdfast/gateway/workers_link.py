"""What a supervisor and its workers say to each other, over the socket pair that each worker is born with.

A frame is four bytes of length and one message in MessagePack. Nothing of it leaves the machine, and neither side takes more
than :data:`LARGEST` from the other. The end of the stream is a message as well: that the other one is gone, however it went.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping  # noqa: TC003  # msgspec reads the annotations
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import msgspec

from holdfast.gateway.workers_sums import Family  # noqa: TC001  # msgspec reads the annotations

if TYPE_CHECKING:
    import socket

__all__ = [
    "LARGEST",
    "Ask",
    "Begin",
    "Counted",
    "Failed",
    "FromWorker",
    "Link",
    "Reload",
    "Scraped",
    "Serving",
    "Sums",
    "ToWorker",
    "last_words",
    "read_begin",
]

LARGEST: Final = 64 * 2**20
"""Bytes of one message: a configuration of 4 MB, or the numbers of some hundred thousand series."""
_HEAD: Final = 4

_T = TypeVar("_T")


class Begin(msgspec.Struct, frozen=True, tag_field="says", tag="begin"):
    """The supervisor's first: what to serve, as it read and checked it."""

    number: int
    """The worker's, from 1."""
    workers: int
    listener: int
    """The descriptor that it inherited."""
    file: str | None
    text: bytes | None
    """What the file held. A worker that is started again isn't to find one that somebody is writing."""
    host: str | None = None
    port: int | None = None
    simulated: Mapping[str, str] = {}
    """Base URLs of simulated providers, if that is what is served."""


class Ask(msgspec.Struct, frozen=True, tag_field="says", tag="ask"):
    """The supervisor wants the worker's numbers."""

    id: int


class Sums(msgspec.Struct, frozen=True, tag_field="says", tag="sums"):
    """The supervisor's answer to :class:`Scraped`: everyone's numbers together."""

    id: int
    families: list[Family]


class Serving(msgspec.Struct, frozen=True, tag_field="says", tag="serving"):
    """The worker takes connections."""

    url: str
    keyed: bool
    """Callers need keys."""


class Failed(msgspec.Struct, frozen=True, tag_field="says", tag="failed"):
    """The worker can't serve, and ends. ``message`` is for people."""

    message: str


class Counted(msgspec.Struct, frozen=True, tag_field="says", tag="counted"):
    """The worker's numbers: asked for, or told by itself, so that they outlive it."""

    families: list[Family]
    id: int | None = None


class Scraped(msgspec.Struct, frozen=True, tag_field="says", tag="scraped"):
    """Somebody scrapes the worker, which wants everyone's numbers."""

    id: int


class Reload(msgspec.Struct, frozen=True, tag_field="says", tag="reload"):
    """The worker was told to read the configuration again, and does: the others are to as well."""


ToWorker: TypeAlias = Begin | Ask | Sums
FromWorker: TypeAlias = Serving | Failed | Counted | Scraped | Reload

_to_worker: Final[msgspec.msgpack.Decoder[ToWorker]] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: Final[msgspec.msgpack.Decoder[FromWorker]] = msgspec.msgpack.Decoder(FromWorker)


class Link:
    """One end, on an event loop. Reading is for one task; sending is for any, and never waits.

    What isn't taken is kept: the other side reads all the time, or is dead, or hangs and gets a few hundred kilobytes every
    now and then. So more than :data:`LARGEST` of it ends the link.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Link:
        """The link over ``end``, which is the link's from now on."""
        end.settimeout(0)
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: ToWorker | FromWorker) -> None:
        """Does nothing once the other side is gone."""
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > LARGEST:
            transport.abort()
            return
        self._writer.write(_frame(message))

    async def next_from_worker(self) -> FromWorker | None:
        """None: it is gone. A frame that can't be read counts as that, too."""
        return await self._next(_from_worker)

    async def next_to_worker(self) -> ToWorker | None:
        """None: the supervisor is gone."""
        return await self._next(_to_worker)

    async def _next(self, decoder: msgspec.msgpack.Decoder[_T]) -> _T | None:
        try:
            size = int.from_bytes(await self._reader.readexactly(_HEAD))
            if size > LARGEST:
                return None
            return decoder.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
            return None

    async def flush(self) -> None:
        """Returns when everything is sent, or can't be."""
        try:
            await self._writer.drain()
        except OSError:
            return

    def close(self) -> None:
        """A second call does nothing."""
        self._writer.close()


def read_begin(end: socket.socket) -> Begin | None:
    """The first message, before there is a loop. None: the supervisor is gone."""
    head = _exactly(end, _HEAD)
    body = None if head is None else _exactly(end, int.from_bytes(head))
    message = None if body is None else _to_worker.decode(body)
    return message if isinstance(message, Begin) else None


def last_words(end: socket.socket, message: FromWorker) -> None:
    """Sends ``message`` when there is no loop any more, and the link over the same socket is closed or was never made."""
    try:
        end.settimeout(1.0)
        end.sendall(_frame(message))
    except OSError:  # nobody is there to be told
        return


def _exactly(end: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = end.recv(min(size - len(data), 2**20))
        if not part:
            return None
        data += part
    return bytes(data)


def _frame(message: ToWorker | FromWorker) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_HEAD) + body
