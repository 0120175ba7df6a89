"""What stands under an idempotency key: one run, and its answer for as long as that is kept.

A key belongs to a tenant; (tenant, key) admits one run. :data:`TABLE` is the whole rule: a pair that isn't in it changes
nothing. Whoever settles a run names it, so a run that was given up can't touch the one after it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Protocol, TypeAlias

import msgspec
from msgspec import Meta, Struct

from holdfast.errors import (
    IdempotencyConflict,
    IdempotencyRunning,
    InvalidIdempotencyKeyError,
    NotReplayable,
    OutcomeUnknownForKey,
    Rejected,
)

if TYPE_CHECKING:
    from holdfast.ledger.entry import Intent

__all__ = [
    "LARGEST_ANSWER",
    "LONGEST_KEY",
    "LONGEST_TTL_S",
    "TABLE",
    "Answer",
    "Claim",
    "Claimed",
    "Conflict",
    "Done",
    "Event",
    "IdempotencyStore",
    "Running",
    "Standing",
    "State",
    "Unknown",
    "Unreplayable",
    "Verdict",
    "check_key",
    "digest_of",
    "fingerprint",
    "pack_headers",
    "refusal",
    "sources",
    "unpack_headers",
]

LARGEST_ANSWER: Final = 4 * 2**20
"""Bytes of body and headers that are kept; a larger answer is ``not_replayable``."""
LONGEST_KEY: Final = 255
"""Characters."""
LONGEST_TTL_S: Final = 365 * 86_400.0

_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")
_RETRY_AFTER_S: Final = 1.0


class State(StrEnum):
    FREE = "free"
    """Nothing is kept: never used, forgotten, or expired."""
    RUNNING = "running"
    """Its run was admitted and isn't over. Never expires while its process lives."""
    DONE = "done"
    """Its run is over, and its answer is kept."""
    NOT_REPLAYABLE = "not_replayable"
    """Its run is over; the answer isn't kept."""
    UNKNOWN = "unknown"
    """Its run's process is gone: nobody knows how it ended, so it isn't run again."""


class Event(StrEnum):
    CLAIM = "claim"
    """Somebody wants to run it."""
    FINISH = "finish"
    """The run is over, with an answer that can be kept."""
    SEAL = "seal"
    """The run is over, with an answer that can't be kept: it is too large, or the disk didn't take it."""
    FORGET = "forget"
    """The run ended in a transient error: another one may try."""
    LOSE = "lose"
    """The run was cut short: its process died, or gave it up."""
    MAKE_ROOM = "make room"
    """The answer has to go, for others (in memory only)."""
    EXPIRE = "expire"
    """It was kept for as long as was asked."""


TABLE: Final[dict[State, dict[Event, State]]] = {
    State.FREE: {
        Event.CLAIM: State.RUNNING,
    },
    State.RUNNING: {
        Event.FINISH: State.DONE,
        Event.SEAL: State.NOT_REPLAYABLE,
        Event.FORGET: State.FREE,
        Event.LOSE: State.UNKNOWN,
    },
    State.UNKNOWN: {
        # Its process was only frozen, and says now how the run ended.
        Event.FINISH: State.DONE,
        Event.SEAL: State.NOT_REPLAYABLE,
        Event.FORGET: State.FREE,
        Event.EXPIRE: State.FREE,
    },
    State.DONE: {
        Event.MAKE_ROOM: State.NOT_REPLAYABLE,
        Event.EXPIRE: State.FREE,
    },
    State.NOT_REPLAYABLE: {
        Event.EXPIRE: State.FREE,
    },
}


def sources(event: Event) -> tuple[State, ...]:
    """The states in which ``event`` does something."""
    return tuple(state for state, row in TABLE.items() if event in row)


class Claim(Struct, frozen=True, kw_only=True):
    """Who wants to run what, under which key. Names its run in everything that is said of it later.

    Raises:
        InvalidIdempotencyKeyError: as :func:`check_key`.
        ValueError: ``ttl_s`` or ``fingerprint`` is impossible.
    """

    tenant: str
    """Whose key it is: keys of different tenants never meet."""
    key: str
    fingerprint: bytes
    """:meth:`IdempotencyStore.fingerprint` of the request: another one under the same key is a conflict."""
    run_id: str
    """New for each claim. At the gateway the request's id."""
    ttl_s: Annotated[float, Meta(gt=0, le=LONGEST_TTL_S)] = 3600.0
    """Seconds for which the key stands after its run is over."""

    def __post_init__(self) -> None:
        check_key(self.key)
        if not 0 < self.ttl_s <= LONGEST_TTL_S:
            raise ValueError(
                f"ttl_s must be a number above 0 and at most {LONGEST_TTL_S:.0f}, not {self.ttl_s!r}"
            )
        if len(self.fingerprint) != hashlib.sha256().digest_size:
            raise ValueError("fingerprint must be 32 bytes: the store's fingerprint() of the request")

    @property
    def ttl_ns(self) -> int:
        return int(self.ttl_s * 1e9)


class Answer(Struct, frozen=True, kw_only=True):
    """What the run told its caller, byte for byte: status, headers in their order, body."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


class Claimed(Struct, frozen=True):
    """Run it: nobody else does, or will."""


class Running(Struct, frozen=True, kw_only=True):
    """Somebody runs it."""

    run_id: str
    since_ns: int


class Done(Struct, frozen=True, kw_only=True):
    """It was run, and this is its answer."""

    run_id: str
    since_ns: int
    answer: Answer


class Unreplayable(Struct, frozen=True, kw_only=True):
    """It was run; its answer isn't kept."""

    run_id: str
    since_ns: int
    why: str


