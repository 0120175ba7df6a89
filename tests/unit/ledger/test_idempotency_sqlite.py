"""Keys in a file: crashes, damage, full disks, and what is cleared away."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ledger.helpers import START_NS, HandClock, end, intent, ledger_at, store_at

from holdfast.clock import SystemClock, system_rng
from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.ledger import Counts
from holdfast.ledger.idempotency import Answer, Claim, Claimed, Done, Running, Unknown, Unreplayable
from holdfast.ledger.sqlite import SqliteLedger, SqliteStore
from holdfast.ledger.sqlite_idempotency import SqliteIdempotency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ANSWER = Answer(status=200, headers=((b"content-type", b"application/json"),), body=b'{"a": 1}')
S = 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "l.db"


@asynccontextmanager
async def opened(
    path: Path, clock: HandClock | None = None, **options: Any
) -> AsyncIterator[SqliteIdempotency]:
    ledger = ledger_at(path, clock, **options)
    try:
        yield SqliteIdempotency(ledger)
    finally:
        await ledger.aclose()


def claim(store: SqliteIdempotency, key: str = "k", **fields: Any) -> Claim:
    known = {
        "tenant": "t",
        "key": key,
        "fingerprint": store.fingerprint(b"request"),
        "run_id": "run",
        "ttl_s": 60.0,
    }
    return Claim(**known | fields)


async def finished(store: SqliteIdempotency, key: str = "k", answer: Answer = ANSWER, **fields: Any) -> Claim:
    mine = claim(store, key, **fields)
    assert await store.claim(mine, now_ns=START_NS) == Claimed()
    assert await store.finish(mine, answer, now_ns=START_NS)
    return mine


def rows(path: Path, sql: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        return database.execute(sql, values).fetchall()


# What a crash leaves


class Killed(SqliteStore):
    """Ends as the kernel ends a dead process' store: its files are closed, nothing else."""

    def close(self) -> None:
        self._connection.close()
        self._lock.release()


def die(path: Path, *keys: str, done: str | None = None) -> None:
    """A process that claimed ``keys``, finished ``done``, and is gone."""

    async def main() -> None:
        store = Killed(path, owner="dead", clock=HandClock())
        ledger = SqliteLedger(store, HandClock())
        keeper = SqliteIdempotency(ledger)
        for key in keys:
            await keeper.claim(claim(keeper, key, run_id=f"dead-{key}"), now_ns=START_NS)
        if done is not None:
            await finished(keeper, done, run_id="dead-done")
        await ledger.aclose()

    asyncio.run(main())


def test_a_run_whose_process_died_is_unknown_and_never_run_again(path: Path) -> None:
    """ID1. Its time to live begins when it is given up: nobody could have asked before."""
    die(path, "k", done="done")

    async def main() -> None:
        clock = HandClock()
        clock.advance(1_000)  # longer than the ttl
        async with opened(path, clock) as store:
            now_ns = clock.wall_ns()
            unknown = Unknown(run_id="dead-k", since_ns=START_NS)
            assert await store.claim(claim(store, run_id="next"), now_ns=now_ns + 60 * S - 1) == unknown
            assert await store.claim(claim(store, run_id="next"), now_ns=now_ns + 60 * S) == Claimed()

    asyncio.run(main())


def test_what_was_finished_survives_its_process(path: Path) -> None:
    """ID1, ID2: the answer, and the secret that requests are known by."""
    die(path, done="done")

    async def main() -> None:
        async with opened(path) as store:
            verdict = await store.claim(claim(store, "done", run_id="next"), now_ns=START_NS)
            assert verdict == Done(run_id="dead-done", since_ns=START_NS, answer=ANSWER)

    asyncio.run(main())


def test_a_clean_end_with_a_run_that_is_not_over_leaves_it_unknown(path: Path) -> None:
    async def main() -> None:
        async with opened(path) as store:
            await store.claim(claim(store), now_ns=START_NS)
        async with opened(path) as store:
            assert isinstance(await store.get("t", "k", now_ns=START_NS), Unknown)

    asyncio.run(main())


def test_the_runs_of_a_living_process_are_never_given_up(path: Path) -> None:
    """However late it renews: nobody else can have the file."""
    clock = HandClock()
    store = store_at(path, clock)
    ledger = SqliteLedger(store, clock)

    async def main() -> None:
        keeper = SqliteIdempotency(ledger)
        await keeper.claim(claim(keeper), now_ns=START_NS)
        clock.advance(100_000)
        await keeper.claim(claim(keeper, "other"), now_ns=clock.wall_ns())
        assert isinstance(await keeper.get("t", "k", now_ns=clock.wall_ns()), Running)
        await ledger.aclose()

    asyncio.run(main())


