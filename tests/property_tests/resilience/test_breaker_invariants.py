"""The circuit breaker against a model that keeps every event (CB1, CB2, CB3, CB4)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.resilience.breaker import (
    SLOTS,
    TABLE,
    TOLD,
    Breaker,
    BreakerSettings,
    CircuitBreakerOpenError,
    CircuitState,
)
from holdfast.resilience.outcome import Outcome

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
SETTINGS = BreakerSettings(
    failure_threshold=3,
    success_threshold=2,
    min_requests=5,
    failure_ratio=0.5,
    window_s=64.0,
    open_s=10.0,
    max_open_s=40.0,
    half_open_s=7.0,
    jitter=0.0,
)
BAD = (Outcome.FAILURE, Outcome.OVERLOAD)


class HandClock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall_ns(self) -> int:
        return 0


class Model:
    """The rule as it is told: a list of everything that counts, looked through each time. Whole seconds are slots."""

    def __init__(self) -> None:
        self.state = CLOSED
        self.era = 0
        self.since = 0.0
        self.heard_at = 0.0
        """The last success of a probe, or when the first one went out after that."""
        self.reopened = 0
        self.told: float | None = None
        """The open time, where others told it."""
        self.events: list[tuple[float, bool]] = []
        self.good = 0
        self.out: set[int] = set()

    def at(self, now: float) -> None:
        while True:
            if self.state is OPEN and now >= self.since + self.stays:
                self.to(HALF_OPEN, now)
            elif self.state is HALF_OPEN and self.out and now >= self.heard_at + SETTINGS.half_open_s:
                self.to(OPEN, now)
            else:
                return

    @property
    def stays(self) -> float:
        if self.told is not None:
            return self.told
        return min(SETTINGS.open_s * 2.0 ** (self.reopened - 1), SETTINGS.max_open_s)

    def adopt(self, open_s: float | None, times: int, now: float) -> None:
        if open_s is None:
            if self.state is not CLOSED:
                self.to(CLOSED, now)
            return
        if self.state is OPEN:
            self.since = now  # nobody was let in since: no call is there to become stale
        else:
            self.to(OPEN, now)
        self.told, self.reopened = open_s, times

    def to(self, state: CircuitState, now: float) -> None:
        self.state, self.since = state, now
        self.era += 1
        self.events, self.good = [], 0
        self.told = None
        self.out = set()
        if state is OPEN:
            self.reopened += 1
        elif state is CLOSED:
            self.reopened = 0

    def may_enter(self) -> bool:
        if self.state is HALF_OPEN:
            return len(self.out) + self.good < SETTINGS.success_threshold
        return self.state is CLOSED

    def counted(self, now: float) -> list[tuple[float, bool]]:
        return [(at, bad) for at, bad in self.events if math.floor(at) > math.floor(now) - SLOTS]

    def over(self, call: int, era: int, outcome: Outcome, now: float, *, began: bool) -> None:
        if era != self.era:
            return
        bad = outcome in BAD
        if self.state is CLOSED:
            if not bad and outcome is not Outcome.SUCCESS:
                return
            self.events.append((now, bad))
            recent = self.counted(now)
            failures = sum(wrong for _, wrong in recent)
            if len(recent) >= 5 and failures >= 3 and failures / len(recent) >= 0.5:
                self.to(OPEN, now)
            return
        self.out.discard(call)
        if bad:
            self.to(OPEN, now)
        elif outcome is Outcome.SUCCESS and not began:
            self.succeed(now)

    def succeed(self, now: float) -> None:
        self.good += 1
        self.heard_at = now
        if self.good >= SETTINGS.success_threshold:
            self.to(CLOSED, now)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.breaker = Breaker(SETTINGS, clock=self.clock)
        self.model = Model()
        self.moves: list[tuple[CircuitState, CircuitState]] = []
        self.breaker.on_change(lambda before, after: self.moves.append((before, after)))
        self.calls: list[dict] = []
        self.number = 0

    @rule(seconds=st.sampled_from([0.0, 0.25, 1.0, 3.0, 7.0, 10.0, 20.0, 63.0, 64.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(open_s=st.sampled_from([0.0, 5.0, 100.0]), times=st.integers(1, 4))
    def others_have_opened_it(self, open_s: float, times: int) -> None:
        self.model.at(self.clock.now)
        self.breaker.adopt(open_s, reopened=times)
        self.model.adopt(open_s, times, self.clock.now)

    @rule()
    def others_have_closed_it(self) -> None:
        self.model.at(self.clock.now)
        self.breaker.adopt(None)
        self.model.adopt(None, 0, self.clock.now)

    @rule()
    def a_call_comes(self) -> None:
        self.model.at(self.clock.now)
        may = self.model.may_enter()
        if not may:
            with pytest.raises(CircuitBreakerOpenError) as refused:
                self.breaker.admit()
            assert (refused.value.retry_after_s or 0.0) > 0
            return
        permit = self.breaker.admit()
        self.number += 1
        if self.model.state is HALF_OPEN:
            if not self.model.out:
                self.model.heard_at = self.clock.now
            self.model.out.add(self.number)
        self.calls.append({"n": self.number, "era": self.model.era, "permit": permit, "began": False})

    @rule(count=st.integers(1, 8), outcome=st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE]))
    def calls_come_and_go(self, count: int, outcome: Outcome) -> None:
        for _ in range(count):
            before = len(self.calls)
            self.a_call_comes()
            if len(self.calls) > before:
                self._leave(len(self.calls) - 1, outcome)

    @rule(data=st.data())
    def an_answer_begins(self, data: st.DataObject) -> None:
        if not self.calls:
            return
        call = data.draw(st.sampled_from(self.calls))
        self.model.at(self.clock.now)
        call["permit"].progressed()
        if not call["began"]:
            call["began"] = True
            if call["era"] == self.model.era and self.model.state is HALF_OPEN:
                self.model.out.discard(call["n"])
                self.model.succeed(self.clock.now)

    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)))
    def a_call_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        if self.calls:
            self._leave(data.draw(st.integers(0, len(self.calls) - 1)), outcome)

    def _leave(self, index: int, outcome: Outcome) -> None:
        call = self.calls.pop(index)
        self.model.at(self.clock.now)
        call["permit"].leave(outcome)
        call["permit"].leave(Outcome.FAILURE)  # the second one counts for nothing
        self.model.over(call["n"], call["era"], outcome, self.clock.now, began=call["began"])

    @invariant()
    def they_agree(self) -> None:
        self.model.at(self.clock.now)
        snapshot = self.breaker.snapshot()
        assert snapshot.state is self.model.state
        if self.model.state is CLOSED:
            recent = self.model.counted(self.clock.now)
            assert (snapshot.calls, snapshot.failures) == (len(recent), sum(bad for _, bad in recent))
        if self.model.state is HALF_OPEN:
            assert (snapshot.probes, snapshot.successes) == (len(self.model.out), self.model.good)
            assert snapshot.probes + snapshot.successes <= SETTINGS.success_threshold

    @invariant()
    def only_legal_moves(self) -> None:
        assert all(after in TABLE[before].values() or after in TOLD[before] for before, after in self.moves)
        assert all(earlier[1] is later[0] for earlier, later in zip(self.moves, self.moves[1:], strict=False))


TestBreakerMachine = BreakerMachine.TestCase


@given(
    st.lists(st.tuples(st.floats(0, 30), st.sampled_from(list(Outcome)), st.booleans()), max_size=60),
)
def test_a_healed_target_closes(history):
    """CB4, whatever was before: everything succeeds, and within the longest open time and the probes it is closed."""
    clock = HandClock()
    breaker = Breaker(SETTINGS, clock=clock)
    left = []
    for seconds, outcome, stays in history:
        clock.now += seconds
        try:
            permit = breaker.admit()
        except CircuitBreakerOpenError:
            continue
        left.append(permit) if stays else permit.leave(outcome)
    until = clock.now + SETTINGS.max_open_s + SETTINGS.half_open_s + SETTINGS.max_open_s + 1
    while clock.now < until and breaker.state is not CLOSED:
        clock.now += 0.5
        try:
            breaker.admit().leave(Outcome.SUCCESS)
        except CircuitBreakerOpenError:
            continue
    assert breaker.state is CLOSED
    for permit in left:
        permit.leave(Outcome.NEUTRAL)
    assert breaker.state is CLOSED


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 0.9), st.integers(0, 12))
def test_an_open_time_fits_its_jitter_and_its_cap(chance, jitter, times):
    class Chance:
        def random(self) -> float:
            return chance

        def getrandbits(self, k: int, /) -> int:
            return 0

    settings = BreakerSettings(failure_threshold=1, open_s=2.0, max_open_s=60.0, jitter=jitter)
    clock = HandClock()
    breaker = Breaker(settings, clock=clock, rng=Chance())
    breaker.admit().leave(Outcome.FAILURE)
    for _ in range(times):
        clock.now += breaker.snapshot().retry_after_s
        breaker.admit().leave(Outcome.FAILURE)
    base = min(2.0 * 2**times, 60.0)
    stays = breaker.snapshot().retry_after_s
    assert base * (1 - jitter) - 1e-6 <= stays <= min(base * (1 + jitter), 60.0) + 1e-6
    with pytest.raises(CircuitBreakerOpenError):
        breaker.admit()
