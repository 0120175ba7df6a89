"""The sliding window alone: its edges in time, what is given back, its memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.resilience.rate_window import OWN_ENTRIES, TICKS_PER_S, RateWindow, in_seconds, in_ticks

LENGTH = 1000


def used(window: RateWindow, now: int) -> tuple[int, int]:
    window.expire(now)
    return window.requests, window.tokens


@pytest.mark.parametrize(("seconds", "ticks"), [(0, 0), (1, TICKS_PER_S), (0.5, TICKS_PER_S // 2), (1e-9, 1)])
def test_ticks_are_rounded_up(seconds, ticks):
    assert in_ticks(seconds) == ticks


@given(st.integers(0, 2**53))
def test_ticks_and_seconds_are_the_same_thing(ticks):
    assert in_ticks(in_seconds(ticks)) == ticks


def test_what_was_admitted_counts_for_the_length_and_not_a_tick_longer():
    """RL1."""
    window = RateWindow(LENGTH)
    window.add(5, 1, 7)
    assert used(window, 5 + LENGTH - 1) == (1, 7)
    assert window.soonest(5, "requests", 1, 1) == 5 + LENGTH
    assert used(window, 5 + LENGTH) == (0, 0)
    assert len(window) == 0


def test_one_instant_is_one_entry():
    window = RateWindow(LENGTH)
    for _ in range(1000):
        window.add(7, 1, 3)
    assert len(window) == 1
    assert used(window, 7) == (1000, 3000)


@pytest.mark.parametrize(
    ("amount", "moment"),
    [
        *((0, 50), (1, 50), (2, 10 + LENGTH), (4, 10 + LENGTH), (5, 20 + LENGTH), (10, 30 + LENGTH)),
        # beyond the limit: so many whole limits go first, each a length apart
        *((11, 50 + LENGTH), (12, 10 + 2 * LENGTH), (25, 20 + 3 * LENGTH)),
    ],
)
@pytest.mark.parametrize("kind", ["requests", "tokens"])
def test_soonest(kind, amount, moment):
    window = RateWindow(LENGTH)
    for at, n in ((10, 3), (20, 4), (30, 2)):
        window.add(at, **{"requests": 0, "tokens": 0, kind: n})
    assert window.soonest(50, kind, amount, 10) == moment


def test_each_kind_is_empty_at_its_own_time():
    window = RateWindow(LENGTH)
    window.add(10, 1, 5)
    window.add(20, 1, 0)
    assert window.empty_at(30, "requests") == 20 + LENGTH
    assert window.empty_at(30, "tokens") == 10 + LENGTH
    assert RateWindow(LENGTH).empty_at(30, "tokens") == 30


def test_what_is_given_back_was_never_there():
    window = RateWindow(LENGTH)
    first = window.add(10, 1, 6)
    last = window.add(20, 1, 4)
    window.give_back(last, 1, 4)
    assert (used(window, 20), len(window)) == ((1, 6), 1)
    window.give_back(first, 0, 6)
    assert (used(window, 20), len(window)) == ((1, 0), 1)
    window.give_back(first, 1, 0)
    assert (used(window, 20), len(window)) == ((0, 0), 0)


def test_what_left_the_window_is_not_given_back_again():
    """RL1: a stream that outlives the window settles into nothing."""
    window = RateWindow(LENGTH)
    old = window.add(0, 1, 10)
    assert used(window, LENGTH) == (0, 0)
    window.add(LENGTH, 1, 10)
    window.give_back(old, 1, 9)
    assert used(window, LENGTH) == (1, 10)


def test_above_the_limit_not_even_nothing_fits():
    window = RateWindow(LENGTH)
    window.add(0, 1, 10)
    window.add(1, 0, 5)
    assert window.soonest(1, "tokens", 0, 10) == LENGTH
    assert window.soonest(1, "tokens", 6, 10) == LENGTH + 1


def test_another_length_judges_what_is_there():
    window = RateWindow(LENGTH)
    window.add(0, 8, 0)
    window.apply(2 * LENGTH)
    assert used(window, LENGTH) == (8, 0)
    assert window.soonest(LENGTH, "requests", 1, 5) == 2 * LENGTH
    window.apply(LENGTH)
    assert used(window, LENGTH) == (0, 0)


class TestCrowds:
    """A million of a limit isn't a million entries."""

    LENGTH = OWN_ENTRIES * 8

    def test_memory_is_bounded(self):
        window = RateWindow(self.LENGTH)
        most = 0
        for at in range(3 * self.LENGTH):
            window.expire(at)
            window.add(at, 1, 1)
            most = max(most, len(window))
        assert OWN_ENTRIES < most <= 2 * OWN_ENTRIES + 1

    def test_nothing_is_let_go_early_and_nothing_much_late(self):
        """RL1: in a crowd an admission counts for at least the length, and at most a granule more."""
        window = RateWindow(self.LENGTH)
        granule = self.LENGTH // OWN_ENTRIES
        step = 3
        for admitted, at in enumerate(range(0, 4 * self.LENGTH, step)):
            inside = min(admitted, (self.LENGTH - 1) // step)
            counted, _ = used(window, at)
            assert inside <= counted <= inside + granule // step + 1
            window.add(at, 1, 0)

    def test_few_are_exact_however_close(self):
        window = RateWindow(self.LENGTH)
        for at in range(OWN_ENTRIES):
            window.add(at, 1, 0)
        assert len(window) == OWN_ENTRIES
        counted = [used(window, self.LENGTH + at)[0] for at in range(3)]
        assert counted == [OWN_ENTRIES - 1, OWN_ENTRIES - 2, OWN_ENTRIES - 3]
