"""Delays: what can be configured, and the few that are written out."""

from __future__ import annotations

import random

import pytest

from holdfast.resilience.backoff import Backoff, spread


@pytest.mark.parametrize(
    ("settings", "delays"),
    [
        ({}, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        ({"base_s": 1.0, "max_s": 60.0, "jitter": 0.1}, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]),
        ({"base_s": 2.0, "multiplier": 1.0}, [2.0, 2.0, 2.0]),
        ({"base_s": 0.0, "multiplier": 100.0, "max_s": 5.0}, [0.0, 0.0, 0.0]),
        ({"base_s": 0.0, "max_s": 0.0}, [0.0, 0.0]),
    ],
)
def test_delays_jitter_apart(settings, delays):
    backoff = Backoff(**settings)
    assert [backoff.ceiling(n) for n in range(1, len(delays) + 1)] == delays


def test_a_retry_beyond_all_numbers_waits_for_the_cap():
    assert Backoff(multiplier=100.0).ceiling(10**9) == 8.0
    assert Backoff(base_s=0.0, multiplier=100.0).ceiling(10**9) == 0.0


@pytest.mark.parametrize("retry", [0, -1])
def test_retries_are_counted_from_one(retry):
    with pytest.raises(ValueError, match="counted from 1"):
        Backoff().delay(retry, lambda: 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_s": -0.1}, "base_s must be a number from 0 to 3600, not -0.1"),
        ({"base_s": 3601.0, "max_s": 7200.0}, "base_s must be a number from 0 to 3600, not 3601.0"),
        ({"base_s": float("nan")}, "base_s must be a number from 0 to 3600, not nan"),
        ({"base_s": True}, "base_s must be a number from 0 to 3600, not True"),
        ({"multiplier": 0.5}, "multiplier must be a number from 1 to 100, not 0.5"),
        ({"multiplier": 101.0}, "multiplier must be a number from 1 to 100, not 101.0"),
        ({"max_s": float("inf")}, "max_s must be a number from 0 to 86400, not inf"),
        ({"jitter": 1.1}, "jitter must be a number from 0 to 1, not 1.1"),
        ({"jitter": -0.1}, "jitter must be a number from 0 to 1, not -0.1"),
        ({"jitter": "half"}, "jitter must be \"full\" or a number from 0 to 1, not 'half'"),
    ],
)
def test_impossible_settings_are_refused_with_what_is_allowed(settings, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.") + "$"):
        Backoff(**settings)


def test_full_jitter_is_uniform_from_zero_to_the_delay():
    """RT2. Over 2,000 draws the mean of a uniform draw on [0, 1] is within 5 standard errors (0.0323) of one half."""
    dice = random.Random(1).random
    draws = [Backoff(base_s=1.0).delay(1, dice) for _ in range(2_000)]
    assert abs(sum(draws) / 2_000 - 0.5) < 5 * (1 / 12 / 2_000) ** 0.5
    assert min(draws) < 0.01
    assert max(draws) > 0.99


def test_callers_at_the_cap_are_spread_as_well():
    """RT2. A draw that is cut at the cap would send half of all callers off in the same moment."""
    dice = random.Random(2).random
    draws = [spread(60.0, 0.1, 60.0, dice) for _ in range(2_000)]
    assert len(set(draws)) == 2_000
    assert min(draws) >= 54.0
    assert max(draws) < 60.0


def test_nothing_is_shared_between_callers():
    """RT2. Frozen, and it keeps no last delay: two callers with the same chance draw the same."""
    backoff = Backoff()
    assert [backoff.delay(n, random.Random(3).random) for n in (1, 2, 3)] == [
        backoff.delay(n, random.Random(3).random) for n in (1, 2, 3)
    ]
