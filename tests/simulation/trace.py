"""What happens in a simulated world, as events: monitors hear each one, and all of them make the run's hash.

An event is a value with the time and the request that it belongs to. Its canonical form is one line of JSON whose fields
stand in the order of its class, so the hash of all lines is the same wherever the same things happened in the same order;
nothing in it depends on addresses, on ``PYTHONHASHSEED`` or on the machine's time.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Accepted",
    "Admitted",
    "Arrived",
    "Asked",
    "Attempted",
    "Back",
    "Closed",
    "Crashed",
    "Died",
    "Ended",
    "Entered",
    "Entering",
    "Event",
    "Gone",
    "Heard",
    "HedgeAsked",
    "HedgeWon",
    "Judged",
    "Opened",
    "Over",
    "Phase",
    "Places",
    "Progressed",
    "Recovered",
    "RetryAsked",
    "Sent",
    "Settled",
    "Trace",
    "Turned",
    "TurnedAway",
    "Unanswered",
]

EVERYBODY = -1
"""The ``n`` of events that belong to no request."""


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="what"):
    """Something happened at ``at`` (virtual seconds) to request number ``n``."""

    at: float
    n: int


# What clients do and hear.


class Asked(Event, frozen=True, gc=False, tag="asked"):
    """A client asks; its answer must end by ``deadline``."""

    stream: bool
    deadline: float
    retry: int = 0
    """How often the client itself has asked this before."""


class Opened(Event, frozen=True, gc=False, tag="opened"):
    """The client has a status. ``label``: of the error that was raised in the place of an answer."""

    status: int
    label: str | None = None
    retry_after_s: float | None = None


class Heard(Event, frozen=True, gc=False, tag="heard"):
    """A client was handed a piece of its answer."""

    text: str
    ending: str | None = None
    """``done``, or the code of the error event."""
    usage: tuple[int, int] | None = None
    wrong: str | None = None
    """What is wrong with it as a piece of a stream."""


class Crashed(Event, frozen=True, gc=False, tag="crashed"):
    """Something was raised that is no :class:`holdfast.errors.HoldfastError`, or nobody waited for it."""

    error: str


class Over(Event, frozen=True, gc=False, tag="over"):
    """The client has nothing left to read."""


class Gone(Event, frozen=True, gc=False, tag="gone"):
    """The client left, and wants nothing any more."""


# What the engine tells.


class Accepted(Event, frozen=True, gc=False, tag="accepted"):
    id: str


class Attempted(Event, frozen=True, gc=False, tag="attempted"):
    number: int
    target: str
    outcome: str
    status: int | None
    silent: bool
    """Not a byte came."""
    billed: str
    cost_nano: int | None
    retry_after_s: float | None


class Ended(Event, frozen=True, gc=False, tag="ended"):
    state: str
    status: int | None
    label: str | None
    cost_nano: int | None
    attempts: int


class Died(Event, frozen=True, gc=False, tag="died"):
    """Whatever was open has been given up. ``dead``: its process is no more; else it was only taken for dead."""

    dead: bool


class Recovered(Event, frozen=True, gc=False, tag="recovered"):
    """A request was given up, and is settled at the bound that its intent states. ``dead``: nobody ends it any more."""

    dead: bool
    bound_nano: int | None
    bound_tokens: int | None
    accounts: tuple[tuple[str, int | None], ...]
    """Where the bound counts, and until when (nanoseconds since 1970)."""


# What gates and admission give and get back.


class Admitted(Event, frozen=True, gc=False, tag="admitted"):
    key: str
    tokens: int
    """The most that the request can use."""


class Settled(Event, frozen=True, gc=False, tag="settled"):
    """The ticket came back. ``state`` is None where the intent was never written."""

    state: str | None
    used: int | None = None
    """Tokens, as far as providers told them for all attempts that may have used some."""


class Entering(Event, frozen=True, gc=False, tag="entering"):
    """The gate is asked."""

    target: str
    first: bool


class Arrived(Event, frozen=True, gc=False, tag="arrived"):
    """A request comes to a target's policies for the first time. ``again``: its client has tried before."""

    target: str
    again: bool


