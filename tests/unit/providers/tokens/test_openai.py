"""OpenAI's counts: of texts against tiktoken, of requests against what was billed."""

import json
from statistics import quantiles

import pytest
from benchmarks.billed import all_visible, billed
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.providers.tokens.published import independent
from tests.unit.providers.tokens.responses import request_of
from tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING

from holdfast.model import (
    Image,
    Message,
    OutputFormat,
    OutputKind,
    Reasoning,
    Request,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from holdfast.providers.tokens import Count, count_request, count_text, encoding_for

SHIPPED = {"cl100k_base": "cl100k_base", "o200k_base": "o200k_base", "o200k_harmony": "o200k_base"}
"""tiktoken's encodings that come with us; the last is the second with more special tokens."""


def said(*texts, role=Role.USER):
    return Message(role=role, parts=tuple(Text(text=text) for text in texts))


def asked(*messages, model="gpt-4o", **more):
    return Request(model=model, messages=messages, **more)


def tokens(request, model=None):
    return count_request(request, model or request.model).tokens


class TestEncodings:
    @pytest.mark.parametrize("model", [model for model, name in MODEL_TO_ENCODING.items() if name in SHIPPED])
    def test_models_have_the_encoding_that_tiktoken_says(self, model):
        assert encoding_for(model) == SHIPPED[MODEL_TO_ENCODING[model]]

    @pytest.mark.parametrize(
        "beginning", [each for each, name in MODEL_PREFIX_TO_ENCODING.items() if name in SHIPPED]
    )
    def test_so_have_those_that_begin_like_them(self, beginning):
        if beginning in ("ft:davinci-002", "ft:babbage-002"):
            beginning += ":acme::id"
        assert (
            encoding_for(f"{beginning}2026-01-01")
            == SHIPPED[MODEL_PREFIX_TO_ENCODING[beginning.split(":acme")[0]]]
        )

    @pytest.mark.parametrize(
        "model",
        [
            "gpt-5.6-sol",
            "gpt-6-luna",
            "o3",
            "o4-mini",
            "gpt-4.5-preview",
            "gpt-realtime",
            "ft:gpt-4.1-mini:acme::id",
        ],
    )
    def test_newer_ones_have_the_newer(self, model):
        assert encoding_for(model) == "o200k_base"

    @pytest.mark.parametrize("written", ["GPT-4", "openai/gpt-4", "models/GPT-4", "openrouter/openai/Gpt-4"])
    def test_however_they_are_written(self, written):
        assert encoding_for(written) == "cl100k_base"
        assert count_text("naïve déjà-vu", written) == count_text("naïve déjà-vu", "gpt-4")

    @pytest.mark.parametrize(
        "model", ["claude-opus-4-8", "gpt-neo-2.7b", "gpt-j", "text-davinci-003", "openchat", ""]
    )
    def test_nobody_elses_model_has_one(self, model):
        assert encoding_for(model) is None

    def test_what_openai_alone_knows_is_counted_by_the_newest_and_bounded_by_bytes(self):
        assert count_text("déjà vu", "mystery-7", "openai") == Count(3, "calibrated", 9)
        assert count_text("déjà vu", "my-deployment", "Azure") == Count(3, "calibrated", 9)
        assert count_text("", "mystery-7", "openai") == Count(0, "calibrated", 0)
        request = asked(said("déjà vu"), model="mystery-7")
        count = count_request(request, "mystery-7", "openai")
        assert count.kind == "calibrated"
        assert count.upper > count_request(request, "gpt-5").upper


class TestText:
    @given(st.text())
    @example("<|endoftext|> <|im_start|>system<|im_end|>")
    @example("a" * 100_000)
    @example("\ud800 half a pair \udfff")
    def test_it_is_what_tiktoken_says(self, text):
        for model, name in (("gpt-4", "cl100k_base"), ("gpt-5", "o200k_base")):
            count = len(independent(name).encode_ordinary(text))
            assert count_text(text, model) == Count(count, "exact", count)

    def test_what_looks_like_a_special_token_is_text(self):
        assert count_text("<|endoftext|>", "gpt-4o").tokens == 7
        assert count_text("<|endoftext|>", "gpt-4").tokens == 7

    def test_half_a_pair_is_a_replacement_character(self):
        assert count_text("\ud83d", "gpt-4o") == count_text("\ufffd", "gpt-4o")


CHATS = [
    each for each in billed() if each.provider == "openai" and each.request is not None and all_visible(each)
]
RESPONSES = [
    (each, request)
    for each in billed()
    if each.provider == "openai" and each.request is None and all_visible(each)
    if (request := request_of(json.loads(each.body))) is not None
]
BEFORE = (
    # Recorded in the first weeks of the Responses API, which had a longer prompt then.
    "test_openai_responses_model_retry", "test_openai_responses_output_type", "test_openai_responses_system_prompt",
    # Put together by hand, with another model's bill.
    "test_openai_responses_verbosity",
)  # fmt: skip


class TestBills:
    def test_there_are_enough_of_both(self):
        assert len(CHATS) >= 25
        assert len(RESPONSES) >= 20

    def test_most_chats_are_counted_to_the_token_and_none_is_far_off(self):
        off = [abs(tokens(each.request, each.model) - each.tokens) for each in CHATS]
        assert off.count(0) >= 0.6 * len(off)
        assert max(off) <= 3

    def test_so_are_responses(self):
        fair = [(each, request) for each, request in RESPONSES if not any(test in each.id for test in BEFORE)]
        off = [(abs(tokens(request, each.model) - each.tokens), each.tokens) for each, request in fair]
        assert [wrong for wrong, _ in off].count(0) >= 0.6 * len(off)
        assert quantiles([wrong / bill for wrong, bill in off], n=20)[-1] <= 0.05
        assert max(wrong for wrong, _ in off) <= 4

    def test_no_bill_passes_the_bound(self):
        for each, request in [*((each, each.request) for each in CHATS), *RESPONSES]:
            count = count_request(request, each.model)
            assert 1 <= count.tokens <= count.upper
            if not count.unseen:
                assert each.tokens <= count.upper, each.id


class TestFormula:
    """What is known beyond the recordings, piece by piece."""

    def test_a_message_is_its_text_and_seven(self):
        assert tokens(asked(said("hello"))) == 8
        assert tokens(asked(said("hello"), model="gpt-5")) == 7
        assert tokens(asked(said("hello"), said("hello"))) == 13

    def test_parts_of_a_message_cost_nothing_by_themselves(self):
        assert tokens(asked(said("hello", " world"))) == tokens(asked(said("hello world")))

    def test_a_name_is_itself_and_one(self):
        named = Message(role=Role.USER, parts=(Text(text="hello"),), name="ada")
        assert tokens(asked(named)) == tokens(asked(said("hello"))) + count_text("ada", "gpt-4o").tokens + 1

    def test_tools_join_a_system_prompt(self):
        tool = Tool(name="f")
        alone = tokens(asked(said("hi"), tools=(tool,))) - tokens(asked(said("hi")))
        system = said("Be brief.", role=Role.SYSTEM)
        beside = tokens(asked(system, said("hi"), tools=(tool,))) - tokens(asked(system, said("hi")))
        assert alone - beside == 4

    def test_a_call_and_its_result_name_the_tool_twice(self):
        call = Message(role=Role.ASSISTANT, parts=(ToolCall(id="call_1", name="lookup", arguments="{}"),))
        result = Message(role=Role.TOOL, parts=(ToolResult(call_id="call_1", parts=(Text(text="42"),)),))
        added = tokens(asked(said("hi"), call, result)) - tokens(asked(said("hi")))
        assert added == 13 + 2 * count_text("lookup", "gpt-4o").tokens + 2

    def test_a_schema_is_its_json(self):
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        output = OutputFormat(kind=OutputKind.JSON_SCHEMA, name="r", schema=schema)
        said_as = count_text(json.dumps(schema, separators=(",", ":")), "gpt-4o").tokens
        system = said("Be brief.", role=Role.SYSTEM)
        assert tokens(asked(system, output=output)) - tokens(asked(system)) == said_as + 1
        assert tokens(asked(said("hi"), output=output)) - tokens(asked(said("hi"))) == said_as + 5
        assert tokens(asked(said("hi"), output=OutputFormat(kind=OutputKind.JSON_OBJECT))) == tokens(
            asked(said("hi"))
        )

    def test_half_a_pair_anywhere_is_counted(self):
        half = "\ud83d"
        schema = {"type": "object", "properties": {half: {"enum": [half], "description": half}}}
        request = asked(
            said(half),
            Message(role=Role.USER, parts=(ToolCall(name=half, arguments=half),), name=half),
            tools=(Tool(name=half, description=half, parameters=schema),),
            output=OutputFormat(kind=OutputKind.JSON_SCHEMA, name=half, schema=schema),
        )
        for model in ("gpt-4o", "gpt-5", "mystery-7"):
            count = count_request(request, model, "openai")
            assert 0 < count.tokens <= count.upper

    def test_a_tool_that_is_searched_for_is_in_the_bound_alone(self):
        deferred = asked(
            said("hi"), tools=(Tool(name="f", description="d" * 500, extra={"defer_loading": True}),)
        )
        assert tokens(deferred) == tokens(asked(said("hi")))
        assert count_request(deferred, "gpt-5").upper > count_request(asked(said("hi")), "gpt-5").upper + 500

    def test_thoughts_are_in_the_bound_alone(self):
        thought = Message(role=Role.ASSISTANT, parts=(Reasoning(text="hm " * 50, encrypted="e" * 900),))
        with_it = count_request(asked(said("hi"), thought), "gpt-5")
        without = count_request(asked(said("hi")), "gpt-5")
        assert with_it.upper >= without.upper + 50 + 900

    def test_a_choice_of_tools_costs_nothing(self):
        tools = (Tool(name="f"), Tool(name="g"))
        named = ToolChoice(mode=ToolMode.NAMED, names=("f",))
        assert tokens(asked(said("hi"), tools=tools, tool_choice=named)) == tokens(
            asked(said("hi"), tools=tools)
        )

    def test_a_picture_by_address_is_unseen_and_one_in_the_request_counted(self):
        pixel = (
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        )
        there = Message(role=Role.USER, parts=(Image(url="https://example.com/a.png"),))
        here = Message(role=Role.USER, parts=(Image(data=pixel, media_type="image/png"),))
        assert count_request(asked(there), "gpt-4o").unseen
        count = count_request(asked(here), "gpt-4o")
        assert not count.unseen
        assert count.tokens == 3 + 4 + 85 + 170
        assert count.upper >= count.tokens

    def test_the_search_previews_are_billed_for_the_bare_text(self):
        assert tokens(asked(said("hello"), model="gpt-4o-search-preview")) == 1

    def test_an_empty_request_has_a_beginning(self):
        count = count_request(asked(), "gpt-4o")
        assert (count.tokens, count.kind) == (3, "reconstructed")


tools_and_texts = st.builds(
    lambda texts, tools, model: asked(*(said(text) for text in texts), model=model, tools=tools),
    st.lists(st.text(), max_size=4),
    st.lists(
        st.builds(
            lambda name, description, fields: Tool(
                name=name,
                description=description,
                parameters={"type": "object", "properties": {field: {"type": "string"} for field in fields}},
            ),
            st.text(min_size=1, max_size=30),
            st.none() | st.text(max_size=200),
            st.lists(st.text(max_size=20), max_size=5),
        ),
        max_size=3,
    ).map(tuple),
    st.sampled_from(["gpt-4", "gpt-4o", "gpt-5", "o3", "gpt-7"]),
)


@given(tools_and_texts)
def test_the_guess_never_passes_the_bound_nor_falls_below_the_texts(request):
    count = count_request(request, request.model, "openai")
    texts = [part.text for message in request.messages for part in message.parts]
    assert (
        sum(count_text(text, request.model, "openai").tokens for text in texts) < count.tokens <= count.upper
    )
    assert count == count_request(request, request.model, "openai"), "and it is always the same"
