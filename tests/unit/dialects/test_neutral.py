"""The library's own dialect: nothing is lost in it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from holdfast.dialects.base import Dialect, Edit, Envelope
from holdfast.dialects.neutral import Neutral, NeutralCodec, read_events
from holdfast.errors import BadAnswer, InvalidRequest, TimedOut
from holdfast.model import (
    Failed,
    Finish,
    Finished,
    FinishReason,
    Message,
    Request,
    Role,
    Sampling,
    Started,
    Text,
    TextDelta,
    Usage,
    UsageReported,
)
from holdfast.testing.conformance import run_dialect_conformance

NEUTRAL: Dialect = Neutral()
STARTED = Started(id="i", model="m")
HEL, LO = TextDelta(choice=0, key=1, text="Hel"), TextDelta(choice=0, key=1, text="lo")
STOP = Finished(choice=0, finish=Finish(FinishReason.STOP, "stop"))
USAGE = UsageReported(usage=Usage(input_tokens=1))


def lines(*events) -> bytes:
    encoder = NeutralCodec().stream_encoder()
    return b"".join(encoder.encode(event) for event in events)


def edited(*events, **edit) -> list:
    return read_events(NEUTRAL.edit(lines(*events), Edit(**edit)))


def test_it_is_a_dialect_without_any_loss():
    run_dialect_conformance(
        NeutralCodec(), sse=False, request_view=lambda whole: whole, answer_view=lambda whole: whole
    )


def test_a_request_is_known_by_what_the_engine_must_know():
    request = Request(
        model="m",
        messages=(Message(role=Role.USER, parts=(Text(text="hi"),)),),
        stream=True,
        n=2,
        max_output_tokens=7,
    )
    body = NeutralCodec().encode_request(request)
    envelope = NEUTRAL.read_request(body)
    known = (envelope.model, envelope.stream, envelope.choices, envelope.max_output_tokens, envelope.size)
    assert known == ("m", True, 2, 7, len(body))
    assert envelope.wants_usage


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"{", None), (b"[]", None), (b'{"model":7,"messages":[]}', "model"),
     (b'{"model":"m","messages":[{"role":"wizard"}]}', "messages[0].role")],
)  # fmt: skip
def test_what_is_no_request_names_the_place(body, param):
    with pytest.raises(InvalidRequest) as caught:
        NEUTRAL.read_request(body)
    assert caught.value.param == param


def test_comments_are_no_events_and_an_error_is_one():
    error = TimedOut("too late", limit="total_s", silent=False)
    (failed,) = read_events(NEUTRAL.comment("still here") + NEUTRAL.error_frame(error, "r-1") + b"\n")
    assert isinstance(failed, Failed)
    said = failed.error
    assert (said.message, said.type, said.status) == ("too late", "timed_out", 504)
    assert said.extra == {"request_id": "r-1"}
    body = NEUTRAL.error_body(error, "r-1")
    assert NeutralCodec().decode_error(504, body) == said
    assert NeutralCodec().decode_error(500, b"\xff nonsense").status == 500
    with pytest.raises(BadAnswer):
        read_events(b'{"event":"Nonsense"}\n')


def test_numbers_stay_exact_wherever_they_stand():
    exact = Decimal("0.1000000000000000000000001")
    started = Started(extra={"long": exact, "short": 0.5, "large": 10**30})
    assert read_events(lines(started)) == [started]
    body = NeutralCodec().encode_request(
        Request(model="m", messages=(), sampling=Sampling(temperature=exact), extra={"x": exact})
    )
    back = NeutralCodec().decode_request(body)
    assert (back.sampling.temperature, back.extra) == (exact, {"x": exact})


def test_edits_of_several_events():
    whole = (STARTED, HEL, LO, STOP, USAGE)
    assert edited(*whole) == list(whole)
    assert edited(*whole, usage="drop") == [STARTED, HEL, LO, STOP]
    assert edited(*whole, usage="only") == [USAGE]
    assert edited(*whole, drop_finish=frozenset({0})) == [STARTED, HEL, LO, USAGE]
    assert edited(*whole, drop_finish=frozenset({1})) == list(whole)
    assert edited(*whole, id="first", model="first")[0] == Started(id="first", model="first")
    assert edited(Started(), id="first", model="first") == [Started()], "what isn't said isn't made up"
    assert edited(*whole, text="o") == [TextDelta(choice=0, key=1, text="o")]
    assert edited(STARTED, STOP, text="o") == []


def test_no_provider_is_asked_in_it():
    for call in (
        lambda: NEUTRAL.write_request(Envelope(model="m"), model="m", overrides={}),
        NEUTRAL.scanner,
        lambda: NEUTRAL.read_answer(b""),
        lambda: NEUTRAL.refusal(500, b""),
    ):
        with pytest.raises(RuntimeError, match="no provider speaks holdfast"):
            call()
