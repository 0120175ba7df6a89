"""A closed loop of keep-alive connections that measures every answer: each sends its next request when the last is whole.

One uvloop, one parser for each connection; about 20 µs for each request, on a core of its own.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field

import httptools
import uvloop

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Tell me something about the sea, please."},
]


PATHS = {"openai_chat": "/v1/chat/completions", "anthropic": "/v1/messages"}


def request_bytes(port: int, *, stream: bool, pace_ms: float = 0.0, dialect: str = "openai_chat") -> bytes:
    body = {"model": "chat", "messages": MESSAGES, "temperature": 0.7, "max_tokens": 200}
    if dialect == "anthropic":
        body |= {"system": MESSAGES[0]["content"], "messages": MESSAGES[1:]}
    if stream:
        body["stream"] = True
    if pace_ms:
        body["pace_ms"] = pace_ms
    data = json.dumps(body).encode()
    head = (
        f"POST {PATHS[dialect]} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


@dataclass
class Result:
    seconds: float = 0.0
    bytes: int = 0
    failures: int = 0
    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.latencies)

    def quantile_ms(self, q: float, *, first: bool = False) -> float:
        values = sorted(self.first_bytes if first else self.latencies)
        return values[min(len(values) - 1, int(q * len(values)))] * 1e3 if values else float("nan")


class Caller(asyncio.Protocol):
    def __init__(self, request: bytes, until: float, result: Result, done: asyncio.Future) -> None:
        self.request, self.until, self.result, self.done = request, until, result, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.whole = False
        self.first = 0.0
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not self.first:
            self.first = time.perf_counter()
        self.result.bytes += len(data)
        self.parser.feed_data(data)
        if self.whole:
            now = time.perf_counter()
            if self.parser.get_status_code() == 200:
                self.result.latencies.append(now - self.sent)
                self.result.first_bytes.append(self.first - self.sent)
            else:
                self.result.failures += 1
            if now < self.until:
                self.next()
            else:
                self.transport.close()

    def on_message_complete(self) -> None:
        self.whole = True

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.whole:
            self.result.failures += 1
        if not self.done.done():
            self.done.set_result(None)


async def _load(port: int, request: bytes, connections: int, seconds: float) -> Result:
    loop = asyncio.get_running_loop()
    result = Result()
    start = time.perf_counter()
    ends = []
    for _ in range(connections):
        done = loop.create_future()
        await loop.create_connection(
            lambda done=done: Caller(request, start + seconds, result, done), "127.0.0.1", port
        )
        ends.append(done)
    await asyncio.wait_for(asyncio.gather(*ends), seconds + 60)
    result.seconds = time.perf_counter() - start
    return result


def load(
    port: int,
    *,
    connections: int,
    seconds: float,
    stream: bool,
    pace_ms: float = 0.0,
    dialect: str = "openai_chat",
) -> Result:
    """Loads ``port`` and returns what was measured."""
    request = request_bytes(port, stream=stream, pace_ms=pace_ms, dialect=dialect)
    return uvloop.run(_load(port, request, connections, seconds))
