"""Each fault of a session, on a bare socket."""

import json
from itertools import accumulate

import pytest
from tests.unit.chaos.raw import is_silent
from tests.unit.chaos.realtime_client import PING, PONG, Bare, frame_size

from holdfast.chaos import ChaosConfig, run_chaos

TOKENS = 5


@pytest.fixture(scope="module")
def chaos():
    scripts = {"refused": "503 retry-after=2; ok", "quota": "insufficient_quota", "cut": "cut after=2"}
    with run_chaos(ChaosConfig(tokens=TOKENS, scripts=scripts)) as chaos:
        yield chaos


def heard(chaos, script, kind=""):
    """What a bare client hears of a response that follows ``script``, and the journal's entry."""
    seen = chaos.journal()[-1].seq if chaos.journal() else 0
    with Bare(chaos.port) as bare:
        bare.ask(f"[[chaos: {script}]]")
        heard = bare.until(kind)
        return heard, ended(chaos, seen)


def ended(chaos, seen):
    """The entry of the first response after that one, once it has ended."""

    def over(entries):
        return [e for e in entries if e.seq > seen and e.operation == "realtime" and e.end]

    return over(chaos.wait_for(over))[0]


def tokens(heard):
    """The numbers of the tokens that came."""
    deltas = [event for event in heard.events if event["type"] == "response.output_text.delta"]
    return [int(event["delta"].split(":")[1]) for event in deltas]


@pytest.mark.parametrize(
    ("script", "end", "close", "entry_end"),
    [
        ("cut after=2", "fin", None, "closed_by_us"),
        ("cut=reset after=2", "reset", None, "reset_by_us"),
        ("cut=clean after=2", "fin", 1001, "closed_by_us"),
    ],
)
def test_cut(chaos, script, end, close, entry_end):
    seen, entry = heard(chaos, script)
    assert (seen.end, seen.close_code) == (end, close)
    assert tokens(seen) == [0, 1]
    assert "response.done" not in seen.types
    assert (entry.end, entry.tokens, entry.usage.completion_tokens, entry.faults) == (
        entry_end,
        2,
        2,
        ["cut"],
    )


def test_reset(chaos):
    seen, entry = heard(chaos, "reset")
    assert (seen.end, "response.created" in seen.types) == ("reset", False)
    assert (entry.end, entry.tokens, entry.status) == ("reset_by_us", 0, None)
    assert entry.usage.prompt_tokens > 0  # silence bills the prompt


def test_a_connection_ends_with_what_runs_on_it(chaos):
    with Bare(chaos.port) as bare:
        bare.ask("[[chaos: stall=1]]")
        bare.until("response.output_text.delta")
        seen = chaos.journal()[-2].seq
        apart = {"conversation": "none", "output_modalities": ["text"], "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "[[chaos: reset]]"}]}
        ]}  # fmt: skip  # one event
        bare.send("response.create", response=apart)
        assert bare.until().end == "reset"
        entries = chaos.wait_for(lambda entries: all(e.end for e in entries if e.seq >= seen))
    assert [e.end for e in entries if e.seq >= seen] == ["reset_by_us"] * 3  # the connection is one of them


def test_stall_keeps_only_the_response_back(chaos):
    with Bare(chaos.port) as bare:
        bare.ask("[[chaos: stall=2]]")
        bare.until("response.output_text.delta")
        bare.until("response.output_text.delta")
        bare.frame(PING, b"there?")
        bare.send("conversation.item.retrieve", item_id="none")
        seen = bare.until("error")
        assert (PONG, b"there?") in seen.frames
        assert is_silent(bare.socket)
        entry = chaos.journal()[-1]
        assert (entry.tokens, entry.end) == (2, None)
    assert ended(chaos, entry.seq - 1).end == "client_left"


def test_a_stall_ends(chaos):
    seen, entry = heard(chaos, "stall=2 seconds=0.05", "rate_limits.updated")
    assert (tokens(seen), entry.end) == (list(range(TOKENS)), "complete")


