"""A stream without ``alt=sse`` is one JSON array, however our own bytes are cut."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.dialects.gemini import Gemini
from holdfast.dialects.gemini.array import ArrayFraming
from holdfast.errors import Overloaded
from holdfast.testing.strategies import cuts, json_objects

GEMINI = Gemini()


def frame(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def framed(pieces: list[bytes]) -> bytes:
    framing = ArrayFraming()
    return b"".join([framing.feed(piece) for piece in pieces]) + framing.finish()


@given(
    st.data(), st.lists(json_objects().filter(lambda each: "error" not in each), max_size=4), st.booleans()
)
def test_the_array_is_the_list_of_events(data: st.DataObject, events: list[Any], remarks: bool) -> None:
    between = GEMINI.comment("x") + b": y\n\n" if remarks else b""
    wire = between + b"".join(frame(event) + between for event in events)
    assert json.loads(framed(data.draw(cuts(wire)))) == events


def test_elements_come_as_soon_as_they_are_there() -> None:
    framing = ArrayFraming()
    assert framing.feed(frame({"a": 1})) == b'[{"a": 1}'
    assert framing.feed(frame({"b": 2})) == b',\r\n{"b": 2}'
    assert framing.finish() == b"]"
    assert framing.finish() == b""


def test_signs_of_life_are_blank() -> None:
    framing = ArrayFraming()
    assert framing.feed(GEMINI.comment("x")).isspace()
    assert framing.feed(b": remark\n\n").isspace()
    assert framing.feed(b"") == b""
    assert framing.finish() == b"[]"


def test_an_error_is_the_last_element() -> None:
    failed = GEMINI.error_frame(Overloaded("busy", upstream_status=503), "r")
    framing = ArrayFraming()
    out = framing.feed(frame({"a": 1}) + failed + frame({"late": 1})) + framing.feed(frame({"later": 1}))
    told = json.loads(out + framing.finish())
    assert (told[0], told[1]["error"]["code"], len(told)) == ({"a": 1}, 503, 2)
    assert json.loads(framed([failed]))[0]["error"]["message"] == "busy"


def test_the_last_event_needs_no_blank_line() -> None:
    assert json.loads(framed([b'data: {"a": 1}'])) == [{"a": 1}]


def test_its_content_type() -> None:
    assert ArrayFraming.content_type == "application/json; charset=UTF-8"
