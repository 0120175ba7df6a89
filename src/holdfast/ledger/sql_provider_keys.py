"""Tenants' sealed keys in the ledger's database, as statements in its writer's groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.ledger.provider_keys import SealedKey
from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.ledger.base import SqlLedger
    from holdfast.ledger.statement import Connection

__all__ = ["SqlProviderKeys", "every"]

_COLUMNS: Final = "tenant, provider, base_url, master, sealed, set_ns"
_ALL: Final = f"SELECT {_COLUMNS} FROM provider_keys ORDER BY tenant, provider"  # noqa: S608  # names of columns
_THERE: Final = "SELECT 1 FROM provider_keys WHERE tenant = ? AND provider = ?"
_PUT: Final = f"""
INSERT INTO provider_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, provider) DO UPDATE SET
    base_url = excluded.base_url, master = excluded.master, sealed = excluded.sealed, set_ns = excluded.set_ns"""  # noqa: S608  # as above
_REMOVE: Final = "DELETE FROM provider_keys WHERE tenant = ? AND provider = ?"
_RESEAL: Final = """
UPDATE provider_keys SET master = ?, sealed = ? WHERE tenant = ? AND provider = ? AND sealed = ?"""


def every(connection: Connection) -> Sequence[SealedKey]:
    """All there are."""
    names = SealedKey.__struct_fields__
    rows = connection.execute(_ALL).fetchall()
    return tuple(SealedKey(**dict(zip(names, row, strict=True))) for row in rows)


class SqlProviderKeys:
    """Sealed keys in the database that ``ledger`` writes, which must outlive this."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger

    async def put(self, row: SealedKey) -> bool:
        def run(connection: Connection) -> bool:
            there = connection.execute(_THERE, (row.tenant, row.provider)).fetchone() is not None
            values = (row.tenant, row.provider, row.base_url, row.master, row.sealed, row.set_ns)
            connection.execute(_PUT, values)
            return there

        replaced: bool = await self._ask(run)
        return replaced

    async def remove(self, tenant: str, provider: str) -> bool:
        removed: int = await self._ask(lambda store: store.execute(_REMOVE, (tenant, provider)).rowcount)
        return removed == 1

    async def reseal(self, old: SealedKey, new: SealedKey) -> bool:
        values = (new.master, new.sealed, old.tenant, old.provider, old.sealed)
        changed: int = await self._ask(lambda store: store.execute(_RESEAL, values).rowcount)
        return changed == 1

    async def all(self) -> Sequence[SealedKey]:
        # Through the writer as well: what it shows is what is durable, and in the order of what was asked.
        rows: Sequence[SealedKey] = await self._ask(every)
        return rows

    async def _ask(self, run: Any) -> Any:
        return await self._ledger.ask(Statement(run=run, locks="provider_keys"))
