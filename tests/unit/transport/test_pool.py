"""Connections over their life: reuse, idleness, races, cancellation, uploads, pressure, TLS, names."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl

import pytest
from tests.unit.transport.raw_server import (
    answering,
    make_ca,
    open_transport,
    post,
    read_request,
    reset,
    serving,
    turn,
    whole,
)

from holdfast.errors import ConnectFailed
from holdfast.transport import ConnectionBroken, HttpTransport, Origin, Outgoing
from holdfast.transport.connect import Connector, Hop
from holdfast.transport.http1 import Connection
from holdfast.transport.tls import Trust

PROMPT_S = 0.25
"""How soon a server must see that its client has gone (DL2)."""

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def ask(transport: HttpTransport, origin: Origin) -> bytes:
    return await whole(await transport.send(post(origin), connect_s=5))


def test_one_connection_serves_many_requests_one_after_the_other(run):
    async def main():
        async with serving(answering(OK)) as origin, open_transport() as transport:
            for _ in range(5):
                assert await ask(transport, origin) == b"ok"
            stats = transport.stats()
            assert (stats.open, stats.idle, stats.created, stats.reused) == (1, 1, 1, 4)

    run(main())


def test_as_many_connections_as_requests_at_a_time_and_a_bound_on_idle_ones(run):
    async def main():
        async with serving(answering(OK)) as origin, open_transport(max_idle_per_origin=3) as transport:
            await asyncio.gather(*(ask(transport, origin) for _ in range(10)))
            assert transport.stats().created == 10
            assert transport.stats().idle == 3

    run(main())


def test_the_last_used_connection_is_used_first(run):
    ports = []

    async def behave(reader, writer):
        while await read_request(reader):
            ports.append(writer.get_extra_info("peername")[1])
            writer.write(OK)

    async def main():
        async with serving(behave) as origin, open_transport() as transport:
            await asyncio.gather(*(ask(transport, origin) for _ in range(3)))
            hot = ports[-1]
            for _ in range(4):
                await ask(transport, origin)
            assert ports[3:] == [hot] * 4

    run(main())


def test_a_body_left_unread_doesnt_hold_its_connection(run):
    async def main():
        async with serving(answering(OK)) as origin, open_transport() as transport:
            first = await transport.send(post(origin), connect_s=5)
            second = await transport.send(post(origin), connect_s=5)
            assert (await whole(first), await whole(second)) == (b"ok", b"ok")
            assert transport.stats().created == 1

    run(main())


def test_origins_dont_share_connections(run):
    async def main():
        async with (
            serving(answering(OK)) as one,
            serving(answering(OK)) as two,
            open_transport() as transport,
        ):
            await ask(transport, one)
            await ask(transport, two)
            assert transport.stats().created == 2

    run(main())


@pytest.mark.parametrize("noticed", [True, False], ids=["before-the-loop-turned", "in-time"])
def test_a_connection_that_the_server_closed_while_idle_is_not_used(run, noticed):
    async def main():
        closed = asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            writer.write(OK)
            await writer.drain()
            await turn()
            writer.close()
            closed.set()

        async with serving(behave) as origin, open_transport() as transport:
            await ask(transport, origin)
            await closed.wait()
            if noticed:
                await _until(lambda: transport.stats().idle == 0)
            assert await ask(transport, origin) == b"ok"
            assert (transport.stats().created, transport.stats().reused) == (2, 0)

    run(main())


def test_a_fin_that_only_the_kernel_knows_of_is_seen_before_writing(run):
    """The server is another process to the loop: a plain blocking socket, closed while the loop isn't running."""

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            origin = Origin("http", "127.0.0.1", server.getsockname()[1])
            loop = asyncio.get_running_loop()
            async with open_transport() as transport:
                for created in (1, 2):
                    sending = asyncio.create_task(transport.send(post(origin), connect_s=5))
                    peer, _ = await loop.run_in_executor(None, server.accept)
                    with peer:
                        peer.sendall(OK)
                        assert await whole(await sending) == b"ok"
                        assert transport.stats().idle == 1
                    # closed here, and no turn of the loop until the next request takes its connection
                    assert transport.stats().idle == 1
                    assert transport.stats().created == created
                    assert transport.stats().reused == 0

    run(main())


