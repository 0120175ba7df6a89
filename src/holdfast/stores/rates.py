"""Rate windows that several processes share: what is asked of them, and what they answer.

A window holds entries: what was admitted, by whom and when. A process names its entries itself and begins all names alike,
so that it can settle them, and can put back what a store has lost. Times are whole microseconds by the store's clock. *Now*
is rounded down and an admission's time up, as in :mod:`holdfast.resilience.rate_window`: it counts until the window's length
is over, and never less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from holdfast.stores.base import Spell

__all__ = ["TICKS_PER_S", "Answer", "Change", "Kept", "RateStore", "Restore", "Stand", "Want"]

TICKS_PER_S: Final = 1_000_000
"""Microseconds."""


class Want(NamedTuple):
    """What a request wants of one window."""

    window: str
    length: int
    limit_requests: int | None
    limit_tokens: int | None
    requests: int
    """Taken; with no tokens either, the window is only looked at."""
    tokens: int
    entry: str
    """Whose amounts grow by that, and which counts from now on; a new one if there is none. Holds a dot."""
    requests_ahead: int = 0
    """That wait before this one: for the moment at which it passes."""
    tokens_ahead: int = 0


class Stand(NamedTuple):
    """How a window stands after a request was let in, or wasn't."""

    requests: int
    """That count."""
    tokens: int
    requests_empty_at: int
    """When none counts any more, if nobody else comes."""
    tokens_empty_at: int
    requests_pass_at: int
    """When what was asked fits behind what waits, if nobody else comes; 0: it was let in."""
    tokens_pass_at: int


class Answer(NamedTuple):
    """To all that a request wanted."""

    admitted: bool
    """In all windows; else in none."""
    now: int
    """An admission counts from a microsecond later."""
    stands: tuple[Stand, ...]
    """In the order in which they were wanted."""


class Change(NamedTuple):
    """An entry isn't what it was."""

    window: str
    length: int
    entry: str
    give_requests: int
    """That much of it was never used. Nothing is given back of an entry that has left its window."""
    give_tokens: int
    more: str = "."
    """The entry under which more is booked, as of now."""
    more_requests: int = 0
    more_tokens: int = 0


class Kept(NamedTuple):
    """An entry as its process knows it."""

    entry: str
    age: int
    """Microseconds since it was admitted, rounded down."""
    requests: int
    tokens: int


class Restore(Protocol):
    """Puts what a process knows of its own admissions in the place of what a store has of them."""

    def __call__(self, window: str, length: int, own: str, kept: Sequence[Kept]) -> Awaitable[None]:
        """``own``: how the names of its entries begin.

        Raises:
            StoreLost: the store is gone again.
        """
        ...


class RateStore(Protocol):
    """Windows by name, for all who use one store."""

    @property
    def up(self) -> bool:
        """It may be asked. False: each process counts alone."""
        ...

    async def take(
        self, wants: Sequence[Want], spell: Spell, *, orphan: Callable[[Answer], None] | None = None
    ) -> Answer:
        """Lets a request into all windows, or into none.

        Args:
            orphan: told the answer if nobody waits for it any more.

        Raises:
            StoreLost: the store can't be asked, or has forgotten what it knew.
        """
        ...

    def amend(self, changes: Sequence[Change]) -> None:
        """Settles, gives back, books. On nobody's time; lost if the store is."""
        ...

    def keep(self, window: str, length: int, own: str, kept: Sequence[Kept]) -> None:
        """As :class:`Restore`, on nobody's time."""
        ...

    def on_healing(self, restore: Callable[[Restore], Awaitable[None]]) -> None:
        """Called each time the store is about to be up: what it doesn't know is to be written back."""
        ...

    def on_change(self, changed: Callable[[], None]) -> None:
        """Called each time the store is up, or lost."""
        ...
