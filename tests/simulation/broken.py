"""Engines that break one promise each, so that it shows whether the monitors would notice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec.structs import replace

from holdfast.engine.chain import Chain, Verdict
from holdfast.engine.engine import Engine
from holdfast.engine.exchange import Exchange
from holdfast.engine.gates import Gatehouse, TargetGate, TargetPermit
from holdfast.engine.guard import State
from holdfast.engine.rates import RateAdmission, RateRules
from holdfast.engine.treasury import Treasury
from holdfast.errors import Abandoned, HoldfastError, RequestRefused, TargetsFailed
from holdfast.money.budgets import Budgets, Hold

if TYPE_CHECKING:
    from holdfast.engine.attempt import Attempt
    from holdfast.engine.call import Call
    from holdfast.engine.policy import Target

__all__ = ["BROKEN", "Broken"]


class _Broken(Engine):
    """Its calls are handled by another class."""

    exchange_class: ClassVar[type[Exchange]]

    def exchange(self, call: Call, *args: Any, **more: Any) -> Exchange:
        return self.exchange_class(self, call, *args, **more)


class _KeepsPermits(Exchange):
    """The permit of an attempt whose client left is forgotten."""

    def _over(self, attempt: Attempt, error: HoldfastError | None) -> None:
        if isinstance(error, Abandoned):
            attempt.permit = None
        super()._over(attempt, error)


class _LeavesTooEarly(Exchange):
    """The permit comes back with the first content."""

    def _serve(self, attempt: Attempt, *args: Any) -> None:
        super()._serve(attempt, *args)
        if attempt.permit is not None:
            attempt.permit.leave(None, None)
            attempt.permit = None


class _Splices(Exchange):
    """After a break the next attempt's text is appended to what was delivered."""

    def _may_resume(self, attempt: Attempt) -> bool:
        return True

    def _begin(self, *args: Any, resuming: bool, **more: Any) -> Attempt:
        return super()._begin(*args, resuming=False, **more)


class _CallsItDone(Exchange):
    """A break in the middle is told as an end."""

    async def _broken(self, attempt: Attempt, error: HoldfastError) -> bytes:
        attempt.guard.state = State.DONE
        return self._complete(b"")


class _HasNoDeadline(Exchange):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._deadline = self._chain._deadline = 1e12


class _IsDeaf(Exchange):
    """Retry-After isn't heard."""

    def _over(self, attempt: Attempt, error: HoldfastError | None) -> None:
        super()._over(attempt, error)
        if error is not None:
            error.retry_after_s = None


class _SleepsAtTheEnd(Exchange):
    """A pause after the last attempt, which nothing follows."""

    async def _advance(self, **more: Any) -> bytes:
        try:
            return await super()._advance(**more)
        except TargetsFailed:
            await asyncio.sleep(0.5)
            raise


class _KeepsConnections(Exchange):
    """A client's leaving doesn't reach the provider."""

    def _over(self, attempt: Attempt, error: HoldfastError | None) -> None:
        if isinstance(error, Abandoned):
            attempt._incoming = None
        super()._over(attempt, error)


class _ForgetsWhoLeft(Exchange):
    """A request whose client left has no end."""

    def _settle(self, state: Any, *args: Any, **more: Any) -> None:
        if state == "cancelled":
            self._settled = True
            return
        super()._settle(state, *args, **more)


class _BillsOnlyWhatItSaw(Exchange):
    """What was sent and never accounted for costs nothing."""

    def _over(self, attempt: Attempt, error: HoldfastError | None) -> None:
        if attempt.guard.usage is None:
            attempt.sent = False
        super()._over(attempt, error)


class _WithChain(Exchange):
    """Its chain decides by other rules."""

    chain_class: ClassVar[type[Chain]]

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._chain.__class__ = self.chain_class


