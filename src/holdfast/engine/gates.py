"""What stands before each target: asked in one order, held to the answer's end, handed back on every way out.

The order is the one in which a no costs least: an open breaker answers at once; then a place among the target's calls, then
one among all calls; then the rate, once nothing else has to be waited for, so that what it admits is sent in that moment;
then the breaker again, which may have opened meanwhile, and where several processes share it a probe's lease. The adaptive
limit asks nothing: it moves the number of places.
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from holdfast.engine.outcomes import outcome_of
from holdfast.engine.rates import enter_rate, tokens_bound
from holdfast.engine.shared_limit import SharedLimit
from holdfast.errors import (
    BreakerOpen,
    HoldfastError,
    NoPlace,
    ProviderError,
    RateExceeded,
    Rejected,
    Superseded,
)
from holdfast.resilience.adaptive import AdaptiveLimit
from holdfast.resilience.breaker import Breaker, CircuitBreakerOpenError, CircuitState
from holdfast.resilience.bulkhead import Bulkhead, BulkheadFullError
from holdfast.resilience.hedge import Hedge
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.rate_limit import RateLimit
from holdfast.resilience.rate_meter import RateLimitExceededError
from holdfast.resilience.rate_signals import RateSignals
from holdfast.resilience.retry_budget import RetryBudget
from holdfast.resilience.seam import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from holdfast.clock import Clock, Rng
    from holdfast.engine.call import Call
    from holdfast.engine.policy import Gates, Target
    from holdfast.engine.shared_breakers import SharedBreaker, SharedBreakers, SharedProbe, SharedView
    from holdfast.engine.shared_limits import SharedLimits
    from holdfast.engine.shared_rates import SharedRates
    from holdfast.model.usage import Usage
    from holdfast.resilience.adaptive import AdaptivePermit, AdaptiveSettings, AdaptiveState
    from holdfast.resilience.breaker import BreakerPermit, BreakerSnapshot
    from holdfast.resilience.bulkhead import BulkheadPermit, BulkheadSettings, BulkheadSnapshot
    from holdfast.resilience.hedge import HedgeState
    from holdfast.resilience.rate_limit import RatePermit
    from holdfast.resilience.rate_meter import RateLimitSettings, RateStatus
    from holdfast.resilience.retry_budget import RetryBudgetState

__all__ = ["MOMENT_S", "MOST", "Gatehouse", "TargetGate", "TargetState"]

S = TypeVar("S")
T = TypeVar("T")

MOST: Final = 4096
"""Targets that are told apart: callers may invent names of models."""
_LOOKS: Final = 8
_PLACES: Final = frozenset(("bulkhead", "adaptive"))
MOMENT_S: Final = 0.25
"""How long a provider's own limit is waited for."""
_TICK_S: Final = 1e-6
"""What is left of such a wait that isn't waited for: less than any timer can tell."""
_SIGNALS_S: Final = 0.25
"""How often an answer's headers are looked at for the provider's own limits, refusals apart: it costs 5 µs."""

_LONGEST_NAME: Final = 200
"""Characters of a target's name that others are told; a longer one's hash stands for the rest."""


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """How everything before one target stands. None: it is off."""

    target: str
    provider: str
    route: str
    """The route whose own it is; empty: it is shared by all."""
    budget: RetryBudgetState
    breaker: BreakerSnapshot | None
    shared: SharedView | None
    """What is known of the breaker over all processes."""
    bulkhead: BulkheadSnapshot | None
    adaptive: AdaptiveState | None
    hedge: HedgeState | None
    rate: RateStatus | None
    blocked_s: float
    """Seconds until the provider's own limit lets the next request in, as it says itself."""
    refused: dict[str, int]
    """Attempts that weren't let through, by policy."""
    client_retries: int
    """Requests that were retries of their caller's."""


