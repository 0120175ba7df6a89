"""A circuit breaker: a target that fails most calls is left alone for a while, then tried by a few.

=================  =================================================================================================
closed → open      of the calls that ended in the last ``window_s``: at least ``min_requests``, at least
                   ``failure_threshold`` of them failures, and these at least ``failure_ratio`` of all
open → half-open   after the open time: ``open_s``, jittered, longer by ``open_multiplier`` each time it opens again without
                   having closed, up to ``max_open_s``
half-open          as many probes at once as there are successes missing, so at most ``success_threshold``
→ closed           after ``success_threshold`` successes
→ open             at the first failure, or when probes are out and none has had a verdict for ``half_open_s``. Without a
                   probe out it has no end: a target that is seldom asked isn't one that is down
SUCCESS            of a probe: its answer has begun, or it ended well; of other calls: it ended well
FAILURE, OVERLOAD  failures
LIMITED, NEUTRAL   neither. A target that says "you send too much" is alive, and a caller who leaves has proved nothing;
                   the probe's place comes back, and another may try
stale              a call that was let in before the last change of state changes nothing
told               several processes may share one state (:meth:`Breaker.adopt`): an opening or a closing that another
                   one has told of holds here as well, whatever the window here says
=================  =================================================================================================

Memory doesn't grow with the traffic: the window is cut into 64 slots, and what is older than 63 to 64 of them is forgotten.

After M. Nygard, "Release It!" (2007); ratio, least number of requests and window are resilience4j's and Polly's.
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from holdfast.clock import SystemClock, system_rng
from holdfast.resilience.backoff import spread
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.seam import FOREVER, Gated, Refused
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.clock import Clock, Rng

__all__ = [
    "SLOTS",
    "TABLE",
    "TOLD",
    "Breaker",
    "BreakerPermit",
    "BreakerSettings",
    "BreakerSnapshot",
    "CircuitBreakerOpenError",
    "CircuitState",
    "Event",
]

SLOTS: Final = 64
"""Parts of a window."""
_PROBE_RETRY_S: Final = 1.0
"""When to come back while probes are out: they mostly decide within a second."""


class CircuitState(StrEnum):
    CLOSED = "closed"
    """Calls pass."""
    OPEN = "open"
    """No call passes."""
    HALF_OPEN = "half_open"
    """A few calls pass, and decide."""


class Event(StrEnum):
    TRIPPED = "tripped"
    """Too many failures in the window."""
    RESTED = "rested"
    """The open time is over."""
    PROVED = "proved"
    """Enough probes succeeded."""
    FAILED = "failed"
    """A probe failed."""
    EXPIRED = "expired"
    """Probes are out, and none has decided for too long."""


TABLE: Final[Mapping[CircuitState, Mapping[Event, CircuitState]]] = {
    CircuitState.CLOSED: {Event.TRIPPED: CircuitState.OPEN},
    CircuitState.OPEN: {Event.RESTED: CircuitState.HALF_OPEN},
    CircuitState.HALF_OPEN: {
        Event.PROVED: CircuitState.CLOSED,
        Event.FAILED: CircuitState.OPEN,
        Event.EXPIRED: CircuitState.OPEN,
    },
}

TOLD: Final[Mapping[CircuitState, frozenset[CircuitState]]] = {
    CircuitState.CLOSED: frozenset((CircuitState.OPEN,)),
    CircuitState.OPEN: frozenset((CircuitState.CLOSED,)),
    CircuitState.HALF_OPEN: frozenset((CircuitState.OPEN, CircuitState.CLOSED)),
}
"""The changes that others' word makes, beside those of :data:`TABLE`."""