def test_hang_hears_nothing_more(chaos):
    with Bare(chaos.port) as bare:
        bare.ask("[[chaos: hang]]")
        seen = bare.until("conversation.item.done")
        entry = chaos.wait_for(lambda entries: entries[-1].operation == "realtime")[-1]
        bare.frame(PING, b"there?")
        bare.send("conversation.item.retrieve", item_id="none")
        with Bare(chaos.port) as other:  # an answer to it comes after all that the first one could get
            other.ask()
            other.until("response.done")
        assert is_silent(bare.socket)
        assert "response.created" not in seen.types
    [entry] = [e for e in chaos.wait_for(lambda entries: _has_left(entries, entry.seq)) if e.seq == entry.seq]
    assert (entry.tokens, entry.status) == (0, None)


def _has_left(entries, seq):
    return any(entry.seq == seq and entry.end == "client_left" for entry in entries)


@pytest.mark.parametrize("script", ["hang=0.05", "slow=0.05", "ttft=0.05", "tps=200", "batch=3"])
def test_late_is_not_wrong(chaos, script):
    seen, entry = heard(chaos, script, "rate_limits.updated")
    assert (tokens(seen), seen.events[-2]["response"]["status"]) == (list(range(TOKENS)), "completed")
    assert (entry.end, entry.text.split()[-1].endswith(":4")) == ("complete", True)


def test_error_event(chaos):
    seen, entry = heard(chaos, "error_event after=2 error=overloaded")
    error = next(event for event in seen.events if event["type"] == "error")
    assert (tokens(seen), error["error"]["code"]) == ([0, 1], "overloaded")
    assert set(error["error"]) == {"type", "code", "message", "param", "event_id"}
    assert (seen.end, seen.close_code, seen.types[-1]) == ("fin", 1011, "error")
    assert (entry.end, entry.tokens) == ("closed_by_us", 2)


def test_error_event_of_a_session_that_goes_on(chaos):
    with Bare(chaos.port) as bare:
        bare.ask("[[chaos: error_event after=2 then=done]]")
        seen = bare.until("response.done")
        assert seen.types[-2:] == ["error", "response.done"]
        assert seen.events[-1]["response"]["status"] == "failed"
        bare.ask()
        assert bare.until("rate_limits.updated").events[-2]["response"]["status"] == "completed"


@pytest.mark.parametrize(("then", "end"), [("fin", "fin"), ("reset", "reset")])
def test_error_event_and_the_end(chaos, then, end):
    seen, _ = heard(chaos, f"error_event after=1 then={then}")
    assert (tokens(seen), seen.types[-1], seen.end, seen.close_code) == ([0], "error", end, None)


def test_malformed(chaos):
    seen, _ = heard(chaos, "malformed after=2", "rate_limits.updated")
    [broken] = [event["data"] for event in seen.events if event["type"] == "broken"]
    assert broken.startswith(b'{"type":"response.output_text.delta"')
    assert (tokens(seen), seen.types.count("response.done")) == ([0, 1, 3, 4], 1)


def test_bad_utf8(chaos):
    seen, _ = heard(chaos, "bad_utf8 after=2", "rate_limits.updated")
    bad = [message for message in seen.messages if b"\xff" in message]
    with pytest.raises(UnicodeDecodeError):
        bad[0].decode()
    assert (len(bad), tokens(seen)) == (1, [0, 1, 3, 4])


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("drop=1", [0, 2, 3, 4]),
        ("drop=3 count=2", [0, 1, 2]),
        ("repeat=1 again=2", [0, 1, 1, 1, 2, 3, 4]),
        ("reorder=2", [0, 1, 3, 2, 4]),
    ],
)
def test_tokens_lost_repeated_and_swapped(chaos, script, expected):
    seen, entry = heard(chaos, script, "rate_limits.updated")
    assert tokens(seen) == expected
    whole = next(event for event in seen.events if event["type"] == "response.output_text.done")["text"]
    assert len(whole.split()) == TOKENS  # what was said, the end tells
    assert (entry.tokens, entry.usage.completion_tokens) == (len(set(expected)), TOKENS)


def test_no_finish(chaos):
    seen, entry = heard(chaos, "no_finish", "rate_limits.updated")
    assert (tokens(seen), "response.done" in seen.types) == (list(range(TOKENS)), False)
    assert entry.end == "complete"


