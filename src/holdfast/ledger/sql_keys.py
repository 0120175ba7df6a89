"""Keys in the ledger's database, written by its writer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from holdfast.ledger import keys_sql as sql
from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from holdfast.ledger.base import SqlLedger
    from holdfast.ledger.keys import KeyLimits, KeyText, StoredKey

__all__ = ["SqlKeys"]

_TOUCHED_WITHIN_S: Final = 60.0
_LOCKS: Final = "keys"


class SqlKeys:
    """Keys in the database that ``ledger`` writes, which must outlive it. Used on one event loop."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self._used: dict[bytes, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def create(self, key: StoredKey) -> bool:
        forget = Statement(run=lambda connection: sql.forget(connection, key.id), locks=_LOCKS)
        made: bool = await self._taken_back(
            Statement(run=lambda connection: sql.create(connection, key), undo=forget, locks=_LOCKS)
        )
        return made

    async def change(self, name: str, limits: KeyLimits, *, instead_of: KeyLimits) -> StoredKey | None:
        ours = False

        def run(connection: Any) -> StoredKey | None:
            nonlocal ours
            key = sql.one(connection, name)
            ours = key is not None and key.limits == instead_of
            return sql.change(connection, name, limits, instead_of)

        def undo(connection: Any) -> None:  # which another's change since then makes needless
            if ours:
                sql.change(connection, name, instead_of, limits)

        changed: StoredKey | None = await self._taken_back(_undoable(run, undo))
        return changed

    async def rotate(self, name: str, text: KeyText, *, until_ns: int) -> StoredKey | None:
        before: list[sql.Before] = []

        def run(connection: Any) -> StoredKey | None:
            key = sql.one(connection, name)
            if key is not None:
                before[:] = [(key.id, key.texts)]
            return sql.rotate(connection, name, text, until_ns)

        def undo(connection: Any) -> None:
            for each in before:
                sql.take_back(connection, each)

        rotated: StoredKey | None = await self._taken_back(_undoable(run, undo))
        return rotated

    async def revoke(self, name: str, *, now_ns: int) -> StoredKey | None:
        # Whoever revokes must not find it working again after a crash: what fails now is written as soon as it can be.
        again = Statement(run=lambda connection: sql.revoke(connection, name, now_ns), locks=_LOCKS)
        revoked: StoredKey | None = await self._ledger.tell(
            Statement(run=again.run, instead=again, locks=_LOCKS)
        )
        return revoked

    async def all(self) -> list[StoredKey]:
        reading = Statement(run=lambda connection: list(sql.every(connection)), locks=_LOCKS)
        keys: list[StoredKey] = await self._ledger.ask(reading)
        return keys

    def touch(self, sha256: bytes, now_ns: int) -> None:
        self._used[sha256] = now_ns
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TOUCHED_WITHIN_S, self.flush)

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if used := sorted(self._used.items()):  # every process locks them in this order
            self._used.clear()
            self._ledger.post(Statement(run=lambda connection: sql.touch(connection, used), locks=_LOCKS))

    async def _taken_back(self, statement: Statement) -> Any:
        """Runs it; who is cancelled meanwhile never hears of it, so that it is undone."""
        try:
            return await self._ledger.ask(statement)
        except asyncio.CancelledError:
            if statement.undo is not None:
                self._ledger.post(statement.undo)  # queued behind it
            raise


def _undoable(run: Any, undo: Any) -> Statement:
    return Statement(run=run, undo=Statement(run=undo, locks=_LOCKS), locks=_LOCKS)
