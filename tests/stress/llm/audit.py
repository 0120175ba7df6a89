"""The audit trail of a run: what each caller got ⨝ what the provider's journal says ⨝ what the ledger's file says."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from tests.support.joined import Joined, check_ledger, numbered

from holdfast import ChatAnswer
from holdfast.errors import TargetsFailed

if TYPE_CHECKING:
    from tests.stress.llm.collector import Collector
    from tests.stress.llm.rows import Query, Result, Row

    from holdfast.chaos import Entry
    from holdfast.ledger.entry import AttemptRow, Counts, Record

__all__ = ["Asked", "Run", "arrived", "faulted", "prompt_of"]

LABEL_OF_STATUS = {
    400: "request_refused",
    401: "auth_refused",
    404: "model_missing",
    408: "server_failed",
    429: "rate_limited",
    500: "server_failed",
    502: "server_failed",
    503: "overloaded",
    504: "server_failed",
    529: "overloaded",
}
"""What the ledger calls an attempt that the provider answered with that status."""
LABELS_OF_FAULT = {
    "close": ("connection_lost", "connection_lost"),
    "cut": ("connection_lost", "connection_lost"),
    "cut=clean": ("truncated", "truncated"),
    "deaf": ("connection_lost", "connection_lost"),
    "empty": ("bad_answer", "truncated"),
    "hang": ("timed_out", "timed_out"),
    "malformed": ("bad_answer", "bad_answer"),
    "reset": ("connection_lost", "connection_lost"),
    "truncate": ("connection_lost", "connection_lost"),
    "wrong_type": ("bad_answer", "bad_answer"),
}
"""… and one whose answer was spoiled so: a plain one, and a stream."""
_CLOCKS_S = 0.002
"""Starts are wall-clock times and durations monotonic ones: their sum may be off by what separates the two readings."""


@dataclass
class Asked(Joined):
    """One query from all three sides."""

    query: Query
    answer: Result  # type: ignore[assignment]  # here no HTTP client saw it

    @property
    def out_of_time(self) -> bool:
        """The row's deadline came in the middle of its last attempt."""
        last = self.rows[-1]
        return last.outcome == "timed_out" and "(total_s)" in (last.error or "")

    def check_time_used(self, limit_s: float) -> None:
        """It failed when another try would have begun too late: no try was planned for later, and none was left out."""
        end, begun_ns = self.record.end, self.record.intent.started_ns
        assert end is not None
        for row in self.rows[:-1]:
            planned_s = (row.started_ns - begun_ns) / 1e9 + row.total_ms / 1e3 + (row.retry_after_s or 0.0)
            assert planned_s < limit_s + _CLOCKS_S
        patience_s = self.rows[-1].retry_after_s or 0.0
        assert (end.total_ms or 0.0) / 1e3 + patience_s >= limit_s - _CLOCKS_S

    def check(self, *, known_text: bool) -> None:
        """Raises AssertionError where one side contradicts another."""
        end, result, intent = self.record.end, self.answer, self.record.intent
        assert end is not None
        assert intent.route == "stress"
        assert all(entry.stream == intent.stream for entry in self.entries)
        seen = tuple(row for row in self.rows if row.outcome == "connect_failed" or arrived(row))
        check_ledger(Joined(self.answer, self.entries, replace(self.record, end=replace(end, attempts=seen))))
        for row in self.rows:
            assert (row.cost_nano or 0) <= (intent.bound_nano or 0), (
                "it cost more than was said before it was sent"
            )
        for entry in self.entries:
            assert entry.end is not None, "the provider still serves it"
            assert prompt_of(entry) == self.query.prompt
        for row, entry in zip(filter(arrived, self.rows), self.entries, strict=True):
            if self.out_of_time and row is self.rows[-1]:
                continue  # whatever the provider was about to say
            assert row.outcome == _label(entry)
            assert row.finish_reason == ("stop" if row.outcome == "ok" else None)
            assert (row.status is None) == (entry.status is None)
            if row.status is not None:  # both sides read the same clock: it arrived while we were at it
                until_ns = row.started_ns + row.total_ms * 1e6
                assert row.started_ns - _CLOCKS_S * 1e9 <= entry.arrived_wall_ns <= until_ns + _CLOCKS_S * 1e9
            if row.outcome == "ok":
                assert row.upstream_id
        for row, after in itertools.pairwise(self.rows):
            if row.retry_after_s is not None:
                pause_s = (after.started_ns - row.started_ns) / 1e9 - row.total_ms / 1e3
                assert pause_s >= row.retry_after_s - _CLOCKS_S, "the provider asked for more patience"
        if isinstance(result, ChatAnswer):
            self._check_answer(result, known_text=known_text)
            return
        assert end.state == "failed"
        labels = {row.outcome for row in self.rows}
        assert end.error_label == (labels.pop() if len(labels) == 1 else "targets_failed")
        begun = self.record.intent.stream and self.rows[-1].first_token_ms is not None
        assert (end.error, end.status) == (result.message, 200 if begun else result.status)
        assert (end.delivered_bytes > 0) == begun
        served = (self.rows[-1].provider, self.rows[-1].model) if begun else (None, None)
        assert ((end.provider, end.model), end.finish_reason, end.usage) == (served, None, None)
        if isinstance(result, TargetsFailed):
            # What it says of each attempt is what stands in that attempt's row.
            said = [(error.label, error.message, error.retry_after_s) for _, error in result.failures]
            assert said == [(row.outcome, row.error, row.retry_after_s) for row in self.rows]
        assert not any(row.outcome == "ok" for row in self.rows)

    def _check_answer(self, answer: ChatAnswer, *, known_text: bool) -> None:
        """What the caller has is what the last attempt served, byte for byte, and nothing of the attempts before it."""
        end, served = self.record.end, self.entries[-1]
        assert end is not None
        assert answer.text.encode() == served.text.encode()
        if known_text:
            assert answer.text == numbered(served.nonce, served.tokens)
            assert served.tokens > 0
        assert (end.state, end.error_label, end.error) == ("ok", None, None)
        assert [row.outcome for row in self.rows].index("ok") == len(self.rows) - 1
        assert (served.status, served.end, served.faults) == (200, "complete", [])
        assert (answer.request_id, answer.attempts) == (self.record.intent.id, len(self.rows))
        assert (
            (answer.provider, answer.model)
            == (end.provider, end.model)
            == (self.rows[-1].provider, served.model)
        )
        assert answer.finish_reason == end.finish_reason == "stop"
        assert end.usage == self.rows[-1].usage
        assert answer.usage is not None
        assert replace(answer.usage, extra={}) == end.usage  # the ledger keeps what is priced
        assert answer.cost_usd == self.record.cost_usd
        assert end.delivered_bytes >= len(answer.text.encode())


