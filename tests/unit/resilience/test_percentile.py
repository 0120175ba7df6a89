"""Percentiles of the latest values, against sorting them."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.resilience.percentile import KEPT, RecentPercentile


def of(values: list[float]) -> RecentPercentile:
    recent = RecentPercentile()
    for value in values:
        recent.add(value)
    return recent


def nearest_rank(values: list[float], percentile: float) -> float:
    """By its definition, with exact numbers: the least value that so many don't exceed."""
    enough = Fraction(percentile) * len(values) / 100
    return next(value for value in sorted(values) if sum(other <= value for other in values) >= enough)


def test_of_one_to_a_hundred_each_percentile_is_itself():
    recent = of([float(value) for value in range(100, 0, -1)])
    assert [recent.at(percentile) for percentile in range(1, 101)] == list(range(1, 101))


@pytest.mark.parametrize(
    ("percentile", "value"), [(0.1, 1.0), (50, 2.0), (50.1, 3.0), (75, 3.0), (99, 4.0), (100, 4.0)]
)
def test_of_four(percentile, value):
    assert of([4.0, 2.0, 1.0, 3.0]).at(percentile) == value


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=60), st.integers(1, 1000))
@example([0.0, -0.0, 0.0], 500)
def test_it_is_what_sorting_gives(values, per_mille):
    assert of(values).at(per_mille / 10) == nearest_rank(values, per_mille / 10)


def test_old_values_make_room():
    recent = of([1000.0] * 1000 + [1.0] * KEPT)
    assert (recent.at(1), recent.at(100)) == (1.0, 1.0)
    assert len(recent) == KEPT


def test_one_value_leaves_for_each_that_comes():
    recent = of([1000.0] * KEPT)
    for count in range(1, KEPT):
        recent.add(1.0)
        assert len(recent) == KEPT
        assert recent.at(100 * count / KEPT) == 1.0
        assert recent.at(100 * (count + 1) / KEPT) == 1000.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.001])
def test_what_has_no_place_in_an_order_is_refused_and_changes_nothing(value):
    recent = of([1.0, 2.0])
    with pytest.raises(ValueError, match="finite values from 0 on"):
        recent.add(value)
    assert (len(recent), recent.at(100)) == (2, 2.0)


@pytest.mark.parametrize("percentile", [0, -1, 100.1, math.nan])
def test_there_is_no_such_percentile(percentile):
    with pytest.raises(ValueError, match="above 0 and at most 100"):
        of([1.0]).at(percentile)


def test_of_nothing_there_is_none():
    with pytest.raises(ValueError, match="nothing was added"):
        RecentPercentile().at(50)
