"""What becomes of a stream that breaks after its first content: an honest error, a resumption, or nothing at all seen."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.simulation.chat_wire import (
    DONE,
    chunk,
    event,
    refuses,
    request,
    speaks,
    stream,
    usage_chunk,
)
from tests.simulation.world import Outcome, World, converse

from holdfast.engine.policy import Policy, Retry, Timeouts
from holdfast.errors import TargetsFailed
from holdfast.testing.virtual_time import run_virtual

if TYPE_CHECKING:
    from holdfast.testing.virtual_time import VirtualClock

RESUME, BUFFER, ERROR = Policy(on_break="resume"), Policy(on_break="buffer"), Policy()
ONCE = Retry(max_retries=0, jitter=0.0)
KEEPALIVE = b": keepalive\n\n"
MALFORMED = b"data: {not json\n\n"


def outcome_of(scripts, *, policy=ERROR, retry=ONCE, body=None, timeouts=None, seed=0) -> Outcome:
    async def main(clock: VirtualClock) -> Outcome:
        world = World(
            clock,
            scripts,
            policy=policy,
            retry=retry,
            seed=seed,
            **({"timeouts": timeouts} if timeouts else {}),
        )
        outcome = await world.ask(body)
        await asyncio.sleep(0)
        world.assert_quiet()
        assert list(outcome.rows) == world.told.rows
        return outcome

    return run_virtual(main)


ENDINGS = {
    "clean cut": {"ending": "complete"},
    "cut": {"ending": "cut"},
    "reset": {"ending": "reset"},
    "hang": {"ending": "hang"},
    "until eof": {"ending": "cut", "until_eof": True},
    "not http": {"ending": "malformed"},
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_break_after_content_is_one_error_event_and_no_end_marker(ending):
    outcome = outcome_of(
        {"a": [speaks(chunk("one"), chunk(" two"), gap_s=0.1, **ENDINGS[ending])], "b": []},
        timeouts=Timeouts(idle_s=5.0),
    )
    assert outcome.error is None
    heard = outcome.heard
    assert heard.text == "one two"
    assert heard.dones == 0
    assert heard.finishes == {}
    assert len(heard.errors) == 1
    assert heard.after_end == 0
    assert heard.errors[0]["request_id"] == outcome.record.intent.id
    assert outcome.end.state == "failed"
    assert outcome.end.status == 200
    assert outcome.end.provider == "a"
    assert outcome.rows[0].billed == "bound"


@pytest.mark.parametrize(
    ("last", "label"),
    [
        (event({"error": {"message": "boom", "type": "server_error"}}), "server_failed"),
        (event({"error": {"message": "busy", "code": 529}}), "overloaded"),
        (MALFORMED, "bad_answer"),
        (b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n', "bad_answer"),
        (DONE, "truncated"),
    ],
)
def test_what_the_provider_says_instead_of_an_ending(last, label):
    outcome = outcome_of({"a": [speaks(chunk("one"), last, chunk("after"), DONE, gap_s=0.1)]})
    assert outcome.heard.text == "one"
    assert outcome.heard.dones == 0
    assert outcome.end.error_label == label
    assert outcome.heard.endings == 1


def test_the_finish_reason_alone_is_success_and_the_end_marker_is_ours():
    outcome = outcome_of({"a": [speaks(chunk("one"), chunk(finish="stop"), gap_s=0.1)]})
    assert outcome.end.state == "ok"
    assert outcome.heard.finishes == {0: ["stop"]}
    assert outcome.heard.dones == 1


@pytest.mark.parametrize("ending", ["hang", "reset", "cut", "malformed"])
def test_what_happens_after_the_finish_reason_cannot_make_a_whole_answer_less_so(ending):
    outcome = outcome_of(
        {"a": [speaks(chunk("one"), chunk(finish="length"), usage_chunk(7, 3), gap_s=0.1, ending=ending)]}
    )
    assert outcome.end.state == "ok"
    assert outcome.heard.finishes == {0: ["length"]}
    assert outcome.end.usage.input_tokens == 7
    assert outcome.took_s <= 0.2 + 5.0 + 0.05


def test_a_trailer_that_only_pings_ends_within_its_limit_too():
    pings = [b": ping\n\n"] * 40
    outcome = outcome_of(
        {"a": [speaks(chunk("one"), chunk(finish="stop"), *pings, gap_s=1.0, ending="hang")]}
    )
    assert outcome.end.state == "ok"
    assert outcome.took_s <= 1.0 + 5.0 + 0.05


# resume


def test_a_resumption_repeats_silently_and_goes_on():
    outcome = outcome_of(
        {
            "a": [speaks(*stream("one", " two", " three")[:3], gap_s=0.1, ending="reset")],
            "b": [speaks(*stream("on", "e t", "wo thr", "ee", answer_id="other", model="m-2"), gap_s=0.1)],
        },
        policy=RESUME,
        body=request(stream_options={"include_usage": True}),
    )
    heard = outcome.heard
    assert heard.text == "one two three"
    assert heard.ids == {"chatcmpl-1"}
    assert heard.models == {"m-1"}
    assert heard.usages == [(10, 5)], "the finisher's"
    assert (heard.dones, heard.errors) == (1, [])
    assert [(row.provider, row.billed) for row in outcome.rows] == [("a", "bound"), ("b", "provider")]
    assert outcome.end.provider == "b"
    assert "provider=b" in heard.comments[-1]


def test_a_resumption_that_says_something_else_is_an_error_and_no_splice():
    outcome = outcome_of(
        {
            "a": [speaks(chunk("one"), chunk(" two"), gap_s=0.1, ending="reset")],
            "b": [speaks(*stream("one", " TWO", " three"), gap_s=0.1)],
        },
        policy=RESUME,
    )
    assert outcome.heard.text == "one two"
    assert outcome.heard.dones == 0
    assert len(outcome.heard.errors) == 1
    assert outcome.end.state == "failed"


def test_content_and_its_break_in_one_segment_are_content_and_a_break():
    """How the bytes were cut on the way must not matter: the content commits, and the break comes after it."""
    outcome = outcome_of({"a": [speaks(chunk("one") + MALFORMED)], "b": [speaks(*stream("other"))]})
    assert outcome.heard.text == "one"
    assert len(outcome.heard.errors) == 1
    assert outcome.tried == [("a", "bad_answer")]


def test_text_that_went_out_with_its_break_is_part_of_the_prefix():
    outcome = outcome_of(
        {
            "a": [
                speaks(chunk("one") + MALFORMED),
                speaks(chunk("one"), chunk(" two"), gap_s=0.1, ending="reset"),
                speaks(*stream("one", " two", " three"), gap_s=0.1),
            ]
        },
        policy=RESUME,
        retry=Retry(max_retries=2, jitter=0.0),
    )
    assert outcome.heard.text == "one two three"
    assert outcome.end.state == "ok"


def test_text_of_a_failed_resumption_that_never_went_out_is_sent_by_the_next():
    outcome = outcome_of(
        {
            "a": [speaks(chunk("one"), gap_s=0.1, ending="reset")],
            "b": [speaks(chunk("one") + chunk(" two") + MALFORMED)],
            "c": [speaks(*stream("one", " two", " three"), gap_s=0.1)],
        },
        policy=RESUME,
    )
    assert outcome.heard.text == "one two three"
    assert outcome.end.state == "ok"


def test_a_failed_resumption_is_told_once_and_then_nothing():
    async def main(clock: VirtualClock) -> None:
        world = World(
            clock,
            {"a": [speaks(chunk("one"), ending="reset", end_s=0.1)], "b": [refuses(500)]},
            policy=RESUME,
            retry=ONCE,
        )
        exchange = world.exchange()
        error, data = await converse(exchange)
        assert error is None
        assert data.count(b'"error":{') == 1
        assert await exchange.read() == b""
        assert await exchange.read() == b""
        assert [row.number for row in world.told.rows] == [1, 2]

    run_virtual(main)


@pytest.mark.parametrize(
    ("piece", "body"),
    [
        (chunk(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]), request()),
        (chunk(reasoning_content="hm"), request()),
        (chunk("one"), request(n=2)),
    ],
)
def test_only_the_text_of_one_choice_is_resumed(piece, body):
    outcome = outcome_of({"a": [speaks(piece, ending="reset", end_s=0.1)], "b": []}, policy=RESUME, body=body)
    assert len(outcome.heard.errors) == 1
    assert outcome.tried == [("a", "connection_lost")]


def test_a_silent_resumption_keeps_the_connection_awake():
    outcome = outcome_of(
        {
            "a": [speaks(chunk("one"), ending="reset", end_s=0.1)],
            "b": [speaks(*stream("one", " two"), head_s=29.0, gap_s=1.0)],
        },
        policy=RESUME,
    )
    assert outcome.heard.text == "one two"
    assert outcome.heard.comments.count("keepalive") == 1 + 1


TEXT = st.text(alphabet="ab é😀", min_size=1, max_size=12)


@given(data=st.data(), text=TEXT, other=TEXT)
@example(data=None, text="aa", other="aa")
def test_any_resumption_gives_one_attempts_text_or_an_error(data, text, other):
    """Whatever the attempts say and wherever they break: a success is exactly the last one's text."""
    if data is None:
        said, cuts, glue = [text, text], [1], [False]
    else:
        said = [
            text,
            *data.draw(st.lists(st.sampled_from([text, other, text + other]), min_size=1, max_size=3)),
        ]
        cuts = [data.draw(st.integers(0, len(each))) for each in said[:-1]]
        glue = [data.draw(st.booleans()) for _ in said]
    scripts = {}
    for n, words in enumerate(said):
        last = n == len(said) - 1
        shown = words if last else words[: cuts[n]]
        events = [chunk(role="assistant"), *(chunk(letter) for letter in shown)]
        events += [chunk(finish="stop"), DONE] if last else [MALFORMED]
        if glue[n % len(glue)]:
            events = [b"".join(events)]
        scripts["abcd"[n]] = [speaks(*events, gap_s=0.1)]

    outcome = outcome_of(scripts, policy=RESUME)

    if outcome.end.state == "ok":
        assert outcome.heard.text == said[outcome.rows[-1].number - 1]
        assert outcome.heard.dones == 1
    elif outcome.heard is not None:
        assert outcome.heard.dones == 0
        assert len(outcome.heard.errors) == 1
        assert any(each.startswith(outcome.heard.text) for each in said)
    if all(each == said[0] for each in said):
        assert outcome.end.state == "ok", "what repeats itself can be resumed"


