"""The rows of the fault table, and what must become of each.

The expectations are the sentences that say what Holdfast means by a retry, a fallback, a commit and an honest error, not the
code's habits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "BASE_S", "BOTH", "CHAINS", "DOWN", "MAX_S", "PATIENCE_S", "TABLE", "TOKENS", "TOTAL_S",
    "Chain", "Outcome", "Pair", "Row",
]  # fmt: skip  # a list reads better packed

# Short limits, so that the table stays fast.
PATIENCE_S = 1.0  # first token, first byte and idle gap
TOTAL_S = 8.0
BASE_S, MAX_S = 0.01, 0.2  # of the pause before a retry, without jitter: 10 ms, then 20 ms

PLAIN, STREAM = ("plain",), ("stream",)
BOTH = PLAIN + STREAM
TOKENS = 20


@dataclass(frozen=True)
class Outcome:
    """What must become of a request."""

    attempts: tuple[str, ...]
    """``"1 server_failed"``: at which target, and what the ledger calls it; in order."""
    status: int = 200
    code: str | None = None
    """Of the error, in the body or in the stream's last event."""
    passed_on: bool = False
    """The body is the provider's own, byte for byte."""
    tokens: int = TOKENS
    """Of text that the client gets, all of one attempt."""
    numbers: tuple[int, ...] | None = None
    """Those tokens, where they are others than the first ones in their order."""
    usage: Literal["true", "false", "absurd", "none"] = "true"
    """What the provider tells of the tokens that it bills; false: something that could be true; absurd: that can't be."""
    broken: bool = False
    """An error event ends a stream that had begun."""
    finish: str = "stop"
    gaps: tuple[float, ...] = ()
    """Seconds from one attempt's end to the next one's arrival, at least."""
    retry_after: str | None = None
    within: float | None = None
    """Seconds, the whole request."""

    @property
    def ok(self) -> bool:
        return self.status == 200 and not self.broken


@dataclass(frozen=True)
class Pair:
    """The outcome with one target, and with a healthy second one."""

    alone: Outcome
    backed: Outcome


def fine(**how: Any) -> Pair:
    """The answer, whole, at the first attempt."""
    return both(Outcome(("1 ok",), **how))


def both(outcome: Outcome) -> Pair:
    return Pair(outcome, outcome)


def retried(label: str, status: int = 502, *, tries: int = 3, **how: Any) -> Pair:
    """Tried as often as the route allows; then the second target serves, or all have failed."""
    failures = (f"1 {label}",) * tries
    failed = Outcome(failures, status=status, code="all_targets_failed", **how)
    gaps = how.get("gaps", ())
    return Pair(failed, Outcome((*failures, "2 ok"), gaps=gaps))


def limited(**how: Any) -> Pair:
    return retried("rate_limited", 429, **how)


def once(label: str, status: int, **how: Any) -> Pair:
    """Not retried at that target."""
    return retried(label, status, tries=1, **how)


def timed_out(**how: Any) -> Pair:
    """Not tried again while another target is left; alone, it is."""
    failed = Outcome(("1 timed_out",) * 3, status=504, code="all_targets_failed", **how)
    return Pair(failed, Outcome(("1 timed_out", "2 ok")))


def passed_on(label: str, status: int) -> Pair:
    """The caller's own fault: the provider's words, no fallback."""
    return both(Outcome((f"1 {label}",), status=status, passed_on=True))


def key_refused() -> Pair:
    return both(Outcome(("1 auth_refused",), status=502, code="provider_auth_failed"))


def broken(label: str, code: str, tokens: int = 3) -> Pair:
    """After the commit nobody else's text: one error event, and nothing after it."""
    return both(Outcome((f"1 {label}",), code=code, tokens=tokens, broken=True))


@dataclass(frozen=True)
class Row:
    """A fault, the kinds of request that it meets, and what must become of them."""

    name: str
    script: str
    """What the first target plays (see :mod:`holdfast.chaos.script`)."""
    modes: tuple[str, ...]
    pair: Pair
    fields: dict[str, Any] = field(default_factory=dict)
    """More of the request's body."""
    route: dict[str, Any] = field(default_factory=dict)
    dialects: tuple[str, ...] = ()
    """Of providers, where it isn't for all."""

    def is_for(self, dialect: str) -> bool:
        return not self.dialects or dialect in self.dialects


