"""The interval is exact: against tables, and against the binomial summed by hand."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.chaos.binomial import clopper_pearson


def tail(count: int, of: int, share: float) -> float:
    """The probability of ``count`` or more, in exact arithmetic."""
    p = Fraction(share)
    return float(sum(comb(of, i) * p**i * (1 - p) ** (of - i) for i in range(count, of + 1)))


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [  # known values: 1 - 0.025 ** (1 / n) for none of n; the others from published tables
        (0, 10, 0.0, 1 - 0.025 ** (1 / 10)),
        (10, 10, 0.025 ** (1 / 10), 1.0),
        (1, 10, 0.00252858, 0.44501612),
        (5, 100, 0.01643188, 0.11283491),
        (50, 100, 0.39832112, 0.60167888),
    ],
)
def test_known_values(count, of, low, high):
    assert clopper_pearson(count, of) == pytest.approx((low, high), abs=1e-8)


@settings(max_examples=60)  # exact fractions take their time
@given(st.integers(1, 60), st.data(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_each_bound_leaves_exactly_its_tail(of, data, confidence):
    count = data.draw(st.integers(0, of))
    low, high = clopper_pearson(count, of, confidence)
    left = (1 - confidence) / 2
    assert 0 <= low <= count / of <= high <= 1
    if count:
        assert tail(count, of, low) == pytest.approx(left, rel=1e-8)
    if count < of:
        assert 1 - tail(count + 1, of, high) == pytest.approx(left, rel=1e-8)


@pytest.mark.parametrize("count", [1, 50_000, 500_000, 999_999])
def test_a_million_attempts(count):
    low, high = clopper_pearson(count, 1_000_000)
    share = count / 1_000_000
    width = (share * (1 - share) / 1_000_000) ** 0.5
    assert low < share < high
    if count in (50_000, 500_000):  # where the normal distribution is a good guess
        assert (low, high) == pytest.approx((share - 1.96 * width, share + 1.96 * width), abs=width / 100)


@pytest.mark.parametrize("wrong", [(-1, 10), (11, 10), (1, 10, 0.0), (1, 10, 1.0)])
def test_what_has_no_interval(wrong):
    with pytest.raises(ValueError, match="no interval"):
        clopper_pearson(*wrong)


def test_nothing_of_nothing():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
