"""What a route sets reaches the provider, the caller and the bill; and what odd providers can't change."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.simulation.chat_wire import chunk, refuses, request, speaks, stream
from tests.simulation.world import World

from holdfast.engine.policy import Policy, Retry, Timeouts
from holdfast.errors import RequestRefused, TargetsFailed, TimedOut
from holdfast.testing.virtual_time import run_virtual
from holdfast.transport.headers import Headers

ONCE = Retry(max_retries=0, jitter=0.0)


def test_an_absent_output_limit_becomes_the_routes():
    async def main(clock):
        world = World(
            clock, {"a": [speaks(*stream("hi")), speaks(*stream("hi"))]}, policy=Policy(max_output_tokens=7)
        )
        without, given = world.exchange(request(max_tokens=None)), world.exchange(request(max_tokens=3))
        for exchange in (without, given):
            await exchange.open()
            while not exchange.over:
                await exchange.read()
        return [json.loads(seen.request.body) for seen in world.transport.exchanges], without, given

    bodies, without, given = run_virtual(main)
    assert bodies[0]["max_tokens"] == 7
    assert without.output_limit == 7, "so that the door can tell the caller"
    assert bodies[1]["max_tokens"] == 3
    assert given.output_limit is None


def test_the_routes_output_limit_bounds_the_bill():
    """An attempt whose usage never came counts what was allowed: 7 tokens at 8,000 nano-dollars, and the most input."""

    async def main(clock):
        world = World(
            clock,
            {"a": [speaks(chunk("hal"), ending="reset")]},
            policy=Policy(max_output_tokens=7),
            retry=ONCE,
        )
        body = request(max_tokens=None)
        outcome = await world.ask(body)
        return outcome, len(body)

    outcome, size = run_virtual(main)
    assert [row.billed for row in outcome.rows] == ["bound"]
    input_tokens, rest = divmod(outcome.end.cost_nano - 7 * 8_000, 2_000)
    assert rest == 0
    assert size <= input_tokens <= size + 2_000, (
        "the bytes of the body, what we add to it and what providers may"
    )


def test_after_an_early_200_the_record_says_200():
    """``keepalive_s`` waives the honest status: what the caller got is on record, not what it would have got."""

    async def main(clock):
        world = World(clock, {"a": [refuses(503)]}, retry=ONCE)
        exchange = world.exchange()
        exchange.told_early()
        with pytest.raises(TargetsFailed) as raised:
            await exchange.open()
        return raised.value, await world.ledger.get(exchange.call.id)

    raised, record = run_virtual(main)
    assert raised.status == 502
    assert (record.end.state, record.end.status) == ("failed", 200)


def test_pings_do_not_keep_a_resumption_alive():
    """A target that only sends comments while it should repeat the delivered text is silent."""

    async def main(clock):
        pings = [b": ping\n\n"] * 100
        world = World(
            clock,
            {"a": [speaks(chunk("hello"), ending="reset")], "b": [speaks(*pings, gap_s=5.0)]},
            policy=Policy(on_break="resume", total_s=400),
            timeouts=Timeouts(idle_s=12.0),
            retry=ONCE,
        )
        return await world.ask()

    outcome = run_virtual(main)
    assert [row.outcome for row in outcome.rows] == ["connection_lost", TimedOut.label]
    assert outcome.rows[1].total_ms < 30_000


def test_an_empty_finish_reason_is_none():
    """Some compatible servers say ``""`` for "not yet": what follows still belongs to the answer."""

    async def main(clock):
        world = World(clock, {"a": [speaks(chunk("one", finish=""), *stream(" two"))]})
        return await world.ask()

    outcome = run_virtual(main)
    assert outcome.heard.text == "one two"
    assert outcome.end.state == "ok"


def test_a_body_that_hangs_takes_nothing_from_an_error_status():
    """A 400 is a 400 as soon as it is said: the caller hears it after 5 s, and no other target is asked."""

    async def main(clock):
        hanging = msgspec.structs.replace(refuses(400), segments=((0.0, b'{"error":'),), ending="hang")
        world = World(clock, {"a": [hanging], "b": []})
        return await world.ask()

    outcome = run_virtual(main)
    assert type(outcome.error) is RequestRefused
    assert outcome.error.upstream_status == 400
    assert 5.0 <= outcome.took_s <= 5.1
    assert outcome.tried == [("a", RequestRefused.label)]


def test_a_hanging_error_body_under_a_short_first_token_limit():
    """The status was said in time: that its body isn't makes it no timeout, and sends the request nowhere else."""

    async def main(clock):
        hanging = msgspec.structs.replace(refuses(400), segments=((0.0, b'{"error":'),), ending="hang")
        world = World(clock, {"a": [hanging], "b": []}, timeouts=Timeouts(first_token_s=1.0))
        return await world.ask()

    outcome = run_virtual(main)
    assert outcome.tried == [("a", RequestRefused.label)]
    assert outcome.took_s <= 5.1


def test_a_resumption_answered_with_a_hanging_page_ends():
    """Not a stream and never whole: the first-token limit ends it, as it would any attempt."""

    async def main(clock):
        page = msgspec.structs.replace(refuses(400), status=200, segments=((0.0, b'{"id":'),), ending="hang")
        world = World(
            clock,
            {"a": [speaks(chunk("one"), ending="reset")], "b": [page]},
            policy=Policy(on_break="resume", total_s=400),
            timeouts=Timeouts(first_token_s=3.0),
            retry=ONCE,
        )
        return await world.ask()

    outcome = run_virtual(main)
    assert [row.outcome for row in outcome.rows] == ["connection_lost", TimedOut.label]
    assert outcome.rows[1].total_ms <= 3_020
    assert len(outcome.heard.errors) == 1


class Ticking:
    """A clock that moves with every look at it: time passes, and nobody ever waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.01
        return self.now

    def wall_ns(self) -> int:
        return round(self.monotonic() * 1e9)


class Endless:
    """A provider whose next bytes are always there."""

    status = 200
    headers = Headers.of({"content-type": "text/event-stream"})
    until_eof = False

    async def send(self, request, *, connect_s, on_sent=None):
        on_sent()
        return self

    async def read_some(self) -> bytes:
        return self.take()

    def take(self) -> bytes:
        return chunk("more ")

    def close(self) -> None: ...


def test_a_provider_that_never_pauses_meets_the_deadline():
    """Bytes that are always there need no timer; the deadline holds all the same."""

    async def main(_clock):
        clock = Ticking()
        world = World(clock, {"a": []}, policy=Policy(total_s=10.0), retry=ONCE)
        world.engine.transport = Endless()
        exchange = world.exchange()
        await exchange.open()
        reads = 0
        while not exchange.over and reads < 2_000:
            last = await exchange.read()
            reads += 1
        return last, reads, clock.now, await world.ledger.get(exchange.call.id)

    last, reads, now, record = run_virtual(main)
    assert reads < 2_000
    assert b"error" in last
    assert now < 10.5
    assert record.end.error_label == TimedOut.label
