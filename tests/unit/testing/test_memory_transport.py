"""The transport in memory: times, endings, and the journal that a test looks at."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import ConnectFailed
from holdfast.testing.memory_transport import MemoryTransport, Reply
from holdfast.testing.virtual_time import DeadlockError, run_virtual
from holdfast.transport import ConnectionBroken, Origin, Outgoing, TransportStats

REQUEST = Outgoing(Origin("https", "api.test", 443), "POST", "/v1", body=b"{}")
SLOW = Reply(200, head_s=1, segments=((10, b"a"), (20, b"b"), (3600, b"c")), end_s=5)


def test_segments_come_at_their_times():
    async def main(clock):
        transport = MemoryTransport(lambda request: SLOW)
        incoming = await transport.send(REQUEST, connect_s=1)
        seen = [(clock.monotonic(), b"head")]
        while part := await incoming.read_some():
            seen.append((clock.monotonic(), part))
        seen.append((clock.monotonic(), b"end"))
        assert seen == [(1, b"head"), (11, b"a"), (31, b"b"), (3631, b"c"), (3636, b"end")]
        (exchange,) = transport.exchanges
        assert (exchange.ended, exchange.ended_at, exchange.taken) == ("complete", 3636, 3)
        assert exchange.request is REQUEST

    run_virtual(main)


def test_a_slow_reader_gets_at_once_what_has_come_meanwhile():
    async def main(clock):
        incoming = await MemoryTransport([SLOW]).send(REQUEST, connect_s=1)
        await asyncio.sleep(40)
        assert await incoming.read_some() == b"ab"
        assert clock.monotonic() == 41
        assert await incoming.read_some() == b"c"
        assert clock.monotonic() == 3631

    run_virtual(main)


def test_the_handler_may_be_a_coroutine_and_sees_the_request():
    async def handler(request):
        await asyncio.sleep(2)
        return Reply(200, segments=((0, request.body),))

    async def main(clock):
        incoming = await MemoryTransport(handler).send(REQUEST, connect_s=1)
        assert await incoming.read_all(10) == b"{}"
        assert clock.monotonic() == 2

    run_virtual(main)


@pytest.mark.parametrize(
    ("reply", "timed_out", "at"), [(Reply(refused=True), False, 0), (Reply(connect_s=9), True, 5)]
)
def test_no_connection(reply, timed_out, at):
    async def main(clock):
        transport = MemoryTransport([reply])
        with pytest.raises(ConnectFailed) as caught:
            await transport.send(REQUEST, connect_s=5)
        assert caught.value.timed_out is timed_out
        assert clock.monotonic() == at
        assert transport.exchanges == []

    run_virtual(main)


@pytest.mark.parametrize("after_s", [0.5, 5])
def test_cancelling_is_journalled_at_its_time(after_s):
    async def main(clock):
        transport = MemoryTransport([SLOW])

        async def client():
            incoming = await transport.send(REQUEST, connect_s=1)
            try:
                while await incoming.read_some():
                    pass
            finally:
                incoming.close()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(after_s):
                await client()
        (exchange,) = transport.exchanges
        assert (exchange.ended, exchange.ended_at) == ("closed", after_s)
        assert transport.stats().open == 0

    run_virtual(main)


def test_close_wakes_the_reader():
    async def main(clock):
        transport = MemoryTransport([SLOW])
        incoming = await transport.send(REQUEST, connect_s=1)
        reading = asyncio.create_task(incoming.read_some())
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError):
            await incoming.read_some()
        incoming.close()
        incoming.close()
        with pytest.raises(ConnectionBroken):
            await reading
        with pytest.raises(ConnectionBroken):
            await incoming.read_some()
        assert transport.exchanges[0].ended == "closed"

    run_virtual(main)


@pytest.mark.parametrize(("linger_s", "ended"), [(2, "closed"), (3, "complete")])
def test_release_completes_what_is_due_in_time(linger_s, ended):
    async def main(clock):
        transport = MemoryTransport([Reply(200, segments=((0, b"done"), (1, b"")), end_s=2)])
        incoming = await transport.send(REQUEST, connect_s=1)
        assert await incoming.read_some() == b"done"
        incoming.release(linger_s)
        assert transport.exchanges[0].ended == ended
        assert transport.stats() == TransportStats(open=0, idle=0, created=1, reused=0)

    run_virtual(main)


def test_a_hang_without_any_limit_is_named_as_a_deadlock():
    async def main(clock):
        await MemoryTransport([Reply(None, ending="hang")]).send(REQUEST, connect_s=1)

    with pytest.raises(DeadlockError):
        run_virtual(main)


def test_a_script_that_is_used_up_and_a_transport_that_is_closed_say_so():
    async def main(clock):
        transport = MemoryTransport([Reply(200), SLOW])
        await transport.send(REQUEST, connect_s=1)
        await transport.send(REQUEST, connect_s=1)
        with pytest.raises(AssertionError, match="2 replies"):
            await transport.send(REQUEST, connect_s=1)
        await transport.aclose()
        assert [exchange.ended for exchange in transport.exchanges] == ["closed", "closed"]
        with pytest.raises(RuntimeError):
            await transport.send(REQUEST, connect_s=1)

    run_virtual(main)
