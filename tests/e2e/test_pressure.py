"""Clients that read slowly or not at all: bounded memory, a paused provider, and an end to patience."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import Client, chat, request_bytes
from tests.support.joined import numbered

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

STALL_S = 1.0
MIB = 2**20
LONG = 60_000  # tokens; about 14 MB on the wire: more than all the kernel's buffers on the way


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    scripts = {"unread": "tokens=10000000 batch=100", "resumed": f"tokens={LONG} batch=100"}
    with run_chaos(ChaosConfig(scripts=scripts, text_keep=2_000_000)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("pressure") / "ledger.db",
        models=("unread", "resumed"),
        gateway={"drain_s": 0.2},
        routes={
            "unread": {"targets": ["one/unread"], "timeouts": {"client_stall_s": STALL_S, "idle_s": 0.4}},
            "resumed": {"targets": ["one/resumed"], "timeouts": {"client_stall_s": 30, "idle_s": 0.4}},
        },
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


@asynccontextmanager
async def _begun(port: int, model: str) -> AsyncIterator[Client]:
    """A client with a small receive buffer, which has read the head and no more."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    sock.settimeout(0)
    await loop.sock_connect(sock, ("127.0.0.1", port))
    client = Client(*await asyncio.open_connection(sock=sock, limit=65_536))
    body = json.dumps(chat(model, stream=True, max_tokens=10_000_000)).encode()
    await client.send(request_bytes("POST", "/v1/chat/completions", body, {}))
    try:
        await client.head()
        yield client
    finally:
        client.leave()


def _held(running: Running) -> int:
    """Bytes of all answers that wait in the gateway's own memory, on either side."""

    def count() -> int:
        clients = sum(
            connection.transport.get_write_buffer_size()
            for connection in running.server.server_state.connections
        )
        pools = running.app.transport._pools.values()
        answers = [connection._answer for pool in pools for connection in pool.open]
        return clients + sum(answer.unread for answer in answers if answer is not None)

    return running.call(count)


def test_a_client_that_never_reads(gateway: Running, chaos: Chaos) -> None:
    async def never_read() -> list[int]:
        held = []
        async with _begun(gateway.port, "unread"):
            async with asyncio.timeout(5 * STALL_S):
                while not gateway.seen.ends:
                    held.append(await asyncio.to_thread(_held, gateway))
            async with asyncio.timeout(2):  # its connection is cut, though it never reads what is left in it
                while gateway.server.server_state.connections:
                    await asyncio.to_thread(gateway.call, lambda: None)
        return held

    held = asyncio.run(never_read())
    assert max(held) < MIB
    end = gateway.end_of("unread")
    assert end.state == "cancelled"
    assert "client_stall_s" in (end.error or "")
    assert STALL_S * 1e3 <= end.total_ms < 5 * STALL_S * 1e3  # some of it went by until all buffers were full
    (entry,) = chaos.wait_for(lambda entries: [e.end for e in entries] == ["client_left"])
    assert entry.bytes_sent < 32 * MIB, "the provider was not paused"
    (row,) = end.attempts
    assert (row.outcome, row.billed) == ("abandoned", "bound")


def test_a_client_that_pauses_gets_everything(gateway: Running, chaos: Chaos) -> None:
    """The idle limit (0.4 s) stands still while the client doesn't read."""

    async def pause_and_read() -> str:
        async with _begun(gateway.port, "resumed") as client:
            await asyncio.sleep(1.0)  # the pause is what is tested
            answer = await client.rest()
        assert answer.events[-1].is_end
        return answer.text

    text = asyncio.run(pause_and_read())
    entry = chaos.journal(model="resumed")[-1]
    assert text == numbered(entry.nonce, LONG)
    assert gateway.end_of("resumed").state == "ok"
