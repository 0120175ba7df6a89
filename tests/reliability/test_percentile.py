"""The stated error of a percentile as an estimate, and that news is heard in time."""

from __future__ import annotations

import random

from holdfast.resilience.percentile import KEPT, RecentPercentile


def test_the_95th_of_a_window_is_between_the_92nd_and_the_98th_of_the_distribution():
    """Its rank among 256 uniform values is binomial: in 95 % of the windows within 2 × 3.5 ranks of 243.2, which is ± 2.7
    percent. Of 500 windows 95 % are 475, and 5 standard errors below that 450."""
    rng = random.Random(5)
    within = 0
    for _ in range(500):
        recent = RecentPercentile()
        for _ in range(KEPT):
            recent.add(rng.random())
        within += 0.92 <= recent.at(95) <= 0.98
    assert within >= 450


def test_a_target_that_has_grown_slow_is_known_after_a_twentieth_of_the_window():
    """Thirteen slow answers of 256 are more than 5 %."""
    recent = RecentPercentile()
    for _ in range(KEPT):
        recent.add(0.3)
    for slow in range(1, 14):
        assert recent.at(95) == 0.3, slow
        recent.add(9.0)
    assert recent.at(95) == 9.0
