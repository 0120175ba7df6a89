"""A session's life: the way in, many at once, clients that leave, don't read, or say nonsense, and its end."""

import asyncio
import json

import pytest
from tests.unit.chaos.realtime_client import (
    CONT,
    PING,
    PONG,
    TEXT,
    Bare,
    frame_size,
    only,
    said,
    serving,
    talking,
)
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from holdfast.chaos import ChaosConfig, run_chaos
from holdfast.chaos.realtime import RealtimeSettings

PATH = "/v1/realtime?model=m"


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig(tokens=3, api_keys=("secret",), max_body=300_000)) as chaos:
        yield chaos


def _masked(chaos):
    entry = chaos.journal()[-1]
    return not any("secret" in str(value) for value in (entry.headers, entry.query, entry.path))


@pytest.mark.parametrize(
    ("path", "headers", "protocol"),
    [
        (PATH, {"authorization": "Bearer secret"}, None),
        (PATH, {"api-key": "secret"}, None),
        (PATH, {"sec-websocket-protocol": "realtime, openai-insecure-api-key.secret"}, "realtime"),
        (PATH, {"sec-websocket-protocol": "x", "authorization": "Bearer secret"}, None),
        ("/openai/v1/realtime?model=m", {"api-key": "secret"}, None),
        ("/openai/realtime?api-version=2025-10-01&deployment=m", {"api-key": "secret"}, None),
        ("/openai/realtime?api-version=2025-10-01&deployment=m&api-key=secret", {}, None),
    ],
)
def test_ways_in(chaos, path, headers, protocol):
    with Bare(chaos.port, path, **headers) as bare:
        assert bare.heard.status == 101
        assert (f"Sec-WebSocket-Protocol: {protocol}" in bare.heard.head) == (protocol is not None)
        created = bare.until("session.created").events[0]
        assert (created["session"]["model"], created["session"]["object"]) == ("m", "realtime.session")
        assert _masked(chaos)
        assert chaos.journal()[-1].key_sha256 is not None


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        (PATH, {}, 401, "invalid_api_key"),
        (PATH, {"authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        (PATH, {"sec-websocket-protocol": "realtime, openai-insecure-api-key.wrong"}, 401, "invalid_api_key"),
        ("/v1/realtime", {"api-key": "secret"}, 400, "missing_required_parameter"),
        ("/openai/realtime?deployment=m", {"api-key": "secret"}, 400, "missing_required_parameter"),
        (PATH, {"sec-websocket-version": "12"}, 400, "websocket_handshake_failed"),
        ("/v1/elsewhere", {"api-key": "secret"}, 404, "unknown_url"),
    ],
)
def test_no_way_in(chaos, path, headers, status, code):
    with Bare(chaos.port, path, **headers) as bare:
        assert (bare.heard.status, json.loads(bare.body())["error"]["code"]) == (status, code)


def test_a_request_that_asks_for_no_websocket(chaos):
    with Bare(chaos.port, PATH, connection="keep-alive") as bare:
        assert (bare.heard.status, "upgrade: websocket" in bare.heard.head) == (426, True)


def test_what_came_behind_the_handshake_is_heard(chaos):
    with Bare(chaos.port, PATH, b"\x81\x80\0\0\0\0", authorization="Bearer secret") as bare:
        assert bare.until("error").events[-1]["error"]["code"] == "invalid_json"


def test_frames_of_all_kinds(chaos):
    with Bare(chaos.port, PATH, authorization="Bearer secret") as bare:
        bare.frame(TEXT, b'{"type":"response', fin=False)
        bare.frame(PING, b"between")
        bare.frame(CONT, b'.cancel"}')
        seen = bare.until("error")
        assert (PONG, b"between") in seen.frames
        assert seen.events[-1]["error"]["code"] == "response_cancel_not_active"
        bare.frame(8, (1000).to_bytes(2, "big"))
        assert (bare.until().end, bare.heard.close_code) == ("fin", 1000)
        entry = chaos.wait_for(lambda entries: entries[-1].end)[-1]
        assert (entry.operation, entry.end, entry.status) == ("connect", "complete", 101)