def test_no_usage(chaos):
    seen, entry = heard(chaos, "no_usage", "response.done")
    assert (seen.events[-1]["response"]["usage"], entry.usage.completion_tokens) == (None, TOKENS)


def test_repeat_finish(chaos):
    seen, _ = heard(chaos, "repeat_finish", "rate_limits.updated")
    assert seen.types.count("response.done") == 2


def test_change_id(chaos):
    seen, _ = heard(chaos, "change_id after=2", "rate_limits.updated")
    ids = [event["response_id"] for event in seen.events if event["type"] == "response.output_text.delta"]
    assert (len(set(ids)), ids[0] == ids[1], ids[1] == ids[2]) == (2, True, False)


def test_huge(chaos):
    with Bare(chaos.port) as bare:
        bare.ask("[[chaos: huge=8 tokens=2]]")
        # What else is said has to wait for the message's end.
        bare.send("conversation.item.retrieve", item_id="none")
        bare.send(
            "response.create", response={"conversation": "none", "output_modalities": ["text"], "input": []}
        )
        bare.until("response.done")
        seen = bare.until("rate_limits.updated")
        seen = seen if seen.types.count("response.done") == 2 else bare.until("response.done")
        sizes = [
            len(event["delta"]) for event in seen.events if event["type"] == "response.output_text.delta"
        ]
        assert sizes[0] > 8_000_000 > sizes[1]
        assert max(len(payload) for _, payload in seen.frames) < 100_000
        assert seen.types.index("error") > seen.types.index("response.output_text.delta")
        assert len(sizes) == 2 + TOKENS


def test_segments(chaos):
    seen, entry = heard(chaos, "segments=7 tokens=300", "rate_limits.updated")
    assert (tokens(seen), entry.end) == (list(range(300)), "complete")
    ends = set(accumulate(frame_size(payload) for _, payload in seen.frames))
    inside = [at for at in accumulate(seen.segments) if at not in ends]
    assert len(inside) > 10, "recv may see several at once, but not always whole frames"
    after = seen.types.index("response.created")
    assert entry.bytes_sent == sum(map(frame_size, seen.messages[after:]))


def test_split(chaos):
    seen, entry = heard(chaos, "split=100 tokens=2", "rate_limits.updated")
    assert (tokens(seen), entry.end, entry.faults) == ([0, 1], "complete", ["split"])


def test_segments_with_pauses():
    with (
        run_chaos(ChaosConfig(tokens=1, default="segments=1000 pause=0.01")) as chaos,
        Bare(chaos.port) as bare,
    ):
        bare.ask()
        seen = bare.until("rate_limits.updated")
        whole = [message for message in seen.messages if b'"response.done"' in message]
        assert (len(whole), tokens(seen)) == (1, [0])
        entry = ended(chaos, 0)
    frames = seen.types[seen.types.index("response.created") :]
    assert (entry.ended_ns - entry.arrived_ns) / 1e9 >= 0.01 * (len(frames) - 1)


def test_the_server_shuts_behind_a_reset():
    with run_chaos(ChaosConfig()) as chaos:
        seen, entry = heard(chaos, "refuse=3600")
        assert (seen.end, entry.end) == ("reset", "reset_by_us")
        with pytest.raises(ConnectionRefusedError):
            Bare(chaos.port)


def test_half_close(chaos):
    with Bare(chaos.port) as bare:
        seq = chaos.journal()[-1].seq
        bare.ask("[[chaos: half_close=2]]")
        seen = bare.until()
        assert (tokens(seen), seen.end, seen.close_code) == ([0, 1], "fin", None)
        bare.frame(PING, b"still there")  # no RST answers it
        assert ended(chaos, seq).end == "half_closed_by_us"
        with Bare(chaos.port) as other:
            other.ask()
            other.until("response.done")
        bare.frame(PING, b"still there")


def test_deep(chaos):
    seen, _ = heard(chaos, "deep=1000 after=1", "rate_limits.updated")
    assert b"[" * 1000 + b"]" * 1000 in b"".join(seen.messages)


