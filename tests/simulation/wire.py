"""The one place where a plan becomes an engine, with the policies that the plan has.

A new policy is made here, from its settings in ``plan.policies``, and told to the monitors by the events of ``trace.py``.
"""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace
from tests.simulation.chat_wire import request
from tests.simulation.providers import MODEL, PRICES, Journal, Provider, Wire
from tests.simulation.trace import (
    EVERYBODY,
    Accepted,
    Admitted,
    Arrived,
    Attempted,
    Back,
    Died,
    Ended,
    Entered,
    Entering,
    HedgeAsked,
    HedgeWon,
    Judged,
    Places,
    Progressed,
    Recovered,
    RetryAsked,
    Settled,
    Turned,
    TurnedAway,
)
from tests.simulation.world import DIALECT, endpoint

from holdfast.clock import new_id
from holdfast.engine.call import Call, Limits
from holdfast.engine.engine import Engine
from holdfast.engine.gates import Gatehouse
from holdfast.engine.outcomes import outcome_of
from holdfast.engine.policy import Gates, Policy, Retry, Target, Timeouts
from holdfast.engine.rates import RateAdmission, RateRules
from holdfast.engine.route import Resolved
from holdfast.engine.treasury import Treasury
from holdfast.errors import Forbidden, HoldfastError, Rejected
from holdfast.ledger.memory import MemoryLedger
from holdfast.money.budgets import Budgets
from holdfast.money.rules import BudgetRule
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.providers.tokens import count_request
from holdfast.providers.tokens.aside import _use_of
from holdfast.resilience.adaptive import AdaptiveSettings
from holdfast.resilience.breaker import BreakerSettings, CircuitState
from holdfast.resilience.bulkhead import BulkheadSettings
from holdfast.resilience.hedge import HedgeSettings
from holdfast.resilience.rate_meter import RateLimitSettings
from holdfast.resilience.retry_budget import RetryBudgetSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.simulation.draw import Ask, Plan
    from tests.simulation.trace import Trace

    from holdfast.engine.chain import Step
    from holdfast.engine.exchange import Exchange
    from holdfast.engine.seams import Admission, Gate, Permit, Ticket
    from holdfast.ledger.entry import AttemptRow, Charge, End, Intent
    from holdfast.model.usage import Usage
    from holdfast.resilience.rate_meter import RateStatus
    from holdfast.testing.virtual_time import VirtualClock

__all__ = ["Wired"]

_SETTLING_S: Final = 1.0
_PROBE_TOKENS: Final = 250
"""The most that one of the requests can use that look whether all is well."""

_PLENTY: Final = 10**17
"""A limit that nobody reaches."""

_BEFORE_A_TARGET: Final = ("breaker", "bulkhead", "overall", "adaptive", "rate", "budget", "hedge")
"""Policies of the gatehouse."""


