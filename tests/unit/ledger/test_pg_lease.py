"""Leases on PostgreSQL: who is given up, when nobody is, and what a process does that finds itself given up."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.unit.ledger.helpers import HandClock, end, intent
from tests.unit.ledger.on_postgres import ledger_in

from holdfast.clock import SystemClock, new_id
from holdfast.errors import LedgerUnavailable
from holdfast.ledger.entry import AccountPart, Charge
from holdfast.ledger.idempotency import Claim, Claimed, Running, Unknown
from holdfast.ledger.pg_clock import DatabaseClock
from holdfast.ledger.postgres import PostgresStore
from holdfast.ledger.sql_idempotency import SqlIdempotency
from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer

    from holdfast.ledger.statement import Connection

BRIEF_S = 1e-3
"""A lease that is over before anybody can look at it."""
SHORT_S = 0.02
"""By a clock that is set by hand. The server itself has been up for longer, also where it was started for this test."""


class Place:
    """A database, and the stores that were opened on it."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self.server, self.url = server, url
        self.stores: list[PostgresStore] = []

    def store(self, clock: HandClock | None = None, **options: Any) -> PostgresStore:
        owner = new_id(SystemClock(), random.Random())
        self.stores.append(PostgresStore(self.url, owner=owner, clock=clock or HandClock(), **options))
        return self.stores[-1]

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        return self.server.run(self.url, sql)

    def states(self) -> dict[str, str]:
        return dict(self.run("SELECT id, state FROM requests"))

    def owners(self) -> set[str]:
        return {owner for (owner,) in self.run("SELECT id FROM owners")}

    def expire(self, store: PostgresStore) -> None:
        self.run(f"UPDATE owners SET expires_ns = 0 WHERE id = '{store.owner}'")


@pytest.fixture
def place(postgres: PostgresServer, database: str) -> Iterator[Place]:
    made = Place(postgres, database)
    yield made
    for store in made.stores:
        store._drop()


ALL = AccountPart("all", "usd", 0, None)


def test_what_a_dead_process_left_open_is_unknown_and_costs_its_bound(place: Place) -> None:
    dead = place.store(lease_s=BRIEF_S)
    dead.write([intent("open", bound_nano=900, accounts=(ALL,)), intent("done", accounts=(ALL,))], [])
    dead.write([], [end("done", charges=(Charge("all", 0, None, 30),))])
    place.run(f"INSERT INTO blocks VALUES ('all', '{dead.owner}', 5000)")
    other = place.store(lease_s=BRIEF_S)
    assert other.recovered == 1
    assert place.states() == {"open": "unknown", "done": "ok"}
    assert place.run("SELECT cost_nano, settled_by FROM requests WHERE id = 'open'") == [(900, "recovery")]
    assert place.run("SELECT amount FROM spend") == [(930,)]
    assert place.run("SELECT * FROM blocks") == []
    assert place.owners() == {other.owner}


def test_who_was_only_frozen_is_fenced_off_until_nobody_relies_on_its_name(place: Place) -> None:
    told: list[str] = []
    frozen = place.store(lease_s=BRIEF_S)
    frozen.fenced = lambda: told.append("fenced")
    frozen.write([intent("open", bound_nano=900, accounts=(ALL,))], [])
    old = frozen.owner
    place.store(lease_s=BRIEF_S)

    written = frozen.write([intent("next")], [end("open", charges=(Charge("all", 0, None, 42),))])
    assert list(written.refused) == [0]
    assert "taken for dead" in written.refused[0]
    assert (written.late, written.ignored, told) == (1, 0, ["fenced"])
    assert place.states() == {"open": "ok"}
    assert place.run("SELECT amount FROM spend") == [(42,)], "the guess was taken back"

    claiming = Statement(run=lambda _: True, intent=intent("claimed"))
    for bare in (Statement(run=lambda _: True, owner=old), claiming):
        assert "taken for dead" in (frozen.write([], [], [bare]).results[0].refused or "")
    assert frozen.write([], [], [Statement(run=lambda _: 7)]).results[0].answer == 7
    assert told == ["fenced"]

    frozen.acknowledge()
    written = frozen.write([intent("after")], [], [Statement(run=lambda _: True, owner=old)])
    assert written.refused == {}
    assert "taken for dead" in (written.results[0].refused or ""), "the old name takes nothing any more"
    assert frozen.owner != old
    assert place.run("SELECT owner FROM requests WHERE id = 'after'") == [(frozen.owner,)]
    assert frozen.owner in place.owners()


