"""Where adaptive limits stand, in Redis, for all processes that use one prefix: the twin of
:class:`~holdfast.stores.adaptive.MemoryAdaptive`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.stores.base import Spell, StoreLost
from holdfast.stores.lua import script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.stores.base import Argument, Store

__all__ = ["RedisAdaptive"]

_AT_ONCE: Final = 128
"""Targets in one call: Redis serves nobody else meanwhile."""


class RedisAdaptive:
    """An :class:`~holdfast.stores.adaptive.AdaptiveStore`.

    Args:
        store: the connection.
        now_ms: a clock in place of the server's; None: the server's own.
    """

    def __init__(self, store: Store, *, now_ms: Callable[[], int] | None = None) -> None:
        self._store = store
        self._now_ms = now_ms

    async def publish(self, me: str, limits: Mapping[str, int], ttl_ms: int) -> None:
        told = list(limits.items())
        for begin in range(0, len(told), _AT_ONCE):
            some = told[begin : begin + _AT_ONCE]
            keys = [self._key(target) for target, _ in some]
            args = (self._now(), ttl_ms, me, *(limit for _, limit in some))
            await self._store.call(script("adaptive_publish"), keys, args, Spell())

    async def others(self, me: str, target: str) -> tuple[int, ...]:
        reply = await self._store.call(
            script("adaptive_others"), [self._key(target)], (self._now(), me), Spell()
        )
        if not isinstance(reply, list):
            raise StoreLost("it answers oddly")
        return tuple(limit for limit in reply if isinstance(limit, int))

    def _key(self, target: str) -> str:
        return self._store.key("adaptive", target)

    def _now(self) -> Argument:
        return "" if self._now_ms is None else self._now_ms()
