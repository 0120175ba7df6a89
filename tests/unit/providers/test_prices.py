"""The price book against genai-prices' own arithmetic, and the laws of costs."""

from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.providers.listed_prices import (
    NOW_NS,
    models,
    oracle,
    priced_models,
    tiers,
    times,
    told,
    usages,
)

from holdfast.model.usage import Usage
from holdfast.providers import snapshot
from holdfast.providers.counts import told as told_of
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.providers.tiers import DEARER, TIERS

KINDS = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning")


class TestAgainstTheListsOwnArithmetic:
    @given(models, usages(), times, tiers)
    def test_any_usage_of_any_model_at_any_time_in_any_tier(self, which, usage, at_ns, tier):
        price = PriceBook().price(*which, at_ns, tier)
        assume(price is not None)
        exact = oracle(*which, usage, at_ns, tier)
        assert price.exact_nano(usage) == exact
        assert price.cost(usage).nano == -(-exact.numerator // exact.denominator)
        assert price.cost(usage).flag is None

    @pytest.mark.parametrize("tier", [None, *TIERS])
    def test_every_model_once(self, tier):
        book = PriceBook()
        usage = Usage(
            input_tokens=300_007,
            cache_read_tokens=1_003,
            cache_write_tokens=501,
            cache_write_1h_tokens=251,
            input_audio_tokens=0,
            output_tokens=70_001,
            output_audio_tokens=13,
            reasoning_tokens=1_009,
            extra=told(images_out=1_021, video_out=7, searches=3),
        )
        assert len(priced_models()) > 1_000
        compared = [
            (which, price)
            for which in priced_models()
            if (price := book.price(*which, NOW_NS, tier)) is not None
        ]
        assert len(compared) > (20 if tier in DEARER else 1_000)
        assert [
            which
            for which, price in compared
            if price.exact_nano(usage) != oracle(*which, usage, NOW_NS, tier)
        ] == []


class TestEmbeddings:
    """They read and write nothing, so that a price for input is the whole price."""

    @pytest.mark.parametrize(
        ("provider", "model", "per_1m"),
        [
            ("openai", "text-embedding-3-small", "0.02"),
            ("openai", "text-embedding-3-large", "0.13"),
            ("openai", "text-embedding-ada-002", "0.1"),
            ("azure", "text-embedding-3-small", "0.02"),
        ],
    )
    def test_cost_and_bound(self, provider, model, per_1m):
        price = PriceBook().price(provider, model, NOW_NS)
        cost = price.cost(Usage(input_tokens=1_000, output_tokens=0))
        assert cost.nano == Decimal(per_1m) * 1_000 * 1_000
        assert (cost.price_id, cost.flag) == (price.id, None)
        assert price.bound(1_000, 0) == cost.nano


class TestLaws:
    @given(models, usages(), times)
    def test_rounded_up_by_less_than_a_nano_dollar_and_never_negative(self, which, usage, at_ns):
        price = PriceBook().price(*which, at_ns)
        assume(price is not None)
        assert 0 <= price.cost(usage).nano - price.exact_nano(usage) < 1

    @given(models, usages(), st.integers(0, 100_000), st.integers(0, 100_000), times)
    def test_bound_holds_for_any_split(self, which, usage, spare_in, spare_out, at_ns):
        price = PriceBook().price(*which, at_ns)
        assume(price is not None)
        bound = price.bound(
            usage.input_tokens + spare_in,
            usage.output_tokens + spare_out,
            searches=told_of(usage, "searches"),
        )
        assert price.cost(usage).nano <= bound

    def test_bound_holds_where_all_of_it_is_speech(self):
        price = PriceBook().price("openai", "gpt-realtime", NOW_NS)
        heard = Usage(input_tokens=1_000, input_audio_tokens=1_000, output_tokens=0)
        spoken = Usage(input_tokens=0, output_tokens=1_000, output_audio_tokens=1_000)
        assert price.cost(heard).nano <= price.bound(1_000, 0)
        assert price.cost(spoken).nano <= price.bound(0, 1_000)

    @given(models, usages(), st.sampled_from(KINDS))
    def test_one_more_token_of_any_kind_never_costs_less(self, which, usage, kind):
        assume(not (kind == "cache_read" and _seen_or_heard(usage)))
        price = PriceBook().price(*which, NOW_NS)
        total = "output_tokens" if kind in ("output", "reasoning") else "input_tokens"
        counts = {name: getattr(usage, name) for name in usage.__struct_fields__}
        counts[total] += 1
        if f"{kind}_tokens" != total:
            counts[f"{kind}_tokens"] += 1
        if kind == "cache_write_1h":
            counts["cache_write_tokens"] += 1
        assert price.cost(Usage(**counts)).nano >= price.cost(usage).nano

    @given(usages(most=10_000), usages(most=10_000), st.integers(0, 50))
    def test_linear_before_rounding_where_the_price_is_flat(self, one, other, times):
        price = PriceBook().price("openai", "gpt-4o", NOW_NS)
        names = [name for name in one.__struct_fields__ if name != "extra"]
        searches = times * told_of(one, "searches") + told_of(other, "searches")
        both = Usage(
            **{name: times * getattr(one, name) + getattr(other, name) for name in names},
            extra=told(searches=searches),
        )
        assume(not (both.cache_read_tokens and both.input_audio_tokens))
        assert price.exact_nano(both) == times * price.exact_nano(one) + price.exact_nano(other)


def _seen_or_heard(usage):
    return usage.input_audio_tokens or any(
        each["tokenCount"] for each in usage.extra["promptTokensDetails"] if each["modality"] != "TEXT"
    )


class TestUnknown:
    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai", "gpt-4-foo-unknown"),
            ("wall", "fb-ok"),
            ("openai", "fb-ok"),
            ("wall", "gpt-4o"),
            ("anthropic", "claude-3-opus-foo"),
            ("openai", "whisper-1"),  # by the hour
            ("openai", "tts-1"),  # by the character
            ("mistral", "voxtral-small-24b-2507"),  # by the token and by the hour
            ("openai", "x" * 1_000_000),
            ("", ""),
        ],
    )
    def test_has_no_price(self, provider, model):
        assert PriceBook().price(provider, model, NOW_NS) is None

    @given(st.text(max_size=30), models)
    def test_a_listed_name_with_something_before_it_is_not_that_model(self, before, which):
        provider, model = which
        name = f"{before}zz-{model}"
        assert PriceBook().price(provider, name, NOW_NS) is None

    @given(st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20), models)
    def test_a_listed_name_with_something_behind_it_is_not_that_model_unless_listed(self, behind, which):
        provider, model = which
        name = f"{model}-{behind}-zz"
        assert PriceBook().price(provider, name, NOW_NS) is None

    def test_names_of_callers_do_not_pile_up(self):
        book = PriceBook()
        for number in range(10_000):
            assert book.price("wall", f"fb-{number}", NOW_NS) is None
        assert len(book._found) <= 4_096


