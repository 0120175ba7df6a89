"""Each fault as a bare socket sees it."""

import json
import re
import socket
import struct

import pytest
from tests.unit.chaos.raw import MILD, NO_END, ask, is_silent, payload, receive, send

from holdfast.chaos import FAULTS, Chaos, ChaosConfig, run_chaos


@pytest.fixture(scope="module")
def server():
    with run_chaos(ChaosConfig(tokens=5)) as chaos:
        yield chaos


@pytest.fixture
def chaos(server: Chaos):
    server.reset()
    return server


def last(chaos: Chaos):
    return chaos.wait_for(lambda journal: journal and journal[-1].end)[-1]


def seen(chaos: Chaos, script: str, *, stream: bool, **more):
    chaos.script("m", script)
    return ask(chaos.port, payload(stream=stream, **more))


def test_a_healthy_plain_answer_is_complete_and_journalled(chaos):
    answer = seen(chaos, "ok", stream=False)
    body = json.loads(answer.body)
    entry = last(chaos)
    assert answer.end == "complete"
    assert (
        body["choices"][0]["message"]["content"]
        == entry.text
        == "".join(f"{entry.nonce}:{i} " for i in range(5))
    )
    assert body["usage"]["completion_tokens"] == entry.tokens == entry.usage.completion_tokens == 5
    assert (entry.end, entry.bytes_sent, entry.body_bytes_sent) == (
        "complete",
        len(answer.data),
        len(answer.body),
    )


def test_a_healthy_stream_ends_with_finish_usage_done_and_the_last_chunk(chaos):
    answer = seen(chaos, "ok", stream=True, stream_options={"include_usage": True})
    entry = last(chaos)
    assert answer.text == entry.text == "".join(f"{entry.nonce}:{i} " for i in range(5))
    assert answer.terminated
    assert answer.events[-1] == "data: [DONE]"
    assert json.loads(answer.events[-2][6:])["usage"]["completion_tokens"] == 5
    assert json.loads(answer.events[-3][6:])["choices"][0]["finish_reason"] == "stop"
    assert (entry.bytes_sent, entry.body_bytes_sent) == (len(answer.data), len(answer.body))


@pytest.mark.parametrize("stream", [False, True])
def test_reset_sends_rst_and_not_one_byte(chaos, stream):
    answer = seen(chaos, "reset", stream=stream)
    assert (answer.end, answer.data) == ("reset", b"")
    entry = last(chaos)
    assert (entry.end, entry.bytes_sent, entry.status) == ("reset_by_us", 0, None)


@pytest.mark.parametrize("stream", [False, True])
def test_status_has_its_code_headers_and_body(chaos, stream):
    answer = seen(chaos, "429 retry-after=2 retry-after-ms=1500 header.x-why='too much'", stream=stream)
    assert (answer.status, answer.end) == (429, "complete")
    assert (answer.header("retry-after"), answer.header("retry-after-ms")) == ("2", "1500")
    assert answer.header("x-why") == "too much"
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")
    assert last(chaos).usage.total_tokens == 0


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ("insufficient_quota", 429, "insufficient_quota"),
        ("context_length_exceeded", 400, "context_length_exceeded"),
        ("content_policy", 400, "content_policy_violation"),
        ("401", 401, "invalid_api_key"),
        ("404", 404, "model_not_found"),
        ("529", 529, "overloaded"),
        ("503 error=insufficient_quota", 503, "insufficient_quota"),
    ],
)
def test_named_errors_have_openai_bodies(chaos, script, status, code):
    answer = seen(chaos, script, stream=False)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (status, code)


def test_a_status_may_have_any_body(chaos):
    answer = seen(
        chaos, """502 body="<h1>Bad \\"gateway\\"</h1>; really" content-type=text/html""", stream=False
    )
    assert (answer.body, answer.header("content-type")) == (b'<h1>Bad "gateway"</h1>; really', "text/html")


