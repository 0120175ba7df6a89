"""The cost breaker, with the clock in hand. That it holds in every order of events is the property test's to say."""

from __future__ import annotations

import pytest
from tests.support.spenders import USD, HandClock, S, Spenders, usd

from holdfast.ledger.entry import Charge
from holdfast.money.budgets import Budgets, Overdrawn
from holdfast.money.cost_breaker import ACCOUNT, TABLE, CostBreaker, CostBreakerSettings, CostState, Event
from holdfast.money.session import SessionSettings

CLOSED, OPEN, HALF_OPEN = CostState.CLOSED, CostState.OPEN, CostState.HALF_OPEN
DAY_S = 86_400
PART_S = DAY_S // 3600


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def spenders(clock):
    return Spenders(CostBreaker(clock=clock), clock)


def open_it(spenders):
    """By what is spent, all of it now."""
    spenders.spend(100 * USD)
    assert spenders.breaker.state is OPEN


class TestDefaults:
    def test_a_hundred_dollars_in_a_day_five_minutes_and_one_probe(self):
        settings = CostBreakerSettings()
        assert settings.threshold_nano == 100 * USD
        assert settings.window_s == DAY_S
        assert settings.cool_down_s == 300
        assert settings.probes == 1

    @pytest.mark.parametrize(
        "wrong",
        [{"threshold_nano": 0}, {"threshold_nano": 1.5}, {"window_s": 59}, {"cool_down_s": 0}, {"probes": 0}],
    )
    def test_ranges(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CostBreakerSettings(**wrong)


class TestOpens:
    def test_twenty_sessions_of_three_keys_that_spent_five_dollars_each(self, clock):
        """Also those that are over count: nothing of them is left but what they spent."""
        breaker = CostBreaker(clock=clock)
        spenders = Spenders(breaker, clock, Budgets([SessionSettings().budget], now_ns=clock.wall_ns))
        for number in range(20):
            assert breaker.state is CLOSED
            for _ in range(5):
                spenders.spend(USD, key="abc"[number % 3], session=f"s{number}")
            clock.passes(60)
        assert breaker.state is OPEN
        assert breaker.snapshot().spent_nano == 100 * USD
        assert spenders.refusal(key="d", session="new").status == 503

    def test_not_a_nano_dollar_sooner(self, spenders):
        spenders.spend(100 * USD - 1)
        assert spenders.breaker.state is CLOSED
        spenders.spend(1)
        assert spenders.breaker.state is OPEN

    def test_by_a_request_without_room_when_nearly_everything_is_spent(self, spenders):
        """Or it would never open where every request may cost more than the rest, and no alert would tell."""
        spenders.spend(95 * USD)
        assert spenders.refusal(usd(5.01)).retry_after_s == 300
        assert spenders.breaker.state is OPEN

    def test_not_by_a_request_that_asks_for_the_moon(self, spenders):
        spenders.spend(95 * USD - 1)
        assert spenders.refusal(99 * USD).retry_after_s is not None
        assert spenders.refusal(101 * USD).retry_after_s is None  # it never fits
        assert spenders.breaker.state is CLOSED
        spenders.spend(5 * USD)

    def test_not_by_what_is_only_set_aside(self, spenders):
        """Bounds are far above costs: a hundred callers at once aren't a runaway cost."""
        spenders.spend(95 * USD)
        running = [spenders.begin(USD) for _ in range(5)]
        assert spenders.refusal(USD).retry_after_s == 1.0
        assert spenders.breaker.state is CLOSED
        for request in running:
            request.settle(1)
        spenders.spend(USD)

    def test_by_a_bill_above_its_bound(self, spenders):
        spenders.spend(120 * USD, bound=1)
        assert spenders.breaker.state is OPEN

    def test_what_left_the_window_does_not_count(self, spenders, clock):
        spenders.spend(60 * USD)
        clock.passes(DAY_S + PART_S)
        spenders.spend(60 * USD)
        assert spenders.breaker.state is CLOSED
        clock.passes(DAY_S - 1)
        assert spenders.refusal(41 * USD).retry_after_s == pytest.approx(1, abs=PART_S)


class TestNeverPassed:
    def test_a_hundred_requests_at_once(self, spenders):
        running = [spenders.begin(3 * USD) for _ in range(33)]
        for _ in range(67):
            spenders.refusal(3 * USD)
        snapshot = spenders.breaker.snapshot()
        assert snapshot.spent_nano == 0
        assert snapshot.reserved_nano == 99 * USD
        assert snapshot.refused == 67
        for request in running:
            request.settle(3 * USD)
        assert spenders.breaker.snapshot().spent_nano == 99 * USD

    def test_neither_by_probes(self, clock):
        spenders = Spenders(CostBreaker(CostBreakerSettings(probes=3), clock=clock), clock)
        spenders.spend(60 * USD)
        clock.passes(3600)
        spenders.spend(40 * USD)
        clock.passes(DAY_S - 3600 + PART_S)
        assert spenders.breaker.state is HALF_OPEN
        spenders.begin(50 * USD)
        assert spenders.refusal(11 * USD).retry_after_s == 1.0
        spenders.begin(10 * USD)
        assert spenders.breaker.snapshot().reserved_nano == 60 * USD


class TestOpen:
    def test_all_are_refused_whatever_they_cost(self, spenders):
        open_it(spenders)
        for bound in (0, 1, USD):
            error = spenders.refusal(bound)
            assert error.code == "cost_breaker_open"
            assert "cost breaker is open" in error.message
            assert "$" not in error.message  # what others spend is no caller's business
        assert spenders.breaker.snapshot().refused == 3

    def test_what_runs_goes_on_and_is_charged(self, spenders):
        running = spenders.begin(10 * USD)
        spenders.spend(100 * USD, bound=90 * USD)
        assert spenders.breaker.state is OPEN
        running.settle(8 * USD)
        assert spenders.breaker.snapshot().spent_nano == 108 * USD
        assert spenders.breaker.snapshot().reserved_nano == 0

    def test_the_wait_is_until_enough_has_left_the_window(self, spenders, clock):
        spenders.spend(30 * USD)
        clock.passes(7200)
        spenders.spend(70 * USD)
        wait_s = spenders.refusal().retry_after_s
        assert DAY_S - 7200 <= wait_s <= DAY_S - 7200 + PART_S
        clock.passes(wait_s - 1)
        assert spenders.breaker.state is OPEN
        clock.passes(1)
        assert spenders.breaker.state is HALF_OPEN

    def test_the_wait_is_never_less_than_the_cool_down(self, spenders, clock):
        spenders.spend(30 * USD)
        clock.passes(DAY_S - 10)
        spenders.spend(70 * USD)
        assert spenders.refusal().retry_after_s == 300
        clock.passes(100)  # the first 30 have left meanwhile
        assert spenders.refusal().retry_after_s == 200
        clock.passes(199)
        assert spenders.breaker.state is OPEN
        clock.passes(1)
        assert spenders.breaker.state is HALF_OPEN

    def test_a_clock_that_is_set_changes_no_cool_down(self, spenders, clock):
        spenders.spend(95 * USD)
        spenders.refusal(6 * USD)
        clock.wall -= 7200 * S
        clock.passes(300)
        assert spenders.breaker.state is HALF_OPEN


class TestHalfOpen:
    @pytest.fixture
    def half(self, spenders, clock):
        spenders.spend(95 * USD)
        spenders.refusal(6 * USD)
        clock.passes(300)
        assert spenders.breaker.state is HALF_OPEN
        return spenders

    def test_one_at_a_time(self, half):
        probe = half.begin(USD)
        assert half.refusal().retry_after_s == 1.0
        probe.settle(USD)
        assert half.breaker.state is CLOSED
        half.begin(USD)
        half.begin(USD)

    def test_a_probe_that_spends_the_rest_opens_it_again(self, half, clock):
        half.spend(5 * USD)
        assert half.breaker.state is OPEN
        assert half.breaker.opened == 2
        clock.passes(300)
        assert half.breaker.state is OPEN

    def test_a_probe_without_room_opens_it_again(self, half):
        half.refusal(6 * USD)
        assert half.breaker.state is OPEN
        assert half.refusal().retry_after_s == 300

    def test_a_probe_that_failed_gives_its_place_back(self, half):
        half.begin(USD).settle(0, ok=False)
        assert half.breaker.state is HALF_OPEN
        assert half.breaker.snapshot().probes == 0
        half.begin(USD)

    def test_only_the_first_leave_counts(self, half):
        probe = half.begin(USD)
        probe.settle(0, ok=False)
        other = half.begin(USD)
        probe.leave(ok=True)
        assert half.breaker.state is HALF_OPEN
        assert half.breaker.snapshot().probes == 1
        other.settle(1)
        assert half.breaker.state is CLOSED

    def test_requests_of_before_change_only_the_sum(self, spenders, clock):
        early = spenders.begin(USD)
        late = spenders.begin(USD)
        spenders.spend(95 * USD)
        spenders.refusal(6 * USD)
        clock.passes(300)
        probe = spenders.begin(USD)
        early.settle(1)
        assert spenders.breaker.state is HALF_OPEN
        assert spenders.breaker.snapshot().probes == 1
        probe.settle(1, ok=False)
        late.settle(5 * USD, ok=True)
        assert spenders.breaker.state is OPEN

    def test_a_probe_of_an_earlier_half_open_state_is_stale(self, half, clock):
        old = half.begin(USD)
        half.breaker.account.spending.add(5 * USD, clock.wall)
        assert half.breaker.state is OPEN
        half.breaker.account.spending.clear()
        clock.passes(300)
        assert half.breaker.state is HALF_OPEN
        old.settle(0)
        assert half.breaker.state is HALF_OPEN


class TestReset:
    def test_what_was_spent_counts_no_more(self, spenders):
        open_it(spenders)
        spenders.breaker.reset()
        assert spenders.breaker.state is CLOSED
        spenders.spend(99 * USD)
        assert spenders.breaker.state is CLOSED

    def test_what_runs_is_still_charged(self, spenders):
        running = spenders.begin(10 * USD)
        spenders.spend(90 * USD)
        spenders.breaker.reset()
        assert spenders.breaker.snapshot().reserved_nano == 10 * USD
        running.settle(10 * USD)
        assert spenders.breaker.snapshot().spent_nano == 10 * USD

    def test_of_a_closed_one_tells_nobody(self, spenders):
        told = []
        spenders.breaker.on_change(lambda *change: told.append(change))
        spenders.spend(USD)
        spenders.breaker.reset()
        assert told == []
        assert spenders.breaker.snapshot().spent_nano == 0


class TestRestart:
    def test_what_the_ledger_has_counts(self, spenders, clock):
        spenders.spend(50 * USD)
        clock.passes(60)
        spenders.spend(50 * USD)
        after = CostBreaker(clock=clock, spent=[*spenders.charges, Charge("key:usd:hour:a", 0, None, 5)])
        assert after.state is OPEN
        assert after.snapshot().spent_nano == 100 * USD
        clock.passes(DAY_S + PART_S)
        assert after.snapshot().spent_nano == 0

    def test_leaves_the_window_when_it_would_have(self, spenders, clock):
        spenders.spend(50 * USD)
        after = CostBreaker(clock=clock, spent=spenders.charges)
        wait_s = spenders.breaker.account.spending.frees_ns(1, clock.wall) - clock.wall
        assert after.account.spending.frees_ns(1, clock.wall) - clock.wall == wait_s

    @pytest.mark.parametrize("window_s", [3600, 7 * DAY_S])
    def test_another_window_counts_by_its_own_length(self, spenders, clock, window_s):
        spenders.spend(50 * USD)
        after = CostBreaker(CostBreakerSettings(window_s=window_s), clock=clock, spent=spenders.charges)
        clock.passes(window_s - 1)
        assert after.snapshot().spent_nano == 50 * USD
        clock.passes(1 + PART_S + window_s / 3600)
        assert after.snapshot().spent_nano == 0

    def test_its_charges_are_where_a_crash_finds_them(self, spenders):
        spenders.spend(3 * USD, key="a")
        (charge,) = spenders.charges
        assert (charge.account, charge.amount) == (ACCOUNT, 3 * USD)


class TestOtherNumbers:
    def test_a_lower_threshold_opens_it(self, spenders):
        spenders.spend(50 * USD)
        spenders.breaker.apply(CostBreakerSettings(threshold_nano=50 * USD))
        assert spenders.breaker.state is OPEN

    def test_a_higher_threshold_has_room_after_the_cool_down(self, spenders, clock):
        open_it(spenders)
        spenders.breaker.apply(CostBreakerSettings(threshold_nano=200 * USD))
        assert spenders.refusal().retry_after_s == 300
        clock.passes(300)
        spenders.spend(USD)
        spenders.spend(98 * USD)
        assert spenders.breaker.state is CLOSED

    def test_a_shorter_cool_down_holds_for_who_waits(self, spenders, clock):
        spenders.spend(95 * USD)
        spenders.refusal(6 * USD)
        spenders.breaker.apply(CostBreakerSettings(cool_down_s=10))
        clock.passes(10)
        assert spenders.breaker.state is HALF_OPEN

    def test_another_window_takes_a_restart(self, spenders):
        with pytest.raises(ValueError, match="window_s"):
            spenders.breaker.apply(CostBreakerSettings(window_s=3600, threshold_nano=1))
        assert spenders.breaker.settings == CostBreakerSettings()


class TestTold:
    def test_each_change_in_order(self, spenders, clock):
        told = []
        spenders.breaker.on_change(lambda *change: told.append(change))
        spenders.spend(95 * USD)
        spenders.refusal(6 * USD)
        clock.passes(300)
        spenders.spend(1)
        spenders.spend(5 * USD - 1)
        spenders.breaker.reset()
        assert told == [
            (CLOSED, OPEN),
            (OPEN, HALF_OPEN),
            (HALF_OPEN, CLOSED),
            (CLOSED, OPEN),
            (OPEN, CLOSED),
        ]

    def test_a_listener_may_reset_it(self, spenders):
        told = []

        def forgiving(before, after):
            told.append((before, after))
            if after is OPEN:
                spenders.breaker.reset()

        spenders.breaker.on_change(forgiving)
        spenders.breaker.on_change(lambda *change: told.append(change))
        spenders.spend(100 * USD)
        assert told == [(CLOSED, OPEN)] * 2 + [(OPEN, CLOSED)] * 2

    def test_nobody_is_warned_of_what_others_spend(self, spenders):
        request = spenders.begin(100 * USD)
        request.settle(100 * USD)
        assert not spenders.breaker.account.warns(0)

    def test_the_moves_that_there_are(self):
        assert {
            (before, event, after) for before, moves in TABLE.items() for event, after in moves.items()
        } == {
            (CLOSED, Event.SPENT, OPEN),
            (OPEN, Event.COOLED, HALF_OPEN),
            (OPEN, Event.RESET, CLOSED),
            (HALF_OPEN, Event.SPENT, OPEN),
            (HALF_OPEN, Event.PROVED, CLOSED),
            (HALF_OPEN, Event.RESET, CLOSED),
        }


def test_a_budgets_refusal_is_the_budgets(clock):
    breaker = CostBreaker(clock=clock)
    budgets = Budgets([SessionSettings().budget], now_ns=clock.wall_ns)
    spenders = Spenders(breaker, clock, budgets)
    with pytest.raises(Overdrawn):
        spenders.begin(usd(5.01), session="s")
    assert breaker.snapshot().reserved_nano == 0
