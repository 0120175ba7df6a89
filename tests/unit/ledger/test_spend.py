"""BU1, BU2: what was spent, in the ledger's file: charged with the end, or at the bound where nobody wrote one."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from tests.unit.ledger.helpers import START_NS, HandClock, attempt, end, intent, ledger_at, store_at

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.entry import AccountPart, Charge
from holdfast.ledger.migrate import migrate, shipped
from holdfast.ledger.writer import GroupFailed

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.ledger.sqlite import SqliteStore

DAY = AccountPart("five:usd:day:", "usd", 0, START_NS + 86_400 * 10**9)
TOKENS = AccountPart("t:tokens:forever:ann", "tokens", 0, None)
BOTH = (DAY, TOKENS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def asked(request_id: str, nano: int | None = 900, tokens: int | None = 70, accounts=BOTH):
    return intent(request_id, bound_nano=nano, bound_tokens=tokens, accounts=accounts)


def ended(request_id: str, nano: int = 300, tokens: int = 20, **fields):
    return end(request_id, charges=(charge(DAY, nano), charge(TOKENS, tokens)), **fields)


def charge(part: AccountPart, amount: int) -> Charge:
    return Charge(part.account, part.start_ns, part.until_ns, amount)


def spent(path: Path) -> dict[str, int]:
    """By account."""
    with closing(sqlite3.connect(path)) as database:
        return dict(database.execute("SELECT account, sum(amount) FROM spend GROUP BY account"))


def crash(store: SqliteStore) -> None:
    """What the kernel does for a process that dies: its files are closed, nothing else."""
    store._connection.close()
    store._lock.release()


def restart(path: Path, clock: HandClock | None = None) -> None:
    store_at(path, clock).close()


class TestEnds:
    def test_each_is_charged_once(self, path):
        store = store_at(path)
        store.write([asked("a"), asked("b")], [ended("a"), ended("b")])
        written = store.write([], [ended("a"), ended("b")])
        assert written.ignored == 2
        assert spent(path) == {DAY.account: 600, TOKENS.account: 40}
        crash(store)
        restart(path)
        assert spent(path) == {DAY.account: 600, TOKENS.account: 40}, "what ended isn't recovered"

    def test_a_bad_one_beside_it_costs_nobody_anything(self, path):
        store = store_at(path)
        twice = ended("bad", attempts=(attempt(1), attempt(1)))  # its rows can't be stored
        store.write([asked("good"), asked("bad")], [twice, ended("good")])
        assert spent(path) == {DAY.account: 300 + 900, TOKENS.account: 20 + 70}, "the bad one costs its bound"
        store.write([], [twice, ended("good")])
        assert spent(path) == {DAY.account: 300 + 900, TOKENS.account: 20 + 70}
        store.close()

    def test_a_group_that_fails_charges_nothing_and_then_all_of_it(self, path):
        store = store_at(path, busy_timeout_s=0.05)
        store.write([asked("a")], [])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(GroupFailed):
                store.write([], [ended("a")])
        assert spent(path) == {}
        store.write([], [ended("a")])
        assert spent(path) == {DAY.account: 300, TOKENS.account: 20}
        store.close()


class TestRecovery:
    def test_what_was_in_flight_is_charged_its_bound_where_the_intent_said(self, path):
        store = store_at(path)
        store.write([asked("open"), asked("over"), asked("free", accounts=())], [ended("over")])
        crash(store)
        restart(path)
        assert spent(path) == {DAY.account: 900 + 300, TOKENS.account: 70 + 20}
        restart(path)
        assert spent(path) == {DAY.account: 900 + 300, TOKENS.account: 70 + 20}, "once"

    def test_a_bound_that_nobody_knows_charges_nothing(self, path):
        store = store_at(path)
        store.write([asked("open", nano=None)], [])
        crash(store)
        restart(path)
        assert spent(path) == {TOKENS.account: 70}

    def test_a_raised_bound_is_what_it_costs(self, path):
        async def main() -> None:
            ledger = ledger_at(path)
            await ledger.begin(asked("open"))
            await ledger.raise_bound("open", bound_nano=1_800, bound_tokens=140)
            with closing(sqlite3.connect(path)) as database:  # durable when it returns
                row = database.execute("SELECT bound_nano, bound_tokens FROM requests").fetchone()
            assert row == (1_800, 140)
            await ledger.aclose()

        asyncio.run(main())
        restart(path)
        assert spent(path) == {DAY.account: 1_800, TOKENS.account: 140}

    def test_a_bound_is_not_raised_for_what_is_over(self, path):
        async def main() -> None:
            ledger = ledger_at(path)
            await ledger.begin(asked("a"))
            ledger.end(ended("a"))
            await ledger.flush()
            with pytest.raises(LedgerUnavailable, match="isn't open any more"):
                await ledger.raise_bound("a", bound_nano=1_800, bound_tokens=140)
            await ledger.aclose()

        asyncio.run(main())

    def test_a_late_end_takes_the_guess_back(self, path):
        clock = HandClock()
        store = store_at(path, clock)
        store.write([asked("frozen"), asked("other")], [])
        crash(store)
        clock.advance(31)
        later = store_at(path, clock)
        assert spent(path) == {DAY.account: 1_800, TOKENS.account: 140}
        assert later.write([], [ended("frozen")]).late == 1
        assert spent(path) == {DAY.account: 900 + 300, TOKENS.account: 70 + 20}
        assert later.write([], [ended("frozen")]).ignored == 1
        assert spent(path) == {DAY.account: 900 + 300, TOKENS.account: 70 + 20}
        later.close()

    def test_a_late_end_takes_back_only_what_still_counts(self, path):
        clock = HandClock()
        store = store_at(path, clock)
        store.write([asked("frozen")], [])
        crash(store)
        clock.advance(31)
        later = store_at(path, clock)
        clock.advance(86_400)
        later.renew()
        assert spent(path) == {TOKENS.account: 70}, "yesterday's is swept"
        later.write([], [replace(ended("frozen"), charges=(charge(TOKENS, 20),))])
        assert spent(path) == {TOKENS.account: 20}
        later.close()

    def test_a_living_process_clears_away_what_is_over(self, path):
        clock = HandClock()
        store = store_at(path, clock)
        hours = [AccountPart("k:usd:hour:ann", "usd", at, START_NS + at) for at in range(1, 1_000)]
        charges = tuple(charge(part, 1) for part in hours)
        store.write([asked("a")], [end("a", charges=(*charges, charge(TOKENS, 5)))])
        clock.advance(1)
        assert store.renew() is True, "512 at a time"
        assert spent(path) == {"k:usd:hour:ann": 999 - 512, TOKENS.account: 5}
        assert store.renew() is False
        assert spent(path) == {TOKENS.account: 5}, "what counts for ever stays"
        store.close()

    def test_loading_tells_what_counts(self, path):
        store = store_at(path)
        over = AccountPart("old:usd:day:", "usd", 0, START_NS)
        store.write([asked("a")], [end("a", charges=(charge(over, 9), charge(DAY, 5), charge(TOKENS, 7)))])
        crash(store)

        async def main() -> list[Charge]:
            ledger = ledger_at(path)
            try:
                return await ledger.spending()
            finally:
                await ledger.aclose()

        assert set(asyncio.run(main())) == {charge(DAY, 5), charge(TOKENS, 7)}


def test_a_file_from_before_there_were_budgets(path):
    """Its open requests have no accounts: they are given up, and charge nobody."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        migrate(database, shipped()[:3], HandClock())
        assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'spend'").fetchall()
        database.execute(
            "INSERT INTO requests (id, owner, started_ns, key, route, model, dialect, stream, request_bytes, bound_nano)"
            " VALUES ('old', 'nobody', 1, 'local', 'r', 'm', 'openai_chat', 0, 1, 900)"
        )
    store = store_at(path)
    assert store.recovered == 1
    assert spent(path) == {}
    store.write([asked("new")], [ended("new")])
    assert spent(path) == {DAY.account: 300, TOKENS.account: 20}
    store.close()


