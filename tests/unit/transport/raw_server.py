"""Servers that send exactly the bytes a test wants, on the loop that the test runs on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from holdfast.transport import HttpTransport, Incoming, Origin, Outgoing

if TYPE_CHECKING:
    from pathlib import Path

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(behave: Behaviour, *, ssl=None, host: str = "127.0.0.1") -> AsyncIterator[Origin]:
    """A server that runs ``behave`` for each connection and closes it afterwards; ends with all of them gone."""
    tasks: set[asyncio.Task] = set()
    failures: list[BaseException] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await behave(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        except Exception as error:  # noqa: BLE001  # raised again, in the test, when the server ends
            failures.append(error)
        finally:
            tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(one, host, 0, ssl=ssl)
    try:
        yield Origin("https" if ssl else "http", host, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
    if failures:
        raise failures[0]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request, head and body; ``b""`` at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.split(b":")[1]))
    return head


def answering(*answers: bytes, close: bool = False) -> Behaviour:
    """Serves the answers in turn, one per request, on each connection; the last one again and again."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = list(answers)
        while await read_request(reader):
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
            if close:
                return

    return behave


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes with a RST instead of a FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def post(origin: Origin, body: bytes = b"{}", target: str = "/v1/x", **kwargs) -> Outgoing:
    return Outgoing(origin, "POST", target, body=body, **kwargs)


@contextlib.asynccontextmanager
async def open_transport(**options) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(**options)
    try:
        yield transport
    finally:
        await transport.aclose()


async def whole(incoming: Incoming) -> bytes:
    return await incoming.read_all(1 << 30)


async def turn() -> None:
    """Lets the loop handle what has already arrived."""
    for _ in range(3):
        await asyncio.sleep(0)


def make_ca(folder: Path) -> tuple[Path, Path]:
    """A CA certificate for ``localhost`` and 127.0.0.1 that is its own server's too: ``(certificate, key)``."""
    certificate, key = folder / "ca.pem", folder / "key.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=holdfast test"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
