"""A stream that breaks after content went out: `on_break` as each route has it; and `keepalive_s`, which speaks before."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import document_of, run_gateway
from tests.support.http import Answer, ask, chat
from tests.support.joined import Joined, check_ledger, numbered

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = "The quick brown fox jumps over the lazy dog; 12 Boxkämpfer jagen Viktor quer über den Sylter Deich."
SAME = f"text='{TEXT}' tps=200"
OTHER = f"text='{TEXT[:10]} and then something else altogether' tps=200"
SHORTER = f"text='{TEXT[:10]}' tps=200"
PIECE = 6  # characters per token of a fixed text
LOST = "connection_lost"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@dataclass(frozen=True)
class Case:
    """A route, what its targets play, and what the caller must get."""

    name: str
    on_break: str
    first: str
    second: str | None
    attempts: tuple[str, ...]
    text: str | None = TEXT
    """None: numbered, of the last attempt."""
    error: str | None = None
    """The error event's code; None: the stream ends well."""
    status: int = 200
    fields: dict[str, Any] = field(default_factory=dict)
    keepalive_s: float = 0

    @property
    def key(self) -> str:
        return self.name.replace(" ", "-")


CASES = [
    Case("resumed", "resume", f"{SAME} cut=fin after=5", SAME, (f"1 {LOST}", "2 ok")),
    Case("resumed after a clean cut", "resume", f"{SAME} cut=clean after=5", SAME, ("1 truncated", "2 ok")),
    Case("resumed after an error event", "resume", f"{SAME} error_event=5", SAME, ("1 server_failed", "2 ok")),
    Case("resumed in other pieces", "resume", f"{SAME} cut=fin after=5", f"{SAME} batch=4 segments=7",
         (f"1 {LOST}", "2 ok")),
    Case("resumed where it was", "resume", f"{SAME} cut=fin after=5; {SAME}", None, (f"1 {LOST}", "1 ok")),
    Case("resumed twice", "resume", f"{SAME} cut=fin after=5; {SAME}", f"{SAME} cut=fin after=8",
         (f"1 {LOST}", f"2 {LOST}", "1 ok")),
    Case("resumed past a refusal", "resume", f"{SAME} cut=fin after=5; {SAME}", "500",
         (f"1 {LOST}", *("2 server_failed",) * 2, "1 ok")),
    Case("diverged", "resume", f"{SAME} cut=fin after=5", f"{OTHER}", (f"1 {LOST}", *("2 bad_answer",) * 2, f"1 {LOST}"),
         TEXT[: 5 * PIECE], "all_targets_failed"),
    Case("ended too soon", "resume", f"{SAME} cut=fin after=5", SHORTER, (f"1 {LOST}", *("2 bad_answer",) * 2, f"1 {LOST}"),
         TEXT[: 5 * PIECE], "all_targets_failed"),
    Case("never after a tool call", "resume", "tools=1 tps=50 cut=fin after=1", SAME, (f"1 {LOST}",), "", LOST,
         fields={"tools": TOOLS}),
    Case("never after reasoning", "resume", f"reasoning=3 {SAME} cut=fin after=6", SAME, (f"1 {LOST}",),
         TEXT[: 3 * PIECE], LOST),
    Case("never with two choices", "resume", f"{SAME} cut=fin after=6", SAME, (f"1 {LOST}",), TEXT[: 3 * PIECE], LOST,
         fields={"n": 2}),
    Case("error", "error", f"{SAME} cut=fin after=5", SAME, (f"1 {LOST}",), TEXT[: 5 * PIECE], LOST),
    Case("buffered", "buffer", "tps=200 cut=fin after=5", "tps=200", (*(f"1 {LOST}",) * 2, "2 ok"), None),
    Case("buffered and broken everywhere", "buffer", "tps=200 cut=fin after=5", "stall=5",
         (*(f"1 {LOST}",) * 2, "2 timed_out", "2 timed_out"), status=504, error="all_targets_failed"),
    Case("kept alive", "error", "slow=0.5 headers=late", None, ("1 ok",), None, keepalive_s=0.1),
    Case("kept alive and failed", "error", "500 slow=0.5 headers=late; 400", None,
         ("1 server_failed", "1 request_refused"), "", "invalid_request", keepalive_s=0.1),
    Case("failed before it was kept alive", "error", "400", None, ("1 request_refused",), status=400, keepalive_s=5),
]  # fmt: skip  # a table reads better with a row to a line


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Joined]]:
    scripts = {f"{case.key}.1": case.first for case in CASES}
    scripts |= {f"{case.key}.2": case.second for case in CASES if case.second}
    with run_chaos(ChaosConfig(scripts=scripts)) as chaos:
        document = document_of(
            chaos.base_url,
            tmp_path_factory.mktemp("on-break") / "ledger.db",
            models=[f"{case.key}.{i}" for case in CASES for i in (1, 2)],
            timeouts={"first_token_s": 2, "idle_s": 0.5, "total_s": 20},
            retry={"max_retries": 1, "base_s": 0.01, "max_s": 0.05, "jitter": 0},
            routes={
                case.key: {
                    "targets": [f"one/{case.key}.1", *([f"two/{case.key}.2"] if case.second else [])],
                    "on_break": case.on_break,
                    "timeouts": {"keepalive_s": case.keepalive_s},
                }
                for case in CASES
            },
        )
        with run_gateway(document) as gateway:

            async def ask_all() -> list[Answer]:
                return await asyncio.gather(
                    *(ask(gateway.port, chat(case.key, stream=True, **case.fields)) for case in CASES)
                )

            answers = asyncio.run(ask_all())
            records, journal = gateway.records(), chaos.journal()
            gateway.no_traceback()
            yield {
                case.key: Joined(
                    answer,
                    [entry for entry in journal if (entry.model or "").rpartition(".")[0] == case.key],
                    records[answer.id],
                )
                for case, answer in zip(CASES, answers, strict=True)
            }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_outcome(case: Case, results: dict[str, Joined]) -> None:
    joined = results[case.key]
    answer = joined.answer
    assert [f"{row.model[-1]} {row.outcome}" for row in joined.rows] == list(case.attempts)
    assert answer.status == case.status
    check_ledger(joined)
    assert joined.record.state == ("ok" if case.error is None and case.status == 200 else "failed")
    if case.status != 200:
        assert not answer.streamed
        assert case.error is None or answer.error["code"] == case.error
        return
    last = joined.entries[-1]
    assert answer.text == (numbered(last.nonce, 20) if case.text is None else case.text)
    data = [event for event in answer.events if event.data is not None]
    assert len({chunk["id"] for chunk in answer.chunks}) <= 1
    assert len({chunk["model"] for chunk in answer.chunks}) <= 1
    assert [event for event in data if event.is_end or event.is_error] == [data[-1]]
    if case.error is None:
        assert data[-1].is_end
        assert answer.finish_reasons == ["stop"]
        assert answer.text == last.text, "the whole text of exactly one attempt"
    else:
        assert data[-1].json["error"]["code"] == case.error
        assert answer.finish_reasons == []


