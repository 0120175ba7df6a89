"""Leases, and what becomes of requests whose process is gone."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest
from tests.unit.ledger.helpers import START_NS, HandClock, attempt, end, intent, ledger_at, store_at

from holdfast.errors import ConfigError
from holdfast.ledger import Counts
from holdfast.ledger.recovery import Lease, give_up_abandoned
from holdfast.ledger.sqlite import SqliteStore, repair

if TYPE_CHECKING:
    from pathlib import Path


def crash(store: SqliteStore) -> None:
    """What the kernel does for a process that dies: its files are closed, nothing else."""
    store._connection.close()
    store._lock.release()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_a_restart_closes_what_a_dead_process_left_open(path: Path) -> None:
    first = store_at(path)
    first.write(
        [intent("done"), intent("open", bound_nano=900), intent("unbounded", bound_nano=None)], [end("done")]
    )
    crash(first)

    async def main() -> None:
        clock = HandClock()
        clock.advance(1)  # the old lease has 29 s left: holding the lock proves its owner dead all the same
        ledger = ledger_at(path, clock)
        assert ledger.recovered == 2
        assert await ledger.counts() == Counts(accepted=3, ok=1, unknown=2)
        given_up = await ledger.get("open")
        assert given_up is not None
        assert given_up.end is not None
        assert (given_up.state, given_up.settled_by, given_up.late) == ("unknown", "recovery", False)
        assert (given_up.end.cost_nano, given_up.end.ended_ns) == (900, START_NS + 10**9)
        assert given_up.owner == first.owner
        unbounded = await ledger.get("unbounded")
        assert unbounded is not None
        assert (unbounded.state, unbounded.cost_nano) == ("unknown", None)
        await ledger.aclose()

    asyncio.run(main())


def test_a_late_end_replaces_the_guess_once(path: Path) -> None:
    crash_after_begin(path, "frozen")

    async def main() -> None:
        ledger = ledger_at(path)
        ledger.end(end("frozen", cost_nano=42, attempts=(attempt(1), attempt(2))))
        ledger.end(end("frozen", state="failed"))
        await ledger.flush()
        record = await ledger.get("frozen")
        assert record is not None
        assert record.end is not None
        assert (record.state, record.settled_by, record.late) == ("ok", "end", True)
        assert record.end.cost_nano == 42
        assert len(record.end.attempts) == 2
        health = ledger.health()
        assert (health.ends, health.late, health.ignored) == (1, 1, 1)
        assert await ledger.counts() == Counts(accepted=1, ok=1)
        await ledger.aclose()

    asyncio.run(main())


def test_an_end_that_itself_says_unknown_is_final(path: Path) -> None:
    store = store_at(path)
    store.write([intent("a")], [end("a", state="unknown")])
    written = store.write([], [end("a", state="ok", attempts=())])
    assert (written.late, written.ignored) == (0, 1)
    store.close()


def test_only_an_expired_lease_gives_up_requests(path: Path) -> None:
    """Two owners on one database, as PostgreSQL will have them, on a clock set by hand."""
    clock = HandClock()
    store = store_at(path, clock, lease_s=30)
    connection = store._connection
    other = Lease("other", started_ns=clock.wall_ns(), lease_s=30)
    other.renew(connection, clock.wall_ns())
    connection.execute(
        "INSERT INTO requests (id, owner, started_ns, key, route, model, dialect, stream, request_bytes)"
        " VALUES ('theirs', 'other', 0, 'k', 'r', 'm', 'd', 0, 0)"
    )
    store.write([intent("ours")], [])

    clock.advance(20)
    store.renew()
    assert store.recovered == 0
    clock.advance(9.999)
    store.renew()
    assert store.recovered == 0
    other.renew(connection, clock.wall_ns())  # in time: 30 s more
    clock.advance(29.999)
    store.renew()
    assert store.recovered == 0
    clock.advance(0.001)
    store.renew()
    assert store.recovered == 1
    assert states(path) == {"theirs": "unknown", "ours": "in_flight"}
    assert connection.execute("SELECT id FROM owners").fetchall() == [(store.owner,)]

    other.renew(connection, clock.wall_ns())  # only frozen: it is back under its own name
    store.renew()
    assert store.recovered == 1
    store.close()


def test_compare_and_set_spares_what_ended_meanwhile(path: Path) -> None:
    store = store_at(path)
    store.write([intent("a")], [end("a")])
    store._connection.execute("DELETE FROM owners")
    assert give_up_abandoned(store._connection, START_NS) == 0
    assert states(path) == {"a": "ok"}
    store.close()


def test_closing_gives_the_lease_up(path: Path) -> None:
    store_at(path).close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM owners").fetchone() == (0,)
    connection.close()


def test_leases_of_crashed_processes_do_not_pile_up(path: Path) -> None:
    for n in range(5):
        crash_after_begin(path, str(n))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM owners").fetchone() == (1,)
    connection.close()


def test_repair_does_what_a_start_does(path: Path) -> None:
    crash_after_begin(path, "open")
    assert repair(path, owner="repair", clock=HandClock()) == 1
    assert states(path) == {"open": "unknown"}
    assert repair(path, owner="repair-2", clock=HandClock()) == 0


def test_repair_makes_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to repair"):
        repair(tmp_path / "typo.db", owner="r", clock=HandClock())
    assert list(tmp_path.iterdir()) == []


def crash_after_begin(path: Path, request_id: str) -> None:
    store = store_at(path)
    store.write([intent(request_id)], [])
    crash(store)


def states(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT id, state FROM requests").fetchall())
    finally:
        connection.close()
