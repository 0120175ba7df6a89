"""The adaptive limit's rule, line by line, and its edges."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.resilience.adaptive import AdaptiveLimit, AdaptivePermit, AdaptiveSettings
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.seam import compose
from holdfast.testing.virtual_time import run_virtual

TOO_MUCH = [Outcome.LIMITED, Outcome.OVERLOAD]


def made(initial: int = 4, most: int = 10_000, **settings: float) -> AdaptiveLimit:
    return AdaptiveLimit(AdaptiveSettings(initial_limit=initial, max_limit=most, **settings))


def fill(limit: AdaptiveLimit) -> list[AdaptivePermit]:
    """As many calls as the limit allows, all in flight."""
    return [limit.started() for _ in range(limit.limit - limit.in_flight)]


def successes(limit: AdaptiveLimit, count: int) -> None:
    """So many calls come back from a limit that is always full."""
    running = fill(limit)
    for _ in range(count):
        running.pop(0).leave(Outcome.SUCCESS)
        running += fill(limit)
    for permit in running:
        permit.leave(Outcome.NEUTRAL)


def round_trip(limit: AdaptiveLimit) -> int:
    successes(limit, max(limit.limit, 8) if limit.snapshot().decreases else limit.limit)
    return limit.limit


def too_much(limit: AdaptiveLimit, outcome: Outcome = Outcome.LIMITED) -> int:
    limit.started().leave(outcome)
    return limit.limit


# Beginning.


def test_what_others_found_out_is_where_it_begins_without_slow_start():
    limit, told = made(initial=10, most=60), []
    limit._on_change = told.append
    assert not limit.learned
    limit.begin(40)
    assert told == [40]
    assert not limit.snapshot().slow_start
    assert [round_trip(limit) for _ in range(3)] == [41, 42, 43], "as after a decrease"
    limit.begin(1)
    assert limit.limit == 43, "it knows better by now"


def test_its_own_bounds_hold_for_what_others_found_out():
    limit = made(initial=10, most=60, min_limit=5)
    limit.begin(1000)
    assert limit.limit == 60
    limit.begin(0)
    assert limit.limit == 5


def test_after_a_beginning_from_others_a_round_trip_is_at_least_eight_successes():
    limit = made(initial=10)
    limit.begin(2)
    successes(limit, 7)
    assert limit.limit == 2
    successes(limit, 1)
    assert limit.limit == 3


def test_slow_start_begins_again_after_clean_round_trips():
    limit = made(initial=10, restart_after=2)
    limit.begin(40)
    assert [round_trip(limit) for _ in range(5)] == [41, 42, 44, 48, 56]


# Growing.


def test_slow_start_doubles_the_limit_in_every_round_trip():
    limit = made(initial=1)
    assert [round_trip(limit) for _ in range(6)] == [2, 4, 8, 16, 32, 64]


def test_slow_start_grows_within_a_round_trip_not_all_at_its_end():
    """Else all callers that wait would start in one moment."""
    limit = made(initial=10)
    grown = []
    for _ in range(10):
        successes(limit, 1)
        grown.append(limit.limit)
    assert grown == [11, 12, 13, 14, 15, 16, 17, 18, 19, 20]


def test_a_whole_round_trip_that_comes_back_in_one_moment_counts_as_any_other():
    """Nothing is in flight any more when the last of them comes: what counts is what was in flight at once."""
    limit = made(initial=10)
    for permit in fill(limit):
        permit.leave(Outcome.SUCCESS)
    assert limit.limit == 20


def test_after_a_decrease_each_round_trip_adds_one():
    limit = made(initial=100)
    assert too_much(limit) == 90
    assert [round_trip(limit) for _ in range(5)] == [91, 92, 93, 94, 95]


def test_after_a_decrease_one_is_added_at_the_round_trips_end():
    limit = made(initial=100)
    too_much(limit)
    successes(limit, 89)
    assert limit.limit == 90
    successes(limit, 1)
    assert limit.limit == 91


def test_increase_is_what_a_round_trip_adds():
    limit = made(initial=100, increase=7)
    too_much(limit)
    assert [round_trip(limit) for _ in range(3)] == [97, 104, 111]


def test_after_ten_clean_round_trips_slow_start_begins_again_with_steps_that_double():
    limit = made(initial=100)
    too_much(limit)
    assert [round_trip(limit) for _ in range(10)] == list(range(91, 101))
    assert [round_trip(limit) for _ in range(6)] == [102, 106, 114, 130, 162, 226]


def test_a_decrease_ends_that_slow_start_too_and_the_count_begins_again():
    limit = made(initial=100, restart_after=2)
    too_much(limit)
    assert [round_trip(limit) for _ in range(4)] == [91, 92, 94, 98]
    assert too_much(limit) == 88
    assert [round_trip(limit) for _ in range(3)] == [89, 90, 92]


def test_a_step_is_never_more_than_the_limit():
    """Whatever went before: the limit may double in a round trip, and no more."""
    limit = made(initial=1, most=3)
    for _ in range(20):
        round_trip(limit)
    limit.apply(AdaptiveSettings(max_limit=10_000, initial_limit=3))
    assert [round_trip(limit) for _ in range(5)] == [6, 12, 24, 48, 96]
    limit.apply(AdaptiveSettings(max_limit=4, initial_limit=3))
    limit.apply(AdaptiveSettings(max_limit=10_000, initial_limit=3))
    assert round_trip(limit) == 8


def test_a_small_limit_that_was_lowered_waits_for_eight_successes():
    """RL3: one more at a limit of one is twice as many; tried for each success, it would be one and a half on average."""
    limit = made(initial=2)
    assert too_much(limit) == 1
    successes(limit, 7)
    assert limit.limit == 1
    successes(limit, 1)
    assert limit.limit == 2


# Used or not.


def test_a_limit_that_is_not_used_does_not_grow():
    limit = made(initial=20)
    for _ in range(1000):
        permits = [limit.started() for _ in range(17)]
        for permit in permits:
            permit.leave(Outcome.SUCCESS)
    assert limit.limit == 20
    assert limit.snapshot().clean_round_trips == 0


def test_nine_tenths_of_it_is_use():
    limit = made(initial=20)
    for permit in [limit.started() for _ in range(18)]:
        permit.leave(Outcome.SUCCESS)
    assert limit.limit == 38


def test_use_is_asked_of_each_round_trip_anew():
    """A hundred callers once, then five for a day: the limit that the hundred left isn't theirs to raise."""
    limit = made(initial=100)
    too_much(limit)
    round_trip(limit)
    for _ in range(10_000):
        for permit in [limit.started() for _ in range(5)]:
            permit.leave(Outcome.SUCCESS)
    assert limit.limit == 92  # the second round trip had begun while they were there