class Unknown(Struct, frozen=True, kw_only=True):
    """It was begun, and nobody knows how it ended."""

    run_id: str
    since_ns: int


class Conflict(Struct, frozen=True, kw_only=True):
    """Another request stands under the key."""

    run_id: str
    since_ns: int


Standing: TypeAlias = Running | Done | Unreplayable | Unknown
"""What stands under a key."""
Verdict: TypeAlias = Claimed | Running | Done | Unreplayable | Unknown | Conflict
"""What becomes of a claim."""


class IdempotencyStore(Protocol):
    """Where keys are kept. What returned is as durable as the store is; dates are wall-clock nanoseconds since 1970.

    A method that is cancelled leaves nothing half done: a cancelled :meth:`claim` claims nothing (but see there for its
    intent); what was said of a run's end holds.
    """

    def fingerprint(self, *parts: bytes) -> bytes:
        """HMAC-SHA256 under the store's own secret; tells ``(b"ab", b"c")`` from ``(b"a", b"bc")``."""
        ...

    async def claim(self, claim: Claim, *, now_ns: int, intent: Intent | None = None) -> Verdict:
        """Of any number of claims at once, one is :class:`Claimed`.

        Args:
            claim: what is to be run.
            now_ns: keys that expired by then are free.
            intent: written to the ledger together with the claim if that is made; all or nothing. A caller that was
                cancelled ends it all the same, as after :meth:`~holdfast.ledger.base.Ledger.begin`.

        Raises:
            LedgerUnavailable: it couldn't be written: nothing may be run.
        """
        ...

    async def finish(self, claim: Claim, answer: Answer, *, now_ns: int) -> bool:
        """The run is over: keep its answer until ``now_ns`` and the claim's ``ttl_s``. Larger than
        :data:`LARGEST_ANSWER`: only the fact is kept.

        Returns:
            Whether it was this run's place to say so: it stands under its key, and isn't over or was only lost. Else
            nothing has changed.

        Raises:
            LedgerUnavailable: the answer couldn't be written, and won't be. The key stays ``running``, and becomes
                ``not_replayable`` as soon as that much can be written, or ``unknown`` when this process dies before.
        """
        ...

    async def seal(self, claim: Claim, *, now_ns: int) -> bool:
        """The run is over, and its answer can't be kept. Returns and raises as :meth:`forget`."""
        ...

    async def forget(self, claim: Claim, *, now_ns: int) -> bool:
        """The run ended in a transient error: the key is free.

        Returns:
            As :meth:`finish`.

        Raises:
            LedgerUnavailable: it couldn't be written yet; it will be as soon as that is possible.
        """
        ...

    async def lose(self, claim: Claim, *, now_ns: int) -> bool:
        """The run was cut short and nobody can know what it did: the key is ``unknown`` for the claim's ``ttl_s``.
        Returns and raises as :meth:`forget`."""
        ...

    async def get(self, tenant: str, key: str, *, now_ns: int) -> Standing | None:
        """What stands under the key; None: it is free.

        Raises:
            LedgerUnavailable: it can't be read now.
        """
        ...


def check_key(key: str) -> str:
    """``key``, if it is one: 1 to 255 characters of visible ASCII (0x21 to 0x7E), so no space.

    Raises:
        InvalidIdempotencyKeyError: it isn't.
    """
    if not key:
        raise InvalidIdempotencyKeyError(
            "the idempotency key is empty: send 1 to 255 visible ASCII characters"
        )
    if len(key) > LONGEST_KEY:
        raise InvalidIdempotencyKeyError(
            f"the idempotency key has {len(key)} characters: at most {LONGEST_KEY} are taken"
        )
    if _VISIBLE_ASCII.fullmatch(key) is None:
        raise InvalidIdempotencyKeyError(
            "the idempotency key has a character that isn't visible ASCII (0x21 to 0x7E; a space isn't)"
        )
    return key


_NOT_KEPT: Final = {
    Running: (IdempotencyRunning, "its run isn't over: try again later"),
    Unknown: (
        OutcomeUnknownForKey,
        "its run was cut short, so nobody knows what it did; it isn't run again. Find out, then use a new key",
    ),
    Conflict: (IdempotencyConflict, "it was used for another request: use a new key for this one"),
}


def refusal(verdict: Running | Unreplayable | Unknown | Conflict, key: str) -> Rejected:
    """The error for a claim that was neither made nor has an answer. A running one says when to try again."""
    if isinstance(verdict, Unreplayable):
        return NotReplayable(f"idempotency key {key}: its run is over, but {verdict.why}. It isn't run again")
    kind, why = _NOT_KEPT[type(verdict)]
    retry_after_s = _RETRY_AFTER_S if isinstance(verdict, Running) else None
    return kind(f"idempotency key {key}: {why}", retry_after_s=retry_after_s)


def fingerprint(secret: bytes, parts: tuple[bytes, ...]) -> bytes:
    """HMAC-SHA256 (RFC 2104) of the parts, each behind its length."""
    mac = hmac.new(secret, digestmod=hashlib.sha256)
    for part in parts:
        mac.update(len(part).to_bytes(8, "big"))
        mac.update(part)
    return mac.digest()


def digest_of(tenant: str, key: str, request: bytes, answer: Answer) -> bytes:
    """SHA-256 of the answer and of all that it belongs to: an answer in another one's place is seen too."""
    digest = hashlib.sha256()
    owned = (tenant.encode(), key.encode(), request, b"%d" % answer.status, pack_headers(answer.headers))
    for part in (*owned, answer.body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def pack_headers(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return msgspec.msgpack.encode(headers)


def unpack_headers(packed: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Raises msgspec.DecodeError: they aren't headers."""
    return msgspec.msgpack.decode(packed, type=tuple[tuple[bytes, bytes], ...])