@dataclass
class Run:
    """A run over rows, when it is over."""

    rows: list[Row]
    out: Collector
    entries: list[Entry]
    """The journal's, in order of arrival."""
    records: dict[str, Record]
    """The ledger's, by the query's name."""
    counts: Counts
    asked: dict[str, Asked] = field(init=False)
    """By the query's name."""

    def __post_init__(self) -> None:
        by_prompt: dict[str, list[Entry]] = {}
        for entry in self.entries:
            by_prompt.setdefault(prompt_of(entry), []).append(entry)
        self.asked = {
            query.name: Asked(result, by_prompt.pop(query.prompt, []), self.records[query.name], query)
            for query, result in self.out.asked
        }
        self._nobodys = list(by_prompt)

    def of_row(self, number: int) -> list[Asked]:
        return [self.asked[query.name] for query in self.rows[number].queries]

    def check(self, *, known_text: bool = True) -> None:
        """No silent drops: each row came out once, each call has one final record, and each attempt in the journal has its
        row in the ledger, and the other way round.

        Args:
            known_text: answers are the chaos provider's numbered tokens.
        """
        self.out.check_complete(self.rows)
        queries = [query.name for row in self.rows for query in row.queries]
        assert sorted(self.records) == sorted(queries)
        assert self._nobodys == [], "attempts that no query made"
        answered = sum(isinstance(result, ChatAnswer) for _, result in self.out.asked)
        assert self.counts.balanced
        assert (self.counts.accepted, self.counts.ok) == (len(queries), answered)
        assert (self.counts.failed, self.counts.in_flight) == (len(queries) - answered, 0)
        for asked in self.asked.values():
            asked.check(known_text=known_text)
        assert len({entry.nonce for entry in self.entries}) == len(self.entries)


def arrived(row: AttemptRow) -> bool:
    """The provider got it. A deadline that comes before there is a connection ends an attempt of which nothing was sent."""
    return row.outcome != "connect_failed" and not (row.outcome == "timed_out" and row.billed == "none")


def prompt_of(entry: Entry) -> str:
    """What the provider was asked."""
    body: Any = json.loads(entry.body)
    return body["messages"][-1]["content"]


def faulted(entry: Entry) -> bool:
    """The provider gave no healthy answer."""
    return bool(entry.faults)


def _label(entry: Entry) -> str:
    """What the ledger must call it, by what the provider did."""
    if not entry.faults:
        return "ok"
    if entry.faults == ["status"]:
        assert entry.status is not None
        return LABEL_OF_STATUS[entry.status]
    (fault,) = entry.faults
    if fault == "cut" and entry.end == "complete":  # the body ended as HTTP wants it
        fault = "cut=clean"
    return LABELS_OF_FAULT[fault][entry.stream]
