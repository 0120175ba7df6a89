"""The circuit breaker's table, its window, its probes and its times, edge by edge."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.resilience.breaker import (
    SLOTS,
    TABLE,
    Breaker,
    BreakerSettings,
    CircuitBreakerOpenError,
    CircuitState,
    Event,
)
from holdfast.resilience.outcome import Outcome
from holdfast.testing.virtual_time import run_virtual

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
OK, FAILED = Outcome.SUCCESS, Outcome.FAILURE
QUICK = {"failure_threshold": 3, "success_threshold": 2, "open_s": 10.0, "half_open_s": 5.0, "jitter": 0.0}


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall_ns(self) -> int:
        return int(self.now * 1e9)


class Chance:
    """Always the same."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def random(self) -> float:
        return self.value

    def getrandbits(self, k: int, /) -> int:
        return 0


def breaker(clock: HandClock, chance: float = 0.5, **settings) -> Breaker:
    return Breaker(BreakerSettings(**{**QUICK, **settings}), clock=clock, rng=Chance(chance), name="a/m")


def feed(one: Breaker, *outcomes: Outcome) -> None:
    for outcome in outcomes:
        one.admit().leave(outcome)


def opened(clock: HandClock, **settings) -> Breaker:
    one = breaker(clock, **settings)
    feed(one, *[FAILED] * 3)
    assert one.state is OPEN
    return one


def half_open(clock: HandClock, **settings) -> Breaker:
    one = opened(clock, **settings)
    clock.now += 10.0
    assert one.state is HALF_OPEN
    return one


def refused(one: Breaker) -> CircuitBreakerOpenError:
    with pytest.raises(CircuitBreakerOpenError) as caught:
        one.admit()
    return caught.value


class TestAdopts:
    """What others who share the state have told."""

    def test_an_opening_holds_here_as_it_was_told(self):
        clock = HandClock()
        one = breaker(clock)
        one.adopt(7.0, reopened=2)
        assert refused(one).retry_after_s == pytest.approx(7.0)
        clock.now += 7.0
        assert one.state is HALF_OPEN
        one.admit().leave(FAILED)
        assert one.snapshot().retry_after_s == pytest.approx(40.0), "the third open time in a row"

    def test_calls_that_were_out_then_change_nothing(self):
        one = breaker(HandClock())
        before = one.admit()
        assert not before.stale
        one.adopt(0.0, reopened=1)
        assert before.stale
        assert one.state is HALF_OPEN
        before.leave(FAILED)
        assert one.state is HALF_OPEN

    def test_of_one_that_is_open_only_the_time_changes(self):
        clock = HandClock()
        one = opened(clock)
        moves = []
        one.on_change(lambda *move: moves.append(move))
        one.adopt(3.0, reopened=1)
        assert (one.opened, moves) == (1, [])
        assert refused(one).retry_after_s == pytest.approx(3.0)

    def test_a_closing_begins_a_new_window(self):
        clock = HandClock()
        one = half_open(clock)
        probe = one.admit()
        one.adopt(None)
        assert one.closed
        assert one.reopened == 0
        probe.leave(FAILED)
        feed(one, FAILED, FAILED)
        assert one.state is CLOSED
        feed(one, FAILED)
        assert one.snapshot().retry_after_s == pytest.approx(10.0), "the first open time again"

    def test_a_closing_of_a_closed_one_keeps_its_window(self):
        one = breaker(HandClock())
        feed(one, FAILED, FAILED)
        one.adopt(None)
        feed(one, FAILED)
        assert one.state is OPEN

    def test_listeners_are_told(self):
        one, moves = breaker(HandClock()), []
        one.on_change(lambda *move: moves.append(move))
        one.adopt(5.0, reopened=1)
        one.adopt(None)
        assert moves == [(CLOSED, OPEN), (OPEN, CLOSED)]
        assert one.opened == 0, "each opening is counted where it was decided"

    def test_a_refusal_is_counted_and_says_who(self):
        one = half_open(HandClock())
        error = one.refusal(1.0)
        assert "'a/m' is half-open" in str(error)
        assert (error.retry_after_s, one.refused) == (1.0, 1)


def test_every_state_can_be_left_and_every_event_has_one_place():
    assert set(TABLE) == set(CircuitState)
    events = [event for row in TABLE.values() for event in row]
    assert sorted(events) == sorted(Event)
    assert all(state not in row.values() for state, row in TABLE.items())