def test_a_renewal_finds_it_too_and_brings_no_row_back(place: Place) -> None:
    told: list[str] = []
    store = place.store()
    store.fenced = lambda: told.append("fenced")
    place.run("DELETE FROM owners")
    store.renew()
    assert (told, place.owners()) == (["fenced"], set())
    store.renew()
    assert told == ["fenced"]
    store.acknowledge()
    store.renew()
    assert place.owners() == {store.owner}
    store.write([intent("a")], [])
    assert place.states() == {"a": "in_flight"}


def test_a_living_process_is_left_alone(place: Place) -> None:
    one, two = place.store(), place.store()
    assert (one.living, two.living) == (1, 2)
    one.write([intent("a")], [])
    two.write([intent("b")], [])
    for store in (one, two, one):
        store.renew()
    assert one.living == 2
    assert place.states() == {"a": "in_flight", "b": "in_flight"}
    assert place.owners() == {one.owner, two.owner}


def test_a_renewal_lengthens_the_lease_by_the_servers_clock(place: Place) -> None:
    store = place.store(lease_s=30.0)
    place.expire(store)
    store.renew()
    ((left_ns,),) = place.run(
        "SELECT expires_ns - extract(epoch FROM clock_timestamp()) * 1000000000 FROM owners"
    )
    assert 25e9 < left_ns <= 30e9


LOCKED = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def blocked(place: Place, task: asyncio.Task[Any]) -> None:
    """Returns when somebody waits for a lock."""
    while not place.run(LOCKED):
        await asyncio.sleep(0)
        assert not task.done()


@pytest.mark.parametrize("claims", [False, True], ids=["begins", "claims"])
def test_who_is_committing_something_is_not_taken_for_dead(place: Place, claims: bool) -> None:
    busy, other = place.store(timeout_s=30.0), place.store(lease_s=BRIEF_S)

    def claim(connection: Connection) -> None:
        connection.execute("INSERT INTO secrets (name, value) VALUES ('x', ?)", (b"",))

    async def main() -> None:
        statements = [Statement(run=claim, owner=busy.owner)] if claims else []
        with psycopg.connect(place.url) as connection:
            connection.execute("LOCK TABLE secrets, requests IN SHARE MODE")
            begins = [] if claims else [intent("a")]
            writing = asyncio.create_task(asyncio.to_thread(busy.write, begins, [], statements))
            await blocked(place, writing)
            place.expire(busy)
            await asyncio.to_thread(other.renew)
            assert busy.owner in place.owners()
        written = await writing
        assert (written.refused, [each.refused for each in written.results]) == ({}, [None] * len(statements))

    asyncio.run(main())
    other.renew()
    assert busy.owner not in place.owners()
    assert place.states() == ({} if claims else {"a": "unknown"})


def test_who_renews_while_it_is_judged_lives(place: Place) -> None:
    """Its row is looked at once more when it is taken away."""
    one, other = place.store(), place.store(lease_s=BRIEF_S)
    place.expire(one)

    async def main() -> None:
        with psycopg.connect(place.url) as connection:
            connection.execute(
                "UPDATE owners SET expires_ns = 9223372036854775807 WHERE id = %s", (one.owner,)
            )
            judging = asyncio.create_task(asyncio.to_thread(other.renew))
            await blocked(place, judging)
        await judging

    asyncio.run(main())
    assert one.owner in place.owners()


def test_after_the_servers_start_nobody_is_given_up_for_a_lease(place: Place) -> None:
    dead = place.store()
    dead.write([intent("a")], [])
    place.expire(dead)
    place.server.restart()
    patient = place.store(lease_s=30.0)
    assert patient.recovered == 0
    patient.renew()
    assert place.states() == {"a": "in_flight"}
    assert place.store(lease_s=BRIEF_S).recovered == 1


