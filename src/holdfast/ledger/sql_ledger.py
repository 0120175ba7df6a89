"""What the ledgers in databases have in common: what is asked of them is SQL that rides in the writer's groups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final

from holdfast.errors import LedgerUnavailable, NotFound
from holdfast.ledger import spend_sql
from holdfast.ledger.reader import LedgerReader
from holdfast.ledger.statement import Statement
from holdfast.ledger.writer import GroupWriter

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.ledger.entry import Charge, Counts, Record
    from holdfast.ledger.statement import Connection

__all__ = ["DatabaseLedger"]

_FORGET: Final = "DELETE FROM spend WHERE account = ?"


class DatabaseLedger(GroupWriter):
    """A writer that can be asked. Subclasses say where it may be read."""

    shared: ClassVar[bool] = False
    """Other processes write it at the same time."""

    @property
    def where(self) -> Path | str:
        """For a :class:`~holdfast.ledger.reader.LedgerReader`."""
        raise NotImplementedError

    async def raise_bound(self, request_id: str, *, bound_nano: int | None, bound_tokens: int | None) -> None:
        def run(connection: Connection) -> bool:
            return spend_sql.raise_bound(connection, request_id, bound_nano, bound_tokens)

        # Of a process' own requests: nobody else locks them while it lives.
        if not await self.ask(Statement(run=run, locks=f"requests {request_id}")):
            raise LedgerUnavailable(
                f"request {request_id} isn't open any more: its process was taken for dead"
            )

    async def forget_spending(self, account: str) -> None:
        def run(connection: Connection) -> None:
            connection.execute(_FORGET, (account,))

        await self.ask(Statement(run=run, locks=f"spend {account}"))

    async def spending(self) -> list[Charge]:
        def run(connection: Connection) -> list[Charge]:
            return spend_sql.load(connection, self._clock.wall_ns())

        found: list[Charge] = await self.ask(Statement(run=run))
        return found

    async def get(self, request_id: str) -> Record | None:
        return await asyncio.to_thread(self._get, request_id)

    async def counts(self) -> Counts:
        return await asyncio.to_thread(self._counts)

    def _get(self, request_id: str) -> Record | None:
        with LedgerReader(self.where) as reader:
            try:
                return reader.show(request_id)
            except NotFound:
                return None

    def _counts(self) -> Counts:
        with LedgerReader(self.where) as reader:
            return reader.counts()