def test_a_resumption_is_attributed(results: dict[str, Joined]) -> None:
    """The head names who began; the last comment and the ledger, who finished. Both attempts are billed."""
    joined = results["resumed"]
    answer, end = joined.answer, joined.record.end
    assert end is not None
    assert (answer.headers["x-holdfast-provider"], answer.attempts) == ("one", 1)
    assert {chunk["model"] for chunk in answer.chunks} == {"resumed.1"}
    comment = answer.events[-2].comment or ""
    assert "attempts=2 provider=two model=resumed.2" in comment
    assert (end.provider, end.model) == ("two", "resumed.2")
    assert [row.billed for row in end.attempts] == ["bound", "provider"]
    assert all(row.cost_nano for row in end.attempts)


def test_comments_before_content(results: dict[str, Joined]) -> None:
    """`keepalive_s`: 200 and comments while nothing has been said yet."""
    answer = results["kept-alive"].answer
    assert answer.headers["x-holdfast-keepalive"] == "early"
    assert "x-holdfast-provider" not in answer.headers
    first = next(i for i, event in enumerate(answer.events) if event.data is not None)
    assert 2 <= first <= 1 + answer.seconds / 0.1
    said_at = results["kept-alive"].entries[-1].first_token_ns
    assert said_at is not None
    assert answer.head_at * 1e9 < said_at, "before the provider had said a word"
