"""BU1, D3, D5: purses, sessions and the cost breaker of several processes over one database."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.support.spenders import usd

from holdfast.dialects.base import Envelope
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.engine.call import Call
from holdfast.engine.policy import Policy
from holdfast.engine.route import Resolved
from holdfast.engine.sessions import SessionDesk
from holdfast.engine.treasury import Treasury
from holdfast.errors import BudgetExceeded, CostBreakerOpen, LedgerUnavailable, SessionEnded
from holdfast.ledger.entry import End, Intent
from holdfast.ledger.memory import MemoryLedger
from holdfast.ledger.memory_blocks import Books, MemoryAuthority
from holdfast.money.cost_breaker import ACCOUNT, CostBreaker, CostBreakerSettings, CostState
from holdfast.money.leases import PATIENCE_S, Leases
from holdfast.money.rules import Amount, BudgetRule
from holdfast.money.session import SessionSettings, SessionState
from holdfast.money.sessions import Sessions
from holdfast.money.shared import SharedBudgets
from holdfast.testing.virtual_time import run_virtual

FIVE = BudgetRule(name="five", limit_nano=usd(5), window="day")
RESOLVED = Resolved(
    asked="m", match="model", route="m", targets=(), skipped=(), policy=Policy(), spread=False
)
SESSION = SessionSettings(limit_nano=usd(5), length_s=600)
COOL_S = 60.0


class Process:
    """What a gateway has of money."""

    def __init__(self, clock, books, name, rules, *, breaker=None, sessions=False):
        self.clock = clock
        self.ledger = MemoryLedger(clock, owner=name, books=books)
        self.authority = MemoryAuthority(self.ledger, latency_s=0.001)
        leases = Leases(self.authority, flush=self.ledger.flush, now_ns=clock.wall_ns)
        leases.start()
        if sessions:
            rules = (*rules, SESSION.budget)
        self.budgets = SharedBudgets(rules, leases=leases, now_ns=clock.wall_ns)
        self.sessions = Sessions(SESSION, clock=clock, rng=random.Random(1))
        self.desk = SessionDesk(self.sessions, books.sessions, shared=True)
        self.breaker = None if breaker is None else CostBreaker(breaker, clock=clock, shared=True)
        self.treasury = Treasury(
            self.budgets,
            ledger=self.ledger,
            clock=clock,
            breaker=self.breaker,
            sessions=self.desk if sessions else None,
            leases=leases,
        )
        self.came = 0

    async def purse(self, **fields):
        self.came += 1
        call = Call(
            **{
                "id": f"{self.ledger.owner}-{self.came}",
                "dialect": OpenAIChat(),
                "envelope": Envelope(model="m"),
                "resolved": RESOLVED,
                "started_at": 0.0,
                "started_ns": self.clock.wall_ns(),
                "key": "ann",
                **fields,
            }
        )
        purse = self.treasury.purse(call)
        await purse.enter()
        return call, purse

    async def spend(self, dollars, bound=None, *, ok=True, **fields):
        """One whole request; which budgets it was warned of."""
        call, purse = await self.purse(**fields)
        most, cost = Amount(usd(bound or dollars), 10), Amount(usd(dollars), 10)
        try:
            await purse.reserve(most)
        except BaseException as error:
            purse.close(ok=False, told=error)
            raise
        await self.ledger.begin(
            Intent(
                id=call.id,
                started_ns=call.started_ns,
                route="m",
                model="m",
                dialect="openai_chat",
                stream=False,
                request_bytes=1,
                bound_nano=most.nano,
                bound_tokens=most.tokens,
                accounts=purse.parts,
            )
        )
        purse.settle(await purse.cover(most), cost)
        warned = [account.rule.name for account in purse.warnings()]
        charges = purse.close(ok=ok)
        self.ledger.end(End(id=call.id, ended_ns=self.clock.wall_ns(), state="ok", charges=charges))
        return warned


def two(clock, *rules, **options):
    books = Books(clock.wall_ns)
    return books, [Process(clock, books, name, rules, **options) for name in ("one", "other")]


class TestRefusals:
    def test_says_how_the_budget_stands_over_all(self):
        async def main(clock):
            _, (one, other) = two(clock, FIVE)
            await other.spend(1.5)
            _, holds = await other.purse()
            await holds.reserve(Amount(usd(2), 1))
            with pytest.raises(BudgetExceeded) as refused:
                await one.spend(2.5)
            details = refused.value.details
            assert details["spent_usd"] == "1.500000000"
            assert details["reserved_usd"] == "2.000000000"
            assert details["needed_usd"] == "2.500000000"
            assert "frees_in_s" in details
            assert one.budgets.refused == {"five": 1}
            assert one.treasury.refused == {"budget_exceeded": 1}

        run_virtual(main)

    def test_waits_for_others_once_in_all(self):
        async def main(clock):
            _, (one, other) = two(clock, FIVE)
            _, holds = await other.purse()
            await holds.reserve(Amount(usd(4), 1))
            _, purse = await one.purse()
            began = clock.monotonic()
            for _ in range(3):
                with pytest.raises(BudgetExceeded):
                    await purse.reserve(Amount(usd(2), 1))
            assert PATIENCE_S <= clock.monotonic() - began < PATIENCE_S + 0.05

        run_virtual(main)

    def test_with_nobody_to_ask_it_is_no_budgets_fault(self):
        async def main(clock):
            _, (one, _) = two(clock, FIVE)
            one.authority.lost = "gone"
            with pytest.raises(LedgerUnavailable):
                await one.spend(1)
            assert one.budgets.refused == {}
            assert [account.reserved for account in one.budgets] == [0]

        run_virtual(main)


class TestSessions:
    def test_ended_elsewhere_is_ended(self):
        async def main(clock):
            _, (one, other) = two(clock, sessions=True)
            await one.spend(1, session="s")
            await other.spend(1, session="s")
            await one.desk.end("ann", "s")
            await asyncio.sleep(3)  # what was free here went back
            with pytest.raises(SessionEnded):
                await other.spend(1, session="s")
            assert other.sessions.get("ann", "s").state is SessionState.ENDED
            assert other.sessions.snapshot().active == 0

        run_virtual(main)

    def test_two_that_begin_it_begin_the_same(self):
        async def main(clock):
            _, (one, other) = two(clock, sessions=True)
            await one.desk.enter("ann", "s")
            await asyncio.sleep(5)
            other.sessions.touch("ann", "s")  # it looked a moment before the other's row was there
            other.desk._unborn.add(("ann", "s"))
            session = await other.desk.enter("ann", "s")
            first = one.sessions.get("ann", "s")
            assert (session.started_ns, session.ends_ns) == (first.started_ns, first.ends_ns)
            assert other.sessions.get("ann", "s") == first
            await asyncio.sleep(596)
            with pytest.raises(SessionEnded):
                await other.desk.enter("ann", "s")

        run_virtual(main)

    def test_what_one_exhausts_is_exhausted_for_all(self):
        async def main(clock):
            _, (one, other) = two(clock, sessions=True)
            await other.spend(1, session="s")
            await asyncio.sleep(3)
            await one.spend(4, session="s")
            with pytest.raises(BudgetExceeded) as refused:
                await other.spend(1, session="s")
            assert refused.value.details["spent_usd"] == "5.000000000"
            assert (await other.desk.look_again("ann", "s")).state is SessionState.EXHAUSTED

        run_virtual(main)

    def test_an_end_is_not_undone_by_who_knows_less(self):
        async def main(clock):
            books, (one, other) = two(clock, sessions=True)
            await one.spend(1, session="s")
            await other.spend(3, session="s")
            await one.desk.end("ann", "s")
            other.desk.warns("ann", "s", next(iter(other.budgets)), clock.wall_ns())
            other.sessions._put(("ann", "s"), other.sessions.get("ann", "s"))
            other.desk.save_soon()
            await asyncio.sleep(1)
            row = await books.sessions.get("ann", "s")
            assert row[5] == "ended"

        run_virtual(main)

    def test_warned_once_whoever_crosses_it(self):
        async def main(clock):
            _, (one, other) = two(clock, sessions=True)
            assert await one.spend(2, session="s") == []
            await asyncio.sleep(3)
            assert await other.spend(2.2, session="s") == ["cost_protection.session"]
            await asyncio.sleep(3)  # what the other spent is known here as soon as the block is asked for
            assert await one.spend(0.2, session="s") == []
            await asyncio.sleep(3)
            assert await one.spend(0.1, session="s") == []

        run_virtual(main)

    def test_warned_once_also_by_who_has_enough_in_its_block(self):
        async def main(clock):
            _, (one, other) = two(clock, sessions=True)
            assert await one.spend(0.01, 0.5, session="s") == []
            assert await other.spend(4.1, session="s") == ["cost_protection.session"]
            await asyncio.sleep(1.2)
            asked = one.treasury.leases.asked
            assert await one.spend(0.01, 0.3, session="s") == []
            assert one.treasury.leases.asked == asked

        run_virtual(main)


class TestCostBreaker:
    """Spent by all: two of five dollars here, three there."""

    def breakers(self, clock, **settings):
        return two(
            clock,
            breaker=CostBreakerSettings(threshold_nano=usd(5), window_s=3600, cool_down_s=COOL_S, **settings),
        )

    def test_the_threshold_is_never_passed(self):
        async def main(clock):
            books, (one, other) = self.breakers(clock)
            done = await asyncio.gather(
                *(each.spend(0.4) for each in (one, other) * 10), return_exceptions=True
            )
            assert books.spent(ACCOUNT) <= usd(5)
            assert sum(isinstance(each, CostBreakerOpen) for each in done) >= 8

        run_virtual(main)

    def test_opens_in_each_once_it_has_to_ask(self):
        async def main(clock):
            _, (one, other) = self.breakers(clock)
            await one.spend(2)
            await other.spend(3)
            assert other.breaker.state is CostState.OPEN
            assert one.breaker.state is CostState.CLOSED, "nobody has asked"
            with pytest.raises(CostBreakerOpen) as refused:
                await one.spend(0.1)
            assert refused.value.retry_after_s > 3000
            assert one.breaker.state is CostState.OPEN

        run_virtual(main)

    def test_one_that_knows_only_its_own_hears_within_a_second_of_spending(self):
        async def main(clock):
            _, (one, other) = self.breakers(clock)
            await one.spend(2)
            await other.spend(3)
            await asyncio.sleep(1.5)
            assert one.breaker.state is CostState.OPEN

        run_virtual(main)

    def test_half_open_once_all_have_less_than_the_threshold_in_the_window(self):
        async def main(clock):
            _, (one, other) = self.breakers(clock)
            await one.spend(2)
            await asyncio.sleep(1800)
            await other.spend(3)
            with pytest.raises(CostBreakerOpen):
                await one.spend(0.1)
            await asyncio.sleep(COOL_S)
            with pytest.raises(CostBreakerOpen):
                await one.spend(0.1)
            await asyncio.sleep(1800 - COOL_S + 5)  # the first two have left
            for each in (one, other):
                changes = []
                each.breaker.on_change(lambda before, after, changes=changes: changes.append(after))
                await each.spend(0.1)
                assert changes == [CostState.HALF_OPEN, CostState.CLOSED]

        run_virtual(main)

    def test_what_others_spent_while_it_was_open_keeps_it_open(self):
        async def main(clock):
            books, (one, other) = self.breakers(clock)
            await one.spend(2)
            await asyncio.sleep(600)
            await other.spend(3)
            with pytest.raises(CostBreakerOpen):
                await one.spend(0.1)
            await asyncio.sleep(3600 - 600 + 2)  # two have left; the other process spends them again
            await other.spend(2)
            with pytest.raises(CostBreakerOpen):
                await one.spend(0.1)
            assert books.spent(ACCOUNT) == usd(5)

        run_virtual(main)

    def test_a_reset_closes_it_everywhere(self):
        async def main(clock):
            _, (one, other) = self.breakers(clock)
            await one.spend(2)
            await other.spend(3)
            with pytest.raises(CostBreakerOpen):
                await one.spend(0.1)
            await other.treasury.forget(other.breaker.account)
            await asyncio.sleep(0.01)
            assert one.breaker.state is other.breaker.state is CostState.CLOSED
            await one.spend(4)

        run_virtual(main)


def test_everything_goes_back_when_it_is_closed():
    async def main(clock):
        books, (one, other) = two(clock, FIVE, sessions=True)
        await one.spend(1, 2, session="s")
        assert books.blocked("five:usd:day:") == usd(1)
        await one.treasury.aclose()
        assert books.blocked("five:usd:day:") == 0
        await other.spend(4)

    run_virtual(main)
