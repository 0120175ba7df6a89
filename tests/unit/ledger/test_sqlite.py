"""The file ledger against real faults: full, locked, damaged, in use, and rows that no database takes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.unit.ledger.helpers import HandClock, end, intent, ledger_at, store_at

from holdfast.clock import SystemClock, system_rng
from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.ledger import Counts
from holdfast.ledger.sqlite import SqliteLedger, path_of, repair
from holdfast.ledger.writer import GroupFailed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


# A full disk


def test_disk_full_refuses_keeps_ends_and_heals(path: Path) -> None:
    """SQLITE_FULL is the real one: the database may not grow. Room comes back when another program deletes rows."""

    async def main() -> None:
        ledger = ledger_at(path, max_pages=120)
        begun: list[str] = []

        async def fill_up() -> None:
            for n in range(10_000):
                await ledger.begin(intent(f"{n:06}", tags={"filler": "x" * 2_000}))
                begun.append(f"{n:06}")

        with pytest.raises(LedgerUnavailable, match="full: make room"):
            await fill_up()
        assert len(begun) > 20
        for request_id in begun[-20:]:
            ledger.end(end(request_id, error="y" * 3_000))
        with pytest.raises(LedgerUnavailable, match="full: make room"):
            await ledger.begin(intent("refused", tags={"filler": "x" * 2_000}))
        health = ledger.health()
        assert not health.ok
        assert health.queued == 20

        other = sqlite3.connect(path)
        other.executemany("DELETE FROM requests WHERE id = ?", [(each,) for each in begun[:-20]])
        other.commit()
        other.close()

        await ledger.flush()
        assert await ledger.counts() == Counts(accepted=20, ok=20)
        await ledger.begin(intent("after"))
        assert ledger.health().ok
        await ledger.aclose()

    asyncio.run(main())


def test_a_disk_that_returns_errors(tmp_path: Path) -> None:
    """A file-size limit of the process makes real write errors (EFBIG); lifting it is the disk coming back."""
    program = textwrap.dedent(
        """
        import asyncio, resource, sys
        from pathlib import Path
        from holdfast.errors import LedgerUnavailable
        from tests.unit.ledger.helpers import end, intent, ledger_at

        async def main():
            ledger = ledger_at(Path(sys.argv[1]))
            await ledger.begin(intent("before"))
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
            ledger.end(end("before"))
            try:
                await ledger.begin(intent("refused"))
            except LedgerUnavailable as error:
                print(error.message)
            print(ledger.health().ok, ledger.health().queued >= 1)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            await ledger.begin(intent("after"))
            await ledger.flush()
            print(ledger.health().ok, await ledger.counts())
            await ledger.aclose()

        asyncio.run(main())
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "l.db")], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    refusal, during, after = result.stdout.splitlines()
    assert "the disk reported an error" in refusal
    assert during == "False True"
    assert after == "True " + repr(Counts(accepted=2, ok=1, in_flight=1))


# Another program at the file


def test_locked_by_another_program(path: Path) -> None:
    async def main() -> None:
        ledger = ledger_at(path, busy_timeout_s=0.05)
        await ledger.begin(intent("a"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        ledger.end(end("a"))
        with pytest.raises(LedgerUnavailable, match="locked: end it"):
            await ledger.begin(intent("b"))
        assert (ledger.health().ok, ledger.health().queued) == (False, 1)
        other.execute("ROLLBACK")
        other.close()
        await ledger.begin(intent("c"))
        await ledger.flush()
        assert await ledger.counts() == Counts(accepted=2, ok=1, in_flight=1)
        await ledger.aclose()

    asyncio.run(main())


def test_a_short_lock_is_waited_for(path: Path) -> None:
    async def main() -> None:
        ledger = ledger_at(path, busy_timeout_s=30)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        caller = asyncio.create_task(ledger.begin(intent("a")))
        await asyncio.sleep(0)
        assert not caller.done()
        other.execute("ROLLBACK")
        other.close()
        await caller
        await ledger.aclose()

    asyncio.run(main())


def test_one_writer_process(path: Path) -> None:
    ledger = ledger_at(path)
    with pytest.raises(LedgerUnavailable, match=rf"already open for writing by process {os.getpid()} "):
        ledger_at(path)
    with pytest.raises(LedgerUnavailable, match="already open"):
        repair(path, owner="r", clock=HandClock())
    asyncio.run(ledger.aclose())
    asyncio.run(ledger_at(path).aclose())


def test_a_failed_open_lets_go_of_the_lock(path: Path) -> None:
    path.write_bytes(b"this is not a database, but long enough to be looked at" * 100)
    with pytest.raises(LedgerUnavailable, match="isn't a SQLite database"):
        ledger_at(path)
    path.unlink()
    asyncio.run(ledger_at(path).aclose())


def test_a_failed_group_leaves_nothing(path: Path) -> None:
    store = store_at(path, max_pages=60)
    store.write([intent("first")], [])
    with pytest.raises(GroupFailed) as failed:
        store.write([intent(f"{n}", tags={"f": "x" * 3_000}) for n in range(100)], [end("first")])
    assert not failed.value.ambiguous
    assert count(path) == {"in_flight": 1}
    store.write([intent("second")], [end("first")])
    store.close()
    assert count(path) == {"in_flight": 1, "ok": 1}


# The file


def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    async def main() -> None:
        ledger = ledger_at(path)
        await ledger.begin(intent("a"))
        names = sorted(each.name for each in path.parent.iterdir())
        assert names == ["ledger.db", "ledger.db-shm", "ledger.db-wal", "ledger.db.lock"]
        assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
        await ledger.aclose()

    asyncio.run(main())


def test_closing_empties_the_log(path: Path) -> None:
    async def main() -> None:
        ledger = ledger_at(path)
        await ledger.begin(intent("a"))
        await ledger.aclose()

    asyncio.run(main())
    assert not path.with_name("ledger.db-wal").exists()


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_is_the_synchronous_setting(path: Path, durability: str, level: int) -> None:
    store = store_at(path, durability=durability)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_urls() -> None:
    assert path_of("sqlite:///holdfast.db") == Path("holdfast.db")
    assert path_of("sqlite:////var/lib/holdfast.db") == Path("/var/lib/holdfast.db")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:///:memory:", "survives nothing"),
        ("sqlite:///", "names no file"),
        ("sqlite:////tmp/", "names no file"),
        ("sqlite:///a\0b", "names no file"),
        ("sqlite://a.db", "is not sqlite:///"),
        ("postgresql:///x", "is not sqlite:///"),
        ("holdfast.db", "is not sqlite:///"),
    ],
)
def test_urls_that_name_no_ledger(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        path_of(url)


def test_a_missing_folder_is_said_at_open(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nowhere/l.db"
    with pytest.raises(ConfigError, match=r"folder .*nowhere doesn't exist"):
        asyncio.run(SqliteLedger.open(url, clock=SystemClock(), rng=system_rng()))


def test_groups_are_few_under_load(path: Path) -> None:
    async def main() -> None:
        ledger = ledger_at(path)

        async def call(name: str) -> None:
            for n in range(20):
                await ledger.begin(intent(f"{name}-{n}"))
                ledger.end(end(f"{name}-{n}"))

        await asyncio.gather(*(call(str(n)) for n in range(100)))
        await ledger.flush()
        health = ledger.health()
        assert (health.intents, health.ends) == (2_000, 2_000)
        # 100 callers in step need 20 groups at least; one by one it would be 4,000.
        assert 20 <= health.commits <= 400
        await ledger.aclose()

    asyncio.run(main())


def count(path: Path) -> dict[str, int]:
    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall())
    finally:
        connection.close()
