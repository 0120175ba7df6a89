"""Idempotency keys in the ledger's SQLite file: they survive kill -9, as the ledger does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.clock import SystemClock, system_rng
from holdfast.ledger.sql_idempotency import SqlIdempotency
from holdfast.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from holdfast.clock import Clock, Rng

__all__ = ["SqliteIdempotency"]


class SqliteIdempotency(SqlIdempotency):
    """Keys in the file that ``ledger`` writes. :meth:`open` takes a file for keys alone.

    The ledger must outlive it; closing the ledger is its opener's business.
    """

    def __init__(self, ledger: SqliteLedger) -> None:
        super().__init__(ledger)
        self._owned = False

    @classmethod
    async def open(cls, url: str, *, clock: Clock | None = None, rng: Rng | None = None) -> Self:
        """A store of its own. One process at a time writes to a file.

        Args:
            url: ``sqlite:///relative.db`` or ``sqlite:////absolute/path.db``; made where it isn't there.
            clock: for leases. rng: for this process' id.

        Raises:
            ConfigError: the path or what is in it can't be used.
            LedgerUnavailable: another process writes to the file, or it can't be opened now.
        """
        store = cls(await SqliteLedger.open(url, clock=clock or SystemClock(), rng=rng or system_rng()))
        store._owned = True
        return store

    async def aclose(self) -> None:
        """Close the file that :meth:`open` opened. Runs that aren't over become ``unknown`` at the next start."""
        if self._owned:
            await self._ledger.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
