"""The cost breaker: when everyone together has spent too much, nobody spends any more for a while.

=================  =================================================================================================
what it watches    every request's spending in a sliding window, whoever made it and in whichever session, those that
                   are over included; and what is set aside for requests that run
never passed       what would take spent + reserved over the threshold is refused, in every state
closed → open      the threshold is spent; or a request had no room, and so much is spent that few would have
open → half-open   after the cool-down, as soon as less than the threshold is left in the window
half-open          ``probes`` requests at once, and each must have room
→ closed           a probe's request ended well
→ open             as from closed, with a new cool-down
neither            a probe that was cancelled or failed gives its place back, and another may try
stale              a request that was let in before the last change of state changes nothing but the sum
reset              an operator's word: what was spent before counts no more, and it is closed
=================  =================================================================================================

Requests reserve the most that they may cost, which is often a hundred times what they do. So that what is merely set aside
has taken all the room refuses a request and opens nothing: a busy minute isn't a runaway cost.

Where several processes spend (``shared``), the sum is all of theirs, and its room is leased as a budget's
(:mod:`holdfast.money.leases`), so the threshold is never passed by all of them together. The state is each process' own:

=================  =================================================================================================
closed → open      once this process knows that the threshold is spent by all: it spent the last of it, had to ask
                   for room, or heard of it, within a second of spending
open → half-open   as above; before each request what all have spent is asked, at most once a second
half-open          ``probes`` in each process
reset              in all processes
=================  =================================================================================================

The sum is an :class:`~holdfast.money.account.Account` like a budget's (:attr:`CostBreaker.account`). A request's
:class:`~holdfast.money.budgets.Hold` has it beside its budgets', so one look decides over all of them, and what was charged
to it is written, and found again after a crash, in the way that theirs is.
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from holdfast.errors import CostBreakerOpen
from holdfast.money.account import Account
from holdfast.money.cost import NANO
from holdfast.money.rules import MOST_NANO, BudgetRule
from holdfast.money.shared import SharedAccount
from holdfast.money.window import Part, Spending, sliding
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from holdfast.clock import Clock
    from holdfast.ledger.entry import Charge
    from holdfast.money.budgets import Overdrawn

__all__ = [
    "ACCOUNT",
    "TABLE",
    "CostBreaker",
    "CostBreakerSettings",
    "CostBreakerSnapshot",
    "CostPermit",
    "CostState",
    "Event",
]

ACCOUNT: Final = "cost_breaker"
"""The account's key. No budget's is without a colon."""
_NEARLY_PERCENT: Final = 95
"""Of the threshold: from here on a request without room opens it. Below, the request is large rather than the rest small,
and one caller who asks for the moon must not stop all others."""
_SOON_S: Final = 1.0
"""When to come back while requests or probes are out that will free what is missing: they mostly take seconds."""
_SECOND_NS: Final = 10**9


class CostState(StrEnum):
    CLOSED = "closed"
    """Requests pass, as long as there is room."""
    OPEN = "open"
    """No request passes."""
    HALF_OPEN = "half_open"
    """A few pass, and decide."""


class Event(StrEnum):
    SPENT = "spent"
    """The threshold is spent, or nearly and a request had no room."""
    COOLED = "cooled"
    """The cool-down is over, and there is room in the window."""
    PROVED = "proved"
    """A probe ended well, and there still is."""
    RESET = "reset"
    """An operator said so."""


TABLE: Final[Mapping[CostState, Mapping[Event, CostState]]] = {
    CostState.CLOSED: {Event.SPENT: CostState.OPEN},
    CostState.OPEN: {Event.COOLED: CostState.HALF_OPEN, Event.RESET: CostState.CLOSED},
    CostState.HALF_OPEN: {
        Event.PROVED: CostState.CLOSED,
        Event.SPENT: CostState.OPEN,
        Event.RESET: CostState.CLOSED,
    },
}


class CostBreakerSettings(Settings, frozen=True, kw_only=True):
    """How much, in which time."""

    threshold_nano: Annotated[int, Meta(ge=1, le=MOST_NANO)] = 100 * NANO
    """What everyone together may spend in the window, in nano-dollars."""
    window_s: Annotated[float, Meta(ge=60, le=31 * 86_400)] = 86_400.0
    """It slides: what was spent counts for this long, and at most 1/3600 longer."""
    cool_down_s: Annotated[float, Meta(ge=1, le=86_400)] = 300.0
    """How long it stays open at least. Long enough for an alert to fire and for a loop that spends to give up; short beside
    the window, which decides in the end, so that money which is free again isn't withheld for long."""
    probes: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Requests at once while it is half-open."""


class CostBreakerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands, for operators: callers aren't told what others spend."""

    state: CostState
    threshold_nano: int
    spent_nano: int
    """In the window that ends now."""
    reserved_nano: int
    """For requests that run."""
    probes: int
    """Out now."""
    opened: int
    """How often it opened, since the start."""
    refused: int
    """Requests told no, since the start."""
    retry_after_s: float
    """Until time alone may let a request through; 0 where one may pass now."""