CUT = ("truncated", "truncated_answer")
LOST = ("connection_lost", "connection_lost")
BAD = ("bad_answer", "bad_provider_answer")
LATE = ("timed_out", "provider_timeout")
SERVER = ("server_failed", "provider_failed")
PACED = "tps=200 "
"""So slow that the first token goes out before the fault happens."""
SLOW = {"timeouts": {"first_token_s": 5, "answer_s": 5, "idle_s": 5}}
"""For what takes its time on a busy machine."""
LONG_AGO = "Wed, 21 Oct 2015 07:28:00 GMT"
HUGE = {"retry": {"max_retries": 0}, **SLOW}
NEEDED = ("anthropic", "openai_chat")
"""Dialects that have no event without it."""
USAGE = {"stream_options": {"include_usage": True}}

TABLE = [
    # Nothing is wrong, or nothing that matters.
    Row("ok", "ok", BOTH, fine()),
    Row("ok, usage asked", "ok", STREAM, fine(), fields=USAGE),
    Row("ok, two choices", "ok", BOTH, fine(), fields={"n": 2}),
    Row("ok, reasoning", "reasoning=3", BOTH, fine()),
    Row("one-byte segments", "segments", BOTH, fine(), route=SLOW),
    Row("one-byte segments, CRLF, comments", "segments crlf comments", STREAM, fine(), route=SLOW),
    Row("late within limits", "slow=0.05", BOTH, fine()),
    Row("stall within limits", "stall=3 seconds=0.05", BOTH, fine()),
    Row("no end marker", "no_done", STREAM, fine()),
    Row("no end marker, then cut", PACED + "no_done cut=fin", STREAM, broken(*LOST, tokens=TOKENS)),
    Row("finish repeated", "repeat_finish=2", STREAM, fine()),
    Row("finish: length", "finish=length", BOTH, fine(finish="length")),
    Row("finish: content_filter", "finish=content_filter", BOTH, fine(finish="content_filter")),
    Row("no usage", "no_usage", BOTH, fine(usage="none")),
    Row("no usage, usage asked", "no_usage", STREAM, fine(usage="none"), fields=USAGE),
    Row("id changes", "change_id=3", STREAM, fine()),
    Row("model changes", "change_id=3 field=model", STREAM, fine()),
    # What nobody can see, where the wire doesn't number its events: the text is what that attempt sent.
    Row("tokens lost", "drop=3 count=2", STREAM, fine(numbers=(*range(3), *range(5, TOKENS)))),
    Row("tokens swapped", "reorder=3", STREAM, fine(numbers=(0, 1, 2, 4, 3, *range(5, TOKENS)))),
    Row("an event of nothing", "missing_fields instead=empty after=3", STREAM,
        fine(numbers=(*range(3), *range(4, TOKENS)))),
    Row("a token repeated", "repeat=3 again=2", STREAM, fine(numbers=(0, 1, 2, 3, 3, 3, *range(4, TOKENS)))),
    # Other ways to write the same stream, which the standard allows, or which clients are told to expect.
    Row("end marker repeated", "repeat_done=2", STREAM, fine()),
    Row("a byte order mark", "bom", STREAM, fine()),
    Row("data on two lines", "multi_line", STREAM, fine()),
    Row("other fields in the events", "sse_fields", STREAM, fine()),
    Row("wrong event names", "event_names=wrong", STREAM, fine()),
    Row("no event names", "event_names=gone", STREAM, fine()),
    Row("no blank line at the end", "no_blank_line", STREAM, fine()),
    Row("no id", "missing_fields=id", PLAIN, fine()),
    Row("an unknown event", "unknown_event=3", STREAM, fine()),
    Row("cut into segments anywhere", "split", BOTH, fine(), route=SLOW),
    Row("headers drip within limits", "slow_headers=0.005 step=40", BOTH, fine()),
    # What is told of the tokens is what is written down, if it could be true; null is as good as nothing.
    Row("usage: zero", "wrong_usage=zero", BOTH, fine(usage="absurd")),
    Row("usage: half", "wrong_usage=half", BOTH, fine(usage="false")),
    Row("usage: half, asked", "wrong_usage=half", STREAM, fine(usage="false"), fields=USAGE),
    Row("usage: double", "wrong_usage=double", BOTH, fine(usage="false")),
    Row("usage: double, asked", "wrong_usage=double", STREAM, fine(usage="false"), fields=USAGE),
    Row("usage: null", "wrong_usage=null", PLAIN, fine(usage="none")),
    Row("usage: null, streamed", "wrong_usage=null", STREAM, fine(usage="absurd")),
    # What can't be true is no usage: it takes nothing off a budget, and blocks none.
    Row("usage: negative", "wrong_usage=negative", BOTH, fine(usage="absurd")),
    Row("usage: negative, asked", "wrong_usage=negative", STREAM, fine(usage="absurd"), fields=USAGE),
    Row("usage: huge", "wrong_usage=huge", BOTH, fine(usage="absurd")),
    Row("usage: huge, asked", "wrong_usage=huge", STREAM, fine(usage="absurd"), fields=USAGE),
    Row("usage: fraction", "wrong_usage=fraction", BOTH, fine(usage="absurd")),
    Row("usage: text", "wrong_usage=text", BOTH, fine(usage="absurd")),
    # The caller's own fault.
    Row("400", "400", BOTH, passed_on("request_refused", 400)),
    Row("400, a page", "400 body='<h1>no</h1>' content_type=text/html", BOTH, passed_on("request_refused", 400)),
    Row("413", "413", BOTH, passed_on("request_refused", 413)),
    Row("422", "422", BOTH, passed_on("request_refused", 422)),
    Row("context length", "context_length_exceeded", BOTH, passed_on("context_too_long", 400)),
    Row("content policy", "content_policy", BOTH, passed_on("content_refused", 400)),
    Row("content filter", "content_filter", BOTH, passed_on("content_refused", 400)),
    Row("404", "404", BOTH, passed_on("model_missing", 404)),
    # Our key.
    Row("401", "401", BOTH, key_refused()),
    Row("403", "403", BOTH, key_refused()),
    # The provider's limits.
    Row("429", "429", BOTH, limited(gaps=(0.01, 0.02))),
    Row("429, seconds", "429 retry_after=0.06", BOTH, limited(gaps=(0.06, 0.06), retry_after="1")),
    Row("429, milliseconds", "429 retry_after_ms=60", BOTH, limited(gaps=(0.06, 0.06), retry_after="1")),
    Row("429, a date gone by", f"429 retry_after='{LONG_AGO}'", BOTH, limited(retry_after="0")),
    Row("429, nonsense", "429 retry_after=soon", BOTH, limited(gaps=(0.01, 0.02), within=2)),
    Row("429, negative", "429 retry_after='-5'", BOTH, limited(gaps=(0.01, 0.02), within=2)),
    Row("429, beyond max_s", "429 retry_after=0.6", BOTH, Pair(
        Outcome(("1 rate_limited",) * 3, status=429, code="all_targets_failed", gaps=(0.6, 0.6), retry_after="1"),
        Outcome(("1 rate_limited", "2 ok"), within=0.6),
    )),
    Row("429, beyond the deadline", "429 retry_after=60", BOTH, once("rate_limited", 429, retry_after="60", within=2)),
    Row("quota", "insufficient_quota", BOTH, once("quota_exhausted", 429)),
    # The same, told by name: each in the provider's own words.
    Row("rate_limit", "rate_limit", BOTH, limited()),
    Row("tokens_rate_limit", "tokens_rate_limit", BOTH, limited()),
    Row("bad_request", "bad_request", BOTH, passed_on("request_refused", 400)),
    Row("request_too_large", "request_too_large", BOTH, passed_on("request_refused", 413)),
    Row("unprocessable", "unprocessable", BOTH, passed_on("request_refused", 422)),
    Row("model_not_found", "model_not_found", BOTH, passed_on("model_missing", 404)),
    Row("invalid_api_key", "invalid_api_key", BOTH, key_refused()),
    Row("permission_denied", "permission_denied", BOTH, key_refused()),
    Row("timeout", "timeout", BOTH, retried("server_failed")),
    Row("server_error", "server_error", BOTH, retried("server_failed")),
    Row("bad_gateway", "bad_gateway", BOTH, retried("server_failed")),
    Row("service_unavailable", "service_unavailable", BOTH, retried("overloaded")),
    Row("gateway_timeout", "gateway_timeout", BOTH, retried("server_failed")),
    Row("overloaded", "overloaded", BOTH, retried("overloaded")),
    # The provider's failures.
    Row("408", "408", BOTH, retried("server_failed")),
    Row("500", "500", BOTH, retried("server_failed", gaps=(0.01, 0.02))),
    Row("502, a page", "502 body='<html>' content_type=text/html", BOTH, retried("server_failed")),
    Row("503", "503", BOTH, retried("overloaded")),
    Row("503, seconds", "503 retry_after=0.06", BOTH, retried("overloaded", gaps=(0.06, 0.06), retry_after="1")),
    Row("503, beyond the deadline", "503 retry_after=60", BOTH, once("overloaded", 502, retry_after="60", within=2)),
    Row("504", "504", BOTH, retried("server_failed")),
    Row("529", "529", BOTH, retried("overloaded")),
    Row("302", "302 header.location=http://127.0.0.1:9/", BOTH, retried("server_failed")),
    Row("204", "204", BOTH, retried("bad_answer")),
    Row("refused", "refused", BOTH, retried("connect_failed")),
    Row("reset", "reset", BOTH, retried("connection_lost")),
    Row("close", "close", BOTH, retried("connection_lost")),
    Row("half close", "half_close", BOTH, retried("connection_lost")),
    Row("hang", "hang", BOTH, timed_out(within=5.5)),
    Row("hang in the headers", "hang_headers", BOTH, timed_out(within=5.5)),
    Row("hang after the headers' first byte", "hang_headers=1", BOTH, timed_out(within=5.5)),
    Row("headers drip too slowly", "slow_headers=2 step=40", BOTH, timed_out(within=5.5)),
    Row("headers drip past the first token's limit", "slow_headers=0.2 step=10", STREAM, timed_out(within=5.5)),
    Row("late first token", "slow=2", BOTH, timed_out(within=5.5)),
    Row("empty, plain", "empty", PLAIN, retried("bad_answer")),
    Row("empty, stream", "empty", STREAM, retried("truncated")),
    Row("wrong type", "wrong_type", BOTH, retried("bad_answer")),
    Row("gzip that isn't", "wrong_encoding", BOTH, retried("bad_answer")),
    Row("an unknown encoding", "wrong_encoding=br", BOTH, retried("bad_answer")),
    Row("gzip bomb, plain", "gzip_bomb=70", PLAIN, once("bad_answer", 502), route=HUGE),
    Row("gzip bomb, stream", "gzip_bomb=20", STREAM, once("bad_answer", 502), route=HUGE),
    Row("huge, plain", "huge=70", PLAIN, once("bad_answer", 502), route=HUGE),
    Row("huge, stream", "huge=20", STREAM, once("bad_answer", 502), route=HUGE),
    Row("error in 200", "error_in_200", BOTH, retried("server_failed")),
    Row("error in 200, JSON", "error_in_200 as_json=true", STREAM, retried("server_failed")),
    Row("error in 200, 429", "error_in_200=rate_limit", BOTH, limited()),
    Row("error in 200, quota", "error_in_200=insufficient_quota", BOTH, once("quota_exhausted", 429)),
    Row("error in 200, context", "error_in_200=context_length_exceeded", BOTH, passed_on("context_too_long", 400)),
    Row("error in 200, our key", "error_in_200=invalid_api_key", BOTH, key_refused()),
    # Before the first token.
    Row("cut clean at 0", "cut=clean after=0", STREAM, retried("truncated")),
    Row("cut FIN at 0", "cut=fin after=0", STREAM, retried("connection_lost")),
    Row("cut reset at 0", "cut=reset after=0", STREAM, retried("connection_lost")),
    Row("half close at 0", "half_close=0", STREAM, retried("connection_lost")),
    Row("stall at 0", "stall=0", STREAM, timed_out(within=5.5)),
    *(
        Row(f"malformed at 0: {how}", f"malformed=0 how={how}", BOTH, retried("bad_answer"))
        for how in ("cut", "colon", "prefix", "garbage", "quotes", "nan")
    ),
    Row("nested too deep at 0", "deep", BOTH, retried("bad_answer")),
    Row("no field for the answer at 0", "missing_fields", STREAM, retried("bad_answer"), dialects=NEEDED),
    Row("null for the answer at 0", "missing_fields instead=null", STREAM, retried("bad_answer"), dialects=NEEDED),
    Row("invalid UTF-8 at 0", "bad_utf8=0", BOTH, retried("bad_answer")),
    Row("error event at 0", "error_event=0", STREAM, retried("server_failed")),
    Row("error event at 0, [DONE]", "error_event=0 then=done", STREAM, retried("server_failed")),
    Row("error event at 0, 429", "error_event=0 error=rate_limit", STREAM, limited()),
    Row("error event at 0, policy", "error_event=0 error=content_policy", STREAM, passed_on("content_refused", 400)),
    # Within a plain answer: nothing has gone out, so all of these may be mended.
    Row("plain cut clean", "cut=clean after=3", PLAIN, retried("bad_answer")),
    Row("plain cut FIN", "cut=fin after=3", PLAIN, retried("connection_lost")),
    Row("plain cut reset", "cut=reset after=3", PLAIN, retried("connection_lost")),
    Row("plain half close", "half_close=3", PLAIN, retried("connection_lost")),
    Row("plain shorter than stated", "truncate", PLAIN, retried("connection_lost")),
    Row("plain longer than stated", "wrong_length", PLAIN, retried("bad_answer")),
    Row("plain without the field for the answer", "missing_fields", PLAIN, retried("bad_answer")),
    Row("plain with null for the answer", "missing_fields instead=null", PLAIN, retried("bad_answer")),
    Row("plain without a choice", "missing_fields instead=empty", PLAIN, retried("truncated")),
    Row("plain stall", "stall=3", PLAIN, timed_out(within=5.5)),
    Row("plain hangs at its end", "truncate how=hang", PLAIN, timed_out(within=5.5)),
    Row("plain without finish", "no_finish", PLAIN, retried("truncated")),
    # After the first token.
    Row("cut clean at 3", PACED + "cut=clean after=3", STREAM, broken(*CUT)),
    Row("cut FIN at 3", PACED + "cut=fin after=3", STREAM, broken(*LOST)),
    Row("cut reset at 3", PACED + "cut=reset after=3", STREAM, broken(*LOST)),
    Row("half close at 3", PACED + "half_close=3", STREAM, broken(*LOST)),
    Row("cut at 3, two choices", PACED + "cut=fin after=6", STREAM, broken(*LOST), fields={"n": 2}),
    Row("cut in reasoning", PACED + "reasoning=5 cut=fin after=3", STREAM, broken(*LOST, tokens=0)),
    Row("cut clean at the end", PACED + "cut=clean", STREAM, broken(*CUT, tokens=TOKENS)),
    Row("no finish, [DONE]", PACED + "no_finish", STREAM, broken(*CUT, tokens=TOKENS)),
    Row("stall at 3", PACED + "stall=3", STREAM, broken(*LATE)),
    Row("malformed at 3", PACED + "malformed=3", STREAM, broken(*BAD)),
    Row("nested too deep at 3", PACED + "deep after=3", STREAM, broken(*BAD)),
    Row("no field for the answer at 3", PACED + "missing_fields after=3", STREAM, broken(*BAD), dialects=NEEDED),
    Row("invalid UTF-8 at 3", PACED + "bad_utf8=3", STREAM, broken(*BAD)),
    Row("error event at 3", PACED + "error_event=3", STREAM, broken(*SERVER)),
    Row("error event at 3, [DONE]", PACED + "error_event=3 then=done", STREAM, broken(*SERVER)),
    Row("error event at 3, FIN", PACED + "error_event=3 then=fin", STREAM, broken(*SERVER)),
    Row("error event at 3, 429", PACED + "error_event=3 error=rate_limit", STREAM, broken("rate_limited", "rate_limited")),
    Row("one-byte segments, cut at 3", PACED + "segments cut=fin after=3", STREAM, broken(*LOST), route=SLOW),
    # The fault comes with the first token, in one segment: how the bytes were cut makes no difference.
    Row("malformed at 3, at once", "batch=64 malformed=3", STREAM, broken(*BAD)),
    Row("error event at 3, at once", "batch=64 error_event=3", STREAM, broken(*SERVER)),
    Row("cut clean at 3, at once", "batch=64 cut=clean after=3", STREAM, broken(*CUT)),
    # One failure, then health.
    Row("500, then ok", "500; ok", BOTH, both(Outcome(("1 server_failed", "1 ok"), gaps=(0.01,)))),
    Row("429, then ok", "429 retry_after_ms=80; ok", BOTH, both(Outcome(("1 rate_limited", "1 ok"), gaps=(0.08,)))),
    Row("429, a date, then ok", "429 retry_after=date+1; ok", BOTH, Pair(
        Outcome(("1 rate_limited", "1 ok"), gaps=(0.5,)), Outcome(("1 rate_limited", "2 ok")),
    )),
    Row("reset, 503, then ok", "reset; 503; ok", BOTH, both(Outcome(("1 connection_lost", "1 overloaded", "1 ok")))),
    Row("cut at 0, then ok", "cut=clean after=0; ok", STREAM, both(Outcome(("1 truncated", "1 ok")))),
    Row("hang, then ok", "hang; ok", BOTH, Pair(Outcome(("1 timed_out", "1 ok")), Outcome(("1 timed_out", "2 ok")))),
    Row("500, then cut at 3", "500; " + PACED + "cut=fin after=3", STREAM, both(
        Outcome(("1 server_failed", "1 connection_lost"), code="connection_lost", tokens=3, broken=True)
    )),
]  # fmt: skip  # a table reads better with a row to a line