def test_bytes_that_nobody_asked_for_end_an_idle_connection(run):
    async def main():
        served = asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            writer.write(OK)
            await served.wait()
            writer.write(OK)  # the answer to no request: it must never be taken for the next one's
            await reader.read()

        async with serving(behave) as origin, open_transport() as transport:
            await ask(transport, origin)
            served.set()
            await _until(lambda: transport.stats().open == 0)

    run(main())


def test_a_request_lost_on_a_used_connection_is_not_sent_again(run):
    requests = []

    async def behave(reader, writer):
        requests.append(await read_request(reader))
        writer.write(OK)
        requests.append(await read_request(reader))
        reset(writer)

    async def main():
        async with serving(behave) as origin, open_transport() as transport:
            await ask(transport, origin)
            with pytest.raises(ConnectionBroken) as caught:
                await ask(transport, origin)
            assert (caught.value.silent, caught.value.reused) == (True, True)
            assert len(requests) == 2

    run(main())


@pytest.mark.parametrize("header", [b"", b"keep-alive: timeout=1, max=9\r\n"], ids=["ours", "the-servers"])
def test_idle_connections_are_closed_in_time(run, header):
    async def main():
        closed = asyncio.Event()

        async def behave(reader, writer):
            while await read_request(reader):
                writer.write(OK.replace(b"\r\ncontent", b"\r\n" + header + b"content"))
            closed.set()

        idle_s = 20 if header else 0.05
        async with serving(behave) as origin, open_transport(idle_s=idle_s) as transport:
            await ask(transport, origin)
            assert transport.stats().idle == (
                0 if header else 1
            )  # timeout=1 less a second for the way is nothing
            await closed.wait()
            await _until(lambda: transport.stats().open == 0)

    run(main())


def test_a_connection_past_its_time_is_not_used_even_before_it_is_swept(run):
    async def main():
        async with serving(answering(OK)) as origin, open_transport() as transport:
            await ask(transport, origin)
            (pool,) = transport._pools.values()
            pool.idle[0].expires_at = 0.0
            await ask(transport, origin)
            assert (transport.stats().created, transport.stats().reused) == (2, 0)

    run(main())


def test_an_address_that_never_answers_doesnt_eat_the_connect_limit(run):
    async def main():
        async with serving(answering(OK)) as origin:
            with socket.socket() as hole, contextlib.ExitStack() as fillers:
                hole.bind(("127.0.0.2", origin.port))
                hole.listen(0)
                for _ in range(4):  # a full backlog: further SYNs are dropped without a word
                    filler = fillers.enter_context(socket.socket())
                    filler.settimeout(0)
                    filler.connect_ex(("127.0.0.2", origin.port))
                others = asyncio.all_tasks()
                lost = []
                factory = functools.partial(Connection, lambda _: None, lost.append)
                async with asyncio.timeout(2):
                    connection = await Connector(Trust())._race(
                        Hop(origin.host, origin.port, None), factory, ["127.0.0.2", "127.0.0.1"]
                    )
                assert connection.transport.get_extra_info("peername")[0] == "127.0.0.1"
                await turn()
                assert {task for task in asyncio.all_tasks() - others if "attempt" in repr(task)} == set()
                connection.abort()
                await _until(lambda: connection in lost)

    run(main())


@pytest.mark.parametrize("phase", ["head", "body"])
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_leaving_closes_the_socket_at_once(run, phase, how):
    async def main():
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            if phase == "body":
                writer.write(OK[:-1])
            arrived.set()
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            gone.set()

        async with serving(behave) as origin, open_transport() as transport:
            incoming = None

            async def client():
                nonlocal incoming
                incoming = await transport.send(post(origin), connect_s=5)
                while await incoming.read_some():
                    pass

            task = asyncio.create_task(client())
            await arrived.wait()
            if phase == "body":
                await _until(lambda: incoming is not None)
                await turn()
            if how == "close" and incoming is not None:
                incoming.close()
                with pytest.raises(ConnectionBroken):
                    await task
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                if incoming is not None:  # cancelling a read loses nothing: the owner says when it is over
                    assert not gone.is_set()
                    incoming.close()
            await asyncio.wait_for(gone.wait(), PROMPT_S)
            assert (transport.stats().open, transport.stats().idle) == (0, 0)


