"""The ledger on PostgreSQL against real faults: stopped, killed, frozen, full, locked, cut while it commits, refused."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.tcp_proxy import TcpProxy
from tests.unit.ledger.helpers import end, intent
from tests.unit.ledger.on_postgres import ledger_in

from holdfast.clock import SystemClock, system_rng
from holdfast.errors import ConfigError, HoldfastError, LedgerUnavailable
from holdfast.ledger.entry import Charge, Counts
from holdfast.ledger.migrate import POSTGRES, Migration, shipped
from holdfast.ledger.postgres import PostgresLedger, PostgresStore
from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer

BRIEF_S = 0.3
"""Time-outs of tests whose server doesn't answer."""


def charged(request_id: str, amount: int = 1) -> Any:
    return end(request_id, charges=(Charge("all", 0, None, amount),))


def spent(server: PostgresServer, url: str) -> int:
    ((amount,),) = server.run(url, "SELECT coalesce(sum(amount), 0)::bigint FROM spend")
    return int(amount)


async def begun_again(ledger: PostgresLedger, name: str) -> None:
    """A request that is begun as soon as that is possible."""
    for attempt in range(2_000):
        try:
            await ledger.begin(intent(f"{name}-{attempt}"))
        except LedgerUnavailable:
            await asyncio.sleep(0)
        else:
            return
    raise AssertionError("it doesn't heal")


# A server that is gone


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_while_it_is_gone_requests_are_refused_and_ends_are_kept(
    postgres: PostgresServer, database: str, how: str
) -> None:
    async def main() -> None:
        async with ledger_in(database) as ledger:
            for name in "abc":
                await ledger.begin(intent(name))
            getattr(postgres, how)()
            for name in "ab":
                ledger.end(charged(name))
            with pytest.raises(LedgerUnavailable, match=r"can't be reached|connection was lost|stopping"):
                await ledger.begin(intent("refused"))
            with pytest.raises(LedgerUnavailable, match="can't be reached"):
                await ledger.begin(intent("refused"))
            health = ledger.health()
            assert (health.ok, health.queued) == (False, 2)
            assert health.reason is not None
            assert "start it, or correct host and port in ledger.url" in health.reason
            postgres.start()
            await ledger.flush()
            await begun_again(ledger, "after")
            assert ledger.health().ok
            assert await ledger.counts() == Counts(accepted=4, ok=2, in_flight=2)
            assert spent(postgres, database) == 2

    asyncio.run(main())


def test_a_restart_between_two_requests_is_not_noticed(postgres: PostgresServer, database: str) -> None:
    async def main() -> None:
        async with ledger_in(database) as ledger:
            await ledger.begin(intent("a"))
            postgres.restart()
            await ledger.begin(intent("b"))
            postgres.run(
                database,
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'holdfast'",
            )
            await ledger.ask(Statement(run=lambda connection: connection.execute("SELECT 1").fetchone()))
            await ledger.begin(intent("c"))
            assert (await ledger.counts()).accepted == 3

    asyncio.run(main())


def test_kill_9_of_the_server_loses_nothing_that_was_answered(
    postgres: PostgresServer, database: str
) -> None:
    """Under load, over and over: what ``begin`` returned is there, and every end is written once."""

    async def main() -> None:
        async with ledger_in(database) as ledger:
            begun: list[str] = []
            enough, over = asyncio.Event(), asyncio.Event()

            async def call(name: int) -> None:
                number = 0
                while not over.is_set():
                    number += 1
                    request_id = f"{name}-{number}"
                    try:
                        await ledger.begin(intent(request_id))
                    except LedgerUnavailable:
                        await asyncio.sleep(0.001)
                        continue
                    begun.append(request_id)
                    ledger.end(charged(request_id))
                    if len(begun) % 50 == 0:
                        enough.set()

            callers = [asyncio.create_task(call(name)) for name in range(16)]
            for _ in range(2):
                enough.clear()
                await enough.wait()
                await asyncio.to_thread(postgres.kill)
                await asyncio.to_thread(postgres.start)
            enough.clear()
            await enough.wait()
            over.set()
            await asyncio.gather(*callers)
            await ledger.flush()
            ended = {
                request_id
                for (request_id,) in postgres.run(database, "SELECT id FROM requests WHERE state = 'ok'")
            }
            assert ended == set(begun)
            assert spent(postgres, database) == len(begun)
            ((attempts,),) = postgres.run(database, "SELECT count(*) FROM attempts")
            assert attempts == len(begun)
            counts = await ledger.counts()
            assert counts.balanced
            assert counts.in_flight == 0, "an intent whose COMMIT nobody knew of was closed"

    asyncio.run(main())