def test_wrong_usage(chaos):
    seen, entry = heard(chaos, "wrong_usage=negative", "response.done")
    assert seen.events[-1]["response"]["usage"]["output_tokens"] == -TOKENS
    assert entry.usage.completion_tokens == TOKENS


def test_a_page_where_an_answer_should_be(chaos):
    seen = chaos.journal()[-1].seq
    with Bare(chaos.port) as bare:
        bare.ask("[[chaos: wrong_type]]")
        entry = ended(chaos, seen)
        bare.send("conversation.item.retrieve", item_id="none")
        messages = bare.until("error").messages
    assert messages[-2].startswith(b"<!doctype html>")
    assert (entry.end, "response.created" in bare.heard.types) == ("complete", False)


def test_error_in_200(chaos):
    seen, _ = heard(chaos, "error_in_200", "response.done")
    assert (seen.types[-2], seen.events[-1]["response"]["status"]) == ("error", "failed")


@pytest.mark.parametrize("script", ["429", "insufficient_quota", "status=503 body=oops", "nonsense"])
def test_a_response_fails_where_the_prompt_says_so(chaos, script):
    seen, entry = heard(chaos, script, "response.done")
    response = seen.events[-1]["response"]
    codes = {"429": "rate_limit_exceeded", "nonsense": "invalid_chaos_script"}
    code = codes.get(script, "insufficient_quota" if "quota" in script else None)
    assert (response["status"], response["status_details"]["error"]["code"]) == ("failed", code)
    assert (entry.end, entry.usage.total_tokens, entry.tokens) == ("complete", 0, 0)
    assert entry.status == {"status=503 body=oops": 503, "nonsense": 400}.get(script, 429)


@pytest.mark.parametrize(
    "script", ["comments", "crlf", "truncate", "no_done", "slow_headers", "gzip_bomb", "wrong_encoding"]
)
def test_what_a_session_cant_have_is_skipped(chaos, script):
    seen, entry = heard(chaos, script, "rate_limits.updated")
    assert (entry.faults, entry.skipped) == ([], [script])
    assert tokens(seen) == list(range(TOKENS))


def test_a_models_status_refuses_the_handshake(chaos):
    path = "/v1/realtime?model=refused"
    with Bare(chaos.port, path) as bare:
        assert (bare.heard.status, "retry-after: 2" in bare.heard.head) == (503, True)
        assert json.loads(bare.body())["error"]["code"] == "service_unavailable"
    with Bare(chaos.port, path) as bare:
        assert bare.heard.status == 101
        bare.ask()
        assert bare.until("response.done").events[-1]["response"]["status"] == "completed"
    first, second, response = [entry for entry in chaos.journal() if entry.model == "refused"]
    assert [entry.operation for entry in (first, second, response)] == ["connect", "connect", "realtime"]
    assert [entry.attempt for entry in (first, second, response)] == [1, 2, 1]
    assert (first.status, first.faults, second.status) == (503, ["status"], 101)
    assert (response.faults, response.skipped) == ([], ["status"])


def test_a_known_error_refuses_the_handshake(chaos):
    with Bare(chaos.port, "/v1/realtime?model=quota") as bare:
        assert bare.heard.status == 429
        assert json.loads(bare.body())["error"]["code"] == "insufficient_quota"


def test_a_models_fault_spoils_its_first_response(chaos):
    with Bare(chaos.port, "/v1/realtime?model=cut") as bare:
        bare.ask()
        assert (bare.until().end, tokens(bare.heard)) == ("fin", [0, 1])
    connection = next(e for e in chaos.journal() if e.model == "cut" and e.operation == "connect")
    assert (connection.faults, connection.skipped, connection.end) == ([], ["cut"], "closed_by_us")


def test_a_session_replays():
    def run():
        with run_chaos(ChaosConfig(seed=7, tokens=4)) as chaos, Bare(chaos.port) as bare:
            bare.ask("[[key=one]] hi")
            seen = bare.until("rate_limits.updated")
            return seen.messages[1:]  # the first tells when the session expires

    assert run() == run()