class _AsksTheSilentAgain(_WithChain):
    class chain_class(Chain):  # noqa: N801  # the name of what it replaces
        __slots__ = ()

        def _defer(self, place: Any, not_before: float) -> None:
            place.not_before = not_before
            self._queue.appendleft(place)


class _PausesBeyondTheCap(_WithChain):
    """Jitter after the cap."""

    class chain_class(Chain):  # noqa: N801  # the name of what it replaces
        __slots__ = ()

        def _pause(self, place: Any, error: HoldfastError) -> float:
            return super()._pause(place, error) * (1 + self._random())


class _FallsBackOnTheCallersFault(_WithChain):
    class chain_class(Chain):  # noqa: N801  # the name of what it replaces
        __slots__ = ()

        def _judge(self, error: HoldfastError) -> Verdict:
            return Verdict.NEXT if isinstance(error, RequestRefused) else super()._judge(error)


# Policies.


class _House(Gatehouse):
    """Its gates are made as ever, and then spoilt."""

    def _add(self, key: Any, target: Target) -> TargetGate:
        gate = super()._add(key, target)
        self.spoil(gate)
        return gate

    def spoil(self, gate: TargetGate) -> None:
        raise NotImplementedError


class _WithoutPlaces(_House):
    def spoil(self, gate: TargetGate) -> None:
        gate.bulkhead = None


class _WithoutRate(_House):
    def spoil(self, gate: TargetGate) -> None:
        gate.rate = None


class _WithoutOverall(_House):
    def __init__(self, **more: Any) -> None:
        super().__init__(**{**more, "overall": None})

    def spoil(self, gate: TargetGate) -> None: ...


class _WithoutBudget(_House):
    def spoil(self, gate: TargetGate) -> None: ...

    def may_retry(self, target: Target) -> bool:
        return True


class _OtherBreaker(_House):
    """Its breakers go by other numbers."""

    changes: ClassVar[dict[str, Any]]

    def spoil(self, gate: TargetGate) -> None:
        if gate.breaker is not None:
            gate.breaker.apply(replace(gate.breaker.settings, **self.changes))


class _NeverOpens(_OtherBreaker):
    changes: ClassVar[dict[str, Any]] = {"failure_threshold": 1_000_000}


class _IgnoresTheRatio(_OtherBreaker):
    changes: ClassVar[dict[str, Any]] = {"failure_ratio": 1e-9}


class _IgnoresTheLeastRequests(_OtherBreaker):
    changes: ClassVar[dict[str, Any]] = {"min_requests": 1}


class _ManyProbes(_OtherBreaker):
    changes: ClassVar[dict[str, Any]] = {"success_threshold": 1000}


class _HearsOldCalls(_House):
    """What a call that was let in long ago tells counts now."""

    def spoil(self, gate: TargetGate) -> None: ...

    async def enter(self, target: Target, call: Call, *, first: bool, deadline: float) -> Any:
        permit = await super().enter(target, call, first=first, deadline=deadline)
        breaker, leave, probe = self.of(target).breaker, TargetPermit.leave, permit.probe

        class Stale(TargetPermit):
            __slots__ = ()

            def leave(self, error: HoldfastError | None, usage: Any) -> None:
                if probe is not None and breaker is not None:
                    probe._epoch = breaker._epoch
                leave(self, error, usage)

        permit.__class__ = Stale
        return permit


class _LosesPlaces(_House):
    """A place isn't given back where its caller left."""

    def spoil(self, gate: TargetGate) -> None: ...

    async def enter(self, target: Target, call: Call, *, first: bool, deadline: float) -> Any:
        permit = await super().enter(target, call, first=first, deadline=deadline)
        leave = TargetPermit.leave

        class Careless(TargetPermit):
            __slots__ = ()

            def leave(self, error: HoldfastError | None, usage: Any) -> None:
                if isinstance(error, Abandoned):
                    self.place = None
                leave(self, error, usage)

        permit.__class__ = Careless
        return permit