class Wired:
    """An engine, its providers, its ledger and whatever stands between them.

    Args:
        make_engine: the class of the engine: a broken one, where the monitors themselves are tried.
    """

    def __init__(
        self, plan: Plan, clock: VirtualClock, trace: Trace, *, make_engine: type[Engine] = Engine
    ) -> None:
        self.plan = plan
        self.clock = clock
        self.journal = Journal()
        self.asks: dict[int, Ask] = {ask.n: ask for ask in plan.asks}
        self.numbers: dict[str, int] = {}
        """The request's number by its id."""
        rng = random.Random(f"engine {plan.seed}")
        self.rng = rng
        self.providers = {
            each.name: Provider(plan, each, clock, self.journal, self.asks) for each in plan.providers
        }
        self.transport = Wire(self.providers, trace, clock)
        self.ledger = _Ledger(clock, latency_s=plan.ledger_s)
        self._trace = trace
        have = plan.policies
        money = have.get("budgets", {"rules": [], "lower_max_tokens": False})
        self._rules = [BudgetRule(**{"warn_at": 0.8, **rule}) for rule in money["rules"]]
        if self._rules:
            _warm()
        self._make_engine = make_engine
        self._watched: type[Exchange] | None = None
        self.doorman = _Doorman(plan, clock, self.numbers) if "doorman" in have else None
        self.house: Gatehouse | None = None
        if any(name in have for name in _BEFORE_A_TARGET):
            overall = BulkheadSettings(**have["overall"]) if "overall" in have else None
            house_class = getattr(make_engine, "house_class", Gatehouse)
            self.house = house_class(clock=clock, rng=rng, overall=overall)
        gates: list[Gate] = [gate for gate in (self.doorman, self.house) if gate is not None]
        self.gate = _WatchedGate(self, gates, trace) if gates else None
        self.porter = _Porter(plan, clock, self.numbers) if "porter" in have else None
        admissions: list[Admission] = [] if self.porter is None else [self.porter]
        if "caller_rate" in have:
            rules = RateRules(caller=RateLimitSettings(**have["caller_rate"]))
            admissions.append(RateAdmission(rules, clock=clock))
        self.engine = make_engine(
            [endpoint(each.name) for each in plan.providers],
            transport=self.transport,
            ledger=self.ledger,
            book=_book(),
            clock=clock,
            rng=rng,
            observer=_Teller(self, trace),
            admission=_WatchedAdmission(self, admissions, trace) if admissions else None,
            gate=self.gate,
        )
        self.engine.treasury = self._treasury()
        settings = _gates(have)
        self.targets = {
            each.name: Target(
                provider=each.name,
                model=MODEL,
                tier=each.tier,
                weight=each.weight,
                timeouts=Timeouts(**each.timeouts),
                retry=Retry(**each.retry),
                gates=settings,
            )
            for each in sorted(plan.providers, key=lambda each: each.tier)
        }
        self._resolved = Resolved(
            asked="chat",
            match="route",
            route="chat",
            targets=tuple(self.targets.values()),
            skipped=(),
            policy=Policy(
                total_s=plan.route.total_s,
                max_attempts=plan.route.max_attempts,
                on_break=plan.route.on_break,
                lower_max_tokens=money["lower_max_tokens"],
            ),
            spread=len({each.tier for each in plan.providers}) < len(plan.providers),
        )
        if self.house is not None:
            for target in self.targets.values():
                breaker = self.house.of(target).breaker
                if breaker is not None:
                    breaker.on_change(partial(self._turned, target.provider))

    def _treasury(self, spent: Sequence[Charge] = ()) -> Treasury:
        """A process that begins."""
        budgets_class: type[Budgets] = getattr(self._make_engine, "budgets_class", Budgets)
        treasury_class: type[Treasury] = getattr(self._make_engine, "treasury_class", Treasury)
        budgets = budgets_class(self._rules, now_ns=self.clock.wall_ns, spent=spent)
        return treasury_class(budgets, ledger=self.ledger, clock=self.clock)

    @property
    def budgets(self) -> Budgets:
        treasury = self.engine.treasury
        assert treasury is not None
        return treasury.budgets

    async def give_up(self, *, dead: bool) -> None:
        """What is open is settled at its bound. ``dead``: its process ends with it, and another one begins."""
        now = self.clock.monotonic()
        ledger = self.ledger
        given_up = ledger.give_up_open(dead=dead)
        if dead:
            self.engine.treasury = self._treasury(await ledger.spending())
        for intent in given_up:
            accounts = tuple((part.account, part.until_ns) for part in intent.accounts)
            n = self.numbers[intent.id]
            self._trace.tell(Recovered(now, n, dead, intent.bound_nano, intent.bound_tokens, accounts))
        self._trace.tell(Died(now, EVERYBODY, dead))

    def exchange(self, call: Call) -> Exchange:
        """As the engine makes it, and telling of targets that money keeps it from."""
        exchange = self.engine.exchange(call)
        kind = type(exchange)
        if self._watched is None or self._watched.__base__ is not kind:
            self._watched = _watched(kind, self, self._trace)
        exchange.__class__ = self._watched
        return exchange

    def _turned(self, target: str, before: CircuitState, after: CircuitState) -> None:
        self._trace.tell(Turned(self.clock.monotonic(), EVERYBODY, target, before.value, after.value))

    def tell_places(self, n: int, target: Target) -> None:
        """How many places of a target are taken, if they are counted."""
        if self.house is None:
            return
        places = self.house.of(target).bulkhead
        if places is not None:
            now = self.clock.monotonic()
            self._trace.tell(Places(now, n, target.provider, places.in_use, places.limit))

    def call(self, ask: Ask) -> Call:
        """``ask`` as a door would hand it in."""
        more: dict[str, Any] = {"stream_options": {"include_usage": True}} if ask.stream and ask.usage else {}
        body = request(stream=ask.stream, max_tokens=4 * ask.words, prompt=f"question {ask.n}", **more)
        call = Call(
            id=new_id(self.clock, self.rng),
            dialect=DIALECT,
            envelope=DIALECT.read_request(body),
            resolved=self._resolved if ask.only is None else self._alone(ask.only),
            started_at=self.clock.monotonic(),
            started_ns=self.clock.wall_ns(),
            key=ask.key,
            team=ask.team,
            session=ask.session,
            tags={} if ask.project is None else {"project": ask.project},
            limits=Limits(read_s=ask.read_s, total_s=ask.total_s),
            retries=ask.retry,
        )
        self.numbers[call.id] = ask.n
        return call

    def heal(self) -> None:
        """Whatever fails on purpose stops failing."""
        for provider in self.providers.values():
            provider.heal()
        for each in (self.doorman, self.porter):
            if each is not None:
                each.well = True
        self.ledger.refuse(None)
        self._rules = [
            replace(rule, limit_nano=_PLENTY)
            if rule.limit_nano is not None
            else replace(rule, limit_tokens=10**15)
            for rule in self._rules
        ]
        self.budgets.apply(self._rules)

    def _alone(self, name: str) -> Resolved:
        return replace(self._resolved, targets=(self.targets[name],), spread=False)

    @property
    def grace_s(self) -> float:
        """How long after healing everything works again: the longest that a policy may remember the bad times."""
        have = self.plan.policies
        waits = [_SETTLING_S]
        if "breaker" in have:
            # One that remembers old failures may open once more by them, when a success completes its numbers.
            waits.append(have["breaker"]["window_s"] + have["breaker"]["max_open_s"])
        waits += [have[name]["window_s"] for name in ("rate", "caller_rate", "budget") if name in have]
        # What a provider said of its own limit is believed until then, once it is read.
        waits += [1.5 * each.retry_after_s for each in self.plan.providers if each.signals]
        return max(waits) + _SETTLING_S

    @property
    def pace_s(self) -> float:
        """The seconds between requests that all rate limits bear, whichever target they go to."""
        paces = [0.5]
        for name in ("rate", "caller_rate"):
            settings = self.plan.policies.get(name, {})
            window_s = settings.get("window_s", 0.0)
            if settings.get("requests"):
                paces.append(window_s / settings["requests"] * 1.1)
            if settings.get("tokens"):
                paces.append(window_s * _PROBE_TOKENS / settings["tokens"] * 1.1)
        return max(paces)

    @property
    def probes(self) -> int:
        """Successes at each target after which every breaker is closed."""
        return int(self.plan.policies.get("breaker", {}).get("success_threshold", 1))

    def still_busy(self) -> list[str]:
        """Which policies still hold something, once nothing is under way."""
        if self.house is None:
            return []
        busy = []
        for state in self.house.states():
            if state.breaker is not None and state.breaker.state is not CircuitState.CLOSED:
                busy.append(f"the breaker of {state.provider} is {state.breaker.state.value}")
            if state.bulkhead is not None and (state.bulkhead.in_use or state.bulkhead.waiting):
                busy.append(
                    f"{state.bulkhead.in_use} places at {state.provider} are taken, {state.bulkhead.waiting} wait"
                )
            if state.adaptive is not None and state.adaptive.in_flight:
                busy.append(f"{state.adaptive.in_flight} calls at {state.provider} are in flight")
            gate = self.house.of(self.targets[state.provider])
            if gate.rate is not None and gate.rate.waiting:
                busy.append(f"{gate.rate.waiting} wait for the rate of {state.provider}")
        overall = self.house.overall
        if overall is not None and (overall.in_use or overall.waiting):
            busy.append(f"{overall.in_use} of all places are taken, {overall.waiting} wait")
        return busy


