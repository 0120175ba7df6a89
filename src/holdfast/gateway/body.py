"""Reading a request's body, within its bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import Abandoned, BodyTooLarge, InvalidRequest, RequestTimeout
from holdfast.resilience.timeout import Limit, timers

if TYPE_CHECKING:
    from holdfast.gateway.asgi import Message, Request

__all__ = ["read_body"]


async def read_body(request: Request, *, limit: int, read_s: float) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: more than ``limit`` bytes, stated or sent.
        RequestTimeout: not there within ``read_s`` seconds.
        InvalidRequest: it is compressed, which no caller of these APIs does.
        Abandoned: the caller left.
    """
    encoding = request.headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise InvalidRequest(
            "a compressed body is not understood: send it without Content-Encoding", status=415
        )
    stated = request.headers.get(b"content-length")
    if stated is not None and int(stated) > limit:
        raise _too_large(limit)
    message = await _first(request, read_s)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    parts, size = [body], len(body)
    try:
        with Limit(timers(), request.started_at + read_s):
            while message.get("more_body", False):
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Abandoned("the caller left while sending its request")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise _too_slow(read_s) from None
    return b"".join(parts)


async def _first(request: Request, read_s: float) -> Message:
    """The first piece: nearly always there already, and the whole."""
    try:
        with Limit(timers(), request.started_at + read_s):
            message = await request.receive()
    except TimeoutError:
        raise _too_slow(read_s) from None
    if message["type"] == "http.disconnect":
        raise Abandoned("the caller left while sending its request")
    return message


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit / 2**20:g} MiB ([gateway] max_body_mb)")


def _too_slow(read_s: float) -> RequestTimeout:
    return RequestTimeout(f"the request was not received within {read_s:g} s ([gateway] read_s)")