def test_a_status_without_body_leaves_the_connection_usable(chaos):
    chaos.script("m", "204; ok")
    with send(chaos.port, payload()) as sock:
        nothing = receive(sock)
        assert (nothing.status, nothing.raw_body) == (204, b"")
        body = payload()
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert receive(sock).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_hang_says_nothing_until_the_client_leaves(chaos, stream):
    chaos.script("m", "hang")
    with send(chaos.port, payload(stream=stream)) as sock:
        [entry] = chaos.wait_for(lambda journal: journal and journal[0].attempt)
        assert is_silent(sock)
        assert entry.end is None
    entry = last(chaos)
    assert (entry.end, entry.bytes_sent, entry.status) == ("client_left", 0, None)
    assert entry.client_closed_ns >= entry.arrived_ns


def test_a_client_that_leaves_by_reset_is_seen_too(chaos):
    chaos.script("m", "hang")
    sock = send(chaos.port, payload())
    chaos.wait_for(lambda journal: journal and journal[0].attempt)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    assert last(chaos).end == "client_left"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("script", ["hang=0.05", "slow=0.05 headers=late", "slow=0.05", "ttft=0.05"])
def test_late_answers_are_whole(chaos, script, stream):
    answer = seen(chaos, script, stream=stream)
    entry = last(chaos)
    assert (answer.end, entry.end, entry.tokens) == ("complete", "complete", 5)
    assert entry.first_token_ns - entry.arrived_ns >= 49_000_000


def test_slow_sends_the_head_at_once_unless_told_otherwise(chaos):
    chaos.script("m", "slow=3600; slow=3600 headers=late")
    with send(chaos.port, payload(stream=True)) as sock:
        data = b""
        while b'"role"' not in data:
            data += sock.recv(65536)
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    with send(chaos.port, payload(stream=True)) as sock:
        chaos.wait_for(lambda journal: len(journal) == 2 and journal[1].attempt)
        assert is_silent(sock)


def test_pace_is_kept(chaos):
    seen(chaos, "tokens=11 tps=200 ttft=0.02", stream=True)
    entry = last(chaos)
    took = (entry.ended_ns - entry.arrived_ns) / 1e9
    assert 0.069 <= took < 1.0, "20 ms, then 10 tokens in 50 ms"


@pytest.mark.parametrize(
    ("how", "end", "journal"),
    [("fin", "fin", "closed_by_us"), ("reset", "reset", "reset_by_us"), ("clean", "complete", "complete")],
)
class TestCut:
    @pytest.mark.parametrize("after", [0, 3, None])
    def test_stream(self, chaos, how, end, journal, after):
        answer = seen(chaos, f"cut={how}" + ("" if after is None else f" after={after}"), stream=True)
        entry = last(chaos)
        served = 5 if after is None else after
        assert (answer.end, answer.terminated) == (end, how == "clean")
        assert answer.text == entry.text == "".join(f"{entry.nonce}:{i} " for i in range(served))
        assert b"[DONE]" not in answer.data
        assert not re.search(rb'"finish_reason":"', answer.data)
        assert (entry.end, entry.tokens, entry.usage.completion_tokens) == (journal, served, served)
        assert entry.bytes_sent == len(answer.data)

    def test_plain(self, chaos, how, end, journal):
        answer = seen(chaos, f"cut={how} after=2", stream=False)
        entry = last(chaos)
        assert answer.end == end
        assert answer.body.endswith(entry.text.encode())
        assert entry.text == f"{entry.nonce}:0 {entry.nonce}:1 "
        assert (entry.end, entry.tokens) == (journal, 2)
        claimed = int(answer.header("content-length"))
        assert claimed == len(answer.body) if how == "clean" else claimed > len(answer.body)


@pytest.mark.parametrize("stream", [False, True])
def test_stall_serves_exactly_k_tokens_and_waits(chaos, stream):
    chaos.script("m", "stall after=2")
    with send(chaos.port, payload(stream=stream)) as sock:
        data = b""
        while not re.search(rb":1 ", data):
            data += sock.recv(65536)
        assert b":2 " not in data
    entry = last(chaos)
    assert (entry.end, entry.tokens) == ("client_left", 2)
    assert entry.text == f"{entry.nonce}:0 {entry.nonce}:1 "