def _gates(have: Mapping[str, Mapping[str, Any]]) -> Gates:
    """The settings of what stands before each target. What a world doesn't have is off; the budget can't be."""
    bulkhead = have.get("bulkhead")
    if bulkhead is None and "adaptive" in have:  # it moves the places of a bulkhead
        bulkhead = {"max_concurrent": 1000, "max_queue": 100}
    return Gates(
        budget=RetryBudgetSettings(**have.get("budget", {})),
        breaker=BreakerSettings(**have["breaker"]) if "breaker" in have else None,
        bulkhead=None if bulkhead is None else BulkheadSettings(**bulkhead),
        adaptive=AdaptiveSettings(**have["adaptive"]) if "adaptive" in have else None,
        hedge=HedgeSettings(**have["hedge"]) if "hedge" in have else None,
        rate=RateLimitSettings(**have["rate"]) if "rate" in have else None,
    )


def _book() -> PriceBook:
    overrides, problems = parse_overrides(
        {
            f"{name}/{MODEL}": {
                "input_per_1m": Decimal(given) / 1000,
                "output_per_1m": Decimal(made) / 1000,
            }
            for name, (given, made) in PRICES.items()
        }
    )
    assert not problems, problems
    return PriceBook(overrides)


@lru_cache(maxsize=1)
def _warm() -> None:
    """A tokenizer that isn't loaded yet would be loaded in a thread, and no seed decides when that is done."""
    assert DIALECT.codec is not None
    asked = DIALECT.codec.decode_request(request())
    for name in PRICES:
        count_request(asked, MODEL, name)
        _use_of(MODEL, name).begun = True