# buffer


def test_a_buffered_answer_comes_whole_from_whoever_can():
    said = stream("one", " two")
    outcome = outcome_of(
        {
            "a": [speaks(*said[:2], gap_s=0.1, ending="reset")],
            "b": [speaks(chunk("one"), MALFORMED, gap_s=0.1)],
            "c": [speaks(*stream("else", " where"), gap_s=0.1)],
        },
        policy=BUFFER,
    )
    assert outcome.heard.text == "else where"
    assert outcome.heard.dones == 1
    assert outcome.tried == [("a", "connection_lost"), ("b", "bad_answer"), ("c", "ok")]


def test_a_buffered_answer_that_nobody_finishes_is_an_honest_status():
    outcome = outcome_of(
        {"a": [speaks(chunk("one"), ending="reset", end_s=0.1)], "b": [refuses(500)]}, policy=BUFFER
    )
    assert isinstance(outcome.error, TargetsFailed)
    assert outcome.error.status == 502
    assert outcome.body == b""


def test_what_is_held_back_is_bounded():
    async def main(clock: VirtualClock) -> None:
        big = [chunk("x" * 1000) for _ in range(20)]
        world = World(
            clock, {"a": [speaks(*big, gap_s=0.1)]}, policy=BUFFER, retry=ONCE, max_buffer_bytes=5_000
        )
        outcome = await world.ask()
        assert outcome.error is not None
        assert outcome.tried == [("a", "bad_answer")]
        assert world.transport.exchanges[0].taken < 7_000
        world.assert_quiet()

    run_virtual(main)


def test_a_resumption_that_fails_unread_is_no_loose_end():
    """The caller leaves between two reads, and the resumption had failed by then: nobody is left to take its error."""

    async def main(clock: VirtualClock) -> list[dict[str, object]]:
        trouble: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        world = World(
            clock,
            {"a": [speaks(chunk("one"), ending="reset", end_s=0.1)], "b": [refuses(500, head_s=20.0)]},
            policy=RESUME,
            retry=ONCE,
        )
        exchange = world.exchange()
        await exchange.open()
        while await exchange.read() != KEEPALIVE:
            pass
        await asyncio.sleep(30.0)
        exchange.close()
        del exchange
        await asyncio.sleep(0)
        gc.collect()
        world.assert_quiet()
        counts = await world.ledger.counts()
        assert counts.balanced
        assert counts.in_flight == 0
        return trouble

    assert run_virtual(main) == []
