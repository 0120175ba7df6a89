"""What a door hands to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.stores.base import Spell

if TYPE_CHECKING:
    from holdfast.dialects.base import Dialect, Envelope
    from holdfast.engine.route import Resolved
    from holdfast.engine.wallet import Wallet

__all__ = ["Call", "Limits"]


class Limits(msgspec.Struct, frozen=True):
    """The caller's own limits, from its headers: each can only tighten the target's."""

    read_s: float | None = None
    """Bounds the first byte and every gap."""
    total_s: float | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for what, and when it came in."""

    id: str
    dialect: Dialect
    envelope: Envelope
    resolved: Resolved
    started_at: float
    """Monotonic seconds: the deadline counts from here."""
    started_ns: int
    key: str = "local"
    team: str | None = None
    session: str | None = None
    tags: dict[str, str] = {}  # msgspec copies an empty mutable default for each instance
    limits: Limits = Limits()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """The caller's own, of its dialect (``Dialect.forwarded``): for targets that speak it."""
    query: str = ""
    """Of the URL, likewise."""
    retries: int = 0
    """How often the caller's own SDK has tried this before."""
    wallet: Wallet | None = None
    """What its tenant's or its caller's own keys open; None: nothing."""
    spell: Spell = msgspec.field(default_factory=Spell)
    """How long it has waited for what processes share: all parts together have one allowance."""

    @property
    def deadline(self) -> float:
        """Monotonic seconds at which the request ends, whatever has become of it."""
        total_s, asked_s = self.resolved.policy.total_s, self.limits.total_s
        return self.started_at + (total_s if asked_s is None else min(total_s, asked_s))