def test_callers_who_always_were_there_raise_it_little_beyond_themselves():
    limit = made(initial=100)
    too_much(limit)
    for _ in range(5000):
        for permit in [limit.started() for _ in range(min(100, limit.limit))]:
            permit.leave(Outcome.SUCCESS)
    assert 100 < limit.limit <= 2 * 100


# Shrinking.


@pytest.mark.parametrize("outcome", TOO_MUCH)
def test_too_much_is_a_tenth_less(outcome):
    assert too_much(made(initial=100), outcome) == 90


@pytest.mark.parametrize("outcome", [Outcome.FAILURE, Outcome.NEUTRAL])
def test_other_errors_leave_it_alone(outcome):
    """C2: nothing but too much load says that the limit is too high; and an error is no proof that it isn't."""
    limit = made(initial=10)
    successes(limit, 3)
    before = limit.snapshot()
    for _ in range(50):
        for permit in fill(limit):
            permit.leave(outcome)
    assert limit.snapshot() == before


@pytest.mark.parametrize("outcome", TOO_MUCH)
def test_a_burst_from_one_moment_is_one_decrease(outcome):
    limit = made(initial=100)
    for permit in fill(limit):
        permit.leave(outcome)
    assert limit.limit == 90
    assert limit.snapshot().decreases == 1