class Gatehouse:
    """All targets' gates: the engine's gate.

    Args:
        clock, rng: time, and chance for the breakers' open times.
        overall: how many calls may be at all providers together; None: any number.
        breakers, limits: what breakers and adaptive limits share with other processes; None: this one is alone.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: Rng,
        overall: BulkheadSettings | None = None,
        breakers: SharedBreakers | None = None,
        limits: SharedLimits | None = None,
        rates: SharedRates | None = None,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self.rates = rates
        self.breakers = breakers
        self.limits = limits
        self.overall = None if overall is None else Bulkhead(overall, clock=clock, name="all providers")
        self._gates: dict[tuple[str, str, str, str], TargetGate] = {}
        self._parts: dict[tuple[str, str, str], object] = {}
        self._holders: dict[tuple[str, str, str], int] = {}
        self._rules: Mapping[tuple[str, str], Gates] = {}

    def __iter__(self) -> Iterator[TargetGate]:
        return iter(self._gates.values())

    def of(self, target: Target) -> TargetGate:
        """The gate before ``target``."""
        settings = target.gates
        key = (target.provider, target.deployment, target.model, settings.route)
        gate = self._gates.get(key)
        if gate is not None and gate.settings is settings:  # nearly always
            return gate
        ruled = self._rules.get((target.provider, settings.route), settings)
        if gate is None:
            if ruled is not settings:
                target = msgspec.structs.replace(target, gates=ruled)
            return self._add(key, target)
        if gate.settings is not ruled:
            gate.apply(ruled)
        return gate

    def apply(
        self, rules: Mapping[tuple[str, str], Gates], *, overall: BulkheadSettings | None = None
    ) -> None:
        """Other settings from now on, for every target and for requests that began before too. State stays.

        Args:
            rules: by provider and route (empty: of all routes that set none themselves). They go before those that a request
                brings: one that began under an older configuration must not put that one's limits back for everybody.
            overall: as at the start.
        """
        self._rules = rules
        if overall is None:
            self.overall = None
        elif self.overall is None:
            self.overall = Bulkhead(overall, clock=self._clock, name="all providers")
        else:
            self.overall.apply(overall)
        for key, gate in list(self._gates.items()):
            settings = rules.get((gate.provider, gate.settings.route))
            if settings is None:  # nobody who comes asks it any more: it goes once its last request has
                if gate.idle:
                    self._drop(key)
            elif settings is not gate.settings:
                gate.apply(settings)

    async def aclose(self) -> None:
        """Tells other processes what is still to be told."""
        if self.limits is not None:
            await self.limits.aclose()
        if self.breakers is not None:
            await self.breakers.aclose()

    async def enter(self, target: Target, call: Call, *, first: bool, deadline: float) -> TargetPermit:
        """Lets an attempt through.

        Raises:
            Rejected: the target may not be asked now.
        """
        gate = self.of(target)
        if first:
            gate.arrived(again=call.retries > 0)
        return await gate.enter(call, deadline, first=first)

    def may_retry(self, target: Target) -> bool:
        return self.of(target).budget.allow()

    def hedge_after(self, target: Target) -> float | None:
        if target.gates.hedge is None:  # nearly always
            return None
        hedging = self.of(target).hedging
        return None if hedging is None else hedging.timer.delay_s()

    def may_hedge(self, target: Target) -> bool:
        hedging = self.of(target).hedging
        return hedging is not None and hedging.budget.allow()

    def hedge_won(self, target: Target) -> None:
        hedging = self.of(target).hedging
        if hedging is not None:
            hedging.won()

    async def look(self) -> None:
        """Asks how the rates stand that other processes share, before they are shown."""
        if self.rates is not None:
            await self.rates.look([gate.rate for gate in self if isinstance(gate.rate, SharedLimit)])

    def states(self) -> list[TargetState]:
        """How all of them stand, in the order in which they were first asked."""
        return [gate.state() for gate in self._gates.values()]

    def _add(self, key: tuple[str, str, str, str], target: Target) -> TargetGate:
        if len(self._gates) >= MOST:
            self._drop_idle()
        if (
            len(self._gates) >= MOST
        ):  # all in use: strangers share one gate, which lets fewer through, never more
            # Nor do callers' own keys have an end: those share one as well.
            whose = "@*" if target.deployment.startswith("@") else target.deployment
            target = msgspec.structs.replace(target, model="*", deployment=whose)
            key = (target.provider, whose, "*", target.gates.route)
            if (shared := self._gates.get(key)) is not None:
                return shared
        gate = self._gates[key] = TargetGate(self, target, self._clock, self._rng)
        return gate

    def _drop_idle(self) -> None:
        """The oldest first; who is in use goes to the end."""
        for key in [key for key, _ in zip(self._gates, range(_LOOKS), strict=False)]:
            gate = self._gates[key]
            if gate.idle:
                self._drop(key)
            else:
                self._gates[key] = self._gates.pop(key)

    def _drop(self, key: tuple[str, str, str, str]) -> None:
        for part in self._gates.pop(key).parts:
            self._holders[part] -= 1
            if not self._holders[part]:  # else another gate goes on with it
                del self._holders[part], self._parts[part]
                shared = {"breaker": self.breakers, "adaptive": self.limits}.get(part[0])
                if shared is not None:
                    shared.forget(_shared_name(part))

    def hold(self, key: tuple[str, str, str]) -> None:
        """One gate more goes by that part."""
        self._holders[key] = self._holders.get(key, 0) + 1

    def part(self, key: tuple[str, str, str], make: Callable[[], T]) -> T:
        """One policy's state for one target: shared by all gates that name it."""
        found = self._parts.get(key)
        if found is None:
            found = self._parts[key] = make()
        return found  # type: ignore[return-value]  # each key names its policy, so it has one kind


