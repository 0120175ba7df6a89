"""What is known of a ledger's life from three sides: callers, provider, database. Plain values, none of the product's."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Ask", "Call", "Evidence", "KeyRow", "Row", "Served", "Snapshot", "Try"]


@dataclass(frozen=True)
class Ask:
    """One request as its caller means it. With a key it may be sent more than once."""

    nonce: str
    tenant: str
    route: str
    stream: bool
    max_tokens: int
    key: str | None = None
    session: str | None = None


@dataclass(frozen=True)
class Call:
    """One time that an ask was sent, and what its caller got."""

    nonce: str
    cycle: int
    status: int | None = None
    """None: no head came."""
    whole: bool = False
    """The body came to its proper end."""
    success: bool = False
    """It is an answer, with a finish reason and no error in it."""
    replayed: bool = False
    accepted: bool = False
    """The head says how many attempts were made: the request was accepted."""
    body: bytes = b""
    text: str = ""
    error: str = ""
    """The code of an error that was told."""


@dataclass(frozen=True)
class Served:
    """One attempt in the provider's journal."""

    nonce: str
    """The ask's."""
    provider: str
    arrived_ns: int
    """Since 1970."""
    bill_nano: int
    """What it billed."""
    may_nano: int
    """What it might have billed had nobody cut it."""
    text: str


@dataclass(frozen=True)
class Try:
    """One row of ``attempts``."""

    number: int
    provider: str
    started_ns: int
    outcome: str
    billed: str
    cost_nano: int | None
    tokens: int
    """Of input and output, as the provider told them."""


@dataclass(frozen=True)
class Row:
    """One row of ``requests``."""

    seq: int
    id: str
    nonce: str
    tenant: str
    session: str | None
    owner: str
    state: str
    settled_by: str | None
    late: bool
    started_ns: int
    bound_nano: int | None
    bound_tokens: int | None
    cost_nano: int | None
    accounts: tuple[tuple[str, str], ...] = ()
    """``account, measure``."""
    tries: tuple[Try, ...] = ()


@dataclass(frozen=True)
class KeyRow:
    """One row of ``idempotency``."""

    state: str
    run_id: str
    body: bytes | None


@dataclass(frozen=True)
class Snapshot:
    """The database at one moment."""

    label: str
    cycle: int
    recovered: bool
    """A gateway has started on it since the last death, and serves nobody yet; else a gateway has just died."""
    rows: tuple[Row, ...] = ()
    spend: dict[str, int] = field(default_factory=dict)
    """By account, over all parts of its window: which part a request counts in is told when it ends."""
    keys: dict[tuple[str, str], KeyRow] = field(default_factory=dict)
    sessions: frozenset[tuple[str, str]] = frozenset()
    blocks: dict[str, int] = field(default_factory=dict)
    """What processes hold of each account, where several share it."""
    reservations: int | None = None
    """Open ones, as the gateway says; None: it wasn't asked."""


@dataclass
class Evidence:
    """All of a ledger's life."""

    asks: dict[str, Ask] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    """In the order of time; the last one is of the end, when everything is over."""
