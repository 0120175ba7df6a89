"""Words from one process to the others, through PostgreSQL: ``LISTEN`` and ``NOTIFY``.

A word may be lost (who isn't connected doesn't hear it), so it only ever says "look": whoever listens is told to look at
everything when it is connected, for the first time and again. It arrives when the transaction that sends it is committed.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import psycopg
from psycopg import sql

from holdfast.ledger.pg_connection import SLACK_S, TICK_S, GaveUp, parameters, patiently

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Notify
    from psycopg.abc import PQGen

    from holdfast.ledger.statement import Connection

__all__ = ["Heard", "PgListener", "notify"]

Heard: TypeAlias = "Callable[[str | None], None]"
"""What a word says; ``None``: some may have been missed, or it was too long to be sent."""

_LONGEST: Final = 7_900
"""Bytes; PostgreSQL takes fewer than 8,000."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_BEAT_S: Final = 10.0
"""Nothing is heard from a peer that is gone without a word: it is asked that often."""


def _payload(said: str) -> str:
    """As it is sent: empty, which means ``None``, where it is too long."""
    said = said.replace("\0", "\ufffd")
    return said if len(said.encode()) <= _LONGEST else ""


def notify(connection: Connection, channel: str, said: str) -> None:
    """Said to all who listen, this process too, if the transaction is committed. For a statement's ``run``."""
    connection.execute("SELECT pg_notify(?, ?)", (channel, _payload(said)))


class _Ear(psycopg.AsyncConnection[tuple[Any, ...]]):
    """As :class:`~holdfast.ledger.pg_connection.TimedConnection`."""

    patience_s: float = 0.0

    async def wait(self, gen: PQGen[Any], interval: float = TICK_S, timeout: float | None = None) -> Any:
        if timeout is not None:
            return await super().wait(gen, interval, timeout)
        try:
            return await super().wait(patiently(gen, self.patience_s), TICK_S)
        except GaveUp:
            self.pgconn.finish()
            raise


class PgListener:
    """One connection that listens, for a process. Used on one event loop.

    Args:
        url: as for :class:`~holdfast.ledger.postgres.PostgresStore`. timeout_s: how long the server may take to answer.
    """

    def __init__(self, url: str, *, timeout_s: float, name: str = "holdfast listener") -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._name = name
        self._heard: dict[str, list[Heard]] = {}
        self._listened: set[str] = set()
        """Channels that the server was told of, on this connection."""
        self._stir = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.up = asyncio.Event()
        """Set while it is connected and listens to every channel."""
        self.trouble: str | None = None
        """Why it isn't connected."""

    def listen(self, channel: str, callback: Heard) -> None:
        """From now on ``callback`` is called on the loop; it must not raise, nor take long. The first one connects."""
        self._heard.setdefault(channel, []).append(callback)
        if channel in self._listened:
            asyncio.get_running_loop().call_soon(callback, None)
            return
        self.up.clear()
        self._stir.set()
        if self._task is None:
            self._task = asyncio.create_task(self._live(), name="holdfast-listener")

    async def aclose(self) -> None:
        """A second call does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _live(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                given = parameters(self._url, timeout_s=self._timeout_s, name=self._name)
                connection = await _Ear.connect(**given, autocommit=True)
                connection.patience_s = self._timeout_s + SLACK_S
            except (psycopg.Error, OSError) as error:
                self._lost(error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            try:
                await self._listen(connection)
            except (psycopg.Error, OSError) as error:
                self._lost(error)
            finally:
                self._listened.clear()
                connection.pgconn.finish()  # not close(): that would wait for who may be gone

    def _lost(self, error: Exception) -> None:
        self.up.clear()
        self.trouble = " ".join(str(error).split())

    async def _listen(self, connection: _Ear) -> None:
        """Until the connection is lost, which raises."""
        connection.add_notify_handler(self._tell)
        while True:
            await self._join(connection)
            if await self._stirred(connection):
                connection.pgconn.consume_input()
                while (word := connection.pgconn.notifies()) is not None:
                    self._call(word.relname.decode(), word.extra.decode())
            else:
                await connection.execute("SELECT 1")

    async def _join(self, connection: _Ear) -> None:
        new = [channel for channel in self._heard if channel not in self._listened]
        for channel in new:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self._listened.add(channel)
        if not self.up.is_set() and self._listened.issuperset(self._heard):
            self.trouble = None
            self.up.set()
            for channel in new:
                self._call(channel, "")

    async def _stirred(self, connection: _Ear) -> bool:
        """Waits for something to read, or a new channel; False: there was nothing for a while."""
        loop = asyncio.get_running_loop()
        loop.add_reader(connection.pgconn.socket, self._stir.set)
        try:
            async with asyncio.timeout(_BEAT_S):
                await self._stir.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(connection.pgconn.socket)
        self._stir.clear()
        return True

    def _tell(self, word: Notify) -> None:
        """One that arrived while the server was asked something."""
        self._call(word.channel, word.payload)

    def _call(self, channel: str, said: str) -> None:
        for callback in self._heard.get(channel, ()):
            try:
                callback(said or None)
            except Exception as defect:  # noqa: BLE001  # one that breaks its word mustn't make the others deaf
                context = {"message": f"a listener to {channel} failed", "exception": defect}
                asyncio.get_running_loop().call_exception_handler(context)
