"""BU1, D1: what may be spent is durable before it can be, and a refusal says how the budget stands."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.support.spenders import NOON_NS, HandClock, usd

from holdfast.dialects.base import Envelope
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.engine.call import Call
from holdfast.engine.policy import Policy
from holdfast.engine.route import Resolved
from holdfast.engine.treasury import NOTHING, Treasury, largest
from holdfast.errors import BudgetExceeded, CostUnbounded, LedgerUnavailable, NoPlace
from holdfast.ledger.memory import MemoryLedger
from holdfast.money.budgets import Budgets
from holdfast.money.rules import Amount, BudgetRule
from holdfast.money.window import DAY_NS

FIVE = BudgetRule(name="five", scope="key", limit_nano=usd(5), window="day")
RESOLVED = Resolved(
    asked="m", match="model", route="m", targets=(), skipped=(), policy=Policy(), spread=False
)


class HeldLedger(MemoryLedger):
    """Each bound waits until it is let through or fails."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.raised: list[tuple[int | None, int | None, asyncio.Future[None]]] = []

    async def raise_bound(self, request_id: str, *, bound_nano: int | None, bound_tokens: int | None) -> None:
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.raised.append((bound_nano, bound_tokens, held))
        await held

    def bounds(self):
        return [(nano, tokens) for nano, tokens, _ in self.raised]


def treasury_of(*rules, ledger=None, most_accounts=100):
    clock = HandClock()
    budgets = Budgets(rules or (FIVE,), now_ns=clock.wall_ns, most_accounts=most_accounts)
    return Treasury(budgets, ledger=ledger or HeldLedger(clock), clock=clock)


def call_of(**fields):
    return Call(
        **{
            "id": "1",
            "dialect": OpenAIChat(),
            "envelope": Envelope(model="m"),
            "resolved": RESOLVED,
            "started_at": 0.0,
            "started_ns": NOON_NS,
            "key": "ann",
            **fields,
        }
    )


async def entered(treasury, **fields):
    purse = treasury.purse(call_of(**fields))
    assert await purse.enter()
    return purse


def cost(dollars, tokens=10):
    return Amount(usd(dollars), tokens)


async def turn():
    for _ in range(5):
        await asyncio.sleep(0)


class TestDurable:
    def test_what_the_intent_said_needs_no_more_writing(self):
        async def main():
            treasury = treasury_of()
            purse = await entered(treasury)
            await purse.reserve(cost(2))
            assert purse.bound == cost(2)
            slot = await purse.cover(cost(2))
            purse.settle(slot, NOTHING)
            await purse.cover(cost(1, 9))
            assert treasury.ledger.bounds() == []

        asyncio.run(main())

    def test_what_passes_it_is_durable_before_it_is_covered(self):
        async def main():
            treasury = treasury_of()
            purse = await entered(treasury)
            await purse.reserve(cost(2))
            first = await purse.cover(cost(2))
            hedge = asyncio.create_task(purse.cover(cost(1.5)))
            await turn()
            assert treasury.ledger.bounds() == [(usd(3.5), 20)]
            assert not hedge.done()
            treasury.ledger.raised[0][2].set_result(None)
            purse.settle(await hedge, cost(1, 5))
            purse.settle(first, cost(2))
            again = await purse.cover(cost(0.5, 5))
            assert len(treasury.ledger.raised) == 1, "3.50 is durable already"
            purse.settle(again, NOTHING)

        asyncio.run(main())

    def test_what_could_not_be_written_is_not_sent_nor_taken_for_written(self):
        async def main():
            treasury = treasury_of()
            purse = await entered(treasury)
            await purse.reserve(cost(1))
            first = await purse.cover(cost(1))
            hedge = asyncio.create_task(purse.cover(cost(3)))
            await turn()
            treasury.ledger.raised[0][2].set_exception(LedgerUnavailable("no room"))
            with pytest.raises(LedgerUnavailable):
                await hedge
            purse.settle(first, cost(1))
            again = asyncio.create_task(purse.cover(cost(2)))  # less than was asked for, more than is durable
            await turn()
            assert len(treasury.ledger.raised) == 2
            treasury.ledger.raised[1][2].set_result(None)
            purse.settle(await again, cost(2))
            (charge,) = purse.close(ok=True)
            assert charge.amount == usd(3), "what wasn't sent costs nothing"

        asyncio.run(main())

    def test_one_does_not_go_ahead_on_what_another_is_about_to_write(self):
        async def main():
            treasury = treasury_of()
            purse = await entered(treasury)
            await purse.reserve(cost(1))
            first = await purse.cover(cost(1))
            slow = asyncio.create_task(purse.cover(cost(2)))
            await turn()
            purse.settle(first, NOTHING)
            quick = asyncio.create_task(purse.cover(cost(0.5)))  # 2.50 of the 3 that aren't durable yet
            await turn()
            assert not quick.done()
            for *_, held in treasury.ledger.raised:
                held.set_result(None)
            await asyncio.gather(slow, quick)

        asyncio.run(main())

    def test_a_cancelled_one_gives_back(self):
        async def main():
            treasury = treasury_of()
            purse = await entered(treasury)
            task = asyncio.create_task(purse.cover(cost(3)))
            await turn()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not purse.running
            assert purse.close(ok=False) == ()
            assert [account.reserved for account in treasury.budgets] == [0]

        asyncio.run(main())