def test_a_cancelled_read_loses_nothing(run):
    async def main():
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            writer.write(OK[:-1])
            arrived.set()
            await go_on.wait()
            writer.write(OK[-1:])

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            await arrived.wait()
            first = await incoming.read_some() if len(OK.partition(b"\r\n\r\n")[2]) > 1 else b""
            reading = asyncio.create_task(incoming.read_some())
            await turn()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert incoming.take() is None
            go_on.set()
            assert first + await incoming.read_some() == OK.partition(b"\r\n\r\n")[2]
            assert await incoming.read_some() == b""
            incoming.close()

    run(main())

    run(main())


def test_cancelling_a_connect_closes_the_half_open_socket(run):
    """TCP is up and the TLS handshake hangs: the server must see the end of it."""

    async def main():
        arrived, gone = asyncio.Event(), asyncio.Event()

        async def behave(reader, writer):
            await reader.read(1)
            arrived.set()
            with contextlib.suppress(ConnectionError):
                while await reader.read(4096):
                    pass
            gone.set()

        async with serving(behave) as origin, open_transport() as transport:
            secure = Origin("https", origin.host, origin.port)
            task = asyncio.create_task(transport.send(post(secure), connect_s=5))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone.wait(), PROMPT_S)
            assert transport.stats().open == 0

    run(main())


def test_the_connect_limit_covers_tls(run):
    async def main():
        gone = asyncio.Event()

        async def behave(reader, writer):
            with contextlib.suppress(ConnectionError):
                while await reader.read(4096):
                    pass
            gone.set()

        async with serving(behave) as origin, open_transport() as transport:
            with pytest.raises(ConnectFailed) as caught:
                await transport.send(post(Origin("https", origin.host, origin.port)), connect_s=0.05)
            assert caught.value.timed_out
            await asyncio.wait_for(gone.wait(), PROMPT_S)

    run(main())


def test_no_connection_is_told_from_a_lost_one(run):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        async with open_transport() as transport:
            for origin in (
                Origin("http", "127.0.0.1", port),
                Origin("http", "localhost", port),
                Origin("http", "name.invalid", 80),
                Origin("http", "a" * 70 + ".test", 80),
                Origin("https", "::1", port),
            ):
                with pytest.raises(ConnectFailed) as caught:
                    await transport.send(post(origin), connect_s=5)
                assert not caught.value.timed_out

    run(main())


def test_ipv6_and_names_that_have_several_addresses(run):
    async def main():
        async with serving(answering(OK), host="::1") as origin, open_transport() as transport:
            assert await ask(transport, origin) == b"ok"
            assert origin.authority == f"[::1]:{origin.port}"
        async with serving(answering(OK)) as origin, open_transport() as transport:
            assert await ask(transport, Origin("http", "localhost", origin.port)) == b"ok"

    run(main())


def test_an_unread_stream_stops_the_server_and_costs_bounded_memory(run):
    async def main():
        written = 0
        total = 50 << 20
        piece = bytes(64 * 1024)

        async def behave(reader, writer):
            nonlocal written
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
            while written < total:
                writer.write(piece)
                await writer.drain()
                written += len(piece)

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            before = -1
            while before != written:  # until the server stands still
                before = written
                await asyncio.sleep(0.1)
            assert (
                written < total / 2
            )  # what the kernel's buffers on both sides take, and half a megabyte of ours
            assert incoming.unread <= 512 * 1024
            size = 0
            while part := await incoming.read_some():
                assert len(part) <= 512 * 1024
                size += len(part)
            assert size == total
            assert transport.stats().idle == 1

    run(main())


