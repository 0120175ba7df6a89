"""The door: what a caller may say beside its body, what it is told, and what becomes of it when it leaves."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.chat_wire import PING, chunk, hear, refuses, request, speaks, stream, whole
from tests.unit.gateway.door import CONFIG, Door, Said

from holdfast.engine.call import Limits
from holdfast.gateway.door import _limits
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from holdfast.testing.memory_transport import Reply

PLAIN = request(stream=False)


def once(
    body: bytes = PLAIN, headers: dict[str, str] | None = None, *replies: Reply, config: str = CONFIG, **more
) -> Said:
    async def main(clock: VirtualClock) -> Said:
        door = await Door.open(clock, replies, config)
        said = await door.chat(body, headers, **more)
        await door.settle()
        return said

    return run_virtual(main)


# Answers.


def test_a_plain_answer_says_who_served_and_what_it_cost():
    reply = whole("hi", usage=(10, 5))
    said = once(PLAIN, None, refuses(503), reply)
    assert said.status == 200
    assert said.body == reply.segments[0][1]
    assert said.headers["x-holdfast-provider"] == "b"
    assert said.headers["x-holdfast-model"] == "m"
    assert said.headers["x-holdfast-attempts"] == "2"
    assert said.headers["x-holdfast-request-id"] == said.headers["x-request-id"]
    first = once(PLAIN, None, reply)
    assert first.headers["x-holdfast-cost-usd"] == "0.000060000"


def test_a_stream_sends_its_head_with_the_first_content_and_not_before():
    said = once(request(), None, speaks(chunk(role="assistant"), PING, *stream("a", "b"), gap_s=1.0))
    assert said.status == 200
    assert said.headers["content-type"].startswith("text/event-stream")
    assert said.pieces[0][0] >= 3.0
    assert hear(said.body).text == "ab"
    assert said.whole


def test_failures_before_content_have_a_status():
    said = once(request(), None, speaks(ending="cut"), refuses(500))
    assert said.status == 502
    assert said.headers["x-should-retry"] == "false"
    assert [attempt["error"] for attempt in said.error["attempts"]] == ["connection_lost", "server_failed"]


def test_the_callers_fault_is_the_providers_own_bytes():
    said = once(PLAIN, None, refuses(422, code="odd"))
    assert said.status == 422
    assert said.json == {"error": {"message": "said 422", "type": "error", "param": None, "code": "odd"}}


# Headers.


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ("team=search", {"team": "search"}),
        ("team=search,env=prod", {"team": "search", "env": "prod"}),
        (" team=search , env=a/b:c.d_e-f ", {"team": "search", "env": "a/b:c.d_e-f"}),
        ("a=1,a=2", {"a": "2"}),
        (",".join(f"t{n}=x" for n in range(16)), {f"t{n}": "x" for n in range(16)}),
    ],
)
def test_tags_and_session_reach_the_ledger(tags, kept):
    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock, [whole()])
        said = await door.chat(PLAIN, {"x-holdfast-tags": tags, "x-holdfast-session": "s-1"})
        record = await door.app.ledger.get(said.headers["x-request-id"])
        assert record.intent.tags == kept
        assert record.intent.session == "s-1"

    run_virtual(main)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-holdfast-tags", ""), ("x-holdfast-tags", "team"), ("x-holdfast-tags", "=x"), ("x-holdfast-tags", "a="),
        ("x-holdfast-tags", "a=b c"), ("x-holdfast-tags", "a=b,"), ("x-holdfast-tags", f"a={'x' * 65}"),
        ("x-holdfast-tags", ",".join(f"t{n}=x" for n in range(17))), ("x-holdfast-session", ""),
        ("x-holdfast-session", "a b"), ("x-holdfast-session", "x" * 65), ("x-holdfast-session", "a\x00b"),
    ],
)  # fmt: skip
def test_bad_tags_and_sessions_are_refused_by_name(name, value):
    said = once(PLAIN, {name: value})
    assert said.status == 400
    assert said.error["param"] == name


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        ({}, Limits()),
        ({b"x-stainless-read-timeout": b"600"}, Limits(600.0, None)),
        ({b"x-stainless-timeout": b"9.5"}, Limits(None, 9.5)),
        ({b"x-request-timeout": b"3", b"x-stainless-timeout": b"9"}, Limits(None, 3.0)),
        ({b"x-request-timeout": b"9", b"x-stainless-timeout": b"3"}, Limits(None, 3.0)),
        ({b"x-request-timeout": b"0"}, Limits()),
        ({b"x-request-timeout": b"-1", b"x-stainless-read-timeout": b"2"}, Limits(2.0, None)),
    ],
)
def test_the_callers_own_time_limits(headers, limits):
    assert _limits(headers) == limits


@given(st.binary(max_size=12))
def test_a_nonsense_limit_limits_nothing(value):
    limits = _limits({b"x-request-timeout": value, b"x-stainless-read-timeout": value})
    for limit in (limits.read_s, limits.total_s):
        assert limit is None or 0 < limit < float("inf")


# Errors. Each class by itself is in test_respond_error.py.


def test_a_wait_is_told_in_both_forms_rounded_up():
    said = once(
        PLAIN,
        None,
        refuses(429, headers={"retry-after": "60.2"}),
        refuses(429, headers={"retry-after-ms": "9100"}),
    )
    assert said.status == 429
    assert (said.headers["retry-after"], said.headers["retry-after-ms"]) == ("10", "9100")


def test_a_fault_of_our_own_is_a_500_without_details():
    def broken(_: object) -> Reply:
        raise ZeroDivisionError("a canary detail")

    async def main(clock: VirtualClock) -> Said:
        door = await Door.open(clock, broken)
        said = await door.chat(PLAIN)
        await door.settle()
        record = await door.app.ledger.get(said.headers["x-request-id"])
        assert record.state == "failed"
        return said

    said = run_virtual(main)
    assert said.status == 500
    assert b"canary" not in said.body
    assert said.error["code"] == "internal_error"


# Bodies.


def test_a_body_that_comes_in_pieces_is_one():
    assert once(PLAIN, None, whole(), body_s=5.0).status == 200


def test_a_slow_body_is_refused_and_not_waited_for():
    said = once(PLAIN, body_s=31.0)
    assert (said.status, said.error["code"]) == (408, "request_timeout")


def test_a_large_body_is_refused_stated_or_sent():
    config = CONFIG + "[gateway]\nmax_body_mb = 0.001\n"
    big = request(stream=False, prompt="x" * 2000)
    assert once(big, config=config).status == 413
    assert once(big, config=config, body_s=1.0).status == 413
    assert once(PLAIN, {"content-length": "999999999"}).status == 413


def test_a_compressed_body_is_refused():
    assert once(PLAIN, {"content-encoding": "gzip"}).status == 415


# Keys.


def test_a_key_may_be_limited_to_routes():
    digest = hashlib.sha256(b"hf-key").hexdigest()
    config = CONFIG + f'[keys.team]\nsha256 = "{digest}"\nroutes = ["chat"]\n'
    auth = {"authorization": "Bearer hf-key"}
    assert once(PLAIN, auth, whole(), config=config).status == 200
    assert once(request(stream=False, model="a/other"), auth, config=config).status == 403
    assert once(PLAIN, None, config=config).status == 401
    assert once(PLAIN, {"authorization": "Bearer other"}, config=config).status == 401


# Leaving, draining, stalling.


@pytest.mark.parametrize("leaves_s", [0.5, 3.2, 4.5])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_caller_that_leaves_ends_the_upstream_call(leaves_s, streamed):
    async def main(clock: VirtualClock) -> None:
        reply = speaks(*stream("a", "b", "c"), head_s=3.0, gap_s=1.0) if streamed else whole(head_s=6.0)
        door = await Door.open(clock, [reply])
        await door.chat(request(stream=streamed), leaves_s=leaves_s)
        assert clock.monotonic() <= leaves_s + 0.25
        await door.settle()
        (exchange,) = door.app.transport.exchanges
        assert exchange.ended == "closed"
        (record,) = door.app.ledger.records()
        assert record.state == "cancelled"
        assert record.end.attempts[0].billed == "bound" or record.end.cost_nano is None

    run_virtual(main)


def test_draining_lets_what_runs_finish_and_refuses_what_comes():
    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock, [speaks(*stream("a", "b"), gap_s=1.0)])
        running = asyncio.ensure_future(door.chat(request()))
        await asyncio.sleep(0.5)
        door.gateway.drain()
        refused = await door.chat(PLAIN)
        assert (refused.status, refused.error["code"]) == (503, "shutting_down")
        assert refused.headers["retry-after"] == "1"
        assert (await door.ask("GET", "/health/ready")).status == 503
        assert (await door.ask("GET", "/health/live")).status == 200
        assert hear((await running).body).text == "ab"
        await door.settle()

    run_virtual(main)


@pytest.mark.parametrize("when_s", [0.5, 2.5])
def test_what_still_runs_when_the_time_is_over_gets_an_honest_end(when_s):
    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock, [speaks(*stream("a", "b", "c"), gap_s=1.0)])
        running = asyncio.ensure_future(door.chat(request()))
        await asyncio.sleep(when_s)
        door.gateway.drain()
        door.gateway.cut()
        said = await running
        if when_s < 1.0:
            assert said.status == 503
        else:
            heard = hear(said.body)
            assert heard.text == "ab"
            assert (heard.dones, len(heard.errors)) == (0, 1)
        await door.settle()
        (record,) = door.app.ledger.records()
        assert (record.state, record.end.error_label) == ("failed", "draining")
        assert record.end.attempts[0].billed == "bound" or record.end.cost_nano is None

    run_virtual(main)


def test_a_caller_that_does_not_read_is_let_go():
    config = CONFIG + "[timeouts]\nclient_stall_s = 5\n"

    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock, [speaks(*stream("a", "b"), gap_s=0.1)], config)
        await door.chat(request(), sends_slowly_s=600.0)
        assert clock.monotonic() <= 5.0 * 1.5 + 1.0
        await door.settle()
        (record,) = door.app.ledger.records()
        assert record.state == "cancelled"
        assert "client_stall_s" in record.end.error

    run_virtual(main)


def test_a_caller_that_does_not_read_a_whole_answer_is_let_go_too():
    config = CONFIG + "[timeouts]\nclient_stall_s = 5\n"

    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock, [whole("x" * 100_000)], config)
        await door.chat(request(stream=False), sends_slowly_s=600.0)
        assert clock.monotonic() <= 5.0 * 1.5 + 1.0
        await door.settle()
        (record,) = door.app.ledger.records()
        assert record.state == "ok", "the answer was whole, and is billed"

    run_virtual(main)


def test_keepalive_sends_the_head_early_and_says_so():
    config = CONFIG + "[timeouts]\nkeepalive_s = 2\n"
    said = once(request(), None, speaks(*stream("a"), head_s=5.0), config=config)
    assert said.pieces[0][0] == pytest.approx(2.0)
    assert said.headers["x-holdfast-keepalive"] == "early"
    assert hear(said.body).text == "a"
    broken = once(request(), None, refuses(500, head_s=5.0), refuses(500), config=config)
    assert broken.status == 200
    assert hear(broken.body).endings == 1
    assert broken.whole


# What else is served.


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 200), ("GET", "/metrics", 200), ("GET", "/openapi.json", 200), ("GET", "/health/live", 200),
        ("GET", "/health/ready", 200), ("POST", "/v1/models", 405), ("GET", "/v1/chat/completions", 405),
        ("POST", "/health/live", 405), ("GET", "/v1/chat/completion", 404), ("GET", "/", 200), ("HEAD", "/", 200),
        ("HEAD", "/health/live", 200), ("POST", "/", 405), ("GET", "/v1", 404),
        ("GET", "/v1/models/chat", 200), ("GET", "/v1beta/models/a/m", 200), ("GET", "/v1/models/nobody-knows", 404),
        ("PUT", "/é", 404),
    ],
)  # fmt: skip
def test_paths_and_methods(method, path, status):
    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock)
        said = await door.ask(method, path)
        assert said.status == status
        if status >= 400:
            assert said.error["message"]

    run_virtual(main)
