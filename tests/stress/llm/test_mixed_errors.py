"""Faults of all kinds at once, days that get worse and better, bursts, and an audit trail that misses nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.stress.llm.audit import faulted
from tests.stress.llm.collector import Collector
from tests.stress.llm.rows import make_rows
from tests.stress.llm.world import EVER, SEED
from tests.support.binomial import interval

from holdfast.errors import TargetsFailed

if TYPE_CHECKING:
    from tests.stress.llm.world import World

PROVIDERS = pytest.mark.parametrize("provider", ["azure", "openrouter"])
MODES = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])

MIXED = {
    "429 retry-after-ms=2": 8,
    "529": 5,
    "503 retry-after-ms=1": 5,
    "500": 4,
    "502": 3,
    "504": 2,
    "malformed": 4,
    "reset": 3,
    "close": 3,
    "empty": 3,
}
"""40 % of all attempts, each kind with its exact share."""


class TestMixedErrors:
    @PROVIDERS
    @MODES
    @pytest.mark.chaosllm(rates=MIXED, seed=SEED)
    def test_all_kinds_of_errors_at_once(self, world: World, provider: str, stream: bool) -> None:
        """Each attempt is spoiled with probability 0.4 by a draw of its own, each row has three attempts: failed rows are
        Binomial(200, 0.4³), and of the first attempts each kind has Binomial(200, its share)."""
        rows = make_rows(200)
        run = world.run(rows, provider, workers=16, retries=2, stream=stream)
        run.check()

        firsts = [run.asked[f"{number}.0"].entries[0] for number in range(200)]
        seen = Counter(
            str(entry.status) if entry.faults == ["status"] else "".join(entry.faults) for entry in firsts
        )
        for kind, share in MIXED.items():
            low, high = interval(200, share / 100)
            assert low <= seen[kind.split()[0]] <= high, kind
        unlucky = [number for number in range(200) if all(map(faulted, run.asked[f"{number}.0"].entries))]
        assert run.out.numbers("failed") == unlucky
        low, high = interval(200, 0.4**3)
        assert low <= len(unlucky) <= high

    @pytest.mark.parametrize(
        ("script", "label"),
        [
            ("400", "request_refused"),
            ("bad_request", "request_refused"),
            ("context_length_exceeded", "context_too_long"),
            ("content_policy", "content_refused"),
            ("401", "auth_refused"),
            ("404", "model_missing"),
            ("insufficient_quota", "quota_exhausted"),
        ],
    )
    def test_what_no_retry_mends_is_asked_once(self, world: World, script: str, label: str) -> None:
        """The rows around it are none the wiser."""
        rows = make_rows(
            20, script=lambda row, _: script if row % 4 == 0 else "503; ok" if row % 4 == 1 else "ok"
        )
        run = world.run(rows, "azure", retries=5)
        run.out.check_complete(rows)
        assert run.out.numbers("failed") == list(range(0, 20, 4))
        for number in range(20):
            (one,) = run.of_row(number)
            outcomes = [[label], ["overloaded", "ok"], ["ok"], ["ok"]][number % 4]
            assert [row.outcome for row in one.rows] == outcomes
            assert len(one.entries) == len(outcomes)
            if number % 4 == 0:
                assert one.rows[0].status == one.entries[0].status
                assert (one.rows[0].billed, one.rows[0].cost_nano) == ("none", 0)
                assert one.record.end is not None
                assert one.record.end.error_label == label


class TestAuditTrail:
    @PROVIDERS
    @MODES
    def test_audit_trail_integrity_under_stress(self, world: World, provider: str, stream: bool) -> None:
        """Every attempt has a script of its own, and the ledger has of each exactly what the provider did: status, kind,
        message, Retry-After, number, bill. Every row of the input, every call and every attempt is in it once."""
        rows = make_rows(len(DETAILS) * 8, script=_details)
        run = world.run(rows, provider, workers=12, retries=2, stream=stream)
        run.check()

        for number in range(len(rows)):
            (one,) = run.of_row(number)
            steps = _steps(number)
            told = [(row.number, row.status, row.outcome, row.error, row.retry_after_s) for row in one.rows]
            expected = [
                (at, status, label, f"{status} at try {at} of row {number}", wait)
                for at, (status, label, wait) in enumerate(steps, 1)
            ]
            if len(steps) < 3:
                expected.append((len(steps) + 1, 200, "ok", None, None))
            assert told == expected
            assert {row.provider for row in one.rows} == {provider}
            for row, entry in zip(one.rows, one.entries, strict=True):
                assert row.model == entry.model
                assert row.usage is None if row.outcome != "ok" else row.usage is not None
            if len(steps) == 3:
                assert isinstance(one.answer, TargetsFailed)
                last = steps[-1]
                assert one.answer.retry_after_s == last[2]
                assert [error.message for _, error in one.answer.failures] == [line[3] for line in expected]
        failed = [number for number in range(len(rows)) if len(_steps(number)) == 3]
        assert run.out.numbers("failed") == failed

    def test_a_run_that_is_called_off_leaves_nothing_in_flight(self, world: World) -> None:
        """Eight workers are stopped while eight calls hang: each is on record as cancelled, with its attempt."""
        rows = make_rows(40, script=lambda row, _: "hang" if row >= 20 else "ok")
        out = Collector()

        class CalledOff(Exception):
            """What ends the run."""

        async def when_all_hang() -> None:
            await asyncio.to_thread(
                world.chaos.wait_for, lambda entries: sum(entry.end is None for entry in entries) == 8, 20.0
            )
            raise CalledOff

        with pytest.raises(ExceptionGroup) as raised:
            world.run(rows, "azure", workers=8, out=out, beside=when_all_hang)
        assert raised.group_contains(CalledOff)
        records, counts, entries = world.ends()
        assert sorted(out.finished) == list(range(20))
        assert counts.balanced
        assert (counts.ok, counts.cancelled, counts.accepted) == (20, 8, 28)
        assert len(entries) == 28
        for record in records.values():
            assert record.end is not None
            assert len(record.end.attempts) == 1
            assert record.state == ("cancelled" if int(record.intent.tags["row"]) >= 20 else "ok")
            assert record.end.attempts[0].billed == ("bound" if record.state == "cancelled" else "provider")
        assert Counter(entry.end for entry in entries) == {"complete": 20, "client_left": 8}


class TestDegradation:
    STEPS = (0, 10, 40, 80, 40, 10, 0)
    """Percent of the attempts that are refused, in each ten seconds of the provider's clock."""

    @PROVIDERS
    @pytest.mark.chaosllm(
        clock="hand",
        seed=SEED,
        timeline=[
            {"at": 10 * step, "for": 10, "rates": {"429 retry-after-ms=1": share / 2, "503": share / 2}}
            for step, share in enumerate(STEPS)
            if share
        ],
    )
    def test_progressive_degradation_and_recovery(self, world: World, provider: str) -> None:
        """Sixty rows in each step, three attempts a row, all of them by one client.

        In a step with share p the refused first attempts are Binomial(60, p) and the failed rows Binomial(60, p³). What a
        step does to a row ends with the step: in the last one every row takes one attempt, as in the first.
        """
        size, shares = 60, [share / 100 for share in self.STEPS]
        rows = make_rows(size * len(shares))
        run = world.run(
            rows,
            provider,
            workers=16,
            retries=2,
            phases=len(shares),
            between=partial(world.chaos.advance, 10),
        )
        run.check()

        for step, share in enumerate(shares):
            asked = [run.asked[f"{number}.0"] for number in range(step * size, (step + 1) * size)]
            assert {entry.arrived_s for one in asked for entry in one.entries} == {10.0 * step}
            refused = sum(faulted(one.entries[0]) for one in asked)
            failed = sum(isinstance(one.answer, TargetsFailed) for one in asked)
            low, high = interval(size, share)
            assert low <= refused <= high, f"step {step}"
            low, high = interval(size, share**3)
            assert low <= failed <= high, f"step {step}"
            if not share:
                assert (refused, failed) == (0, 0)
                assert {len(one.entries) for one in asked} == {1}
        assert run.out.outcomes["failed"] > 0, "the worst step did no harm: this run shows nothing"

    @pytest.mark.parametrize(
        "steps", ["429 retry-after-ms=2", "503", "529 retry-after-ms=1", "reset", "malformed"]
    )
    def test_burst_recovery(self, world: World, steps: str) -> None:
        """Whatever a burst is made of: forty attempts fail in it, no row does, and after it each attempt succeeds."""
        world.chaos.update_config(script=f"ok x30; {steps} x40; ok")
        rows = make_rows(120, shared_key=True)
        run = world.run(rows, "openrouter", workers=16, retries=EVER)
        run.check()
        assert run.out.outcomes == {"ok": 120}
        by_attempt = sorted(run.entries, key=lambda entry: entry.attempt or 0)
        assert [faulted(entry) for entry in by_attempt] == [False] * 30 + [True] * 40 + [False] * 90
        hit = sum(len(one.entries) > 1 for one in run.asked.values())
        assert 1 <= hit <= 40
        assert sum(len(one.entries) - 1 for one in run.asked.values()) == 40

    @pytest.mark.chaosllm(seed=SEED, rates={"503 retry-after-ms=1": {"pct": 30, "burst": 6}})
    def test_bursts_by_chance(self, world: World) -> None:
        """One draw decides about six attempts of a row, which are all that it has: six failures or none.

        So failed rows are Binomial(150, 0.3).
        """
        rows = make_rows(150)
        run = world.run(rows, "azure", workers=16, retries=5)
        run.check()
        assert {len(one.entries) for one in run.asked.values() if not faulted(one.entries[-1])} == {1}
        assert {len(one.entries) for one in run.asked.values() if faulted(one.entries[-1])} == {6}
        low, high = interval(150, 0.3)
        assert low <= run.out.outcomes["failed"] <= high


DETAILS: tuple[tuple[tuple[int, str, float | None], ...], ...] = (
    (),
    ((429, "rate_limited", 0.004),),
    ((529, "overloaded", None), (503, "overloaded", 0.002)),
    ((500, "server_failed", None), (502, "server_failed", None), (504, "server_failed", None)),
    ((429, "rate_limited", 0.003), (429, "rate_limited", 0.001), (429, "rate_limited", 0.005)),
    ((503, "overloaded", 0.001), (408, "server_failed", None)),
    ((529, "overloaded", 0.002), (429, "rate_limited", None), (529, "overloaded", 0.003)),
)
"""What happens to a row, try by try: status, what the ledger must call it, and the patience that is asked for in seconds.
Rows with fewer than three are then served."""


def _steps(row: int) -> tuple[tuple[int, str, float | None], ...]:
    return DETAILS[row % len(DETAILS)]


def _details(row: int, _: int) -> str:
    """The same as a script; each refusal has a message that no other has."""
    said = [
        f"{status} message='{status} at try {at} of row {row}'"
        + (f" retry-after-ms={wait * 1e3:g}" if wait is not None else "")
        for at, (status, _, wait) in enumerate(_steps(row), 1)
    ]
    return "; ".join([*said, "ok"])