class _Ledger(MemoryLedger):
    """Of processes that may die: their last words are lost."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.lost: set[str] = set()
        """What was open when its process died."""
        self._unended: dict[str, Intent] = {}
        """Given up, and its process lives on."""

    def give_up_open(self, *, dead: bool) -> list[Intent]:
        """:meth:`give_up`; what was given up now, or before and has no end yet."""
        self._unended.update((record.intent.id, record.intent) for record in self._open.values())
        self.give_up()
        given_up = list(self._unended.values())
        if dead:
            self.lost.update(self._unended)
            self._unended.clear()
        return given_up

    def end(self, end: End) -> None:
        if end.id not in self.lost:
            self._unended.pop(end.id, None)
            super().end(end)


def _watched(kind: type[Exchange], wired: Wired, trace: Trace) -> type[Exchange]:
    class Watched(kind):  # type: ignore[misc, valid-type]  # whichever exchange the engine makes
        __slots__ = ()

        async def _cover(self, step: Step, body_bytes: int) -> int:
            try:
                return await super()._cover(step, body_bytes)
            except Exception as error:
                self._tell(step, error.__cause__)
                raise

        async def _let_in(self, step: Step, *more: Any, **options: Any) -> Any:
            try:
                return await super()._let_in(step, *more, **options)
            except Exception as error:
                if wired.engine.gate is None:  # else that tells
                    self._tell(step, error.__cause__)
                raise

        def _tell(self, step: Step, why: BaseException | None) -> None:
            if isinstance(why, HoldfastError):
                n, now = wired.numbers[self.call.id], wired.clock.monotonic()
                trace.tell(TurnedAway(now, n, step.target.provider, why.label, why.retry_after_s))

    return Watched


class _Teller:
    """The engine's observer."""

    def __init__(self, wired: Wired, trace: Trace) -> None:
        self._wired = wired
        self._trace = trace

    def accepted(self, intent: Intent) -> None:
        wired = self._wired
        self._trace.tell(Accepted(wired.clock.monotonic(), wired.numbers[intent.id], intent.id))

    def attempted(self, intent: Intent, row: AttemptRow) -> None:
        wired = self._wired
        self._trace.tell(
            Attempted(
                wired.clock.monotonic(),
                wired.numbers[intent.id],
                row.number,
                row.provider,
                row.outcome,
                row.status,
                row.first_byte_ms is None,
                row.billed,
                row.cost_nano,
                row.retry_after_s,
            )
        )

    def ended(self, intent: Intent, end: End) -> None:
        wired = self._wired
        self._trace.tell(
            Ended(
                wired.clock.monotonic(),
                wired.numbers[intent.id],
                end.state,
                end.status,
                end.error_label,
                end.cost_nano,
                len(end.attempts),
            )
        )


