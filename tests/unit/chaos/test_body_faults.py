"""Faults of the body, as a bare socket sees them, in every wire."""

import gzip
import json
import sys

import pytest
from tests.unit.chaos.raw import ask, payload, receive, send
from tests.unit.chaos.speaking import SPEAKERS, TOKENS, Speaker

from holdfast.chaos import Chaos, ChaosConfig, run_chaos


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig(tokens=TOKENS)) as running:
        yield running


@pytest.fixture(params=SPEAKERS.values(), ids=SPEAKERS)
def speaker(request):
    return request.param


both = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


def seen(chaos: Chaos, speaker: Speaker, script: str, *, stream: bool):
    chaos.reset()
    chaos.script("m", script)
    return speaker.ask(chaos.port, stream=stream)


def last(chaos: Chaos):
    return chaos.wait_for(lambda journal: journal and journal[-1].end)[-1]


@both
def test_missing_fields_is_json_without_what_holds_the_answer(chaos, speaker, stream):
    healthy = seen(chaos, speaker, "ok", stream=stream)
    spoilt = seen(chaos, speaker, "missing_fields", stream=stream)
    assert (spoilt.status, spoilt.end) == (200, "complete")
    if stream:
        told, whole = (
            [e for e in speaker.events(answer) if isinstance(e, dict)] for answer in (spoilt, healthy)
        )
        assert len(told) == len(whole)
        changed = [
            i for i, (one, other) in enumerate(zip(told, whole, strict=True)) if one.keys() != other.keys()
        ]
        assert len(changed) == 1
        spoilt_value, value = told[changed[0]], whole[changed[0]]
        assert speaker.text(value)
    else:
        spoilt_value, value = json.loads(spoilt.body), json.loads(healthy.body)
    [gone] = value.keys() - spoilt_value.keys()
    assert gone in ("choices", "content", "candidates", "output", "delta")
    assert speaker.text(spoilt_value) == ""


@pytest.mark.parametrize(("instead", "becomes"), [("null", None), ("empty", [])])
def test_missing_fields_may_be_null_or_empty(chaos, instead, becomes):
    chaos.script("m", f"missing_fields instead={instead}")
    assert json.loads(ask(chaos.port, payload()).body)["choices"] == becomes


@pytest.mark.parametrize("field", ["id", "model"])
def test_missing_fields_may_be_the_names(chaos, field):
    chaos.script("m", f"missing_fields={field}")
    assert field not in json.loads(ask(chaos.port, payload()).body)


@pytest.mark.parametrize("field", ["id", "model"])
def test_a_stream_without_a_name_says_the_same(chaos, speaker, field):
    healthy = seen(chaos, speaker, "ok", stream=True)
    spoilt = seen(chaos, speaker, f"missing_fields={field}", stream=True)
    assert speaker.said(spoilt) == speaker.said(healthy) == last(chaos).text
    assert last(chaos).tokens == TOKENS
    pairs = zip(speaker.events(spoilt), speaker.events(healthy), strict=True)
    changed = [(value, whole) for value, whole in pairs if value != whole]
    names = {"id": ("id", "responseId"), "model": ("model", "modelVersion")}[field]
    assert changed
    for value, whole in changed:
        inner = {"anthropic": "message", "openai_responses": "response"}.get(speaker.name)
        value, whole = (value[inner], whole[inner]) if inner else (value, whole)
        [gone] = whole.keys() - value.keys()
        assert gone in names


@both
def test_deep_is_nested_as_deep_as_it_says(chaos, speaker, stream):
    spoilt = seen(chaos, speaker, "deep=50000", stream=stream)
    assert b"[" * 50_000 + b"]" * 50_000 in spoilt.body
    assert b"[" * 50_002 not in spoilt.body
    assert (spoilt.status, spoilt.end) == (200, "complete")
    if not stream:
        with pytest.raises(RecursionError):
            json.loads(spoilt.body)


@both
def test_a_gzip_bomb_is_small_and_opens_to_what_it_says(chaos, speaker, stream):
    bomb = seen(chaos, speaker, "gzip_bomb=40", stream=stream)
    if speaker.name == "gemini array" and stream:
        assert last(chaos).skipped == ["gzip_bomb"]
        return
    assert bomb.header("content-encoding") == "gzip"
    assert len(bomb.data) < 200_000
    opened = gzip.decompress(bomb.body)  # checks length and CRC too
    assert 40_000_000 < len(opened) < 40_010_000
    chaos.reset()
    huge = seen(chaos, speaker, "huge=40", stream=stream)
    assert opened == huge.body


