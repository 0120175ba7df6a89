"""Several calls a row, at Azure OpenAI's paths: what a row is worth when some of its queries fail."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import pytest
from tests.stress.llm.audit import faulted
from tests.stress.llm.rows import make_rows
from tests.stress.llm.world import EVER, SEED
from tests.support.binomial import interval

from holdfast import ChatAnswer
from holdfast.errors import RequestRefused, TargetsFailed

if TYPE_CHECKING:
    from tests.stress.llm.world import World

MODES = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
QUERIES = 4


class TestAzureMultiQueryPartialFailure:
    @MODES
    def test_answers_of_the_other_queries_are_kept(self, world: World, stream: bool) -> None:
        """In row n the first n mod 5 of four queries fail: the row is ok with none, partial with some, failed with all.

        Queries with an even number are refused for good, at once; the others are rate-limited until their tries are spent.
        """

        def script(row: int, query: int) -> str:
            if query >= row % 5:
                return "429 retry-after-ms=1; ok"
            return (
                f"400 message='no to {row}.{query}'"
                if query % 2 == 0
                else f"429 message='not now {row}.{query}'"
            )

        rows = make_rows(25, queries=QUERIES, script=script)
        run = world.run(rows, "azure", retries=2, stream=stream)
        run.check()

        assert [row.outcome for row in run.out.released] == [
            "ok",
            "partial",
            "partial",
            "partial",
            "failed",
        ] * 5
        for query, result in run.out.asked:
            one = run.asked[query.name]
            if query.number >= query.row % 5:
                assert isinstance(result, ChatAnswer)
                assert [row.outcome for row in one.rows] == ["rate_limited", "ok"]
            elif query.number % 2 == 0:
                assert isinstance(result, RequestRefused)
                assert (result.message, result.upstream_status) == (f"no to {query.name}", 400)
                assert [row.outcome for row in one.rows] == ["request_refused"]
            else:
                assert isinstance(result, TargetsFailed)
                assert [row.error for row in one.rows] == [f"not now {query.name}"] * 3

    @pytest.mark.chaosllm(rates={"503 retry-after-ms=1": 25, "500": 10}, seed=SEED)
    def test_rows_are_what_their_queries_are(self, world: World) -> None:
        """Each attempt fails with probability 0.35 by a draw of its own, each query has two: it fails with q = 0.35².

        Of 100 rows those with no failed query are Binomial(100, (1 - q)⁴), and failed queries are Binomial(400, q).
        """
        q = 0.35**2
        rows = make_rows(100, queries=QUERIES)
        run = world.run(rows, "azure", workers=8, retries=1)
        run.check()

        lost = {name for name, one in run.asked.items() if all(map(faulted, one.entries))}
        for row in run.out.released:
            failed = sum(query.name in lost for query in row.row.queries)
            assert row.outcome == ("ok" if not failed else "failed" if failed == QUERIES else "partial")
            for query, result in row.asked:
                assert isinstance(result, ChatAnswer) == (query.name not in lost)
        low, high = interval(100 * QUERIES, q)
        assert low <= len(lost) <= high
        for outcome, chance in (
            ("ok", (1 - q) ** QUERIES),
            ("failed", q**QUERIES),
            ("partial", sum(comb(QUERIES, k) * q**k * (1 - q) ** (QUERIES - k) for k in range(1, QUERIES))),
        ):
            low, high = interval(100, chance)
            assert low <= run.out.outcomes[outcome] <= high, outcome


class TestAzureMultiQueryBursts:
    @pytest.mark.parametrize("refusal", ["429 retry-after-ms=2", "529", "503 retry-after-ms=3"])
    def test_a_burst_delays_rows_and_fails_none(self, world: World, refusal: str) -> None:
        """Fifty attempts in a row are refused, of whatever queries; fewer than the retries that one query has."""
        world.chaos.update_config(script=f"ok x40; {refusal} x50; ok")
        rows = make_rows(30, queries=QUERIES, shared_key=True)
        run = world.run(rows, "azure", retries=EVER)
        run.check()
        assert run.out.outcomes == {"ok": 30}
        assert len(run.entries) == 30 * QUERIES + 50
        assert sum(map(faulted, run.entries)) == 50

    @MODES
    @pytest.mark.chaosllm(delay=0.008, jitter=1.0, rates={"429 retry-after-ms=1": 25}, seed=SEED)
    def test_first_in_first_out_with_several_queries(self, world: World, stream: bool) -> None:
        """Rows take as long as their slowest query. They leave in the order of the input, results in the order of the
        queries. Twelve rows at once, each as slow as the slowest of three draws: all sixty finish in the order of the input
        less than once in 12! × 12 > 10⁹ times."""
        rows = make_rows(60, queries=3)
        run = world.run(rows, "azure", workers=12, retries=4, stream=stream)
        run.check()
        assert [row.row.number for row in run.out.released] == list(range(60))
        assert run.out.finished != list(range(60)), "nobody overtook anybody: this run shows nothing"
        for query, result in run.out.asked:
            if isinstance(result, ChatAnswer):
                assert result.text == run.asked[query.name].entries[-1].text
        low, high = interval(180, 0.25**5)
        assert low <= sum(not isinstance(result, ChatAnswer) for _, result in run.out.asked) <= high


class TestAzureMultiQueryShapes:
    @pytest.mark.chaosllm(rates={"429 retry-after-ms=1": 30}, seed=SEED)
    def test_rows_of_different_lengths(self, world: World) -> None:
        """A row of one query beside one of twelve: no query is lost, none is asked in another row's name."""
        longest = make_rows(24, queries=12)
        rows = [type(row)(row.number, row.queries[: 1 + row.number % 12]) for row in longest]
        run = world.run(rows, "azure", workers=8, retries=EVER)
        run.check()
        assert run.out.outcomes == {"ok": 24}
        assert [len(row.results) for row in run.out.released] == [1 + number % 12 for number in range(24)]
        assert len(run.records) == 2 * sum(range(1, 13))
