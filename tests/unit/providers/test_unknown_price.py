"""What becomes of a request whose price nobody knows."""

from decimal import Decimal

import pytest

from holdfast.model.usage import Usage
from holdfast.providers.unknown_price import Refused, UnknownPrice

CEILING = UnknownPrice(ceiling_input=Decimal(20), ceiling_output=Decimal("100.5"))


def test_it_is_served_and_its_cost_is_null():
    assert UnknownPrice().price_for("wall", "m", limited=False) is None


def test_under_a_budget_in_dollars_it_is_refused_with_the_remedy():
    refused = UnknownPrice().price_for("wall", "m", limited=True)
    assert isinstance(refused, Refused)
    assert refused.reason == (
        "no price is known for wall/m, and a budget in dollars counts it; "
        'state one under [prices."wall/m"], or a ceiling in [pricing]'
    )


@pytest.mark.parametrize("limited", [True, False])
def test_it_is_refused_in_any_case_where_the_operator_says_so(limited):
    assert isinstance(UnknownPrice(action="refuse").price_for("wall", "m", limited=limited), Refused)


@pytest.mark.parametrize("limited", [True, False])
def test_a_ceiling_is_its_price_budget_or_not(limited):
    price = CEILING.price_for("wall", "m", limited=limited)
    assert price is CEILING.ceiling
    assert price.id == "ceiling:20/100.5"
    usage = Usage(input_tokens=1_000, cache_read_tokens=900, output_tokens=10, reasoning_tokens=9)
    assert price.cost(usage).nano == 1_000 * 20_000 + 10 * 100_500
    assert price.bound(1_000, 10) == price.cost(usage).nano


def test_half_a_ceiling_is_none():
    assert UnknownPrice(ceiling_input=Decimal(20)).ceiling is None