class CostPermit:
    """One request that was let in."""

    __slots__ = ("_breaker", "_epoch")

    def __init__(self, breaker: CostBreaker, epoch: int) -> None:
        self._breaker: CostBreaker | None = breaker  # None: it has left
        self._epoch = epoch

    def leave(self, *, ok: bool) -> None:
        """The request is over and settled; ``ok``: it ended well. Only the first one counts. Must not raise."""
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._over(self._epoch, ok=ok)  # noqa: SLF001  # the two are one


class _Everyone(Account):
    """What all spend together. Nobody is warned of it: what others spend is no caller's business."""

    __slots__ = ()

    def warns(self, now_ns: int) -> bool:  # noqa: ARG002  # the account's
        return False


class _EveryoneEverywhere(SharedAccount):
    """Likewise, over several processes."""

    __slots__ = ()

    def warns(self, now_ns: int) -> bool:  # noqa: ARG002  # the account's
        return False


class CostBreaker:
    """One for all requests of a process. Not thread-safe: it belongs to one event loop's thread.

    A request calls :meth:`enter`, covers each attempt with a hold that has :attr:`account`, tells :meth:`no_room` if that
    raised :class:`~holdfast.money.budgets.Overdrawn` over it, and leaves when it is over.

    Args:
        settings: the numbers.
        clock: whose wall time the window slides with, and whose monotonic seconds the cool-down takes.
        spent: what was charged to :data:`ACCOUNT` before, from the ledger. The state isn't kept: who spent the threshold
            before a restart finds it open again.
        shared: other processes spend too.
    """

    __slots__ = (
        "_clock",
        "_epoch",
        "_listeners",
        "_news",
        "_probes",
        "_state",
        "_until",
        "account",
        "opened",
        "refused",
        "settings",
    )

    def __init__(
        self,
        settings: CostBreakerSettings | None = None,
        *,
        clock: Clock,
        spent: Iterable[Charge] = (),
        shared: bool = False,
    ) -> None:
        self.settings = settings if settings is not None else CostBreakerSettings()
        account = _EveryoneEverywhere if shared else _Everyone
        self.account: Account = account(_rule(self.settings), "")
        """What everyone spent in the window and has reserved: a part of every request's hold."""
        self.account.key = ACCOUNT
        part_of = sliding(round(self.settings.window_s * _SECOND_NS))
        before = ((_moved(each, part_of), each.amount) for each in spent if each.account == ACCOUNT)
        self.account.spending = Spending(part_of, before)
        self._clock = clock
        self._listeners: list[Callable[[CostState, CostState], None]] = []
        self._news: deque[tuple[CostState, CostState]] = deque()
        self._state = CostState.CLOSED
        self._epoch = 0  # the number of changes of state: a probe counts only in the one it was let in by
        self._until = -math.inf
        self._probes = 0
        self.opened = 0
        """How often it opened."""
        self.refused = 0
        """Requests told no."""

    @property
    def state(self) -> CostState:
        """As of now."""
        self._look()
        return self._state

    def enter(self) -> CostPermit:
        """Lets one request in, before anything is reserved for it.

        Raises:
            CostBreakerOpen: not now; ``retry_after_s`` is when time alone may change that.
        """
        self._look()
        if self._state is not CostState.CLOSED:
            if self._state is CostState.OPEN or self._probes >= self.settings.probes:
                raise self._refusal()
            self._probes += 1
        return CostPermit(self, self._epoch)

    def no_room(self, error: Overdrawn) -> CostBreakerOpen:
        """The refusal of a request for whose attempt :attr:`account` had no room. The caller raises it, and leaves."""
        self._look()
        limit = self.settings.threshold_nano
        settled = (
            error.spent + error.needed > limit
        )  # what is spent leaves no room, whatever becomes of the reserved
        if settled and error.spent * 100 >= limit * _NEARLY_PERCENT and self._state is not CostState.OPEN:
            self._move(Event.SPENT)
        if self._state is CostState.OPEN:
            return self._refusal()
        self.refused += 1
        if error.needed > limit:
            return CostBreakerOpen(
                "this request may cost more than all requests together may: ask for less output"
            )
        wait_s = _SOON_S
        if settled:  # until as much has left the window as the request lacks
            freed_ns = self.account.spending.frees_ns(error.spent + error.needed - limit, self._wall_ns())
            wait_s = self._seconds_until(freed_ns)
        return CostBreakerOpen(
            "the gateway has no room left for what this request may cost: ask for less output, or come back later",
            retry_after_s=wait_s,
        )

    def reset(self) -> None:
        """What was spent so far counts no more, and it is closed. What runs is charged when it ends, as ever.

        The ledger's rows of :data:`ACCOUNT` have to go as well, or a restart brings them back.
        """
        self.account.spending.clear()
        if self._state is not CostState.CLOSED:
            self._move(Event.RESET)

    def apply(self, settings: CostBreakerSettings) -> None:
        """Other numbers from now on; what was spent and is reserved stays, and is judged by them.

        Raises:
            ValueError: the window has another length: what was spent is counted by it since the start.
        """
        before = self.settings
        if settings.window_s != before.window_s:
            raise ValueError(f"window_s can't change while it counts, from {before.window_s:g}")
        self.settings = settings
        self.account.rule = _rule(settings)
        if (
            settings.cool_down_s < before.cool_down_s
        ):  # who waits already waits no longer than anybody after it
            self._until = min(self._until, self._clock.monotonic() + settings.cool_down_s)
        self._look()

    def on_change(self, listener: Callable[[CostState, CostState], None]) -> None:
        """``listener(before, after)`` is told each change, in their order, once it is noticed. Must not raise."""
        self._listeners.append(listener)

    def snapshot(self) -> CostBreakerSnapshot:
        """How it stands now."""
        self._look()
        return CostBreakerSnapshot(
            state=self._state,
            threshold_nano=self.settings.threshold_nano,
            spent_nano=self.account.spent(self._wall_ns()),
            reserved_nano=self.account.reserved,
            probes=self._probes,
            opened=self.opened,
            refused=self.refused,
            retry_after_s=self._opens_again_s() if self._state is CostState.OPEN else 0.0,
        )

    def _over(self, epoch: int, *, ok: bool) -> None:
        self._look()  # first: what this request spent may have opened it
        if self._state is not CostState.HALF_OPEN or epoch != self._epoch:
            return
        self._probes -= 1
        if ok:
            self._move(Event.PROVED)

    def _look(self) -> None:
        """What money and time alone change. What was spent is noticed when the next request comes or the spender leaves."""
        full = self.account.spending.total(self._clock.wall_ns()) >= self.settings.threshold_nano
        if self._state is CostState.OPEN:
            if not full and self._clock.monotonic() >= self._until:
                self._move(Event.COOLED)
        elif full:
            self._move(Event.SPENT)

    def _move(self, event: Event) -> None:
        before = self._state
        after = self._state = TABLE[before][event]
        self._epoch += 1
        self._probes = 0
        if after is CostState.OPEN:
            self.opened += 1
            self._until = self._clock.monotonic() + self.settings.cool_down_s
        self._tell(before, after)

    def _tell(self, before: CostState, after: CostState) -> None:
        """Change by change: a listener that makes another one has it told to all after this one."""
        self._news.append((before, after))
        if len(self._news) > 1:
            return
        while self._news:
            for listener in self._listeners:
                listener(*self._news[0])
            self._news.popleft()

    def _refusal(self) -> CostBreakerOpen:
        self.refused += 1
        if self._state is CostState.OPEN:
            said, wait_s = "nothing is spent for a while", self._opens_again_s()
        else:
            said, wait_s = "a first request finds out whether it may close", _SOON_S
        return CostBreakerOpen(
            f"the gateway's cost breaker is {self._state.name.lower().replace('_', '-')}: {said}",
            retry_after_s=wait_s,
        )

    def _opens_again_s(self) -> float:
        """Until an open one is half-open, if nothing more is charged."""
        cool_s = max(0.0, self._until - self._clock.monotonic())
        now_ns = self._wall_ns()
        too_much = self.account.spent(now_ns) - self.settings.threshold_nano + 1
        return max(cool_s, self._seconds_until(self.account.spending.frees_ns(too_much, now_ns)))

    def _seconds_until(self, at_ns: int | None) -> float:
        now_ns = self._wall_ns()
        return 0.0 if at_ns is None else max(0, at_ns - now_ns) / _SECOND_NS

    def _wall_ns(self) -> int:
        return self._clock.wall_ns()


def _rule(settings: CostBreakerSettings) -> BudgetRule:
    return BudgetRule(name=ACCOUNT, limit_nano=settings.threshold_nano)


def _moved(charge: Charge, part_of: Callable[[int], Part]) -> Part:
    """Where ``charge`` counts, whose window may have had another length: until its part's last moment leaves this one."""
    if charge.until_ns is None:
        return part_of(charge.start_ns)
    step = max(1, (charge.until_ns - charge.start_ns) // 3601)  # a part, and the 3,600 of the window after it
    return Part(charge.start_ns, part_of(charge.start_ns + step - 1).until_ns)
