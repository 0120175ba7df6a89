"""A provider that says what it was told to: recorded answers for (method, path), every request kept. A real HTTP server
on a free port that shares no code with the product; it stands in for endpoints that aren't simulated."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

from tests.support.hosting import hosted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    Cut = Callable[[bytes], Iterable[bytes]]
    Framing = Literal["length", "chunked", "close"]

__all__ = [
    "Recorded",
    "Replay",
    "Request",
    "Script",
    "at",
    "every",
    "json_answer",
    "replaying",
    "sse_answer",
    "whole",
]

MAX_BODY = 64 << 20


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Lower-case names; of a repeated one the values joined by ``, ``."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def whole(data: bytes) -> Iterable[bytes]:
    """One segment."""
    return [data] if data else []


def every(size: int) -> Cut:
    """Segments of ``size`` bytes."""
    return lambda data: [data[start : start + size] for start in range(0, len(data), size)]


def at(*places: int) -> Cut:
    """Cut before these bytes."""

    def cut(data: bytes) -> Iterable[bytes]:
        edges = [0, *sorted(place for place in places if 0 < place < len(data)), len(data)]
        return [data[start:end] for start, end in pairwise(edges) if end > start]

    return cut


@dataclass(frozen=True)
class Recorded:
    """One answer."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: Cut = whole
    """Into segments: each is a write of its own (and a chunk, where chunked)."""
    framing: Framing = "length"
    """How the body's end is told; ``close``: by the connection's."""
    stop_after: int | None = None
    """Close after so many segments, whatever is left."""


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None, **how: Any
) -> Recorded:
    """A whole answer, or an error."""
    fields = {"content-type": "application/json", **(headers or {})}
    return Recorded(json.dumps(value).encode(), status, fields, **how)


def sse_answer(
    events: Iterable[Any], *, named: bool = False, headers: Mapping[str, str] | None = None, **how: Any
) -> Recorded:
    """A stream: a string is the data itself (``[DONE]``), all else is JSON; ``named``: with the ``type`` as event name."""
    frames = []
    for event in events:
        name = f"event: {event['type']}\n" if named and isinstance(event, dict) else ""
        frames.append(f"{name}data: {event if isinstance(event, str) else json.dumps(event)}\n\n")
    fields = {"content-type": "text/event-stream", **(headers or {})}
    return Recorded("".join(frames).encode(), 200, fields, **{"framing": "chunked", **how})


Script = dict[tuple[str, str], "Recorded | Sequence[Recorded]"]
"""Answers by (method, path). Several are given in turn, the last one again and again."""


class Replay:
    """The server; its script may be changed between requests. What isn't in it is answered with 404."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.port = 0
        self.connections = 0
        self._requests: list[Request] = []
        self._given: dict[tuple[str, str], int] = {}
        self._changed = threading.Condition()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """All so far, in the order in which they were read."""
        with self._changed:
            return list(self._requests)

    def wait_for(self, count: int, timeout: float = 5.0) -> list[Request]:
        """Blocks until there are ``count`` requests."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout):
                raise TimeoutError(f"{len(self._requests)} of {count} requests came")
            return list(self._requests)

    def _answer_to(self, request: Request) -> Recorded:
        key = (request.method, request.path)
        with self._changed:
            self._requests.append(request)
            turn = self._given[key] = self._given.get(key, 0) + 1
            self._changed.notify_all()
        recorded = self.script.get(key)
        if recorded is None:
            return json_answer({"error": f"nothing is recorded for {request.method} {request.path}"}, 404)
        if isinstance(recorded, Recorded):
            return recorded
        return recorded[min(turn, len(recorded)) - 1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for as many requests as the client makes."""
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await _send(writer, request := await _read(reader), self._answer_to(request)):
                pass


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _version = line.split(" ")
    headers: dict[str, str] = {}
    for name, _, value in (each.partition(":") for each in lines):
        key = name.lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    path, _, query = target.partition("?")
    return Request(method, path, dict(parse_qsl(query, keep_blank_values=True)), headers, body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
        assert len(body) <= MAX_BODY, "a request without an end"
    await reader.readuntil(b"\r\n")
    return body


async def _send(writer: asyncio.StreamWriter, request: Request, answer: Recorded) -> bool:
    """Writes it; True if the connection is good for another request."""
    fields = dict(answer.headers)
    if answer.framing == "length":
        fields["content-length"] = str(len(answer.body))
    elif answer.framing == "chunked":
        fields["transfer-encoding"] = "chunked"
    else:
        fields["connection"] = "close"
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"HTTP/1.1 {answer.status} x\r\n{lines}\r\n".encode("latin-1"))
    if request.method == "HEAD":
        return True
    for count, segment in enumerate(answer.cut(answer.body)):
        if count == answer.stop_after:
            return False
        writer.write(b"%x\r\n%b\r\n" % (len(segment), segment) if answer.framing == "chunked" else segment)
        await writer.drain()
        await asyncio.sleep(0)  # lets the loop write it, before the next one joins it
    if answer.framing == "chunked":
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    return answer.framing != "close"


@contextlib.asynccontextmanager
async def _serving(replay: Replay) -> AsyncIterator[Replay]:
    tasks: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await replay.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        except Exception as error:  # noqa: BLE001  # raised again, in the test, when the server ends
            failures.append(error)
        finally:
            tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0, limit=1 << 20)
    replay.port = server.sockets[0].getsockname()[1]
    try:
        yield replay
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def replaying(script: Script) -> Iterator[Replay]:
    """The server in a thread. A request that it can't read fails the test at its end."""
    with hosted(_serving(Replay(script))) as replay:
        yield replay
