"""Several calls a row, at OpenRouter's paths: one deadline for all of a row's calls, broken connections, and answers that
must not change places."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.stress.llm.audit import faulted
from tests.stress.llm.collector import Collector
from tests.stress.llm.rows import make_rows
from tests.stress.llm.world import EVER, SEED
from tests.support.binomial import interval

from holdfast import ChatAnswer
from holdfast.errors import TargetsFailed

if TYPE_CHECKING:
    from tests.stress.llm.world import World

MODES = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
QUERIES = 5


class TestOpenRouterMultiQueryContent:
    @MODES
    @pytest.mark.chaosllm(
        default="echo", delay=0.004, jitter=1.0, rates={"429 retry-after-ms=1": 15, "reset": 5}, seed=SEED
    )
    def test_answers_stay_with_their_queries(self, world: World, stream: bool) -> None:
        """The provider repeats the question, at its own pace each time; forty calls are on their way at once.

        A query has three attempts, each of which fails with probability 0.2 by a draw of its own.
        """
        rows = make_rows(
            50, queries=QUERIES, text=lambda row, query: f"<{row}|{query}> " + "é…" * (row * query)
        )
        run = world.run(rows, "openrouter", workers=8, retries=2, stream=stream)
        run.check(known_text=False)
        for query, result in run.out.asked:
            if isinstance(result, ChatAnswer):
                assert result.text.encode() == query.prompt.encode()
        low, high = interval(50 * QUERIES, 0.2**3)
        assert low <= sum(not isinstance(result, ChatAnswer) for _, result in run.out.asked) <= high


class TestOpenRouterMultiQueryDeadline:
    @MODES
    @pytest.mark.parametrize("trouble", ["hang", "429 retry-after-ms=25", "503 retry-after-ms=25"])
    def test_a_rows_deadline_takes_what_is_late_and_keeps_what_is_there(
        self, world: World, trouble: str, stream: bool
    ) -> None:
        """In every third row one query never gets an answer. Its row ends partial, with four answers; the deadline is the
        row's own, so rows after it are whole."""
        limit_s = 1.0
        rows = make_rows(
            18, queries=QUERIES, script=lambda row, query: trouble if row % 3 == 0 and query == 2 else "ok"
        )
        run = world.run(rows, "openrouter", workers=6, retries=EVER, deadline_s=limit_s, stream=stream)
        run.check()
        assert run.out.numbers("partial") == list(range(0, 18, 3))
        assert run.out.outcomes["ok"] == 12
        for number in run.out.numbers("partial"):
            late = run.asked[f"{number}.2"]
            assert isinstance(late.answer, TargetsFailed)
            said = 504 if late.out_of_time else {"4": 429, "5": 502}[trouble[0]]
            assert late.answer.status == said
            assert late.out_of_time or trouble != "hang"
            late.check_time_used(limit_s)
            begun = [one.record.intent.started_ns for one in run.of_row(number)]
            assert max(begun) - min(begun) < limit_s * 1e9, (
                "one limit for all of them, not one after the other"
            )


class TestOpenRouterMultiQueryConnections:
    @MODES
    def test_queries_of_a_row_break_each_on_its_own(self, world: World, stream: bool) -> None:
        """Query k of a row meets k broken connections; four are one too many."""
        faults = ("reset", "close", "malformed how=garbage", "529", "empty")
        rows = make_rows(
            20,
            queries=QUERIES,
            script=lambda row, query: f"{faults[row % len(faults)]} x{query}; ok" if query else "ok",
        )
        run = world.run(rows, "openrouter", retries=3, stream=stream)
        run.check()
        assert run.out.outcomes == {"partial": 20}
        for row in run.out.released:
            assert [isinstance(result, ChatAnswer) for result in row.results] == [
                True,
                True,
                True,
                True,
                False,
            ]
            assert [len(one.entries) for one in run.of_row(row.row.number)] == [1, 2, 3, 4, 4]


class TestOpenRouterMultiQueryWorkers:
    @pytest.mark.parametrize("workers", [4, 8, 16])
    @pytest.mark.chaosllm(
        clock="hand",
        script="delay=1 tokens=3",
        capacity={"concurrent": 8, "queue": 8, "beyond": "429 retry-after-ms=20"},
    )
    def test_workers_share_places_and_a_queue(self, world: World, workers: int) -> None:
        """Eight places, eight in the queue, and up to eighty calls at once: those beyond are refused, and try again until
        all have been served. Time stands still until as many calls have arrived as all workers begin with."""
        rows = make_rows(16, queries=QUERIES)
        out = Collector()

        async def until_all_are_served() -> None:
            await asyncio.to_thread(world.chaos.wait_for_requests, workers * QUERIES, 20.0)
            while len(out.finished) < len(rows):
                await asyncio.to_thread(world.chaos.advance, 1)

        run = world.run(
            rows, "openrouter", workers=workers, retries=EVER, out=out, beside=until_all_are_served
        )
        run.check()
        assert run.out.outcomes == {"ok": 16}
        first = run.entries[: workers * QUERIES]
        assert [entry.seq for entry in first if not faulted(entry)][:16] == list(range(1, 17))
        assert sum(map(faulted, first)) == workers * QUERIES - 16, "whoever found no place was refused"
        assert {entry.rule for entry in run.entries if faulted(entry)} == {"capacity"}
        assert {row.worker for row in run.out.released} == set(range(workers))
