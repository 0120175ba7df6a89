"""RT4: the budget's promise, for every window and every span, against the whole list of what happened."""

from __future__ import annotations

import math
from bisect import bisect_right

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from holdfast.resilience.retry_budget import SLOTS, RetryBudget, RetryBudgetSettings

GRAIN_S = 1 / 64
"""Times are whole numbers of it, and windows of slots: no sum is rounded, and an edge is an edge."""


class Hand:
    def __init__(self) -> None:
        self.grains = 12_345

    def monotonic(self) -> float:
        return self.grains * GRAIN_S

    def wall_ns(self) -> int:
        return 0


windows = st.sampled_from([SLOTS * GRAIN_S * n for n in (4, 8, 32, 160)])
rules = st.builds(
    RetryBudgetSettings,
    ratio=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
    floor_per_s=st.sampled_from([0.0, 0.125, 0.3, 1.0, 5.0]),
    window_s=windows,
)


def count(events: list[int], after: int, until: int) -> int:
    """Of a sorted list."""
    return bisect_right(events, until) - bisect_right(events, after)


def allowed(rule: RetryBudgetSettings, requests: int, windows: int = 1) -> float:
    return rule.ratio * requests + rule.floor_per_s * rule.window_s * windows + 1e-9


class Traffic(RuleBasedStateMachine):
    """Anything may happen at any time; the list remembers all of it."""

    @initialize(rule=rules)
    def begin(self, rule):
        self.rule = rule
        self.clock = Hand()
        self.window = round(rule.window_s / GRAIN_S)
        self.slot = self.window // SLOTS
        self.budget = RetryBudget(rule, clock=self.clock)
        self.requests: list[int] = []
        self.granted: list[int] = []
        self.charged: list[int] = []

    @rule(grains=st.integers(0, 60) | st.integers(0, 4000))
    def time_passes(self, grains):
        self.clock.grains += grains

    @rule(times=st.integers(1, 40))
    def requests_come(self, times):
        for _ in range(times):
            self.budget.request()
            self.requests.append(self.clock.grains)

    @rule(times=st.integers(1, 3))
    def somebody_else_retries(self, times):
        for _ in range(times):
            self.budget.charge()
            self.charged.append(self.clock.grains)

    @rule(times=st.integers(1, 20))
    def retries_are_wanted(self, times):
        now = self.clock.grains
        for _ in range(times):
            if self.budget.allow():
                self.granted.append(now)
                # The rule as it is written, without slots.
                within = count(self.granted, now - self.window, now) + count(
                    self.charged, now - self.window, now
                )
                assert within <= allowed(self.rule, count(self.requests, now - self.window, now))
            else:
                # And no stricter than by one slot at each edge.
                late = now - self.window - self.slot
                within = count(self.granted, late, now) + count(self.charged, late, now) + 1
                sure = count(self.requests, now - self.window + self.slot, now)
                assert within > allowed(self.rule, sure) - 2e-9
        self.every_span()

    @rule()
    def snapshot_agrees_with_what_is_let_through(self):
        state = self.budget.snapshot()
        taken = 0
        while taken <= state.left and self.budget.allow():
            self.granted.append(self.clock.grains)
            taken += 1
        assert taken == state.left
        self.every_span()

    def every_span(self):
        """Retries in any span ≤ ratio × requests in it and in the window before + the floor of each window it touches.

        Spans that ended earlier were looked at then: only those that end now are new.
        """
        now = self.clock.grains
        for first in set(self.granted):
            requests = count(self.requests, first - 1 - self.window, now)
            retries = count(self.granted, first - 1, now)
            assert retries <= allowed(self.rule, requests, math.ceil((now - first + 1) / self.window))


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(stateful_step_count=30)  # the check of all spans makes long runs slow


@given(
    rule=rules,
    into_slot=st.integers(0, 200),
    requests=st.integers(0, 60),
    charged=st.integers(0, 10),
    slots=st.integers(-3, 3),
    grains=st.integers(-2, 2),
)
@example(
    rule=RetryBudgetSettings(ratio=0.0, floor_per_s=1.0),
    into_slot=0,
    requests=0,
    charged=3,
    slots=0,
    grains=-2,
)
@example(
    rule=RetryBudgetSettings(ratio=1.0, floor_per_s=0.0),
    into_slot=0,
    requests=9,
    charged=0,
    slots=0,
    grains=2,
)
def test_the_windows_edge(rule, into_slot, requests, charged, slots, grains):
    """RT4: all that happened, happened at one moment, and a retry is wanted just before or after that leaves the window."""
    clock = Hand()
    clock.grains += into_slot
    window = round(rule.window_s / GRAIN_S)
    slot = window // SLOTS
    budget = RetryBudget(rule, clock=clock)
    for _ in range(requests):
        budget.request()
    for _ in range(charged):
        budget.charge()
    later = window + slots * slot + grains
    clock.grains += later
    granted = 0
    while budget.allow():
        granted += 1
    in_window = later < window
    assert granted + charged * in_window <= max(allowed(rule, requests * in_window), charged * in_window)
    if later < window - slot:
        assert granted == max(0, math.floor(allowed(rule, requests)) - charged), "all of it is in the window"
    if later >= window + slot:
        assert granted == math.floor(allowed(rule, 0)), "all of it is forgotten"


@given(
    rule=rules,
    per_s=st.sampled_from([1, 4, 20, 64]),
    max_retries=st.integers(1, 5),
    delay=st.integers(1, 640),
    seconds=st.integers(5, 60),
)
@example(rule=RetryBudgetSettings(), per_s=20, max_retries=2, delay=64, seconds=60)
def test_total_outage(rule, per_s, max_retries, delay, seconds):
    """RT4: every attempt fails, everybody wants all retries: those are ≤ ratio × requests + each window’s floor."""
    clock = Hand()
    budget = RetryBudget(rule, clock=clock)
    due: dict[int, list[int]] = {}  # retries that are left, of those who come then
    requests = retries = 0
    end = seconds * 64
    begin = clock.grains
    for grain in range(end):
        clock.grains = begin + grain
        left = due.pop(grain, [])
        if grain % (64 // per_s) == 0:
            budget.request()
            requests += 1
            left.append(max_retries)
        for tries in left:
            if tries and budget.allow():
                retries += 1
                due.setdefault(grain + delay, []).append(tries - 1)
    spans = math.ceil(end * GRAIN_S / rule.window_s)
    assert retries <= allowed(rule, requests, spans)


@given(
    before=rules,
    after=rules,
    events=st.lists(st.tuples(st.integers(0, 40), st.sampled_from("qrc")), max_size=60),
    pause=st.integers(0, 60) | st.integers(0, 3000),
)
def test_a_reload_loses_no_retry_and_makes_up_no_request(before, after, events, pause):
    """What the old window still held and the new one reaches back to is judged by the new settings."""
    clock = Hand()
    budget = RetryBudget(before, clock=clock)
    requests, retries = [], []
    for grains, kind in events:
        clock.grains += grains
        if kind == "q":
            budget.request()
            requests.append(clock.grains)
        elif kind == "c" or budget.allow():
            if kind == "c":
                budget.charge()
            retries.append(clock.grains)
    clock.grains += pause
    budget.apply(after)
    state = budget.snapshot()
    now, known = clock.grains, round(min(before.window_s, after.window_s) / GRAIN_S)
    assert state.requests <= sum(now - at < after.window_s / GRAIN_S for at in requests)
    assert state.retries >= sum(now - at < known for at in retries)
    assert state.retries <= len(retries)