DOWN = [
    # Each for a provider of its own, since they take it away from everybody.
    Row("refuses", "refuse=60", BOTH, Pair(
        Outcome(("1 connection_lost", *("1 connect_failed",) * 2), status=502, code="all_targets_failed", within=2),
        Outcome(("1 connection_lost", *("1 connect_failed",) * 2, "2 ok"), within=2),
    )),
    Row("is silent", "deaf=60", BOTH, Pair(
        Outcome(("1 connection_lost", *("1 connect_failed",) * 2), status=504, code="all_targets_failed", within=5.5),
        Outcome(("1 connection_lost", "1 connect_failed", "2 ok"), within=2),
    )),
]  # fmt: skip  # a table reads better with a row to a line


@dataclass(frozen=True)
class Chain:
    """Two targets that both have something to say, under a route's own settings."""

    name: str
    first: str
    second: str
    outcome: Outcome
    route: dict[str, Any] = field(default_factory=dict)


def failed(status: int, *attempts: str, **how: Any) -> Outcome:
    return Outcome(tuple(attempts), status=status, code="all_targets_failed", **how)


def served(*attempts: str) -> Outcome:
    return Outcome(tuple(attempts))


FIRST_500, SECOND_500 = ("1 server_failed",) * 3, ("2 server_failed",) * 3

