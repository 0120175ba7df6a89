"""Where a new adaptive limit begins: at what other processes have found out about the same target, without slow start.

Each process runs its own limit, as TCP's connections do, and their sum comes to the capacity. What they tell each other is
where they stand, once a second and only if it has changed. A new one begins with their mean, those that ended lately
included: after a restart that is what was its own. One that comes in addition is too many by that much, and it takes them
all a few decreases. Nobody waits for it; until it is known, and without the store, slow start it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.stores.base import StoreLost

if TYPE_CHECKING:
    from holdfast.clock import Clock
    from holdfast.resilience.adaptive import AdaptiveLimit
    from holdfast.stores.adaptive import AdaptiveStore

__all__ = ["KEPT_S", "PUBLISH_S", "SharedLimits"]

PUBLISH_S: Final = 1.0
"""How often limits that have changed are told."""
KEPT_S: Final = 600.0
"""How long a note holds: what was found ten minutes ago is no better than slow start."""

_log = structlog.get_logger("holdfast.engine")


class SharedLimits:
    """All adaptive limits of one process. Belongs to its event loop's thread.

    Args:
        store: where they are noted.
        clock: time.
        me: names this process to the others.
    """

    def __init__(self, store: AdaptiveStore, *, clock: Clock, me: str) -> None:
        self._store = store
        self._monotonic = clock.monotonic
        self._me = me
        self._limits: dict[str, AdaptiveLimit] = {}
        self._told: dict[str, tuple[int, float]] = {}  # what was told last, and when
        self._new: dict[str, AdaptiveLimit] = {}
        self._faulty = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Limits that are shared now."""
        return len(self._limits)

    def share(self, target: str, limit: AdaptiveLimit) -> None:
        """``limit`` is told as ``target``'s from now on, and begins where others stand."""
        if self._limits.get(target) is limit:
            return
        self._limits[target] = self._new[target] = limit
        self._wake.set()

    def forget(self, target: str) -> None:
        """That one is out of use here."""
        for known in (self._limits, self._told, self._new):
            known.pop(target, None)

    def start(self) -> None:
        """Begins to ask and to tell, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Ends. What was told last holds for who comes next."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        next_s = self._monotonic()
        while True:
            try:
                await self._begin()
                if self._monotonic() >= next_s:
                    next_s = self._monotonic() + PUBLISH_S
                    await self._publish()
            except StoreLost:
                await asyncio.sleep(PUBLISH_S)
                continue
            except Exception:  # noqa: BLE001  # a fault of ours must not end the sharing for good
                if not self._faulty:  # once: whatever it is, it comes again in a second
                    self._faulty = True
                    _log.exception("limits_sharing_failed")
                await asyncio.sleep(PUBLISH_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PUBLISH_S):
                    await self._wake.wait()

    async def _begin(self) -> None:
        self._wake.clear()
        for target, limit in list(self._new.items()):
            others = await self._store.others(self._me, target)
            if self._new.get(target) is limit:
                del self._new[target]
            if others:
                limit.begin(sum(others) // len(others))

    async def _publish(self) -> None:
        now = self._monotonic()
        changed: dict[str, int] = {}
        for target, limit in self._limits.items():
            told, at = self._told.get(target, (None, now))
            if limit.learned and (limit.limit != told or now - at >= KEPT_S / 2):
                changed[target] = limit.limit
        if changed:
            await self._store.publish(self._me, changed, round(KEPT_S * 1000))
            self._told.update({target: (limit, now) for target, limit in changed.items()})