class _WatchedGate:
    """Asks the world's gates one after the other, and tells of each step."""

    def __init__(self, wired: Wired, gates: list[Gate], trace: Trace) -> None:
        self._wired = wired
        self._gates = gates
        self._trace = trace
        self._permits = 0

    async def enter(self, target: Target, call: Call, *, first: bool, deadline: float) -> Permit:
        clock, trace, name = self._wired.clock, self._trace, target.provider
        n = self._wired.numbers[call.id]
        trace.tell(Entering(clock.monotonic(), n, name, first))
        inner: list[Permit] = []
        try:
            for gate in self._gates:
                if first and gate is self._wired.house:
                    trace.tell(Arrived(clock.monotonic(), n, name, call.retries > 0))
                permit = await gate.enter(target, call, first=first, deadline=deadline)
                inner.append(permit)
        except HoldfastError as error:
            trace.tell(TurnedAway(clock.monotonic(), n, name, error.label, error.retry_after_s))
            raise
        self._permits += 1
        trace.tell(Entered(clock.monotonic(), n, name, self._permits, _tokens(call)))
        self._wired.tell_places(n, target)
        return _WatchedPermit(self._wired, trace, n, target, self._permits, inner[-1] if inner else _NOTHING)

    def hedge_after(self, target: Target) -> float | None:
        return self._gates[-1].hedge_after(target)

    def may_hedge(self, target: Target) -> bool:
        given = all(gate.may_hedge(target) for gate in self._gates)
        self._trace.tell(HedgeAsked(self._wired.clock.monotonic(), EVERYBODY, target.provider, given))
        return given

    def hedge_won(self, target: Target) -> None:
        for gate in self._gates:
            gate.hedge_won(target)
        self._trace.tell(HedgeWon(self._wired.clock.monotonic(), EVERYBODY, target.provider))

    def may_retry(self, target: Target) -> bool:
        given = all(gate.may_retry(target) for gate in self._gates)
        self._trace.tell(RetryAsked(self._wired.clock.monotonic(), EVERYBODY, target.provider, given))
        return given


class _WatchedPermit:
    """Tells what a permit is about to be told, so that what policies make of it comes after it in the trace."""

    def __init__(
        self, wired: Wired, trace: Trace, n: int, target: Target, number: int, inner: Permit
    ) -> None:
        self._wired = wired
        self._trace = trace
        self._n = n
        self._target = target
        self._number = number
        self._inner = inner

    def heard(self, header: Callable[[str], str | None], *, refused: bool) -> None:
        self._inner.heard(header, refused=refused)

    def progressed(self) -> None:
        now = self._wired.clock.monotonic()
        self._trace.tell(Progressed(now, self._n, self._number, self._target.provider))
        self._inner.progressed()

    def leave(self, error: HoldfastError | None, usage: Usage | None) -> None:
        now, target, tell = self._wired.clock.monotonic(), self._target.provider, self._trace.tell
        tell(Judged(now, self._n, target, self._number, outcome_of(error).value))
        self._inner.leave(error, usage)
        label = None if error is None else error.label
        used = None if usage is None else (usage.input_tokens or 0) + (usage.output_tokens or 0)
        tell(Back(now, self._n, self._number, target, label, used))
        self._wired.tell_places(self._n, self._target)


