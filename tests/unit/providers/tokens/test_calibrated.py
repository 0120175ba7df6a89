"""Counts that are calibrated: which family counts a model, what it counts, and what its bound is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model import Image, Message, Opaque, Reasoning, Request, Role, Text, Tool, ToolCall, ToolResult
from holdfast.model.content import File
from holdfast.model.request import (
    OpaqueTool,
    OutputFormat,
    OutputKind,
    ReasoningOptions,
    ToolChoice,
    ToolMode,
)
from holdfast.providers.tokens import count_request, count_text, counter_for

MODELS = (
    "claude-sonnet-4-5",
    "claude-opus-4-8",
    "gemini-2.5-flash",
    "gemini-3-pro",
    "deepseek-v4-pro",
    "llama-9",
)
PROSE = (
    "The gateway keeps its promises when providers fail, and it ships the proof of that with every release. "
    * 20
)
TOOL = Tool(
    name="weather", description="The weather", parameters={"type": "object", "properties": {"city": {}}}
)


def asked(*parts, model="m", role=Role.USER, **fields):
    return Request(model=model, messages=(Message(role=role, parts=parts or (Text(text="hi"),)),), **fields)


class TestText:
    @pytest.mark.parametrize("model", MODELS)
    def test_empty_is_nothing_and_anything_else_is_something(self, model):
        assert count_text("", model).tokens == count_text("", model).upper == 0
        for text in (" ", "a", "\n", "\x00", "日", "\ud800"):
            assert 1 <= count_text(text, model).tokens <= count_text(text, model).upper

    @given(st.text(), st.sampled_from(MODELS))
    def test_no_more_tokens_than_bytes(self, text, model):
        count = count_text(text, model)
        assert 0 <= count.tokens <= count.upper <= len(text.encode())

    @given(st.text(), st.text(), st.sampled_from(MODELS))
    def test_nearly_additive(self, one, other, model):
        """What merges or comes apart at the seam is a few characters' tokens."""
        apart = count_text(one, model) + count_text(other, model)
        together = count_text(one + other, model)
        assert abs(together.tokens - apart.tokens) <= 16
        assert together.upper <= apart.upper + 16

    @given(st.text(), st.text(min_size=1), st.sampled_from([m for m in MODELS if "deepseek" not in m]))
    def test_more_text_has_a_higher_bound(self, text, more, model):
        assert count_text(text + more, model).upper > count_text(text, model).upper

    def test_a_bound_is_in_bytes(self):
        assert count_text("日本語 é", "claude-opus-4-8").upper == 12
        assert count_request(asked(Text(text="日" * 1_000)), "gemini-3-pro").upper > 3_000

    def test_the_tokenizer_of_2026_needs_a_third_more(self):
        older, newer = (count_text(PROSE, model).tokens for model in ("claude-sonnet-4-6", "claude-opus-4-7"))
        assert 1.25 <= newer / older <= 1.4

    @pytest.mark.parametrize(
        ("model", "newer"),
        [
            ("claude-3-opus-latest", False),
            ("claude-3-5-haiku-20241022", False),
            ("claude-sonnet-4-20250514", False),
            ("claude-sonnet-4-5-20250929", False),
            ("anthropic/claude-sonnet-4.6", False),
            ("claude-opus-4-6", False),
            ("claude-opus-4-7", True),
            ("anthropic/claude-opus-4.8", True),
            ("claude-sonnet-5", True),
            ("claude-haiku-5-5", True),
            ("claude-fable-5-1", True),
            ("claude-opus-10-2", True),
            ("claude-next", True),
        ],
    )
    def test_which_claude_has_which(self, model, newer):
        assert count_text(PROSE, model) == count_text(
            PROSE, "claude-opus-4-7" if newer else "claude-opus-4-6"
        )

    def test_gemini_takes_digits_one_by_one(self):
        digits = "31415926535897932384626433832795" * 10
        assert count_text(digits, "gemini-2.5-pro").tokens == len(digits)

    def test_an_unknown_model_is_counted_by_its_provider(self):
        assert counter_for("my-tune", "anthropic") == counter_for("claude-next")
        assert counter_for("my-tune", "somebody") == counter_for("llama-9")

    def test_a_hundred_thousand_characters_are_counted_whatever_they_are(self):
        for unit in ("a", " ", "1", "日", "\n", "\u200d"):
            for model in ("claude-opus-4-8", "gemini-2.5-flash"):
                count = count_text(unit * 100_000, model)
                assert 0 < count.tokens <= count.upper