def test_a_large_upload_is_written_in_step_with_the_server(run):
    async def main():
        seen = asyncio.Event()
        go_on = asyncio.Event()
        body = bytes(range(256)) * (32 << 12)  # 32 MiB

        async def behave(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            seen.set()
            await go_on.wait()
            assert await reader.readexactly(len(body)) == body
            writer.write(OK)
            await reader.read()

        async with serving(behave) as origin, open_transport() as transport:
            task = asyncio.create_task(transport.send(post(origin, body), connect_s=5))
            await seen.wait()
            (pool,) = transport._pools.values()
            (connection,) = pool.open
            await asyncio.sleep(0.05)
            assert connection.transport.get_write_buffer_size() < 1 << 20
            go_on.set()
            assert await whole(await task) == b"ok"
            assert transport.stats().idle == 1

    run(main())


@pytest.mark.parametrize("close", [True, False], ids=["server-closes", "server-waits"])
def test_an_answer_before_the_upload_has_ended_is_the_answer(run, close):
    async def main():
        async def behave(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
            await writer.drain()
            if not close:
                await reader.read()

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin, bytes(32 << 20)), connect_s=5)
            assert (incoming.status, await whole(incoming)) == (413, b"big")
            assert transport.stats().idle == 0

    run(main())


def test_a_success_before_the_upload_has_ended_keeps_no_connection(run):
    """Half a request is still in it: the next one's head would be read as the rest of this one's body."""

    async def main():
        async def behave(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await asyncio.Event().wait()

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin, bytes(32 << 20)), connect_s=5)
            assert (incoming.status, await whole(incoming)) == (200, b"ok")
            assert transport.stats().idle == 0

    run(main())


def test_release_waits_for_the_last_chunk_and_keeps_the_connection(run):
    async def main():
        released = asyncio.Event()

        async def behave(reader, writer):
            while await read_request(reader):
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndone\r\n")
                await released.wait()
                writer.write(b"0\r\n\r\n")

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            assert await incoming.read_some() == b"done"
            incoming.release(5)
            incoming.release(5)
            assert transport.stats().idle == 0
            released.set()
            await _until(lambda: transport.stats().idle == 1)
            with pytest.raises(ConnectionBroken):
                await incoming.read_some()
            assert await ask(transport, origin) == b"done"
            assert transport.stats().created == 1

    run(main())


@pytest.mark.parametrize("too_much", ["time", "bytes"])
def test_release_is_bounded(run, too_much):
    async def main():
        gone, released = asyncio.Event(), asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\nx")
            await released.wait()
            with contextlib.suppress(ConnectionError):
                if too_much == "bytes":
                    writer.write(bytes(20_000))
                await reader.read()
            gone.set()

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            incoming.release(0.02 if too_much == "time" else 60)
            released.set()
            await asyncio.wait_for(gone.wait(), 1)
            await _until(lambda: transport.stats().open == 0)

    run(main())


def test_close_of_a_complete_answer_keeps_the_connection(run):
    async def main():
        async with serving(answering(OK)) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            incoming.close()
            assert transport.stats().idle == 1

    run(main())


def test_aclose_ends_what_is_open_and_refuses_what_comes(run):
    async def main():
        arrived = asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            arrived.set()
            await reader.read()

        async with serving(behave) as origin:
            transport = HttpTransport()
            task = asyncio.create_task(transport.send(post(origin), connect_s=5))
            await arrived.wait()
            await transport.aclose()
            await transport.aclose()
            with pytest.raises(ConnectionBroken):
                await task
            assert transport.stats().open == 0
            with pytest.raises(RuntimeError):
                await transport.send(post(origin), connect_s=5)

    run(main())


