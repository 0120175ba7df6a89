"""Many limits under names: each its own, idle ones dropped, memory bounded, nobody let in twice by forgetting."""

from __future__ import annotations

import gc

import pytest

from holdfast.resilience.rate_limit import RateLimitExceededError, RateLimitSettings
from holdfast.resilience.rate_limits import RateLimits


class Clock:
    """Time by hand."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return round(self.now_s * 1e9)


def made(requests: int | None = 1, **options) -> tuple[RateLimits, Clock]:
    clock = Clock()
    return RateLimits(RateLimitSettings(requests=requests), clock=clock, **options), clock


def test_each_name_has_its_own():
    limits, _ = made()
    assert limits.of("alice").try_take()
    assert limits.of("alice").try_take() is None
    assert limits.of("bob").try_take()


def test_a_name_may_have_its_own_numbers():
    limits, _ = made(each={"bob": RateLimitSettings(requests=3)})
    assert [sum(limits.of(name).try_take() is not None for _ in range(5)) for name in ("alice", "bob")] == [
        1,
        3,
    ]


def test_the_refusal_names_what_the_name_is():
    limits, _ = made(name="key")
    limits.of("alice").try_take()
    with pytest.raises(RateLimitExceededError, match="rate limit 'key alice': "):
        limits.of("alice").enter().send(None)


def test_idle_names_are_dropped_as_others_come():
    limits, clock = made()
    for n in range(10_000):
        assert limits.of(f"name {n}").try_take()
        clock.now_s += 6  # ten of them within a window
        assert len(limits) <= 25


def test_who_is_in_use_is_not_dropped():
    """RL1."""
    limits, _ = made()
    for n in range(1000):
        assert limits.of(f"name {n}").try_take()
    assert len(limits) == 1000
    assert all(limits.of(f"name {n}").try_take() is None for n in range(1000))


def test_a_permit_that_outlives_its_windows_settles_into_what_its_name_has_then():
    """RL1: tokens used beyond the reservation aren't forgotten with an idle name."""
    limits, clock = made(None)
    limits.apply(RateLimitSettings(tokens=100))
    permit = limits.of("alice").try_take(10)
    clock.now_s += 61
    for n in range(5):
        limits.of(f"name {n}").try_take()
    gc.collect()
    assert "alice" not in limits
    permit.settle(90)
    assert limits.of("alice").allowed() == (None, 20)


def test_what_nobody_refers_to_is_really_gone():
    limits, clock = made()
    limits.of("alice").try_take()
    clock.now_s += 61
    limits.of("bob")
    limits.of("carol")
    gc.collect()
    assert "alice" not in limits._known


class TestTooManyNames:
    def test_they_share_one_limit(self):
        """RL1: made-up names get less, never more, and the memory stays."""
        limits, _ = made(2, max_names=3)
        for name in "abc":
            assert limits.of(name).try_take()
        assert sum(limits.of(f"made up {n}").try_take() is not None for n in range(1000)) == 2
        assert len(limits) == 3
        assert limits.of("a").try_take()

    def test_they_share_until_it_is_idle(self):
        """RL1: who was let in by the shared limit isn't let in by its own in the same window."""
        limits, clock = made(1, max_names=1)
        assert limits.of("a").try_take()
        clock.now_s += 30
        assert limits.of("b").try_take()
        clock.now_s += 30  # `a` is idle, and there is room for a name again
        assert limits.of("b").try_take() is None
        clock.now_s += 30
        assert limits.of("b").try_take()
        assert "b" in limits

    def test_a_name_that_somebody_still_holds_keeps_its_own(self):
        """RL1: no name has two limits at a time."""
        limits, clock = made(None, max_names=2)
        limits.apply(RateLimitSettings(tokens=100))
        permit = limits.of("a").try_take(10)
        clock.now_s += 61
        for name in ("b", "c", "d"):
            assert limits.of(name).try_take(1)
        assert "a" not in limits
        permit.settle(90)
        assert limits.of("a").allowed() == (None, 20)

    def test_names_with_their_own_numbers_keep_them(self):
        limits, _ = made(1, max_names=1, each={"vip": RateLimitSettings(requests=5)})
        limits.of("a").try_take()
        limits.of("b").try_take()
        assert sum(limits.of("vip").try_take() is not None for _ in range(9)) == 5

    def test_at_least_one(self):
        with pytest.raises(ValueError, match="max_names must be a whole number from 1, not 0"):
            made(max_names=0)


def test_a_reload_reaches_every_name():
    limits, _ = made(5, each={"bob": RateLimitSettings(requests=7)}, max_names=3)
    for name in ("alice", "bob", "carol"):
        assert limits.of(name).try_take()
    assert limits.of("made up").try_take()
    limits.apply(RateLimitSettings(requests=3), each={"carol": RateLimitSettings(requests=9)})
    allowed = {name: limits.of(name).allowed()[0] for name in ("alice", "bob", "carol", "made up")}
    assert allowed == {"alice": 2, "bob": 2, "carol": 8, "made up": 2}