CHILD = """
import asyncio, os, sys
from pathlib import Path
from tests.unit.ledger.helpers import ledger_at
from tests.unit.ledger.test_spend import asked, ended

def say(line):
    os.write(1, f"{line}\\n".encode())  # unbuffered: what was said is said when the kill comes

async def main(path, run):
    ledger = ledger_at(path)

    async def call(name):
        for n in range(1_000_000):
            request_id = f"{run}-{name}-{n}"
            await ledger.begin(asked(request_id))
            say(f"B {request_id}")
            if n % 2:
                await ledger.raise_bound(request_id, bound_nano=1_800, bound_tokens=140)
                say(f"R {request_id}")
            ledger.end(ended(request_id))
            if n % 3 == 0:
                await ledger.flush()
                say(f"F {request_id}")

    await asyncio.gather(*(call(name) for name in range(8)))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def run_until_killed(path: Path, run: int, lines: int) -> list[str]:
    command = [sys.executable, "-c", CHILD, str(path), str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said += child.stdout.readlines()
        errors = child.stderr.read().decode()
    assert child.returncode == -9, errors
    return [line.decode().strip() for line in said]


def test_kill_9_charges_everything_that_was_begun_once(path):
    chance = random.Random(20_27)
    said: list[str] = []
    for run in range(4):
        said += run_until_killed(path, run, lines=chance.randrange(50, 400))
    restart(path)
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT id, settled_by, bound_nano, bound_tokens FROM requests").fetchall()
    by_id = {row[0]: row[1:] for row in rows}
    assert {line[2:] for line in said if line[0] == "B"} <= by_id.keys()
    raised = {line[2:] for line in said if line[0] == "R"}
    assert all(by_id[request_id][1] == 1_800 for request_id in raised)
    lost = [row for row in by_id.values() if row[0] == "recovery"]
    assert lost, "nothing was in flight when it was killed"
    assert {by_id[line[2:]][0] for line in said if line[0] == "F"} == {"end"}
    whole = len(by_id) - len(lost)
    assert spent(path) == {
        DAY.account: 300 * whole + sum(bound for _, bound, _ in lost),
        TOKENS.account: 20 * whole + sum(tokens for _, _, tokens in lost),
    }