class TestOpens:
    """CB1: if and only if its rule holds in its window."""

    def test_at_the_threshold_and_not_before(self):
        one = breaker(HandClock())
        feed(one, FAILED, FAILED)
        assert one.state is CLOSED
        feed(one, FAILED)
        assert one.state is OPEN
        assert one.opened == 1

    def test_overload_is_a_failure_and_a_limit_is_none(self):
        one = breaker(HandClock())
        feed(one, *[Outcome.LIMITED, Outcome.NEUTRAL] * 50)
        assert one.snapshot().calls == 0
        feed(one, *[Outcome.OVERLOAD] * 3)
        assert one.state is OPEN

    def test_not_below_the_least_number_of_calls(self):
        one = breaker(HandClock(), min_requests=10, failure_ratio=0.1)
        feed(one, *[FAILED] * 9)
        assert one.state is CLOSED
        feed(one, FAILED)
        assert one.state is OPEN

    def test_the_least_number_is_the_threshold_unless_it_is_set(self):
        assert BreakerSettings(failure_threshold=7).least == 7
        assert BreakerSettings(failure_threshold=7, min_requests=20).least == 20

    def test_not_below_the_ratio(self):
        one = breaker(HandClock(), failure_ratio=0.5)
        feed(one, *[OK] * 4, *[FAILED] * 3)
        assert one.state is CLOSED, "3 of 7"
        feed(one, FAILED)
        assert one.state is OPEN, "4 of 8"

    def test_whoever_completes_the_numbers(self):
        one = breaker(HandClock(), min_requests=10, failure_ratio=0.3)
        feed(one, *[FAILED] * 6, *[OK] * 3)
        assert one.state is CLOSED
        feed(one, OK)
        assert one.state is OPEN, "the tenth call is a success, and now the rule holds"

    def test_a_share_is_compared_as_it_is_written(self):
        one = breaker(HandClock(), min_requests=100, failure_ratio=0.07)
        feed(one, *[FAILED] * 7, *[OK] * 93)
        assert one.state is OPEN, "7 of 100 are 7 %, whatever floats make of 0.07 × 100"

    def test_many_calls_in_one_moment_are_one_slot(self):
        clock = HandClock()
        clock.now = 7.7
        one = breaker(clock, window_s=0.7, failure_ratio=1.0)
        feed(one, *[OK] * 500)
        assert len(one._slots) == 1

    def test_what_is_older_than_the_window_does_not_count(self):
        clock = HandClock()
        one = breaker(clock, window_s=64.0)
        feed(one, FAILED, FAILED)
        clock.now += 64.0
        feed(one, FAILED, FAILED)
        assert one.state is CLOSED
        clock.now += 62.0
        feed(one, FAILED)
        assert one.state is OPEN, "63 of 64 parts of a window always count"

    def test_memory_does_not_grow_with_the_traffic(self):
        clock = HandClock()
        one = breaker(clock, window_s=10.0, failure_ratio=1.0)
        for _ in range(5_000):
            clock.now += 0.01
            feed(one, OK, OK)
        assert len(one._slots) <= SLOTS + 1
        assert one.snapshot().calls == pytest.approx(2_000, rel=0.02)


class TestOpen:
    def test_refuses_and_says_until_when(self):
        clock = HandClock()
        one = opened(clock)
        clock.now += 4.0
        error = refused(one)
        assert error.retry_after_s == pytest.approx(6.0)
        assert str(error) == "circuit breaker 'a/m' is open"
        with pytest.raises(CircuitBreakerOpenError):
            one.check()
        assert one.refused == 2

    def test_at_the_cap_it_is_jittered_too(self):
        stays = set()
        for chance in (0.0, 0.3, 0.6, 0.9):
            one = breaker(HandClock(), chance, jitter=0.2, max_open_s=10.0)
            feed(one, *[FAILED] * 3)
            stays.add(one.snapshot().retry_after_s)
        assert len(stays) == 4, "replicas don't probe in step"
        assert max(stays) <= 10.0

    @pytest.mark.parametrize(("chance", "stays_s"), [(0.0, 9.0), (0.5, 10.0), (0.999999, 11.0)])
    def test_for_a_jittered_time(self, chance, stays_s):
        clock = HandClock()
        one = breaker(clock, chance, jitter=0.1)
        feed(one, *[FAILED] * 3)
        clock.now += stays_s - 0.01
        assert one.state is OPEN
        clock.now += 0.02
        assert one.state is HALF_OPEN

    def test_longer_each_time_up_to_a_cap_until_it_has_closed(self):
        clock = HandClock()
        one = opened(clock, max_open_s=35.0)
        stays = []
        for _ in range(4):
            stays.append(one.snapshot().retry_after_s)
            clock.now += stays[-1]
            feed(one, FAILED)
        assert stays == [10.0, 20.0, 35.0, 35.0]
        clock.now += 35.0
        feed(one, OK, OK)
        assert one.state is CLOSED
        feed(one, *[FAILED] * 3)
        assert one.snapshot().retry_after_s == 10.0

    def test_the_cap_holds_with_jitter(self):
        clock = HandClock()
        one = breaker(clock, 0.999999, jitter=0.9, max_open_s=10.0)
        feed(one, *[FAILED] * 3)
        assert one.snapshot().retry_after_s <= 10.0

    def test_an_endless_outage_overflows_nothing(self):
        clock = HandClock()
        one = opened(clock, open_multiplier=100.0, max_open_s=10.0)
        one._reopened = 10_000
        clock.now += 10.0
        feed(one, FAILED)
        assert one.snapshot().retry_after_s == 10.0


