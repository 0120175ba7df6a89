"""BU1: the books in memory and PostgreSQL give the same answers, step by step: leases, ends, returns, deaths, time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.spenders import NOON_NS, HandClock, S

from holdfast.clock import SystemClock
from holdfast.ledger.blocks import Want
from holdfast.ledger.blocks_postgres import PostgresAuthority
from holdfast.ledger.entry import AccountPart, Charge, End, Intent
from holdfast.ledger.memory import MemoryLedger
from holdfast.ledger.memory_blocks import Books, MemoryAuthority
from holdfast.ledger.postgres import PostgresStore
from holdfast.ledger.recovery import give_up_orphans
from holdfast.money.window import window_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer


LIMIT = 1_000
WINDOWS = {"hour": window_of("hour"), "day": window_of("day"), "ever": window_of("forever")}
PLACES = st.integers(0, 2)
ACCOUNTS = st.sampled_from(sorted(WINDOWS))
AMOUNTS = st.sampled_from([1, 10, 100, 199, 200, 400, 999, 1_000])


class Owner:
    """A ledger as the authority knows it, of which only the store is there."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self.where = store.url

    @property
    def owner(self) -> str:
        return self.store.owner

    def on_fenced(self, callback: object) -> None:
        """Nobody listens here."""


class Real:
    """Three processes on one database; kept over all examples."""

    def __init__(self, url: str, server: PostgresServer) -> None:
        self.clock = HandClock()
        self.stores = [PostgresStore(url, owner=f"p{number}", clock=SystemClock()) for number in range(3)]
        self.authorities = [
            PostgresAuthority(Owner(store), now_ns=self.clock.wall_ns) for store in self.stores
        ]
        self.look = server.connect(url.rpartition("/")[2])

    def clear(self) -> None:
        self.clock.wall = NOON_NS
        for table in ("blocks", "spend", "attempts", "requests"):
            self.look.execute(f"DELETE FROM {table}")

    def blocks(self) -> dict[tuple[str, int], int]:
        owners = {store.owner: place for place, store in enumerate(self.stores)}
        rows = self.look.execute("SELECT account, owner, amount FROM blocks WHERE amount > 0").fetchall()
        return {(account, owners[owner]): amount for account, owner, amount in rows}

    def give_up(self, place: int) -> None:
        """As who recovers does, and the process then finds."""
        store, other = self.stores[place], self.stores[(place + 1) % 3]
        connection = other._connection
        assert connection is not None
        connection.execute("BEGIN")
        connection.execute("DELETE FROM owners WHERE id = ?", (store.owner,))
        give_up_orphans(connection, self.clock.wall)
        connection.execute("COMMIT")
        store.found_dead()
        store.acknowledge()
        store.write([], [])

    def close(self) -> None:
        self.look.close()
        for store in self.stores:
            store.close()


@pytest.fixture(scope="module")
def real(postgres: PostgresServer) -> Iterator[Real]:
    url = postgres.database()
    made = Real(url, postgres)
    with asyncio.Runner() as runner:
        yield made
        for authority in made.authorities:
            runner.run(authority.aclose())
    made.close()
    postgres.give_back(url)