def _policies(kind: type[Gatehouse]) -> type[Engine]:
    return type(kind.__name__.strip("_"), (Engine,), {"house_class": kind, "__module__": __name__})


class _AdmitsEverybody(Engine):
    """The callers' own limits are forgotten after each request."""

    def __init__(self, *args: Any, admission: Any = None, **more: Any) -> None:
        for inner in getattr(admission, "_inner", ()):
            if isinstance(inner, RateAdmission):
                inner.apply(RateRules())
        super().__init__(*args, admission=admission, **more)


# Money.


class _ForgetsTheBillOfWhoLeft(Exchange):
    """An attempt whose client left is written down, and charged to nobody."""

    def _over(self, attempt: Attempt, error: HoldfastError | None) -> None:
        purse = self._purse
        if isinstance(error, Abandoned):
            self._purse = None
        super()._over(attempt, error)
        self._purse = purse


class _ChecksThenActs(Exchange):
    """Between the look for room and the reservation others have their turn."""

    async def _set_aside(self) -> Any:
        bound = await super()._set_aside()
        hold = None if self._purse is None else self._purse._hold
        if hold is not None:
            for account, amount in zip(hold.accounts, hold._reserved, strict=True):
                account.reserved -= amount
            await asyncio.sleep(0)
            for account, amount in zip(hold.accounts, hold._reserved, strict=True):
                account.reserved += amount
        return bound


class _OtherHold(Budgets):
    """Its requests hold money in another way."""

    hold_class: ClassVar[type[Hold]]

    def hold(self, *args: Any, **more: Any) -> Hold:
        hold = super().hold(*args, **more)
        hold.__class__ = self.hold_class
        return hold


class _KeepsReservations(_OtherHold):
    class hold_class(Hold):  # noqa: N801  # the name of what it replaces
        __slots__ = ()

        def close(self, **more: Any) -> Any:
            kept = list(self._reserved)
            charges = super().close(**more)
            for account, amount in zip(self.accounts, kept, strict=True):
                account.reserved += amount
            return charges


class _CoversOneAttempt(_OtherHold):
    """Of two attempts at the same time only the dearer one is set aside."""

    class hold_class(Hold):  # noqa: N801  # the name of what it replaces
        __slots__ = ()

        def cover(self, number: int, bound: Any) -> bool:
            others = dict(self._open)
            self._open.clear()
            try:
                return super().cover(number, bound)
            finally:
                self._open.update(others)


class _ChargesTheBound(_OtherHold):
    """What was set aside counts as spent, whatever the attempt cost."""

    class hold_class(Hold):  # noqa: N801  # the name of what it replaces
        __slots__ = ()

        def settle(self, number: int, cost: Any) -> None:
            super().settle(number, self._open.get(number, cost))


class _ForgetsAtTheStart(Budgets):
    """A new process doesn't ask the ledger what was spent."""

    def __init__(self, *args: Any, spent: Any = (), **more: Any) -> None:
        super().__init__(*args, **more)


class _NeverRaises(Treasury):
    """A bound that grows isn't made durable."""

    def __init__(self, budgets: Budgets, *, ledger: Any, **more: Any) -> None:
        super().__init__(budgets, ledger=_Unraised(ledger), **more)