def until_given_up(place: Place, store: PostgresStore, clock: HandClock) -> None:
    """Once is enough, unless the machine is so slow that the server's time runs away from the hand's."""
    for _ in range(200):
        clock.advance(SHORT_S * 0.7)
        store.renew()
        if place.states() == {"a": "unknown"}:
            return
    raise AssertionError("never given up")


def test_who_couldnt_renew_itself_gives_nobody_up_for_a_lease(place: Place) -> None:
    clock = HandClock()
    dead, store = place.store(), place.store(clock, lease_s=SHORT_S)
    dead.write([intent("a")], [])
    clock.advance(SHORT_S * 2)
    place.expire(dead)
    store.renew()
    assert place.states() == {"a": "in_flight"}
    clock.advance(SHORT_S * 0.7)
    store.renew()
    assert place.states() == {"a": "in_flight"}
    until_given_up(place, store, clock)


def test_after_the_servers_clock_was_set_nobody_is_given_up_for_a_lease(place: Place) -> None:
    clock = HandClock()
    dead, store = place.store(), place.store(clock, lease_s=SHORT_S)
    dead.write([intent("a")], [])
    place.expire(dead)
    clock.now_s -= 2.0  # as if the server's had been put forward
    store.renew()
    assert place.states() == {"a": "in_flight"}
    clock.advance(SHORT_S * 0.7)
    store.renew()
    assert place.states() == {"a": "in_flight"}
    until_given_up(place, store, clock)


def test_one_process_recovers_at_a_time(place: Place) -> None:
    dead, store = place.store(), place.store(lease_s=BRIEF_S)
    dead.write([intent("a")], [])
    place.expire(dead)
    with psycopg.connect(place.url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('holdfast recovery', 0))")
        assert store.renew() is False
        assert place.states() == {"a": "in_flight"}
    store.renew()
    assert place.states() == {"a": "unknown"}


def test_recovery_waits_for_no_end(place: Place) -> None:
    """Whoever is ending a request locks it, and others, in an order of its own."""
    dead, judge = place.store(), place.store(lease_s=BRIEF_S)
    dead.write([intent("a"), intent("b")], [])
    with psycopg.connect(place.url) as connection:
        connection.execute("UPDATE requests SET late = late WHERE id = 'a'")
        place.expire(dead)
        judge.renew()
        assert place.states() == {"a": "in_flight", "b": "unknown"}
    judge.renew()
    assert place.states() == {"a": "unknown", "b": "unknown"}


def test_ends_that_race_with_recovery_are_charged_once(place: Place) -> None:
    """Whichever comes first: an account has what the end says, and nothing of the bound."""
    for number in range(10):
        racer, judge = place.store(lease_s=BRIEF_S), place.store(lease_s=BRIEF_S)
        judge.renew()
        racer = place.store()
        ids = [f"{number}-{n}" for n in range(40)]
        racer.write([intent(each, bound_nano=900, accounts=(ALL,)) for each in ids], [])
        place.expire(racer)

        async def main(
            racer: PostgresStore = racer, judge: PostgresStore = judge, ids: list[str] = ids
        ) -> None:
            ends = [end(each, charges=(Charge("all", 0, None, 1),)) for each in ids]
            halves = asyncio.to_thread(lambda: [racer.write([], ends[:20]), racer.write([], ends[20:])])
            await asyncio.gather(halves, asyncio.to_thread(judge.renew))

        asyncio.run(main())
        assert set(place.states().values()) == {"ok"}
        assert place.run("SELECT amount FROM spend") == [((number + 1) * 40,)]