def test_a_frozen_server_holds_nobody_for_longer_than_a_few_seconds(
    postgres: PostgresServer, database: str
) -> None:
    async def main() -> None:
        async with ledger_in(database, timeout_s=BRIEF_S) as ledger:
            await ledger.begin(intent("a"))
            loop = asyncio.get_running_loop()
            with postgres.frozen():
                ledger.end(charged("a"))
                for wanted in (r"hasn't answered for 1.3 s", r"doesn't answer: see whether it runs"):
                    since = loop.time()
                    with pytest.raises(LedgerUnavailable, match=wanted):
                        await ledger.begin(intent("refused"))
                    assert loop.time() - since < 6.0
            await ledger.flush()
            await begun_again(ledger, "after")
            counts = await ledger.counts()
            assert (counts.ok, counts.in_flight) == (1, 1)
            assert spent(postgres, database) == 1

    asyncio.run(main())


def test_what_was_sent_before_a_loss_never_comes_behind_what_is_written_after_it(
    postgres: PostgresServer, database: str
) -> None:
    """The server's process for this connection is frozen, with an intent in its socket; the others go on."""

    async def main() -> None:
        async with ledger_in(database, timeout_s=BRIEF_S) as ledger:
            await ledger.begin(intent("a"))
            ((pid,),) = postgres.run(
                database,
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'holdfast' AND datname = current_database()",
            )
            os.kill(pid, signal.SIGSTOP)
            try:
                with pytest.raises(LedgerUnavailable, match="hasn't answered"):
                    await ledger.begin(intent("b"))
                with pytest.raises(LedgerUnavailable, match="hasn't ended a connection that was lost"):
                    await ledger.begin(intent("c"))
            finally:
                os.kill(pid, signal.SIGCONT)
            await begun_again(ledger, "after")
            await ledger.flush()
            assert not postgres.run(database, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,))
            assert not postgres.run(database, "SELECT 1 FROM requests WHERE id = 'b' AND state = 'in_flight'")
            assert (await ledger.counts()).in_flight == 2

    asyncio.run(main())


# A connection that is lost while it commits


@contextmanager
def between(server: PostgresServer, url: str) -> Iterator[tuple[TcpProxy, str]]:
    with TcpProxy(server.port) as proxy:
        yield proxy, server.url(url.rpartition("/")[2], port=proxy.port)


def committed(server: PostgresServer, url: str, request_id: str) -> None:
    """Returns when the server has it, though nobody was told."""
    while not server.run(url, "SELECT 1 FROM requests WHERE id = %s", (request_id,)):
        pass


def test_an_intent_whose_commit_was_never_answered_is_closed(postgres: PostgresServer, database: str) -> None:
    with between(postgres, database) as (proxy, url):

        async def main() -> None:
            async with ledger_in(url) as ledger:
                await ledger.begin(intent("a"))
                proxy.stall("to_client")
                ledger.end(end("a", attempts=(), charges=(Charge("all", 0, None, 1),)))
                asking = asyncio.create_task(ledger.begin(intent("b")))
                await asyncio.to_thread(committed, postgres, database, "b")
                proxy.cut()
                with pytest.raises(LedgerUnavailable, match="connection was lost"):
                    await asking
                assert postgres.run(database, "SELECT state FROM requests ORDER BY id") == [
                    ("ok",),
                    ("in_flight",),
                ]
                proxy.heal()
                await ledger.flush()
                record = await ledger.get("b")
                assert record is not None
                assert record.end is not None
                assert (record.state, record.cost_nano, record.end.error_label) == (
                    "failed",
                    0,
                    "ledger_unavailable",
                )
                assert spent(postgres, database) == 1, "the end that was written twice is charged once"
                assert ledger.health().ignored == 1

        asyncio.run(main())


