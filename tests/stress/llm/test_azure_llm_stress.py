"""One call a row, at Azure OpenAI's paths: rate limits, overload, bursts, workers, places, and time that runs out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.stress.llm.audit import faulted
from tests.stress.llm.rows import make_rows
from tests.stress.llm.world import EVER, SEED
from tests.support.binomial import interval

from holdfast.errors import TargetsFailed
from holdfast.transport import HttpTransport

if TYPE_CHECKING:
    from tests.stress.llm.world import World

MODES = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


class TestAzureRateLimits:
    @MODES
    @pytest.mark.chaosllm(rates={"429 retry-after-ms=4": 30}, seed=SEED)
    def test_rate_limit_recovery_over_100_rows(self, world: World, stream: bool) -> None:
        """Each attempt is refused with probability 0.3, by a draw of its own; a row has three.

        So a row fails with 0.3³ = 0.027, independently of all others: the number of failed rows is Binomial(100, 0.027); of
        first attempts that were refused, Binomial(100, 0.3). Both must lie where a true binomial does but once in 10⁹.
        """
        rows = make_rows(100)
        run = world.run(rows, "azure", retries=2, stream=stream)
        run.check()

        asked = [run.asked[f"{number}.0"] for number in range(100)]
        unlucky = [number for number, one in enumerate(asked) if all(map(faulted, one.entries))]
        assert run.out.numbers("failed") == unlucky
        low, high = interval(100, 0.3**3)
        assert low <= len(unlucky) <= high
        low, high = interval(100, 0.3)
        assert low <= sum(faulted(one.entries[0]) for one in asked) <= high
        for number, one in enumerate(asked):
            attempts = len(one.entries)
            assert attempts == 3 if number in unlucky else not faulted(one.entries[-1])
            assert [row.retry_after_s for row in one.rows if row.outcome != "ok"] == [0.004] * (
                attempts if number in unlucky else attempts - 1
            )
            if number in unlucky:
                assert isinstance(one.answer, TargetsFailed)
                assert (one.answer.status, one.answer.retry_after_s) == (429, 0.004)

    @pytest.mark.chaosllm(script="ok x20; 429 retry-after-ms=3 x30; ok x20; 503 retry-after-ms=2 x30; ok")
    def test_bursts_of_429_and_503(self, world: World) -> None:
        """Attempts 21 to 50 and 71 to 100 are refused, whoever makes them. 60 refusals are fewer than a row's retries, so
        no row can fail, however they fall."""
        rows = make_rows(100, shared_key=True)
        run = world.run(rows, "azure", workers=16, retries=EVER)
        run.check()

        assert run.out.outcomes == {"ok": 100}
        statuses = [entry.status for entry in sorted(run.entries, key=lambda entry: entry.attempt or 0)]
        assert statuses == [200] * 20 + [429] * 30 + [200] * 20 + [503] * 30 + [200] * 60
        waits = {429: 0.003, 503: 0.002}
        for one in run.asked.values():
            told = [waits.get(entry.status or 0) for entry in one.entries]
            assert [row.retry_after_s for row in one.rows] == told


class TestAzureOverload:
    @MODES
    @pytest.mark.parametrize("script", ["529", "overloaded", "529 retry-after-ms=5"])
    def test_529_is_tried_again_until_it_has_passed(self, world: World, script: str, stream: bool) -> None:
        """Row n is refused n mod 4 times; then it is served."""
        rows = make_rows(40, script=lambda row, _: f"{script} x{row % 4}; ok" if row % 4 else "ok")
        run = world.run(rows, "azure", retries=3, stream=stream)
        run.check()

        assert run.out.outcomes == {"ok": 40}
        for number in range(40):
            (one,) = run.of_row(number)
            assert [row.status for row in one.rows] == [529] * (number % 4) + [200]
            wait = 0.005 if "retry-after" in script else None
            assert [row.retry_after_s for row in one.rows[:-1]] == [wait] * (number % 4)

    def test_529_without_end_fails_its_rows_and_no_others(self, world: World) -> None:
        rows = make_rows(40, script=lambda row, _: "529 message='full up'" if row % 5 == 0 else "ok")
        run = world.run(rows, "azure", retries=2)
        run.check()

        assert run.out.numbers("failed") == list(range(0, 40, 5))
        for number in run.out.numbers("failed"):
            (one,) = run.of_row(number)
            assert [(row.status, row.error) for row in one.rows] == [(529, "full up")] * 3
            assert isinstance(one.answer, TargetsFailed)
            assert (
                one.answer.status == 502
            )  # it says of itself that it is overloaded; that isn't our caller's limit
            assert [error.message for _, error in one.answer.failures] == ["full up"] * 3


class TestAzureWorkers:
    @pytest.mark.parametrize("workers", [4, 8, 16])
    @pytest.mark.chaosllm(clock="hand", script="delay=1 tokens=5")
    def test_workers_share_one_target(self, world: World, workers: int) -> None:
        """Time at the provider moves only when as many calls wait there as there are workers: all of them work, always, and
        never one call more."""
        rounds = 5
        rows = make_rows(rounds * workers)

        async def in_step() -> None:
            for turn in range(1, rounds + 1):
                await _arrived(world, turn * workers)
                await asyncio.to_thread(world.chaos.advance, 1)

        run = world.run(rows, "azure", workers=workers, beside=in_step)
        run.check()

        assert run.out.outcomes == {"ok": len(rows)}
        for turn in range(rounds):  # a turn's calls arrived in the same second of the provider's clock
            arrived = run.entries[turn * workers : (turn + 1) * workers]
            assert [entry.arrived_s for entry in arrived] == [float(turn)] * workers
        assert len({entry.client for entry in run.entries}) == workers, "connections are kept and shared"
        assert {row.worker for row in run.out.released} == set(range(workers))

    @pytest.mark.chaosllm(clock="hand", script="delay=1 tokens=5")
    def test_more_workers_than_rows(self, world: World) -> None:
        """Eleven of sixteen workers find no row: they go home, and the run ends."""
        rows = make_rows(5)

        async def all_at_once() -> None:
            await _arrived(world, 5)
            await asyncio.to_thread(world.chaos.advance, 1)

        run = world.run(rows, "azure", workers=16, beside=all_at_once)
        run.check()
        assert run.out.outcomes == {"ok": 5}
        assert len({row.worker for row in run.out.released}) == 5

    def test_no_rows_at_all(self, world: World) -> None:
        run = world.run([], "azure", workers=16)
        run.check()
        assert run.entries == []


class TestAzurePlaces:
    @pytest.mark.chaosllm(
        clock="hand",
        script="delay=1 tokens=5",
        capacity={"concurrent": 4, "beyond": "529 retry-after-ms=20 message='no place'"},
    )
    def test_more_calls_than_the_provider_has_places(self, world: World) -> None:
        """Four places, sixteen workers: whoever finds no place is refused, tries again, and is served in the end.

        Time moves when the places are full; who has one can't lose it, so each turn serves four rows.
        """
        rows = make_rows(40)

        async def in_step() -> None:
            for turn in range(1, 11):
                await _arrived(world, turn * 4, served=True)
                await asyncio.to_thread(world.chaos.advance, 1)

        run = world.run(rows, "azure", workers=16, retries=EVER, beside=in_step)
        run.check()
        assert run.out.outcomes == {"ok": 40}
        served = [entry for entry in run.entries if not faulted(entry)]
        assert len(served) == 40
        assert {(entry.status, entry.rule) for entry in run.entries if faulted(entry)} == {(529, "capacity")}
        refused = [row for one in run.asked.values() for row in one.rows if row.status == 529]
        assert {(row.error, row.retry_after_s) for row in refused} == {("no place", 0.02)}

    @pytest.mark.chaosllm(clock="hand", script="delay=1 tokens=5")
    def test_more_calls_than_the_pool_keeps_connections(self, world: World) -> None:
        """A pool that keeps two connections, twelve workers: nobody waits for a connection and nobody gets another's answer;
        those beyond two are closed after use."""
        transport = HttpTransport(max_idle_per_origin=2)
        rows = make_rows(48)
        turns = iter(range(1, 5))
        kept = []

        async def all_at_once() -> None:
            await _arrived(world, next(turns) * 12)
            await asyncio.to_thread(world.chaos.advance, 1)

        run = world.run(
            rows,
            "azure",
            workers=12,
            transport=transport,
            phases=4,
            beside=all_at_once,
            between=lambda: kept.append(transport.stats().idle),
        )
        run.check()
        assert run.out.outcomes == {"ok": 48}
        assert kept == [2, 2, 2, 2]
        stats = transport.stats()
        assert (stats.created, stats.reused) == (12 + 3 * 10, 3 * 2)
        assert len({entry.client for entry in run.entries}) == stats.created
        assert (stats.open, stats.idle) == (0, 0), "closed with the client"


class TestAzureTimeRunsOut:
    @MODES
    def test_retries_end_when_the_rows_time_does(self, world: World, stream: bool) -> None:
        """Every other row is rate-limited for ever. It fails when no further attempt could start in time, and says what all
        its attempts said; the rows between aren't touched by it."""
        limit_s = 1.0
        rows = make_rows(
            24, script=lambda row, _: "429 retry-after-ms=25 message='slow down'" if row % 2 else "ok"
        )
        run = world.run(rows, "azure", retries=EVER, deadline_s=limit_s, stream=stream)
        run.check()

        assert run.out.numbers("failed") == list(range(1, 24, 2))
        for number in run.out.numbers("failed"):
            (one,) = run.of_row(number)
            assert isinstance(one.answer, TargetsFailed)
            said = (504, None) if one.out_of_time else (429, 0.025)
            assert (one.answer.status, one.answer.retry_after_s) == said
            one.check_time_used(limit_s)
            assert len(one.rows) <= limit_s / 0.025 + 1, "less than the patience that was asked for"

    @pytest.mark.parametrize("wait", ["retry-after=30", "retry-after-ms=30000"])
    def test_patience_beyond_the_rows_time_is_a_failure_at_once(self, world: World, wait: str) -> None:
        """A provider asks for 30 s of a row that has 5: nobody waits for what can't come, and the caller hears of it."""
        rows = make_rows(8, script=lambda row, _: f"429 {wait}")
        run = world.run(rows, "azure", retries=EVER, deadline_s=5.0)
        run.check()
        assert run.out.outcomes == {"failed": 8}
        for one in run.asked.values():
            assert len(one.rows) == 1
            assert isinstance(one.answer, TargetsFailed)
            assert (one.answer.status, one.answer.retry_after_s) == (429, 30.0)
            assert one.record.end is not None
            assert one.record.end.total_ms is not None
            assert one.record.end.total_ms < 2_500, "it waited for nothing"

    @MODES
    def test_a_provider_that_never_answers_has_the_rows_time_and_no_more(
        self, world: World, stream: bool
    ) -> None:
        limit_s = 1.0
        rows = make_rows(12, script=lambda row, _: "hang" if row % 3 == 0 else "ok")
        run = world.run(rows, "azure", retries=EVER, deadline_s=limit_s, stream=stream)
        run.check()

        assert run.out.numbers("failed") == [0, 3, 6, 9]
        for number in run.out.numbers("failed"):
            (one,) = run.of_row(number)
            assert [(row.outcome, row.status, row.billed) for row in one.rows] == [
                ("timed_out", None, "bound")
            ]
            assert "total_s" in (one.rows[0].error or "")
            assert one.answer.status == 504
            one.check_time_used(limit_s)
            assert [entry.end for entry in one.entries] == ["client_left"]


async def _arrived(world: World, count: int, *, served: bool = False) -> None:
    """Waits until exactly so many attempts are at the provider (``served``: have a place there)."""
    there = await asyncio.to_thread(
        world.chaos.wait_for,
        lambda entries: sum(not (served and faulted(entry)) for entry in entries) >= count,
        20.0,
    )
    assert sum(not (served and faulted(entry)) for entry in there) == count