def test_the_journal_counts_every_byte(chaos):
    with Bare(chaos.port, PATH, authorization="Bearer secret") as bare:
        bare.ask()
        bare.until("rate_limits.updated")
        bare.frame(8, (1000).to_bytes(2, "big"))
        seen = bare.until()
        connection, response = chaos.wait_for(lambda entries: entries[-2].end)[-2:]
    head = len(seen.head) + 4
    sizes = [frame_size(payload) for _, payload in seen.frames]
    assert connection.bytes_sent == head + sum(sizes)
    assert response.bytes_sent == sum(sizes[-1 - 13 : -1])  # its thirteen events; last comes the close frame
    assert (response.body, response.tokens) == (
        b'{"type": "response.create", "response": {"output_modalities": ["text"]}}',
        3,
    )


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [(3, b"", 1002), (CONT, b"", 1002), (TEXT, b"x" * 300_001, 1009)],
)
def test_what_the_protocol_forbids(chaos, opcode, payload, code):
    with Bare(chaos.port, PATH, authorization="Bearer secret") as bare:
        bare.until("session.created")
        bare.frame(opcode, payload)
        assert (bare.until().close_code, bare.heard.end) == (code, "fin")
        entry = chaos.wait_for(lambda entries: entries[-1].end)[-1]
        assert (entry.operation, entry.end) == ("connect", "closed_by_us")


def test_text_that_is_none(chaos):
    with Bare(chaos.port, PATH, authorization="Bearer secret") as bare:
        bare.frame(TEXT, b"\xff\xfe")
        assert bare.until("error").events[-1]["error"]["code"] == "invalid_json"


def test_fifty_at_once():
    async def one(server, i):
        async with talking(server, f"model-{i % 5}") as talker:
            await talker.write_only()
            events = []
            for turn in range(3):
                events += await talker.ask(f"[[key=session {i}]] turn {turn}")
            return said(events), [event["response"]["status"] for event in only(events, "response.done")]

    async def run():
        async with serving(tokens=20, default="tps=2000") as server:
            done = await asyncio.gather(*(one(server, i) for i in range(50)))
            return done, await server.journal.until(lambda entries: all(e.end for e in entries))

    done, entries = asyncio.run(run())
    spoken = {}
    for entry in entries:
        if entry.operation == "realtime":
            spoken[entry.script_key] = spoken.get(entry.script_key, "") + entry.text
    assert [statuses for _, statuses in done] == [["completed"] * 3] * 50
    assert {f"session {i}": text for i, (text, _) in enumerate(done)} == spoken
    assert len({text for text, _ in done}) == 50
    assert sum(entry.operation == "connect" for entry in entries) == 50


def test_a_client_that_leaves_is_noticed():
    async def run():
        async with serving(default="stall=1", tokens=5) as server:
            async with talking(server) as talker:
                await talker.write_only()
                await talker.say("hi")
                await talker.send("response.create")
                await talker.until("response.output_text.delta")
                talker.socket.transport.abort()
            return await server.journal.until(lambda entries: all(e.end for e in entries))

    connection, response = asyncio.run(run())
    assert (connection.end, response.end, response.tokens) == ("client_left", "client_left", 1)
    assert response.client_closed_ns is not None


def test_a_client_that_does_not_read_holds_no_memory():
    async def run():
        async with serving(default="tokens=200000") as server:
            async with connect(f"ws://127.0.0.1:{server.port}{PATH}", max_queue=1) as socket:
                await socket.send(json.dumps({"type": "response.create"}))
                while not (entries := server.journal.entries())[-1].tokens:
                    await asyncio.sleep(0)
                [session] = server._connections
                while not session.line.clogged:
                    await asyncio.sleep(0)
                stood = session.line._size, entries[-1].end
                for _ in range(40_000):  # each calls forth an answer that can't be sent
                    session._inbox.append(b'{"type":"response.cancel","response_id":"x"}')
                session._work()
                while session._turn is not None:
                    await asyncio.sleep(0)
                kept = session.line._size, len(session._inbox), session._reading
                socket.transport.abort()
            return stood, kept, await server.journal.until(lambda entries: all(e.end for e in entries))

    stood, kept, entries = asyncio.run(run())
    assert (stood[0] < 10_000, stood[1]) == (True, None)
    size, waiting, reading = kept
    assert (1 << 20) <= size < (1 << 20) + 1000
    assert waiting > 30_000
    assert not reading
    assert 0 < entries[-1].tokens < 200_000


def test_a_response_to_a_slow_reader_is_cancelled_whole():
    async def run():
        async with (
            serving(default="tokens=100000") as server,
            connect(f"ws://127.0.0.1:{server.port}{PATH}", max_queue=1, max_size=None) as socket,
        ):
            await socket.send(
                json.dumps({"type": "response.create", "response": {"output_modalities": ["text"]}})
            )
            while not server._connections or not next(iter(server._connections)).line.clogged:
                await asyncio.sleep(0)
            await socket.send(json.dumps({"type": "response.cancel"}))
            text = ""
            async for message in socket:
                event = json.loads(message)
                text += event["delta"] if event["type"] == "response.output_text.delta" else ""
                if event["type"] == "response.done":
                    break
            return text, event["response"], server.journal.entries()[-1]

    text, response, entry = asyncio.run(run())
    assert response["status"] == "cancelled"
    assert response["output"][0]["content"][0]["text"] == text == entry.text
    assert response["usage"]["output_tokens"] == entry.tokens == len(text.split())


