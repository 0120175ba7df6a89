"""What providers really said comes back as it was, but for the listed differences."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.wire.cases import DIFFERENT, LOSSLESS
from tests.wire.recorded import Found, chat_exchanges, diff, gathered, listed, payloads

from holdfast.dialects.openai_chat.answer import decode_answer, encode_answer
from holdfast.dialects.openai_chat.differences import DIFFERENCES, Where
from holdfast.dialects.openai_chat.errors import decode_error, encode_error
from holdfast.dialects.openai_chat.request import decode_request, encode_request
from holdfast.dialects.openai_chat.stream import StreamDecoder
from holdfast.dialects.openai_chat.stream_encoder import StreamEncoder
from holdfast.model import Answer, Ended, fold, in_pieces, split

EXCHANGES = chat_exchanges()


def differences(where: Where, original: Any) -> list[Found]:
    """How ``original`` differs from what we make of it."""
    if where is Where.STREAM:
        again = _streamed_again(original.encode())
        return list(diff(gathered(payloads(original.encode())), gathered(payloads(again))))
    body = json.dumps(original).encode()
    if where is Where.REQUEST:
        again = encode_request(decode_request(body))
    elif where is Where.ANSWER:
        again = encode_answer(decode_answer(body))
    else:
        again = encode_error(decode_error(500, body))
    return list(diff(original, json.loads(again)))


def _streamed_again(stream: bytes) -> bytes:
    decoder, encoder = StreamDecoder(), StreamEncoder()
    events = decoder.feed(stream) + decoder.finish()
    return b"".join(encoder.encode(event) for event in events)


def _folded(stream: bytes) -> Answer:
    decoder = StreamDecoder()
    return fold(decoder.feed(stream) + decoder.finish())


def _recorded() -> list[tuple[Where, Any, str]]:
    out: list[tuple[Where, Any, str]] = []
    for exchange in EXCHANGES:
        out.append((Where.REQUEST, exchange["request"], exchange["id"]))
        if "stream" in exchange:
            out.append((Where.STREAM, exchange["stream"], exchange["id"]))
        elif exchange["status"] == 200:
            out.append((Where.ANSWER, exchange["response"], exchange["id"]))
        else:
            out.append((Where.ERROR, exchange["response"], exchange["id"]))
    return out


def test_the_recordings_are_all_here() -> None:
    kinds = [where for where, _, _ in _recorded()]
    assert (len(EXCHANGES), kinds.count(Where.STREAM), kinds.count(Where.ERROR)) == (116, 15, 1)


def test_no_recording_differs_but_as_listed() -> None:
    unlisted = [
        (id_, found)
        for where, original, id_ in _recorded()
        for found in differences(where, original)
        if not listed(where, found)
    ]
    assert not unlisted


@pytest.mark.parametrize(
    ("where", "name"), [(where, name) for where, cases in LOSSLESS.items() for name in cases]
)
def test_a_made_case_comes_back_as_it_was(where: Where, name: str) -> None:
    found = differences(where, LOSSLESS[where][name])
    allowed = {"deltas that say nothing"}  # made streams say nothing in some deltas, as real ones do
    assert [each for each in found if not listed(where, each) & allowed] == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_as_listed(name: str) -> None:
    where, original = DIFFERENT[name]
    found = differences(where, original)
    assert found
    assert set.union(*(listed(where, each) for each in found)) >= {name}
    assert [each for each in found if not listed(where, each)] == []


def test_every_listed_difference_really_occurs() -> None:
    cases = [(where, original) for where, original, _ in _recorded()] + list(DIFFERENT.values())
    seen = {
        name
        for where, original in cases
        for found in differences(where, original)
        for name in listed(where, found)
    }
    assert seen == {difference.name for difference in DIFFERENCES}


def test_names_are_unique_and_reasons_are_sentences() -> None:
    assert len({difference.name for difference in DIFFERENCES}) == len(DIFFERENCES)
    assert all(difference.reason.endswith(".") for difference in DIFFERENCES)


@pytest.mark.parametrize(
    "stream",
    [exchange["stream"] for exchange in EXCHANGES if "stream" in exchange]
    + list(LOSSLESS[Where.STREAM].values()),
)
def test_a_stream_tells_one_answer_in_every_form(stream: str) -> None:
    wire = stream.encode()
    answer = _folded(wire)
    assert answer.choices
    assert all(choice.finish for choice in answer.choices)
    assert _folded(_streamed_again(wire)) == answer
    encoder = StreamEncoder()
    split_again = b"".join(encoder.encode(event) for event in split(answer, in_pieces(3)))
    assert json.loads(encode_answer(_folded(split_again))) == json.loads(encode_answer(answer))
    whole = decode_answer(encode_answer(answer))
    assert json.loads(encode_answer(whole)) == json.loads(encode_answer(answer))
    assert (whole.choices[0].text, whole.usage) == (answer.choices[0].text, answer.usage)


@pytest.mark.parametrize("stream", [exchange["stream"] for exchange in EXCHANGES if "stream" in exchange])
def test_a_recorded_stream_is_the_same_in_single_bytes(stream: str) -> None:
    wire = stream.encode()
    decoder, whole = StreamDecoder(), StreamDecoder()
    events = [event for at in range(len(wire)) for event in decoder.feed(wire[at : at + 1])]
    assert events == whole.feed(wire)
    assert isinstance(events[-1], Ended)
