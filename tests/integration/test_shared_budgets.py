"""BU1, BU2: several processes' ledgers on one PostgreSQL: what they spend together never passes a budget."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest
from tests.support.replicas import ANN, Replica

from holdfast.clock import SystemClock
from holdfast.errors import LedgerUnavailable
from holdfast.ledger.blocks_postgres import PostgresAuthority
from holdfast.ledger.postgres import PostgresLedger
from holdfast.money import leases
from holdfast.money.budgets import Overdrawn
from holdfast.money.leases import IDLE_S, PATIENCE_S
from holdfast.money.rules import BudgetRule, Subject

if TYPE_CHECKING:
    from tests.support.postgres import PostgresServer

LIMIT = 1_000
DAY = BudgetRule(name="day", limit_nano=LIMIT, window="day")
EACH = BudgetRule(name="each", scope="key", limit_nano=400, window="hour")
KEY = "day:usd:day:"
SOON_S = 0.6
"""A lease short enough to wait for its end."""
NEVER_S = 3600.0
"""One that its own process doesn't renew while a test runs."""


@pytest.fixture(autouse=True)
def never_idle(monkeypatch):
    """However slow the machine is, what is free of a block stays; a test that waits for it to go back says so."""
    monkeypatch.setattr(leases, "IDLE_S", NEVER_S)


async def replica(url: str, *rules: BudgetRule, lease_s: float = NEVER_S) -> Replica:
    """A process that listens. Who begins to gives back what is free: somebody may have called before."""
    ledger = await PostgresLedger.open(url, clock=SystemClock(), rng=random.Random(), lease_s=lease_s)
    made = Replica.over(ledger, PostgresAuthority(ledger), rules, ledger.clock)
    async with asyncio.timeout(20):
        while not made.leases.called_on:
            await asyncio.sleep(0)
    return made


class World:
    """What the database has, and its processes."""

    def __init__(self, server: PostgresServer, url: str, *replicas: Replica) -> None:
        self.server = server
        self.url = url
        self.replicas = replicas

    @classmethod
    async def of(cls, server, url, *rules, count=2, lease_s=NEVER_S):
        made = [await replica(url, *rules, lease_s=lease_s) for _ in range(count)]
        return cls(server, url, *made)

    async def ask(self, statement, *values):
        return await asyncio.to_thread(self.server.run, self.url, statement, values)

    async def spent(self, account=KEY):
        ((found,),) = await self.ask(
            "SELECT COALESCE(sum(amount), 0)::bigint FROM spend WHERE account = %s", account
        )
        return found

    async def blocked(self, account=KEY):
        ((found,),) = await self.ask(
            "SELECT COALESCE(sum(amount), 0)::bigint FROM blocks WHERE account = %s", account
        )
        return found

    async def until_spent(self, amount):
        """Actively: there is nobody who tells."""
        async with asyncio.timeout(20):
            while await self.spent() != amount:
                pass

    async def aclose(self):
        for each in self.replicas:
            await each.aclose()


def run(main, server, database, *rules, count=2):
    async def led():
        world = await World.of(server, database, *(rules or (DAY,)), count=count)
        try:
            await main(world)
        finally:
            await world.aclose()

    asyncio.run(led())


def test_two_hundred_at_once_over_three_processes(postgres, database):
    async def main(world):
        async def one(number):
            subject = Subject(key=f"k{number % 5}", model="m")
            try:
                await world.replicas[number % 3].spend(30, 5 + number % 25, subject)
            except Overdrawn:
                return 0
            return 5 + number % 25

        sums = []

        async def watch():
            while True:
                ((found,),) = await world.ask(
                    "SELECT ((SELECT COALESCE(sum(amount), 0) FROM spend WHERE account = %s)"
                    " + (SELECT COALESCE(sum(amount), 0) FROM blocks WHERE account = %s))::bigint",
                    KEY,
                    KEY,
                )
                sums.append(found)

        watching = asyncio.create_task(watch())
        spent = sum(await asyncio.gather(*(one(number) for number in range(200))))
        for each in world.replicas:
            await each.ledger.flush()
        watching.cancel()
        await asyncio.wait([watching])
        assert max(sums) <= LIMIT
        assert await world.spent() == spent
        assert LIMIT // 2 < spent <= LIMIT
        rows = await world.ask("SELECT account, sum(amount)::bigint FROM spend GROUP BY account")
        assert all(amount <= 400 for account, amount in rows if account.startswith("each:"))
        first, *others = world.replicas
        for each in others:
            await each.leases.aclose()
        if spent < LIMIT:
            await first.spend(LIMIT - spent, LIMIT - spent, Subject(key="last", model="m"))
        with pytest.raises(Overdrawn):
            await first.spend(1, 1, Subject(key="too late", model="m"))
        await first.leases.aclose()
        assert (await world.spent(), await world.blocked()) == (LIMIT, 0)

    run(main, postgres, database, DAY, EACH, count=3)


