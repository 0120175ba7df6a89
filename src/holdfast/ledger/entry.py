"""What the ledger holds of a request: the intent before anything is sent, the end after everything is over.

Dates are wall-clock nanoseconds since 1970 UTC, durations milliseconds, money nano-dollars (``Decimal``
dollars as ``cost_usd``). Bodies aren't kept. All values are frozen: what was handed in doesn't change on its
way to disk.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from holdfast.model import Usage

__all__ = [
    "NANO",
    "AccountPart",
    "AttemptRow",
    "Billed",
    "Charge",
    "Counts",
    "End",
    "FinalState",
    "Intent",
    "Record",
    "SettledBy",
    "State",
]

FinalState: TypeAlias = Literal["ok", "failed", "cancelled", "unknown"]
State: TypeAlias = Literal["in_flight", "ok", "failed", "cancelled", "unknown"]
Billed: TypeAlias = Literal["provider", "none", "bound", "delivered"]
"""Where an attempt's cost comes from: the provider's exact usage; nothing was billed; its upper bound; what
arrived."""

NANO: Final = 1_000_000_000
"""Nano-dollars in a dollar."""


SettledBy: TypeAlias = Literal["end", "recovery"]
"""``end``: its own end. ``recovery``: its process died, so it is ``unknown`` and costs its bound."""


class AccountPart(Struct, frozen=True, array_like=True):
    """Where a request's spending is counted: one subject's account of one budget, in one part of the budget's window."""

    account: str
    measure: Literal["usd", "tokens"]
    start_ns: int
    until_ns: int | None
    """From when on what was spent in this part doesn't count; ``None``: it always does."""


class Charge(Struct, frozen=True):
    """What a request spent of one account in one part of its window: nano-dollars or tokens, as the account says."""

    account: str
    start_ns: int
    until_ns: int | None
    amount: int
    held: int = 0
    """How much of it comes out of its process' block (:mod:`holdfast.ledger.blocks`); 0 where there are none."""


class Intent(Struct, frozen=True, kw_only=True):
    """A request that was accepted and is about to be sent."""

    id: str
    """UUID version 7: unique, sorts by time."""
    started_ns: int
    key: str = "local"
    """The name of the caller's key (tenant), never the key."""
    session: str | None = None
    tags: dict[str, str] = {}  # msgspec copies an empty mutable default for each instance
    route: str
    model: str
    """As the caller asked for it."""
    dialect: str
    stream: bool
    request_bytes: int
    bound_nano: int | None = None
    """Upper bound of what the request can cost, as far as it is allowed to. ``None``: unknown."""
    bound_tokens: int | None = None
    """Likewise, in tokens."""
    accounts: tuple[AccountPart, ...] = ()
    """What a crash charges the bound to."""


class AttemptRow(Struct, frozen=True, kw_only=True):
    """One call to one provider."""

    number: int
    """From 1, in the order they were begun; unique within the request."""
    provider: str
    deployment: str = ""
    """Which of the provider's deployments; empty where it has but one."""
    model: str
    """As sent to the provider."""
    started_ns: int
    outcome: str
    """``ok``, or the label of a class in :mod:`holdfast.errors`."""
    status: int | None = None
    """The provider's HTTP status, if it answered."""
    error: str | None = None
    """The message, with secrets scrubbed."""
    retry_after_s: float | None = None
    first_byte_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float
    finish_reason: str | None = None
    usage: Usage | None = None
    cost_nano: int | None = None
    """``None``: billed at a price nobody knows. Nothing billed is 0."""
    price_id: str | None = None
    """The price snapshot that ``cost_nano`` comes from."""
    billed: Billed
    upstream_id: str | None = None
    """The provider's own id of the request."""
    usage_flag: str | None = None
    """Why ``usage`` wasn't believed: :data:`holdfast.providers.rates.Flag`."""
    paid_by: str = "gateway"
    """Whose key paid: ``gateway``, or ``caller``: its own."""


class End(Struct, frozen=True, kw_only=True):
    """How a request ended. Exactly one is kept per request."""

    id: str
    ended_ns: int
    state: FinalState
    status: int | None = None
    """The HTTP status that the caller got. 499: it left before there was one. ``None``: it is in process."""
    provider: str | None = None
    """Who served, if anybody did."""
    model: str | None = None
    finish_reason: str | None = None
    error_label: str | None = None
    error: str | None = None
    first_token_ms: float | None = None
    """From the request's arrival to its first content."""
    total_ms: float | None = None
    """``None`` only where nobody was there to measure: a crash."""
    cost_nano: int | None = None
    """Sum over the attempts. ``None`` if the price of any billed attempt is unknown."""
    usage: Usage | None = None
    """The serving attempt's."""
    attempts: tuple[AttemptRow, ...] = ()
    delivered_bytes: int = 0
    """Bytes of the provider's answer that were handed to the caller's connection."""
    skipped: tuple[tuple[str, str], ...] = ()
    """``(target, field)`` for each target that couldn't express the request."""
    charges: tuple[Charge, ...] = ()
    """What it spent of budgets. Not read back: the accounts have it."""

    @property
    def deployment(self) -> str:
        """Which of the serving provider's deployments; empty where it has but one, or nobody served."""
        return self.attempts[-1].deployment if self.provider is not None and self.attempts else ""


class Record(Struct, frozen=True, kw_only=True):
    """A request as the ledger has it now."""

    intent: Intent
    owner: str
    """The process that accepted it."""
    end: End | None = None
    """``None``: in flight."""
    settled_by: SettledBy | None = None
    late: bool = False
    """The end came after the request had already been given up as ``unknown``."""

    @property
    def state(self) -> State:
        return "in_flight" if self.end is None else self.end.state

    @property
    def cost_nano(self) -> int | None:
        return None if self.end is None else self.end.cost_nano

    @property
    def cost_usd(self) -> Decimal | None:
        """Exact dollars."""
        nano = self.cost_nano
        return None if nano is None else Decimal(nano).scaleb(-9)


class Counts(Struct, frozen=True, kw_only=True):
    """How many requests are in which state. ``accepted`` is counted by itself, not summed from the rest."""

    accepted: int = 0
    ok: int = 0
    failed: int = 0
    cancelled: int = 0
    unknown: int = 0
    in_flight: int = 0

    @property
    def balanced(self) -> bool:
        """Accepted = ok + failed + cancelled + unknown + in flight: else one is lost or counted twice."""
        return self.accepted == self.ok + self.failed + self.cancelled + self.unknown + self.in_flight
