"""A long stream of values against a list of all of them."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.resilience.percentile import KEPT, RecentPercentile

# Few different ones, so that many are equal: the one that leaves must be one of its equals, and only one.
values = st.integers(0, 9).map(float) | st.floats(0, 1e6)


class PercentileMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.recent = RecentPercentile()
        self.all: list[float] = []

    @rule(value=values, times=st.integers(1, 100))
    def the_same_comes(self, value: float, times: int) -> None:
        for _ in range(times):
            self.recent.add(value)
        self.all += [value] * times

    @rule(some=st.lists(values, max_size=20))
    def others_come(self, some: list[float]) -> None:
        for value in some:
            self.recent.add(value)
        self.all += some

    @invariant()
    def every_percentile_is_that_of_the_latest(self) -> None:
        latest = sorted(self.all[-KEPT:])
        assert len(self.recent) == len(latest)
        if latest:
            for percentile in (1, 25, 50, 90, 95, 99, 100):
                rank = math.ceil(percentile * len(latest) / 100)
                assert self.recent.at(percentile) == latest[rank - 1]


TestPercentile = PercentileMachine.TestCase
TestPercentile.settings = settings(stateful_step_count=8)
