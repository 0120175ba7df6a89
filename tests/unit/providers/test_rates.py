"""Costs of usages: exact, rounded once, and never made of nonsense."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.usage import Usage
from holdfast.providers.rates import MOST_TOKENS, Band, Price

D = Decimal

COUNTS = [name for name in Usage.__struct_fields__ if name != "extra"]


def flat(per_request=0, **rates):
    rates = {kind: D(str(amount)) for kind, amount in rates.items()}
    outputs = [rates[kind] for kind in ("output", "output_audio", "reasoning") if kind in rates]
    inputs = [amount for kind, amount in rates.items() if kind not in ("output", "output_audio", "reasoning")]
    return Price("test", [Band(0, rates, max(inputs), max(outputs))], per_request=D(per_request))


def tokens(**counts):
    return Usage(**{"input_tokens": 0, "output_tokens": 0, **counts})


class TestCost:
    def test_is_tokens_times_price(self):
        price = flat(input="2.5", output=10)
        cost = price.cost(tokens(input_tokens=1_000, output_tokens=500))
        assert cost.nano == 1_000 * 2_500 + 500 * 10_000
        assert cost.price_id == "test"
        assert cost.flag is None

    def test_rounds_up_once(self):
        price = flat(input="0.0001", output="0.0001")  # a tenth of a nano-dollar each
        assert price.cost(tokens(input_tokens=1)).nano == 1
        assert price.cost(tokens(input_tokens=5, output_tokens=5)).nano == 1
        assert price.cost(tokens(input_tokens=5, output_tokens=6)).nano == 2
        assert price.exact_nano(tokens(input_tokens=1)) == Fraction(1, 10)

    def test_parts_have_prices_of_their_own(self):
        price = flat(
            input=1,
            cache_read="0.1",
            cache_write="1.25",
            input_audio=10,
            output=2,
            output_audio=20,
            reasoning=3,
        )
        assert price.cost(tokens(input_tokens=10, cache_read_tokens=4)).nano == 6 * 1_000 + 4 * 100
        assert price.cost(tokens(input_tokens=10, cache_write_tokens=4)).nano == 6 * 1_000 + 4 * 1_250
        assert price.cost(tokens(input_tokens=10, input_audio_tokens=4)).nano == 6 * 1_000 + 4 * 10_000
        assert price.cost(tokens(output_tokens=10, output_audio_tokens=4)).nano == 6 * 2_000 + 4 * 20_000
        assert price.cost(tokens(output_tokens=10, reasoning_tokens=4)).nano == 6 * 2_000 + 4 * 3_000

    def test_what_is_kept_for_an_hour_is_dearer_than_the_rest_that_is_written(self):
        price = flat(input=1, cache_write="1.25", cache_write_1h=2, output=1)
        written = tokens(input_tokens=10, cache_write_tokens=7, cache_write_1h_tokens=4)
        assert price.cost(written).nano == 3 * 1_000 + 3 * 1_250 + 4 * 2_000

    def test_what_is_kept_for_an_hour_costs_what_is_written_where_only_that_has_a_price(self):
        written = tokens(input_tokens=10, cache_write_tokens=7, cache_write_1h_tokens=4)
        assert flat(input=1, cache_write="1.25", output=1).cost(written).nano == 3 * 1_000 + 7 * 1_250
        assert flat(input=1, output=1).cost(written).nano == 10 * 1_000

    def test_parts_without_one_cost_what_the_rest_does(self):
        price = flat(input=1, output=2)
        parts = tokens(
            input_tokens=10,
            cache_read_tokens=4,
            cache_write_tokens=3,
            input_audio_tokens=3,
            output_tokens=10,
            output_audio_tokens=5,
            reasoning_tokens=5,
        )
        assert price.cost(parts).nano == 10 * 1_000 + 10 * 2_000
        assert price.cost(parts).flag is None

    def test_a_request_may_cost_something_by_itself(self):
        assert (
            flat(input=1, output=1, per_request="0.005").cost(tokens(input_tokens=1)).nano
            == 5_000_000 + 1_000
        )


class TestOverlap:
    """Tokens that were cached and audio at once, of which providers tell only the two totals."""

    def test_dearest_reading_and_flag(self):
        price = flat(input=1, cache_read="0.5", input_audio=10, cache_audio_read=4, output=1)
        cost = price.cost(tokens(input_tokens=10, cache_read_tokens=3, input_audio_tokens=5))
        # none both: 2x1 + 3x0.5 + 5x10 = 53.5; three both: 5x1 + 3x4 + 2x10 = 37
        assert cost.nano == 53_500
        assert cost.flag == "overlap"

    def test_dearest_reading_where_the_overlap_has_no_price(self):
        price = flat(input=1, cache_read="0.5", input_audio=10, output=1)
        cost = price.cost(tokens(input_tokens=10, cache_read_tokens=3, input_audio_tokens=5))
        assert cost.nano == 5 * 1_000 + 5 * 10_000  # three both, at the dearer; none both would be 53.5
        assert cost.flag == "overlap"

    def test_no_guess_where_the_totals_leave_one_reading(self):
        price = flat(input=1, cache_read="0.5", input_audio=10, cache_audio_read=4, output=1)
        cost = price.cost(tokens(input_tokens=5, cache_read_tokens=3, input_audio_tokens=5))
        assert cost.nano == 3 * 4_000 + 2 * 10_000
        assert cost.flag is None

    def test_unpriced_overlap_costs_the_dearer_of_the_two(self):
        price = flat(input=1, cache_read="0.5", input_audio=10, output=1)
        cost = price.cost(tokens(input_tokens=5, cache_read_tokens=3, input_audio_tokens=5))
        assert cost.nano == 5 * 10_000


class TestTiers:
    price = Price(
        "tiered",
        [
            Band(0, {"input": D(1), "output": D(10)}, D(1), D(10)),
            Band(200, {"input": D(2), "output": D(15)}, D(2), D(15)),
            Band(500, {"input": D("1.5"), "output": D(12)}, D("1.5"), D(12)),
        ],
    )

    @pytest.mark.parametrize(
        ("input_tokens", "rates"),
        [(0, (1, 10)), (200, (1, 10)), (201, (2, 15)), (500, (2, 15)), (501, (D("1.5"), 12))],
    )
    def test_the_whole_request_is_priced_by_the_tier_its_input_reaches(self, input_tokens, rates):
        cost = self.price.cost(tokens(input_tokens=input_tokens, output_tokens=3))
        assert cost.nano == (input_tokens * rates[0] + 3 * rates[1]) * 1_000

    @given(st.integers(0, 600), st.integers(0, 50), st.integers(0, 600), st.integers(0, 50))
    def test_bound_holds_below_it_even_where_a_higher_tier_is_cheaper(
        self, most_in, most_out, used_in, used_out
    ):
        used_in, used_out = min(used_in, most_in), min(used_out, most_out)
        cost = self.price.cost(tokens(input_tokens=used_in, output_tokens=used_out))
        assert cost.nano <= self.price.bound(most_in, most_out)

    def test_bound_of_a_cheaper_tier_is_that_of_the_dearer_one_below(self):
        assert self.price.bound(501, 50) == (501 * 2 + 50 * 15) * 1_000

    def test_bound_is_not_that_of_a_tier_out_of_reach(self):
        assert self.price.bound(200, 1) == (200 * 1 + 10) * 1_000


class TestNonsense:
    price = flat(input=1, output=2)

    @pytest.mark.parametrize(
        ("counts", "flag"),
        [
            ({"input_tokens": -1}, "negative"),
            ({"output_tokens": -5}, "negative"),
            ({"input_tokens": 5, "cache_read_tokens": -1}, "negative"),
            ({"output_tokens": 5, "reasoning_tokens": -1}, "negative"),
            ({"input_tokens": float("nan")}, "not_a_count"),
            ({"output_tokens": float("inf")}, "not_a_count"),
            ({"input_tokens": 1.5}, "not_a_count"),
            ({"input_tokens": True}, "not_a_count"),
            ({"input_tokens": "12"}, "not_a_count"),
            ({"input_tokens": MOST_TOKENS + 1}, "absurd"),
            ({"output_tokens": 10**30}, "absurd"),
            ({"input_tokens": None}, "missing"),
            ({"output_tokens": None}, "missing"),
            ({"input_tokens": 5, "cache_read_tokens": 6}, "inconsistent"),
            ({"input_tokens": 5, "cache_read_tokens": 3, "cache_write_tokens": 3}, "inconsistent"),
            ({"input_tokens": 5, "cache_write_tokens": 3, "cache_write_1h_tokens": 4}, "inconsistent"),
            ({"input_tokens": 5, "cache_write_1h_tokens": 1}, "inconsistent"),
            ({"input_tokens": 5, "cache_write_tokens": 3, "cache_write_1h_tokens": -1}, "negative"),
            ({"input_tokens": 5, "input_audio_tokens": 6}, "inconsistent"),
            ({"output_tokens": 5, "reasoning_tokens": 6}, "inconsistent"),
            ({"output_tokens": 5, "output_audio_tokens": 3, "reasoning_tokens": 3}, "inconsistent"),
        ],
    )
    def test_is_flagged_and_never_counted(self, counts, flag):
        cost = self.price.cost(tokens(**counts))
        assert cost.nano is None
        assert cost.flag == flag
        assert self.price.exact_nano(tokens(**counts)) is None

    def test_the_most_is_still_counted(self):
        assert self.price.cost(tokens(input_tokens=MOST_TOKENS)).nano == MOST_TOKENS * 1_000

    @given(
        st.lists(
            st.none() | st.integers(-10, 40) | st.sampled_from([float("nan"), -1.5, 10**13, "7", True]),
            min_size=len(COUNTS),
            max_size=len(COUNTS),
        )
    )
    def test_nothing_a_provider_says_costs_less_than_nothing(self, counts):
        price = flat(
            input=3,
            cache_read=1,
            cache_write=4,
            cache_write_1h=6,
            input_audio=30,
            cache_audio_read=5,
            output=7,
            output_audio=70,
        )
        cost = price.cost(Usage(**dict(zip(COUNTS, counts, strict=True))))
        assert cost.nano is None or cost.nano >= 0
        assert (cost.nano is None) == (cost.flag not in (None, "overlap"))

    def test_a_bound_of_a_negative_count_is_our_own_fault(self):
        with pytest.raises(ValueError, match="negative"):
            self.price.bound(-1, 5)


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-1"])
def test_a_price_is_a_finite_number_of_at_least_zero(amount):
    with pytest.raises(ValueError, match="price must be"):
        Price("bad", [Band(0, {"input": D(amount), "output": D(1)}, D(1), D(1))])
