"""Sessions as requests meet them: looked up, begun, durable before anything is sent, warned of once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast import failpoints
from holdfast.errors import LedgerUnavailable
from holdfast.money.session import BUDGET, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.ledger.sessions import SessionStore
    from holdfast.money.account import Account
    from holdfast.money.sessions import Sessions

__all__ = ["SessionDesk"]


class SessionDesk:
    """Between the sessions in memory and their rows.

    Args:
        sessions: all that are remembered.
        store: their rows.
        shared: other processes begin, warn and end them too.
    """

    def __init__(self, sessions: Sessions, store: SessionStore, *, shared: bool = False) -> None:
        self.sessions = sessions
        self._store = store
        self._shared = shared
        self._saving: asyncio.Task[None] | None = None
        self._unborn: set[tuple[str, str]] = set()
        """Sessions whose beginning isn't durable, though it should be: the disk refused it, or its caller left."""

    async def load(self, now_ns: int) -> None:
        """Takes over what the database has of sessions that go on.

        Raises:
            LedgerUnavailable: it can't be asked.
        """
        self.sessions.load([Session.from_row(row) for row in await self._store.active(now_ns)])

    async def get(self, key: str, session_id: str) -> Session | None:
        """As of now, also one that only the database remembers; None: there is none.

        Raises:
            LedgerUnavailable: it can't be asked.
        """
        if not self.sessions.known(key, session_id):
            row = await self._store.get(key, session_id)
            if row is not None:
                self.sessions.load([Session.from_row(row)])
        return self.sessions.get(key, session_id)

    async def enter(self, key: str, session_id: str) -> Session:
        """A request names its session, which begins with its first one. Durable when it returns.

        Raises:
            SessionEnded: it was, or its time is over.
            RateExceeded, NoPlace: too many are active.
            LedgerUnavailable: it can't be made durable that it has begun.
        """
        sessions, name = self.sessions, (key, session_id)
        begins = await self.get(key, session_id) is None
        session = sessions.touch(key, session_id)
        if begins:
            self._unborn.add(name)
        if name in self._unborn:
            if failpoints.armed:
                failpoints.hit("session.begun")
            await self._saved_now([session])
            if failpoints.armed:
                failpoints.hit("session.durable")
            if self._shared:  # another process may have begun it too, or begun and ended it
                return await self.look_again(key, session_id)
        else:
            self.save_soon()
        return session

    async def hear(self, key: str, session_id: str) -> None:
        """Takes over what other processes did with it: when it began, that its caller was warned, that it is over.

        Raises:
            LedgerUnavailable: it can't be asked.
        """
        row = await self._store.get(key, session_id)
        if row is not None:
            self.sessions.merge(Session.from_row(row))

    async def look_again(self, key: str, session_id: str) -> Session:
        """As :meth:`hear`, for who goes on in it.

        Raises:
            SessionEnded, RateExceeded, NoPlace, LedgerUnavailable: as :meth:`enter`.
        """
        await self.hear(key, session_id)
        return self.sessions.touch(key, session_id)

    async def end(self, key: str, session_id: str) -> Session | None:
        """Ends it for good; None: there is no such session.

        Raises:
            LedgerUnavailable: it can't be made durable.
        """
        if self._shared:
            await self.hear(key, session_id)
        if await self.get(key, session_id) is None:
            return None
        session = self.sessions.end(key, session_id)
        if session is not None:
            await self._saved_now([session])
        return session

    def warns(self, key: str, session_id: str, account: Account, now_ns: int) -> bool:
        """Whether the caller is to be warned now of what the session has spent: once in its life."""
        if account.rule.name != BUDGET:
            return account.warns(now_ns)
        warns = self.sessions.spent(key, session_id, account.spent(now_ns))
        self.save_soon()
        return warns

    def save_soon(self) -> None:
        """Writes what has changed, without waiting for it: a warning, or an end that time brought."""
        if self._saving is None and self.sessions.unsaved():
            self._saving = asyncio.create_task(self._save())
            self._saving.add_done_callback(self._saved)

    async def _save(self) -> None:
        while unsaved := self.sessions.unsaved():
            await self._saved_now(unsaved)

    async def _saved_now(self, sessions: Sequence[Session]) -> None:
        await self._store.put([session.to_row() for session in sessions])
        self.sessions.saved(sessions)
        self._unborn.difference_update((session.key, session.id) for session in sessions)

    def _saved(self, task: asyncio.Task[None]) -> None:
        """What couldn't be written is tried again with the next change."""
        self._saving = None
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, LedgerUnavailable):
            raise error

    async def aclose(self) -> None:
        """Writes what has changed, if the database takes it."""
        if self._saving is not None:
            await asyncio.wait([self._saving])
        self.save_soon()
        if self._saving is not None:
            await asyncio.wait([self._saving])
