"""Keys that are kept in the ledger's database: what is known of each, and what every store of them must do.

A key has a name for good, and one or more texts: :meth:`KeyStore.rotate` adds one, and the older ones work until their time
is over. Of a text only the hash is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.ledger.key_text import Kind

__all__ = [
    "MOST_TEXTS",
    "KeyBudget",
    "KeyLimits",
    "KeyRate",
    "KeyState",
    "KeyStore",
    "KeyText",
    "KeyWindow",
    "StoredKey",
]

MOST_TEXTS: Final = 8
"""Texts that a key has at most, those that are over included. The ninth takes the oldest one's place."""

KeyState = Literal["active", "expired", "revoked"]
KeyWindow = Literal["hour", "day", "month", "forever"]


class KeyRate(Struct, frozen=True, kw_only=True):
    """How often its holder may ask; see :class:`holdfast.resilience.rate_meter.RateLimitSettings`."""

    requests: int | None = None
    tokens: int | None = None
    window_s: float = 60.0
    max_queue: int = 0
    max_wait_s: float = 30.0


class KeyBudget(Struct, frozen=True, kw_only=True):
    """What its holder may spend in a window. One of the limits is set."""

    window: KeyWindow
    limit_nano: int | None = None
    limit_tokens: int | None = None


class KeyLimits(Struct, frozen=True, kw_only=True):
    """What may be changed of a key while it is in use. None: no restriction."""

    team: str | None = None
    tags: Mapping[str, str] = {}  # msgspec copies an empty mutable default for each instance
    routes: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    rate: KeyRate | None = None
    budgets: tuple[KeyBudget, ...] = ()
    expires_ns: int | None = None
    """From then on it is refused. On the wall clock, as all times here: nanoseconds since 1970 UTC."""


class KeyText(Struct, frozen=True, kw_only=True):
    """One text of a key, as far as it is known."""

    sha256: bytes
    prefix: str
    """Its first characters, to tell it from others."""
    created_ns: int
    until_ns: int | None = None
    """It was replaced, and is refused from then on. None: it is the newest one."""
    last_used_ns: int | None = None
    """To the minute."""


class StoredKey(Struct, frozen=True, kw_only=True):
    id: str
    """A UUID version 7."""
    name: str
    """Unique without regard to case. Never given to another key, since the ledger knows callers by name."""
    kind: Kind = "caller"
    limits: KeyLimits = KeyLimits()
    texts: tuple[KeyText, ...]
    """At least one; the newest first."""
    created_ns: int
    revoked_ns: int | None = None

    def state(self, now_ns: int) -> KeyState:
        if self.revoked_ns is not None:
            return "revoked"
        expires_ns = self.limits.expires_ns
        return "expired" if expires_ns is not None and expires_ns <= now_ns else "active"

    @property
    def last_used_ns(self) -> int | None:
        """Of all its texts."""
        return max((text.last_used_ns for text in self.texts if text.last_used_ns is not None), default=None)


class KeyStore(Protocol):
    """Where keys are kept. What is returned is durable. Names match without regard to case.

    Every method that is awaited raises :class:`~holdfast.errors.LedgerUnavailable` where nothing was written; what then may
    stand there all the same is taken back, but a revocation, which is made up for.
    """

    async def create(self, key: StoredKey) -> bool:
        """Keep a new key. False: its name is taken, be it by one that was revoked."""
        ...

    async def change(self, name: str, limits: KeyLimits, *, instead_of: KeyLimits) -> StoredKey | None:
        """Put ``limits`` in place of those that its changer saw. One that has others by now keeps them, and is returned with
        them. None: there is no such key, or it was revoked."""
        ...

    async def rotate(self, name: str, text: KeyText, *, until_ns: int) -> StoredKey | None:
        """Give it a new text. Its older ones end at ``until_ns``, if not sooner. None: as for :meth:`change`."""
        ...

    async def revoke(self, name: str, *, now_ns: int) -> StoredKey | None:
        """End it for good. One that was revoked before keeps its date. None: there is no such key."""
        ...

    async def all(self) -> list[StoredKey]:
        """Every key, in the order of making, those that are over included."""
        ...

    def touch(self, sha256: bytes, now_ns: int) -> None:
        """A text was used. Written down with others within a minute, or at :meth:`flush`; never raises."""
        ...

    def flush(self) -> None:
        """Write down now what :meth:`touch` told. To be called before the database is closed; never raises."""
        ...