def test_what_is_just_ending_is_not_charged_as_unknown_too(place: Place) -> None:
    """Recovery looks while an end has its request, and isn't committed."""
    racer, judge = place.store(timeout_s=30.0), place.store(timeout_s=30.0, lease_s=BRIEF_S)
    racer.write([intent(each, bound_nano=900, accounts=(ALL,)) for each in ("paid", "ending")], [])
    racer.write([], [end("paid", charges=(Charge("all", 0, None, 1),))])

    async def main() -> None:
        with psycopg.connect(place.url) as connection:
            connection.execute("SELECT 1 FROM spend FOR UPDATE")
            ends = [end("ending", charges=(Charge("all", 0, None, 1),))]
            ending = asyncio.create_task(asyncio.to_thread(racer.write, [], ends))
            await blocked(place, ending)
            place.expire(racer)
            judging = asyncio.create_task(asyncio.to_thread(judge.renew))
            while not judging.done() and len(place.run(LOCKED)) < 2:
                await asyncio.sleep(0)
        await asyncio.gather(ending, judging)

    asyncio.run(main())
    assert place.states() == {"paid": "ok", "ending": "ok"}
    assert place.run("SELECT amount FROM spend") == [(2,)]


def test_closing_in_order_leaves_nothing_to_wait_for(place: Place) -> None:
    store, other = place.store(), place.store()
    store.write([intent("a", bound_nano=5, accounts=(ALL,))], [])
    place.run(f"INSERT INTO blocks VALUES ('all', '{store.owner}', 100), ('all', '{other.owner}', 7)")
    store.close()
    assert place.owners() == {other.owner}
    assert place.states() == {"a": "unknown"}, "nobody will end it"
    assert place.run("SELECT amount FROM spend") == [(5,)]
    assert place.run("SELECT owner, amount FROM blocks") == [(other.owner, 7)]


def test_a_ledger_that_was_fenced_goes_on_under_another_name(place: Place) -> None:
    async def main() -> None:
        async with ledger_in(place.url) as ledger:
            fenced = asyncio.Event()
            seen: list[str] = []

            def callback() -> None:
                seen.append(ledger.owner)
                fenced.set()

            ledger.on_fenced(callback)
            old = ledger.owner
            await ledger.begin(intent("a"))
            place.run("DELETE FROM owners")
            with pytest.raises(LedgerUnavailable, match="taken for dead"):
                await ledger.begin(intent("b"))
            await fenced.wait()
            # What was queued before the callbacks were through relied on the old name.
            await ledger.flush()
            while ledger.owner == old:
                try:
                    await ledger.begin(intent(new_id(SystemClock(), random.Random())))
                except LedgerUnavailable as refused:
                    assert "taken for dead" in refused.message  # noqa: PT017  # others would be a fault
            await ledger.begin(intent("c"))
            assert seen == [old]
            assert place.run("SELECT owner FROM requests WHERE id = 'c'") == [(ledger.owner,)]
            assert "b" not in place.states()

    asyncio.run(main())


def test_a_claim_in_a_dead_name_is_refused_and_runs_of_the_dead_are_unknown(place: Place) -> None:
    async def main() -> None:
        async with ledger_in(place.url) as one:
            store = SqlIdempotency(one)
            claim = Claim(tenant="t", key="k", fingerprint=b"f" * 32, run_id="r")
            assert await store.claim(claim, now_ns=1) == Claimed()
            place.run("DELETE FROM owners")
            with pytest.raises(LedgerUnavailable, match="taken for dead"):
                await store.claim(Claim(tenant="t", key="l", fingerprint=b"f" * 32, run_id="s"), now_ns=1)
            async with ledger_in(place.url) as two:
                found = await SqlIdempotency(two).get("t", "k", now_ns=1)
                assert isinstance(found, Unknown)
                assert await SqlIdempotency(two).get("t", "l", now_ns=1) is None

    asyncio.run(main())


def test_of_processes_that_find_an_expired_key_one_has_it(place: Place) -> None:
    async def main() -> None:
        async with ledger_in(place.url) as one, ledger_in(place.url) as two:
            stores = [SqlIdempotency(one), SqlIdempotency(two)]
            keys = [str(number) for number in range(100)]

            def claim(key: str, run_id: str) -> Claim:
                return Claim(tenant="t", key=key, fingerprint=b"f" * 32, run_id=run_id, ttl_s=1.0)

            for key in keys:
                assert await stores[0].claim(claim(key, "old"), now_ns=1) == Claimed()
                await stores[0].seal(claim(key, "old"), now_ns=1)
            verdicts = await asyncio.gather(
                *(
                    store.claim(claim(key, f"new {number}"), now_ns=10**10)
                    for key in keys
                    for number, store in enumerate(stores)
                )
            )
            assert [verdicts.count(Claimed()), len(verdicts)] == [100, 200]

    asyncio.run(main())