def test_what_is_spent_leaves_the_block_with_the_end(postgres, database):
    async def main(world: World):
        one, _ = world.replicas
        spender = one.spender()
        await spender.reserve(300)
        await spender.begin()
        await spender.cover(300)
        before = await world.blocked()
        assert before >= 300
        spender.settle(120)
        spender.end()
        await one.ledger.flush()
        assert await world.spent() == 120
        assert await world.blocked() == before - 120

    run(main, postgres, database)


def test_who_is_called_gives_back(postgres, database):
    async def main(world):
        one, other = world.replicas
        await other.ledger.listener.up.wait()
        for _ in range(5):
            await other.spend(100, 10)
        before = other.leases.called_on
        await one.spender().reserve(900)
        assert other.leases.called_on > before
        assert await world.spent() + await world.blocked() <= LIMIT

    run(main, postgres, database)


def test_who_holds_it_keeps_it_and_the_refusal_has_its_numbers(postgres, database):
    async def main(world):
        one, other = world.replicas
        await other.spend(200, 200)
        await other.spender().reserve(500)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(Overdrawn) as refused:
            await one.spender().reserve(400)
        assert loop.time() - began >= PATIENCE_S
        error = refused.value
        assert (error.needed, error.spent, error.reserved) == (400, 200, 500)
        assert error.frees_ns is not None, "the 200 that are spent are enough"

    run(main, postgres, database)


def test_a_dead_process_is_charged_its_bounds_and_its_block_is_the_others(postgres, database):
    async def main(world):
        dead, lives = world.replicas
        await dead.spend(100, 10)
        runs = dead.spender()
        await runs.reserve(300)
        await runs.begin()
        await runs.cover(300)
        with pytest.raises(Overdrawn):
            await lives.spender().reserve(800)
        await world.ask("UPDATE owners SET expires_ns = 1 WHERE id = %s RETURNING 1", dead.ledger.owner)
        heir = await replica(world.url, DAY, lease_s=SOON_S)
        try:
            await world.until_spent(310)
            assert await world.blocked() == 0
            await heir.spend(690, 690)
            # It was only frozen.
            before = dead.ledger.owner
            fenced = asyncio.Event()
            dead.ledger.on_fenced(fenced.set)
            with pytest.raises(LedgerUnavailable):
                await dead.spender().begin()
            await fenced.wait()
            (account,) = dead.budgets
            assert account.free == 0
            runs.settle(120)
            runs.end()
            await dead.ledger.flush()
            assert await world.spent() == 10 + 120 + 690
            assert await world.blocked() == 0
            async with asyncio.timeout(10):
                while dead.ledger.owner == before:
                    with contextlib.suppress(LedgerUnavailable):
                        await dead.spend(100, 0)
            await dead.spend(100, 50)
            await dead.ledger.flush()
            assert await world.spent() == 10 + 120 + 690 + 50
            await dead.leases.aclose()
            assert await world.blocked() == 0
        finally:
            await heir.aclose()

    run(main, postgres, database)


def test_the_database_is_gone(postgres, database):
    async def main(world):
        one, _ = world.replicas
        await one.spend(100, 0)
        await one.ledger.flush()
        postgres.stop()
        inside = one.spender()
        await inside.reserve(60)
        with pytest.raises(LedgerUnavailable):
            await inside.begin()
        inside.end()
        with pytest.raises(LedgerUnavailable):
            await one.spender().reserve(160)
        postgres.start()
        async with asyncio.timeout(20):
            while True:
                try:
                    await one.spend(160, 160)
                    break
                except LedgerUnavailable:
                    await asyncio.sleep(0)
        await one.ledger.flush()
        assert await world.spent() == 160

    run(main, postgres, database)


