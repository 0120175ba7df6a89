"""``[pricing]`` and ``[prices]`` as a file says them, and what ``holdfast prices check`` finds in them."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from holdfast.config import Config, parse
from holdfast.config.price_check import PriceCheck, check_prices
from holdfast.errors import ConfigError
from holdfast.model.usage import Usage
from holdfast.providers.prices import PriceBook, parse_overrides

NOW_NS = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 10**9
WALL = '[providers.wall]\ndialect = "openai_chat"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "k"\n'
OPENAI = '[providers.openai]\napi_key = "k"\n'
PRICE = "input_per_1m = 1\noutput_per_1m = 2\n"


def configured(text: str, env: dict[str, str] | None = None) -> Config:
    return parse(tomllib.loads(text, parse_float=Decimal), env or {})


def problems(text: str, env: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refused:
        configured(text, env)
    return refused.value.problems


def checked(text: str) -> PriceCheck:
    return check_prices(configured(text), at_ns=NOW_NS)


def said(text: str) -> list[str]:
    return [str(problem) for problem in checked(text).problems]


class TestPricing:
    def test_without_it_unknown_prices_are_served(self) -> None:
        policy = configured("").unknown_price
        assert (policy.action, policy.ceiling) == ("serve", None)

    def test_a_ceiling_is_exact(self) -> None:
        text = "[pricing]\nceiling_input_per_1m = 0.1\nceiling_output_per_1m = 100\n"
        policy = configured(text).unknown_price
        assert policy.ceiling is not None
        assert policy.ceiling.cost(Usage(input_tokens=10, output_tokens=1)).nano == 10 * 100 + 100_000

    def test_variables_may_fill_it_in(self) -> None:
        text = '[pricing]\nunknown = "${U:-serve}"\nceiling_input_per_1m = "${P}"\nceiling_output_per_1m = "${P}"\n'
        assert configured(text, {"P": " 0.3 "}).unknown_price.ceiling_input == Decimal("0.3")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (
                'unknown = "refus"',
                'pricing.unknown: must be "serve" or "refuse", not a string; did you mean refuse?',
            ),
            ("unkown = 1", "pricing.unkown: there is no such setting; did you mean unknown?"),
            (
                "ceiling_input_per_1m = 1",
                "pricing.ceiling_output_per_1m: is missing: a ceiling needs it beside ceiling_input_per_1m; "
                "write 0 if it is free",
            ),
            (
                'unknown = "refuse"\nceiling_input_per_1m = 1\nceiling_output_per_1m = 1',
                'pricing.unknown: refuses what the ceiling would price; leave one of them out, or write "serve"',
            ),
            (
                "ceiling_input_per_1m = -1\nceiling_output_per_1m = 1",
                "pricing.ceiling_input_per_1m: must be 0 or more, not -1: a negative price would pay the caller",
            ),
            (
                'ceiling_input_per_1m = "1"\nceiling_output_per_1m = 1',
                "pricing.ceiling_input_per_1m: must be a number of dollars, not a string",
            ),
            (
                "ceiling_input_per_1m = true\nceiling_output_per_1m = 1",
                "pricing.ceiling_input_per_1m: must be a number of dollars, not true",
            ),
            (
                "ceiling_input_per_1m = nan\nceiling_output_per_1m = 1",
                "pricing.ceiling_input_per_1m: must be a finite number of dollars, not NaN",
            ),
        ],
    )
    def test_that_can_t_be(self, text: str, problem: str) -> None:
        assert problems(f"[pricing]\n{text}\n") == (problem,)

    def test_binary_floats_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="binary float"):
            parse({"pricing": {"ceiling_input_per_1m": 0.1, "ceiling_output_per_1m": 1}}, {})

    def test_what_a_variable_held_isn_t_shown(self) -> None:
        text = '[pricing]\nceiling_input_per_1m = "${P}"\nceiling_output_per_1m = 1\n'
        found = problems(text, {"P": "sk-canary"})
        assert found[0].startswith("pricing.ceiling_input_per_1m: must be a number of dollars")
        assert "canary" not in "".join(found)


class TestPrices:
    def test_variables_may_fill_in_tiers_and_bands(self) -> None:
        text = (
            f'[prices."wall/m"]\n{PRICE}above = [{{ input_tokens = 5, input_per_1m = "${{P}}", output_per_1m = 1 }}]\n'
            '[prices."wall/m".flex]\ninput_per_1m = "${P}"\noutput_per_1m = 1\n'
        )
        book = PriceBook(parse_overrides(configured(text, {"P": "7"}).prices)[0])
        for tier, tokens in ((None, 6), ("flex", 1)):
            price = book.price("wall", "m", NOW_NS, tier)
            assert price is not None
            assert price.cost(Usage(input_tokens=tokens, output_tokens=0)).nano == tokens * 7_000

    def test_a_variable_that_is_missing_deep_inside_is_one_problem(self) -> None:
        text = (
            f'[prices."wall/m"]\n{PRICE}[prices."wall/m".flex]\ninput_per_1m = "${{P}}"\noutput_per_1m = 1\n'
        )
        (problem,) = problems(text)
        assert problem.startswith('prices."wall/m".flex.input_per_1m: the environment variable P is not set')


class TestCheck:
    def test_nothing_is_missing(self) -> None:
        found = checked(
            f'{OPENAI}{WALL}[routes.a]\ntargets = ["openai/gpt-5", "wall/m"]\n[prices."wall/m"]\n{PRICE}'
        )
        assert (found.problems, found.notes) == ((), ())
        assert {"openai/gpt-5", "wall/m"} <= {
            name for name, price_id in found.targets if price_id is not None
        }

    def test_a_target_without_a_price(self) -> None:
        assert said(f'{WALL}[routes.a]\ntargets = ["wall/m"]\n') == [
            'prices."wall/m": no price is known, so it is served, and its cost is null; '
            "state input_per_1m and output_per_1m"
        ]

    def test_a_target_that_is_refused(self) -> None:
        text = f'{WALL}[routes.a]\ntargets = ["wall/m"]\n[pricing]\nunknown = "refuse"\n'
        assert "so it is refused" in said(text)[0]

    def test_a_ceiling_makes_it_a_note(self) -> None:
        text = (
            f'{WALL}[routes.a]\ntargets = ["wall/m"]\n'
            "[pricing]\nceiling_input_per_1m = 1\nceiling_output_per_1m = 1\n"
        )
        found = checked(text)
        assert found.problems == ()
        assert "costs the ceiling" in str(found.notes[0])
        assert found.targets == (("wall/m", "ceiling:1/1"),)

    def test_a_dearer_tier_that_a_route_sets(self) -> None:
        text = (
            f'{OPENAI}[routes.a]\ntargets = [{{ target = "openai/o1", set = {{ service_tier = "TIER" }} }}]\n'
        )
        assert said(text.replace("TIER", "flex")) == []
        assert "in the service tier priority" in said(text.replace("TIER", "priority"))[0]

    def test_a_route_of_any_model_is_a_note(self) -> None:
        text = f'{OPENAI}[routes.a]\ntargets = ["openai/{{model}}"]\nmodels = ["x-*"]\n'
        assert "not all that it can reach is checked" in str(checked(text).notes[0])

    def test_providers_without_a_key_aren_t_reached(self) -> None:
        assert said('[providers.gemini]\n[routes.a]\ntargets = ["gemini/no-such"]\n') == []

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            (
                "openai/gpt-5o",
                "is the price of no model that is listed or that a route reaches; did you mean gpt-5?",
            ),
            ("opnai/gpt-5", "there is no provider opnai; did you mean openai/gpt-5?"),
            (
                "gtp-5-mini",
                "is the price of no model that is listed or that a route reaches; did you mean gpt-5-mini?",
            ),
            ("wall/n", None),  # a server of one's own may have any model
            ("OpenAI/GPT-5-2025-08-07", None),
            ("gpt-5", None),
            ("m", None),  # a route reaches it
        ],
    )
    def test_a_stated_price_of_nobody(self, name: str, problem: str | None) -> None:
        text = f'{OPENAI}{WALL}[routes.a]\ntargets = ["wall/m"]\n[prices."wall/m"]\n{PRICE}[prices."{name}"]\n{PRICE}'
        assert said(text) == (
            []
            if problem is None
            else [f'prices."{name}": {problem}' if "/" in name else f"prices.{name}: {problem}"]
        )