class TestHalfOpen:
    """CB2: at most P probes at once; CB4: their places always come back."""

    def test_as_many_probes_as_successes_are_missing(self):
        one = half_open(HandClock())
        first, second = one.admit(), one.admit()
        assert refused(one).retry_after_s == pytest.approx(1.0)
        second.leave(Outcome.NEUTRAL)
        third = one.admit()
        refused(one)
        first.leave(OK)
        refused(one)
        third.leave(OK)
        assert one.state is CLOSED

    def test_a_failure_opens_it_again(self):
        one = half_open(HandClock())
        first, second = one.admit(), one.admit()
        first.leave(OK)
        second.leave(FAILED)
        assert one.state is OPEN

    def test_the_beginning_of_an_answer_is_a_success(self):
        one = half_open(HandClock())
        first, second = one.admit(), one.admit()
        for permit in (first, first, second):
            permit.progressed()
        assert one.state is CLOSED
        first.leave(FAILED)
        second.leave(OK)
        assert one.snapshot().calls == 0, "they were let in by an older state"

    def test_a_probe_that_began_and_broke_is_a_failure(self):
        one = half_open(HandClock())
        permit = one.admit()
        permit.progressed()
        permit.leave(FAILED)
        assert one.state is OPEN

    def test_who_began_well_counts_once(self):
        one = half_open(HandClock())
        permit = one.admit()
        permit.progressed()
        permit.leave(OK)
        assert one.state is HALF_OPEN
        assert one.snapshot().successes == 1

    @pytest.mark.parametrize("outcome", [Outcome.NEUTRAL, Outcome.LIMITED])
    def test_neither_good_nor_bad_only_gives_the_place_back(self, outcome):
        one = half_open(HandClock())
        for _ in range(20):
            feed(one, outcome)
        snapshot = one.snapshot()
        assert (snapshot.state, snapshot.probes, snapshot.successes) == (HALF_OPEN, 0, 0)

    def test_probes_that_say_nothing_are_given_up(self):
        clock = HandClock()
        one = half_open(clock)
        hung = [one.admit(), one.admit()]
        clock.now += 4.9
        refused(one)
        clock.now += 0.2
        assert one.state is OPEN
        for permit in hung:
            permit.leave(OK)
        assert one.state is OPEN, "CB3: they belong to an older state"
        clock.now += 20.0
        feed(one, OK, OK)
        assert one.state is CLOSED, "CB4: a healed target closes"

    def test_without_a_probe_out_it_has_no_end(self):
        clock = HandClock()
        one = half_open(clock)
        clock.now += 3_600.0
        assert one.state is HALF_OPEN
        feed(one, OK)
        clock.now += 3_600.0
        feed(one, OK)
        assert one.state is CLOSED, "one good call an hour closes it as well"

    def test_each_success_gives_the_others_their_time_again(self):
        clock = HandClock()
        one = half_open(clock)
        slow = one.admit()
        clock.now += 4.0
        feed(one, OK)
        clock.now += 4.0
        assert one.state is HALF_OPEN
        slow.leave(OK)
        assert one.state is CLOSED

    def test_successes_that_are_enough_after_a_reload_close_it(self):
        one = half_open(HandClock())
        feed(one, OK)
        one.apply(BreakerSettings(**{**QUICK, "success_threshold": 1}))
        assert one.state is CLOSED

    def test_a_thousand_callers_at_once_are_two_probes(self):
        async def main(clock) -> int:
            one = Breaker(BreakerSettings(**QUICK), clock=clock)
            feed(one, *[FAILED] * 3)
            await asyncio.sleep(10.0)
            running = most = 0

            async def operation() -> None:
                nonlocal running, most
                running += 1
                most = max(most, running)
                await asyncio.sleep(1.0)
                running -= 1

            done = await asyncio.gather(*(one.call(operation) for _ in range(1000)), return_exceptions=True)
            assert sum(result is None for result in done) == 2
            assert one.state is CLOSED
            return most

        assert run_virtual(main) == 2