def test_a_transport_belongs_to_one_loop():
    transport = HttpTransport()

    async def use(origin):
        with pytest.raises(ConnectFailed):
            await transport.send(post(origin), connect_s=5)

    with socket.create_server(("127.0.0.1", 0)) as server:
        origin = Origin("http", "127.0.0.1", server.getsockname()[1])
    asyncio.run(use(origin))
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(use(origin))


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return make_ca(tmp_path_factory.mktemp("ca"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls_with_a_ca_of_ones_own(run, ca, host):
    async def main():
        certificate, key = ca
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        names = []
        context.sni_callback = lambda _, name, __: names.append(name)
        chosen = []

        async def behave(reader, writer):
            chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
            await answering(OK)(reader, writer)

        async with serving(behave, ssl=context) as server:
            origin = Origin("https", host, server.port)
            async with open_transport(ca_file=certificate) as transport:
                for _ in range(3):
                    assert await ask(transport, origin) == b"ok"
                assert (transport.stats().created, chosen) == (1, ["http/1.1"])
            async with open_transport(verify=False) as transport:
                assert await ask(transport, origin) == b"ok"
            if host == "localhost":
                assert names == ["localhost", "localhost"]

    run(main())


def test_a_certificate_that_nobody_vouches_for_is_a_failed_connect(run, ca):
    async def main():
        certificate, key = ca
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        async with serving(answering(OK), ssl=context) as origin, open_transport() as transport:
            with pytest.raises(ConnectFailed, match="not trusted"):
                await ask(transport, origin)

    run(main())


@pytest.mark.parametrize(
    "bad",
    [
        {"target": "/x\r\nevil: 1"},
        {"target": "/x HTTP/1.1"},
        {"target": "x"},
        {"target": "/\u00e9"},
        {"headers": ((b"a", b"1\r\nb: 2"),)},
        {"headers": ((b"a", b"1\n"),)},
        {"headers": ((b"a", b"1\0"),)},
        {"headers": ((b"a\r\nb", b"1"),)},
        {"headers": ((b"a b", b"1"),)},
        {"headers": ((b"", b"1"),)},
        {"headers": ((b"Content-Length", b"1"),)},
        {"headers": ((b"transfer-encoding", b"chunked"),)},
        {"headers": ((b"host", b"x"),)},
    ],
    ids=repr,
)
def test_nothing_smuggles_a_line_into_the_request(run, bad):
    async def main():
        async with open_transport() as transport:
            with pytest.raises(ValueError, match=r"."):
                await transport.send(post(Origin("http", "127.0.0.1", 1), **bad), connect_s=5)

    run(main())


def test_a_refused_header_value_isnt_shown():
    async def main():
        async with open_transport() as transport:
            headers = ((b"authorization", b"Bearer sk-secret\n"),)
            with pytest.raises(ValueError, match="authorization") as caught:
                await transport.send(post(Origin("http", "127.0.0.1", 1), headers=headers), connect_s=5)
            assert "secret" not in str(caught.value)

    asyncio.run(main())


def test_what_is_written(run):
    requests = []

    async def behave(reader, writer):
        while request := await read_request(reader):
            requests.append(request)
            writer.write(OK)

    async def main():
        async with serving(behave) as origin, open_transport() as transport:
            await transport.send(post(origin, b"abc", headers=((b"X-A", b"1"), (b"X-A", b""))), connect_s=5)
            await transport.send(Outgoing(origin, "GET", "/v1?a=b"), connect_s=5)
            await transport.send(Outgoing(origin, "POST", "/"), connect_s=5)
            host = b"127.0.0.1:%d" % origin.port
            assert requests == [
                b"POST /v1/x HTTP/1.1\r\nhost: "
                + host
                + b"\r\nX-A: 1\r\nX-A: \r\ncontent-length: 3\r\n\r\nabc",
                b"GET /v1?a=b HTTP/1.1\r\nhost: " + host + b"\r\n\r\n",
                b"POST / HTTP/1.1\r\nhost: " + host + b"\r\ncontent-length: 0\r\n\r\n",
            ]

    run(main())


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.test/v1", Origin("https", "api.test", 443)),
        ("http://[::1]:8080", Origin("http", "::1", 8080)),
        ("http://API.test", Origin("http", "api.test", 80)),
    ],
)
def test_origin_of_a_url(url, origin):
    assert Origin.parse(url) == origin


@pytest.mark.parametrize("url", ["ftp://x", "https://", "https://u:p@x/", "https://x:99999", "x"])
def test_what_is_no_origin(url):
    with pytest.raises(ValueError, match=r"."):
        Origin.parse(url)


async def _until(condition) -> None:
    """Turns of the loop until it holds; the test's own time limit ends it."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)