def test_an_intent_that_never_arrived_leaves_nothing(postgres: PostgresServer, database: str) -> None:
    with between(postgres, database) as (proxy, url):

        async def main() -> None:
            async with ledger_in(url, timeout_s=BRIEF_S) as ledger:
                await ledger.begin(intent("a"))
                proxy.stall("to_server")
                ledger.end(charged("a"))
                with pytest.raises(LedgerUnavailable, match=r"hasn't answered for 1\.3 s"):
                    await ledger.begin(intent("b"))
                proxy.cut()
                proxy.heal()
                await ledger.flush()
                assert postgres.run(database, "SELECT id, state FROM requests") == [("a", "ok")]
                assert spent(postgres, database) == 1

        asyncio.run(main())


def test_a_statement_whose_commit_was_never_answered_is_undone(
    postgres: PostgresServer, database: str
) -> None:
    def put(connection: Any) -> None:
        connection.execute("INSERT INTO secrets (name, value) VALUES ('x', ?)", (b"v",))

    def remove(connection: Any) -> None:
        connection.execute("DELETE FROM secrets WHERE name = 'x'")

    def there() -> bool:
        return bool(postgres.run(database, "SELECT 1 FROM secrets WHERE name = 'x'"))

    with between(postgres, database) as (proxy, url):
        store = PostgresStore(url, owner="me", clock=SystemClock(), timeout_s=BRIEF_S)

        def stall(connection: Any) -> None:
            put(connection)
            proxy.stall("to_client")

        async def main() -> None:
            ledger = PostgresLedger(store)
            with pytest.raises(LedgerUnavailable):
                # The COMMIT is sent, and its answer never comes.
                await ledger.ask(Statement(run=stall, undo=Statement(run=remove)))
            assert there()
            proxy.cut()
            proxy.heal()
            await ledger.flush()
            await begun_again(ledger, "after")
            assert not there()
            await ledger.aclose()

        asyncio.run(main())


# A server that refuses


def test_a_full_disk_refuses_keeps_ends_and_heals(postgres: PostgresServer, database: str) -> None:
    """The server's own code for it, raised by hand: whatever isn't in the code is as when a disk is full."""

    async def main() -> None:
        async with ledger_in(database) as ledger:
            await ledger.begin(intent("a"))
            postgres.run(
                database,
                """
                CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
                END $$;
                CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON requests EXECUTE FUNCTION full_disk();
                """,
            )
            ledger.end(charged("a"))
            with pytest.raises(LedgerUnavailable, match="server's disk is full: make room"):
                await ledger.begin(intent("b"))
            assert (ledger.health().ok, ledger.health().queued) == (False, 1)
            postgres.run(database, "DROP TRIGGER full_disk ON requests; DROP FUNCTION full_disk")
            await ledger.flush()
            await ledger.begin(intent("c"))
            assert await ledger.counts() == Counts(accepted=2, ok=1, in_flight=1)
            assert spent(postgres, database) == 1

    asyncio.run(main())


