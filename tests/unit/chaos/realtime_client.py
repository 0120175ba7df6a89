"""Clients of a realtime session: one on a bare socket, and one that reads events; and a server to go with them."""

import base64
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from holdfast.chaos import ChaosConfig
from holdfast.chaos.realtime import Realtime, RealtimeSettings
from holdfast.chaos.server import ChaosServer

TEXT, BINARY, CLOSE, PING, PONG, CONT = 1, 2, 8, 9, 10, 0


@asynccontextmanager
async def serving(settings: RealtimeSettings | None = None, **config: Any) -> AsyncIterator[ChaosServer]:
    server = ChaosServer(ChaosConfig.from_dict(config))
    server.realtime = Realtime(server, settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Talker:
    """Sends and receives events."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def receive(self) -> dict[str, Any]:
        return json.loads(await self.socket.recv())

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """All events up to the next one of that type."""
        events = [await self.receive()]
        while events[-1]["type"] != kind:
            assert events[-1]["type"] != "error", events[-1]
            events.append(await self.receive())
        return events

    async def say(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        await self.send(
            "conversation.item.create", item={"type": "message", "role": "user", "content": content}
        )

    async def ask(self, text: str, **response: Any) -> list[dict[str, Any]]:
        """The events of the response to that text; nothing else may come between."""
        await self.say(text)
        await self.until("conversation.item.done")
        await self.send("response.create", **({"response": response} if response else {}))
        events = await self.until("response.done")
        return events if events[-1]["response"]["status"] == "failed" else [*events, await self.receive()]

    async def write_only(self) -> None:
        """No audio, and no turns but the client's own."""
        audio = {"input": {"turn_detection": None}}
        await self.send(
            "session.update", session={"type": "realtime", "output_modalities": ["text"], "audio": audio}
        )
        await self.until("session.updated")


@asynccontextmanager
async def talking(server: ChaosServer, model: str = "m", **options: Any) -> AsyncIterator[Talker]:
    """A session that has begun."""
    async with connect(f"ws://127.0.0.1:{server.port}/v1/realtime?model={model}", **options) as socket:
        talker = Talker(socket)
        await talker.until("session.created")
        yield talker


def only(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


def said(events: list[dict[str, Any]]) -> str:
    """The text of all deltas."""
    kinds = ("response.output_text.delta", "response.output_audio_transcript.delta")
    return "".join(event["delta"] for event in events if event["type"] in kinds)


def frame_size(payload: bytes) -> int:
    """Bytes of a server's frame."""
    return len(payload) + (2 if len(payload) < 126 else 4 if len(payload) < 65_536 else 10)


@dataclass
class Heard:
    """What a bare socket saw."""

    head: str
    frames: list[tuple[int, bytes]] = field(default_factory=list)  # opcode, payload
    segments: list[int] = field(default_factory=list)  # sizes of what was read at once, after the head
    end: str = "open"  # "fin" or "reset", once it is over

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    @property
    def messages(self) -> list[bytes]:
        """Texts, those in several frames put together."""
        texts: list[bytes] = []
        for opcode, payload in self.frames:
            if opcode == TEXT:
                texts.append(payload)
            elif opcode == CONT:
                texts[-1] += payload
        return texts

    @property
    def events(self) -> list[dict[str, Any]]:
        events = []
        for message in self.messages:
            try:
                events.append(json.loads(message))
            except ValueError:
                events.append({"type": "broken", "data": message})
        return events

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def close_code(self) -> int | None:
        """What the close frame says, where there is one."""
        return next((int.from_bytes(p[:2], "big") for opcode, p in self.frames if opcode == CLOSE), None)


class Bare:
    """A WebSocket by hand."""

    def __init__(
        self, port: int, path: str = "/v1/realtime?model=m", behind: bytes = b"", **headers: str
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        given = {
            "host": "test", "upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
            "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(), **headers,
        }  # fmt: skip  # a request's headers
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + behind)
        self._data = b""
        self.closed = False
        self.heard = Heard(self._head())
        self.heard.segments.append(len(self._data))

    def _head(self) -> str:
        while b"\r\n\r\n" not in self._data:
            piece = self.socket.recv(65_536)
            if not piece:
                break
            self._data += piece
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> None:
        self.closed = self.closed or opcode == CLOSE
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        else:
            length = b"\xfe" + struct.pack(">H", size) if size < 65_536 else b"\xff" + struct.pack(">Q", size)
        # A mask of zeros is a mask.
        self.socket.sendall(bytes([(0x80 if fin else 0) | opcode]) + length + b"\0\0\0\0" + payload)

    def send(self, kind: str, **fields: Any) -> None:
        self.frame(TEXT, json.dumps({"type": kind, **fields}).encode())

    def ask(self, text: str = "hi") -> None:
        """A text, and its response in text."""
        content = [{"type": "input_text", "text": text}]
        self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        self.send("response.create", response={"output_modalities": ["text"]})

    def body(self) -> bytes:
        """What a refusal says, to its last byte."""
        while piece := self.socket.recv(65_536):
            self._data += piece
        return self._data

    def until(self, kind: str = "") -> Heard:
        """Read until an event of that type, or the end."""
        while self._parse(kind) is None:
            try:
                piece = self.socket.recv(65_536)
            except ConnectionResetError:
                self.heard.end = "reset"
                break
            if not piece:
                self.heard.end = "fin"
                break
            self.heard.segments.append(len(piece))
            self._data += piece
        return self.heard

    def _parse(self, kind: str) -> Heard | None:
        """Take whole frames out of the data; not None once the event is there."""
        while len(self._data) >= 2:
            size, at = self._data[1] & 0x7F, 2
            if size > 125:
                width = 2 if size == 126 else 8
                size, at = int.from_bytes(self._data[2 : 2 + width], "big"), 2 + width
            if len(self._data) < at + size:
                return None
            self.heard.frames.append((self._data[0] & 0x0F, self._data[at : at + size]))
            self._data = self._data[at + size :]
            opcode, payload = self.heard.frames[-1]
            if opcode == CLOSE and not self.closed:
                with contextlib.suppress(OSError):  # it may have gone already
                    self.frame(CLOSE, payload[:2])
            if kind and opcode == TEXT and payload.startswith(f'{{"type":"{kind}"'.encode()):
                return self.heard
        return None