class Entered(Event, frozen=True, gc=False, tag="entered"):
    target: str
    permit: int
    tokens: int
    """The most that the attempt can use."""


class TurnedAway(Event, frozen=True, gc=False, tag="turned_away"):
    target: str
    label: str
    retry_after_s: float | None


class Progressed(Event, frozen=True, gc=False, tag="progressed"):
    permit: int
    target: str


class Back(Event, frozen=True, gc=False, tag="back"):
    """A permit came back."""

    permit: int
    target: str
    label: str | None
    used: int | None
    """Tokens, where the provider told them."""


class RetryAsked(Event, frozen=True, gc=False, tag="retry_asked"):
    """The chain asked for a retry out of the target's budget."""

    target: str
    given: bool


class HedgeAsked(Event, frozen=True, gc=False, tag="hedge_asked"):
    """An attempt at a target is slow, and one more beside it was asked for."""

    target: str
    given: bool


class HedgeWon(Event, frozen=True, gc=False, tag="hedge_won"):
    target: str


# What providers see.


class Sent(Event, frozen=True, gc=False, tag="sent"):
    """A request's bytes left for a provider, which answers as its mood says."""

    provider: str
    nonce: str
    mood: str
    free_at: float = 0.0
    """It had said that it isn't to be asked before: a Retry-After to this request."""


class Closed(Event, frozen=True, gc=False, tag="closed"):
    """A provider's exchange is over. ``how``: complete, broken, or closed by its reader."""

    nonce: str
    how: str


class Unanswered(Event, frozen=True, gc=False, tag="unanswered"):
    """No connection came about: the provider never heard of it."""

    provider: str
    mood: str


# What policies tell, where the world has them.


class Turned(Event, frozen=True, gc=False, tag="turned"):
    """A breaker changed its state."""

    target: str
    before: str
    after: str


class Judged(Event, frozen=True, gc=False, tag="judged"):
    """The policies before a target are about to be told how an attempt went."""

    target: str
    permit: int
    outcome: str
    """A :class:`holdfast.resilience.outcome.Outcome`'s value."""


class Places(Event, frozen=True, gc=False, tag="places"):
    """A target's places, after one was taken or given back."""

    target: str
    in_use: int
    limit: int


class Phase(Event, frozen=True, gc=False, tag="phase"):
    name: str


class Trace:
    """Hands every event to who listens, and hashes it.

    Args:
        keep: also keep the events, for a timeline.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._encode = msgspec.json.Encoder().encode
        self._listeners: dict[type[Event], list[Callable[[Any], None]]] = defaultdict(list)
        self.kept: list[Event] | None = [] if keep else None
        self.count = 0

    def listen(self, listener: object) -> None:
        """Calls ``listener.on_<tag>(event)`` for each kind of event that it has such a method for."""
        for kind in _all_kinds(Event):
            method = getattr(listener, f"on_{kind.__struct_config__.tag}", None)
            if method is not None:
                self._listeners[kind].append(method)

    def tell(self, event: Event) -> None:
        self.count += 1
        self._hash.update(self._encode(event))
        if self.kept is not None:
            self.kept.append(event)
        for listener in self._listeners[type(event)]:
            listener(event)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _all_kinds(base: type[Event]) -> list[type[Event]]:
    return list(base.__subclasses__())


def line(event: Event) -> str:
    """One event for a reader's eye: time, request, what, and whatever isn't empty."""
    fields = [
        f"{name}={_shown(value)}"
        for name in event.__struct_fields__[2:]
        if (value := getattr(event, name)) not in (None, "", 0.0)
    ]
    who = "" if event.n == EVERYBODY else f"#{event.n}"
    return f"{event.at:10.3f}  {who:>5}  {event.__struct_config__.tag:<11} {' '.join(fields)}".rstrip()


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value) if not isinstance(value, str) or " " not in value else repr(value)
