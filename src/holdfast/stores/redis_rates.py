"""Rate windows in Redis: :mod:`holdfast.stores.memory_rates` in Lua.

A window is two keys, ``{prefix}:rate:NAME:times`` and ``…:amounts``, which end a second after the window's length. A
request's windows are asked in one script, so it is in all of them or in none, for one round trip.
"""

from __future__ import annotations

from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from holdfast.stores.base import Script, StoreLost
from holdfast.stores.rates import Answer, Stand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from holdfast.stores.base import Argument, Ask, Reply, Spell, Store
    from holdfast.stores.rates import Change, Kept, Restore, Want

__all__ = ["AT_ONCE", "RedisRates"]

AT_ONCE: Final = 64
"""Windows that one script changes at most: 64 take Redis about half a millisecond."""
_FIELDS: Final = 6


class RedisRates:
    """A :class:`~holdfast.stores.rates.RateStore` for all processes that use one Redis.

    Args:
        store: the connection.
        now: microseconds, in place of the server's clock; None: the server's own.
    """

    def __init__(self, store: Store, *, now: Callable[[], int] | None = None) -> None:
        self._store = store
        self._now = now

    @property
    def up(self) -> bool:
        """It may be asked."""
        return self._store.up

    async def take(
        self, wants: Sequence[Want], spell: Spell, *, orphan: Callable[[Answer], None] | None = None
    ) -> Answer:
        """Lets a request into all windows, or into none: one round trip.

        Raises:
            StoreLost: Redis can't be asked, or has forgotten what it knew.
        """
        store = self._store
        keys = [store.marker]
        args: list[Argument] = [store.epoch, self._time()]
        for want in wants:
            keys += self._keys(want.window)
            args += (
                want.length,
                -1 if want.limit_requests is None else want.limit_requests,
                -1 if want.limit_tokens is None else want.limit_tokens,
                want.requests,
                want.tokens,
                want.entry,
                want.requests_ahead,
                want.tokens_ahead,
            )
        heard = None if orphan is None else partial(_orphaned, orphan)
        answer = _answer(await store.call(_script("take"), keys, args, spell, orphan=heard))
        if answer is None:
            store.forgotten()
            raise StoreLost("it has forgotten what it knew")
        return answer

    def amend(self, changes: Sequence[Change]) -> None:
        """Settles, gives back, books."""
        for start in range(0, len(changes), AT_ONCE):
            some = changes[start : start + AT_ONCE]
            keys = [key for change in some for key in self._keys(change.window)]
            args: list[Argument] = [self._time()]
            for change in some:
                args += change[1:]
            self._store.tell(_script("amend"), keys, args)

    def keep(self, window: str, length: int, own: str, kept: Sequence[Kept]) -> None:
        """Puts what this process knows in the place of what Redis has of it."""
        self._store.tell(_script("restore"), *self._restoring(window, length, own, kept))

    def on_healing(self, restore: Callable[[Restore], Awaitable[None]]) -> None:
        """Registers who writes back."""

        async def heal(ask: Ask) -> None:
            async def put(window: str, length: int, own: str, kept: Sequence[Kept]) -> None:
                await ask(_script("restore"), *self._restoring(window, length, own, kept))

            await restore(put)

        self._store.on_healing(heal)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Registers who is told."""
        self._store.on_change(changed)

    def _restoring(
        self, window: str, length: int, own: str, kept: Sequence[Kept]
    ) -> tuple[Sequence[str], Sequence[Argument]]:
        args: list[Argument] = [self._time(), length, own]
        for entry in kept:
            args += entry
        return self._keys(window), args

    def _keys(self, window: str) -> tuple[str, str]:
        return self._store.key("rate", window, "times"), self._store.key("rate", window, "amounts")

    def _time(self) -> Argument:
        return "" if self._now is None else self._now()


@cache
def _script(operation: str) -> Script:
    texts = files("holdfast.stores") / "lua"
    base, its = ((texts / f"rate_{part}.lua").read_text(encoding="utf-8") for part in ("base", operation))
    return Script(f"rate_{operation}", base + its)


def _answer(reply: Reply) -> Answer | None:
    """None: the epoch is another one."""
    if reply == [-1]:
        return None
    match reply:
        case [int(admitted), int(now), *numbers] if len(numbers) % _FIELDS == 0:
            stands = tuple(Stand._make(numbers[at : at + _FIELDS]) for at in range(0, len(numbers), _FIELDS))
            return Answer(admitted == 1, now, stands)
        case _:
            raise StoreLost("it answers oddly")


def _orphaned(orphan: Callable[[Answer], None], reply: Reply) -> None:
    answer = _answer(reply)
    if answer is not None:
        orphan(answer)