def test_a_call_that_started_after_the_decrease_brings_the_next():
    limit = made(initial=100)
    early, late = limit.started(), limit.started()
    early.leave(Outcome.LIMITED)
    after = limit.started()
    late.leave(Outcome.LIMITED)
    assert limit.limit == 90
    after.leave(Outcome.OVERLOAD)
    assert limit.limit == 81


def test_a_success_from_before_the_decrease_does_not_raise_it():
    limit = made(initial=20)
    before = fill(limit)
    before.pop().leave(Outcome.LIMITED)
    for permit in before:
        permit.leave(Outcome.SUCCESS)
    assert limit.limit == 18
    assert limit.snapshot().clean_round_trips == 0
    assert round_trip(limit) == 19


def test_never_below_one():
    """RL3."""
    limit = made(initial=10_000)
    for _ in range(1000):
        assert too_much(limit) >= 1
    assert limit.limit == 1


def test_every_decrease_lowers_it_by_one_at_least():
    limit = made(initial=50, decrease=0.99)
    assert [too_much(limit) for _ in range(51)] == [*range(49, 0, -1), 1, 1]


def test_ten_times_less_is_22_decreases():
    limit = made(initial=1000)
    downs = 0
    while limit.limit > 100:
        too_much(limit)
        downs += 1
    assert downs == 22


def test_bounds():
    limit = made(initial=6, most=10, min_limit=5)
    for _ in range(5):
        round_trip(limit)
        assert limit.limit <= 10
    assert limit.limit == 10
    for _ in range(20):
        assert too_much(limit) >= 5


# Permits.


def test_what_runs_stays_in_flight_through_a_decrease():
    limit = made(initial=10)
    permits = fill(limit)
    permits.pop().leave(Outcome.LIMITED)
    assert (limit.in_flight, limit.limit) == (9, 9)
    for permit in permits:
        permit.leave(Outcome.SUCCESS)
    assert limit.in_flight == 0


def test_leaving_twice_counts_once():
    limit = made(initial=10)
    permits = fill(limit)
    permits[0].leave(Outcome.SUCCESS)
    permits[0].leave(Outcome.SUCCESS)
    permits[0].leave(Outcome.LIMITED)
    permits[0].progressed()
    assert (limit.in_flight, limit.limit) == (9, 11)


def test_the_first_sign_of_an_answer_is_the_success():
    """A stream of a minute was let in within its first second."""
    limit = made(initial=10)
    permits = fill(limit)
    for permit in permits:
        permit.progressed()
        permit.progressed()
    assert (limit.in_flight, limit.limit) == (10, 20)
    fill(limit)
    for permit in permits:
        permit.leave(Outcome.SUCCESS)
    assert (limit.in_flight, limit.limit) == (10, 20)


def test_too_much_in_the_middle_of_an_answer_is_heard():
    limit = made(initial=10)
    permit = limit.started()
    permit.progressed()
    permit.leave(Outcome.OVERLOAD)
    assert limit.limit == 9


# Who is told.


def test_each_change_is_told_and_the_first_limit_too():
    told: list[int] = []
    limit = AdaptiveLimit(AdaptiveSettings(initial_limit=2), on_change=told.append)
    round_trip(limit)
    too_much(limit)
    too_much(limit)
    too_much(limit)
    too_much(limit)
    assert told == [2, 3, 4, 3, 2, 1]


def test_who_is_told_may_start_calls_at_once():
    """A bulkhead that is widened lets its queue in before it returns."""
    started: list[AdaptivePermit] = []
    limits: list[AdaptiveLimit] = []

    def widen(places: int) -> None:
        for limit in limits:
            assert limit.limit == places
            started.extend(fill(limit))

    limit = AdaptiveLimit(AdaptiveSettings(initial_limit=10), on_change=widen)
    limits.append(limit)
    started += fill(limit)
    too_much(limit)
    for _ in range(100):
        started.pop(0).leave(Outcome.SUCCESS)
        started += fill(limit)
        assert limit.in_flight == len(started) == limit.limit
    assert limit.limit > 10


# New settings.


