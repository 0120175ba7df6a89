"""One script, two transports: what happens over sockets and what happens in memory must look the same to a caller."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.unit.transport.raw_server import open_transport, post, read_request, reset, serving

from holdfast.errors import BadAnswer, HoldfastError
from holdfast.testing.memory_transport import MemoryTransport, Reply
from holdfast.testing.virtual_time import run_virtual
from holdfast.transport import BodyTooLong, ConnectionBroken, Origin, Transport

NOWHERE = Origin("http", "memory", 80)

SCRIPTS = {
    "whole": Reply(200, {"X-A": "1"}, ((0, b"hello"),)),
    "empty": Reply(200),
    "error-status": Reply(503, {"retry-after": "3"}, ((0, b"busy"),)),
    "in-pieces": Reply(200, segments=tuple((0.01, b"data: %d\n\n" % n) for n in range(5))),
    "until-eof": Reply(200, segments=((0, b"hello"),), ending="cut", until_eof=True),
    "until-eof-reset": Reply(200, segments=((0, b"hello"),), ending="reset", until_eof=True, end_s=0.05),
    "cut-in-body": Reply(200, segments=((0, b"hel"), (0.02, b"lo")), ending="cut"),
    "reset-in-body": Reply(200, segments=((0, b"hello"),), ending="reset", end_s=0.05),
    "malformed-body": Reply(200, segments=((0, b"hello"),), ending="malformed", end_s=0.05),
    "cut-before-head": Reply(None, ending="cut"),
    "reset-before-head": Reply(None, ending="reset", head_s=0.02),
    "malformed-head": Reply(None, ending="malformed"),
    "hang-before-head": Reply(None, ending="hang"),
    "hang-in-body": Reply(200, segments=((0, b"hello"),), ending="hang"),
}


async def serve_reply(reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Plays a reply over a socket."""
    await read_request(reader)
    await asyncio.sleep(reply.head_s)
    if reply.status is not None:
        headers = "".join(f"{name}: {value}\r\n" for name, value in dict(reply.headers).items())
        framing = "" if reply.until_eof else "transfer-encoding: chunked\r\n"
        writer.write(f"HTTP/1.1 {reply.status} x\r\n{headers}{framing}\r\n".encode())
        for delay_s, data in reply.segments:
            await asyncio.sleep(delay_s)
            writer.write(data if reply.until_eof else b"%x\r\n%s\r\n" % (len(data), data))
        await asyncio.sleep(reply.end_s)
    match reply.ending:
        case "complete":
            writer.write(b"0\r\n\r\n")
            await reader.read()
        case "malformed":
            writer.write(b"nonsense\r\n")
            await reader.read()
        case "hang":
            await reader.read()
        case "reset":
            reset(writer)


async def outcome(transport: Transport, origin: Origin, reply: Reply) -> tuple:
    """Everything that a caller can tell, but for the times."""
    patience_s = 1.0 if reply.ending == "hang" else 30.0
    body = b""
    status = None
    try:
        async with asyncio.timeout(patience_s):
            incoming = await transport.send(post(origin), connect_s=5)
            status = incoming.status
            with contextlib.closing(incoming):
                while part := await incoming.read_some():
                    body += part
                assert await incoming.read_some() == b""
                return status, dict(incoming.headers).get("x-a"), incoming.until_eof, body, "end"
    except ConnectionBroken as error:
        return status, body, "broken", error.silent, error.reused
    except (HoldfastError, TimeoutError) as error:
        return status, body, type(error)


@pytest.mark.parametrize("name", SCRIPTS)
def test_memory_tells_the_same_story_as_sockets(run, name):
    reply = SCRIPTS[name]

    async def over_sockets():
        async with (
            serving(lambda reader, writer: serve_reply(reply, reader, writer)) as origin,
            open_transport() as transport,
        ):
            return await outcome(transport, origin, reply)

    async def in_memory(clock):
        transport = MemoryTransport([reply])
        told = await outcome(transport, NOWHERE, reply)
        assert transport.stats().open == 0
        return told

    assert run_virtual(in_memory) == run(over_sockets())


@pytest.mark.parametrize("limit", [4, 5])
def test_both_keep_the_limit_of_read_all(run, limit):
    reply = SCRIPTS["whole"]

    async def read(transport, origin):
        incoming = await transport.send(post(origin), connect_s=5)
        try:
            return await incoming.read_all(limit)
        except BodyTooLong as error:
            return error.limit

    async def over_sockets():
        async with (
            serving(lambda reader, writer: serve_reply(reply, reader, writer)) as origin,
            open_transport() as transport,
        ):
            return await read(transport, origin)

    expected = b"hello" if limit == 5 else 4
    assert run(over_sockets()) == expected
    assert run_virtual(lambda clock: read(MemoryTransport([reply]), NOWHERE)) == expected


def test_a_bad_answer_is_no_lost_connection():
    assert not issubclass(ConnectionBroken, BadAnswer)
