"""CO1 against a reference that shares no arithmetic with the product: fractions, one term for each kind of token."""

import random
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.usage import Usage
from holdfast.providers.override_reading import parse_overrides
from holdfast.providers.prices import PriceBook

AT_NS = 1_790_000_000 * 10**9

INPUTS = ("cache_read", "cache_write", "input_audio", "input_image")
OUTPUTS = ("output_audio", "output_image", "reasoning")
UNITS = {"per_1k": 1_000, "per_1m": 1_000_000}


def dollars(chance):
    """Up to a thousand, with up to 18 decimals; often a plain number."""
    if chance.random() < 0.3:
        return Decimal(chance.randint(0, 100))
    return Decimal(chance.randint(0, 10**15)).scaleb(-chance.randint(12, 18))


def rates(chance):
    optional = [kind for kind in (*INPUTS, *OUTPUTS, "cache_write_1h") if chance.random() < 0.5]
    return {kind: dollars(chance) for kind in ("input", "output", *optional)}


def a_price(chance):
    """A stated price: its unit, its bands by where they begin, and what is charged beside tokens."""
    edges = sorted(chance.sample(range(1, 3_000_000), chance.randint(0, 3)))
    return {
        "unit": chance.choice(sorted(UNITS)),
        "bands": {edge: rates(chance) for edge in (0, *edges)},
        "per_request": dollars(chance),
        "per_search": dollars(chance),
    }


def an_answer(chance, price):
    """Counts that can be believed, each kind apart from the others: of what is cached, nothing is heard or seen."""
    edge = chance.choice(sorted(price["bands"]))
    total = max(0, chance.choice([chance.randint(0, 5_000_000), edge + chance.randint(-2, 2), 0]))
    kinds = {}
    left = total
    for kind in ("cache_write", *chance.choice([("cache_read",), ("input_audio", "input_image")])):
        kinds[kind] = chance.randint(0, left)
        left -= kinds[kind]
    kinds["cache_write_1h"] = chance.randint(0, kinds["cache_write"])
    out = left = chance.randint(0, 5_000_000)
    for kind in OUTPUTS:
        kinds[kind] = chance.randint(0, left)
        left -= kinds[kind]
    return {"input": total, "output": out, "searches": chance.randint(0, 50), **kinds}


def a_case(seed):
    chance = random.Random(seed)
    price = a_price(chance)
    return price, an_answer(chance, price)


cases = st.integers(0, 2**64).map(
    a_case
)  # a draw for each of its fifty numbers takes a second for a hundred cases


def table(price):
    """As a file says it."""
    unit, bands = price["unit"], price["bands"]

    def settings(rates):
        return {f"{kind}_{unit}": amount for kind, amount in rates.items()}

    return {
        **settings(bands[0]),
        "per_request_usd": price["per_request"],
        "per_web_search_usd": price["per_search"],
        "above": [{"input_tokens": edge, **settings(bands[edge])} for edge in bands if edge],
    }


def usage_of(answer):
    return Usage(
        input_tokens=answer["input"],
        cache_read_tokens=answer.get("cache_read"),
        cache_write_tokens=answer["cache_write"],
        cache_write_1h_tokens=answer["cache_write_1h"],
        input_audio_tokens=answer.get("input_audio"),
        output_tokens=answer["output"],
        output_audio_tokens=answer["output_audio"],
        reasoning_tokens=answer["reasoning"],
        extra={
            "prompt_tokens_details": {"image_tokens": answer.get("input_image", 0)},
            "completion_tokens_details": {"image_tokens": answer["output_image"]},
            "num_search_queries": answer["searches"],
        },
    )


def reference(price, answer):
    """Dollars. Every token is of exactly one kind, and has that kind's rate, or else its total's."""
    rates = price["bands"][max(edge for edge in price["bands"] if edge == 0 or answer["input"] > edge)]
    hour = answer["cache_write_1h"]
    terms = {
        "cache_write_1h": (hour, ("cache_write_1h", "cache_write", "input")),
        "cache_write": (answer["cache_write"] - hour, ("cache_write", "input")),
    }
    for kind in ("cache_read", "input_audio", "input_image"):
        terms[kind] = (answer.get(kind, 0), (kind, "input"))
    for kind in OUTPUTS:
        terms[kind] = (answer[kind], (kind, "output"))
    terms["input"] = (
        answer["input"]
        - answer["cache_write"]
        - sum(answer.get(kind, 0) for kind in INPUTS[0:1] + INPUTS[2:]),
        ("input",),
    )
    terms["output"] = (answer["output"] - sum(answer[kind] for kind in OUTPUTS), ("output",))
    total = Fraction(price["per_request"]) + answer["searches"] * Fraction(price["per_search"])
    for count, names in terms.values():
        rate = next(rates[name] for name in names if name in rates)
        total += count * Fraction(rate) / UNITS[price["unit"]]
    return total


def priced(price):
    overrides, problems = parse_overrides({"wall/m": table(price)})
    assert problems == []
    return PriceBook(overrides).price("wall", "m", AT_NS)


@given(cases)
def test_exact_and_rounded_once_and_up(case):
    price, answer = case
    nano = reference(price, answer) * 10**9
    cost = priced(price).cost(usage_of(answer))
    assert priced(price).exact_nano(usage_of(answer)) == nano
    assert cost.flag is None
    assert cost.nano == -(-nano.numerator // nano.denominator)
    assert cost.nano >= 0


@given(cases)
def test_the_bound_is_never_below_the_cost(case):
    price, answer = case
    bound = priced(price).bound(answer["input"], answer["output"], searches=answer["searches"])
    assert priced(price).cost(usage_of(answer)).nano <= bound


@given(cases, st.sampled_from(["input", "output"]), st.integers(1, 1_000))
def test_more_tokens_never_cost_less_within_a_band(case, total, more):
    price, answer = case
    price = {**price, "bands": {0: price["bands"][0]}}
    larger = {**answer, total: answer[total] + more}
    assert priced(price).exact_nano(usage_of(larger)) >= priced(price).exact_nano(usage_of(answer))


@given(cases, st.integers(0, 9))
def test_linear_before_rounding_within_a_band(case, times):
    price, answer = case
    price = {**price, "bands": {0: price["bands"][0]}, "per_request": Decimal(0)}
    larger = {name: times * count for name, count in answer.items()}
    assert priced(price).exact_nano(usage_of(larger)) == times * priced(price).exact_nano(usage_of(answer))


@given(cases)
def test_a_price_per_1k_is_a_thousandth_of_the_same_per_1m(case):
    price, answer = case
    thousand, million = (
        {**price, "per_request": Decimal(0), "per_search": Decimal(0), "unit": unit} for unit in UNITS
    )
    assert priced(thousand).exact_nano(usage_of(answer)) == 1_000 * priced(million).exact_nano(
        usage_of(answer)
    )


@given(cases)
def test_the_same_numbers_are_the_same_price(case):
    price, _ = case
    assert priced(price).id == priced(price).id
    dearer = {**price, "per_request": price["per_request"] + 1}
    assert priced(dearer).id != priced(price).id
