"""D3: what was spent counts as long as its window says: never less, and hardly longer."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.spenders import NOON_NS, S

from holdfast.money.window import DAY_NS, HOUR_NS, Part, Spending, sliding, window_of


def ns(*date):
    return int(datetime(*date, tzinfo=UTC).timestamp()) * S


@pytest.mark.parametrize(
    ("name", "now", "part"),
    [
        ("hour", ns(2026, 3, 1) + 5, Part(ns(2026, 3, 1), ns(2026, 3, 1) + S + HOUR_NS)),
        ("day", ns(2026, 3, 1), Part(ns(2026, 3, 1), ns(2026, 3, 2))),
        ("day", ns(2026, 3, 1) - 1, Part(ns(2026, 2, 28), ns(2026, 3, 1))),
        ("month", ns(2026, 3, 1) - 1, Part(ns(2026, 2, 1), ns(2026, 3, 1))),
        ("month", ns(2024, 2, 29, 23), Part(ns(2024, 2, 1), ns(2024, 3, 1))),
        ("month", ns(2026, 12, 31, 23, 59, 59), Part(ns(2026, 12, 1), ns(2027, 1, 1))),
        ("month", ns(2026, 1, 31), Part(ns(2026, 1, 1), ns(2026, 2, 1))),
        ("session", ns(2026, 3, 1, 13), Part(ns(2026, 3, 1), ns(2026, 3, 1) + 33 * DAY_NS)),
        ("forever", NOON_NS, Part(0, None)),
    ],
)
def test_which_part_a_moment_belongs_to(name, now, part):
    assert window_of(name)(now) == part


def test_a_session_counts_for_its_whole_month():
    part = window_of("session")(NOON_NS + DAY_NS - 1)
    assert part.until_ns >= NOON_NS + DAY_NS - 1 + 31 * DAY_NS


@given(
    length=st.integers(3600, 40 * DAY_NS),
    times=st.lists(st.tuples(st.integers(0, 3 * HOUR_NS), st.integers(0, 9))),
)
def test_a_sliding_window_never_counts_less_and_hardly_more(length, times):
    spending, now, events = Spending(sliding(length)), NOON_NS, []
    for later, amount in times:
        now += later
        spending.add(amount, now)
        events.append((now, amount))
        total = spending.total(now)
        assert total >= sum(amount for at, amount in events if now - at < length)
        assert total <= sum(amount for at, amount in events if now - at < length + -(-length // 3600))


def test_an_hour_to_the_second():
    spending = Spending(window_of("hour"))
    at = ns(2026, 3, 1, 10) + 300_000_000
    spending.add(5, at)
    assert spending.total(at + HOUR_NS - 1) == 5
    assert spending.total(at + HOUR_NS + 700_000_000 - 1) == 5
    assert spending.total(at + HOUR_NS + 700_000_000) == 0


class TestWhenItIsFree:
    def test_in_the_order_in_which_it_was_spent(self):
        spending = Spending(window_of("hour"))
        for second in range(3):
            spending.add(10, NOON_NS + second * S)
        now = NOON_NS + 2 * S
        frees = [spending.frees_ns(amount, now) for amount in (0, 1, 10, 11, 30, 31)]
        first = NOON_NS - NOON_NS % S + S + HOUR_NS
        assert frees == [now, first, first, first + S, first + 2 * S, None]
        assert spending.total(first) == 20

    def test_never_where_nothing_leaves(self):
        spending = Spending(window_of("forever"))
        spending.add(10, NOON_NS)
        assert spending.frees_ns(1, NOON_NS) is None


class TestAClockThatIsPutBack:
    def test_does_not_free_anything(self):
        spending = Spending(window_of("day"))
        spending.add(5, ns(2026, 3, 2))
        spending.add(7, ns(2026, 3, 1))
        assert spending.total(ns(2026, 3, 1)) == 12
        assert spending.total(ns(2026, 3, 3) - 1) == 12
        assert spending.total(ns(2026, 3, 3)) == 0

    def test_counts_in_a_part_that_the_database_has_too(self):
        spending = Spending(window_of("hour"))
        part = spending.add(5, NOON_NS)
        assert spending.part(NOON_NS - 60 * S) == part == spending.add(1, NOON_NS - 60 * S)


class TestTakingOver:
    def test_what_was_spent_before_counts_on(self):
        parts = [(Part(ns(2026, 3, 2), ns(2026, 3, 3)), 2), (Part(ns(2026, 3, 1), ns(2026, 3, 2)), 1)]
        spending = Spending(window_of("day"), parts)
        assert spending.total(ns(2026, 3, 1, 5)) == 3
        assert spending.add(4, ns(2026, 3, 2, 5)) == parts[0][0]
        assert spending.total(ns(2026, 3, 2, 5)) == 6

    def test_clearing_forgets(self):
        spending = Spending(window_of("forever"))
        spending.add(5, NOON_NS)
        spending.clear()
        assert spending.total(NOON_NS) == 0
        assert spending.frees_ns(1, NOON_NS) is None
