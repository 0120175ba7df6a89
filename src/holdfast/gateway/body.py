"""Reading a request's body, within its bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import Abandoned, BodyTooLarge, InvalidRequest, RequestTimeout
from holdfast.resilience.timeout import Limit, timers

if TYPE_CHECKING:
    from holdfast.gateway.asgi import Request

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
    parts: list[bytes] = []
    size = 0
    try:
        with Limit(timers(), request.started_at + read_s):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Abandoned("the caller left while sending its request")
                part: bytes = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
                if not message.get("more_body", False):
                    return part if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise RequestTimeout(f"the request was not received within {read_s:g} s ([gateway] read_s)") from None


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit / 2**20:g} MiB ([gateway] max_body_mb)")