def test_a_session_expires():
    async def run():
        async with serving(RealtimeSettings(session_s=1800), clock="hand", default="stall=1") as server:
            async with talking(server) as talker:
                await talker.write_only()
                await talker.say("hi")
                await talker.send("response.create")
                await talker.until("response.output_text.delta")
                await server.advance(1799)
                pong = await talker.socket.ping()
                await pong
                await server.advance(1)
                error = await talker.receive()
                with pytest.raises(ConnectionClosed) as closed:
                    await talker.receive()
            return (
                error,
                closed.value,
                await server.journal.until(lambda entries: all(e.end for e in entries)),
            )

    error, closed, entries = asyncio.run(run())
    assert (error["error"]["code"], "30 minutes" in error["error"]["message"]) == ("session_expired", True)
    assert closed.rcvd.code == 1001
    assert [entry.end for entry in entries] == ["closed_by_us", "closed_by_us"]


def test_tokens_come_at_their_pace():
    async def run():
        counts = []
        async with (
            serving(clock="hand", default="ttft=10 tps=2", tokens=3) as server,
            talking(server) as talker,
        ):
            await talker.write_only()
            await talker.say("hi")
            await talker.send("response.create")
            await talker.until("response.content_part.added")
            for seconds in (9.9, 0.2, 0.5):
                await server.advance(seconds)
                await talker.send(
                    "response.cancel", response_id="none"
                )  # its answer comes behind what was due
                events = []
                while not only(events, "error"):
                    events.append(await talker.receive())
                counts.append(len(only(events, "response.output_text.delta")))
        return counts

    assert asyncio.run(run()) == [0, 1, 1]


def test_a_goodbye_in_the_middle_of_a_response():
    async def run():
        async with serving(default="stall=1") as server:
            async with talking(server) as talker:
                await talker.write_only()
                await talker.say("hi")
                await talker.send("response.create")
                await talker.until("response.output_text.delta")
            return await server.journal.until(lambda entries: all(e.end for e in entries))

    assert [entry.end for entry in asyncio.run(run())] == ["complete", "client_left"]


def test_stopping_the_server_ends_sessions():
    async def run():
        async with serving(default="stall=1") as server:
            async with talking(server) as talker:
                await talker.write_only()
                await talker.say("hi")
                await talker.send("response.create")
                await talker.until("response.output_text.delta")
                await server.stop()
                with pytest.raises(ConnectionClosed):
                    await talker.receive()
            return server.journal.entries()

    assert [entry.end for entry in asyncio.run(run())] == ["closed_by_us", "closed_by_us"]


def test_a_capacity_is_for_responses():
    async def run():
        capacity = {"concurrent": 1, "queue": 1}
        async with (
            serving(tokens=2, capacity=capacity) as server,
            talking(server) as first,
            talking(server) as second,
            talking(server) as third,
        ):
            for talker in (first, second, third):
                await talker.write_only()
            await first.say("[[chaos: stall=1]]")
            await first.send("response.create")
            await first.until("response.output_text.delta")
            await second.say("hi")
            await second.send("response.create")
            await server.journal.until(lambda entries: len(entries) == 5)
            refused = await third.ask("hi")
            await first.send("response.cancel")
            waited = await second.until("response.done")
            return refused[-1]["response"], waited[-1]["response"]

    refused, waited = asyncio.run(run())
    assert (refused["status"], refused["status_details"]["error"]["code"]) == ("failed", "overloaded")
    assert waited["status"] == "completed"


def test_limits_are_told_and_hold():
    async def run():
        limits = {"requests_per_minute": 2, "tokens_per_minute": 1000}
        async with serving(tokens=2, limits=limits, clock="hand") as server, talking(server) as talker:
            await talker.write_only()
            return await talker.ask("hi"), await talker.ask("hi")

    first, second = asyncio.run(run())
    [told] = first[-1]["rate_limits"]
    assert (told["name"], told["limit"], told["remaining"] < 1000) == ("tokens", 1000, True)
    assert second[-1]["response"]["status_details"]["error"]["code"] == "rate_limit_exceeded"
