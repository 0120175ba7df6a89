"""One request's life in virtual time: its deadline, its limits, its silences, its bill."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.simulation.chat_wire import (
    DONE,
    JSON,
    PING,
    SSE,
    chunk,
    event,
    refuses,
    request,
    speaks,
    stream,
    usage_chunk,
    whole,
)
from tests.simulation.world import Outcome, World, converse

from holdfast.engine.call import Limits
from holdfast.engine.policy import Policy, Retry, Timeouts
from holdfast.errors import AuthRefused, LedgerUnavailable, RequestRefused, TargetsFailed
from holdfast.providers.tokens.bounds import bound_input_tokens
from holdfast.testing.memory_transport import Reply
from holdfast.testing.virtual_time import VirtualClock, run_virtual

ONCE = Retry(max_retries=0, jitter=0.0)
LATE_S = 0.05


def ask(scripts, body: bytes | None = None, *, limits: Limits = Limits(), **world) -> tuple[Outcome, World]:  # noqa: B008  # frozen
    async def main(clock: VirtualClock) -> tuple[Outcome, World]:
        here = World(clock, scripts, **world)
        outcome = await here.ask(body, limits=limits)
        await asyncio.sleep(0)
        here.assert_quiet()
        return outcome, here

    return run_virtual(main)


# DL1: one deadline.

delays = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.9, 3.0, 7.0, 100.0])
pieces = st.sampled_from(
    [
        chunk("a"),
        chunk(role="assistant"),
        PING,
        chunk(finish="stop"),
        usage_chunk(1, 1),
        DONE,
        b"data: {no\n\n",
        b"data: ha",
    ]
)
replies = st.one_of(
    st.builds(
        lambda parts, ending, head_s, connect_s, end_s: Reply(
            200, SSE, tuple(parts), ending, head_s=head_s, connect_s=connect_s, end_s=end_s
        ),
        st.lists(st.tuples(delays, pieces), max_size=6),
        st.sampled_from(["complete", "cut", "reset", "hang", "malformed"]),
        delays,
        delays,
        delays,
    ),
    st.builds(
        lambda status, wait, head_s: refuses(
            status, headers={} if wait is None else {"retry-after": str(wait)}, head_s=head_s
        ),
        st.sampled_from([400, 401, 408, 429, 500, 503]),
        st.none() | st.sampled_from([0, 1, 9, 60]),
        delays,
    ),
    st.builds(
        lambda ending, head_s: Reply(None, ending=ending, head_s=head_s),
        st.sampled_from(["reset", "hang"]),
        delays,
    ),
    st.builds(
        lambda head_s, gap_s: Reply(503, JSON, ((gap_s, b"{"),), "hang", head_s=head_s), delays, delays
    ),
    st.just(Reply(refused=True)),
)


@given(
    a=st.lists(replies, min_size=3, max_size=3),
    b=st.lists(replies, min_size=3, max_size=3),
    total_s=st.sampled_from([0.05, 1.0, 3.0, 10.0]),
    on_break=st.sampled_from(["error", "resume", "buffer"]),
    streamed=st.booleans(),
    seed=st.integers(0, 99),
)
@example(
    a=[Reply(200, SSE, tuple((0.9, PING) for _ in range(30)), "hang")] * 3,
    b=[Reply(None, ending="hang")] * 3,
    total_s=3.0,
    on_break="error",
    streamed=True,
    seed=0,
)
def test_any_request_ends_by_its_deadline_and_is_accounted_for(a, b, total_s, on_break, streamed, seed):
    outcome, world = ask(
        {"a": a, "b": b},
        request(stream=streamed),
        policy=Policy(total_s=total_s, on_break=on_break),
        timeouts=Timeouts(connect_s=2.0, first_token_s=3.0, answer_s=3.0, idle_s=2.0),
        retry=Retry(),
        seed=seed,
    )
    assert outcome.took_s <= total_s + LATE_S
    for seen in world.transport.exchanges:
        assert seen.began_at < total_s + LATE_S
    end = outcome.end
    assert len(world.told.ends) == len(world.told.intents) == 1
    assert end.cost_nano == sum(row.cost_nano for row in outcome.rows)
    assert [row.number for row in outcome.rows] == list(range(1, len(outcome.rows) + 1))
    unsent = sum(row.outcome in ("connect_failed", "timed_out") for row in outcome.rows)
    assert len(outcome.rows) - unsent <= len(world.transport.exchanges) <= len(outcome.rows)
    if outcome.heard is not None:
        heard = outcome.heard
        assert heard.endings == 1
        assert heard.after_end == 0
        assert (heard.dones == 1) == (end.state == "ok")
        assert bool(heard.finishes) == (end.state == "ok")
    elif outcome.error is not None:
        assert outcome.error.status >= 400
        assert end.state == "failed"
    for row in outcome.rows:
        if row.outcome == "ok":
            assert row is outcome.rows[-1]
            assert end.state == "ok"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "script",
    [
        Reply(None, ending="hang"),
        Reply(connect_s=60.0),
        speaks(ending="hang"),
        speaks(chunk("a"), ending="hang"),
        Reply(200, JSON, ((0.1, b"{"), (0.1, b" ")), "hang"),
        Reply(500, JSON, ((0.1, b"{"),), "hang"),
        refuses(429, headers={"retry-after": "8"}),
    ],
)
def test_nothing_outlives_the_total(script, streamed):
    outcome, _ = ask(
        {"a": [script] * 3},
        request(stream=streamed),
        policy=Policy(total_s=7.0),
        timeouts=Timeouts(connect_s=600, first_token_s=600, answer_s=600, idle_s=600),
    )
    assert outcome.took_s <= 7.0 + LATE_S
    assert outcome.end.state == "failed"


# Limits.


def test_a_silent_target_is_left_after_its_first_token_limit():
    outcome, world = ask(
        {"a": [Reply(None, ending="hang")] * 3, "b": [speaks(*stream("hi"))]},
        timeouts=Timeouts(first_token_s=3.0),
    )
    assert outcome.tried == [("a", "timed_out"), ("b", "ok")]
    assert world.arrivals("b")[0] == pytest.approx(3.0, abs=0.011)


def test_pings_do_not_reset_the_idle_limit_and_reasoning_does():
    pinged, _ = ask(
        {"a": [speaks(chunk("a"), *[PING, chunk("")] * 20, gap_s=1.0, ending="hang")]},
        timeouts=Timeouts(idle_s=5.0),
        retry=ONCE,
    )
    assert pinged.end.error_label == "timed_out"
    assert pinged.took_s == pytest.approx(5.0, abs=0.02)
    thought, _ = ask(
        {"a": [speaks(chunk("a"), *[chunk(reasoning_content="hm")] * 20, chunk(finish="stop"), gap_s=4.0)]},
        timeouts=Timeouts(idle_s=5.0),
        retry=ONCE,
    )
    assert thought.end.state == "ok"


def test_pings_do_not_reset_the_first_token_limit_either():
    outcome, _ = ask(
        {"a": [speaks(*[PING] * 100, gap_s=0.5)], "b": [speaks(*stream("hi"))]},
        timeouts=Timeouts(first_token_s=3.0),
        retry=ONCE,
    )
    assert outcome.tried == [("a", "timed_out"), ("b", "ok")]
    assert outcome.took_s == pytest.approx(3.0, abs=0.011)


def test_the_idle_limit_stands_still_while_nobody_reads():
    async def main(clock: VirtualClock) -> None:
        world = World(
            clock,
            {"a": [speaks(chunk("a"), chunk("b"), *stream("c"), gap_s=3.0)]},
            timeouts=Timeouts(idle_s=5.0),
        )
        exchange = world.exchange()
        await exchange.open()
        parts = []
        while not exchange.over:
            parts.append(await exchange.read())
            await asyncio.sleep(60.0)
        exchange.close()
        assert world.told.ends[0].state == "ok"
        world.assert_quiet()

    run_virtual(main)


@pytest.mark.parametrize(
    ("limits", "streamed", "took_s"),
    [
        (Limits(read_s=2.0), True, 2.0),
        (Limits(read_s=2.0), False, 2.0),
        (Limits(total_s=4.0), True, 4.0),
        (Limits(read_s=100.0, total_s=100.0), True, 6.0),
    ],
)
def test_a_callers_limits_can_only_tighten(limits, streamed, took_s):
    outcome, _ = ask(
        {"a": [Reply(None, ending="hang")]},
        request(stream=streamed),
        limits=limits,
        policy=Policy(total_s=6.0),
        timeouts=Timeouts(first_token_s=6.0, answer_s=6.0),
        retry=ONCE,
    )
    assert outcome.error.status == 504
    assert outcome.took_s == pytest.approx(took_s, abs=0.02)


def test_a_callers_read_limit_bounds_every_gap():
    outcome, _ = ask(
        {"a": [speaks(chunk("a"), chunk("b"), gap_s=3.0)]}, limits=Limits(read_s=2.0), retry=ONCE
    )
    assert len(outcome.heard.errors) == 1
    assert outcome.took_s < 6.0


# Silence.


def test_a_comment_for_every_fifteen_seconds_of_silence():
    outcome, _ = ask(
        {"a": [speaks(chunk("a"), chunk("b"), chunk(finish="stop"), first_s=50.0, gap_s=46.0)]},
        timeouts=Timeouts(idle_s=120.0, first_token_s=120.0),
    )
    assert outcome.heard.text == "ab"
    assert outcome.heard.comments.count("keepalive") == 3 + 3
    assert outcome.body.startswith(b"data: "), "no comment before there is content"


# Bills.


def most_input(body: bytes) -> int:
    """Its bytes, what we may add to them, and what a provider that nobody knows may add to a request of one message."""
    return len(body) + 256 + bound_input_tokens(0, "a", "m", tools=0, messages=2)


def test_usage_is_exact_whatever_became_of_the_attempt():
    outcome, _ = ask({"a": [speaks(chunk("a"), usage_chunk(100, 7), gap_s=0.1, ending="reset")]}, retry=ONCE)
    (row,) = outcome.rows
    assert (row.billed, row.cost_nano) == ("provider", 100 * 2_000 + 7 * 8_000)
    assert outcome.end.state == "failed"


@pytest.mark.parametrize(
    ("reply", "billed"),
    [
        (speaks(chunk("a"), ending="reset", end_s=0.1), "bound"),
        (Reply(None, ending="reset"), "bound"),
        (Reply(None, ending="hang"), "bound"),
        (speaks(*stream("a", usage=None)), "bound"),
        (speaks(b"data: {no\n\n"), "bound"),
        (speaks(event({"error": {"message": "late", "code": 500}})), "bound"),
        (refuses(500), "none"),
        (refuses(429), "none"),
        (refuses(400), "none"),
        (Reply(refused=True), "none"),
        (Reply(connect_s=60.0), "none"),
    ],
)
def test_what_cannot_be_known_counts_at_its_bound_and_a_refusal_at_nothing(reply, billed):
    body = request(max_tokens=40)
    outcome, _ = ask({"a": [reply]}, body, retry=ONCE, timeouts=Timeouts(first_token_s=3.0))
    (row,) = outcome.rows
    assert row.billed == billed
    assert row.cost_nano == (most_input(body) * 2_000 + 40 * 8_000 if billed == "bound" else 0)
    assert outcome.record.intent.bound_nano == most_input(body) * 2_000 + 40 * 8_000


def test_the_bound_covers_every_choice_and_the_dearest_target():
    body = request(max_tokens=40, n=3)
    outcome, _ = ask({"a": [refuses(400)], "b": []}, body)
    assert outcome.record.intent.bound_nano == most_input(body) * 3_000 + 3 * 40 * 12_000


def test_an_unknown_price_is_null_and_never_another_models():
    outcome, _ = ask({"nobody": [speaks(*stream("a"))]})
    assert outcome.end.state == "ok"
    assert outcome.end.cost_nano is None
    assert outcome.record.intent.bound_nano is None
    assert b"cost-usd" not in outcome.body


def test_a_plain_answer_travels_as_it_came():
    reply = whole("hi", usage=(3, 4))
    outcome, _ = ask({"a": [reply]}, request(stream=False))
    assert outcome.body == b"".join(data for _, data in reply.segments)
    assert (outcome.end.usage.input_tokens, outcome.end.usage.output_tokens) == (3, 4)
    assert outcome.end.cost_nano == 3 * 2_000 + 4 * 8_000


# Refusals.


def test_the_callers_own_fault_is_passed_on_and_nobody_else_is_asked():
    outcome, world = ask({"a": [refuses(422, code="bad")], "b": []})
    assert isinstance(outcome.error, RequestRefused)
    assert outcome.error.upstream_status == 422
    assert world.arrivals("b") == []


def test_our_refused_key_is_told_without_the_providers_words_or_the_key():
    body = b'{"error":{"message":"Incorrect API key: sk-secret-of-a","code":"invalid_api_key"}}'
    outcome, _ = ask({"a": [Reply(401, JSON, ((0.0, body),))], "b": []})
    error = outcome.error
    assert isinstance(error, AuthRefused)
    assert error.status == 502
    assert "sk-secret" not in error.message + repr(error.body) + repr(error) + outcome.rows[0].error


def test_secrets_in_a_providers_error_are_scrubbed_wherever_they_come():
    leak = {"error": {"message": "your header was Bearer sk-secret-of-a", "type": "server_error"}}
    for script in (
        speaks(event(leak)),
        speaks(chunk("a"), event(leak), gap_s=0.1),
        Reply(200, JSON, ((0.0, event(leak)[6:]),)),
    ):
        for streamed in (True, False):
            outcome, _ = ask({"a": [script]}, request(stream=streamed), retry=ONCE)
            assert outcome.end.state == "failed"
            said = repr(outcome.end) + repr(outcome.body) + repr(outcome.error)
            if isinstance(outcome.error, TargetsFailed):
                said += repr([error.message for _, error in outcome.error.failures])
            assert "sk-secret" not in said


def test_without_a_ledger_nothing_is_sent():
    async def main(clock: VirtualClock) -> None:
        world = World(clock, {"a": []})
        world.ledger.refuse("the disk is full")
        exchange = world.exchange()
        error, _ = await converse(exchange)
        exchange.close()
        assert isinstance(error, LedgerUnavailable)
        assert error.status == 503
        assert world.transport.exchanges == []
        assert world.told.intents == world.told.ends == []

    run_virtual(main)


@pytest.mark.parametrize("streamed", [True, False])
def test_an_error_inside_a_200_is_a_failure_before_the_commit(streamed):
    inside = Reply(200, JSON, ((0.0, b'{"error":{"message":"busy","type":"overloaded_error"}}'),))
    well = speaks(*stream("hi")) if streamed else whole("hi")
    outcome, _ = ask({"a": [inside], "b": [well]}, request(stream=streamed), retry=ONCE)
    assert outcome.tried == [("a", "overloaded"), ("b", "ok")]


def test_a_stream_that_is_no_stream_is_no_answer():
    html = Reply(200, {"content-type": "text/html"}, ((0.0, b"<html>"),))
    outcome, _ = ask({"a": [html], "b": [speaks(*stream("hi"))]}, retry=ONCE)
    assert outcome.tried == [("a", "bad_answer"), ("b", "ok")]


@pytest.mark.parametrize(
    "body", [b"", b" ", b"null", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b"\xff"]
)
def test_a_plain_answer_that_is_none(body):
    outcome, _ = ask({"a": [Reply(200, JSON, ((0.0, body),))]}, request(stream=False), retry=ONCE)
    assert outcome.error.status == 502
    assert outcome.rows[0].outcome in ("bad_answer", "truncated")


# Many at once.


def test_requests_side_by_side_do_not_touch_each_other():
    async def main(clock: VirtualClock) -> None:
        dice = random.Random(4)
        scripts = {}

        def handler(outgoing):
            words = [f"{len(scripts)}:{n} " for n in range(5)]
            scripts[len(scripts)] = "".join(words)
            return speaks(*stream(*words), head_s=dice.random(), gap_s=dice.random())

        world = World(clock, {"a": handler})
        outcomes = await asyncio.gather(*(world.ask() for _ in range(50)))
        assert sorted(outcome.heard.text for outcome in outcomes) == sorted(scripts.values())
        counts = await world.ledger.counts()
        assert (counts.accepted, counts.ok, counts.in_flight) == (50, 50, 0)
        world.assert_quiet()

    run_virtual(main)


def test_delivered_bytes_are_what_was_handed_out():
    for body, script in (
        (request(stream=False), whole("hi")),
        (request(), speaks(*stream("a", "b"))),
        (request(), speaks(*stream("a", "b"), gap_s=0.1)),
    ):
        outcome, _ = ask({"a": [script]}, body)
        assert 0 < outcome.end.delivered_bytes <= len(outcome.body)
        assert len(outcome.body) - outcome.end.delivered_bytes <= 200, (
            "but for the last comment, which tells its cost"
        )


class TestFinishedWithoutContent:
    """ST5: whatever fails before content is a real status, also after a finish reason."""

    EMPTY = (chunk(role="assistant"), chunk(finish="stop"))

    def test_content_after_the_finish_reason_is_a_failure_of_the_target(self):
        outcome, _ = ask(
            {"a": [speaks(*self.EMPTY, chunk("late"), DONE, gap_s=0.1)], "b": [speaks(*stream("b"))]},
            retry=ONCE,
        )
        assert outcome.error is None
        assert outcome.heard.text == "b"
        assert outcome.tried == [("a", "bad_answer"), ("b", "ok")]

    def test_alone_it_is_an_honest_status(self):
        outcome, _ = ask({"a": [speaks(*self.EMPTY, chunk("late"), DONE, gap_s=0.1)]}, retry=ONCE)
        assert isinstance(outcome.error, TargetsFailed)
        assert outcome.error.status == 502

    @pytest.mark.parametrize("ending", ["complete", "reset"])
    def test_an_empty_answer_is_whole(self, ending):
        outcome, _ = ask({"a": [speaks(*self.EMPTY, gap_s=0.1, ending=ending)]}, retry=ONCE)
        assert outcome.end.state == "ok"
        assert outcome.heard.text == ""
        assert outcome.heard.finishes == {0: ["stop"]}

    def test_its_end_marker_is_waited_for_as_long_as_any_other(self):
        outcome, _ = ask(
            {"a": [speaks(*self.EMPTY, DONE, gap_s=20.0)]}, retry=ONCE, timeouts=Timeouts(first_token_s=90.0)
        )
        assert outcome.end.state == "ok"
        assert outcome.took_s == pytest.approx(25.0, abs=0.1)
