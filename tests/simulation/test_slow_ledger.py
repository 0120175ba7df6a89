"""DL1: a ledger that takes its time takes none beyond the request's deadline."""

from __future__ import annotations

import asyncio

import pytest
from tests.simulation.chat_wire import speaks, stream
from tests.simulation.world import World, converse

from holdfast.engine.call import Limits
from holdfast.engine.policy import Retry
from holdfast.engine.treasury import Treasury
from holdfast.errors import NoTimeLeft, TargetsFailed
from holdfast.ledger.memory_blocks import MemoryAuthority
from holdfast.money.budgets import Budgets
from holdfast.money.leases import Leases
from holdfast.money.rules import BudgetRule
from holdfast.money.shared import SharedBudgets
from holdfast.testing.memory_transport import Reply
from holdfast.testing.virtual_time import VirtualClock, run_virtual

TOTAL_S = 0.2
LATE_S = 0.05
SLOW_S = 5.0
ONE = BudgetRule(name="one", limit_nano=10**9, window="day")


async def late(world: World, clock: VirtualClock) -> Exception | None:
    """What a caller is told who gave it 0.2 s."""
    began = clock.monotonic()
    exchange = world.exchange(limits=Limits(total_s=TOTAL_S))
    error, _ = await converse(exchange)
    exchange.close()
    assert clock.monotonic() - began <= TOTAL_S + LATE_S
    assert error is not None
    assert error.status == 504
    return error


def test_who_waits_for_its_intent_is_told_in_time() -> None:
    async def main(clock: VirtualClock) -> None:
        world = World(clock, {"a": [speaks(*stream("hi"))]}, begin_s=SLOW_S)
        assert isinstance(await late(world, clock), NoTimeLeft)
        assert world.transport.exchanges == []
        (end,) = world.told.ends
        assert (end.state, end.status, end.error_label) == ("failed", 504, "no_time_left")
        assert [intent.id for intent in world.told.intents] == [end.id], (
            "it may have been written, so it is ended"
        )

    run_virtual(main)


def test_who_waits_for_a_fallbacks_bound_is_told_in_time() -> None:
    async def main(clock: VirtualClock) -> None:
        lost = Reply(None, ending="reset", head_s=0.1)  # billed, perhaps: the next attempt comes on top of it
        world = World(clock, {"a": [lost], "b": [speaks(*stream("hi"))]}, retry=Retry(max_retries=0))
        budgets = Budgets([ONE], now_ns=clock.wall_ns)
        world.engine.treasury = Treasury(budgets, ledger=world.ledger, clock=clock)

        raising = asyncio.Event()

        async def raise_bound(*_: object, **__: object) -> None:
            raising.set()
            await asyncio.sleep(SLOW_S)

        world.ledger.raise_bound = raise_bound  # type: ignore[method-assign]  # takes its time
        error = await late(world, clock)
        assert raising.is_set()
        assert isinstance(error, TargetsFailed)
        assert world.arrivals("b") == []
        assert [(row.provider, row.outcome) for row in world.told.rows] == [("a", "connection_lost")]
        assert [account.reserved for account in budgets] == [0]

    run_virtual(main)


@pytest.mark.parametrize("latency_s", [0.0, SLOW_S])
def test_who_waits_for_a_lease_is_told_in_time(latency_s: float) -> None:
    async def main(clock: VirtualClock) -> None:
        world = World(clock, {"a": [speaks(*stream("hi"))]})
        leases = Leases(
            MemoryAuthority(world.ledger, latency_s=latency_s), flush=world.ledger.flush, now_ns=clock.wall_ns
        )
        leases.start()
        budgets = SharedBudgets([ONE], leases=leases, now_ns=clock.wall_ns)
        world.engine.treasury = Treasury(budgets, ledger=world.ledger, clock=clock, leases=leases)
        if latency_s:
            assert isinstance(await late(world, clock), NoTimeLeft)
            assert world.transport.exchanges == []
            assert world.told.intents == world.told.ends == [], "nothing was begun"
            assert [account.reserved for account in budgets] == [0]
        else:
            assert (await world.ask(limits=Limits(total_s=TOTAL_S))).error is None
        await leases.aclose()

    run_virtual(main)
