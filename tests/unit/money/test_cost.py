"""Dollars and nano-dollars, and the documents' formula."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.money.cost import Unit, calculate_cost, format_usd, to_nano, to_usd

D = Decimal
nanos = st.integers(-(10**30), 10**30)


@given(nanos)
def test_dollars_and_back(nano):
    assert to_nano(to_usd(nano)) == nano


@given(nanos)
def test_header_says_exactly_the_amount_without_exponent(nano):
    shown = format_usd(nano)
    assert "e" not in shown.lower()
    assert len(shown.partition(".")[2]) == 9
    assert D(shown) == to_usd(nano)


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (12_345, "0.000012345"),
        (0, "0.000000000"),
        (1, "0.000000001"),
        (7_000_000_000, "7.000000000"),
        (-1, "-0.000000001"),
        (-2_500_000_000, "-2.500000000"),
    ],
)
def test_header_form(nano, shown):
    assert format_usd(nano) == shown


def test_dollars_round_up_to_the_nano_dollar():
    assert to_nano(D("0.0000000001")) == 1
    assert to_nano(D("0.000000001")) == 1
    assert to_nano(D("1.0000000011")) == 1_000_000_002


def test_floats_are_no_dollars():
    with pytest.raises(TypeError, match="Decimal"):
        to_nano(0.1)


class TestCalculateCost:
    def test_per_1k(self):
        assert calculate_cost(1_000, 500, D("0.002"), D("0.004"), unit=Unit.PER_1K) == D("0.004")

    def test_per_1m(self):
        assert calculate_cost(100_000, 200_000, D(10), D(30), unit=Unit.PER_1M) == D(7)

    def test_unit_must_be_said(self):
        with pytest.raises(TypeError):
            calculate_cost(1, 1, D(1), D(1))

    def test_negative_prices_are_refused(self):
        """The bug: nobody checked prices, so costs came out negative."""
        for prices in ((D(-1), D(1)), (D(1), D("-0.0001"))):
            with pytest.raises(ValueError, match="0 or more"):
                calculate_cost(10, 10, *prices, unit=Unit.PER_1K)

    @pytest.mark.parametrize("price", [D("NaN"), D("Infinity"), D("-Infinity")])
    def test_prices_are_finite(self, price):
        with pytest.raises(ValueError, match="finite"):
            calculate_cost(1, 1, price, D(1), unit=Unit.PER_1K)

    def test_float_prices_are_refused(self):
        with pytest.raises(TypeError, match="float"):
            calculate_cost(1, 1, 0.002, D(1), unit=Unit.PER_1K)

    @pytest.mark.parametrize("tokens", [-1, 10**13])
    def test_counts_are_in_range(self, tokens):
        with pytest.raises(ValueError, match="input_tokens"):
            calculate_cost(tokens, 1, D(1), D(1), unit=Unit.PER_1K)

    @pytest.mark.parametrize("tokens", [1.5, float("nan"), True, "7"])
    def test_counts_are_integers(self, tokens):
        with pytest.raises(TypeError, match="output_tokens"):
            calculate_cost(1, tokens, D(1), D(1), unit=Unit.PER_1K)