def test_a_claim_that_waits_holds_no_key_but_its_own(place: Place) -> None:
    """Another claim may wait for that one, and be who this one waits for: a circle."""

    def claim(key: str, run_id: str) -> Claim:
        return Claim(tenant="t", key=key, fingerprint=b"f" * 32, run_id=run_id, ttl_s=1.0)

    async def main() -> None:
        async with ledger_in(place.url, timeout_s=30.0) as ledger:
            store = SqlIdempotency(ledger)
            for key in ("theirs", "mine"):
                assert await store.claim(claim(key, "old"), now_ns=1) == Claimed()
                await store.seal(claim(key, "old"), now_ns=1)
            with psycopg.connect(place.url) as connection:
                connection.execute("SELECT 1 FROM idempotency WHERE key = 'mine' FOR UPDATE")
                claiming = asyncio.create_task(store.claim(claim("mine", "new"), now_ns=10**10))
                await blocked(place, claiming)
                free = "SELECT key FROM idempotency WHERE key <> 'mine' FOR UPDATE NOWAIT"
                assert place.run(free) == [("theirs",)]
            assert await claiming == Claimed()

    asyncio.run(main())


def test_a_key_that_another_process_has_taken_meanwhile_is_not_claimed(place: Place) -> None:
    """Between the look that finds it expired, and its removal."""

    def claim(run_id: str) -> Claim:
        return Claim(tenant="t", key="k", fingerprint=b"f" * 32, run_id=run_id, ttl_s=1.0)

    async def main() -> None:
        async with ledger_in(place.url, timeout_s=30.0) as ledger:
            store = SqlIdempotency(ledger)
            assert await store.claim(claim("old"), now_ns=1) == Claimed()
            await store.seal(claim("old"), now_ns=1)
            with psycopg.connect(place.url) as connection:
                connection.execute("SELECT 1 FROM idempotency FOR UPDATE")
                claiming = asyncio.create_task(store.claim(claim("mine"), now_ns=10**10))
                await blocked(place, claiming)
                connection.execute("DELETE FROM idempotency")
                connection.execute(
                    "INSERT INTO idempotency (tenant, key, run_id, owner, fingerprint, since_ns, ttl_ns)"
                    " VALUES ('t', 'k', 'theirs', 'they', %s, 7, 1)",
                    (b"f" * 32,),
                )
            assert await claiming == Running(run_id="theirs", since_ns=7)

    asyncio.run(main())


def test_dates_are_the_servers(place: Place) -> None:
    clock = HandClock()  # whose wall clock stands still, far away
    store = place.store(clock)
    before, after = (
        place.run("SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint")[0][0]
        for _ in range(2)
    )
    assert abs(store.clock.wall_ns() - before) < 60e9
    now_ns = store.clock.wall_ns()
    clock.advance(2.5)
    assert store.clock.wall_ns() - now_ns == 2_500_000_000
    assert after >= before


def test_a_measurement_says_whether_it_was_expected() -> None:
    clock = HandClock()
    database = DatabaseClock(clock)
    assert database.wall_ns() == clock.wall_ns(), "none yet"
    assert database.measured(10**18, 4.0, 6.0)
    clock.now_s = 5.0
    assert database.wall_ns() == 10**18, "half of the round trip had passed"
    clock.now_s = 15.0
    assert database.measured(10**18 + 10 * 10**9 + 999_999_999, 15.0, 15.0)
    assert database.wall_ns() == 10**18 + 10 * 10**9 + 999_999_999
    assert not database.measured(10**18 + 12 * 10**9, 15.0, 15.0)
    assert not database.measured(10**18, 15.0, 15.0)
    assert database.measured(10**18 + 3 * 10**9, 15.0, 19.0), "so long a round trip explains it"
    assert database.monotonic() == 15.0