def test_new_settings_keep_the_limit_within_their_bounds():
    told: list[int] = []
    limit = AdaptiveLimit(AdaptiveSettings(initial_limit=50), on_change=told.append)
    limit.apply(AdaptiveSettings(initial_limit=10, max_limit=60))
    assert limit.limit == 50
    limit.apply(AdaptiveSettings(initial_limit=10, max_limit=20))
    assert limit.limit == 20
    limit.apply(AdaptiveSettings(initial_limit=40, min_limit=30))
    assert limit.limit == 30
    assert told == [50, 20, 30]


def test_new_settings_hold_for_what_comes():
    limit = made(initial=100)
    limit.apply(AdaptiveSettings(decrease=0.5, increase=3, restart_after=1))
    assert too_much(limit) == 50
    assert [round_trip(limit) for _ in range(3)] == [53, 59, 71]


def test_a_new_increase_holds_from_the_next_round_trip():
    limit = made(initial=100)
    too_much(limit)
    limit.apply(AdaptiveSettings(increase=5))
    assert [round_trip(limit) for _ in range(3)] == [91, 96, 101]


def test_a_call_from_before_the_new_settings_counts():
    limit = made(initial=100)
    permit = limit.started()
    limit.apply(AdaptiveSettings(decrease=0.5))
    permit.leave(Outcome.LIMITED)
    assert limit.limit == 50


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_limit": 0}, "min_limit must be a whole number from 1 to 10000, not 0"),
        ({"max_limit": 10_001}, "max_limit must be a whole number from 1 to 10000, not 10001"),
        ({"initial_limit": 2.5}, "initial_limit must be a whole number"),
        ({"increase": 0}, "increase must be"),
        ({"decrease": 1.0}, "decrease must be a number from 0.1 to 0.99, not 1.0"),
        ({"decrease": float("nan")}, "decrease must be"),
        ({"restart_after": 0}, "restart_after must be"),
        ({"min_limit": 20, "max_limit": 15}, "min_limit must be at most max_limit, which is 15, not 20"),
        ({"initial_limit": 2000}, "initial_limit must be from min_limit to max_limit, 1 to 1000, not 2000"),
        ({"min_limit": 11}, "initial_limit must be from min_limit to max_limit, 11 to 1000, not 10"),
    ],
)
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveSettings(**given)


def test_what_can_be_seen():
    limit = made(initial=100)
    assert limit.snapshot().slow_start
    too_much(limit)
    permit = limit.started()
    state = limit.snapshot()
    assert (state.limit, state.in_flight, state.slow_start) == (90, 1, False)
    assert (state.clean_round_trips, state.decreases) == (0, 1)
    permit.leave(Outcome.NEUTRAL)
    for _ in range(10):
        round_trip(limit)
    assert limit.snapshot().slow_start
    assert limit.snapshot().clean_round_trips == 10


# As a gate.


class TooMany(Exception):
    pass


def read(error: BaseException) -> Outcome:
    return Outcome.LIMITED if isinstance(error, TooMany) else Outcome.FAILURE


def test_alone_it_runs_operations_and_learns_from_their_errors():
    async def refused() -> None:
        raise TooMany

    async def fine() -> str:
        return "fine"

    async def main(_) -> None:
        limit = AdaptiveLimit(AdaptiveSettings(initial_limit=10), classify=read)
        policy = compose(limit)
        assert await policy.call(fine) == "fine"
        with pytest.raises(TooMany):
            await policy.call(refused)
        assert (limit.limit, limit.in_flight) == (9, 0)

    run_virtual(main)


def test_a_caller_that_leaves_gives_its_place_back_and_changes_nothing():
    async def main(_) -> None:
        limit = AdaptiveLimit(AdaptiveSettings(initial_limit=1))
        task = asyncio.ensure_future(limit.call(asyncio.Event().wait))
        await asyncio.sleep(1)
        assert limit.in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (limit.limit, limit.in_flight) == (1, 0)

    run_virtual(main)


def test_entering_does_not_yield():
    async def main(_) -> None:
        limit = AdaptiveLimit()
        entering = limit.enter()
        with pytest.raises(StopIteration) as entered:
            entering.send(None)
        assert isinstance(entered.value.value, AdaptivePermit)

    run_virtual(main)
