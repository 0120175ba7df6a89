"""The few ASGI shapes that we use, and the answers that are the same everywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.dialects.base import Dialect
    from holdfast.secret import Secret

__all__ = ["Message", "Receive", "Request", "Scope", "Send", "request_ids", "respond"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]


class Request(msgspec.Struct, kw_only=True):
    """One HTTP request, as far as it was read."""

    id: str
    method: str
    path: str
    headers: dict[bytes, bytes]
    """Names in lower case; of repeated ones the last."""
    receive: Receive
    send: Send
    started_at: float
    """Monotonic seconds."""
    started_ns: int
    voice: Dialect
    """In which it is answered, errors too."""
    query: bytes = b""
    key: str = "local"
    """The name of the caller's key."""
    brought: Mapping[str, Secret] = {}
    """Keys to providers that came with it, by the way they travelled."""
    told: HeaderList = []  # msgspec copies an empty mutable default for each instance
    """Headers that go out with an error too."""
    answered: bool = False
    """A status went out: no other can follow."""
    abort: Callable[[], None] | None = None
    """Ends the connection at once, where the server offers that (``abort`` of the ASGI extension ``holdfast``)."""

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1").strip()

    async def hang_up(self) -> None:
        """Ends the connection, whatever its client has not read: an orderly close would wait for it to read that."""
        if self.abort is not None:
            self.abort()
            while (await self.receive())["type"] != "http.disconnect":
                pass


def request_ids(request: Request) -> HeaderList:
    """The request's id, where its caller's SDK looks for it and where everybody can find it."""
    said = request.id.encode()
    ids = [(b"x-request-id", said), (b"x-holdfast-request-id", said)]
    header = request.voice.request_id_header
    return ids if header == b"x-request-id" else [*ids, (header, said)]


async def respond(
    request: Request,
    status: int,
    body: bytes,
    *,
    content_type: bytes = b"application/json",
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Sends a whole answer."""
    fields: HeaderList = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *request_ids(request),
        *headers,
    ]
    request.answered = True
    await request.send({"type": "http.response.start", "status": status, "headers": fields})
    await request.send({"type": "http.response.body", "body": body})
