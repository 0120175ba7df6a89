"""A client on a bare socket: it sees what really happens to the bytes and to the connection."""

import json
import select
import socket
from dataclasses import dataclass
from typing import Any

from holdfast.chaos.http import Request

NO_END = ("deaf", "hang", "hang_headers", "refuse")
"""Faults that don't end by themselves, or that the requests after them would feel."""

MILD = {
    "deep": "deep=100", "gzip_bomb": "gzip_bomb=0.1", "huge": "huge=0.1", "segments": "segments=50", "slow": "slow=0",
    "slow_headers": "slow_headers=0", "stall": "stall seconds=0",
}  # fmt: skip  # a table reads better packed
"""Faults in a measure that a test of many combinations can take."""

PROMPT = [{"role": "user", "content": "hello"}]


@dataclass
class Seen:
    data: bytes
    end: str  # "fin", "reset" or "complete" (HTTP says that the body is over, the connection is open)
    segments: list[bytes]
    """As they were read; several that arrived together are one."""

    @property
    def head(self) -> str:
        return self.data.partition(b"\r\n\r\n")[0].decode()

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    @property
    def raw_body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def body(self) -> bytes:
        """The body without its chunk sizes, as far as it came."""
        raw = self.raw_body
        if "transfer-encoding: chunked" not in self.head:
            return raw
        pieces = []
        at = 0
        while at < len(raw):
            end = raw.index(b"\r\n", at)
            start, length = end + 2, int(raw[at:end], 16)
            pieces.append(raw[start : start + length])
            at = start + length + 2
        return b"".join(pieces)

    @property
    def terminated(self) -> bool:
        return self.raw_body.endswith(b"0\r\n\r\n")

    @property
    def events(self) -> list[str]:
        return [e for e in self.body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n\n") if e]

    @property
    def text(self) -> str:
        pieces = []
        for event in self.events:
            try:
                chunk = json.loads(event.removeprefix("data: "))
            except ValueError:
                continue
            pieces += [choice["delta"].get("content") or "" for choice in chunk.get("choices", ())]
        return "".join(pieces)

    def header(self, name: str) -> str | None:
        lines = dict(line.lower().split(": ", 1) for line in self.head.split("\r\n")[1:])
        return lines.get(name)


def payload(model: str = "m", *, stream: bool = False, **more: Any) -> bytes:
    body = {"model": model, "messages": PROMPT, "stream": stream, **more}
    return json.dumps(body).encode()


def send(port: int, body: bytes, *, path: str = "/v1/chat/completions", **headers: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return sock


def arrived(path: str, body: bytes, **headers: str) -> Request:
    """A request as the server would see it, without a server."""
    path, _, query = path.partition("?")
    return Request(
        method="POST",
        path=path,
        query=query,
        headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        body=body,
        keep_alive=True,
        http11=True,
        arrived_ns=0,
    )


def receive(sock: socket.socket, data: bytes = b"") -> Seen:
    """All that comes, after what has come already, until the answer is complete, or the connection is over."""
    segments: list[bytes] = []
    came = bytearray(data)
    while not _complete(came):
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return Seen(bytes(came), "reset", segments)
        if not piece:
            return Seen(bytes(came), "fin", segments)
        segments.append(piece)
        came += piece
    return Seen(bytes(came), "complete", segments)


def ask(port: int, body: bytes, **headers: str) -> Seen:
    with send(port, body, **headers) as sock:
        return receive(sock)


def is_silent(sock: socket.socket) -> bool:
    """Nothing to read now, not even an end."""
    return not select.select([sock], [], [], 0)[0]


def _complete(data: bytearray) -> bool:
    gap = data.find(b"\r\n\r\n")
    if gap < 0:
        return False
    head = bytes(data[:gap]).lower()
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length: "):
            return len(data) - gap - 4 >= int(line[16:])
    return data.endswith(b"0\r\n\r\n") and b"transfer-encoding: chunked" in head