class TargetGate:
    """The policies before one target."""

    __slots__ = (
        "_clock",
        "_heard_from",
        "_house",
        "_read_next",
        "_rng",
        "adaptive",
        "blocked_until",
        "breaker",
        "budget",
        "bulkhead",
        "client_retries",
        "hedging",
        "name",
        "parts",
        "provider",
        "rate",
        "refused",
        "settings",
        "shared",
        "signals",
    )

    def __init__(self, house: Gatehouse, target: Target, clock: Clock, rng: Rng) -> None:
        self._house = house
        self._clock = clock
        self._rng = rng
        self._read_next = 0.0
        self.name = str(target)
        self.provider = target.provider
        self.settings = target.gates
        self.parts: set[tuple[str, str, str]] = set()
        self.refused: dict[str, int] = {}
        self.client_retries = 0
        self.blocked_until = 0.0
        self.signals = RateSignals(clock)
        self._heard_from: Breaker | None = None
        self._build()

    def _build(self) -> None:
        """Finds or makes the state of each policy that is on."""
        its, clock, name = self.settings, self._clock, self.name
        self.budget = self._part("budget", partial(RetryBudget, its.budget, clock=clock))
        self.breaker = self._maybe(
            "breaker", its.breaker, partial(Breaker, clock=clock, rng=self._rng, name=name)
        )
        self.shared = self._share()
        self.rate = self._maybe("rate", its.rate, self._rate_limit)
        self.hedging = self._maybe("hedge", its.hedge, partial(Hedge, clock=clock))
        places = self.bulkhead = self._maybe(
            "bulkhead", its.bulkhead, partial(Bulkhead, clock=clock, name=name)
        )
        self.adaptive: AdaptiveLimit | None = None
        if places is not None:
            resize = places.resize
            self.adaptive = self._maybe(
                "adaptive", self._adaptive(), partial(AdaptiveLimit, on_change=resize)
            )
            if self.adaptive is not None and self._house.limits is not None:
                self._house.limits.share(_shared_name(self._key("adaptive")), self.adaptive)
        self._listen()

    def _rate_limit(self, settings: RateLimitSettings) -> RateLimit:
        rates = self._house.rates
        if rates is None:
            return RateLimit(settings, clock=self._clock, name=self.name)
        return rates.limit(settings, self.name, window=f"target {_shared_name(self._key('rate'))}")

    def _share(self) -> SharedBreaker | None:
        """None: it is this process's alone."""
        breakers, breaker = self._house.breakers, self.breaker
        if breakers is None or breaker is None:
            return None
        return breakers.share(_shared_name(self._key("breaker")), breaker)

    def _listen(self) -> None:
        """Whoever waits for a place at a target that is down is told at once; but only where both are the same callers'."""
        breaker = self.breaker
        if breaker is None or breaker is self._heard_from or self.bulkhead is None:
            return
        if self._scope("breaker") == self._scope("bulkhead"):
            self._heard_from = breaker
            breaker.on_change(self._breaker_moved)

    def _scope(self, policy: str) -> str:
        """Whose the state of that policy is. The adaptive limit moves the places: the two belong to the same callers."""
        own = self.settings.own
        if policy in _PLACES:
            return self.settings.route if not own.isdisjoint(_PLACES) else ""
        return self.settings.route if policy in own else ""

    def _adaptive(self) -> AdaptiveSettings | None:
        """No limit above the places there are: it would have to come down to them first."""
        its, places = self.settings.adaptive, self.settings.bulkhead
        if its is None or places is None or its.max_limit <= places.max_concurrent:
            return its
        most = places.max_concurrent
        return msgspec.structs.replace(
            its,
            min_limit=min(its.min_limit, most),
            initial_limit=min(its.initial_limit, most),
            max_limit=most,
        )

    def _key(self, policy: str) -> tuple[str, str, str]:
        return policy, self.name, self._scope(policy)

    def _part(self, policy: str, make: Callable[[], T]) -> T:
        key = self._key(policy)
        if key not in self.parts:
            self.parts.add(key)
            self._house.hold(key)
        return self._house.part(key, make)

    def _maybe(self, policy: str, settings: S | None, make: Callable[[S], T]) -> T | None:
        return None if settings is None else self._part(policy, partial(make, settings))

    def apply(self, settings: Gates) -> None:
        """Other settings from now on. State is kept and judged by them, also that of a policy that was off for a while."""
        self.settings = settings
        self._build()
        self.budget.apply(settings.budget)
        if self.breaker is not None and settings.breaker is not None:
            self.breaker.apply(settings.breaker)
        if self.bulkhead is not None and settings.bulkhead is not None:
            self.bulkhead.apply(settings.bulkhead)
            if settings.adaptive is None:  # what it had found out is no limit any more
                self.bulkhead.resize(settings.bulkhead.max_concurrent)
        if self.adaptive is not None and (adaptive := self._adaptive()) is not None:
            self.adaptive.apply(adaptive)
        if self.rate is not None and settings.rate is not None:
            self.rate.apply(settings.rate)
        if self.hedging is not None and settings.hedge is not None:
            self.hedging.apply(settings.hedge)

    def arrived(self, *, again: bool) -> None:
        """A request asks this target for the first time; ``again``: the caller itself has tried before."""
        if self.hedging is not None:
            self.hedging.budget.request()
        if again:  # a client's own retries are retries: they use up what ours might
            self.client_retries += 1
            self.budget.charge()
        else:
            self.budget.request()

    async def enter(self, call: Call, deadline: float, *, first: bool) -> TargetPermit:
        """Lets an attempt through, waiting for a place and for the rate.

        What the provider said of its own limits counts for a request's ``first`` attempt: a retry goes by Retry-After.

        Raises:
            Rejected: it may not be made now; nothing was taken.
        """
        permit = TargetPermit(self)
        try:
            if self.breaker is not None and not self.breaker.closed:
                (self.shared or self.breaker).check()
            if self.bulkhead is not None:
                permit.place = self.bulkhead.try_enter() or await self.bulkhead.enter(
                    deadline=deadline, key=call.key
                )
            overall = self._house.overall
            if overall is not None:
                permit.overall = overall.try_enter() or await overall.enter(deadline=deadline, key=call.key)
            if self.blocked_until and first:
                await self._pass_blocked()
            if self.rate is not None:
                tokens = tokens_bound(call) if self.rate.settings.tokens is not None else 0
                permit.rate = await enter_rate(self.rate, call, tokens, deadline=deadline)
            if self.breaker is not None:
                if self.shared is None or self.breaker.closed:  # nearly always
                    permit.probe = self.breaker.admit()
                else:
                    permit.probe = await self.shared.admit(call.spell)
        except Refused as error:
            permit.withdraw()
            raise self._rejected(error) from None
        except BaseException:  # cancelled while it waited
            permit.withdraw()
            raise
        if self.adaptive is not None:
            permit.flight = self.adaptive.started()
        if self.hedging is not None:
            permit.began = self._clock.monotonic()
        return permit

    def timed(self, began: float) -> None:
        """An attempt that began then has its first content now, or was outrun."""
        if self.hedging is not None:
            self.hedging.timer.observe(max(0.0, self._clock.monotonic() - began))

    def heard(self, header: Callable[[str], str | None], *, refused: bool) -> None:
        """An answer's headers may tell of the provider's own limits. Looked at now and then; a refusal's always."""
        now = self._clock.monotonic()
        if now < self._read_next and not refused:
            return
        self._read_next = now + _SIGNALS_S
        self.signals.read(header)
        self.blocked_until = self.signals.passes_at() or 0.0

    @property
    def idle(self) -> bool:
        """Nothing is under way and nothing is remembered that would change an answer."""
        return (
            (self.breaker is None or self.breaker.idle)
            and (self.bulkhead is None or not (self.bulkhead.in_use or self.bulkhead.waiting))
            and (self.rate is None or self.rate.idle)
            and not self.blocked_until
        )

    def state(self) -> TargetState:
        """How it stands now."""
        now = self._clock.monotonic()
        return TargetState(
            target=self.name,
            provider=self.provider,
            route=self.settings.route if self.settings.own else "",
            budget=self.budget.snapshot(),
            breaker=None if self.breaker is None else self.breaker.snapshot(),
            shared=None if self.shared is None else self.shared.view(),
            bulkhead=None if self.bulkhead is None else self.bulkhead.snapshot(),
            adaptive=None if self.adaptive is None else self.adaptive.snapshot(),
            hedge=None if self.hedging is None else self.hedging.snapshot(),
            rate=None if self.rate is None else self.rate.status(),
            blocked_s=max(0.0, self.blocked_until - now),
            refused=dict(self.refused),
            client_retries=self.client_retries,
        )

    async def _pass_blocked(self) -> None:
        """The provider said that nothing passes until then. A moment is waited for; for longer, others are asked."""
        latest = self._clock.monotonic() + MOMENT_S
        # Again after each wait: uvloop's timers may be early, and another answer may have told of a longer one.
        while (wait_s := self.blocked_until - self._clock.monotonic()) > _TICK_S:
            if self.blocked_until > latest:
                raise _Blocked(f"{self.name} says that its rate limit is used up", retry_after_s=wait_s)
            await asyncio.sleep(wait_s)
        self.blocked_until = 0.0

    def _rejected(self, error: Refused) -> Rejected:
        kind, policy = _REFUSALS.get(type(error), (NoPlace, "other"))
        self.refused[policy] = self.refused.get(policy, 0) + 1
        return kind(error.message, retry_after_s=error.retry_after_s)

    def _breaker_moved(self, _before: CircuitState, after: CircuitState) -> None:
        """Whoever waits for a place at a target that is down is told now, and not when the wait is over."""
        if after is not CircuitState.OPEN or self.breaker is None or self.bulkhead is None:
            return
        wait_s = self.breaker.snapshot().retry_after_s
        said = f"circuit breaker {self.name!r} has opened"
        self.bulkhead.turn_away(CircuitBreakerOpenError(said, retry_after_s=wait_s))


