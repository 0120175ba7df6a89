"""Invariants of tokens and what they cost.

The names of classes and tests are those of the documents that asked for them; the tests run the product's own code.
"""

import asyncio
import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.simulation.chat_wire import refuses, request, whole
from tests.simulation.world import World, converse
from tests.unit.client.here import Here, in_virtual_time
from tests.unit.providers.tokens.published import independent

from holdfast import ChatAnswer, Client
from holdfast.engine.treasury import Treasury
from holdfast.errors import BudgetExceeded, TargetsFailed
from holdfast.model.usage import Usage
from holdfast.money.budgets import Budgets
from holdfast.money.cost import Unit, calculate_cost, to_nano
from holdfast.money.rules import BudgetRule
from holdfast.providers.catalog import ORDER, PROVIDERS, in_order
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.providers.tokens import count_text
from holdfast.providers.tokens.bounds import bound_input_tokens
from holdfast.testing.virtual_time import run_virtual

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


MODELS = (
    "gpt-4",
    "gpt-4o",
    "gpt-5",
    "claude-3",
    "claude-opus-4-8",
    "gemini-pro",
    "deepseek-chat",
    "someone-elses",
)


class TestInputTokenCountingInvariants:
    """How many tokens a text has."""

    @given(
        st.text(min_size=1, max_size=10_000, alphabet="abcdefghijklmnopqrstuvwxyz ")
        | st.text(min_size=1, max_size=1_000)
    )
    @example(text="<|endoftext|>")
    @example(text=" " * 10_000 + "x")
    def test_openai_input_token_count_invariant(self, text):
        """
        INVARIANT: OpenAI's models have as many tokens as tiktoken says, in the encoding that is theirs.

        The bug: counts were off by a fifth, because a model was counted in another model's encoding.
        """
        for model, name in (
            ("gpt-4", "cl100k_base"),
            ("gpt-3.5-turbo", "cl100k_base"),
            ("gpt-4o", "o200k_base"),
        ):
            count = count_text(text, model, "openai")
            assert count.tokens == count.upper == len(independent(name).encode_ordinary(text))
            assert count.kind == "exact"

    @pytest.mark.parametrize("model", MODELS)
    @given(text_length=st.integers(min_value=0, max_value=100_000))
    @example(text_length=0)
    @example(text_length=1)
    @example(text_length=100_000)
    def test_empty_text_token_count_invariant(self, model, text_length):
        """INVARIANT: an empty text has no tokens, any other has some, up to 100,000 characters and more at once."""
        count = count_text("a" * text_length, model)
        assert (count.tokens == 0) == (text_length == 0)
        assert count.tokens <= count.upper <= text_length

    @given(text=st.text(max_size=1_000, alphabet="abc DEF 123") | st.text(), model=st.sampled_from(MODELS))
    def test_token_count_is_non_negative(self, text, model):
        """INVARIANT: a count is never negative, nor above its bound, and the same each time."""
        count = count_text(text, model)
        assert 0 <= count.tokens <= count.upper <= len(text.encode())
        assert count == count_text(text, model)

    @given(
        texts=st.lists(st.text(max_size=100, alphabet="abc"), min_size=1, max_size=10),
        model=st.sampled_from(["gpt-4", "gpt-4o", "deepseek-chat"]),
    )
    def test_token_count_is_additive(self, texts, model):
        """INVARIANT: joined by spaces, texts have the sum of their tokens, give or take one for each."""
        apart = sum(count_text(text, model).tokens for text in texts)
        assert abs(count_text(" ".join(texts), model).tokens - apart) <= len(texts)

    @given(
        st.lists(st.text(min_size=1, max_size=200, alphabet="abcdefghijklmnopqrstuvwxyz ,.\n"), max_size=10),
        st.sampled_from(["gpt-4", "gpt-4o"]),
    )
    def test_bounds_are_additive_where_texts_meet_at_the_ends_of_words(self, texts, model):
        """INVARIANT: cut between two words, a text has exactly the sum of its parts' tokens."""
        texts = [f" {text.strip()}x" for text in texts]
        apart = [count_text(text, model) for text in texts]
        joined = count_text("".join(texts), model)
        assert joined.tokens == sum(count.tokens for count in apart)
        assert joined.upper == sum(count.upper for count in apart)


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


