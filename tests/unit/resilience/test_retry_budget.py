"""The retry budget: who is let through, when it is forgotten, and what a reload does."""

from __future__ import annotations

import sys

import pytest

from holdfast.resilience.retry_budget import RetryBudget, RetryBudgetSettings, RetryBudgetState


class Hand:
    """A clock that is set by hand, and may be set back."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall_ns(self) -> int:
        return 0


@pytest.fixture
def clock():
    return Hand()


def budget_of(clock, **settings) -> RetryBudget:
    return RetryBudget(RetryBudgetSettings(**settings), clock=clock)


def drain(budget) -> int:
    taken = 0
    while budget.allow():
        taken += 1
    return taken


@pytest.mark.parametrize(
    ("settings", "requests", "retries"),
    [
        ({}, 0, 3),
        ({}, 9, 3),
        ({}, 10, 4),
        ({}, 200, 23),
        ({"floor_per_s": 0.0}, 0, 0),
        ({"floor_per_s": 0.0}, 9, 0),
        ({"floor_per_s": 0.0}, 10, 1),
        ({"ratio": 0.0}, 1000, 3),
        ({"ratio": 1.0, "floor_per_s": 0.0}, 7, 7),
        ({"ratio": 0.0, "floor_per_s": 0.0}, 1000, 0),
        ({"floor_per_s": 0.1, "window_s": 60.0}, 0, 6),
    ],
)
def test_how_many(clock, settings, requests, retries):
    budget = budget_of(clock, **settings)
    for _ in range(requests):
        budget.request()
    assert budget.snapshot().left == retries
    assert drain(budget) == retries
    assert budget.snapshot() == RetryBudgetState(requests=requests, retries=retries, left=0, refused=1)


def test_a_refusal_takes_nothing(clock):
    budget = budget_of(clock)
    drain(budget)
    for _ in range(100):
        assert not budget.allow()
    clock.now += 10.5
    assert drain(budget) == 3


def test_somebody_elses_retries_count_and_are_never_refused(clock):
    """RT5: a client that retries by itself leaves less for us."""
    budget = budget_of(clock, floor_per_s=0.5)
    for _ in range(3):
        budget.charge()
    assert budget.snapshot().left == 2
    for _ in range(50):
        budget.charge()
    assert not budget.allow()
    assert budget.snapshot() == RetryBudgetState(requests=0, retries=53, left=0, refused=1)
    clock.now += 10.5
    assert budget.snapshot().left == 5


@pytest.mark.parametrize(
    ("into_slot", "later", "requests"),
    [
        (0.0, 0.0, 30),
        (0.0, 9.9, 30),
        (0.0, 10.0, 0),
        (0.4, 9.5, 30),
        (0.4, 9.6, 0),
        (0.0, 3600.0, 0),
        (0.0, 1e9, 0),
    ],
)
def test_requests_are_forgotten_within_the_window(clock, into_slot, later, requests):
    """Up to a twentieth of the window early, never late."""
    clock.now += into_slot
    budget = budget_of(clock)
    for _ in range(30):
        budget.request()
    clock.now += later
    assert budget.snapshot().requests == requests


@pytest.mark.parametrize(
    ("into_slot", "later", "retries"),
    [
        (0.0, 0.0, 3),
        (0.0, 10.4, 3),
        (0.0, 10.5, 0),
        (0.4, 10.0, 3),
        (0.4, 10.1, 0),
        (0.0, 3600.0, 0),
        (0.0, 1e9, 0),
    ],
)
def test_retries_are_forgotten_after_the_window(clock, into_slot, later, retries):
    """Up to a twentieth of the window late, never early."""
    clock.now += into_slot
    budget = budget_of(clock)
    drain(budget)
    clock.now += later
    assert budget.snapshot().retries == retries


def test_a_lonely_caller_makes_all_of_its_retries(clock):
    """RT4: the floor. One request a minute for an hour, all failing: both retries of the interactive backoff, each time."""
    budget = budget_of(clock)
    for _ in range(60):
        budget.request()
        for pause in (0.5, 1.0):
            clock.now += pause
            assert budget.allow()
        clock.now += 58.5


@pytest.mark.parametrize("pauses", [(0.9, 1.8, 3.6, 7.2, 14.4), (1, 2, 4, 8, 16), (1.1, 2.2, 4.4, 8.8, 17.6)])
def test_the_floor_is_enough_for_the_documents_retries(clock, pauses):
    budget = budget_of(clock)
    for _ in range(10):
        budget.request()
        for pause in pauses:
            clock.now += pause
            assert budget.allow()
        clock.now += 20.0


def test_time_stands_still_while_the_clock_goes_back(clock):
    budget = budget_of(clock)
    for _ in range(10):
        budget.request()
    clock.now -= 900.0
    budget.request()
    assert drain(budget) == 4
    clock.now += 905.0
    assert budget.snapshot() == RetryBudgetState(requests=11, retries=4, left=0, refused=1)
    clock.now += 10.0
    assert budget.snapshot() == RetryBudgetState(requests=0, retries=0, left=3, refused=1)


def test_memory_does_not_grow(clock):
    """A million calls, or a year: the same 21 slots."""

    def size(budget):
        return sum(sys.getsizeof(getattr(budget, name)) for name in budget.__slots__)

    budget = budget_of(clock)
    before = size(budget)
    for _ in range(20_000):
        clock.now += 0.003
        budget.request()
        budget.allow()
        budget.charge()
    clock.now += 365 * 86_400
    budget.request()
    assert size(budget) <= before + 50 * 4  # numbers grow by digits


class TestApply:
    """A reload: what was counted is judged by the new settings."""

    def test_ratio_and_floor(self, clock):
        budget = budget_of(clock)
        for _ in range(100):
            budget.request()
        assert drain(budget) == 13
        budget.apply(RetryBudgetSettings(ratio=0.2, floor_per_s=0.0))
        assert drain(budget) == 7
        budget.apply(RetryBudgetSettings(ratio=0.05))
        state = budget.snapshot()
        assert (state.requests, state.retries, state.left) == (100, 20, 0)

    def test_many_reloads_that_change_nothing(self, clock):
        """Not even when what was counted is forgotten."""
        one, other = budget_of(clock), budget_of(clock)
        for _ in range(100):
            for budget in (one, other):
                budget.request()
                budget.charge()
            one.apply(RetryBudgetSettings())
            assert one.snapshot() == other.snapshot()
            clock.now += 0.3

    @pytest.mark.parametrize("window_s", [10.0, 12.0])
    def test_while_the_clock_is_back(self, clock, window_s):
        """What was counted then isn't forgotten the sooner."""
        budget = budget_of(clock)
        drain(budget)
        clock.now -= 5.0
        budget.apply(RetryBudgetSettings(window_s=window_s))
        clock.now += 14.9
        assert budget.snapshot().retries == 3

    def test_a_shorter_window_forgets_what_is_older(self, clock):
        budget = budget_of(clock, window_s=60.0)
        for _ in range(100):
            budget.request()
        budget.charge()
        clock.now += 30.0
        budget.charge()
        budget.apply(RetryBudgetSettings(window_s=10.0))
        state = budget.snapshot()
        assert (state.requests, state.retries) == (0, 1)

    def test_a_longer_window_keeps_what_is_there(self, clock):
        budget = budget_of(clock, window_s=10.0)
        for _ in range(100):
            budget.request()
        clock.now += 5.0
        budget.charge()
        budget.apply(RetryBudgetSettings(window_s=100.0))
        state = budget.snapshot()
        assert (state.requests, state.retries) == (100, 1)
        clock.now += 90.0
        assert budget.snapshot().retries == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ratio": 1.1}, "ratio must be a number from 0 to 1, not 1.1"),
        ({"ratio": -0.1}, "ratio must be"),
        ({"floor_per_s": -1.0}, "floor_per_s must be a number from 0 to 1000, not -1.0"),
        ({"floor_per_s": float("inf")}, "floor_per_s must be"),
        ({"window_s": 0.5}, "window_s must be a number from 1 to 3600, not 0.5"),
        ({"window_s": 3601.0}, "window_s must be"),
    ],
)
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        RetryBudgetSettings(**given)


def test_the_machines_own_clock():
    budget = RetryBudget()
    budget.request()
    assert budget.allow()
    assert budget.snapshot().requests == 1
