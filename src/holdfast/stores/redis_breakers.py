"""Breakers' shared states in Redis: :mod:`holdfast.stores.breaker_state` in Lua, for all processes that use one prefix.

All keys stand under the store's one hash tag: how many changes there were, what was changed when, the circuits, and for each
half-open one its probes. They end two days after the last change: longer than any breaker may stay open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.stores.base import Spell, StoreLost
from holdfast.stores.breaker_state import Answer, Circuit, Grant, News, Standing
from holdfast.stores.lua import script
from holdfast.stores.memory_breakers import AT_ONCE, MOST

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from holdfast.stores.base import Argument, Ask, Reply, Store
    from holdfast.stores.breaker_state import BreakerStore, ProbeAsk

__all__ = ["RedisBreakers"]

T = TypeVar("T")

_TTL_MS: Final = 172_800_000
"""Two days: an open time is at most one."""


class RedisBreakers:
    """A :class:`~holdfast.stores.breaker_state.BreakerStore` for all processes that use one Redis.

    Args:
        store: the connection.
        now_ms: a clock in place of the server's; None: the server's own.
        most: targets whose state is kept.
    """

    def __init__(
        self,
        store: Store,
        *,
        now_ms: Callable[[], int] | None = None,
        most: int = MOST,
        ask: Ask | None = None,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._most = most
        self._ask = ask  # while the store is healing: its own way, past all others
        self._shared = tuple(store.key("breakers", part) for part in ("about", "changed", "circuits"))

    async def put(
        self, target: str, *, epoch: int, opens: bool, open_ms: int, times: int, by: str
    ) -> Standing:
        reply = await self._run("put", target, (epoch, int(opens), open_ms, times, by))
        return _read(_standing, reply)

    async def probe(self, target: str, ask: ProbeAsk, spell: Spell | None = None) -> Grant:
        reply = await self._run("probe", target, (ask.epoch, ask.id, ask.most, ask.lease_ms), spell)
        return _read(_grant, reply)

    async def succeed(self, target: str, *, epoch: int, id: str, most: int, by: str) -> Standing:  # noqa: A002  # a probe's
        return _read(_standing, await self._run("succeed", target, (epoch, id, most, by)))

    async def give_back(self, target: str, *, epoch: int, id: str) -> Standing:  # noqa: A002  # a probe's
        return _read(_standing, await self._run("give_back", target, (epoch, id)))

    async def renew(self, target: str, *, epoch: int, ids: Sequence[str], lease_ms: int) -> Standing:
        return _read(_standing, await self._run("renew", target, (epoch, lease_ms, *ids)))

    def on_healing(self, restore: Callable[[BreakerStore], Awaitable[None]]) -> None:
        async def write_back(ask: Ask) -> None:
            await restore(RedisBreakers(self._store, now_ms=self._now_ms, most=self._most, ask=ask))

        self._store.on_healing(write_back)

    async def pull(self, born: int, seen: int) -> News:
        return _read(_news, await self._run("pull", "", (born, seen, AT_ONCE)))

    async def _run(
        self, operation: str, target: str, args: Sequence[Argument], spell: Spell | None = None
    ) -> Reply:
        keys = (*self._shared, self._store.key("breakers", "probes", target))
        now_ms: Argument = "" if self._now_ms is None else self._now_ms()
        args = (now_ms, _TTL_MS, self._most, target, *args)
        its = script(f"breaker_{operation}", "breaker_base")
        if self._ask is not None:
            return await self._ask(its, keys, args)
        return await self._store.call(its, keys, args, spell if spell is not None else Spell())


def _read(reader: Callable[[Any], T], reply: Reply) -> T:
    """What an answer says. One that isn't ours, such as another version's, is as good as none."""
    try:
        return reader(reply)
    except (AttributeError, IndexError, TypeError, ValueError):
        raise StoreLost("it answers oddly") from None


def _grant(reply: list[Any]) -> Grant:
    return Grant(answer=Answer(reply[0]), standing=_standing(reply))


def _news(reply: list[Any]) -> News:
    now_ms, born, version, more, *changes = reply
    return News(
        now_ms=now_ms,
        born=born,
        version=version,
        more=more == 1,
        circuits=tuple((target.decode(), _circuit(packed)) for target, *packed in changes),
    )


def _standing(reply: list[Any]) -> Standing:
    _, now_ms, probes, *circuit = reply
    return Standing(now_ms=now_ms, circuit=_circuit(circuit) if circuit else None, probes=probes)


def _circuit(packed: list[Any]) -> Circuit:
    epoch, is_open, until_ms, times, successes, by = packed
    return Circuit(
        epoch=epoch, open=is_open == 1, until_ms=until_ms, times=times, successes=successes, by=by.decode()
    )
