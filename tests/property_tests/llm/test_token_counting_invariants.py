"""Invariants of tokens and what they cost.

The names of classes and tests are those of the document that asked for them; the tests run the product's own code. Its
classes on token counts and token budgets come with the parts of the product that count and budget tokens.
"""

from decimal import Decimal
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st
from tests.simulation.chat_wire import refuses, whole
from tests.unit.client.here import Here, in_virtual_time

from holdfast import ChatAnswer, Client
from holdfast.errors import TargetsFailed
from holdfast.model.usage import Usage
from holdfast.money.cost import Unit, calculate_cost, to_nano
from holdfast.providers.catalog import ORDER, PROVIDERS, in_order
from holdfast.providers.prices import PriceBook, parse_overrides

AT_NS = 1_790_000_000 * 10**9  # 2026-09-21

input_counts = st.integers(min_value=1, max_value=100_000)
output_counts = st.integers(min_value=1, max_value=50_000)


def dollars(smallest, largest):
    return st.decimals(Decimal(smallest), Decimal(largest), places=9)


def stated(provider, model, unit, input_price, output_price):
    """A book in which the operator states one price, in the unit given."""
    overrides, problems = parse_overrides(
        {f"{provider}/{model}": {f"input_{unit}": input_price, f"output_{unit}": output_price}}
    )
    return PriceBook(overrides), problems


class TestCostCalculationInvariants:
    """What tokens cost."""

    @given(input_counts, output_counts, dollars("0.0001", "0.01"), dollars("0.0001", "0.03"))
    @example(
        input_tokens=1,
        output_tokens=1,
        input_price=Decimal("0.000000001"),
        output_price=Decimal("0.000000001"),
    )
    def test_cost_calculation_formula_invariant(self, input_tokens, output_tokens, input_price, output_price):
        """
        INVARIANT: cost = input tokens x input price + output tokens x output price; exactly, and never negative.

        The bug: costs came out negative, because negative prices weren't refused.
        """
        expected = (input_tokens * Fraction(input_price) + output_tokens * Fraction(output_price)) / 1_000

        assert (
            calculate_cost(input_tokens, output_tokens, input_price, output_price, unit=Unit.PER_1K)
            == expected
        )

        book, problems = stated("wall", "m", "per_1k", input_price, output_price)
        assert problems == []
        cost = book.price("wall", "m", AT_NS).cost(
            Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        )
        assert cost.flag is None
        assert cost.nano >= 0
        assert 0 <= cost.nano - expected * 10**9 < 1, "rounded once, up"

        negative, problems = stated("wall", "m", "per_1k", -input_price, output_price)
        assert negative.price("wall", "m", AT_NS) is None
        assert len(problems) == 1
        assert "input_per_1k: must be 0 or more" in problems[0]

    @given(
        provider=st.sampled_from(["openai", "anthropic", "deepseek"]),
        model=st.sampled_from(
            [
                "gpt-4",
                "gpt-3.5-turbo",
                "gpt-4o",
                "claude-3-opus",
                "claude-sonnet-4-5",
                "deepseek-chat",
                "deepseek-v4-flash",
            ]
        ),
        tokens=st.integers(min_value=1, max_value=10_000),
        data=st.data(),
    )
    def test_provider_pricing_consistency_invariant(self, provider, model, tokens, data):
        """
        INVARIANT: one model at one provider has one price, however its name is written; another's model has none there.

        The bug: names matched by case, so that a differently written model got another tier's price.
        """
        book = PriceBook()
        usage = Usage(input_tokens=tokens, output_tokens=tokens)
        upper = data.draw(st.lists(st.booleans(), min_size=len(model), max_size=len(model)))
        written = "".join(c.upper() if up else c for c, up in zip(model, upper, strict=True))
        prefix = data.draw(st.sampled_from(["", "models/", f"{provider}/", f"{provider.upper()}/"]))

        price = book.price(provider, model, AT_NS)
        same = book.price(provider, prefix + written, AT_NS)

        owner = {"g": "openai", "c": "anthropic", "d": "deepseek"}[model[0]]
        assert (price is not None) == (provider == owner)
        if price is None:
            assert same is None
            return
        assert same.id == price.id
        assert same.cost(usage) == price.cost(usage)
        assert 0 < price.cost(usage).nano < 1_000 * 10**9

    @given(input_counts, output_counts, dollars("0.000001", "0.05"))
    @example(input_tokens=1_000, output_tokens=1, price=Decimal("0.002"))
    def test_cost_per_1k_tokens_invariant(self, input_tokens, output_tokens, price):
        """
        INVARIANT: a price per 1,000 tokens is for 1,000 tokens; twice the tokens cost twice as much.

        The bug: the division by 1,000 was missing, so tokens cost a thousand times their price.
        """
        per_1k, _ = stated("wall", "m", "per_1k", price, price)
        per_1m, _ = stated("wall", "m", "per_1m", price * 1_000, price * 1_000)
        once = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        twice = Usage(input_tokens=2 * input_tokens, output_tokens=2 * output_tokens)
        priced = per_1k.price("wall", "m", AT_NS)

        assert priced.cost(Usage(input_tokens=1_000, output_tokens=0)).nano == to_nano(price)
        assert priced.exact_nano(twice) == 2 * priced.exact_nano(once) > 0
        assert priced.cost(once).nano == per_1m.price("wall", "m", AT_NS).cost(once).nano
        assert calculate_cost(1_000, 0, price, price, unit=Unit.PER_1K) == price