class TestEpochs:
    """CB3: an outcome admitted in an older state never changes a newer one."""

    def test_a_late_failure_does_not_open_a_closed_one(self):
        clock = HandClock()
        one = breaker(clock)
        late = [one.admit() for _ in range(5)]
        feed(one, *[FAILED] * 3)
        clock.now += 10.0
        feed(one, OK, OK)
        for permit in late:
            permit.leave(FAILED)
        snapshot = one.snapshot()
        assert (snapshot.state, snapshot.failures) == (CLOSED, 0)

    def test_a_late_success_does_not_close_a_half_open_one(self):
        clock = HandClock()
        one = breaker(clock)
        late = [one.admit() for _ in range(5)]
        feed(one, *[FAILED] * 3)
        clock.now += 10.0
        assert one.state is HALF_OPEN
        for permit in late:
            permit.progressed()
            permit.leave(OK)
        snapshot = one.snapshot()
        assert (snapshot.state, snapshot.successes, snapshot.probes) == (HALF_OPEN, 0, 0)

    def test_a_probe_of_an_earlier_half_open_state_is_stale_too(self):
        clock = HandClock()
        one = half_open(clock)
        stale = one.admit()
        clock.now += 5.0
        assert one.state is OPEN
        clock.now += 20.0
        fresh = one.admit()
        stale.leave(FAILED)
        assert one.state is HALF_OPEN
        fresh.leave(OK)
        assert one.snapshot().probes == 0


def test_only_the_first_leave_counts():
    one = breaker(HandClock())
    permit = one.admit()
    for _ in range(9):
        permit.leave(FAILED)
    assert one.snapshot().failures == 1


def test_listeners_are_told_of_a_change_that_is_made():
    clock = HandClock()
    one = breaker(clock)
    seen = []
    one.on_change(lambda before, after: seen.append((before, after, one.state)))
    feed(one, *[FAILED] * 3)
    clock.now += 10.0
    feed(one, OK, OK)
    assert seen == [
        (CLOSED, OPEN, OPEN),
        (OPEN, HALF_OPEN, HALF_OPEN),
        (HALF_OPEN, CLOSED, CLOSED),
    ]


def test_who_listens_twice_is_told_once_and_in_order():
    clock = HandClock()
    one = breaker(clock)
    first, second = [], []

    def reacts(before, after):
        first.append(after)
        if after is OPEN:
            clock.now += 10.0
            one.state  # noqa: B018  # looking is enough to move it

    def hears(before, after):
        second.append(after)

    for listener in (reacts, hears, reacts):
        one.on_change(listener)
    feed(one, *[FAILED] * 3)
    assert first == second == [OPEN, HALF_OPEN]


def test_a_clock_that_goes_back_changes_nothing():
    clock = HandClock()
    one = opened(clock)
    clock.now -= 500.0
    assert one.state is OPEN
    assert refused(one).retry_after_s == pytest.approx(10.0)
    clock.now += 510.0
    assert one.state is HALF_OPEN


def test_a_reload_keeps_the_state_and_judges_by_the_new_numbers():
    clock = HandClock()
    one = breaker(clock)
    feed(one, FAILED, FAILED)
    one.apply(BreakerSettings(**{**QUICK, "failure_threshold": 5}))
    feed(one, FAILED)
    assert one.state is CLOSED
    assert one.snapshot().failures == 3
    one.apply(BreakerSettings(**{**QUICK, "window_s": 10.0}))
    assert one.snapshot().failures == 0, "its slots don't fit a window of another length"


def test_who_is_like_new_is_idle():
    clock = HandClock()
    one = breaker(clock, window_s=64.0)
    assert one.idle
    feed(one, OK)
    assert not one.idle
    clock.now += 65.0
    assert one.idle
    assert not opened(HandClock()).idle
    clock = HandClock()
    one = half_open(clock, window_s=64.0)
    assert not one.idle
    clock.now += 64.0
    assert one.idle


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"failure_threshold": 0}, "failure_threshold must be a whole number from 1"),
        ({"success_threshold": 0}, "success_threshold must be a whole number from 1"),
        ({"failure_ratio": 1.1}, "failure_ratio must be a number above 0 and at most 1"),
        ({"failure_ratio": 0}, "failure_ratio must be"),
        ({"open_s": -1}, "open_s must be"),
        ({"half_open_s": float("nan")}, "half_open_s must be"),
        ({"jitter": 1.0}, "jitter must be"),
        ({"open_s": 20.0, "max_open_s": 10.0}, "open_s must be at most max_open_s, which is 10, not 20"),
    ],
)
def test_impossible_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        BreakerSettings(**settings)