class _Unraised:
    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    async def raise_bound(self, *args: Any, **more: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def _money(kind: type[Budgets | Treasury]) -> type[Engine]:
    hook = "budgets_class" if issubclass(kind, Budgets) else "treasury_class"
    return type(kind.__name__.strip("_"), (Engine,), {hook: kind, "__module__": __name__})


def _engine(kind: type[Exchange]) -> type[Engine]:
    return type(kind.__name__.strip("_"), (_Broken,), {"exchange_class": kind, "__module__": __name__})


@dataclass(frozen=True)
class Broken:
    """An engine that breaks a promise."""

    make_engine: type[Engine]
    promises: tuple[str, ...]
    """Of these one must be seen to break."""
    policy: str | None = None
    """Where only a world with this policy can show it."""
    crashes: bool = False
    """Where only a world in which processes die can."""


BROKEN: Final = {
    "keeps permits": Broken(
        _engine(_KeepsPermits),
        (
            "BH1",
            "DL2",
        ),
    ),
    "gives permits back too early": Broken(_engine(_LeavesTooEarly), ("BH1",)),
    "splices two attempts": Broken(
        _engine(_Splices),
        (
            "ST4",
            "ST1",
        ),
    ),
    "calls a break an end": Broken(
        _engine(_CallsItDone),
        (
            "ST3",
            "ST1",
            "ST2",
        ),
    ),
    "has no deadline": Broken(_engine(_HasNoDeadline), ("DL1",)),
    "doesn't hear Retry-After": Broken(_engine(_IsDeaf), ("RT3",)),
    "sleeps after the last attempt": Broken(_engine(_SleepsAtTheEnd), ("RT1",)),
    "keeps connections": Broken(
        _engine(_KeepsConnections),
        (
            "DL2",
            "QUIET",
        ),
    ),
    "forgets who left": Broken(
        _engine(_ForgetsWhoLeft),
        (
            "LE1",
            "DL2",
            "QUIET",
        ),
    ),
    "asks a silent target again": Broken(_engine(_AsksTheSilentAgain), ("RT6",)),
    "pauses beyond the cap": Broken(_engine(_PausesBeyondTheCap), ("RT2",)),
    "falls back on the caller's own fault": Broken(_engine(_FallsBackOnTheCallersFault), ("FB3",)),
    "bills only what it saw": Broken(_engine(_BillsOnlyWhatItSaw), ("BU2",)),
    "has no bulkhead": Broken(_policies(_WithoutPlaces), ("BH1",), "bulkhead"),
    "has no bulkhead over all": Broken(_policies(_WithoutOverall), ("BH1",), "overall"),
    "loses places of those who leave": Broken(
        _policies(_LosesPlaces),
        (
            "QUIET",
            "LIVE",
        ),
        "bulkhead",
    ),
    "has no rate limit at targets": Broken(_policies(_WithoutRate), ("RL1",), "rate"),
    "has no rate limit for callers": Broken(_AdmitsEverybody, ("RL1",), "caller_rate"),
    "has no retry budget": Broken(_policies(_WithoutBudget), ("RT4",), "budget"),
    "has a breaker that never opens": Broken(_policies(_NeverOpens), ("CB1",), "breaker"),
    "has a breaker that ignores the ratio": Broken(_policies(_IgnoresTheRatio), ("CB1",), "breaker"),
    "has a breaker that ignores min_requests": Broken(
        _policies(_IgnoresTheLeastRequests), ("CB1",), "breaker"
    ),
    "has a breaker with a thousand probes": Broken(_policies(_ManyProbes), ("CB2",), "breaker"),
    "forgets the bill of who left": Broken(_engine(_ForgetsTheBillOfWhoLeft), ("BU1", "BU2"), "budgets"),
    "checks, then acts": Broken(_engine(_ChecksThenActs), ("BU1",), "budgets"),
    "keeps reservations": Broken(_money(_KeepsReservations), ("BU1",), "budgets"),
    "covers one attempt of several": Broken(_money(_CoversOneAttempt), ("BU1",), "budgets"),
    "charges the bound": Broken(_money(_ChargesTheBound), ("BU2",), "budgets"),
    "forgets at the start what was spent": Broken(
        _money(_ForgetsAtTheStart), ("BU2",), "budgets", crashes=True
    ),
    "never raises a bound": Broken(_money(_NeverRaises), ("BU1",), "budgets", crashes=True),
    "has a breaker that hears old calls": Broken(
        _policies(_HearsOldCalls),
        (
            "CB1",
            "CB3",
            "CRASH",
        ),
        "breaker",
    ),
}
"""By what is wrong with it."""