def test_renewing_gives_up_only_runs_of_the_dead(path: Path) -> None:
    """Two owners on one database, as a server with several processes will have them."""
    clock = HandClock()
    ours = store_at(path, clock)
    connection = ours._connection
    for owner, expires_ns in (("alive", START_NS + 60 * S), ("dead", START_NS)):
        connection.execute("INSERT INTO owners VALUES (?, 1, 'h', 0, 0, ?)", (owner, expires_ns))
        connection.execute(
            "INSERT INTO idempotency (tenant, key, run_id, owner, fingerprint, since_ns, ttl_ns)"
            " VALUES ('', ?, 'r', ?, x'00', 1, 5)",
            (owner, owner),
        )
    ours.renew()
    states = connection.execute("SELECT key, state, expires_ns FROM idempotency ORDER BY key").fetchall()
    assert states == [("alive", "running", None), ("dead", "unknown", START_NS + 5)]
    ours.close()


# What is stored


def test_of_a_request_only_its_hmac_is_kept(path: Path) -> None:
    async def main() -> None:
        async with opened(path) as store:
            request = store.fingerprint(b"POST", b"/v1/chat/completions", b"a very private question")
            await finished(store, fingerprint=request)
            assert rows(path, "SELECT fingerprint FROM idempotency") == [(request,)]
        assert b"private" not in path.read_bytes()

    asyncio.run(main())


def test_each_database_has_a_secret_of_its_own_that_stays(tmp_path: Path) -> None:
    async def fingerprint(path: Path) -> bytes:
        async with opened(path) as store:
            return store.fingerprint(b"x")

    async def main() -> None:
        first, second = tmp_path / "1.db", tmp_path / "2.db"
        assert await fingerprint(first) == await fingerprint(first) != await fingerprint(second)

    asyncio.run(main())
    assert len(rows(tmp_path / "1.db", "SELECT value FROM secrets")[0][0]) == 32


