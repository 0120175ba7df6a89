"""Many rate limits under names: one for each key, model or target, and memory only for those in use.

==================  ================================================================================================
a name of its own   the limit that ``each`` sets for it
any other name      a limit of its own with the common settings
idle                nothing counts in its windows and nobody waits: it may be dropped, since a new one in its place
                    answers the same. Every new name looks at two old ones, so the idle ones go as others come
too many names      beyond ``max_names`` new names share one limit: whoever makes names up gets less, never more. They
                    share until it is idle, so that nobody is admitted here and there in the same window
==================  ================================================================================================
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from holdfast.clock import SystemClock
from holdfast.resilience.rate_limit import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.clock import Clock
    from holdfast.resilience.rate_limit import RateLimitSettings

__all__ = ["RateLimits"]

_LOOKS: Final = 2
"""How many old names a new one looks at: more than one, so that dropping outruns adding."""

_NONE: Final[Mapping[str, RateLimitSettings]] = {}


class RateLimits:
    """Rate limits by name.

    Args:
        settings: of every name that has none of its own.
        each: settings by name.
        clock: as for :class:`~holdfast.resilience.rate_limit.RateLimit`.
        name: what the names are, for messages: ``"key"`` gives ``rate limit 'key alice'``.
        max_names: how many names without settings of their own are told apart at a time.
        make: makes a limit of its settings and its full name; None: one of this process' own.
    """

    def __init__(
        self,
        settings: RateLimitSettings,
        *,
        each: Mapping[str, RateLimitSettings] = _NONE,
        clock: Clock | None = None,
        name: str = "",
        max_names: int = 10_000,
        make: Callable[[RateLimitSettings, str], RateLimit] | None = None,
    ) -> None:
        if max_names < 1:
            raise ValueError(f"max_names must be a whole number from 1, not {max_names!r}")
        self._make = make or partial(_alone, clock or SystemClock())
        self._name = name
        self._settings = settings
        self._each = dict(each)
        self._max_names = max_names
        self._held: dict[str, RateLimit] = {}
        # Dropped, and a permit or a caller still has it: its name gets the same one again, or it would have two.
        self._known: WeakValueDictionary[str, RateLimit] = WeakValueDictionary()
        self._shared = self._new("other names", settings)

    def __len__(self) -> int:
        """How many names are held."""
        return len(self._held)

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def of(self, name: str) -> RateLimit:
        """The limit for ``name``. Ask again for each request: what is idle may have been dropped in between."""
        found = self._held.get(name)
        return self._add(name) if found is None else found

    def apply(self, settings: RateLimitSettings, *, each: Mapping[str, RateLimitSettings] = _NONE) -> None:
        """Other numbers from now on. What was admitted stays, and is judged by them."""
        self._settings = settings
        self._each = dict(each)
        self._shared.apply(settings)
        for name, limit in list(self._known.items()):
            limit.apply(self._each.get(name, settings))

    def _add(self, name: str) -> RateLimit:
        self._drop_idle()
        limit = self._known.get(name)
        if limit is None:
            own = self._each.get(name)
            if own is None and (len(self._held) >= self._max_names or not self._shared.idle):
                return self._shared
            limit = self._known[name] = self._new(name, own or self._settings)
        self._held[name] = limit
        return limit

    def _drop_idle(self) -> None:
        """The oldest names first; who is in use goes to the end."""
        for name in [name for name, _ in zip(self._held, range(_LOOKS), strict=False)]:
            limit = self._held.pop(name)
            if not limit.idle:
                self._held[name] = limit

    def _new(self, name: str, settings: RateLimitSettings) -> RateLimit:
        return self._make(settings, f"{self._name} {name}".strip())


def _alone(clock: Clock, settings: RateLimitSettings, name: str) -> RateLimit:
    return RateLimit(settings, clock=clock, name=name)
