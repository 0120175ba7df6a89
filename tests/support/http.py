"""An HTTP client that hides nothing: raw bytes out, every byte and its framing in. It shares no code with the product."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Client", "Event", "ask", "chat", "events_of", "request_bytes"]


@dataclass(frozen=True)
class Event:
    """One frame of a stream: a comment, or data."""

    data: str | None
    comment: str | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.data or "null")

    @property
    def is_error(self) -> bool:
        return self.data is not None and self.data != "[DONE]" and "error" in self.json

    @property
    def is_end(self) -> bool:
        return self.data == "[DONE]"


@dataclass
class Answer:
    """What the client saw."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """Lower-case names."""
    body: bytes = b""
    whole: bool = False
    """The body ended as its framing says, not by a close."""
    started: float = 0.0
    """Monotonic seconds, as the chaos journal's ``_ns`` times are."""
    head_at: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        return self.ended - self.started

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def id(self) -> str:
        return self.headers["x-holdfast-request-id"]

    @property
    def attempts(self) -> int:
        return int(self.headers["x-holdfast-attempts"])

    @property
    def streamed(self) -> bool:
        return "event-stream" in self.headers.get("content-type", "")

    @property
    def events(self) -> list[Event]:
        return events_of(self.body)

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The data events that are chunks of an answer."""
        return [event.json for event in self.events if event.data and not event.is_end and not event.is_error]

    @property
    def text(self) -> str:
        """The text of choice 0, streamed or whole."""
        if self.streamed:
            return "".join(
                choice["delta"].get("content") or ""
                for chunk in self.chunks
                for choice in chunk["choices"]
                if choice["index"] == 0
            )
        return self.json["choices"][0]["message"]["content"]

    @property
    def finish_reasons(self) -> list[str]:
        if self.streamed:
            return [
                choice["finish_reason"]
                for chunk in self.chunks
                for choice in chunk["choices"]
                if choice.get("finish_reason")
            ]
        return [choice["finish_reason"] for choice in self.json["choices"]]


def events_of(body: bytes) -> list[Event]:
    """A stream's frames. Our own output uses one ``data:`` line or one comment per frame."""
    text = body.decode()
    assert not text or text.endswith("\n\n"), f"the stream ends inside a frame: {text[-80:]!r}"
    events = []
    for block in text.split("\n\n")[:-1]:
        if block.startswith(":"):
            events.append(Event(None, comment=block[1:].strip()))
        else:
            lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
            events.append(Event("\n".join(lines)))
    return events


def chat(model: str, *, stream: bool = False, text: str = "hi", **fields: Any) -> dict[str, Any]:
    """A request's body. Its output is limited, so that its cost has a bound."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 64, **fields}
    return {**body, "stream": True} if stream else body


def request_bytes(
    method: str, path: str, body: bytes, headers: dict[str, str], *, chunked: bool = False
) -> bytes:
    fields = {"host": "127.0.0.1", **headers}
    if chunked:
        fields["transfer-encoding"] = "chunked"
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in _parts(body)) + b"0\r\n\r\n"
    elif body or method == "POST":
        fields.setdefault("content-length", str(len(body)))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode("latin-1") + b"\r\n" + body


def _parts(body: bytes) -> list[bytes]:
    return [body[i : i + 65_536] for i in range(0, len(body), 65_536)]


class Client:
    """One connection for one request, read step by step."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.answer = Answer(started=time.monotonic())

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**26))

    async def send(self, data: bytes) -> None:
        self.answer.started = time.monotonic()
        self.writer.write(data)
        with suppress(ConnectionError):  # it may have answered and closed before it had all
            await self.writer.drain()

    async def head(self) -> Answer:
        """Reads status and headers."""
        answer = self.answer
        raw = await self._reader.readuntil(b"\r\n\r\n")
        answer.head_at = time.monotonic()
        status, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        answer.status = int(status.split(" ")[1])
        answer.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        return answer

    async def piece(self) -> bytes:
        """The next piece of the body; ``b""`` at its end, and ``answer.whole`` says whether that was a true one."""
        answer = self.answer
        try:
            if "content-length" in answer.headers:
                left = int(answer.headers["content-length"]) - len(answer.body)
                data = await self._reader.read(left) if left else b""
                answer.whole = not left
            elif answer.headers.get("transfer-encoding") == "chunked":
                size = int((await self._reader.readuntil(b"\r\n"))[:-2], 16)
                data = (await self._reader.readexactly(size + 2))[:-2]
                answer.whole = not size
            else:
                data = await self._reader.read(65_536)
        except (asyncio.IncompleteReadError, ConnectionError):
            data = b""
        answer.body += data
        return data

    async def until(self, mark: bytes) -> None:
        """Reads body until ``mark`` was in it."""
        while mark not in self.answer.body:
            assert await self.piece(), f"the body ended before {mark!r}: {self.answer.body!r}"

    async def rest(self) -> Answer:
        """Reads to the body's end."""
        while await self.piece():
            pass
        self.answer.ended = time.monotonic()
        return self.answer

    def leave(self) -> float:
        """Closes at once; returns when."""
        self.writer.transport.abort()
        return time.monotonic()

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def ask(
    port: int,
    body: dict[str, Any] | bytes = b"",
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
    chunked: bool = False,
    timeout: float = 30.0,
) -> Answer:
    """One whole exchange on a connection of its own."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    client = await Client.connect(port)
    try:
        async with asyncio.timeout(timeout):
            await client.send(request_bytes(method, path, data, headers or {}, chunked=chunked))
            await client.head()
            return await client.rest()
    finally:
        await client.close()
