"""Reading answers: every framing, every cut, every lie, over real sockets on both loops."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transport.raw_server import (
    answering,
    open_transport,
    post,
    read_request,
    reset,
    serving,
    whole,
)

from holdfast.errors import BadAnswer, ConnectionLost
from holdfast.transport import BodyTooLong, ConnectionBroken
from holdfast.transport.encoding import MAX_PRODUCED, Inflater
from holdfast.transport.headers import Headers

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX-Two: 1\r\nx-two: 2\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n"
)
GZIPPED = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"


def gzipped(body: bytes) -> bytes:
    packed = gzip.compress(body)
    return GZIPPED % len(packed) + packed


def deflated(packed: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed
    )


async def fetch(answer: bytes, *, close: bool = True, **options):
    async with serving(answering(answer, close=close)) as origin, open_transport() as transport:
        incoming = await transport.send(post(origin, **options), connect_s=5)
        return incoming, await whole(incoming), transport.stats()


@pytest.mark.parametrize(
    ("answer", "until_eof", "reusable"),
    [
        pytest.param(PLAIN, False, True, id="length"),
        pytest.param(CHUNKED, False, True, id="chunked"),
        pytest.param(PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"), False, False, id="http-1.0"),
        pytest.param(
            PLAIN.replace(b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK\r\nconnection: keep-alive"),
            False,
            True,
            id="http-1.0-kept",
        ),
        pytest.param(
            PLAIN.replace(b"Content-Type: a/b", b"Connection: close"), False, False, id="connection-close"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nhello", True, False, id="until-eof"),
        pytest.param(PLAIN + b"extra", False, False, id="bytes-after-the-end"),
        pytest.param(PLAIN + PLAIN, False, False, id="a-second-answer"),
        pytest.param(gzipped(b"hello"), False, True, id="gzip"),
        pytest.param(deflated(zlib.compress(b"hello")), False, True, id="deflate"),
        pytest.param(deflated(zlib.compress(b"hello", wbits=-15)), False, True, id="deflate-bare"),
        pytest.param(
            PLAIN.replace(b"Content-Type: a/b", b"content-encoding: identity"), False, True, id="identity"
        ),
    ],
)
def test_every_framing_gives_the_body(run, answer, until_eof, reusable):
    async def main():
        close = until_eof
        async with serving(answering(answer, close=close)) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            assert incoming.status == 200
            assert await whole(incoming) == b"hello"
            assert await incoming.read_some() == b""
            assert incoming.until_eof is until_eof
            assert transport.stats().idle == (1 if reusable else 0)

    run(main())


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_whatever_the_headers_say(run, status):
    async def main():
        answer = b"HTTP/1.1 %d x\r\ncontent-length: 5\r\n\r\n" % status
        incoming, body, stats = await fetch(answer, close=False)
        assert (incoming.status, body, stats.idle) == (status, b"", 1)

    run(main())


def test_head_has_no_body_and_ends_its_connection(run):
    async def main():
        async with serving(answering(PLAIN[:-5])) as origin, open_transport() as transport:
            request = post(origin, body=b"")
            incoming = await transport.send(type(request)(origin, "HEAD", "/"), connect_s=5)
            assert incoming.headers["content-length"] == "5"
            assert await whole(incoming) == b""
            assert transport.stats().idle == 0

    run(main())


def test_headers_are_found_in_any_case(run):
    async def main():
        incoming, _, _ = await fetch(PLAIN)
        headers = incoming.headers
        assert headers["content-TYPE"] == "a/b"
        assert headers.get("X-TWO") == "1"
        assert headers.last("x-two") == "2"
        assert headers.all("x-two") == ["1", "2"]
        assert "x-none" not in headers
        assert headers.get("x-none") is None
        assert list(headers) == ["content-type", "x-two", "content-length"]

    run(main())


@settings(deadline=None, max_examples=40)  # each example opens a server and a connection
@given(cuts=st.sets(st.integers(1, 400), max_size=12), one_byte=st.booleans(), which=st.integers(0, 3))
def test_any_segmentation_gives_the_same_body(cuts, one_byte, which):
    answer = [PLAIN, CHUNKED, gzipped(b"hello"), b"HTTP/1.0 200 OK\r\n\r\nhello"][which]
    edges = range(1, len(answer)) if one_byte else sorted(cut for cut in cuts if cut < len(answer))
    pieces = [answer[a:b] for a, b in zip([0, *edges], [*edges, len(answer)], strict=True)]

    async def behave(reader, writer):
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)  # a segment of its own: the reader runs between

    async def main():
        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            body = b""
            while part := await incoming.read_some():
                body += part
            assert body == b"hello"

    asyncio.run(main())


def test_what_came_together_is_read_together(run):
    async def main():
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in [b"data: %d\n\n" % n for n in range(100)])
        answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        async with serving(answering(answer)) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            assert await incoming.read_some() == b"".join(b"data: %d\n\n" % n for n in range(100))
            assert await incoming.read_some() == b""

    run(main())


@pytest.mark.parametrize(
    ("answer", "how", "silent"),
    [
        (b"", "eof", True),
        (b"", "reset", True),
        (b"HTTP/1.1 2", "eof", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "eof", False),
        (b"HTTP/1.1 200 OK\r\ncontent-len", "eof", False),
    ],
)
def test_an_end_before_the_head_is_a_loss(run, answer, how, silent):
    async def behave(reader, writer):
        await read_request(reader)
        writer.write(answer)
        if how == "reset":
            reset(writer)

    async def main():
        async with serving(behave) as origin, open_transport() as transport:
            with pytest.raises(ConnectionLost) as caught:
                await transport.send(post(origin), connect_s=5)
            assert isinstance(caught.value, ConnectionBroken)
            assert (caught.value.silent, caught.value.reused) == (silent, False)
            assert transport.stats().idle == 0

    run(main())


@pytest.mark.parametrize(
    "head", [b"content-length: 10", b"transfer-encoding: chunked"], ids=["length", "chunked-without-end"]
)
@pytest.mark.parametrize("how", ["eof", "reset"])
def test_an_end_in_the_body_is_a_loss_after_what_came(run, head, how):
    async def main():
        read = asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            writer.write(
                b"HTTP/1.1 200 OK\r\n"
                + head
                + b"\r\n\r\n"
                + (b"5\r\nhello\r\n" if b"chunked" in head else b"hello")
            )
            await writer.drain()
            await read.wait()
            if how == "reset":
                reset(writer)

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            assert await incoming.read_some() == b"hello"
            read.set()
            with pytest.raises(ConnectionBroken) as caught:
                await incoming.read_some()
            assert caught.value.silent is False
            with pytest.raises(ConnectionBroken):
                await incoming.read_some()  # and again: an error doesn't turn into an end
            assert transport.stats().idle == 0

    run(main())


def test_a_reset_is_no_end_of_a_body_without_length(run):
    async def main():
        read = asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
            await read.wait()
            reset(writer)

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            assert await incoming.read_some() == b"hello"
            read.set()
            with pytest.raises(ConnectionBroken):
                await incoming.read_some()

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="not-http"),
        pytest.param(b"HTTP/1.1 OK\r\n\r\n", id="no-status"),
        pytest.param(b"HTTP/1.1 600 x\r\n\r\n", id="status-600"),
        pytest.param(b"HTTP/1.1 101 x\r\nupgrade: y\r\nconnection: upgrade\r\n\r\n", id="switching"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n", id="folded-header"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n", id="nul"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", id="two-lengths"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            id="length-and-chunked",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", id="transfer-encoding"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000, id="endless-value"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"x: %s\r\n" % (b"a" * 1000) * 70 + b"\r\n", id="head-of-70-kB"
        ),
        pytest.param(b"HTTP/1.1 200 " + b"a" * 70_000, id="endless-reason"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 17, id="endless-1xx"),
    ],
)
def test_what_is_no_http_is_a_bad_answer(run, answer):
    async def main():
        async def behave(reader, writer):
            await read_request(reader)
            writer.write(answer)
            await reader.read()  # the client must hang up, not we

        async with serving(behave) as origin, open_transport() as transport:
            with pytest.raises(BadAnswer):
                await transport.send(post(origin), connect_s=5)
            assert transport.stats().idle == 0

    run(main())


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"xyz\r\n", id="chunk-size"),
        pytest.param(b"FFFFFFFFFFFFFFFFF\r\n", id="chunk-size-overflow"),
        pytest.param(b"1;" + b"x" * 70_000, id="endless-extension"),
        pytest.param(b"0\r\n" + b"x: y\r\n" * 15_000, id="endless-trailers"),
    ],
)
def test_broken_framing_in_the_body_is_a_bad_answer_after_what_came(run, rest):
    async def main():
        read = asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
            await read.wait()
            writer.write(rest)
            await reader.read()

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            assert await incoming.read_some() == b"ok"
            read.set()
            with pytest.raises(BadAnswer):
                await incoming.read_some()

    run(main())


@pytest.mark.parametrize("encoding", [b"br", b"gzip, gzip", b"gzip\r\ncontent-encoding: deflate", b"zstd"])
def test_an_unknown_encoding_shows_its_status_but_not_its_body(run, encoding):
    async def main():
        answer = (
            b"HTTP/1.1 429 x\r\nretry-after: 7\r\ncontent-length: 2\r\ncontent-encoding: %s\r\n\r\nxx"
            % encoding
        )
        async with serving(answering(answer)) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            assert (incoming.status, incoming.headers["retry-after"]) == (429, "7")
            with pytest.raises(BadAnswer):
                await incoming.read_some()

    run(main())


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"\x1f\x8bnot gzip", id="garbage"),
        pytest.param(gzip.compress(b"hello" * 100)[:-12], id="cut"),
        pytest.param(gzip.compress(b"hello") + b"more", id="goes-on"),
    ],
)
def test_a_broken_gzip_is_a_bad_answer(run, packed):
    async def main():
        async with (
            serving(answering(GZIPPED % len(packed) + packed)) as origin,
            open_transport() as transport,
        ):
            incoming = await transport.send(post(origin), connect_s=5)
            with pytest.raises(BadAnswer):
                await whole(incoming)

    run(main())


def test_a_gzip_bomb_comes_in_bounded_pieces(run):
    async def main():
        answer = gzipped(bytes(64 << 20))  # 64 MiB of zeros in 64 KiB
        async with serving(answering(answer)) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            size = 0
            while part := await incoming.read_some():
                assert len(part) <= 256 * 1024
                size += len(part)
            assert size == 64 << 20
            incoming = await transport.send(post(origin), connect_s=5)
            with pytest.raises(BodyTooLong):
                await incoming.read_all(1 << 20)

    run(main())


@pytest.mark.parametrize("extra", range(1, 260, 7))
def test_what_zlib_holds_back_at_the_limit_comes_with_the_next_step(extra):
    """A bare deflate stream has no trailer: its last input byte may be eaten while output is still due."""
    body = bytes(MAX_PRODUCED + extra)
    packer = zlib.compressobj(wbits=-15)
    inflater = Inflater("deflate")
    parts = [inflater.step(packer.compress(body) + packer.flush())]
    while inflater.pending:
        parts.append(inflater.step(b""))
    inflater.finish()
    assert b"".join(parts) == body
    assert max(map(len, parts)) <= MAX_PRODUCED


def test_read_all_keeps_its_limit(run):
    async def main():
        async with serving(answering(PLAIN)) as origin, open_transport() as transport:
            assert await (await transport.send(post(origin), connect_s=5)).read_all(5) == b"hello"
            with pytest.raises(BodyTooLong) as caught:
                await (await transport.send(post(origin), connect_s=5)).read_all(4)
            assert caught.value.limit == 4

    run(main())


def test_an_endless_body_is_cut_at_the_limit(run):
    async def main():
        gone = asyncio.Event()

        async def behave(reader, writer):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            try:
                while True:
                    writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
                    await writer.drain()
            finally:
                gone.set()

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            with pytest.raises(BodyTooLong):
                await incoming.read_all(100_000)
            await asyncio.wait_for(gone.wait(), 0.25)

    run(main())


def test_one_reader_at_a_time_and_none_after_the_end(run):
    async def main():
        async def behave(reader, writer):
            await read_request(reader)
            writer.write(PLAIN[:-1])
            await reader.read()

        async with serving(behave) as origin, open_transport() as transport:
            incoming = await transport.send(post(origin), connect_s=5)
            assert await incoming.read_some() == b"hell"
            first = asyncio.create_task(incoming.read_some())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError):
                await incoming.read_some()
            incoming.close()
            incoming.close()
            with pytest.raises(ConnectionBroken):
                await first
            with pytest.raises(ConnectionBroken):
                await incoming.read_some()

    run(main())


@given(
    pairs=st.lists(
        st.tuples(
            st.sampled_from(
                ["A", "a", "Content-Type", "x-content-type", "content-type-x", "X-Request-Id", "b"]
            ),
            st.text(
                st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f\x85"), max_size=6
            ),
        ),
        max_size=8,
    ),
    name=st.sampled_from(["a", "CONTENT-TYPE", "x-request-id", "type", "b", "content"]),
)
def test_the_quick_look_up_says_what_the_index_says(pairs, name):
    headers = Headers.of(pairs)
    assert headers.get(name) == (headers.all(name) or [None])[0]
    assert headers.get(name, "none") == (headers.all(name) or ["none"])[0]
