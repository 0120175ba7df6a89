"""Keys as other processes change them, where several share one database: made, changed, revoked there, they count here.

Told of a change (PostgreSQL's NOTIFY, in the transaction that makes it), all keys are read again; and every ten seconds all
the same, since a word may be lost. Each process decides over requests by what it read last: where the database can't be
read, that stays in force, for as long as it takes. A key that was revoked elsewhere meanwhile works here until then; the
alternative is that nobody is served. How old it is shows in ``holdfast_keys_age_seconds``.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct

from holdfast.errors import HoldfastError
from holdfast.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from holdfast.app import App
    from holdfast.clock import Clock
    from holdfast.gateway.keyring import Keyring
    from holdfast.ledger.keys import StoredKey
    from holdfast.ledger.provider_keys import SealedKey
    from holdfast.provider_keys import ProviderKeys

__all__ = ["CHANNEL", "KeyWatch", "StoredKeys", "watch_keys"]

_log = structlog.get_logger("holdfast.gateway")

CHANNEL: Final = "holdfast_changes"
"""What the ledger's triggers say it on (``schema/postgres/009_changes.sql``)."""
EVERY_S: Final = 10.0
_REST_S: Final = 0.1
"""Between two looks: somebody who makes a thousand keys isn't looked at a thousand times."""


class StoredKeys(Struct, frozen=True):
    """All that the database has."""

    keys: Sequence[StoredKey]
    provider_keys: Sequence[SealedKey]


class KeyWatch:
    """One for a gateway, on its loop.

    Args:
        ring: is told of callers' and admins' keys.
        provider_keys: of tenants' own.
        read: all of them; called in a thread.
        clock: whose monotonic seconds their age is told by.
        every_s: seconds between looks, if nothing is heard.
    """

    def __init__(
        self,
        ring: Keyring,
        provider_keys: ProviderKeys,
        read: Callable[[], StoredKeys],
        *,
        clock: Clock,
        every_s: float = EVERY_S,
    ) -> None:
        self._ring = ring
        self._provider_keys = provider_keys
        self._read = read
        self._clock = clock
        self._every_s = every_s
        self._stir = asyncio.Event()
        self._seen_at = clock.monotonic()
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    @property
    def age_s(self) -> float:
        """Since they were last known to be as the database has them."""
        return self._clock.monotonic() - self._seen_at

    def start(self) -> None:
        """Looks from now on."""
        self._task = asyncio.create_task(self._watch(), name="holdfast-keys")

    def changed(self, _said: str | None = None) -> None:
        """Something was changed somewhere: looks soon."""
        self._stir.set()

    async def aclose(self) -> None:
        """Looks no more. A second call does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    await self._stir.wait()
            except TimeoutError:
                pass
            self._stir.clear()
            try:
                await self._look()
            except Exception:  # noqa: BLE001  # a fault of ours must not make it blind to all that comes after
                _log.exception("keys can't be looked at: a fault of our own")
            await asyncio.sleep(_REST_S)

    async def _look(self) -> None:
        began = self._clock.monotonic()
        marks = self._ring.version, self._provider_keys.version
        try:
            found = await asyncio.to_thread(self._read)
        except HoldfastError as error:
            if not self._lost:
                self._lost = True
                _log.warning(
                    "keys can't be read from the ledger: those that were read last go on",
                    reason=error.message,
                )
            return
        if marks != (self._ring.version, self._provider_keys.version):
            self._stir.set()  # a change was made here meanwhile: what was read may be older
            return
        self._ring.refresh(found.keys)
        self._provider_keys.refresh(found.provider_keys)
        if self._lost:
            self._lost = False
            _log.info("keys are read from the ledger again", after_s=round(self.age_s, 3))
        self._seen_at = began


def watch_keys(app: App, ring: Keyring) -> KeyWatch | None:
    """One that looks from now on; None where nobody else writes the ledger."""
    if not app.config.ledger.shared:
        return None
    from holdfast.ledger.postgres import PostgresLedger  # a server's library, which few need

    ledger = app.ledger
    if not isinstance(ledger, PostgresLedger):
        return None
    watch = KeyWatch(ring, app.provider_keys, partial(_read, ledger.where), clock=app.clock)
    watch.start()
    ledger.listener.listen(CHANNEL, watch.changed)
    return watch


def _read(where: Path | str) -> StoredKeys:
    with LedgerReader(where) as reader:
        return StoredKeys(reader.keys(), reader.provider_keys())