def test_a_server_that_takes_no_writes(postgres: PostgresServer, database: str) -> None:
    name = database.rpartition("/")[2]

    async def main() -> None:
        async with ledger_in(database) as ledger:
            await ledger.begin(intent("a"))
            await ledger.ask(
                Statement(run=lambda connection: connection.execute("SET default_transaction_read_only = on"))
            )
            with pytest.raises(LedgerUnavailable, match=r"takes no writes.*name the primary"):
                await ledger.begin(intent("b"))
            await ledger.ask(
                Statement(
                    run=lambda connection: connection.execute("SET default_transaction_read_only = off")
                )
            )
            await ledger.begin(intent("c"))

    asyncio.run(main())
    postgres.run(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        with pytest.raises(ConfigError, match=r"refuses the connection .*takes writes"):
            opened(database)
    finally:
        with postgres.connect(name) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


def test_a_commit_is_on_disk_when_it_is_answered(postgres: PostgresServer, database: str) -> None:
    """Whatever the database's default is."""

    def level(connection: Any) -> str:
        return str(connection.execute("SHOW synchronous_commit").fetchone()[0])

    async def main(wanted: str) -> None:
        async with ledger_in(database) as ledger:
            assert await ledger.ask(Statement(run=level)) == wanted
            postgres.run(
                database,
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'holdfast'",
            )
            assert await ledger.ask(Statement(run=level)) == wanted, "on every connection"

    name = database.rpartition("/")[2]
    try:
        for setting, wanted in (("off", "on"), ("remote_apply", "remote_apply")):
            postgres.run(database, f"ALTER DATABASE {name} SET synchronous_commit = {setting}")
            asyncio.run(main(wanted))
    finally:
        postgres.run(database, f"ALTER DATABASE {name} RESET synchronous_commit")


def test_a_locked_table_refuses_and_heals(postgres: PostgresServer, database: str) -> None:
    async def main() -> None:
        async with ledger_in(database, timeout_s=BRIEF_S) as ledger:
            await ledger.begin(intent("a"))
            with postgres.connect(database.rpartition("/")[2]) as other:
                other.execute("BEGIN")
                other.execute("LOCK TABLE requests")
                ledger.end(charged("a"))
                with pytest.raises(LedgerUnavailable, match="keeps the tables locked: end it"):
                    await ledger.begin(intent("b"))
                other.execute("ROLLBACK")
            await ledger.flush()
            await ledger.begin(intent("c"))
            assert await ledger.counts() == Counts(accepted=2, ok=1, in_flight=1)

    asyncio.run(main())


def test_a_deadlock_is_tried_once_more(postgres: PostgresServer, database: str) -> None:
    """Two statements that lock in different orders, against the rule; whoever is chosen does it again."""

    def lock(first: str, second: str, met: threading.Barrier) -> Any:
        tries: list[int] = []

        def run(connection: Any) -> int:
            # The second time in the other's order: in its own it may be quicker than who waits for it, and meet it again.
            order = (second, first) if tries else (first, second)
            connection.execute("UPDATE secrets SET value = value WHERE name = ?", order[:1])
            if not tries:
                met.wait(20)
            tries.append(1)
            connection.execute("UPDATE secrets SET value = value WHERE name = ?", order[1:])
            return len(tries)

        return run

    async def main() -> None:
        met = threading.Barrier(2)
        async with ledger_in(database, timeout_s=20.0) as one, ledger_in(database, timeout_s=20.0) as two:
            postgres.run(database, "INSERT INTO secrets VALUES ('a', ''), ('b', '')")
            tries = await asyncio.gather(
                one.ask(Statement(run=lock("a", "b", met))), two.ask(Statement(run=lock("b", "a", met)))
            )
            assert sorted(tries) == [1, 2]
            assert one.health().ok
            assert two.health().ok

    asyncio.run(main())


def test_groups_that_lock_the_same_in_another_order_dont_wait_in_a_circle(
    postgres: PostgresServer, database: str
) -> None:
    def touch(name: str) -> Statement:
        def run(connection: Any) -> None:
            connection.execute("UPDATE secrets SET value = value WHERE name = ?", (name,))
            connection.execute("SELECT pg_sleep(0.001)")

        return Statement(run=run, locks=name)

    async def main() -> None:
        async with ledger_in(database) as one, ledger_in(database) as two:
            names = [f"n{number}" for number in range(12)]
            for name in names:
                postgres.run(database, "INSERT INTO secrets VALUES (%s, '')", (name,))
            before = deadlocks(postgres, database)
            for _ in range(10):
                await asyncio.gather(
                    *(one.ask(touch(name)) for name in names),
                    *(two.ask(touch(name)) for name in reversed(names)),
                )
            assert deadlocks(postgres, database) == before

    asyncio.run(main())


def deadlocks(server: PostgresServer, url: str) -> int:
    server.run(url, "SELECT pg_stat_force_next_flush()")
    ((count,),) = server.run(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


# Opening


def opened(url: str, **options: Any) -> None:
    """Opens, and closes."""

    async def main() -> None:
        async with ledger_in(url, **options):
            pass

    asyncio.run(main())


def refused(url: str, kind: type[HoldfastError], match: str) -> str:
    with pytest.raises(kind, match=match) as error:
        opened(url, timeout_s=BRIEF_S)
    shown = f"{error.value.message} {error.value!r} {error.getrepr()}"
    assert "canary" not in shown.replace(url, "")
    return error.value.message


def test_a_wrong_password(postgres: PostgresServer) -> None:
    said = refused(
        postgres.url(password="pg-canary-wrong"),
        ConfigError,
        "refuses the connection .*authentication failed",
    )
    assert f"127.0.0.1:{postgres.port}" in said
    assert "user, password and database in ledger.url" in said


def test_a_database_that_isnt_there(postgres: PostgresServer) -> None:
    refused(postgres.url("nowhere"), ConfigError, 'refuses the connection .*"nowhere" does not exist')


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(
        f"postgresql://u:pg-canary@127.0.0.1:{port}/d",
        LedgerUnavailable,
        rf"at 127.0.0.1:{port} can't be reached .*start it, or correct host and port",
    )


def test_nobody_answers(postgres: PostgresServer, database: str) -> None:
    with postgres.frozen():
        refused(database, LedgerUnavailable, "doesn't answer: see whether it runs")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:pg-canary%zz@h/d",
        "postgresql://u:pg-canary@h/d?x=y",
    ],
)
def test_a_url_that_cant_be_read_is_quoted_nowhere(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^ledger.url can't be read: write postgresql://") as error:
        opened(url)
    assert "canary" not in error.value.message
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


def test_too_old_a_server() -> None:
    """One that says of itself what PostgreSQL 13 does."""
    with serving(_greeting("13.14")) as port:
        refused(
            f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable",
            ConfigError,
            r"is PostgreSQL 13: upgrade it, 14 or newer",
        )


def _greeting(version: str) -> bytes:
    def message(kind: bytes, body: bytes) -> bytes:
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    said = {
        "server_version": version,
        "client_encoding": "UTF8",
        "in_hot_standby": "off",
        "default_transaction_read_only": "off",
        "standard_conforming_strings": "on",
    }
    settings = b"".join(message(b"S", f"{name}\0{value}\0".encode()) for name, value in said.items())
    return message(b"R", bytes(4)) + settings + message(b"K", bytes(8)) + message(b"Z", b"I")


@contextmanager
def serving(greeting: bytes) -> Iterator[int]:
    """Says that to whoever has said hello."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(greeting)
                    connection.recv(4096)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_somebody_elses_database_is_refused_and_untouched(postgres: PostgresServer, database: str) -> None:
    postgres.run(database, "CREATE TABLE photos (x INTEGER)")
    refused(database, ConfigError, "isn't a Holdfast ledger: give another database, or a schema of its own")
    assert postgres.run(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [
        ("photos",)
    ]
    postgres.run(database, "CREATE SCHEMA holdfast")
    try:
        opened(f"{database}?options=-csearch_path%3Dholdfast")
        assert postgres.run(database, "SELECT count(*) FROM holdfast.requests") == [(0,)]
    finally:
        postgres.run(database, "DROP SCHEMA holdfast CASCADE")


def test_a_ledger_of_a_newer_version_does_not_open(postgres: PostgresServer, database: str) -> None:
    known = shipped(POSTGRES)
    future = (*known, Migration(len(known) + 1, "future", "CREATE TABLE future (x INTEGER);\n"))
    PostgresStore(database, owner="o", clock=SystemClock(), migrations=future).close()
    refused(database, ConfigError, "newer version: its schema is at ")


def test_a_migration_that_fails_leaves_no_trace(postgres: PostgresServer, database: str) -> None:
    broken = Migration(1, "bad", "CREATE TABLE a (x INTEGER);\nCREATE NONSENSE;\n")
    with pytest.raises(LedgerUnavailable, match="syntax error"):
        PostgresStore(database, owner="o", clock=SystemClock(), migrations=(broken,))
    assert postgres.run(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


def test_any_number_of_processes_may_be_the_first(postgres: PostgresServer, database: str) -> None:
    async def main() -> None:
        ledgers = await asyncio.gather(
            *(PostgresLedger.open(database, clock=SystemClock(), rng=system_rng()) for _ in range(8))
        )
        assert len({ledger.owner for ledger in ledgers}) == 8
        assert len({ledger.idempotency_secret for ledger in ledgers}) == 1
        await asyncio.gather(*(ledger.begin(intent(str(n))) for n, ledger in enumerate(ledgers)))
        for ledger in ledgers:
            await ledger.aclose()

    asyncio.run(main())
    applied = postgres.run(database, "SELECT number FROM migrations ORDER BY number")
    assert applied == [(each.number,) for each in shipped(POSTGRES)]


def test_groups_are_few_under_load(database: str) -> None:
    async def main() -> None:
        async with ledger_in(database) as ledger:

            async def call(name: str) -> None:
                for n in range(20):
                    await ledger.begin(intent(f"{name}-{n}"))
                    ledger.end(end(f"{name}-{n}"))

            await asyncio.gather(*(call(str(n)) for n in range(100)))
            await ledger.flush()
            health = ledger.health()
            assert (health.intents, health.ends) == (2_000, 2_000)
            assert 20 <= health.commits <= 400

    asyncio.run(main())
