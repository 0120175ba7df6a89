"""What adaptive limits stand at in other processes: where a new one begins, instead of slow start.

A note for each target and process, which lapses unless it is renewed. Lost notes cost a few round trips of slow start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["AdaptiveStore", "MemoryAdaptive"]


class AdaptiveStore(Protocol):
    """Where they are noted. Every method raises :class:`~holdfast.stores.base.StoreLost`."""

    async def publish(self, me: str, limits: Mapping[str, int], ttl_ms: int) -> None:
        """Notes where ``me`` stands, by target, for ``ttl_ms`` from now."""
        ...

    async def others(self, me: str, target: str) -> tuple[int, ...]:
        """Where the others stand, the lowest first."""
        ...


class MemoryAdaptive:
    """An :class:`AdaptiveStore` in this process's memory, for tests and as the twin of what Redis does.

    Args:
        now_ms: milliseconds, never going back.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._notes: dict[str, dict[str, tuple[int, int]]] = {}

    async def publish(self, me: str, limits: Mapping[str, int], ttl_ms: int) -> None:
        ends_ms = self._now_ms() + ttl_ms
        for target, limit in limits.items():
            self._of(target)[me] = limit, ends_ms

    async def others(self, me: str, target: str) -> tuple[int, ...]:
        return tuple(sorted(limit for name, (limit, _) in self._of(target).items() if name != me))

    def _of(self, target: str) -> dict[str, tuple[int, int]]:
        """Without those that have lapsed."""
        now_ms = self._now_ms()
        kept = {name: note for name, note in self._notes.get(target, {}).items() if note[1] > now_ms}
        self._notes[target] = kept
        return kept