class BreakerSettings(Settings, frozen=True, kw_only=True):
    """When it opens, and how it closes again."""

    failure_threshold: Annotated[int, Meta(ge=1, le=1_000_000)] = 5
    """The fewest failures in the window that open it."""
    success_threshold: Annotated[int, Meta(ge=1, le=10_000)] = 3
    """Successes of probes that close it, and the most probes at once."""
    min_requests: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """The fewest calls in the window that say anything; None: ``failure_threshold``."""
    failure_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """The least share of failures that opens it."""
    window_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 300.0
    """How long a call counts."""
    open_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 60.0
    """The first open time."""
    open_multiplier: Annotated[float, Meta(ge=1, le=100)] = 2.0
    """What each further open time is longer by, until it has closed."""
    max_open_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 600.0
    """No open time is longer, jitter included."""
    jitter: Annotated[float, Meta(ge=0, le=0.9)] = 0.1
    """An open time is drawn from (1 - jitter) to (1 + jitter) times its length: replicas don't probe in step."""
    half_open_s: Annotated[float, Meta(ge=0.001, le=86_400)] = 30.0
    """How long probes may be out without a verdict of any."""

    def check(self) -> None:
        if self.open_s > self.max_open_s:
            raise ValueError(
                f"open_s must be at most max_open_s, which is {self.max_open_s:g}, not {self.open_s:g}"
            )

    @property
    def least(self) -> int:
        """``min_requests``, or what stands for it."""
        return self.failure_threshold if self.min_requests is None else self.min_requests


class CircuitBreakerOpenError(Refused):
    """It is open, or as many probes as may be are out. ``retry_after_s`` is when the next probe may pass."""


class BreakerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How a breaker stands."""

    state: CircuitState
    calls: int
    """Of the window; none but while it is closed."""
    failures: int
    """Of the window."""
    probes: int
    """Out now, and undecided."""
    successes: int
    """Of probes, since it is half-open."""
    opened: int
    """How often it opened by what it saw itself, since the start."""
    refused: int
    """Calls told no, since the start."""
    retry_after_s: float
    """Until the next change that time alone brings; 0: time alone brings none."""


class BreakerPermit:
    """One call that was let in."""

    __slots__ = ("_breaker", "_epoch", "_proved")

    def __init__(self, breaker: Breaker, epoch: int) -> None:
        self._breaker: Breaker | None = breaker  # None: it has left
        self._epoch = epoch
        self._proved = False

    @property
    def stale(self) -> bool:
        """The state has changed since the call was let in, so what becomes of it changes nothing."""
        breaker = self._breaker
        return breaker is None or breaker._epoch != self._epoch  # noqa: SLF001  # the two are one

    def progressed(self) -> None:
        """The answer has begun: for a probe that is a success."""
        breaker = self._breaker
        if breaker is not None and not self._proved:
            self._proved = True
            breaker._began(self._epoch)  # noqa: SLF001  # the two are one

    def leave(self, outcome: Outcome) -> None:
        """The call is over. Only the first one counts."""
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._over(self._epoch, outcome, proved=self._proved)  # noqa: SLF001  # the two are one


class _Slot:
    __slots__ = ("calls", "failures", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls = self.failures = 0


class Breaker(Gated):
    """One for each target, shared by all who call it. Not thread-safe: it belongs to one event loop's thread.

    Args:
        settings: the numbers.
        clock: whose monotonic seconds count.
        rng: chance, for the open time.
        name: for messages.
    """

    __slots__ = (
        "_calls",
        "_epoch",
        "_failures",
        "_listeners",
        "_monotonic",
        "_name",
        "_news",
        "_now",
        "_probes",
        "_random",
        "_reopened",
        "_since",
        "_slot",
        "_slot_ends",
        "_slot_s",
        "_slots",
        "_state",
        "_successes",
        "_until",
        "opened",
        "refused",
        "settings",
    )

    def __init__(
        self,
        settings: BreakerSettings | None = None,
        *,
        clock: Clock | None = None,
        rng: Rng | None = None,
        name: str = "",
    ) -> None:
        self.settings = settings if settings is not None else BreakerSettings()
        self._monotonic = (clock if clock is not None else SystemClock()).monotonic
        self._random = (rng if rng is not None else system_rng()).random
        self._name = name
        self._listeners: list[Callable[[CircuitState, CircuitState], None]] = []
        self._news: deque[tuple[CircuitState, CircuitState]] = deque()
        self._now = self._since = -math.inf
        self._state = CircuitState.CLOSED
        self._epoch = (
            0  # the number of changes of state: a call's verdict counts only in the one it was let in by
        )
        self._until = math.inf
        self._reopened = 0
        self._probes = 0
        self._successes = 0
        self.opened = 0
        """How often it opened by what it saw itself: what others told counts there."""
        self.refused = 0
        """Calls told no."""
        self._slot = _Slot(0)
        self._forget()

    @property
    def state(self) -> CircuitState:
        """As of now: an open one whose time is over is half-open."""
        self._tick()
        return self._state

    @property
    def closed(self) -> bool:
        """Calls pass. As cheap as can be: time alone never opens one."""
        return self._state is CircuitState.CLOSED

    @property
    def reopened(self) -> int:
        """How often it has opened since it was closed."""
        return self._reopened

    @property
    def idle(self) -> bool:
        """A new breaker in its place would know as much: all that it heard is older than the window."""
        self._look()
        if self._state is CircuitState.CLOSED:
            return not self._calls
        rested = self._now - self._since >= self.settings.window_s
        return self._state is CircuitState.HALF_OPEN and not self._probes and rested

    def check(self) -> None:
        """Whether a call would be let in; takes nothing. For who is about to wait for something else first.

        Raises:
            CircuitBreakerOpenError: it wouldn't.
        """
        if self._state is not CircuitState.CLOSED:
            self._check_open()

    def admit(self) -> BreakerPermit:
        """Lets one call in.

        Raises:
            CircuitBreakerOpenError: not now.
        """
        if self._state is not CircuitState.CLOSED:
            self._check_open()
            if self._state is CircuitState.HALF_OPEN:
                if not self._probes:
                    self._until = self._now + self.settings.half_open_s
                self._probes += 1
        return BreakerPermit(self, self._epoch)

    async def enter(self, *, deadline: float = FOREVER, key: str = "") -> BreakerPermit:  # noqa: ARG002  # the seam's
        """:meth:`admit`: nothing is ever waited for."""
        return self.admit()

    def on_change(self, listener: Callable[[CircuitState, CircuitState], None]) -> None:
        """``listener(before, after)`` is told each change, once it is made, in their order. Must not raise.

        It may ask and use the breaker, whose state may have moved on by then.
        """
        if listener not in self._listeners:
            self._listeners.append(listener)

    def apply(self, settings: BreakerSettings) -> None:
        """Other numbers from now on. State and epoch are kept; a window of another length begins anew.

        Successes that are enough by now close a half-open one.
        """
        self._tick()
        before, self.settings = self.settings, settings
        if settings.window_s != before.window_s:
            self._forget()
        if self._state is CircuitState.HALF_OPEN and self._successes >= settings.success_threshold:
            self._move(Event.PROVED)

    def adopt(self, open_s: float | None, *, reopened: int = 0) -> None:
        """Takes over what others have found out who share this state: from now on their word holds.

        Calls that were let in before change nothing any more, unless it was open already: then only its time is another one.

        Args:
            open_s: seconds that it stays open from now, 0: half-open at once; None: it is closed.
            reopened: how often it has opened since it was closed, for the length of the next open time.
        """
        self._tick()
        if open_s is None:
            if self._state is not CircuitState.CLOSED:
                self._turn(CircuitState.CLOSED)
            return
        if self._state is not CircuitState.OPEN:
            self._turn(CircuitState.OPEN, open_s)
        self._until = self._now + open_s
        self._reopened = reopened

    def refusal(self, wait_s: float) -> CircuitBreakerOpenError:
        """The no for a caller whose probe found no place among all who share this state; counted here."""
        return self._refuse("is half-open, and its probes are out", wait_s)

    def snapshot(self) -> BreakerSnapshot:
        """How it stands now."""
        self._look()
        return BreakerSnapshot(
            state=self._state,
            calls=self._calls,
            failures=self._failures,
            probes=self._probes,
            successes=self._successes,
            opened=self.opened,
            refused=self.refused,
            retry_after_s=0.0 if self._until == math.inf else max(0.0, self._until - self._now),
        )

    # What permits call.

    def _began(self, epoch: int) -> None:
        self._tick()
        if epoch == self._epoch and self._state is CircuitState.HALF_OPEN:
            self._back()
            self._succeed()

    def _over(self, epoch: int, outcome: Outcome, *, proved: bool) -> None:
        failed = outcome is Outcome.FAILURE or outcome is Outcome.OVERLOAD
        if self._state is CircuitState.CLOSED:
            if epoch == self._epoch and (failed or outcome is Outcome.SUCCESS):
                now = self._monotonic()
                self._count(max(self._now, now), failed=failed)
            return
        self._tick()
        if epoch != self._epoch:
            return
        if not proved:
            self._back()
        if failed:
            self._move(Event.FAILED)
        elif outcome is Outcome.SUCCESS and not proved:
            self._succeed()

    def _back(self) -> None:
        """A probe's place is free."""
        self._probes -= 1
        if not self._probes:
            self._until = math.inf

    def _succeed(self) -> None:
        self._successes += 1
        if self._successes >= self.settings.success_threshold:
            self._move(Event.PROVED)
        elif self._probes:  # who is still out has the whole time again: the target does answer
            self._until = self._now + self.settings.half_open_s

    # The window.

    def _count(self, now: float, *, failed: bool) -> None:
        if now >= self._slot_ends:
            self._expire(now)
        slot = self._slot
        slot.calls += 1
        self._calls += 1
        if failed:
            slot.failures += 1
            self._failures += 1
        settings = self.settings
        if (
            self._failures >= settings.failure_threshold
            and self._calls >= settings.least
            and self._failures / self._calls >= settings.failure_ratio
        ):
            self._now = now
            self._move(Event.TRIPPED)

    def _expire(self, now: float) -> None:
        """Begins the slot of ``now``, and forgets what is too old for it."""
        slots, number = self._slots, math.floor(now / self._slot_s)
        if slots:  # a quotient may be rounded down below the slot that is over
            number = max(number, slots[-1].number + 1)
        while slots and slots[0].number <= number - SLOTS:
            old = slots.popleft()
            self._calls -= old.calls
            self._failures -= old.failures
        self._slot = _Slot(number)
        slots.append(self._slot)
        self._slot_ends = (number + 1) * self._slot_s

    def _forget(self) -> None:
        self._slot_s = self.settings.window_s / SLOTS
        self._slots: deque[_Slot] = deque()
        self._slot_ends = -math.inf
        self._calls: int = 0
        self._failures: int = 0

    # Changes of state.

    def _look(self) -> None:
        """Brings everything up to now."""
        self._tick()
        if self._now >= self._slot_ends:
            self._expire(self._now)

    def _tick(self) -> None:
        """What time alone changes."""
        now = self._now = max(self._now, self._monotonic())
        if now >= self._until:
            self._move(Event.RESTED if self._state is CircuitState.OPEN else Event.EXPIRED)

    def _check_open(self) -> None:
        self._tick()
        if self._state is CircuitState.CLOSED:
            return
        if self._state is CircuitState.HALF_OPEN:
            if self._probes + self._successes < self.settings.success_threshold:
                return
            said, wait_s = (
                "is half-open, and its probes are out",
                min(_PROBE_RETRY_S, self._until - self._now),
            )
        else:
            said, wait_s = "is open", self._until - self._now
        raise self._refuse(said, wait_s)

    def _refuse(self, said: str, wait_s: float) -> CircuitBreakerOpenError:
        self.refused += 1
        name = f"circuit breaker {self._name!r}" if self._name else "circuit breaker"
        return CircuitBreakerOpenError(f"{name} {said}", retry_after_s=wait_s)

    def _move(self, event: Event) -> None:
        self._turn(TABLE[self._state][event])

    def _turn(self, after: CircuitState, open_s: float | None = None) -> None:
        before, now = self._state, self._now
        self._state = after
        self._since = now
        self._epoch += 1
        self._probes = self._successes = 0
        self._forget()
        if after is CircuitState.OPEN:
            if open_s is None:
                self.opened += 1
                open_s = self._open_time()
            self._until = now + open_s
            self._reopened += 1
        else:
            self._until = math.inf
            if after is CircuitState.CLOSED:
                self._reopened = 0
        self._tell(before, after)

    def _tell(self, before: CircuitState, after: CircuitState) -> None:
        """Change by change: a listener that makes another one has it told to all after this one."""
        self._news.append((before, after))
        if len(self._news) > 1:
            return
        while self._news:
            for listener in self._listeners:
                listener(*self._news[0])
            self._news.popleft()

    def _open_time(self) -> float:
        settings = self.settings
        try:
            base = min(settings.open_s * settings.open_multiplier**self._reopened, settings.max_open_s)
        except OverflowError:
            base = settings.max_open_s
        return spread(base, settings.jitter, settings.max_open_s, self._random)
