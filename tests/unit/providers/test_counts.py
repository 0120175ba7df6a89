"""What usages tell beside their fields, as each dialect says it, and what of it is priced."""

from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.model.usage import Usage
from holdfast.providers.bands import KINDS, OUTPUTS, Band
from holdfast.providers.counts import More, told
from holdfast.providers.rates import Price
from holdfast.testing.strategies import json_values

D = Decimal


def price(per_search="0", **rates):
    rates = {kind: D(str(amount)) for kind, amount in rates.items()}
    band = Band(
        0,
        rates,
        dearest_input=max(amount for kind, amount in rates.items() if kind not in OUTPUTS),
        dearest_output=max(amount for kind, amount in rates.items() if kind in OUTPUTS),
    )
    return Price("test", [band], per_search=D(per_search))


def usage(extra, **counts):
    return Usage(**{"input_tokens": 10, "output_tokens": 10, **counts}, extra=extra)


GOOGLE = {
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}, {"modality": "IMAGE", "tokenCount": 4}],
    "toolUsePromptTokensDetails": [{"modality": "DOCUMENT", "tokenCount": 2}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 5}, {"modality": "VIDEO"}],
}


class TestRead:
    @pytest.mark.parametrize(
        ("extra", "name", "count"),
        [
            (GOOGLE, "input_image", 6),
            (GOOGLE, "input_video", 0),
            (GOOGLE, "output_image", 5),
            (GOOGLE, "output_video", 0),
            (GOOGLE, "cache_audio", None),
            ({"cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 8}]}, "cache_audio", 8),
            ({"prompt_tokens_details": {"image_tokens": 7}}, "input_image", 7),
            ({"input_tokens_details": {"image_tokens": 7}}, "input_image", 7),
            ({"completion_tokens_details": {"image_tokens": 9}}, "output_image", 9),
            ({"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}, "searches", 2),
            ({"num_search_queries": 3}, "searches", 3),
            ({"tool_calls_details": {"search_web": {"invocation": 4}}}, "searches", 4),
            ({"web_search_calls": 5}, "searches", 5),
            ({}, "searches", None),
        ],
    )
    def test_as_each_dialect_says_it(self, extra, name, count):
        assert told(usage(extra), name) == count

    @given(json_values())
    def test_anything_may_stand_there(self, value):
        names = (*GOOGLE, "server_tool_use", "prompt_tokens_details")
        for what in get_args(More):
            told(usage(value), what)
            told(usage(dict.fromkeys(names, value)), what)


class TestPictures:
    drawing = price(input=1, output=2, output_image=30)
    seeing = price(input=1, cache_read="0.5", input_image=3, cache_image_read=2, output=2)

    def test_made_cost_their_own_price(self):
        assert self.drawing.cost(usage(GOOGLE)).nano == 10_000 + 5 * 2_000 + 5 * 30_000
        assert self.drawing.cost(usage(GOOGLE)).flag is None

    def test_given_cost_their_own_price(self):
        assert self.seeing.cost(usage(GOOGLE)).nano == 4 * 1_000 + 6 * 3_000 + 20_000

    def test_that_nobody_told_count_as_the_dearest_and_are_flagged(self):
        cost = self.drawing.cost(usage({}, reasoning_tokens=4))
        assert (cost.nano, cost.flag) == (10_000 + 4 * 2_000 + 6 * 30_000, "untold")
        cost = self.seeing.cost(usage({}, cache_read_tokens=4))
        assert (cost.nano, cost.flag) == (6 * 3_000 + 4 * 2_000 + 20_000, "untold")

    def test_that_were_cached_at_the_dearest_reading(self):
        cost = self.seeing.cost(usage(GOOGLE, cache_read_tokens=5))
        # cached text saves 0.5, cached images 1: four text and one image were cached
        assert (cost.nano, cost.flag) == (4 * 500 + 5 * 3_000 + 2_000 + 20_000, "overlap")

    def test_no_flag_where_nothing_could_have_been_a_picture(self):
        assert self.drawing.cost(usage({}, output_tokens=0)).flag is None
        assert self.drawing.cost(usage({}, reasoning_tokens=10)).flag is None

    def test_prices_without_pictures_ask_for_none(self):
        plain = price(input=1, output=2)
        assert (
            plain.cost(usage({"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": -9}]})).nano
            == 30_000
        )

    @pytest.mark.parametrize(
        ("extra", "flag"),
        [
            ({"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 11}]}, "inconsistent"),
            ({"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": -1}]}, "negative"),
            ({"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": "3"}]}, "not_a_count"),
            ({"completion_tokens_details": {"image_tokens": 10**13}}, "absurd"),
            ({"completion_tokens_details": {"image_tokens": 1.5}}, "not_a_count"),
            ({"completion_tokens_details": {"image_tokens": True}}, "not_a_count"),
        ],
    )
    def test_that_can_t_be_are_no_usage(self, extra, flag):
        assert self.drawing.cost(usage(extra)) == (type(self.drawing.cost(usage({}))))(None, "test", flag)
        assert self.drawing.exact_nano(usage(extra)) is None


class TestCachedAudio:
    hearing = price(input=1, cache_read="0.5", input_audio=10, cache_audio_read=4, output=1)

    def test_is_exact_where_it_is_told(self):
        extra = {"cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}]}
        cost = self.hearing.cost(usage(extra, cache_read_tokens=3, input_audio_tokens=5))
        assert (cost.nano, cost.flag) == (4 * 1_000 + 500 + 3 * 10_000 + 2 * 4_000 + 10_000, None)

    @pytest.mark.parametrize("told", [4, -1, "2"])
    def test_more_than_there_is_of_either_is_no_usage(self, told):
        extra = {"prompt_tokens_details": {"cached_tokens_details": {"audio_tokens": told}}}
        assert self.hearing.cost(usage(extra, cache_read_tokens=3, input_audio_tokens=5)).nano is None


class TestSearches:
    def test_are_charged_each(self):
        searching = price(input=1, output=2, per_search="0.01")
        three = {"server_tool_use": {"web_search_requests": 3}}
        assert searching.cost(usage(three)).nano == 30_000 + 30_000_000
        assert searching.cost(usage({})).nano == 30_000
        assert searching.bound(10, 10, searches=3) == 30_000 + 30_000_000

    @pytest.mark.parametrize(
        ("told", "flag"), [(-3, "negative"), ("many", "not_a_count"), (10**13, "absurd")]
    )
    def test_of_an_impossible_number_are_no_usage(self, told, flag):
        cost = price(input=1, output=2, per_search="0.01").cost(usage({"num_search_queries": told}))
        assert (cost.nano, cost.flag) == (None, flag)


COUNTS = [name for name in Usage.__struct_fields__ if name != "extra"]
EVERY_KIND = Price(
    "all", [Band(0, {kind: D(n + 1) for n, kind in enumerate(KINDS)}, D(99), D(99))], per_search=D(1)
)


@given(
    st.lists(json_values() | st.integers(-5, 60), min_size=len(COUNTS), max_size=len(COUNTS)), json_values()
)
@example(counts=[None] * len(COUNTS), extra={})
@example(counts=[10**400] * len(COUNTS), extra={"num_search_queries": 10**400})
def test_no_json_in_a_usage_is_an_error_or_a_refund(counts, extra):
    anything = Usage(**dict(zip(COUNTS, counts, strict=True)), extra=extra)
    cost = EVERY_KIND.cost(anything)
    assert cost.nano is None or cost.nano >= 0
    assert (cost.nano is None) == (cost.flag not in (None, "overlap", "untold"))
    assert (EVERY_KIND.exact_nano(anything) is None) == (cost.nano is None)