@pytest.mark.parametrize("stream", [False, True])
def test_a_short_stall_loses_nothing(chaos, stream):
    answer = seen(chaos, "stall after=2 seconds=0.02", stream=stream)
    entry = last(chaos)
    assert (answer.end, entry.tokens) == ("complete", 5)
    assert entry.text == "".join(f"{entry.nonce}:{i} " for i in range(5))
    assert entry.ended_ns - entry.first_token_ns >= 19_000_000


def test_malformed(chaos):
    plain = seen(chaos, "malformed", stream=False)
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(plain.body)
    stream = seen(chaos, "malformed after=2", stream=True)
    bad = [i for i, event in enumerate(stream.events[:-1]) if not _parses(event)]
    assert bad == [3], "role, two tokens, then the broken event"
    assert stream.events[-1] == "data: [DONE]"


def _parses(event: str) -> bool:
    try:
        json.loads(event.removeprefix("data: "))
    except ValueError:
        return False
    return True


def test_no_done(chaos):
    answer = seen(chaos, "no_done", stream=True)
    assert json.loads(answer.events[-1][6:])["choices"][0]["finish_reason"] == "stop"
    assert answer.terminated


@pytest.mark.parametrize("stream", [False, True])
def test_no_finish(chaos, stream):
    answer = seen(chaos, "no_finish", stream=stream)
    assert not re.search(rb'"finish_reason":"', answer.data)
    assert last(chaos).tokens == 5


@pytest.mark.parametrize("stream", [False, True])
def test_no_usage(chaos, stream):
    answer = seen(
        chaos, "no_usage", stream=stream, stream_options={"include_usage": True} if stream else None
    )
    assert b"prompt_tokens" not in answer.data
    assert last(chaos).usage.completion_tokens == 5


def test_repeat_finish(chaos):
    answer = seen(chaos, "repeat_finish=2", stream=True)
    finishes = [event for event in answer.events if '"finish_reason":"stop"' in event]
    assert len(finishes) == 3
    assert len(set(finishes)) == 1


@pytest.mark.parametrize(
    ("then", "end", "done"),
    [("end", "complete", 0), ("done", "complete", 1), ("fin", "fin", 0), ("reset", "reset", 0)],
)
@pytest.mark.parametrize("after", [0, 2])
def test_error_event(chaos, then, end, done, after):
    answer = seen(chaos, f"error_event after={after} then={then} error=overloaded", stream=True)
    errors = [event for event in answer.events if event.startswith('data: {"error"')]
    assert (answer.end, len(errors), answer.data.count(b"[DONE]")) == (end, 1, done)
    assert json.loads(errors[0][6:])["error"]["code"] == "overloaded"
    assert last(chaos).tokens == after


@pytest.mark.parametrize("stream", [False, True])
def test_error_in_200(chaos, stream):
    answer = seen(chaos, "error_in_200=insufficient_quota", stream=stream)
    first = answer.events[0].removeprefix("data: ") if stream else answer.body
    assert (answer.status, json.loads(first)["error"]["code"]) == (200, "insufficient_quota")
    assert answer.header("content-type").startswith("text/event-stream" if stream else "application/json")


def test_error_in_200_as_json_where_a_stream_was_asked(chaos):
    answer = seen(chaos, "error_in_200 as_json=true", stream=True)
    assert (answer.header("content-type"), "error" in json.loads(answer.body)) == ("application/json", True)


@pytest.mark.parametrize("stream", [False, True])
def test_wrong_type(chaos, stream):
    answer = seen(chaos, "wrong_type", stream=stream)
    assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize("stream", [False, True])
def test_empty(chaos, stream):
    answer = seen(chaos, "empty", stream=stream)
    assert (answer.status, answer.end, answer.body) == (200, "complete", b"")


@pytest.mark.parametrize("stream", [False, True])
def test_bad_utf8(chaos, stream):
    answer = seen(chaos, "bad_utf8", stream=stream)
    with pytest.raises(UnicodeDecodeError):
        answer.body.decode()


