"""Many lives: in several processes, several at a time in each, on the databases that were asked for."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from tests.crash.database import PostgresDatabase, SqliteDatabase
from tests.crash.life import Life, Lived
from tests.crash.nursery import Nursery
from tests.crash.plan import Death, names_of, plan
from tests.crash.report import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.crash.database import Database

__all__ = ["live_all", "planned", "run"]

Planned: TypeAlias = tuple[str, list[Death]]
"""A life's name, from which it is lived again, and its deaths."""


async def live_all(lives: Sequence[Planned], lanes: int, server: str | None = None) -> list[Lived]:
    """These lives, ``lanes`` at a time: while one waits for a lease, another dies.

    Args:
        server: the URL of a PostgreSQL that has their ledgers; None: SQLite has.
    """
    turn = asyncio.Semaphore(lanes)

    async def one(nursery: Nursery, seed: str, deaths: list[Death]) -> Lived:
        async with turn:
            folder = Path(tempfile.mkdtemp(prefix="crash-"))
            with _database(folder, server) as database:
                lived = await Life(seed, deaths, folder=folder, nursery=nursery, database=database).run()
            if lived.faults:
                lived.folder = str(folder)
            else:
                shutil.rmtree(folder)
            return lived

    async with Nursery() as nursery:
        return list(await asyncio.gather(*(one(nursery, seed, deaths) for seed, deaths in lives)))


@contextlib.contextmanager
def _database(folder: Path, server: str | None) -> Iterator[Database]:
    """A file in the life's folder, or a database of a PostgreSQL that is there for all lives."""
    if server is None:
        yield SqliteDatabase(folder / "ledger.db")
        return
    import psycopg  # only where it is asked for

    name = f'"{folder.name}"'
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield PostgresDatabase(urlsplit(server)._replace(path=f"/{folder.name}").geturl())
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def _server(ledger: str) -> Iterator[str | None]:
    """A PostgreSQL that has run for a lease's time: before that it gives nobody up."""
    if ledger == "sqlite":
        yield None
        return
    import psycopg  # only where it is asked for
    from tests.support.postgres import PostgresServer

    with PostgresServer({"max_connections": "400"}) as server:
        url = server.database()
        with psycopg.connect(url) as connection:
            connection.execute(_GROWN_UP)
        yield url


_GROWN_UP: Final = """
SELECT pg_sleep(greatest(0, 31 - extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())))"""


def _live(lives: list[Planned], lanes: int, server: str | None) -> list[Lived]:
    return asyncio.run(live_all(lives, lanes, server))


def planned(seed: int, cycles: int, ledger: str) -> list[Planned]:
    """Each life with its name."""
    lives = plan(seed, cycles, names_of(ledger))
    return [(f"{seed}/{cycles}/{i}", deaths) for i, deaths in enumerate(lives)]


def run(cycles: int, seed: int, *, jobs: int, lanes: int, ledger: str, only: str | None = None) -> Summary:
    """All of it. ``only``: one life of the plan that its name tells."""
    if only is not None:
        seed, cycles, _ = (int(part) for part in only.split("/"))
    lives = [life for life in planned(seed, cycles, ledger) if only is None or life[0] == only]
    summary = Summary(seed=seed, jobs=jobs, ledger=ledger)
    with _server(ledger) as server:
        began = time.monotonic()
        if jobs == 1 or len(lives) == 1:
            summary.add(_live(lives, lanes, server))
        else:
            _in_turns(lives, lanes, server, summary)
        summary.seconds = time.monotonic() - began
    return summary


def _in_turns(lives: list[Planned], lanes: int, server: str | None, summary: Summary) -> None:
    """A few lives for each turn: what a process gathers doesn't slow it down for ever, and sums can be seen to grow."""
    turns = [lives[at : at + 2 * lanes] for at in range(0, len(lives), 2 * lanes)]
    # Fresh interpreters: there are threads here, and forks of what has threads may hang.
    with ProcessPoolExecutor(summary.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_live, turn, lanes, server) for turn in turns]):
            summary.add(done.result())
            print(f"{summary.cycles} cycles, {len(summary.faults)} lives with faults", file=sys.stderr)  # noqa: T201  # progress
