"""Sessions as requests meet them: durable before anything is sent, found again, warned of once, and over for good."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from tests.support.spenders import NOON_NS, HandClock

from holdfast.engine.sessions import SessionDesk
from holdfast.errors import LedgerUnavailable, SessionEnded
from holdfast.ledger.sessions import MemorySessions
from holdfast.money.account import Account
from holdfast.money.rules import BudgetRule
from holdfast.money.session import Session, SessionSettings, SessionState
from holdfast.money.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.ledger.sessions import SessionRow


class Store(MemorySessions):
    """Waits before it writes while ``gate`` is closed, and takes nothing while ``full``."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.puts: list[list[str]] = []

    async def put(self, rows: Sequence[SessionRow]) -> None:
        await self.gate.wait()
        if self.full:
            raise LedgerUnavailable("the disk is full")
        self.puts.append([row[0] for row in rows])
        await super().put(rows)


class World:
    """A desk, and what is behind it. ``restarted``: another process over the same rows."""

    def __init__(self, store: Store | None = None, clock: HandClock | None = None, **settings: float) -> None:
        self.clock = clock or HandClock()
        self.store = store or Store()
        self._settings = settings
        limits = SessionSettings(**settings)
        self.sessions = Sessions(limits, clock=self.clock, rng=random.Random(1))
        self.desk = SessionDesk(self.sessions, self.store)

    async def restarted(self) -> World:
        await self.desk.aclose()
        world = World(self.store, self.clock, **self._settings)
        await world.desk.load(self.clock.wall_ns())
        return world

    async def row(self, session_id: str) -> Session | None:
        row = await self.store.get("ann", session_id)
        return None if row is None else Session.from_row(row)


def test_it_is_durable_before_its_first_request_goes_on():
    async def main() -> None:
        world = World()
        world.store.gate.clear()
        entering = asyncio.create_task(world.desk.enter("ann", "s"))
        also = asyncio.create_task(world.desk.enter("ann", "s"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not entering.done()
        assert not also.done(), "who comes meanwhile waits as well"
        world.store.gate.set()
        first, second = await asyncio.gather(entering, also)
        assert first == second == await world.row("s")
        puts = len(world.store.puts)
        await world.desk.enter("ann", "s")
        await world.desk.aclose()
        assert len(world.store.puts) == puts, "and once it is, nothing has to be written"

    asyncio.run(main())


def test_what_cannot_be_written_does_not_begin():
    async def main() -> None:
        world = World()
        world.store.full = True
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                await world.desk.enter("ann", "s")
        assert await world.row("s") is None
        world.store.full = False
        await world.desk.enter("ann", "s")
        assert await world.row("s") is not None

    asyncio.run(main())


def test_a_caller_that_leaves_while_it_is_written_leaves_it_to_the_next():
    async def main() -> None:
        world = World()
        world.store.gate.clear()
        entering = asyncio.create_task(world.desk.enter("ann", "s"))
        for _ in range(3):
            await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        world.store.gate.set()
        assert await world.row("s") is None
        await world.desk.enter("ann", "s")
        assert await world.row("s") is not None

    asyncio.run(main())


def test_it_goes_on_after_a_restart_with_the_time_that_it_has_left():
    async def main() -> None:
        world = World(length_s=100)
        begun = await world.desk.enter("ann", "s")
        world.clock.passes(60)
        again = await world.restarted()
        assert await again.desk.enter("ann", "s") == begun
        world.clock.passes(40)
        with pytest.raises(SessionEnded):
            await again.desk.enter("ann", "s")
        later = await again.restarted()
        with pytest.raises(SessionEnded):
            await later.desk.enter("ann", "s")

    asyncio.run(main())


def test_its_end_is_durable_and_found_again():
    async def main() -> None:
        world = World()
        await world.desk.enter("ann", "s")
        assert await world.desk.end("ann", "t") is None
        assert await world.desk.end("bob", "s") is None
        ended = await world.desk.end("ann", "s")
        assert ended is not None
        assert ended.state is SessionState.ENDED
        again = await world.restarted()
        assert not again.sessions.known("ann", "s"), "nobody needs it in memory"
        with pytest.raises(SessionEnded):
            await again.desk.enter("ann", "s")
        later = await again.restarted()
        assert await later.desk.end("ann", "s") == ended, "the first end stays"

    asyncio.run(main())


def test_an_end_that_cannot_be_written_is_told_and_made_up_for():
    async def main() -> None:
        world = World()
        await world.desk.enter("ann", "s")
        world.store.full = True
        with pytest.raises(LedgerUnavailable):
            await world.desk.end("ann", "s")
        with pytest.raises(SessionEnded):
            await world.desk.enter("ann", "s")
        world.store.full = False
        await world.desk.enter("ann", "another")
        await world.desk.aclose()
        row = await world.row("s")
        assert row is not None
        assert row.state is SessionState.ENDED

    asyncio.run(main())


def session_account(nano: int, *, limit: int = 100) -> Account:
    account = Account(SessionSettings(limit_nano=limit).budget, "ann/s")
    account.charge(nano, NOON_NS)
    return account


def test_its_caller_is_warned_once_in_its_life():
    async def main() -> None:
        world = World(limit_nano=100)
        await world.desk.enter("ann", "s")
        now_ns = world.clock.wall_ns()
        heard = [world.desk.warns("ann", "s", session_account(nano), now_ns) for nano in (79, 80, 90)]
        assert heard == [False, True, False]
        again = await world.restarted()
        assert not again.desk.warns("ann", "s", session_account(95), now_ns), "a restart warns nobody again"
        again.desk.warns("ann", "s", session_account(100), now_ns)
        await again.desk.aclose()
        row = await world.row("s")
        assert row is not None
        assert row.state is SessionState.EXHAUSTED

    asyncio.run(main())


def test_of_other_budgets_their_own_account_warns():
    async def main() -> None:
        world = World()
        account = Account(BudgetRule(name="daily", window="forever", limit_nano=100), "")
        account.charge(80, 0)
        assert [world.desk.warns("ann", "s", account, 0) for _ in range(2)] == [True, False]

    asyncio.run(main())


def test_what_could_not_be_written_in_passing_is_tried_again_at_the_end():
    async def main() -> None:
        world = World(limit_nano=100)
        await world.desk.enter("ann", "s")
        world.store.full = True
        world.desk.warns("ann", "s", session_account(80), world.clock.wall_ns())
        for _ in range(5):
            await asyncio.sleep(0)
        world.store.full = False
        await world.desk.aclose()
        row = await world.row("s")
        assert row is not None
        assert row.warned_ns is not None

    asyncio.run(main())
