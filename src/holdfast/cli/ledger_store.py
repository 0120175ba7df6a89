"""A ledger as commands write it: a SQLite file only under its lock, PostgreSQL beside everybody else."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.ledger.lock import FileLock
from holdfast.ledger.mender import SqliteMender

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from holdfast.cli.ledger_file import Place
    from holdfast.clock import Clock
    from holdfast.ledger.mender import Mender

__all__ = ["locked", "open_mender"]


def open_mender(place: Place, clock: Clock) -> AbstractContextManager[Mender]:
    """Closed with the block.

    Raises:
        ConfigError: no ledger there, or one that can't be used.
        LedgerUnavailable: a living process has the file, or it can't be written.
    """
    if isinstance(place, Path):
        return contextlib.closing(SqliteMender(place, clock))
    from holdfast.ledger.pg_mender import PgMender  # psycopg is needed only here

    return contextlib.closing(PgMender(place.reveal(), clock))


@contextlib.contextmanager
def locked(place: Place) -> Iterator[bool]:
    """Whether nobody else writes meanwhile: a SQLite file's lock is held, which proves that every other writer is dead.

    Raises:
        LedgerUnavailable: a living process holds it.
    """
    if not isinstance(place, Path) or not place.is_file():
        yield False
        return
    lock = FileLock(place.with_name(place.name + ".lock"))
    try:
        yield True
    finally:
        lock.release()
