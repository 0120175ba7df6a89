"""Each fault means the same in each format, where it means something."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.unit.chaos.raw import MILD, NO_END, is_silent, send
from tests.unit.chaos.speaking import SPEAKERS, TOKENS, Speaker

from holdfast.chaos import FAULTS, Chaos, ChaosConfig, run_chaos


@pytest.fixture(scope="module")
def server():
    with run_chaos(ChaosConfig(tokens=TOKENS)) as chaos:
        yield chaos


@pytest.fixture
def chaos(server: Chaos):
    server.reset()
    return server


@pytest.fixture(params=list(SPEAKERS))
def wire(request) -> Speaker:
    return SPEAKERS[request.param]


@pytest.fixture(params=["openai_chat", "openrouter", "responses", "anthropic", "gemini"])
def sse(request) -> Speaker:
    return SPEAKERS[request.param]


def last(chaos: Chaos):
    return chaos.wait_for(lambda journal: journal and journal[-1].end)[-1]


def seen(chaos: Chaos, wire: Speaker, script: str, *, stream: bool, **more):
    chaos.script("m", script)
    return wire.ask(chaos.port, stream=stream, **more)


def numbered(entry, *numbers: int) -> str:
    return "".join(f"{entry.nonce}:{i} " for i in numbers)


@pytest.mark.parametrize("stream", [False, True])
def test_healthy(chaos, wire, stream):
    answer = seen(chaos, wire, "ok", stream=stream)
    entry = last(chaos)
    values = wire.events(answer) if stream else [json.loads(answer.body)]
    assert "".join(map(wire.text, values)) == entry.text == numbered(entry, *range(TOKENS))
    assert len(wire.finishes(values)) == 1
    assert entry.tokens == entry.usage.completion_tokens == TOKENS
    assert (entry.bytes_sent, entry.body_bytes_sent) == (len(answer.data), len(answer.body))
    assert (entry.wire, entry.operation) == (wire.name.removesuffix(" array"), "answer")


@pytest.mark.parametrize(("how", "end"), [("fin", "fin"), ("reset", "reset"), ("clean", "complete")])
@pytest.mark.parametrize("after", [0, 3, TOKENS])
def test_a_cut_stream_has_k_tokens_and_no_end(chaos, sse, how, end, after):
    answer = seen(chaos, sse, f"cut={how} after={after}", stream=True)
    entry = last(chaos)
    assert answer.end == end
    assert sse.said(answer) == entry.text == numbered(entry, *range(after))
    assert sse.finishes(sse.events(answer)) == []
    assert b"[DONE]" not in answer.body
    assert b"message_stop" not in answer.body
    assert (entry.tokens, entry.usage.completion_tokens) == (after, after)


def test_a_cut_array_isnt_closed(chaos):
    wire = SPEAKERS["gemini array"]
    body = seen(chaos, wire, "cut=clean after=2", stream=True).body
    assert [wire.text(value) for value in json.loads(body + b"]")] == [
        f"{last(chaos).nonce}:{i} " for i in range(2)
    ]


def test_an_array_without_elements_is_one(chaos):
    wire = SPEAKERS["gemini array"]
    assert json.loads(seen(chaos, wire, "drop count=9 no_finish", stream=True).body) == []


def test_a_cut_plain_answer_ends_in_its_text(chaos, wire):
    answer = seen(chaos, wire, "cut=fin after=2", stream=False)
    entry = last(chaos)
    assert answer.end == "fin"
    assert answer.body.endswith(numbered(entry, 0, 1).encode())
    assert (entry.tokens, entry.text) == (2, numbered(entry, 0, 1))


@pytest.mark.parametrize("stream", [False, True])
def test_a_stall_serves_k_tokens_and_waits(chaos, wire, stream):
    chaos.script("m", "stall after=2")
    path = wire.stream_path if stream else wire.plain_path
    with send(chaos.port, wire.body("hi", stream=stream), path=path, **wire.headers) as sock:
        data = b""
        while b":1 " not in data:
            data += sock.recv(65536)
        assert is_silent(sock)
        assert b":2 " not in data
    entry = last(chaos)
    assert (entry.end, entry.tokens, entry.text) == ("client_left", 2, numbered(entry, 0, 1))


def test_drop(chaos, wire):
    answer = seen(chaos, wire, "drop after=1 count=2", stream=True)
    entry = last(chaos)
    assert wire.said(answer) == entry.text == numbered(entry, 0, 3, 4)
    assert entry.tokens == 3
    assert entry.usage.completion_tokens == TOKENS, "made, lost on the way, and billed"


def test_repeat(chaos, wire):
    answer = seen(chaos, wire, "repeat after=1 again=2", stream=True)
    entry = last(chaos)
    assert wire.said(answer) == numbered(entry, 0, 1, 1, 1, 2, 3, 4)
    assert (entry.text, entry.tokens) == (numbered(entry, *range(5)), 5), "said once, billed once"


@pytest.mark.parametrize(
    ("after", "order"), [(0, (1, 0, 2, 3, 4)), (3, (0, 1, 2, 4, 3)), (4, (0, 1, 2, 3, 4))]
)
def test_reorder(chaos, wire, after, order):
    answer = seen(chaos, wire, f"reorder after={after}", stream=True)
    entry = last(chaos)
    assert wire.said(answer) == entry.text == numbered(entry, *order)


def test_reorder_loses_nothing_where_the_stream_ends_first(chaos, wire):
    seen(chaos, wire, "cut=clean after=3 reorder after=2", stream=True)
    assert last(chaos).text == numbered(last(chaos), 0, 1, 2)


def test_malformed(chaos, sse):
    values = sse.events(seen(chaos, sse, "malformed after=2", stream=True))
    broken = [value for value in values if isinstance(value, str) and value != "[DONE]"]
    assert len(broken) == 1
    assert sse.finishes(values), "the rest follows"
    with pytest.raises(ValueError, match=r"delimiter|Expecting|Unterminated"):
        json.loads(seen(chaos, sse, "malformed", stream=False).body)


def test_a_malformed_element_spoils_the_array(chaos):
    answer = seen(chaos, SPEAKERS["gemini array"], "malformed after=2", stream=True)
    with pytest.raises(ValueError, match=r"delimiter|Expecting|Unterminated|control"):
        json.loads(answer.body)


@pytest.mark.parametrize("stream", [False, True])
def test_bad_utf8_stands_where_the_text_begins(chaos, wire, stream):
    answer = seen(chaos, wire, "bad_utf8", stream=stream)
    with pytest.raises(UnicodeDecodeError):
        answer.body.decode()
    assert re.search(rb'"(?:text|content|delta)":"\xc3\(\xff[0-9a-f]{10}:0', answer.body)


def test_bad_utf8_finds_its_place_in_a_rewritten_body(chaos, wire):
    for script in ("no_usage bad_utf8", "no_finish bad_utf8"):
        answer = seen(chaos, wire, script, stream=False)
        assert re.search(rb'":"\xc3\(\xff[0-9a-f]{10}:0 ', answer.body)


def test_bad_utf8_finds_its_place_after_crlf(chaos, sse):
    answer = seen(chaos, sse, "crlf bad_utf8", stream=True)
    assert re.search(rb'":"\xc3\(\xff[0-9a-f]{10}:0 "', answer.body)


@pytest.mark.parametrize("stream", [False, True])
def test_huge_is_valid(chaos, wire, stream):
    answer = seen(chaos, wire, "huge=1", stream=stream)
    said = wire.said(answer) if stream else wire.text(json.loads(answer.body))
    assert len(said) > 1_000_000


@pytest.mark.parametrize("stream", [False, True])
def test_no_finish(chaos, wire, stream):
    answer = seen(chaos, wire, "no_finish", stream=stream)
    values = wire.events(answer) if stream else [json.loads(answer.body)]
    assert wire.finishes(values) == []
    if stream and wire.end:
        assert wire.end.encode() in answer.body, "its end marker still comes"
    assert last(chaos).text == numbered(last(chaos), *range(TOKENS))


@pytest.mark.parametrize("stream", [False, True])
def test_no_usage(chaos, wire, stream):
    healthy = seen(chaos, wire, "ok", stream=stream).body
    body = seen(chaos, wire, "no_usage", stream=stream).body
    words = re.compile(rb'"(?:prompt|completion|input|output|total)_tokens"|TokenCount')
    assert words.search(healthy)
    assert not words.search(body)
    assert last(chaos).usage.completion_tokens == TOKENS


def test_repeat_finish(chaos, wire):
    finishes = wire.finishes(wire.events(seen(chaos, wire, "repeat_finish=2", stream=True)))
    assert len(finishes) == 3
    assert len(set(finishes)) == 1


def test_no_done_and_repeat_done(chaos, sse):
    if sse.end is None:
        seen(chaos, sse, "no_done repeat_done", stream=True)
        assert last(chaos).skipped == ["no_done", "repeat_done"], "nothing marks its end"
        return
    marker = sse.end.encode()
    assert seen(chaos, sse, "no_done", stream=True).body.count(marker) == 0
    once = seen(chaos, sse, "ok", stream=True).body.count(marker)
    assert seen(chaos, sse, "repeat_done=2", stream=True).body.count(marker) == 3 * once > 0


def test_no_done_leaves_an_array_open(chaos):
    answer = seen(chaos, SPEAKERS["gemini array"], "no_done", stream=True)
    assert len(json.loads(answer.body + b"]")) == TOKENS + 1


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("then", ["end", "done", "fin"])
def test_error_event(chaos, sse, after, then):
    answer = seen(chaos, sse, f"error_event after={after} then={then} error=rate_limit", stream=True)
    values = sse.events(answer)
    errors = [value["error"] for value in values if isinstance(value, dict) and "error" in value]
    assert len(errors) == 1
    assert {"rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"} & set(
        map(str, errors[0].values())
    )
    assert sse.said(answer) == numbered(last(chaos), *range(after))
    assert answer.end == ("fin" if then == "fin" else "complete")
    if sse.end:
        assert (sse.end.encode() in answer.body) == (then == "done")
    if sse.name == "anthropic":
        assert b"event: error\ndata: " in answer.body


def test_an_error_closes_an_array_only_if_told(chaos):
    wire = SPEAKERS["gemini array"]
    assert json.loads(seen(chaos, wire, "error_event then=done", stream=True).body)[0]["error"]["code"] == 500
    assert json.loads(seen(chaos, wire, "error_in_200", stream=True).body)[0]["error"]["status"] == "INTERNAL"


@pytest.mark.parametrize("stream", [False, True])
def test_error_in_200(chaos, sse, stream):
    answer = seen(chaos, sse, "error_in_200=overloaded", stream=stream)
    value = sse.events(answer)[0] if stream else json.loads(answer.body)
    assert answer.status == 200
    assert "verloaded" in value["error"]["message"]


def test_a_refusal_that_is_an_answer_is_framed_as_one(chaos):
    wire = SPEAKERS["gemini"]
    answer = seen(chaos, wire, "content_filter", stream=True)
    assert (answer.status, answer.header("content-type")) == (200, "text/event-stream")
    assert wire.events(answer)[0]["promptFeedback"] == {"blockReason": "SAFETY"}
    assert seen(chaos, wire, "451 error=content_filter", stream=True).status == 451


@pytest.mark.parametrize("field", ["id", "model"])
def test_change_id(chaos, sse, field):
    values = [
        v for v in sse.events(seen(chaos, sse, f"change_id=2 field={field}", stream=True)) if v != "[DONE]"
    ]
    if sse.name == "anthropic":
        starts = [i for i, v in enumerate(values) if v["type"] == "message_start"]
        assert [values[i]["message"][field] != values[0]["message"][field] for i in starts] == [False, True]
        assert len([v for v in values[: starts[1]] if sse.text(v)]) == 2, "in the middle"
        return
    if sse.name == "openai_responses":
        told = [value["response"][field] for value in values if "response" in value]
        assert told[:-1] == told[:1] * 2 != [told[-1]] * 2, "the last event tells another"
        return
    name = {"id": {"gemini": "responseId"}, "model": {"gemini": "modelVersion"}}[field].get(sse.name, field)
    told = [value[name] for value in values]
    assert len(set(told)) == 2
    assert told.index(told[-1]) == 2 + (sse.name == "openai_chat"), "after two tokens (and the role)"


def test_comments_and_crlf_belong_to_events_only(chaos, wire):
    answer = seen(chaos, wire, "comments crlf", stream=True)
    entry = last(chaos)
    assert wire.said(answer) == entry.text == numbered(entry, *range(TOKENS))
    if wire.name == "gemini array":
        assert entry.skipped == ["comments", "crlf"]
        return
    assert b": keep-alive\r\n\r\n" in answer.body
    assert not re.search(rb"(?<!\r)\n|\r\r", answer.body)


def test_segments_are_the_same_bytes(chaos, wire):
    healthy = seen(chaos, wire, "tokens=2", stream=True).data
    split = seen(chaos, wire, "tokens=2 segments", stream=True)
    assert split.data == healthy


@pytest.mark.parametrize("stream", [False, True])
def test_slow_and_paced_answers_are_whole(chaos, wire, stream):
    answer = seen(chaos, wire, "slow=0.03 ttft=0.01 tps=500", stream=stream)
    entry = last(chaos)
    assert (answer.end, entry.text) == ("complete", numbered(entry, *range(TOKENS)))
    assert entry.first_token_ns - entry.arrived_ns >= 29_000_000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", sorted(FAULTS))
@pytest.mark.parametrize("second", ["cut=clean", "no_usage", "no_finish", "huge=0.1", "bad_utf8", "reorder"])
def test_no_pair_of_faults_breaks_the_server(chaos, first, second, stream):
    wire = SPEAKERS["gemini array" if stream else "anthropic"]
    if first in (*NO_END, second.split("=")[0]):
        first = "ok"
    for each in (wire, SPEAKERS["anthropic"], SPEAKERS["responses"]):
        seen(chaos, each, f"{MILD.get(first, first)} {second}", stream=stream)
        assert last(chaos).end != "client_left"


def test_the_fault_of_a_count_is_that_of_a_plain_answer(chaos):
    anthropic = SPEAKERS["anthropic"]
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()

    def count() -> int:
        with send(chaos.port, body, path="/v1/messages/count_tokens", **anthropic.headers) as sock:
            return int(sock.recv(65536).split(b" ")[1])

    chaos.script("m", "529; ok")
    assert [count(), count()] == [529, 200]
    assert anthropic.ask(chaos.port).status == 529, "counts of tokens are counted apart"
    assert [entry.operation for entry in chaos.journal()] == ["count", "count", "answer"]
    assert chaos.journal()[1].usage.total_tokens == 0


def _all_bytes(wire: Speaker, callers: int) -> list[bytes]:
    """What 10 keys get in two attempts each, whole and streamed, asked by ``callers`` at once."""
    with run_chaos(ChaosConfig(seed=3, default="reasoning=2 drop chance=0.5")) as chaos:

        def one(key: int) -> bytes:
            prompt = f"[[key={key}]]"
            return b"".join(wire.ask(chaos.port, prompt, stream=n == 1).data for n in range(2))

        with ThreadPoolExecutor(callers) as pool:
            return list(pool.map(one, range(10)))


def test_the_same_seed_gives_the_same_bytes_in_every_format(wire):
    alone = _all_bytes(wire, 1)
    assert alone == _all_bytes(wire, 10)
    assert len(set(alone)) == 10