class TestRefusals:
    def refusal(self, bound, *rules, spend=None, **fields):
        async def main():
            treasury = treasury_of(*rules)
            if spend is not None:
                other = await entered(treasury, **fields)
                await other.reserve(spend)
                other.settle(await other.cover(spend), spend)
                other.close(ok=True)
            purse = await entered(treasury, **fields)
            with pytest.raises((BudgetExceeded, CostUnbounded)) as refused:
                await purse.reserve(bound)
            assert treasury.refused == {}, "less may be asked for"
            purse.close(ok=False, told=refused.value)
            assert treasury.refused == {refused.value.label: 1}
            assert sum(treasury.budgets.refused.values()) == 1
            return refused.value

        return asyncio.run(main())

    def test_says_how_the_budget_stands(self):
        error = self.refusal(cost(1.5), spend=cost(4))
        until = DAY_NS - NOON_NS % DAY_NS
        assert error.status == 402
        assert error.details == {
            "budget": "five",
            "scope": "key",
            "window": "day",
            "limit_usd": "5.000000000",
            "spent_usd": "4.000000000",
            "reserved_usd": "0.000000000",
            "needed_usd": "1.500000000",
            "frees_in_s": f"{until // 10**9}.000",
        }
        assert error.retry_after_s == until / 1e9
        assert re.match(r"the budget 'five' of 'ann' has \$1\.000000000 left", error.message)
        assert "free again in" in error.message

    def test_says_that_it_never_fits(self):
        error = self.refusal(cost(5.01))
        assert error.retry_after_s is None
        assert "more than the whole budget" in error.message

    def test_counts_tokens(self):
        rule = BudgetRule(name="t", limit_tokens=100, window="forever")
        error = self.refusal(Amount(None, 60), rule, spend=Amount(None, 50))
        assert (error.details["spent_tokens"], error.details["needed_tokens"]) == ("50", "60")
        assert error.retry_after_s is None
        assert "a larger budget" in error.message

    def test_waits_for_those_that_run(self):
        async def main():
            treasury = treasury_of()
            await (await entered(treasury)).reserve(cost(4))
            with pytest.raises(BudgetExceeded, match="when the requests that run are over") as refused:
                await (await entered(treasury)).reserve(cost(2))
            assert refused.value.retry_after_s is None

        asyncio.run(main())

    def test_names_what_nobody_knows(self):
        assert "price in [prices]" in self.refusal(Amount(None, 10)).message
        tokens = BudgetRule(name="t", limit_tokens=100)
        assert "max_output_tokens" in self.refusal(Amount(5, None), tokens).message

    def test_more_subjects_than_can_be_told_apart(self):
        async def main():
            treasury = treasury_of(most_accounts=1)
            await entered(treasury)
            purse = treasury.purse(call_of(key="bob"))
            with pytest.raises(NoPlace) as refused:
                await purse.enter()
            assert refused.value.retry_after_s == 60
            assert purse.close(ok=False) == ()

        asyncio.run(main())


def test_a_refusal_that_was_not_the_end_is_not_counted():
    async def main():
        treasury = treasury_of()
        purse = await entered(treasury)
        with pytest.raises(BudgetExceeded):
            await purse.reserve(cost(6))
        await purse.reserve(cost(5))
        purse.close(ok=False, told=LedgerUnavailable("full"))
        assert treasury.refused == treasury.budgets.refused == {}

    asyncio.run(main())


def test_what_providers_do_for_nothing_needs_no_money():
    class Free(OpenAIChat):
        free = True

    async def main():
        purse = treasury_of().purse(call_of(dialect=Free()))
        assert not await purse.enter()
        await purse.reserve(cost(100))
        purse.settle(await purse.cover(cost(100)), cost(100))
        assert (purse.bound, purse.parts, purse.close(ok=True)) == (NOTHING, (), ())

    asyncio.run(main())


def test_warned_once_and_told():
    async def main():
        treasury = treasury_of()
        told = []
        treasury.on_warning = told.append
        purse = await entered(treasury)
        purse.settle(await _covered(purse, cost(4)), cost(4))
        assert [account.key for account in purse.warnings()] == ["five:usd:day:ann"]
        assert purse.warnings() == []
        assert (len(told), treasury.warned) == (1, {"five": 1})
        other = await entered(treasury, key="bob")
        assert other.warnings() == []

    asyncio.run(main())


async def _covered(purse, bound):
    await purse.reserve(bound)
    return await purse.cover(bound)


def test_the_largest_of_several():
    amounts = [Amount(5, None), Amount(None, 7), Amount(9, 3)]
    assert largest(amounts, unknown=True) == (None, None)
    assert largest(amounts, unknown=False) == (9, 7)
    assert largest([Amount(None, None)], unknown=False) == (None, None)
