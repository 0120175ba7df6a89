"""What the parts that share something need of a store, and how they learn that it is gone.

A store holds only what may be lost. So nobody waits for it long, and nobody fails because of it: whoever gets
:class:`StoreLost` goes on with what its own process knows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from holdfast.stores.waits import Waits

__all__ = ["Argument", "Ask", "Reply", "Script", "Spell", "Store", "StoreLost", "StoreState"]

Argument: TypeAlias = str | bytes | int

Reply: TypeAlias = "int | bytes | list[Reply] | None"
"""What a script answers."""


class StoreLost(Exception):
    """The store can't be asked now, or not within what this request may still spend on it.

    What was asked may have been done all the same.
    """


class Spell:
    """How long one request has waited for the store so far, all parts together. Made anew for each request."""

    __slots__ = ("spent_s",)

    def __init__(self) -> None:
        self.spent_s = 0.0
        """Seconds."""


class Script:
    """One operation of the store: atomic, told by its text's hash."""

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        """For messages."""
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        """As Redis names it."""


class StoreState(msgspec.Struct, frozen=True, kw_only=True):
    """How the store stands, for ``/health/ready``, metrics and people."""

    up: bool
    address: str
    """Without user and password."""
    reason: str
    """Why it is lost, or was at the last time; empty: it never was."""
    since_s: float
    """Seconds for which it has been up, or lost."""
    losses: int
    """Since the beginning."""
    skipped: int
    """Calls that didn't ask it, because it was lost or their request's time was used up."""


class Ask(Protocol):
    """Asks a store that is healing, before it is up for all others."""

    def __call__(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Awaitable[Reply]:
        """Asks it.

        Raises:
            StoreLost: it is gone again.
        """
        ...


class Store(Protocol):
    """Shared state that may be lost."""

    @property
    def waits(self) -> Waits:
        """How long requests have waited for it."""
        ...

    @property
    def up(self) -> bool:
        """It may be asked. False: go on alone, at once."""
        ...

    @property
    def epoch(self) -> bytes:
        """Of what it knows. A script that finds another one under :attr:`marker` asks a store that has forgotten."""
        ...

    @property
    def marker(self) -> str:
        """The key that the epoch stands under."""
        ...

    def key(self, *parts: str) -> str:
        """A key's full name. All keys of one store carry the same hash tag: a script may touch any of them."""
        ...

    async def call(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Argument],
        spell: Spell,
        *,
        orphan: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Runs a script on the request's time.

        Args:
            spell: the request's; the wait is added to it.
            orphan: told the answer if the caller doesn't wait for it any more (it was cancelled, or its time was over):
                what was taken is to be given back. Not called if the connection was lost: then nobody knows.

        Raises:
            StoreLost: it can't be asked, or not within the request's time.
        """
        ...

    def tell(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> None:
        """Runs a script on nobody's time: what it answers is of no interest. Does nothing while the store is lost."""
        ...

    def forgotten(self) -> None:
        """A script found another epoch: what was known is to be written back, as after a loss."""
        ...

    def on_healing(self, restore: Callable[[Ask], Awaitable[None]]) -> None:
        """``restore`` writes back what its part knows, each time before the store is up again (the first time too)."""
        ...

    def on_change(self, changed: Callable[[], None]) -> None:
        """``changed`` is called each time the store is up, or lost: :attr:`up` says which. Must not raise."""
        ...

    def state(self) -> StoreState:
        """How it stands now."""
        ...

    async def aclose(self) -> None:
        """Closes the connection. Whoever still waits gets :class:`StoreLost`."""
        ...
