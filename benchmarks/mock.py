"""A provider that costs almost nothing: canned bytes, so that what is measured is what stands before it.

Run as ``python -m benchmarks.mock PORT``. ``POST …`` with ``"stream":true`` gets CHUNKS chunks in one write; with
``"pace_ms":N`` in its body it gets one chunk per that many milliseconds; anything else a whole answer of about 1 KB.
"""

from __future__ import annotations

import asyncio
import json
import sys

import httptools
import uvloop

CHUNKS = 100


def _chunk(delta: dict, finish: str | None = None) -> bytes:
    value = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "bench",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


USAGE = {"prompt_tokens": 20, "completion_tokens": CHUNKS, "total_tokens": 20 + CHUNKS}
PIECES = [
    _chunk({"role": "assistant", "content": ""}),
    *(_chunk({"content": f" token{i:03d}"}) for i in range(CHUNKS)),
    _chunk({}, "stop"),
    b"data: "
    + json.dumps({"id": "chatcmpl-bench", "model": "bench", "choices": [], "usage": USAGE}).encode()
    + b"\n\n",
    b"data: [DONE]\n\n",
]
WHOLE = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "x" * 700},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
).encode()

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(WHOLE),
    WHOLE,
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM = HEAD + _framed(b"".join(PIECES)) + b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        streamed = b'"stream":true' in self.body or b'"stream": true' in self.body
        self.pace_ms = float(json.loads(self.body).get("pace_ms", 0)) if b'"pace_ms"' in self.body else 0.0
        self.body = b""
        if not streamed:
            self.transport.write(PLAIN)
        elif self.pace_ms:
            self.transport.write(HEAD)
            self.next(0)
        else:
            self.transport.write(STREAM)

    def next(self, position: int) -> None:
        if self.transport.is_closing():
            return
        if position == len(PIECES):
            self.transport.write(b"0\r\n\r\n")
            return
        self.transport.write(_framed(PIECES[position]))
        asyncio.get_running_loop().call_later(self.pace_ms / 1000, self.next, position + 1)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=4096)
    async with server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
