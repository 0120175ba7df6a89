"""A12, BU1: the most that an attempt can cost, known before it is sent, whatever its caller or its route says."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest

from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.engine.bounds import Bounds
from holdfast.engine.policy import Target
from holdfast.errors import CostUnbounded
from holdfast.providers.models import max_output
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.providers.unknown_price import UnknownPrice

DIALECT = OpenAIChat()
IN, OUT = 1_000, 2_000
"""Nano-dollars a token."""
BOOK = PriceBook(
    parse_overrides(
        {
            name: {"input_per_1m": Decimal(1), "output_per_1m": Decimal(2)}
            for name in ("one/m", "one/gpt-4o", "two/m")
        }
    )[0]
)
ONE, TWO = Target(provider="one", model="m"), Target(provider="two", model="m")
OPENAIS = Target(provider="openai", model="gpt-4o")
NOBODYS = Target(provider="one", model="unheard-of")
WINDOW = 100_000


def body(text="hi", **more):
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


def bounds_of(data, *, overrides=None, pricing=None, whole=False, free=False, limitless=False):
    return Bounds(
        DIALECT.read_request(data),
        book=BOOK,
        pricing=pricing or UnknownPrice(),
        started_ns=0,
        free=free,
        window=lambda target: WINDOW if target.provider == "one" else None,
        limitless=lambda target: limitless,
        whole=whole,
        overrides=overrides or {},
    )


def output_tokens(bounds, target=ONE):
    bill = bounds.of(target)
    return bill.tokens - bounds.input_tokens(target)


class TestOutput:
    @pytest.mark.parametrize(
        ("asked", "overrides", "output"),
        [
            ({"max_tokens": 100}, {}, 100),
            ({"max_completion_tokens": 100}, {}, 100),
            ({"max_completion_tokens": 10, "max_tokens": 9_000}, {}, 9_000),
            ({"max_tokens": 100, "n": 3}, {}, 300),
            ({"max_tokens": 100}, {"max_tokens": 9_000}, 9_000),
            ({"max_tokens": 100}, {"max_completion_tokens": 9_000}, 9_000),
            ({"max_tokens": 100}, {"max_tokens": 5, "max_completion_tokens": 7}, 7),
            ({"max_tokens": 100}, {"n": 4}, 400),
            ({"max_tokens": 100}, {"temperature": 0}, 100),
            ({"max_tokens": 0}, {}, 0),
        ],
    )
    def test_is_what_is_sent(self, asked, overrides, output):
        bounds = bounds_of(body(**asked), overrides=overrides)
        assert output_tokens(bounds) == output
        bill = bounds.of(ONE)
        assert bill.nano == bounds.input_tokens(ONE) * IN + output * OUT

    def test_a_target_sets_its_own_over_the_routes(self):
        bounds = bounds_of(body(max_tokens=5), overrides={"max_tokens": 50})
        assert output_tokens(bounds, Target(provider="one", model="m", set={"max_tokens": 500})) == 500
        assert output_tokens(bounds) == 50

    @pytest.mark.parametrize("asked", [{}, {"max_tokens": -1}])
    def test_no_limit_is_the_models_own(self, asked):
        known = Target(provider="one", model="gpt-4o")
        assert output_tokens(bounds_of(body(**asked)), known) == max_output("gpt-4o")
        assert bounds_of(body(**asked)).of(ONE).amount == (None, None)


class TestInput:
    @pytest.mark.parametrize("text", ["hi", "x" * 10_000, "\u4e2d\u6587" * 500, '"\\\n' * 100])
    def test_is_at_least_a_token_for_each_byte(self, text):
        data = body(text, max_tokens=1)
        assert bounds_of(data).input_tokens(ONE) >= len(data)

    def test_grows_with_what_is_sent(self):
        bounds = bounds_of(body(max_tokens=1))
        assert bounds.input_tokens(ONE, 5_000) - bounds.input_tokens(ONE, 4_000) == 1_000
        assert bounds.input_tokens(ONE, 1) == bounds.input_tokens(ONE), "a shorter one doesn't make it less"

    def test_each_image_counts(self):
        part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
        one, two = (bounds_of(body([part] * count, max_tokens=1)) for count in (1, 2))
        assert two.input_tokens(ONE) - one.input_tokens(ONE) > 3_000

    def test_an_image_spelt_as_numbers_counts(self):
        plain = bounds_of(body("x", max_tokens=1)).input_tokens(ONE)
        hidden = (
            rb'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\u0069m\u0061g\u0065"}]}'
        )
        assert bounds_of(hidden).input_tokens(ONE) - plain > 3_000

    def test_counting_makes_it_tighter(self):
        async def main():
            bounds = bounds_of(body("word " * 2_000, max_tokens=10))
            by_bytes = bounds.input_tokens(ONE)
            asked = DIALECT.codec.decode_request(body("word " * 2_000, max_tokens=10))
            assert await bounds.count(ONE, lambda: asked)
            assert 2_000 < bounds.input_tokens(ONE) < by_bytes
            assert bounds.input_tokens(TWO) == by_bytes, "of the target that it was counted for"
            assert not await bounds.count(ONE, lambda: asked), "once"

        asyncio.run(main())

    def test_what_the_route_adds_is_not_counted_away(self):
        async def main():
            added = {"user": "x" * 3_000}
            bounds = bounds_of(body("word " * 2_000, max_tokens=10), overrides=added)
            plain = bounds_of(body("word " * 2_000, max_tokens=10))
            asked = DIALECT.codec.decode_request(body("word " * 2_000, max_tokens=10))
            assert await bounds.count(OPENAIS, lambda: asked)
            await plain.count(OPENAIS, lambda: asked)
            assert bounds.input_tokens(OPENAIS) - plain.input_tokens(OPENAIS) > 3_000

        asyncio.run(main())

    def test_a_dialect_that_is_only_passed_through_is_not_counted(self):
        assert not asyncio.run(bounds_of(body(max_tokens=1)).count(ONE, lambda: None))


class TestUnseen:
    FILE = body([{"type": "file", "file": {"file_id": "f"}}], max_tokens=1)

    def test_is_refused_and_named(self):
        with pytest.raises(CostUnbounded, match=r'messages: file_id.*unbounded = "window"') as refused:
            bounds_of(self.FILE).look([ONE])
        assert refused.value.status == 402
        assert refused.value.param == "messages"

    def test_reserves_a_whole_window_on_top_of_what_is_seen(self):
        bounds = bounds_of(self.FILE, whole=True)
        before = bounds.input_tokens(ONE)
        bounds.look([ONE])
        assert bounds.input_tokens(ONE) == WINDOW + before
        assert not asyncio.run(bounds.count(ONE, lambda: None))

    def test_needs_a_window_that_somebody_knows(self):
        bounds = bounds_of(self.FILE, whole=True)
        bounds.look([ONE, TWO])
        bounds.check_price(ONE, limited=True)
        bounds.check_price(Target(provider="two", model="gpt-4o"), limited=False)
        with pytest.raises(CostUnbounded, match="the context window of two/m isn't known"):
            bounds.check_price(TWO, limited=True)

    @pytest.mark.parametrize("place", ["route", "target"])
    def test_is_found_in_what_is_set_as_well(self, place):
        found = {"web_search_options": {"search_context_size": "low"}}
        bounds = bounds_of(body(max_tokens=1), overrides=found if place == "route" else None)
        target = Target(provider="one", model="m", set=found if place == "target" else {})
        with pytest.raises(CostUnbounded, match="web_search_options"):
            bounds.look([TWO, target])

    def test_is_nothing_to_who_costs_nothing(self):
        bounds = bounds_of(self.FILE, free=True)
        bounds.look([ONE])
        assert bounds.of(ONE).amount == (0, 0)


class TestPrices:
    def test_unknown_matters_to_dollars_alone(self):
        bounds = bounds_of(body(max_tokens=1))
        bounds.check_price(NOBODYS, limited=False)
        bounds.check_price(ONE, limited=True)
        with pytest.raises(CostUnbounded, match="one/unheard-of"):
            bounds.check_price(NOBODYS, limited=True)

    def test_a_ceiling_is_a_price(self):
        pricing = UnknownPrice(ceiling_input=Decimal(3), ceiling_output=Decimal(4))
        bounds = bounds_of(body(max_tokens=10), pricing=pricing)
        bounds.check_price(NOBODYS, limited=True)
        assert bounds.of(NOBODYS).nano == bounds.input_tokens(NOBODYS) * 3_000 + 10 * 4_000


class TestLowering:
    def test_to_what_there_is_room_for(self):
        bounds = bounds_of(body(max_tokens=1_000, n=2))
        room = bounds.input_tokens(ONE) * IN + 2 * 100 * OUT
        assert bounds.affordable([ONE], room, None) == 100
        assert bounds.affordable([ONE], room + 2 * OUT - 1, None) == 100
        assert bounds.affordable([ONE], room + 2 * OUT, None) == 101
        assert bounds.affordable([ONE], 10**12, None) == 1_000, "never more than was asked for"

    def test_to_both_units(self):
        bounds = bounds_of(body(max_tokens=1_000))
        assert bounds.affordable([ONE], 10**12, bounds.input_tokens(ONE) + 70) == 70

    def test_without_a_price_where_only_tokens_are_limited(self):
        bounds = bounds_of(body(max_tokens=1_000))
        assert bounds.affordable([NOBODYS], None, bounds.input_tokens(NOBODYS) + 70) == 70
        assert bounds.affordable([NOBODYS], 10**12, None) is None

    def test_not_to_what_is_of_no_use(self):
        bounds = bounds_of(body(max_tokens=1_000))
        given = bounds.input_tokens(ONE) * IN
        assert bounds.affordable([ONE], given + 15 * OUT, None) is None
        assert bounds.affordable([ONE], given + 16 * OUT, None) == 16
        assert bounds.affordable([ONE], 0, None) is None