class _WatchedAdmission:
    """Asks one admission after the other."""

    def __init__(self, wired: Wired, inner: list[Admission], trace: Trace) -> None:
        self._wired = wired
        self._inner = inner
        self._trace = trace

    async def admit(self, call: Call) -> Ticket:
        ticket: Ticket = _NOTHING
        for admission in self._inner:
            ticket = await admission.admit(call)
        n = self._wired.numbers[call.id]
        self._trace.tell(Admitted(self._wired.clock.monotonic(), n, call.key, _tokens(call)))
        return _WatchedTicket(self._wired, self._trace, n, ticket)


class _WatchedTicket:
    def __init__(self, wired: Wired, trace: Trace, n: int, inner: Ticket) -> None:
        self._wired = wired
        self._trace = trace
        self._n = n
        self._inner = inner

    @property
    def rate(self) -> RateStatus | None:
        return self._inner.rate

    def settle(self, end: End | None) -> None:
        self._inner.settle(end)
        now = self._wired.clock.monotonic()
        if end is None:
            self._trace.tell(Settled(now, self._n, None))
        else:
            self._trace.tell(Settled(now, self._n, end.state, _used(end)))


def _tokens(call: Call) -> int:
    """The most that a request can use: a token of input is at least a byte."""
    return call.envelope.size + (call.envelope.max_output_tokens or 0)


def _used(end: End) -> int | None:
    used = 0
    for row in end.attempts:
        if row.usage is not None:
            used += (row.usage.input_tokens or 0) + (row.usage.output_tokens or 0)
        elif row.billed == "bound":
            return None
    return used


class _Nothing:
    """The permit and the ticket of gates that count nothing."""

    rate = None

    def heard(self, header: Callable[[str], str | None], *, refused: bool) -> None: ...

    def progressed(self) -> None: ...

    def leave(self, error: HoldfastError | None, usage: Usage | None) -> None: ...

    def settle(self, end: End | None) -> None: ...


_NOTHING: Final = _Nothing()


class _Dice:
    """Decides by the plan's seed and what is asked about, not by the order of asking."""

    def __init__(self, plan: Plan, name: str, clock: VirtualClock, numbers: Mapping[str, int]) -> None:
        self._seed = f"{name} {plan.seed}"
        self.settings: Mapping[str, Any] = plan.policies[name]
        self.clock = clock
        self.numbers = numbers
        self.well = False

    def _draw(self, *about: object) -> random.Random:
        return random.Random(f"{self._seed} {about} {self.clock.monotonic():.6f}")

    async def _wait(self, dice: random.Random, deadline: float) -> None:
        if dice.random() < self.settings["waits"]:
            left_s = deadline - self.clock.monotonic()
            await asyncio.sleep(max(0.0, min(self.settings["wait_s"] * dice.random() * 2, left_s)))


class _Doorman(_Dice):
    """A gate that refuses and delays by dice."""

    def __init__(self, plan: Plan, clock: VirtualClock, numbers: Mapping[str, int]) -> None:
        super().__init__(plan, "doorman", clock, numbers)

    async def enter(self, target: Target, call: Call, *, first: bool, deadline: float) -> Permit:
        if not self.well:
            dice = self._draw(target.provider, self.numbers[call.id])
            await self._wait(dice, deadline)
            if dice.random() < self.settings["refuses"]:
                raise Rejected(f"{target} is closed for now", retry_after_s=1.0)
        return _NOTHING

    def hedge_after(self, target: Target) -> float | None:
        return None

    def may_hedge(self, target: Target) -> bool:
        return True

    def hedge_won(self, target: Target) -> None: ...

    def may_retry(self, target: Target) -> bool:
        return self.well or self._draw(target.provider).random() >= self.settings["denies_retries"]


class _Porter(_Dice):
    """An admission that refuses and delays by dice."""

    def __init__(self, plan: Plan, clock: VirtualClock, numbers: Mapping[str, int]) -> None:
        super().__init__(plan, "porter", clock, numbers)

    async def admit(self, call: Call) -> Ticket:
        if not self.well:
            dice = self._draw(self.numbers[call.id])
            total_s = call.resolved.policy.total_s
            await self._wait(dice, call.started_at + min(total_s, call.limits.total_s or total_s))
            if dice.random() < self.settings["refuses"]:
                raise Forbidden("not today")
        return _NOTHING
