"""Rate windows in memory: what :mod:`holdfast.stores.redis_rates` does in Lua, number for number.

For simulations, and to be held against Redis in tests. It can be lost, healed, and made to forget.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Literal

from holdfast.stores.base import StoreLost
from holdfast.stores.rates import Answer, Stand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from holdfast.stores.base import Spell
    from holdfast.stores.rates import Change, Kept, Restore, Want

__all__ = ["MemoryRates"]


class MemoryRates:
    """A :class:`~holdfast.stores.rates.RateStore` for all who share this object.

    Args:
        now: microseconds.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._windows: dict[str, _Window] = {}
        self._restore: list[Callable[[Restore], Awaitable[None]]] = []
        self._changed: list[Callable[[], None]] = []
        self.up = True
        """It may be asked: see :meth:`lose` and :meth:`heal`."""

    async def take(
        self,
        wants: Sequence[Want],
        spell: Spell,  # noqa: ARG002  # nothing is waited for
        *,
        orphan: Callable[[Answer], None] | None = None,  # noqa: ARG002  # nor can anybody leave
    ) -> Answer:
        """Lets a request into all windows, or into none.

        Raises:
            StoreLost: it is lost.
        """
        if not self.up:
            raise StoreLost("lost")
        windows = [self._windows.setdefault(want.window, _Window()) for want in wants]
        # A clock that goes back: time stands still until it has caught up.
        now = max(self._now(), *(window.newest - 1 for window in windows), 0)
        for window, want in zip(windows, wants, strict=True):
            window.expire(now, want.length)
        admitted = all(window.has_room(want) for window, want in zip(windows, wants, strict=True))
        stands = []
        for window, want in zip(windows, wants, strict=True):
            requests_at = tokens_at = 0
            if not admitted or not (want.requests or want.tokens):
                requests = want.requests + want.requests_ahead
                requests_at = window.soonest(now, want.length, "requests", requests, want.limit_requests)
                tokens = want.tokens + want.tokens_ahead
                tokens_at = window.soonest(now, want.length, "tokens", tokens, want.limit_tokens)
            else:
                window.book(now + 1, want.entry, want.requests, want.tokens)
            stands.append(
                Stand(
                    window.requests,
                    window.tokens,
                    window.empty_at(now, want.length, "requests"),
                    window.empty_at(now, want.length, "tokens"),
                    requests_at,
                    tokens_at,
                )
            )
        return Answer(admitted, now, tuple(stands))

    def amend(self, changes: Sequence[Change]) -> None:
        """Settles, gives back, books."""
        if not self.up:
            return
        now = self._now()
        for change in changes:
            window = self._windows.setdefault(change.window, _Window())
            window.give_back(change.entry, change.give_requests, change.give_tokens)
            if change.more_requests or change.more_tokens:
                moment = max(now, window.newest - 1) + 1
                window.book(moment, change.more, change.more_requests, change.more_tokens)

    def keep(self, window: str, length: int, own: str, kept: Sequence[Kept]) -> None:
        """Puts what a process knows in the place of what stands here of it."""
        if self.up:
            self._put(window, length, own, kept)

    def on_healing(self, restore: Callable[[Restore], Awaitable[None]]) -> None:
        """Registers who writes back."""
        self._restore.append(restore)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Registers who is told."""
        self._changed.append(changed)

    def lose(self, *, forget: bool = False) -> None:
        """Whoever asks gets :class:`StoreLost`; ``forget``: what was known is gone as well."""
        self.up = False
        if forget:
            self._windows.clear()
        for changed in self._changed:
            changed()

    async def heal(self) -> None:
        """All write back, and then it is up."""

        async def put(window: str, length: int, own: str, kept: Sequence[Kept]) -> None:
            self._put(window, length, own, kept)

        for restore in self._restore:
            await restore(put)
        self.up = True
        for changed in self._changed:
            changed()

    def _put(self, name: str, length: int, own: str, kept: Sequence[Kept]) -> None:
        window = self._windows.setdefault(name, _Window())
        now = max(self._now(), window.newest - 1)
        window.expire(now, length)
        for entry in [entry for entry in window.amounts if entry.startswith(own)]:
            window.give_back(entry, *window.amounts[entry])
        for each in kept:
            moment = now + 1 - each.age
            if moment + length > now:
                window.book(moment, each.entry, each.requests, each.tokens)


class _Window:
    """What :file:`lua/rate_base.lua` says of a window's two keys."""

    __slots__ = ("amounts", "newest", "requests", "times", "tokens")

    def __init__(self) -> None:
        self.times: list[tuple[int, str]] = []
        self.amounts: dict[str, tuple[int, int]] = {}
        self.requests = 0
        self.tokens = 0
        self.newest = 0

    def expire(self, now: int, length: int) -> None:
        if self.newest and self.newest + length <= now:
            self.times.clear()
            self.amounts.clear()
            self.requests = self.tokens = self.newest = 0
            return
        gone = bisect_right(self.times, now - length, key=lambda each: each[0])
        for _, entry in self.times[:gone]:
            self._add(entry, sign=-1)
            del self.amounts[entry]
        del self.times[:gone]

    def has_room(self, want: Want) -> bool:
        requests, tokens = want.limit_requests, want.limit_tokens
        return (requests is None or self.requests + want.requests <= requests) and (
            tokens is None or self.tokens + want.tokens <= tokens
        )

    def book(self, at: int, entry: str, requests: int, tokens: int) -> None:
        had_requests, had_tokens = self.amounts.get(entry, (0, 0))
        if entry in self.amounts:
            self._forget(entry)
        self.amounts[entry] = had_requests + requests, had_tokens + tokens
        insort(self.times, (at, entry))
        self.requests += requests
        self.tokens += tokens
        self.newest = max(self.newest, at)

    def give_back(self, entry: str, requests: int, tokens: int) -> None:
        if entry not in self.amounts:
            return
        had_requests, had_tokens = self.amounts[entry]
        requests, tokens = min(requests, had_requests), min(tokens, had_tokens)
        self.requests -= requests
        self.tokens -= tokens
        if (requests, tokens) == (had_requests, had_tokens):
            self._forget(entry)
            del self.amounts[entry]
        else:
            self.amounts[entry] = had_requests - requests, had_tokens - tokens

    def soonest(
        self, now: int, length: int, kind: Literal["requests", "tokens"], asked: int, limit: int | None
    ) -> int:
        if limit is None:
            return now
        rounds, rest = divmod(asked - 1, limit) if asked else (0, -1)
        missing = getattr(self, kind) + rest + 1 - limit
        if missing <= 0:
            return now + rounds * length
        for at, entry in self.times:
            missing -= self.amounts[entry][kind == "tokens"]
            if missing <= 0:
                return at + (rounds + 1) * length
        raise AssertionError("what counts is the sum of the entries")

    def empty_at(self, now: int, length: int, kind: Literal["requests", "tokens"]) -> int:
        for at, entry in reversed(self.times):
            if self.amounts[entry][kind == "tokens"]:
                return at + length
        return now

    def _add(self, entry: str, *, sign: int) -> None:
        requests, tokens = self.amounts[entry]
        self.requests += sign * requests
        self.tokens += sign * tokens

    def _forget(self, entry: str) -> None:
        self.times = [each for each in self.times if each[1] != entry]
