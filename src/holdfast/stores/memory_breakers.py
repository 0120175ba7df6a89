"""Breakers' shared states in this process's memory: for tests, where several gatehouses share one object, and as the twin of
what Redis does (:mod:`holdfast.stores.redis_breakers`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.stores.breaker_state import Grant, Machine, News, ProbeAsk, Standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from holdfast.stores.base import Spell
    from holdfast.stores.breaker_state import BreakerStore, Circuit

__all__ = ["AT_ONCE", "MOST", "MemoryBreakers"]

MOST: Final = 8192
"""Targets whose state is kept; beyond that the one that changed longest ago is forgotten."""
AT_ONCE: Final = 256
"""Changes that are told at once."""


class MemoryBreakers:
    """A :class:`~holdfast.stores.breaker_state.BreakerStore` for one event loop.

    Args:
        now_ms: milliseconds, never going back.
        most: targets whose state is kept.
    """

    def __init__(self, now_ms: Callable[[], int], *, most: int = MOST) -> None:
        self._now_ms = now_ms
        self._most = most
        self._machines: dict[str, Machine] = {}
        self._changed: dict[str, int] = {}  # the version of each one's last change, the oldest first
        self._born = 0
        self._version = 0

    async def put(
        self, target: str, *, epoch: int, opens: bool, open_ms: int, times: int, by: str
    ) -> Standing:
        machine, now_ms = self._of(target), self._now_ms()
        if machine.put(now_ms, epoch=epoch, opens=opens, open_ms=open_ms, times=times, by=by):
            self._note(target, machine, now_ms)
        return machine.standing(now_ms)

    async def probe(self, target: str, ask: ProbeAsk, spell: Spell | None = None) -> Grant:  # noqa: ARG002  # takes no time
        machine, now_ms = self._of(target), self._now_ms()
        answer = machine.probe(now_ms, ask)
        return Grant(answer=answer, standing=machine.standing(now_ms))

    async def succeed(self, target: str, *, epoch: int, id: str, most: int, by: str) -> Standing:  # noqa: A002  # a probe's
        machine, now_ms = self._of(target), self._now_ms()
        if machine.succeed(now_ms, epoch=epoch, id=id, most=most, by=by):
            self._note(target, machine, now_ms)
        return machine.standing(now_ms)

    async def give_back(self, target: str, *, epoch: int, id: str) -> Standing:  # noqa: A002  # a probe's
        machine = self._of(target)
        machine.give_back(epoch=epoch, id=id)
        return machine.standing(self._now_ms())

    async def renew(self, target: str, *, epoch: int, ids: Sequence[str], lease_ms: int) -> Standing:
        machine, now_ms = self._of(target), self._now_ms()
        machine.renew(now_ms, epoch=epoch, ids=ids, lease_ms=lease_ms)
        return machine.standing(now_ms)

    def on_healing(self, restore: Callable[[BreakerStore], Awaitable[None]]) -> None:
        """It is never lost."""

    async def pull(self, born: int, seen: int) -> News:
        since = seen if born == self._born and seen <= self._version else 0
        changed = [(target, version) for target, version in self._changed.items() if version > since]
        more, told = len(changed) > AT_ONCE, changed[:AT_ONCE]
        circuits: list[tuple[str, Circuit]] = []
        for target, _ in told:
            circuit = self._machines[target].circuit
            if circuit is not None:
                circuits.append((target, circuit))
        return News(
            now_ms=self._now_ms(),
            born=self._born,
            version=told[-1][1] if more else self._version,
            more=more,
            circuits=tuple(circuits),
        )

    def flush(self) -> None:
        """Forgets everything, as FLUSHALL does."""
        self._machines.clear()
        self._changed.clear()
        self._born = self._version = 0

    def _of(self, target: str) -> Machine:
        """A target of which nothing is known leaves nothing behind."""
        return self._machines.get(target) or Machine()

    def _note(self, target: str, machine: Machine, now_ms: int) -> None:
        self._machines[target] = machine
        if not self._born:
            self._born = now_ms * 1000 + 1  # microseconds, and never 0
        self._version += 1
        self._changed.pop(target, None)
        self._changed[target] = self._version
        if len(self._changed) > self._most:
            oldest = next(iter(self._changed))
            del self._changed[oldest], self._machines[oldest]
