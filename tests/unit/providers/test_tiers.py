"""Service tiers: which is asked for, which is told, and which is paid."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.usage import Usage
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.providers.tiers import TIERS, asked_tier, billed_tier, bound_tier, told_tier
from holdfast.testing.strategies import json_values

NOW_NS = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 10**9
USAGE = Usage(input_tokens=1_000_000, output_tokens=0)


def raw(value):
    return msgspec.Raw(json.dumps(value).encode())


class TestWords:
    @pytest.mark.parametrize(
        ("provider", "fields", "tier"),
        [
            ("openai", {"service_tier": "flex"}, "flex"),
            ("openai", {"service_tier": "PRIORITY"}, "priority"),
            ("openai", {"service_tier": "fast"}, "fast"),
            ("openai", {"service_tier": "auto"}, None),
            ("openai", {"service_tier": "default"}, None),
            ("openai", {"service_tier": "scale"}, None),
            ("openai", {"service_tier": None}, None),
            ("openai", {"service_tier": 5}, None),
            ("openai", {}, None),
            ("gemini", {"serviceTier": "priority"}, "priority"),
            ("vertex", {"trafficType": "ON_DEMAND_FLEX"}, "flex"),
            ("vertex", {"trafficType": "ON_DEMAND"}, None),
            ("groq", {"service_tier": "performance"}, "priority"),
            ("anthropic", {"service_tier": "priority"}, None),  # paid for in advance
            ("anthropic", {"service_tier": "batch"}, "batch"),
            ("anthropic", {"speed": "fast", "service_tier": "standard"}, "fast"),
            ("Anthropic", {"speed": "standard", "service_tier": "priority"}, None),
        ],
    )
    def test_mean_the_same_asked_for_and_told(self, provider, fields, tier):
        assert asked_tier(provider, fields) == tier
        assert asked_tier(provider, {name: raw(value) for name, value in fields.items()}) == tier
        assert told_tier(provider, Usage(extra=fields))[1] == tier

    def test_what_the_route_sets_goes_before_what_the_caller_asks(self):
        assert asked_tier("openai", {"service_tier": raw("flex")}, {"service_tier": "priority"}) == "priority"
        assert asked_tier("openai", {"service_tier": raw("priority")}, {"service_tier": "default"}) is None

    @given(json_values(), st.sampled_from(["openai", "anthropic", "gemini", ""]))
    def test_nothing_that_is_said_is_an_error(self, value, provider):
        names = ("service_tier", "speed", "trafficType")
        assert told_tier(provider, Usage(extra=dict.fromkeys(names, value)))[1] in (None, *TIERS)
        assert told_tier(provider, Usage(extra=value))[1] in (None, *TIERS)
        assert asked_tier(provider, dict.fromkeys(names, msgspec.Raw(b"\xff{"))) is None


class TestPaid:
    @pytest.mark.parametrize(
        ("asked", "told", "tier"),
        [
            (None, {}, None),
            ("flex", {}, None),  # it doesn't say whether it was: at most the standard
            ("priority", {}, "priority"),
            ("priority", {"service_tier": "default"}, None),  # not granted, so not paid
            ("flex", {"service_tier": "flex"}, "flex"),
            (None, {"service_tier": "priority"}, "priority"),  # the project's setting
            ("flex", {"service_tier": "priority"}, "priority"),
        ],
    )
    def test_is_what_the_answer_says_or_else_the_dearer(self, asked, told, tier):
        assert billed_tier("openai", asked, Usage(extra=told)) == tier

    def test_the_bound_is_of_the_standard_or_what_is_dearer(self):
        assert [bound_tier(asked) for asked in (None, *TIERS)] == [None, None, None, "priority", "fast"]


class TestPrices:
    @pytest.mark.parametrize(
        ("provider", "model", "tier", "per_1m"),
        [
            ("openai", "gpt-5", None, "1.25"),
            ("openai", "gpt-5", "flex", "0.625"),
            ("openai", "gpt-5", "batch", "0.625"),
            ("openai", "gpt-5", "priority", "2.5"),
            ("openai", "gpt-4o", "flex", "2.5"),  # not sold: the standard, from above
            ("openai", "gpt-5-nano", "priority", None),  # not listed: nobody knows how much dearer
            ("azure", "gpt-5", "flex", "1.25"),  # its prices are OpenAI's, its tiers aren't
            ("azure", "gpt-5", "priority", None),
            ("anthropic", "claude-opus-4-6", "batch", "2.5"),
            ("anthropic", "claude-opus-4-6", "flex", "5"),
            ("gemini", "gemini-2.5-pro", "batch", "1.25"),  # a million tokens are above its edge
        ],
    )
    def test_of_the_list(self, provider, model, tier, per_1m):
        price = PriceBook().price(provider, model, NOW_NS, tier)
        if per_1m is None:
            assert price is None
            return
        assert price.cost(USAGE).nano == Decimal(per_1m) * 10**9
        assert price.id.endswith(f"@{tier}") == (price.id != PriceBook().price(provider, model, NOW_NS).id)

    def test_of_an_operator(self):
        overrides, problems = parse_overrides(
            {
                "wall/m": {
                    "input_per_1m": 10,
                    "output_per_1m": 20,
                    "flex": {"input_per_1m": 5, "output_per_1m": 10},
                    "priority": {"input_per_1m": 30, "output_per_1m": 60},
                }
            }
        )
        assert problems == []
        book = PriceBook(overrides)
        found = {tier: book.price("wall", "m", NOW_NS, tier) for tier in (None, *TIERS)}
        assert found["fast"] is None  # dearer than the standard, by nobody knows how much
        assert {tier: price.cost(USAGE).nano // 10**9 for tier, price in found.items() if price} == {
            None: 10, "batch": 10, "flex": 5, "priority": 30,
        }  # fmt: skip  # a table
        assert found["flex"].id.startswith("override:wall/m@flex#")

    def test_a_tier_that_begins_on_a_day_begins_on_that_day(self):
        before = int(datetime(2026, 10, 11, 23, 59, 59, tzinfo=UTC).timestamp()) * 10**9
        book = PriceBook()
        assert book.price("openai", "gpt-5", before, "priority") is None
        assert book.price("openai", "gpt-5", before + 10**9, "priority") is not None
        assert book.price("openai", "gpt-5", before, "flex").id == book.price("openai", "gpt-5", before).id