def machine_on(real: Real) -> type[RuleBasedStateMachine]:
    class Twins(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            real.clear()
            self.runner = asyncio.Runner()
            self.clock = real.clock
            self.books = Books(self.clock.wall_ns)
            self.ledgers = [
                MemoryLedger(self.clock, owner=f"p{number}", books=self.books) for number in range(3)
            ]
            self.twins = [MemoryAuthority(ledger) for ledger in self.ledgers]
            self.open: list[tuple[int, Intent, Charge, bool]] = []
            """Whose, what, how much of which block, and whether that one lives."""
            self.came = 0
            self.beyond = False
            """A bill was above what was held for it."""

        def teardown(self) -> None:
            self.runner.close()

        @rule(place=PLACES, account=ACCOUNTS, least=AMOUNTS, more=AMOUNTS, wish=AMOUNTS)
        def lease(self, place: int, account: str, least: int, more: int, wish: int) -> None:
            self.lease_all(place, [(account, least, more, wish)])

        @rule(place=PLACES, least=AMOUNTS)
        def lease_several(self, place: int, least: int) -> None:
            self.lease_all(
                place, [(account, least, 1, 2 * least) for account in sorted(WINDOWS, reverse=True)]
            )

        def lease_all(self, place: int, asked: list[tuple[str, int, int, int]]) -> None:
            wants = [
                Want(
                    account=account,
                    limit=LIMIT,
                    least=least,
                    needed=least + more,
                    wish=max(wish, least + more),
                )
                for account, least, more, wish in asked
            ]
            mine = self.runner.run(self.twins[place].lease(wants))
            theirs = self.runner.run(real.authorities[place].lease(wants))
            assert mine == theirs

        @rule(place=PLACES, account=ACCOUNTS, amount=st.one_of(AMOUNTS, st.none()))
        def give_back(self, place: int, account: str, amount: int | None) -> None:
            owner = self.ledgers[place].owner
            used = sum(
                charge.held
                for mine, _, charge, lives in self.open
                if mine == place and charge.account == account and lives
            )
            free = self.books.blocks.get(account, {}).get(owner, 0) - used
            if amount is None and used:
                return  # requests run on it
            amount = None if amount is None else min(amount, free)
            self.runner.run(self.twins[place].give_back({account: amount}))
            self.runner.run(real.authorities[place].give_back({account: amount}))

        @rule(place=PLACES, account=ACCOUNTS, share=st.sampled_from([0, 0.5, 1]))
        def begin(self, place: int, account: str, share: float) -> None:
            """A request that holds a part of the block that is free."""
            owner = self.ledgers[place].owner
            used = sum(
                charge.held
                for mine, _, charge, lives in self.open
                if mine == place and charge.account == account and lives
            )
            held = int((self.books.blocks.get(account, {}).get(owner, 0) - used) * share)
            part = WINDOWS[account](self.clock.wall)
            self.came += 1
            intent = Intent(
                id=f"r{self.came}",
                started_ns=self.clock.wall,
                route="m",
                model="m",
                dialect="openai_chat",
                stream=False,
                request_bytes=1,
                bound_nano=held,
                accounts=(AccountPart(account, "usd", *part),),
            )
            self.runner.run(self.ledgers[place].begin(intent))
            assert real.stores[place].write([intent], []).refused == {}
            self.open.append((place, intent, Charge(account, *part, held, held), True))

        @precondition(lambda self: self.open)
        @rule(which=st.integers(0, 20), share=st.sampled_from([0, 0.5, 1, 1, 2]))
        def end(self, which: int, share: float) -> None:
            place, intent, bound, lives = self.open.pop(which % len(self.open))
            amount = int(bound.amount * share)
            self.beyond |= amount > bound.amount
            part = WINDOWS[bound.account](self.clock.wall)
            charge = Charge(bound.account, *part, amount, min(amount, bound.held))
            charges = (charge,) if amount else ()
            end = End(id=intent.id, ended_ns=self.clock.wall, state="ok", charges=charges)
            self.ledgers[place].end(end)
            written = real.stores[place].write([], [end])
            assert (written.late, written.ignored) == (0 if lives else 1, 0)

        @rule(place=PLACES)
        def die(self, place: int) -> None:
            """And wake up later, under another name; its requests end late, or never."""
            self.ledgers[place].fence()
            real.give_up(place)
            self.open = [(whose, *rest, lives and whose != place) for whose, *rest, lives in self.open]

        @precondition(lambda self: all(lives for *_, lives in self.open))
        @rule(account=ACCOUNTS)
        def forget(self, account: str) -> None:
            self.runner.run(self.twins[0].forget(account))
            self.runner.run(real.authorities[0].forget(account))

        @rule(seconds=st.sampled_from([1, 1_800, 3_599, 3_600, 3_601, 86_400]))
        def time_passes(self, seconds: int) -> None:
            self.clock.wall += seconds * S

        @invariant()
        def same(self) -> None:
            spent = self.runner.run(real.authorities[0].spent(sorted(WINDOWS)))
            assert spent == {account: self.books.spent(account) for account in WINDOWS}
            places = {ledger.owner: place for place, ledger in enumerate(self.ledgers)}
            assert real.blocks() == {
                (account, places[owner]): amount
                for account, blocks in self.books.blocks.items()
                for owner, amount in blocks.items()
                if amount
            }

        @invariant()
        def never_passed(self) -> None:
            for account in WINDOWS:
                assert self.beyond or self.books.spent(account) + self.books.blocked(account) <= LIMIT

    return Twins


def test_twins(real: Real) -> None:
    run_state_machine_as_test(machine_on(real), settings=settings(max_examples=25, stateful_step_count=40))