def _shared_name(part: tuple[str, str, str]) -> str:
    """Which target's it is, for all processes. Callers may invent names of models, of any length."""
    _, name, route = part
    whole = f"{route}|{name}"
    if len(whole) <= _LONGEST_NAME:
        return whole
    return f"{whole[:_LONGEST_NAME]}#{hashlib.sha256(whole.encode()).hexdigest()}"


class _Blocked(Refused):
    """The provider's own limit is used up, it said."""


_REFUSALS: Final[dict[type[Refused], tuple[type[Rejected], str]]] = {
    CircuitBreakerOpenError: (BreakerOpen, "breaker"),
    BulkheadFullError: (NoPlace, "bulkhead"),
    RateLimitExceededError: (RateExceeded, "rate"),
    _Blocked: (RateExceeded, "provider_rate"),
}


class TargetPermit:
    """One attempt's places. Held until its answer's end."""

    __slots__ = ("_gate", "_left", "began", "flight", "overall", "place", "probe", "rate")

    def __init__(self, gate: TargetGate) -> None:
        self._gate = gate
        self._left = False
        self.began: float | None = None
        """When, where the time to its first content is of use; None: it isn't, or was told."""
        self.place: BulkheadPermit | None = None
        self.overall: BulkheadPermit | None = None
        self.rate: RatePermit | None = None
        self.probe: BreakerPermit | SharedProbe | None = None
        self.flight: AdaptivePermit | None = None

    def heard(self, header: Callable[[str], str | None], *, refused: bool) -> None:
        self._gate.heard(header, refused=refused)

    def progressed(self) -> None:
        if self.began is not None:
            self._time(self.began)
        if self.probe is not None:
            self.probe.progressed()
        if self.flight is not None:
            self.flight.progressed()

    def leave(self, error: HoldfastError | None, usage: Usage | None) -> None:
        if self._left:
            return
        self._left = True
        if self.began is not None and isinstance(error, Superseded):
            self._time(
                self.began
            )  # one of the slow ones: else the percentile would sink with each hedge that wins
        outcome = outcome_of(error)
        if self.rate is not None:
            self._settle(self.rate, error, usage)
        if self.flight is not None:
            self.flight.leave(outcome)
        if self.probe is not None:
            self.probe.leave(outcome)
        if self.overall is not None:
            self.overall.leave(outcome)
        if self.place is not None:  # last: whoever gets it may be let in before this call returns
            self.place.leave(outcome)

    def withdraw(self) -> None:
        """It was not let through: everything back as if it had never asked."""
        self._left = True
        if self.rate is not None:
            self.rate.give_back()
        if self.overall is not None:
            self.overall.leave(Outcome.NEUTRAL)
        if self.place is not None:
            self.place.leave(Outcome.NEUTRAL)

    def _time(self, began: float) -> None:
        self.began = None
        self._gate.timed(began)

    def _settle(self, rate: RatePermit, error: HoldfastError | None, usage: Usage | None) -> None:
        """What nobody told stays at its bound, unless the provider refused: then it used nothing."""
        if usage is not None:
            rate.settle(max(0, usage.input_tokens or 0) + max(0, usage.output_tokens or 0))
        elif isinstance(error, ProviderError | Rejected):
            rate.settle(0)
