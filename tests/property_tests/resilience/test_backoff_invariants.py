"""Delays: how they grow, where they end, and how far jitter may carry them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.resilience.backoff import Backoff
from holdfast.resilience.retry import add_jitter

seconds = st.floats(0.0, 3600.0, allow_subnormal=False)
chance = st.floats(0.0, 1.0, exclude_max=True)


@st.composite
def backoffs(draw: st.DrawFn, least_multiplier: float = 1.0) -> Backoff:
    base_s = draw(seconds)
    return Backoff(
        base_s=base_s,
        multiplier=draw(st.floats(least_multiplier, 100.0)),
        max_s=draw(st.floats(base_s, 86_400.0)),
        jitter=draw(st.just("full") | st.floats(0.0, 1.0)),
    )


class Chance:
    """An :class:`~holdfast.clock.Rng` that always draws the same."""

    def __init__(self, drawn: float) -> None:
        self.random = lambda: drawn


@given(backoffs(), st.integers(1, 10_000), chance)
@example(Backoff(base_s=1.0, multiplier=100.0, max_s=60.0, jitter=1.0), 10_000, 0.999)
@example(Backoff(base_s=60.0, max_s=60.0, jitter=0.1), 1, 0.999)
def test_no_delay_is_negative_or_longer_than_the_cap(backoff, retry, drawn):
    """RT2: jitter never passes the cap."""
    assert 0.0 <= backoff.delay(retry, lambda: drawn) <= backoff.max_s


@given(backoffs(), st.integers(1, 50))
def test_without_jitter_it_grows_by_the_multiplier_until_the_cap(backoff, retry):
    here, then = backoff.ceiling(retry), backoff.ceiling(retry + 1)
    assert then >= here
    if 0 < then < backoff.max_s:
        assert then / here == pytest.approx(backoff.multiplier)


@given(backoffs(least_multiplier=1.5), st.integers(1, 50))
def test_exponential_backoff_invariant(backoff, retry):
    """INVARIANT: each delay is at least 1.5 times the one before until the cap, jitter apart."""
    here, then = backoff.ceiling(retry), backoff.ceiling(retry + 1)
    assert then >= min(1.5 * here, backoff.max_s) * (1 - 1e-12)


@given(backoffs(), st.integers(1, 50), chance)
def test_each_delay_is_within_its_stated_distribution(backoff, retry, drawn):
    """RT2: and every value of it can be drawn: the extremes of chance are the extremes of the range."""
    ceiling, delay = backoff.ceiling(retry), backoff.delay(retry, lambda: drawn)
    if backoff.jitter == "full":
        assert delay == ceiling * drawn
        return
    low, high = ceiling * (1 - backoff.jitter), min(ceiling * (1 + backoff.jitter), backoff.max_s)
    assert low <= delay <= high
    assert backoff.delay(retry, lambda: 0.0) == low
    assert backoff.delay(retry, lambda: 1 - 2**-53) == pytest.approx(high)


@given(st.floats(0.0, 1e6, allow_subnormal=False), st.floats(0.0, 1.0), seconds, chance)
@example(60.0, 0.1, 60.0, 0.999)
def test_jitter_backoff(delay, factor, cap, drawn):
    """INVARIANT: |jittered - delay| ≤ factor × delay; and nothing is above the cap (RT2)."""
    jittered = add_jitter(delay, factor, cap=cap, rng=Chance(drawn))
    assert 0.0 <= jittered <= cap
    if delay <= cap:
        assert abs(jittered - delay) <= factor * delay + delay * 1e-12, "rounding apart"
    else:
        assert jittered >= cap * (1 - factor)