class TestProviderFallbackChainInvariants:
    """The default chain."""

    @given(
        st.permutations(["openai", "anthropic", "deepseek", "gemini", "openrouter", "wall"]),
        st.integers(0, 6),
    )
    def test_fallback_chain_order_invariant(self, providers, count):
        """
        INVARIANT: the default chain is OpenAI -> Anthropic -> DeepSeek -> Gemini, then the others as they were named.

        The bug: the chain was another one after each start, because it came out of an unordered set.
        """
        assert ORDER == ("openai", "anthropic", "deepseek", "gemini")
        named = providers[:count]
        chain = in_order(named)
        assert sorted(chain) == sorted(named)
        assert chain == [name for name in ORDER if name in named] + [
            name for name in named if name not in ORDER
        ]
        assert in_order(name.upper() for name in named) == [name.upper() for name in chain]

        keys = {name: row.key_env[0] for name, row in PROVIDERS.items()}
        for _ in range(2):
            client = Client(env={keys[name]: "key" for name in named if name in keys})
            assert client.fallback_chain == tuple(name for name in in_order(keys) if name in named)

    @given(st.lists(st.sampled_from(ORDER), max_size=4, unique=True))
    @example(failed_providers=list(ORDER))
    def test_fallback_skips_failed_invariant(self, failed_providers):
        """
        INVARIANT: the answer comes from the first provider of the chain that has not failed; if all have, one error says so.

        With the default limits: retries on the first ones leave attempts for the last.
        """

        scripts = {
            name: [refuses(503)] * 3 if name in failed_providers else [whole(f"from {name}")]
            for name in ORDER
        }

        async def main(here: Here) -> tuple[ChatAnswer | TargetsFailed, list[str], str | None]:
            try:
                said = await here.client.chat("Say who you are.")
            except TargetsFailed as error:
                said = error
            asked = [row.provider for row in here.record().end.attempts]
            return said, list(dict.fromkeys(asked)), here.client.next_provider(failed_providers)

        said, asked, following = in_virtual_time(scripts, main, retry={})
        left = [name for name in ORDER if name not in failed_providers]
        if left:
            assert said.text == f"from {left[0]}"
            assert said.provider == following == left[0]
            assert asked == list(ORDER[: ORDER.index(left[0]) + 1])
        else:
            assert isinstance(said, TargetsFailed)
            assert following is None
            assert asked == list(ORDER)
