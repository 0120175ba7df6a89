"""Faults of streams that leave the text as it was, in every wire: a correct client sees the same answer."""

import re
from itertools import accumulate

import pytest
from tests.unit.chaos.raw import is_silent, receive, send
from tests.unit.chaos.speaking import SPEAKERS, TOKENS, Speaker

from holdfast.chaos import Chaos, ChaosConfig, run_chaos


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig(tokens=TOKENS)) as running:
        yield running


@pytest.fixture(params=SPEAKERS.values(), ids=SPEAKERS)
def speaker(request):
    return request.param


def seen(chaos: Chaos, speaker: Speaker, script: str, *, stream: bool = True):
    chaos.reset()
    chaos.script("m", script)
    return speaker.ask(chaos.port, stream=stream)


def last(chaos: Chaos):
    return chaos.wait_for(lambda journal: journal and journal[-1].end)[-1]


@pytest.fixture(scope="module")
def still():
    """A server whose time stands still, so that each segment is seen on its own."""
    with run_chaos(ChaosConfig(tokens=TOKENS, clock="hand")) as running:
        yield running


def pieces(chaos: Chaos, speaker: Speaker, script: str, *, stream: bool = True) -> list[bytes]:
    """What goes on the socket, segment by segment."""
    chaos.reset()
    chaos.script("m", f"{script} pause=1")
    path = speaker.stream_path if stream else speaker.plain_path
    found = []
    with send(chaos.port, speaker.body("hi", stream=stream), path=path, **speaker.headers) as sock:
        chaos.wait_for_requests(1)
        while not chaos.journal()[0].end:
            found.append(sock.recv(65536))
            chaos.advance(1)
        found += [] if is_silent(sock) else [sock.recv(65536)]
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_split_begins_a_segment_at_that_byte(still, speaker, stream):
    whole = seen(still, speaker, "ok", stream=stream).data
    first = whole.index(b"\r\n\r\n") + 4
    for at in {1, 2, first // 2, first - 1, first, first + 1, (first + len(whole)) // 2, len(whole) - 1}:
        sent = pieces(still, speaker, f"split={at}", stream=stream)
        assert b"".join(sent) == whole
        assert at in accumulate(map(len, sent))


def test_split_by_the_seed_cuts_the_same_bytes_at_the_same_places(still, speaker):
    whole = seen(still, speaker, "ok").data
    sent = pieces(still, speaker, "split most=400")
    assert b"".join(sent) == whole
    assert all(0 < len(piece) <= 400 for piece in sent)
    assert len(set(map(len, sent))) > 3
    assert pieces(still, speaker, "split most=400") == sent


def test_segments_are_as_long_as_asked(still, speaker):
    sent = pieces(still, speaker, "segments=100")
    assert b"".join(sent) == seen(still, speaker, "ok").data
    assert max(map(len, sent)) == 100


def test_split_cuts_a_character(chaos):
    speaker = SPEAKERS["openai_chat"]
    whole = seen(chaos, speaker, "text=ö", stream=False)
    at = whole.data.index("ö".encode()) + 1
    chaos.reset()
    chaos.script("m", f"text=ö split={at}")
    with send(chaos.port, speaker.body("hi", stream=False)) as sock:
        data = sock.recv(at)
        while len(data) < at:
            data += sock.recv(at - len(data))
        assert data.endswith(b"\xc3")
        assert receive(sock, data).data == whole.data


@pytest.mark.parametrize("word", ["multi_line", "sse_fields", "bom"])
def test_what_the_standard_allows_changes_bytes_and_no_event(chaos, speaker, word):
    healthy = seen(chaos, speaker, "ok")
    spoilt = seen(chaos, speaker, word)
    if speaker.name == "gemini array":
        assert spoilt.data == healthy.data
        assert last(chaos).skipped == [word]
        return
    assert spoilt.data != healthy.data
    assert events(spoilt.body) == events(healthy.body)
    assert last(chaos).tokens == TOKENS


def events(body: bytes) -> list[tuple[str, str]]:
    """Type and data, as the standard (WHATWG HTML, server-sent events) reads them."""
    events, name, data = [], "", []
    for line in body.decode("utf-8-sig").split("\n"):
        if not line:
            if data:
                events.append((name, "\n".join(data)))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return [(name, data.replace("\n", "")) for name, data in events]


def test_multi_line_data_stands_on_two_lines(chaos):
    spoilt = seen(chaos, SPEAKERS["openai_chat"], "multi_line")
    events = [event for event in spoilt.events if event != "data: [DONE]"]
    assert all(event.count("\ndata: ") == 1 for event in events)


def test_an_unknown_event_stands_between_the_others(chaos, speaker):
    healthy = seen(chaos, speaker, "ok")
    spoilt = seen(chaos, speaker, "unknown_event=2")
    typed = speaker.name in ("anthropic", "openai_responses")
    if not typed:
        assert spoilt.data == healthy.data
        assert last(chaos).skipped == ["unknown_event"]
        return
    new = [event for event in spoilt.events if event.startswith("event: new_thing")]
    assert len(new) == 1
    assert [event for event in spoilt.events if event not in new] == healthy.events


def test_the_last_event_lacks_its_blank_line(chaos, speaker):
    healthy = seen(chaos, speaker, "ok")
    spoilt = seen(chaos, speaker, "no_blank_line")
    if speaker.name == "gemini array":
        assert last(chaos).skipped == ["no_blank_line"]
        return
    end = b"\r\n\r\n" if healthy.body.endswith(b"\r\n\r\n") else b"\n\n"
    assert spoilt.body == healthy.body.removesuffix(end) + b"\n"
    assert (spoilt.end, last(chaos).tokens) == ("complete", TOKENS)


@pytest.mark.parametrize(("how", "names"), [("gone", {""}), ("wrong", {"message"})])
def test_event_names_change_no_data(chaos, speaker, how, names):
    healthy = seen(chaos, speaker, "ok")
    spoilt = seen(chaos, speaker, f"event_names={how}")
    if speaker.name not in ("anthropic", "openai_responses"):
        assert spoilt.data == healthy.data
        assert last(chaos).skipped == ["event_names"]
        return
    before, after = events(healthy.body), events(spoilt.body)
    assert [data for _, data in after] == [data for _, data in before]
    assert {name for name, _ in after} == names
    assert last(chaos).tokens == TOKENS


@pytest.mark.parametrize(
    "word", ["event_names", "event_names=wrong", "sse_fields", "multi_line", "missing_fields=id"]
)
def test_what_is_said_is_found_behind_other_bytes(chaos, word):
    answer = seen(chaos, SPEAKERS["anthropic"], f"{word} bad_utf8")
    assert re.search(rb'":"\xc3\(\xff[0-9a-f]{10}:0 "', answer.body)
