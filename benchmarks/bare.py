"""The same stack without policies: uvicorn, raw ASGI, our transport, bytes through.

``python -m benchmarks.bare PORT UPSTREAM_PORT``. What the gateway costs above this is what its promises cost.
"""

from __future__ import annotations

import sys

import uvicorn

from holdfast.transport import HttpTransport
from holdfast.transport.base import Origin, Outgoing

HEADERS = ((b"content-type", b"application/json"), (b"accept-encoding", b"identity"))


class Relay:
    def __init__(self, upstream_port: int) -> None:
        self.origin = Origin("http", "127.0.0.1", upstream_port)
        self.transport: HttpTransport | None = None

    async def __call__(self, _scope, receive, send) -> None:
        if self.transport is None:
            self.transport = HttpTransport()
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        request = Outgoing(self.origin, "POST", "/v1/chat/completions", HEADERS, body)
        incoming = await self.transport.send(request, connect_s=5)
        kind = incoming.headers.get("content-type") or ""
        headers = [(b"content-type", kind.encode())]
        if not kind.startswith("text/event-stream"):
            whole = await incoming.read_all(1 << 26)
            incoming.close()
            headers.append((b"content-length", b"%d" % len(whole)))
            await send({"type": "http.response.start", "status": incoming.status, "headers": headers})
            await send({"type": "http.response.body", "body": whole})
            return
        await send({"type": "http.response.start", "status": incoming.status, "headers": headers})
        while data := await incoming.read_some():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        incoming.close()
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        Relay(int(sys.argv[2])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
    )