class TestTime:
    def test_of_day(self):
        book = PriceBook()
        noon = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 10**9
        night = int(datetime(2026, 11, 21, 20, tzinfo=UTC).timestamp()) * 10**9
        dear, cheap = (book.price("deepseek", "deepseek-chat", at) for at in (noon, night))
        assert dear.bound(1_000_000, 0) > cheap.bound(1_000_000, 0)
        assert dear.id != cheap.id

    def test_of_change(self):
        book = PriceBook()
        before = int(datetime(2025, 6, 9, 23, 59, 59, tzinfo=UTC).timestamp()) * 10**9
        assert book.price("openai", "o3", before).bound(1_000_000, 0) == 10 * 10**9
        assert book.price("openai", "o3", before + 10**9).bound(1_000_000, 0) == 2 * 10**9


class TestBook:
    def test_a_stated_price_goes_before_a_listed_one(self):
        overrides, _ = parse_overrides({"openai/gpt-4o": {"input_per_1m": 7, "output_per_1m": 9}})
        price = PriceBook(overrides).price("openai", "gpt-4o-2024-08-06", NOW_NS)
        assert price.bound(1_000_000, 1_000_000) == 16 * 10**9
        assert price.id.startswith("override:openai/gpt-4o#")

    def test_a_price_names_the_list_and_the_model(self):
        price = PriceBook().price("OpenAI", "GPT-4o-2024-08-06", NOW_NS)
        assert price.id == f"genai-prices-{genai_prices.__version__}:openai/gpt-4o"

    def test_a_free_model_costs_nothing_rather_than_an_unknown_sum(self):
        free = next(
            listed.id
            for listed in snapshot.load()["openrouter"].models
            if listed.id.endswith(":free") and not vars(listed.prices)
        )
        assert (
            PriceBook().price("openrouter", free, NOW_NS).cost(Usage(input_tokens=5, output_tokens=5)).nano
            == 0
        )

    def test_a_fee_per_request_is_counted(self):
        price = PriceBook().price("perplexity", "sonar", NOW_NS)
        assert price.cost(Usage(input_tokens=0, output_tokens=0)).nano == 12_000_000
        assert price.bound(0, 0) == 12_000_000

    def test_reading_ahead_makes_no_difference_to_what_is_read(self):
        book = PriceBook()
        book.load()
        assert book.price("openai", "gpt-4o", NOW_NS).bound(1_000, 1_000) == Decimal("12.5") * 10**6


DOCUMENTED = {
    "gpt-5": {"input_per_1m": 10, "output_per_1m": 30},
    "gpt-5-mini": {"input_per_1m": 3, "output_per_1m": 15},
    "gpt-realtime": {"input_per_1m": 100, "output_per_1m": 200},
}


@pytest.mark.parametrize(
    ("model", "input_tokens", "output_tokens", "dollars"),
    [
        ("gpt-5", 100_000, 200_000, "7.00"),
        ("gpt-5-mini", 500_000, 1_000_000, "16.50"),
        ("gpt-realtime", 25_000, 50_000, "12.50"),
    ],
)
def test_the_documents_examples_at_the_documents_prices(model, input_tokens, output_tokens, dollars):
    overrides, problems = parse_overrides(DOCUMENTED)
    assert problems == []
    price = PriceBook(overrides).price("openai", model, NOW_NS)
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    assert price.cost(usage).nano == Decimal(dollars) * 10**9
