"""``min_tokens_per_s``: a stream that crawls is ended, and a caller who reads slowly ends none."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.chat_wire import hear, speaks, stream
from tests.simulation.world import World

from holdfast.engine.policy import Policy, Retry, Timeouts
from holdfast.testing.virtual_time import run_virtual

ONCE = Retry(max_retries=0, jitter=0.0)
LEAST = Timeouts(min_tokens_per_s=2.0)


def ask(gap_s: float, *, pieces: int = 40, piece: str = "a", timeouts: Timeouts = LEAST, **world):
    async def main(clock):
        here = World(
            clock,
            {"a": [speaks(*stream(*[piece] * pieces), gap_s=gap_s)], "b": [speaks(*stream("b"))]},
            retry=ONCE,
            timeouts=timeouts,
            **world,
        )
        return await here.ask()

    return run_virtual(main)


def test_a_crawling_stream_is_ended_and_told():
    outcome = ask(1.0)
    assert outcome.error is None, "it had begun"
    assert [row.outcome for row in outcome.rows] == ["timed_out"]
    assert "min_tokens_per_s" in outcome.rows[0].error
    assert len(outcome.heard.errors) == 1
    assert (outcome.heard.dones, outcome.heard.after_end) == (0, 0)
    assert 10 <= outcome.took_s <= 12


@pytest.mark.parametrize(
    ("gap_s", "piece", "timeouts"),
    [(0.5, "a", LEAST), (1.0, "abcd", LEAST), (1.0, "a", Timeouts()), (4.0, "a", Timeouts())],
    ids=["at-the-pace", "several-tokens-at-once", "off", "off-and-slow"],
)
def test_others_go_on_to_their_end(gap_s, piece, timeouts):
    outcome = ask(gap_s, piece=piece, timeouts=timeouts)
    assert outcome.end.state == "ok"
    assert outcome.heard.text == piece * 40


def test_silence_counts_as_nothing():
    """Where the idle limit is longer than the window, and no piece comes to be judged by."""
    outcome = ask(60.0, pieces=2, timeouts=Timeouts(min_tokens_per_s=2.0, idle_s=100.0, first_token_s=100.0))
    assert "min_tokens_per_s" in outcome.rows[0].error
    assert outcome.took_s <= 60 + 31, "looked at with each keepalive"


def test_a_crawl_may_be_gone_on_with_elsewhere():
    async def main(clock):
        here = World(
            clock,
            {
                "a": [speaks(*stream(*"abcdefghijklmnopqrst"), gap_s=1.0)],
                "b": [speaks(*stream(*"abcdefghijklmnopqrst"))],
            },
            retry=ONCE,
            timeouts=LEAST,
            policy=Policy(on_break="resume"),
        )
        return await here.ask()

    outcome = run_virtual(main)
    assert outcome.end.state == "ok"
    assert outcome.heard.text == "abcdefghijklmnopqrst"
    assert outcome.tried == [("a", "timed_out"), ("b", "ok")]


def test_a_caller_who_does_not_read_ends_no_stream():
    async def main(clock):
        here = World(clock, {"a": [speaks(*stream(*"abcdefgh"), gap_s=0.4)]}, retry=ONCE, timeouts=LEAST)
        exchange = here.exchange()
        await exchange.open()
        heard = b""
        while not exchange.over:
            heard += await exchange.read()
            await asyncio.sleep(30.0)
        return hear(heard)

    heard = run_virtual(main)
    assert heard.text == "abcdefgh"
    assert heard.errors == []
