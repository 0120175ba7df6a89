"""Through real proxies, over real sockets, with certificates made here."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import ssl
import subprocess
import sys

import pytest
import trustme
from tests.support.proxy import ForwardProxy, serving_proxy
from tests.unit.transport.raw_server import (
    answering,
    open_transport,
    post,
    read_request,
    reset,
    serving,
    turn,
    whole,
)

from holdfast.errors import ConnectFailed
from holdfast.transport import HttpTransport, Origin, Proxy
from holdfast.transport.tls import Trust
from holdfast.transport.tunnel import Tunnel

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
PROMPT_S = 0.25
PASSWORD = "p@ss:word/canary"  # made up
LOGIN = f"me:{PASSWORD}"
URL_LOGIN = "me:p%40ss%3Aword%2Fcanary"


class Pki:
    """Two CAs, of which only one is trusted, and contexts of servers that they vouch for."""

    def __init__(self, folder) -> None:
        self.ca, self.stranger = trustme.CA(), trustme.CA()
        self.ca_file, self.other_file = str(folder / "ca.pem"), str(folder / "other.pem")
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.stranger.cert_pem.write_to_path(self.other_file)

    def server(self, *names: str, ca: trustme.CA | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["h2", "http/1.1"])
        (ca or self.ca).issue_cert(*names).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


def through(proxy: ForwardProxy, login: str = "", scheme: str = "http") -> Proxy:
    return Proxy.parse(f"{scheme}://{login + '@' if login else ''}127.0.0.1:{proxy.port}")


async def ask(transport: HttpTransport, origin: Origin, **kwargs) -> bytes:
    incoming = await transport.send(post(origin, **kwargs), connect_s=5)
    assert incoming.status == 200
    body = await whole(incoming)
    incoming.close()
    return body


async def refused(transport: HttpTransport, origin: Origin, *, connect_s: float = 5) -> ConnectFailed:
    sent = []
    with pytest.raises(ConnectFailed) as caught:
        await transport.send(post(origin), connect_s=connect_s, on_sent=lambda: sent.append(1))
    assert sent == []
    assert transport.stats().open == 0
    assert "canary" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("login", ["", LOGIN])
def test_an_https_origin_is_reached_by_one_connect_for_many_requests(run, pki, scheme, login):
    names, heads, alpn = [], [], []
    context = pki.server("api.test")
    context.sni_callback = lambda _, name, __: names.append(name)

    async def behave(reader, writer):
        alpn.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        while head := await read_request(reader):
            heads.append(head)
            writer.write(OK)

    async def main():
        async with serving(behave, ssl=context) as there, open_transport() as transport:
            proxy = ForwardProxy(login=login or None, hosts={"api.test:443": ("127.0.0.1", there.port)})
            tls = pki.server("127.0.0.1") if scheme == "https" else None
            async with serving_proxy(proxy, ssl=tls):
                origin = Origin.parse(
                    "https://api.test/v1",
                    proxy=through(proxy, URL_LOGIN if login else "", scheme),
                    ca_file=pki.ca_file,
                )
                for _ in range(3):
                    assert await ask(transport, origin) == b"ok"
                stats = transport.stats()
                assert (stats.created, stats.reused, stats.idle) == (1, 2, 1)
                (seen,) = proxy.seen
                assert (seen.method, seen.target, seen.headers["host"]) == (
                    "CONNECT",
                    "api.test:443",
                    "api.test:443",
                )
                assert ("proxy-authorization" in seen.headers) == bool(login)
                await transport.aclose()
                await asyncio.wait_for(proxy.deserted.wait(), PROMPT_S)
        assert (names, alpn, len(heads)) == (["api.test"], ["http/1.1"], 3)
        assert all(head.startswith(b"POST /v1/x HTTP/1.1\r\nhost: api.test\r\n") for head in heads)
        assert not any(b"proxy-authorization" in head.lower() for head in heads)

    run(main())


@pytest.mark.parametrize("login", ["", LOGIN])
def test_a_plain_origin_is_asked_for_by_its_whole_url(run, login):
    heads = []

    async def behave(reader, writer):
        heads.append(await read_request(reader))
        writer.write(OK)

    async def main():
        async with serving(behave) as there, open_transport() as transport:
            proxy = ForwardProxy(login=login or None, hosts={"api.test:80": ("127.0.0.1", there.port)})
            async with serving_proxy(proxy):
                origin = Origin.parse("http://api.test", proxy=through(proxy, URL_LOGIN if login else ""))
                for _ in range(2):
                    assert await ask(transport, origin, body=b"{}", headers=((b"x-a", b"1"),)) == b"ok"
                assert (transport.stats().created, proxy.connections) == (1, 1)
                assert [(seen.method, seen.target, seen.body) for seen in proxy.seen] == [
                    ("POST", "http://api.test/v1/x", b"{}")
                ] * 2
                assert proxy.seen[0].headers["x-a"] == "1"
        assert [head.splitlines()[0] for head in heads] == [b"POST /v1/x HTTP/1.1"] * 2

    run(main())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_origin_never_shares_connections_with_itself_by_another_way(run, pki, scheme):
    async def main():
        secure = scheme == "https"
        context = pki.server("127.0.0.1") if secure else None
        one, two = ForwardProxy(), ForwardProxy()
        async with (
            serving(answering(OK), ssl=context) as there,
            serving_proxy(one),
            serving_proxy(two),
            open_transport() as transport,
        ):
            ways = [
                {},
                {"proxy": through(one)},
                {"proxy": through(one, "a:b")},
                {"proxy": through(two)},
            ]
            origins = [Origin.parse(str(there), ca_file=pki.ca_file, **way) for way in ways]
            for origin in (*origins, *origins):
                assert await ask(transport, origin) == b"ok"
            stats = transport.stats()
            assert (stats.created, stats.reused) == (4, 4)
            assert (one.connections, two.connections) == (2, 1)

    run(main())


def test_a_connection_that_one_ca_vouched_for_is_not_used_under_another(run, pki):
    async def main():
        async with (
            serving(answering(OK), ssl=pki.server("127.0.0.1")) as there,
            open_transport() as transport,
        ):
            assert await ask(transport, Origin.parse(str(there), ca_file=pki.ca_file)) == b"ok"
            for ca_file in (pki.other_file, None):
                with pytest.raises(ConnectFailed, match="not trusted"):
                    await ask(transport, Origin.parse(str(there), ca_file=ca_file))

    run(main())


@pytest.mark.parametrize("proxied", [False, True])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("names", "stranger", "says"),
    [
        (("127.0.0.1",), True, "unable to get local issuer"),
        (("elsewhere.test",), False, "not valid for '127.0.0.1'"),
    ],
    ids=["wrong CA", "wrong name"],
)
def test_an_origin_that_cant_prove_who_it_is_gets_nothing(run, pki, proxied, scheme, names, stranger, says):
    heads = []

    async def behave(reader, writer):
        heads.append(await reader.read())

    async def main():
        context = pki.server(*names, ca=pki.stranger if stranger else None)
        proxy = ForwardProxy()
        tls = pki.server("127.0.0.1") if scheme == "https" else None
        async with (
            serving(behave, ssl=context) as there,
            serving_proxy(proxy, ssl=tls),
            open_transport() as transport,
        ):
            way = through(proxy, "me:canary", scheme) if proxied else None
            error = await refused(transport, Origin.parse(str(there), proxy=way, ca_file=pki.ca_file))
            assert "certificate is not trusted" in str(error)
            assert says in str(error)
            assert (f"through the proxy {scheme}://127.0.0.1:{proxy.port}" in str(error)) == proxied
            if proxied:
                await asyncio.wait_for(proxy.deserted.wait(), PROMPT_S)
        assert not any(heads)

    run(main())


@pytest.mark.parametrize("origin_scheme", ["http", "https"])
@pytest.mark.parametrize(("names", "stranger"), [(("127.0.0.1",), True), (("other.test",), False)])
def test_a_proxy_that_cant_prove_who_it_is_isnt_shown_the_password(run, pki, origin_scheme, names, stranger):
    async def main():
        proxy = ForwardProxy()
        context = pki.server(*names, ca=pki.stranger if stranger else None)
        async with serving_proxy(proxy, ssl=context), open_transport() as transport:
            origin = Origin.parse(
                f"{origin_scheme}://api.test",
                proxy=through(proxy, "me:canary", "https"),
                ca_file=pki.ca_file,
            )
            error = await refused(transport, origin)
            assert f"the proxy https://127.0.0.1:{proxy.port}" in str(error)
            assert "not trusted" in str(error)
        assert proxy.seen == []

    run(main())


def saying(data: bytes, *, hears: int = 0, after: bytes = b"", then: str = "wait"):
    """A proxy that sends ``data``, and ``after`` when it has heard more; then it waits for the client, closes or resets."""

    async def misbehave(reader, writer):
        writer.write(data)
        await writer.drain()
        await reader.readexactly(hears)
        writer.write(after)
        if then == "wait":
            await reader.read()
        elif then == "reset":
            reset(writer)
        elif then == "abort":  # of TLS: its end is not announced
            writer.transport.abort()

    return misbehave


YES = b"HTTP/1.1 200 OK\r\n\r\n"
THROUGH = "no connection to https://api.test through"
MISDEEDS = {
    "403": (
        saying(b"HTTP/1.1 403 Forbidden canary\r\nx: canary\r\n\r\nme:canary"),
        "refused it with status 403",
    ),
    "502": (saying(b"HTTP/1.0 502 Bad\r\n\r\n"), "refused it with status 502"),
    "301": (saying(b"HTTP/1.1 301 Moved\r\nlocation: http://canary/\r\n\r\n"), "status 301"),
    "101": (saying(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "status 101"),
    "407": (saying(b"HTTP/1.1 407 Auth\r\n\r\n"), "refused the user name and password it was shown (407)"),
    "interim, then no": (saying(b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 503\r\n\r\n"), "status 503"),
    "garbage": (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "isn't HTTP"),
    "one byte of garbage": (saying(b"\x15"), "isn't HTTP"),
    "HTTP/2": (saying(b"HTTP/2 200\r\n\r\n"), "isn't HTTP"),
    "no status": (saying(b"HTTP/1.1 OK\r\n\r\n"), "isn't HTTP"),
    "status 2000": (saying(b"HTTP/1.1 2000 OK\r\n\r\n"), "isn't HTTP"),
    "endless head": (saying(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 16_384), "more than 16384 bytes"),
    "endless interims": (saying(b"HTTP/1.1 100 C\r\n\r\n" * 1_000), "more than 16384 bytes"),
    "speaks first": (saying(b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x01"), "bytes of its own"),
    "closes": (saying(b"", then="close"), "closed the connection before it answered"),
    "closes in the head": (saying(b"HTTP/1.1 200 OK\r\n", then="close"), "closed the connection"),
    "resets": (saying(b"", then="reset"), "reset the connection"),
    "closes the tunnel": (saying(YES, then="close"), THROUGH),
    "resets the tunnel": (saying(YES, then="reset"), THROUGH),
    "closes in the handshake": (saying(YES, hears=1, then="close"), THROUGH),
    "resets in the handshake": (saying(YES, hears=1, then="reset"), THROUGH),
    "aborts the tunnel": (saying(YES, then="abort"), THROUGH),
    "aborts in the handshake": (saying(YES, hears=1, then="abort"), THROUGH),
    "aborts after a reply": (saying(YES, hears=1, after=b"\x16", then="abort"), THROUGH),
    "no TLS inside": (saying(YES, hears=1, after=b"HTTP/1.1 400 what is this\r\n\r\n"), THROUGH),
}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", MISDEEDS)
def test_a_proxy_that_misbehaves_is_a_failed_connect_that_names_it(run, pki, scheme, name):
    async def main():
        misbehave, says = MISDEEDS[name]
        proxy = ForwardProxy(misbehave=misbehave)
        tls = pki.server("127.0.0.1") if scheme == "https" else None
        async with serving_proxy(proxy, ssl=tls), open_transport() as transport:
            origin = Origin.parse(
                "https://api.test", proxy=through(proxy, "me:canary", scheme), ca_file=pki.ca_file
            )
            error = await refused(transport, origin)
            assert says in str(error)
            assert f"proxy {scheme}://127.0.0.1:{proxy.port}" in str(error)
            assert not error.timed_out
            await asyncio.wait_for(proxy.deserted.wait(), PROMPT_S)

    run(main())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_tunnel_that_ends_before_the_handshake(run, pki, scheme):
    """Neither loop would ever end a handshake over a connection that is already lost."""

    async def main():
        proxy = ForwardProxy(misbehave=saying(YES, then="close"))
        tls = pki.server("127.0.0.1") if scheme == "https" else None
        async with serving_proxy(proxy, ssl=tls):
            way = through(proxy, "", scheme)
            origin = Origin.parse("https://api.test", proxy=way, ca_file=pki.ca_file)
            trust = Trust()
            context = trust.of_proxy(origin) if tls is not None else None
            _, tunnel = await asyncio.get_running_loop().create_connection(
                Tunnel, way.host, way.port, ssl=context
            )
            await tunnel.connect(origin, way)
            await proxy.deserted.wait()
            while not tunnel.transport.is_closing():
                await turn()
            await turn()
            async with asyncio.timeout(2):
                with pytest.raises(ConnectionResetError):
                    await tunnel.secure(origin, trust.of_origin(origin), None)
                with pytest.raises(ConnectFailed, match="before it was asked"):
                    await tunnel.connect(origin, way)

    run(main())


def test_a_proxy_that_speaks_before_it_is_asked(run):
    async def main():
        async def behave(reader, writer):
            writer.write(YES)
            await reader.read()

        async with serving(behave) as there:
            _, tunnel = await asyncio.get_running_loop().create_connection(Tunnel, there.host, there.port)
            async with asyncio.timeout(2):
                while not tunnel.transport.is_closing():
                    await turn()

    run(main())


def test_a_verdict_in_pieces_and_after_an_interim_answer(run, pki):
    """Byte by byte: the tunnel stands when the last one is there, and not before."""

    async def main():
        async with serving(answering(OK), ssl=pki.server("api.test")) as there:

            async def misbehave(reader, writer):
                for byte in b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 204\r\nx: y\r\n\r":
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await turn()
                proxy.misbehave = None
                proxy.hosts = {"api.test:443": ("127.0.0.1", there.port)}
                await proxy.tunnel("api.test:443", reader, writer, b"\n")

            proxy = ForwardProxy(misbehave=misbehave)
            async with serving_proxy(proxy), open_transport() as transport:
                origin = Origin.parse("https://api.test", proxy=through(proxy), ca_file=pki.ca_file)
                assert await ask(transport, origin) == b"ok"

    run(main())


@pytest.mark.parametrize("login", ["", "me:canary"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_asks_who_we_are(run, login, scheme):
    """Plain origins too: 407 is said by proxies alone, so nothing has reached the origin."""

    async def main():
        async with serving_proxy(ForwardProxy(login=LOGIN)) as proxy, open_transport() as transport:
            origin = Origin.parse(f"{scheme}://api.test", proxy=through(proxy, login))
            with pytest.raises(ConnectFailed, match=r"\(407\)") as caught:
                await transport.send(post(origin), connect_s=5)
            assert ("asks for" in str(caught.value)) == (not login)
            assert "canary" not in str(caught.value)
            assert transport.stats().open == (0 if scheme == "https" else transport.stats().idle)

    run(main())


def test_407_from_an_origin_is_its_own_answer(run, pki):
    no = OK.replace(b"200 OK", b"407 No")

    async def main():
        async with (
            serving(answering(no), ssl=pki.server("127.0.0.1")) as secure,
            serving(answering(no)) as plain,
            serving_proxy(ForwardProxy()) as proxy,
            open_transport() as transport,
        ):
            tunnelled = Origin.parse(str(secure), proxy=through(proxy), ca_file=pki.ca_file)
            for origin in (tunnelled, plain):
                incoming = await transport.send(post(origin), connect_s=5)
                assert incoming.status == 407
                incoming.close()

    run(main())


@pytest.mark.parametrize("phase", ["TLS to the proxy", "CONNECT", "TLS in the tunnel"])
@pytest.mark.parametrize("how", ["limit", "cancel"])
def test_one_limit_for_the_whole_way_and_no_socket_left(run, pki, phase, how):
    async def main():
        async def misbehave(reader, writer):
            if phase == "TLS in the tunnel":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with contextlib.suppress(OSError):
                while await reader.read(4096):
                    arrived.set()

        arrived, gone = asyncio.Event(), asyncio.Event()

        async def mute(reader, writer):
            with contextlib.suppress(OSError):
                while await reader.read(4096):
                    arrived.set()
            gone.set()

        proxy = ForwardProxy(misbehave=misbehave)
        async with serving(mute) as hole, serving_proxy(proxy), open_transport() as transport:
            way = through(proxy, "me:canary")
            if phase == "TLS to the proxy":
                way = Proxy.parse(f"https://127.0.0.1:{hole.port}")
            origin = Origin.parse("https://api.test", proxy=way, ca_file=pki.ca_file)
            if how == "limit":
                error = await refused(transport, origin, connect_s=0.05)
                assert error.timed_out
                assert f"the proxy {way}" in str(error)
                assert str(error).endswith("within 0.05 s")
            else:
                task = asyncio.create_task(transport.send(post(origin), connect_s=5))
                await (proxy.asked if phase == "CONNECT" else arrived).wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await asyncio.wait_for((gone if phase == "TLS to the proxy" else proxy.deserted).wait(), PROMPT_S)
            assert transport.stats().open == 0
        gc.collect()  # a socket or a future that nobody closed or read would be reported here

    run(main())


def test_a_stream_through_the_tunnel_comes_as_it_was_sent(run, pki):
    async def main():
        go_on = asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
            await go_on.wait()
            writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
            await reader.read()

        async with (
            serving(behave, ssl=pki.server("127.0.0.1")) as there,
            serving_proxy(ForwardProxy()) as proxy,
            open_transport() as transport,
        ):
            origin = Origin.parse(str(there), proxy=through(proxy), ca_file=pki.ca_file)
            incoming = await transport.send(post(origin), connect_s=5)
            assert await incoming.read_some() == b"one"
            assert incoming.take() is None
            go_on.set()
            assert [await incoming.read_some(), await incoming.read_some()] == [b"two", b""]
            incoming.close()
            assert transport.stats().idle == 1

    run(main())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_leaving_a_stream_closes_the_tunnel_at_once(run, pki, scheme):
    async def main():
        async def behave(reader, writer):
            await read_request(reader)
            writer.write(OK[:-1])
            await reader.read()

        tls = pki.server("127.0.0.1") if scheme == "https" else None
        async with (
            serving(behave, ssl=pki.server("127.0.0.1")) as there,
            serving_proxy(ForwardProxy(), ssl=tls) as proxy,
            open_transport() as transport,
        ):
            origin = Origin.parse(str(there), proxy=through(proxy, "", scheme), ca_file=pki.ca_file)
            incoming = await transport.send(post(origin), connect_s=5)
            incoming.close()
            await asyncio.wait_for(proxy.deserted.wait(), PROMPT_S)

    run(main())


def test_a_large_exchange_through_tls_inside_tls(run, pki):
    """More than any buffer on the way holds, in both directions: flow control reaches through both layers."""
    size = 5 << 20

    async def main():
        async def behave(reader, writer):
            request = await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            writer.write(request[-size:])
            await writer.drain()
            await reader.read()

        async with (
            serving(behave, ssl=pki.server("127.0.0.1")) as there,
            serving_proxy(ForwardProxy(), ssl=pki.server("127.0.0.1")) as proxy,
            open_transport() as transport,
        ):
            origin = Origin.parse(str(there), proxy=through(proxy, "", "https"), ca_file=pki.ca_file)
            body = bytes(range(256)) * (size // 256)
            assert await ask(transport, origin, body=body) == body

    run(main())


def test_a_proxy_that_isnt_there(run):
    async def main():
        async with serving_proxy(ForwardProxy()) as proxy:
            way = through(proxy, "me:canary")
        async with open_transport() as transport:
            for scheme in ("http", "https"):
                error = await refused(transport, Origin.parse(f"{scheme}://api.test", proxy=way))
                assert str(error).startswith(
                    f"no connection to the proxy {way}, the way to {scheme}://api.test:"
                )
            nowhere = Proxy.parse("http://me:canary@proxy.invalid:1")
            assert "proxy.invalid" in str(await refused(transport, Origin.parse("http://x", proxy=nowhere)))

    run(main())


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://[::1]:8443/v1", "[::1]:8443"),
        ("https://api.test", "api.test:443"),
        ("https://b\u00fccher.test", "xn--bcher-kva.test:443"),
    ],
)
def test_what_connect_names(run, url, target):
    async def main():
        proxy = ForwardProxy(misbehave=saying(b"HTTP/1.1 403 No\r\n\r\n"))
        async with serving_proxy(proxy), open_transport() as transport:
            await refused(transport, Origin.parse(url, proxy=through(proxy)))
        assert [(seen.target, seen.headers["host"]) for seen in proxy.seen] == [(target, target)]

    run(main())


@pytest.mark.parametrize("host", ["a\r\nx: y", "a b", "b\u00fccher.test"])
def test_a_host_that_cant_be_written_isnt(run, host):
    async def main():
        async with serving_proxy(ForwardProxy()) as proxy, open_transport() as transport:
            with pytest.raises(ValueError, match="host"):
                await transport.send(post(Origin("https", host, 443, through(proxy))), connect_s=5)
            await asyncio.wait_for(proxy.deserted.wait(), PROMPT_S)
        assert proxy.seen == []

    run(main())


@pytest.mark.parametrize("name", [b"Proxy-Authorization", b"proxy-connection"])
def test_what_is_for_the_proxy_cant_be_sent_to_an_origin(run, name):
    async def main():
        async with open_transport() as transport:
            with pytest.raises(ValueError, match="itself"):
                await transport.send(
                    post(Origin("http", "127.0.0.1", 1), headers=((name, b"x"),)), connect_s=5
                )

    run(main())


def test_the_environment_chooses_no_proxy():
    """In a process that has all of its variables set to a port where nothing listens."""
    code = (
        "import asyncio\n"
        "from tests.unit.transport.raw_server import answering, open_transport, serving\n"
        "from tests.unit.transport.test_tunnel import OK, ask\n"
        "async def main():\n"
        "    async with serving(answering(OK)) as origin, open_transport() as transport:\n"
        "        print(await ask(transport, origin))\n"
        "asyncio.run(main())\n"
    )
    names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    env = {**os.environ, **dict.fromkeys(names, "http://127.0.0.1:9")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "b'ok'\n", done.stderr