DAMAGE = {
    "body": "UPDATE idempotency SET body = x'7b7d'",
    "body gone": "UPDATE idempotency SET body = NULL",
    "body as text": "UPDATE idempotency SET body = '{}'",
    "status": "UPDATE idempotency SET status = 201",
    "status gone": "UPDATE idempotency SET status = NULL",
    "headers": "UPDATE idempotency SET headers = x'9192c40161c40162'",
    "headers that are none": "UPDATE idempotency SET headers = x'c1'",
    "headers of another kind": "UPDATE idempotency SET headers = x'01'",
    "digest": "UPDATE idempotency SET digest = zeroblob(32)",
    "another key's answer": "UPDATE idempotency SET key = 'k2'",
    "another tenant's answer": "UPDATE idempotency SET tenant = 't2'",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_answer_is_never_given(path: Path, how: str) -> None:
    """And its key isn't run again either."""

    async def main() -> None:
        async with opened(path) as store:
            await finished(store)
            rows(path, DAMAGE[how])
            (tenant, key), *_ = rows(path, "SELECT tenant, key FROM idempotency")
            verdict = await store.claim(claim(store, key, tenant=tenant, run_id="next"), now_ns=START_NS)
            assert isinstance(verdict, Unreplayable)
            assert "damaged" in verdict.why

    asyncio.run(main())


@pytest.mark.parametrize("size", [100, 200_000, 4_000_000])
def test_answers_of_every_size_come_back(path: Path, size: int) -> None:
    """Large ones are hashed in a thread."""

    async def main() -> None:
        answer = Answer(status=200, body=bytes(range(256)) * (size // 256))
        async with opened(path) as store:
            await finished(store, answer=answer)
            standing = await store.get("t", "k", now_ns=START_NS)
            assert isinstance(standing, Done)
            assert standing.answer == answer

    asyncio.run(main())


# Claims and intents


def test_a_claim_and_its_intent_are_one_write(path: Path) -> None:
    async def main() -> None:
        async with opened(path) as store:
            ledger = store._ledger
            mine = claim(store, run_id="req-1")
            assert await store.claim(mine, now_ns=START_NS, intent=intent("req-1")) == Claimed()
            assert (ledger.health().commits, ledger.health().intents) == (1, 1)
            others = [
                store.claim(claim(store, run_id=f"req-{n}"), now_ns=START_NS, intent=intent(f"req-{n}"))
                for n in range(2, 5)
            ]
            running = Running(run_id="req-1", since_ns=START_NS)
            assert await asyncio.gather(*others) == [running] * 3
            ledger.end(end("req-1"))
            await store.finish(mine, ANSWER, now_ns=START_NS)
            assert ledger.health().commits == 3  # the second one was the three claims'
            assert await ledger.counts() == Counts(accepted=1, ok=1)

    asyncio.run(main())


def test_an_intent_that_cant_be_stored_leaves_no_claim(path: Path) -> None:
    async def main() -> None:
        async with opened(path) as store:
            await store._ledger.begin(intent("taken"))
            with pytest.raises(LedgerUnavailable, match="can't be stored"):
                await store.claim(claim(store, run_id="taken"), now_ns=START_NS, intent=intent("taken"))
            assert await store.get("t", "k", now_ns=START_NS) is None
            assert store._ledger.health().refused == 1

    asyncio.run(main())


def test_a_cancelled_claims_intent_can_be_ended(path: Path) -> None:
    async def main() -> None:
        async with opened(path) as store:
            for n in range(12):
                mine = claim(store, f"k{n}", run_id=f"req-{n}")
                task = asyncio.ensure_future(store.claim(mine, now_ns=START_NS, intent=intent(f"req-{n}")))
                for _ in range(n % 4):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                store._ledger.end(end(f"req-{n}", state="cancelled"))
            await store._ledger.flush()
            counts = await store._ledger.counts()
            assert counts == Counts(accepted=counts.cancelled, cancelled=counts.cancelled)
            assert counts.accepted > 0

    asyncio.run(main())


def test_a_tenant_that_no_database_takes_is_refused(path: Path) -> None:
    async def main() -> None:
        async with opened(path) as store:
            with pytest.raises(LedgerUnavailable, match="can't be stored"):
                await store.claim(claim(store, tenant="sur\ud800rogate"), now_ns=START_NS)

    asyncio.run(main())


# Full disks


def fill(store: SqliteIdempotency) -> None:
    """No page more, from here on. (By the same connection: a limit is each connection's own.)"""
    connection = store._ledger._store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")


def empty(store: SqliteIdempotency) -> None:
    store._ledger._store._connection.execute("PRAGMA max_page_count = 1000000")


def test_on_a_full_disk_nothing_is_claimed_and_then_it_heals(path: Path) -> None:
    async def main() -> None:
        async with opened(path) as store:
            fill(store)
            long = claim(store, "k", tenant="t" * 20_000)
            with pytest.raises(LedgerUnavailable, match="full"):
                await store.claim(long, now_ns=START_NS)
            assert await store.get(long.tenant, "k", now_ns=START_NS) is None
            empty(store)
            assert await store.claim(long, now_ns=START_NS) == Claimed()

    asyncio.run(main())


def test_an_answer_that_finds_no_room_is_never_run_again(path: Path) -> None:
    """Running while the disk is full, not replayable as soon as that much can be written."""

    async def main() -> None:
        async with opened(path) as store:
            mine, other = claim(store), claim(store, "other")
            for each in (mine, other):
                assert await store.claim(each, now_ns=START_NS) == Claimed()
            fill(store)
            large = Answer(status=200, body=b"x" * 100_000)
            outcomes = await asyncio.gather(
                store.finish(mine, large, now_ns=START_NS),
                store._ledger.begin(intent("beside")),
                return_exceptions=True,
            )
            assert isinstance(outcomes[0], LedgerUnavailable)
            assert outcomes[1] is None  # it took no other along
            verdict = await store.claim(claim(store, run_id="next"), now_ns=START_NS)
            assert isinstance(verdict, Unreplayable)  # there was room for so much
            assert await store.finish(mine, ANSWER, now_ns=START_NS) is False
            empty(store)
            assert await store.finish(other, large, now_ns=START_NS)

    asyncio.run(main())


def test_an_answer_that_was_never_written_is_unknown_after_a_crash(path: Path) -> None:
    async def main() -> None:
        async with opened(path) as store:
            await store.claim(claim(store), now_ns=START_NS)
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")  # another program keeps it locked: nothing can be written
                store._ledger._store._connection.execute("PRAGMA busy_timeout = 0")
                with pytest.raises(LedgerUnavailable, match="lock"):
                    await store.finish(claim(store), ANSWER, now_ns=START_NS)
                with pytest.raises(LedgerUnavailable, match="lock"):
                    await store.claim(claim(store, run_id="next"), now_ns=START_NS)
                (state,) = rows(path, "SELECT state FROM idempotency")
                assert state == ("running",)
                other.execute("ROLLBACK")
        async with opened(path) as store:
            # The seal was written when the lock was gone, or the crash made it unknown: never free.
            assert isinstance(await store.get("t", "k", now_ns=START_NS), (Unreplayable, Unknown))

    asyncio.run(main())


@pytest.mark.parametrize("what", ["forget", "lose", "seal"])
def test_what_was_said_while_nothing_could_be_written_is_kept(path: Path, what: str) -> None:
    async def main() -> None:
        async with opened(path) as store:
            mine = claim(store)
            await store.claim(mine, now_ns=START_NS)
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                store._ledger._store._connection.execute("PRAGMA busy_timeout = 0")
                with pytest.raises(LedgerUnavailable):
                    await getattr(store, what)(mine, now_ns=START_NS)
                other.execute("ROLLBACK")
            standing = await store.get("t", "k", now_ns=START_NS)
            wanted = {"forget": type(None), "lose": Unknown, "seal": Unreplayable}
            assert isinstance(standing, wanted[what])

    asyncio.run(main())


# What is cleared away


def test_claims_clear_away_what_has_expired(path: Path) -> None:
    """Each adds one and clears two: so the table never outgrows what was kept at one time."""

    async def main() -> None:
        async with opened(path) as store:
            for n in range(20):
                await finished(store, f"old-{n}")
            later_ns = START_NS + 60 * S
            for n in range(10):
                await store.claim(claim(store, f"new-{n}"), now_ns=later_ns)
                assert rows(path, "SELECT count(*) FROM idempotency") == [(20 - 2 * n - 2 + n + 1,)]

    asyncio.run(main())


def test_so_does_every_renewal_step_by_step(path: Path) -> None:
    clock = HandClock()
    store = store_at(path, clock)
    for n in range(40):
        store._connection.execute(
            "INSERT INTO idempotency (tenant, key, run_id, owner, state, fingerprint, since_ns, ttl_ns, expires_ns)"
            " VALUES ('', ?, 'r', 'o', 'not_replayable', x'00', 1, 1, ?)",
            (f"{n}", START_NS + n),
        )
    clock.advance(30e-9)
    more = [store.renew(), store.renew(), store.renew()]
    left = store._connection.execute("SELECT count(*) FROM idempotency").fetchone()[0]
    assert (more, left) == ([True, False, False], 9)
    store.close()


def test_the_writer_goes_on_sweeping_while_there_is_more(path: Path) -> None:
    """Step by step, a tenth of a second apart; then it is the lease's turn again."""

    class Heard(SqliteStore):
        renewed = threading.Semaphore(0)

        def renew(self) -> bool:
            more = super().renew()
            self.renewed.release()
            return more

    async def main() -> None:
        async with opened(path) as store:
            for n in range(40):
                await finished(store, f"{n}", ttl_s=1e-9)
        clock = HandClock()
        clock.advance(1)
        heard = Heard(path, owner="o", clock=clock)
        writer = SqliteLedger(heard, clock, lease_s=30.0, monotonic=clock.monotonic)

        async def left_after(seconds: float) -> int:
            clock.advance(seconds)
            writer._wake()  # the thread's own wait is in real time
            assert await asyncio.to_thread(heard.renewed.acquire, timeout=10)
            await writer.flush()  # a turn of the thread: it has noted when to renew again
            return rows(path, "SELECT count(*) FROM idempotency")[0][0]

        assert [await left_after(seconds) for seconds in (10.0, 0.1, 0.1)] == [24, 8, 0]
        clock.advance(0.1)
        for _ in range(2):  # a turn ends with renewing
            await writer.flush()
        assert not heard.renewed.acquire(blocking=False)
        await writer.aclose()

    asyncio.run(main())


# Opening


def test_open_takes_a_file_of_its_own_and_closes_it(path: Path) -> None:
    async def main() -> None:
        url = f"sqlite:///{path}"
        async with await SqliteIdempotency.open(url) as store:
            await finished(store)
            with pytest.raises(LedgerUnavailable, match="already open"):
                await SqliteIdempotency.open(url)
        with pytest.raises(LedgerUnavailable, match="closed"):
            await store.claim(claim(store), now_ns=START_NS)
        ledger = await SqliteLedger.open(url, clock=SystemClock(), rng=system_rng())
        shared = SqliteIdempotency(ledger)
        await shared.aclose()  # the ledger isn't its own
        assert isinstance(await shared.get("t", "k", now_ns=START_NS), Done)
        await ledger.aclose()

    asyncio.run(main())


def test_a_url_that_names_no_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="redis"):
        asyncio.run(SqliteIdempotency.open("redis://localhost"))
