"""The way in: which paths are a session's, where the key stands, and the WebSocket handshake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeaderValue
from websockets.http11 import Request as Handshake
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from holdfast.chaos.realtime.paths import PATHS
from holdfast.chaos.wire.errors import Problem
from holdfast.chaos.wire.keys import bearer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.typing import Subprotocol

    from holdfast.chaos.http import Request

__all__ = ["Visit", "shake", "visit"]

_KEY_PROTOCOL = "openai-insecure-api-key."
_OFFERED = re.compile(rb"openai-insecure-api-key\.([^,\s]+)")
_SPOKEN = "realtime"


class Visit(msgspec.Struct, frozen=True):
    """A handshake request, understood."""

    request: Request
    """Without the key, wherever it stood but in the headers that are for keys."""
    model: str | None
    key: bytes | None
    azure: bool


def visit(request: Request) -> Visit:
    """Read a request to one of the paths."""
    azure = PATHS[request.path]
    if request.path == "/openai/realtime":
        model = request.argument("deployment") if request.argument("api-version") is not None else None
    else:
        model = request.argument("model")
    return Visit(_masked(request), model, _key(request), azure)


def _key(request: Request) -> bytes | None:
    """The key: in the header, where a browser can put it, or, as Azure allows, in the query."""
    if (found := request.header(b"api-key") or bearer(request)) is not None:
        return found
    for name, value in request.headers:
        if name == b"sec-websocket-protocol" and (offered := _OFFERED.search(value)):
            return offered[1]
    given = request.argument("api-key")
    return None if given is None else given.encode()


def _masked(request: Request) -> Request:
    headers = [
        (
            name,
            _OFFERED.sub(_KEY_PROTOCOL.encode() + b"***", value)
            if name == b"sec-websocket-protocol"
            else value,
        )
        for name, value in request.headers
    ]
    query = request.query
    if "api-key=" in query:
        pairs = parse_qsl(query, keep_blank_values=True)
        query = urlencode([(name, "***" if name == "api-key" else value) for name, value in pairs])
    return msgspec.structs.replace(request, headers=headers, query=query)


def shake(request: Request, max_size: int) -> tuple[ServerProtocol, bytes] | Problem:
    """The protocol's machine, ready for frames of messages up to ``max_size`` bytes, and the bytes of the 101."""
    protocol = ServerProtocol(select_subprotocol=_select)
    headers = Headers()
    try:
        for name, value in request.headers:
            headers[name.decode("latin-1")] = value.decode("latin-1")
    except InvalidHeaderValue as error:
        return Problem(400, message=f"This is no WebSocket handshake: {error}.")
    http = "HTTP/1.1" if request.http11 else "HTTP/1.0"
    response = protocol.accept(Handshake(request.path, headers, request.method, http))
    # As in other answers: the time of day would make two runs of one seed differ.
    response.headers.pop("Date", None)
    if response.status_code != 101:
        why = f"This is no WebSocket handshake: {protocol.handshake_exc}."
        return Problem(response.status_code, message=why, code="websocket_handshake_failed")
    # That machine waits for a request, which was read elsewhere: frames are another one's.
    return ServerProtocol(state=OPEN, max_size=max_size), response.serialize()


def _select(_protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next((name for name in offered if name == _SPOKEN), None)
