"""The cost breaker against a model that keeps every charge (D2, BU1): in any order of events the two agree."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.support.spenders import NOON_NS, HandClock, Request, S, Spenders

from holdfast.errors import CostBreakerOpen
from holdfast.ledger.entry import Charge
from holdfast.money.cost_breaker import ACCOUNT, CostBreaker, CostBreakerSettings, CostState

CLOSED, OPEN, HALF_OPEN = CostState.CLOSED, CostState.OPEN, CostState.HALF_OPEN
WINDOW_S = 7200
STEP_S = 2
"""Of an hour's window: 1/3600."""
SETTINGS = CostBreakerSettings(threshold_nano=1000, window_s=WINDOW_S, cool_down_s=100, probes=2)
AMOUNTS = st.sampled_from([0, 1, 40, 49, 50, 51, 200, 500, 950, 1000, 1001])


class Model:
    """The rule as it is told: a list of all charges, looked through each time."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.state = CLOSED
        self.until = 0.0
        self.charges: list[tuple[int, int]] = []
        self.bounds: dict[int, int] = {}
        self.probes: set[int] = set()

    @property
    def spent(self) -> int:
        return sum(amount for at, amount in self.charges if self.counts(at))

    def counts(self, at_ns: int) -> bool:
        step = STEP_S * S
        return self.clock.wall < at_ns - at_ns % step + step + WINDOW_S * S

    def to(self, state: CostState) -> None:
        self.state = state
        self.probes = set()
        if state is OPEN:
            self.until = self.clock.mono + 100

    def look(self) -> None:
        if self.state is OPEN:
            if self.spent < 1000 and self.clock.mono >= self.until:
                self.to(HALF_OPEN)
        elif self.spent >= 1000:
            self.to(OPEN)

    def may_enter(self) -> bool:
        self.look()
        return self.state is CLOSED or (self.state is HALF_OPEN and len(self.probes) < 2)

    def has_room(self, bound: int) -> bool:
        if bound == 0 or self.spent + sum(self.bounds.values()) + bound <= 1000:
            return True  # what costs nothing needs no room, even where a bill passed its bound
        if bound + self.spent > 1000 and self.spent >= 950:
            self.to(OPEN)
        return False


class CostBreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock(NOON_NS)
        self.breaker = CostBreaker(SETTINGS, clock=self.clock)
        self.spenders = Spenders(self.breaker, self.clock)
        self.model = Model(self.clock)
        self.running: list[tuple[int, Request]] = []
        self.number = 0
        self.overrun = False

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 30.0, 99.0, 100.0, 3600.0, 7200.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.passes(seconds)

    @rule(bound=AMOUNTS)
    def a_request_comes(self, bound: int) -> None:
        self.number += 1
        may = self.model.may_enter()
        probe = may and self.model.state is HALF_OPEN
        may = may and self.model.has_room(bound)
        if not may:
            with pytest.raises(CostBreakerOpen) as refused:
                self.spenders.begin(bound)
            wait_s = refused.value.retry_after_s
            assert bound > 1000 if wait_s is None else wait_s > 0
            return
        request = self.spenders.begin(bound)
        self.running.append((self.number, request))
        self.model.bounds[self.number] = bound
        if probe:
            self.model.probes.add(self.number)

    @rule(place=st.integers(0, 20), share=st.sampled_from([0, 1, 50, 100]), ok=st.booleans())
    def one_ends(self, place: int, share: int, ok: bool) -> None:
        if not self.running:
            return
        number, request = self.running.pop(place % len(self.running))
        cost = self.model.bounds[number] * share // 100
        self.over(number, request, cost, ok=ok)

    @rule(place=st.integers(0, 20), more=st.sampled_from([1, 100]))
    def one_costs_more_than_its_bound(self, place: int, more: int) -> None:
        if not self.running:
            return
        number, request = self.running.pop(place % len(self.running))
        self.overrun = True
        self.over(number, request, self.model.bounds[number] + more, ok=True)

    def over(self, number: int, request: Request, cost: int, *, ok: bool) -> None:
        at_ns = self.clock.wall
        for charge in request.settle(cost, ok=ok):
            assert charge.amount == cost
            self.spenders.charges.append(charge)
        del self.model.bounds[number]
        if cost:
            self.model.charges.append((at_ns, cost))
        self.model.look()
        if self.model.state is HALF_OPEN and number in self.model.probes:
            self.model.probes.remove(number)
            if ok:
                self.model.to(CLOSED)

    @rule()
    def an_operator_resets_it(self) -> None:
        self.breaker.reset()
        self.model.charges.clear()
        self.spenders.charges.clear()
        if self.model.state is not CLOSED:
            self.model.to(CLOSED)

    @rule()
    def restarts_with_what_the_ledger_has(self) -> None:
        """Nothing that counts is lost, and nothing counts longer."""
        rows = [Charge(ACCOUNT, 0, 1, 5), *self.spenders.charges]
        after = CostBreaker(SETTINGS, clock=self.clock, spent=rows)
        assert after.snapshot().spent_nano == self.model.spent

    @invariant()
    def stands_as_the_model_says(self) -> None:
        self.model.look()
        snapshot = self.breaker.snapshot()
        assert snapshot.state is self.model.state
        assert snapshot.spent_nano == self.model.spent
        assert snapshot.reserved_nano == sum(self.model.bounds.values())
        assert snapshot.probes == len(self.model.probes)
        assert (snapshot.retry_after_s > 0) == (snapshot.state is OPEN)

    @invariant()
    def never_passes_the_threshold(self) -> None:
        """By what it let in: only a provider that bills more than was possible can."""
        if not self.overrun:
            assert self.model.spent + sum(self.model.bounds.values()) <= 1000


TestCostBreaker = CostBreakerMachine.TestCase