class TestRequest:
    @pytest.mark.parametrize("model", MODELS)
    def test_everything_more_raises_the_bound_and_never_lowers_the_count(self, model):
        smaller = count_request(asked(), model)
        for larger in (
            asked(Text(text="hi"), Text(text="there")),
            asked(tools=(TOOL,)),
            asked(Text(text="hi"), ToolCall(name="weather", arguments='{"city": "Bern"}')),
            asked(Text(text="hi"), ToolResult(call_id="1", parts=(Text(text="sunny"),))),
            asked(output=OutputFormat(kind=OutputKind.JSON_SCHEMA, name="x", schema={"type": "object"})),
        ):
            count = count_request(larger, model)
            assert count.upper > smaller.upper
            assert count.tokens >= smaller.tokens
            assert not count.unseen

    @pytest.mark.parametrize("model", MODELS)
    def test_an_empty_request_is_bounded_too(self, model):
        count = count_request(Request(model=model, messages=()), model)
        assert 1 <= count.tokens <= count.upper

    def test_tools_bring_the_prompt_that_teaches_calling(self):
        without, called = (
            count_request(asked(tools=tools), "claude-sonnet-4-5").tokens for tools in ((), (TOOL,))
        )
        assert 450 <= called - without <= 600
        forced = asked(tools=(TOOL,), tool_choice=ToolChoice(mode=ToolMode.REQUIRED))
        assert count_request(forced, "claude-sonnet-4-5").tokens - called == 92

    def test_thinking_adds_to_the_older_claude(self):
        thinking = asked(reasoning=ReasoningOptions(enabled=True, budget_tokens=2_000))
        assert (
            count_request(thinking, "claude-sonnet-4-5").tokens
            - count_request(asked(), "claude-sonnet-4-5").tokens
            == 28
        )

    def test_a_tool_that_is_only_searched_for_counts_in_the_bound_alone(self):
        deferred = Tool(name="other", description=PROSE, extra={"defer_loading": True})
        few, more = (
            count_request(asked(tools=tools), "claude-sonnet-4-6") for tools in ((TOOL,), (TOOL, deferred))
        )
        assert more.tokens == few.tokens
        assert more.upper > few.upper + len(PROSE)

    def test_thoughts_of_turns_that_are_over_count_where_they_are_kept(self):
        def history(last):
            said = Message(
                role=Role.ASSISTANT, parts=(Reasoning(text=PROSE, signature="s" * 900), Text(text="yes"))
            )
            return Request(model="m", messages=(*asked().messages, said, *last))

        over = history(asked(Text(text="and?")).messages)
        result = Message(role=Role.USER, parts=(ToolResult(call_id="1", parts=(Text(text="ok"),)),))
        under_way = history((result,))
        thought = count_text(PROSE, "claude-sonnet-4-5").tokens
        assert (
            count_request(over, "claude-sonnet-4-5").tokens
            < thought
            < count_request(under_way, "claude-sonnet-4-5").tokens
        )
        assert count_request(over, "claude-opus-4-8").tokens > thought
        for request in (over, under_way):
            assert count_request(request, "claude-sonnet-4-5").upper > len(PROSE) + 900

    def test_sealed_thoughts_are_bounded_by_their_length(self):
        call = ToolCall(name="f", arguments="{}", signature="s" * 5_000)
        assert 1_000 <= count_request(asked(call), "gemini-3-flash-preview").tokens <= 1_100
        assert count_request(asked(call), "gemini-2.5-flash").tokens < 100
        for model in MODELS:
            assert count_request(asked(call), model).upper >= 5_000

    @pytest.mark.parametrize("model", MODELS)
    @pytest.mark.parametrize(
        "request_",
        [
            asked(Image(url="https://example.org/a.png")),
            asked(File(data="JVBERi0=", media_type="application/pdf")),
            asked(Text(text="hi"), Opaque(dialect="anthropic", data={"type": "server_tool_use"})),
            asked(ToolResult(call_id="1", parts=(Image(file_id="f"),))),
            asked(tools=(OpaqueTool(dialect="gemini", data={"google_search": {}}),)),
            asked(extra={"cachedContent": "cachedContents/1"}),
            asked(extra={"previous_response_id": "r"}),
        ],
    )
    def test_what_isnt_here_has_no_bound_and_says_so(self, model, request_):
        assert count_request(request_, model).unseen

    @given(st.lists(st.text(), max_size=4), st.sampled_from(MODELS))
    def test_no_more_than_its_bound_whatever_is_said(self, texts, model):
        count = count_request(asked(*(Text(text=text) for text in texts)), model)
        assert 1 <= count.tokens <= count.upper
