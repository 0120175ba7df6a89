"""What this process hangs on, how each of it stands, and what holds less while it is lost: for ``/health/ready``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from holdfast.gateway.degraded import WEAKER

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable, Iterator

    from holdfast.app import App
    from holdfast.clock import Clock

__all__ = ["Dependencies", "Dependency", "Look", "dependencies_of"]

_LOOK_S: Final = 1.0


class Look(msgspec.Struct, frozen=True):
    """How something stands now."""

    ok: bool
    reason: str = ""
    """Why it is lost."""
    since_s: float | None = None
    """For how long it has been so; None: whoever looks has to remember."""


Watched: TypeAlias = "Callable[[], Look]"


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """One of them, as ``/health/ready`` tells it."""

    name: str
    ok: bool
    since_s: float
    """Seconds for which it has been there, or lost."""
    reason: str | None
    """Why it is lost."""
    weaker: tuple[str, ...]
    """What holds less meanwhile."""


class Dependencies:
    """All of one process. Belongs to its event loop's thread.

    Args:
        clock: seconds are told by it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watched: dict[str, Watched] = {}
        self._stood: dict[str, tuple[bool, float]] = {}
        self._timer: TimerHandle | None = None

    def add(self, name: str, look: Watched) -> None:
        """From now on ``name`` is one of them. ``look`` must not wait or raise."""
        self._watched[name] = look
        self._see(name)

    def watch(self, loop: AbstractEventLoop) -> None:
        """Looks each second, so that it is known since when something is lost. Until :meth:`close`."""
        for name in self._watched:
            self._see(name)
        self._timer = loop.call_later(_LOOK_S, self.watch, loop)

    def close(self) -> None:
        """A second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()

    def __iter__(self) -> Iterator[Dependency]:
        return (self._see(name) for name in self._watched)

    def _see(self, name: str) -> Dependency:
        look, now = self._watched[name](), self._clock.monotonic()
        before = self._stood.get(name)
        if before is None or before[0] != look.ok:
            self._stood[name] = before = (look.ok, now)
        return Dependency(
            name=name,
            ok=look.ok,
            since_s=round(now - before[1] if look.since_s is None else look.since_s, 3),
            reason=None if look.ok else look.reason,
            weaker=() if look.ok else WEAKER.get(name, ()),
        )


def dependencies_of(app: App) -> Dependencies:
    """Those of a gateway."""
    found = Dependencies(app.clock)

    def ledger() -> Look:
        health = app.ledger.health()
        return Look(ok=health.ok, reason=health.reason or "")

    found.add("ledger", ledger)
    if (store := app.shared.store) is not None:

        def redis() -> Look:
            state = store.state()
            return Look(ok=state.up, reason=state.reason, since_s=state.since_s)

        found.add("redis", redis)
    return found