def budgeted(world, tokens):
    """The world's engine, with one budget of ``tokens`` for everybody."""
    rule = BudgetRule(name="all", limit_tokens=tokens, window="forever")
    budgets = Budgets([rule], now_ns=world.clock.wall_ns)
    world.engine.treasury = Treasury(budgets, ledger=world.ledger, clock=world.clock)
    return budgets


def half_of_it(outgoing):
    """A provider that writes half of what it may."""
    return whole("yes", usage=(9, json.loads(outgoing.body)["max_tokens"] // 2))


async def asked(world, key, most_output):
    """One request of ``key``; its refusal, if it got one, and its record, if there is any."""
    body = request(stream=False, max_tokens=most_output)
    exchange = world.engine.exchange(replace(world.call(body), key=key))
    try:
        error, _ = await converse(exchange)
    finally:
        exchange.close()
    return error, await world.ledger.get(exchange.call.id)


class TestTokenBudgetInvariants:
    """Budgets in tokens: looked at before anything is sent, for every caller."""

    @given(
        budget=st.integers(100, 10_000),
        request_tokens=st.integers(1, 20_000),
        key=st.sampled_from(["local", "admin", "root", "ops-admin"]),
    )
    def test_budget_enforcement_invariant(self, budget, request_tokens, key):
        """
        INVARIANT: a request that may exceed the budget is refused, and nothing is sent; one that can't isn't.

        The bug: administrators were exempt.
        """

        async def main(clock):
            world = World(clock, {"a": [whole("yes", usage=(9, request_tokens))]})
            budgets = budgeted(world, budget)
            error, record = await asked(world, key, request_tokens)
            sent = len(world.transport.exchanges)
            surely = bound_input_tokens(
                len(request(stream=False, max_tokens=request_tokens)) + 256, "a", "m", tools=0, messages=2
            )
            if request_tokens >= budget:  # beside the input there is no room for it
                assert isinstance(error, BudgetExceeded)
            if request_tokens + surely <= budget:
                assert error is None
            (account,) = budgets
            if error is None:
                assert sent == 1
                assert record.intent.bound_tokens <= budget
                assert account.spent(clock.wall_ns()) == 9 + request_tokens <= budget
            else:
                assert (sent, record, account.spent(clock.wall_ns())) == (0, None, 0)
                assert error.details["limit_tokens"] == str(budget)
            assert account.reserved == 0

        run_virtual(main)

    @given(
        budget=st.integers(1_000, 10_000),
        requests=st.lists(
            st.tuples(st.integers(10, 5_000), st.sampled_from(["local", "admin"])), min_size=2, max_size=10
        ),
    )
    def test_budget_tracking_across_requests_invariant(self, budget, requests):
        """INVARIANT: what is left is the budget less what was used, and never below zero, also when many come at once."""

        async def main(clock):
            world = World(clock, {"a": half_of_it})
            budgets = budgeted(world, budget)
            used = 0
            for at_once in (False, True):
                asking = [asked(world, key, tokens) for tokens, key in requests]
                results = await asyncio.gather(*asking) if at_once else [await each for each in asking]
                used += sum(
                    record.end.usage.input_tokens + record.end.usage.output_tokens
                    for error, record in results
                    if error is None
                )
                (account,) = budgets
                assert account.spent(clock.wall_ns()) == used <= budget
                assert account.room(clock.wall_ns()) == budget - used >= 0
                assert all(error is None or isinstance(error, BudgetExceeded) for error, _ in results)

        run_virtual(main)


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
