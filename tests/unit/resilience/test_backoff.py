"""Delays: how they grow, where they end, and how far jitter may carry them."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.resilience.backoff import Backoff

seconds = st.floats(0.0, 1e6, allow_subnormal=False)
backoffs = st.builds(
    Backoff,
    base_s=seconds,
    multiplier=st.floats(1.0, 100.0),
    max_s=seconds,
    jitter=st.just("full") | st.floats(0.0, 1.0),
)
chance = st.floats(0.0, 1.0, exclude_max=True)


@given(backoffs, st.integers(1, 10_000), chance)
@example(Backoff(base_s=1.0, multiplier=100.0, max_s=60.0, jitter=1.0), 10_000, 0.999)
def test_no_delay_is_negative_or_longer_than_the_cap(backoff, retry, drawn):
    assert 0.0 <= backoff.delay(retry, lambda: drawn) <= backoff.max_s


@given(backoffs, st.integers(1, 50))
def test_without_jitter_it_grows_by_the_multiplier_until_the_cap(backoff, retry):
    here, then = backoff.ceiling(retry), backoff.ceiling(retry + 1)
    assert then >= here
    if 0 < then < backoff.max_s:
        assert then / here == pytest.approx(backoff.multiplier)


@given(backoffs, st.integers(1, 50), chance)
def test_each_delay_is_within_its_stated_distribution(backoff, retry, drawn):
    ceiling, delay = backoff.ceiling(retry), backoff.delay(retry, lambda: drawn)
    if backoff.jitter == "full":
        assert delay == ceiling * drawn
    else:
        assert (
            ceiling * (1 - backoff.jitter) * (1 - 1e-9)
            <= delay
            <= ceiling * (1 + backoff.jitter) * (1 + 1e-9)
        )


def test_full_jitter_is_uniform_from_zero_to_the_delay():
    """Over 2,000 draws the mean of a uniform draw on [0, 1] is within 5 standard errors (0.0323) of one half."""
    dice = random.Random(1).random
    draws = [Backoff(base_s=1.0).delay(1, dice) for _ in range(2_000)]
    assert abs(sum(draws) / 2_000 - 0.5) < 5 * (1 / 12 / 2_000) ** 0.5
    assert min(draws) < 0.01
    assert max(draws) > 0.99


@pytest.mark.parametrize("retry", [0, -1])
def test_retries_are_counted_from_one(retry):
    with pytest.raises(ValueError, match="counted from 1"):
        Backoff().delay(retry, lambda: 0.5)


def test_nothing_is_shared_between_callers():
    """Frozen, and it keeps no last delay: two callers with the same chance draw the same."""
    backoff = Backoff()
    assert [backoff.delay(n, random.Random(3).random) for n in (1, 2, 3)] == [
        backoff.delay(n, random.Random(3).random) for n in (1, 2, 3)
    ]