CHAINS = [
    Chain("both 500", "500", "500", failed(502, *FIRST_500, *SECOND_500)),
    Chain("no retries", "500", "500", failed(502, "1 server_failed", "2 server_failed"), {"retry": {"max_retries": 0}}),
    Chain("capped in all", "500", "500", failed(502, *FIRST_500, "2 server_failed"), {"retry": {"max_attempts": 4}}),
    Chain("429 and 500", "429", "500", failed(502, *("1 rate_limited",) * 3, *SECOND_500)),
    Chain("soonest wait", "429 retry_after=60", "429 retry_after=50",
          failed(429, "1 rate_limited", "2 rate_limited", retry_after="50")),
    Chain("quota and 429", "insufficient_quota", "429 retry_after=50",
          failed(429, "1 quota_exhausted", "2 rate_limited", retry_after="50")),
    # The silent one comes again only when no other is left, and within the attempts that the route allows in all.
    Chain("silent and 500", "hang", "500", failed(504, "1 timed_out", *SECOND_500, *("1 timed_out",) * 2)),
    Chain("500 and 400", "500", "400", Outcome((*FIRST_500, "2 request_refused"), status=400, passed_on=True)),
    Chain("refused and 500", "refused", "500", failed(502, *("1 connect_failed",) * 3, *SECOND_500)),
    Chain("429, its wait, then ok", "429 retry_after=0.6; ok", "500", served("1 rate_limited", *SECOND_500, "1 ok")),
    Chain("401 opted in", "401", "ok", served("1 auth_refused", "2 ok"), {"fallback_on": [401]}),
    Chain("403 opted in", "403", "ok", served("1 auth_refused", "2 ok"), {"fallback_on": [403]}),
    Chain("404 opted in", "404", "ok", served("1 model_missing", "2 ok"), {"fallback_on": [404]}),
    Chain("policy opted in", "content_policy", "ok", served("1 content_refused", "2 ok"),
          {"fallback_on": ["content_policy"]}),
    Chain("401 opted in, 404 not", "404", "ok", Outcome(("1 model_missing",), status=404, passed_on=True),
          {"fallback_on": [401]}),
    Chain("401 opted in, both", "401", "500", failed(502, "1 auth_refused", *SECOND_500), {"fallback_on": [401]}),
]  # fmt: skip  # a table reads better with a row to a line