@pytest.mark.parametrize("stream", [False, True])
def test_segments_are_the_same_bytes_one_by_one(chaos, stream):
    chaos.script("m", "tokens=2")
    healthy = ask(chaos.port, payload(stream=stream)).data
    chaos.script("m", "tokens=2 segments")
    split = ask(chaos.port, payload(stream=stream))
    assert split.data == healthy
    assert last(chaos).bytes_sent == len(healthy)


@pytest.mark.parametrize("stream", [False, True])
def test_huge_is_valid_and_as_long_as_asked(chaos, stream):
    answer = seen(chaos, "huge=3", stream=stream)
    assert answer.end == "complete"
    assert answer.body.count(b"x") >= 3_000_000
    text = answer.text if stream else json.loads(answer.body)["choices"][0]["message"]["content"]
    assert len(text) >= 3_000_000


def test_huge_waits_for_the_client_and_stands_nowhere_in_memory(chaos):
    chaos.script("m", "huge=100000")
    with send(chaos.port, payload(stream=True)) as sock:
        sock.recv(1)
    entry = last(chaos)
    assert entry.end == "client_left"
    assert entry.bytes_sent < 100_000_000, "only what the kernel's buffers took"


def test_truncate_claims_more_than_it_sends(chaos):
    answer = seen(chaos, "truncate=20", stream=False)
    assert answer.end == "fin"
    assert int(answer.header("content-length")) == len(answer.body) + 20


@pytest.mark.parametrize("field", ["id", "model"])
def test_change_id(chaos, field):
    answer = seen(chaos, f"change_id=2 field={field}", stream=True)
    values = [json.loads(event[6:])[field] for event in answer.events[:-1]]
    assert values == [values[0]] * 3 + [values[3]] * 4
    assert values[0] != values[3]


def test_crlf(chaos):
    answer = seen(chaos, "crlf", stream=True)
    assert not re.search(rb"(?<!\r)\n", answer.body)
    assert answer.text == last(chaos).text


def test_comments(chaos):
    answer = seen(chaos, "comments every=2 line=ping", stream=True)
    assert answer.events.count(": ping") == 4  # role, five tokens, finish, done: before each second
    assert answer.text == last(chaos).text


def test_faults_add_up(chaos):
    answer = seen(chaos, "comments crlf cut=reset after=1", stream=True)
    entry = last(chaos)
    assert (answer.end, entry.faults) == ("reset", ["comments", "crlf", "cut"])
    assert b": keep-alive\r\n\r\n" in answer.body


def test_a_fault_that_a_plain_answer_cant_have_is_skipped_and_said(chaos):
    assert seen(chaos, "no_done", stream=False).end == "complete"
    assert (last(chaos).faults, last(chaos).skipped) == ([], ["no_done"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", sorted(FAULTS))
@pytest.mark.parametrize(
    "second", ["cut=clean", "stall seconds=0", "no_usage", "no_finish", "huge=0.1", "bad_utf8"]
)
def test_no_pair_of_faults_breaks_the_server(chaos, first, second, stream):
    if first in NO_END or first == second.split("=")[0].split(" ")[0]:
        first = "ok"
    first = MILD.get(first, first)
    seen(chaos, f"{first} {second}", stream=stream)
    assert last(chaos).end != "client_left"


def test_pace_is_kept_in_batches_too(chaos):
    seen(chaos, "tokens=60 batch=20 tps=400", stream=True)
    entry = last(chaos)
    took = (entry.ended_ns - entry.first_token_ns) / 1e9
    assert 0.09 <= took < 1.0, "two more batches, 50 ms each"


def test_batch_puts_tokens_into_one_write(chaos):
    answer = seen(chaos, "tokens=40 batch=20", stream=True)
    chunks = answer.raw_body.count(b"\r\n") // 2
    assert chunks == 4, "20 tokens, 20 tokens, the end, the last chunk"
    assert answer.text.count(":") == 40