def test_what_was_not_heard_while_nobody_listened_is_given_back(postgres, database, monkeypatch):
    monkeypatch.setattr(leases, "IDLE_S", IDLE_S)

    async def main(world):
        one, other = world.replicas
        await one.spend(10, 10)
        for _ in range(5):
            await other.spend(100, 10)
        await world.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'holdfast listener'"
        )
        async with asyncio.timeout(20):
            while await world.blocked() > 0:
                pass
        assert other.leases.called_on >= 1

    run(main, postgres, database)


def test_a_reset_is_heard(postgres, database):
    async def main(world):
        one, other = world.replicas
        heard = asyncio.Event()
        other.leases.on_forgotten = lambda account: heard.set() if account == KEY else None
        one.leases.on_forgotten = lambda _: pytest.fail("who said it need not hear it")
        await other.spend(100, 100)
        await other.ledger.flush()
        (account,) = one.budgets.accounts(ANN)
        await one.leases.learn([account])
        assert account.spent(one.clock.wall_ns()) == 100
        await one.leases.forget(KEY)
        async with asyncio.timeout(10):
            await heard.wait()
        assert await world.spent() == 0

    run(main, postgres, database)


def test_a_lease_whose_answer_is_lost_in_the_commit_is_found_out(postgres, database):
    async def main(world):
        one, _ = world.replicas
        await one.spend(10, 10)
        await one.ledger.flush()
        connection = one.authority._connection

        class Breaking:
            """Commits, and then the line is dead."""

            def __init__(self, real):
                self.real = real

            @property
            def raw(self):
                return self.real.raw

            def execute(self, sql, values=()):
                found = self.real.execute(sql, values)
                if sql == "COMMIT":
                    self.real.raw.close()
                    self.real.execute("SELECT 1")
                return found

            def close(self):
                self.real.close()

        one.authority._connection = Breaking(connection)
        (account,) = one.budgets
        account.free = 0
        before = await world.blocked()
        await one.spender().reserve(300)
        assert await world.blocked() - before == 300
        assert account.reserved == 300

    run(main, postgres, database)


def test_what_left_its_window_counts_no_more(postgres, database):
    async def main(world):
        one, _ = world.replicas
        await world.ask("INSERT INTO spend VALUES (%s, 1, 2, 900), (%s, 3, NULL, 300) RETURNING 1", KEY, KEY)
        await one.spender().reserve(LIMIT - 300)
        with pytest.raises(Overdrawn) as refused:
            await one.spender().reserve(1)
        assert refused.value.spent == 300

    run(main, postgres, database)


def test_who_leases_waits_for_who_leases(postgres, database):
    async def main(world):
        one, _ = world.replicas
        other = postgres.connect(database.rpartition("/")[2])
        other.execute("BEGIN")
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('holdfast block ' || %s, 0))", (KEY,))
        other.execute("INSERT INTO blocks VALUES (%s, 'other', 900)", (KEY,))
        asking = asyncio.create_task(one.spender().reserve(500))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = 'advisory'"
        )
        async with asyncio.timeout(10):
            while not asking.done() and (await world.ask(waiting))[0][0] == 0:
                pass
        other.execute("COMMIT")
        other.close()
        with pytest.raises(Overdrawn):
            await asking

    run(main, postgres, database)


def test_who_was_given_up_leases_nothing(postgres, database):
    async def main(world):
        one, _ = world.replicas
        before = one.ledger.owner
        await world.ask("DELETE FROM owners WHERE id = %s RETURNING 1", before)
        fenced = asyncio.Event()
        one.ledger.on_fenced(fenced.set)
        with pytest.raises(LedgerUnavailable, match="taken for dead"):
            await one.spender().reserve(100)
        assert await world.ask("SELECT 1 FROM blocks WHERE owner = %s", before) == []
        async with asyncio.timeout(10):
            await fenced.wait()  # the writer heard of it without a request of its own
            while one.ledger.owner == before:
                with contextlib.suppress(LedgerUnavailable):
                    await one.spender().reserve(100)
        assert one.leases.epoch == 1

    run(main, postgres, database)