def test_a_bomb_is_never_held_in_memory(chaos):
    chaos.script("m", "gzip_bomb=2000")
    peak = _peak_mb()
    answer = ask(chaos.port, payload())
    assert answer.end == "complete"
    assert _peak_mb() - peak < 30


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


@both
def test_wrong_encoding_says_gzip_over_a_body_that_isnt(chaos, stream):
    chaos.script("m", "wrong_encoding")
    answer = ask(chaos.port, payload(stream=stream))
    assert answer.header("content-encoding") == "gzip"
    assert answer.body.startswith(b"data: {" if stream else b'{"')
    chaos.script("m", "wrong_encoding=br")
    assert ask(chaos.port, payload(stream=stream)).header("content-encoding") == "br"


def test_wrong_length_leaves_bytes_beyond_it(chaos):
    healthy = seen(chaos, SPEAKERS["openai_chat"], "ok", stream=False)
    chaos.reset()
    chaos.script("m", "wrong_length=20")
    with send(chaos.port, SPEAKERS["openai_chat"].body("hi", stream=False)) as sock:
        with_rest = receive(sock)
        while piece := sock.recv(65536):
            with_rest.data += piece
    assert with_rest.body == healthy.body
    length = int(with_rest.header("content-length") or 0)
    assert length == len(healthy.body) - 20
    entry = last(chaos)
    assert (entry.end, entry.body_bytes_sent) == ("closed_by_us", len(healthy.body))


@pytest.mark.parametrize("how", ["cut", "colon", "prefix", "garbage", "quotes", "nan"])
@both
def test_each_kind_of_malformed_json(chaos, speaker, how, stream):
    spoilt = seen(chaos, speaker, f"malformed how={how}", stream=stream)
    assert spoilt.status == 200
    if speaker.name == "gemini array" and stream:
        with pytest.raises(ValueError):  # noqa: PT011  # JSONDecodeError, or of a constant
            json.loads(spoilt.body, parse_constant=_refuse)
        return
    texts = [event.partition("data: ")[2] for event in spoilt.events] if stream else [spoilt.body.decode()]
    assert sum(not _parses(text) for text in texts if text and text != "[DONE]") == 1


def _refuse(name: str) -> None:
    raise ValueError(name)


def _parses(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except ValueError:
        return False
    return True


HOW = {
    "zero": lambda true, told: told == 0,
    "negative": lambda true, told: told == -max(true, 1),
    "huge": lambda true, told: told == 10**15,
    "half": lambda true, told: told == true // 2,
    "double": lambda true, told: told == true * 2,
    "fraction": lambda true, told: told == true + 0.5,
    "text": lambda true, told: told == str(true),
    "null": lambda true, told: told is None,
}


@pytest.mark.parametrize("how", HOW)
@both
def test_wrong_usage_changes_every_count_and_nothing_else(chaos, speaker, how, stream):
    before = list(_leaves(_values(speaker, seen(chaos, speaker, "ok", stream=stream), stream)))
    after = list(_leaves(_values(speaker, seen(chaos, speaker, f"wrong_usage={how}", stream=stream), stream)))
    assert [path for path, _ in before] == [path for path, _ in after]
    counts = 0
    for (path, true), (_, told) in zip(before, after, strict=True):
        if "token" in path[-1].lower() and isinstance(true, int):
            assert HOW[how](true, told), path
            counts += 1
        else:
            assert true == told, path
    assert counts >= 2
    assert last(chaos).usage.completion_tokens == TOKENS  # what is billed is the truth


def _values(speaker: Speaker, answer, stream: bool) -> list:
    return speaker.events(answer) if stream else [json.loads(answer.body)]


def _leaves(value, path=("",)):
    """Every value that holds no other, with its path; a list's place is no name."""
    if isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    else:
        yield path, value


@both
def test_wrong_usage_leaves_the_limit_that_was_asked_for(chaos, stream):
    speaker = SPEAKERS["responses"]
    chaos.reset()
    chaos.script("m", "wrong_usage=huge")
    answer = speaker.ask(chaos.port, stream=stream, max_output_tokens=50)
    value = speaker.events(answer)[-1]["response"] if stream else json.loads(answer.body)
    assert value["max_output_tokens"] == 50
    assert value["usage"]["output_tokens"] == 10**15
