"""Counting without asking anybody: texts, conversations, and whose tokens they are."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Client, SyncClient
from holdfast.errors import InvalidRequest, UnknownModel
from holdfast.model import Message, Role, Text
from holdfast.providers.tokens import Count, count_text

FOX = "The quick brown fox."
TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": FOX}]
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
]


def counted(messages, model, client=None, **more) -> Count:
    return asyncio.run((client or Client(env={})).count_tokens(messages, model, **more))


@pytest.mark.parametrize("model", ["gpt-5", "deepseek-v4-flash", "claude-opus-4-8", "gemini-3-flash-preview"])
def test_a_texts_bare_tokens_need_no_key(model):
    count = counted(FOX, model)
    assert count == count_text(FOX, model)
    assert (int(count), count.tokens <= count.upper) == (count.tokens, True)


def test_a_conversation_is_counted_with_what_its_provider_wraps_it_in():
    count = counted(TURNS, "gpt-4o")
    assert count.kind == "reconstructed"
    assert count.tokens > sum(count_text(turn["content"], "gpt-4o").tokens for turn in TURNS)
    values = [Message(role=Role.SYSTEM, parts=(Text(text="Be brief."),)), TURNS[1]]
    assert counted(values, "gpt-4o") == count


def test_with_tools_a_text_is_a_prompt():
    prompt = [{"role": "user", "content": FOX}]
    count = counted(FOX, "gpt-4o", tools=TOOLS)
    assert count == counted(prompt, "gpt-4o", tools=TOOLS)
    assert count.tokens > counted(prompt, "gpt-4o").tokens > counted(FOX, "gpt-4o").tokens


def test_a_route_is_counted_as_its_first_target():
    client = Client(
        {
            "providers": {"openai": {"api_key": "k"}, "anthropic": {"api_key": "k"}},
            "routes": {"best": {"targets": ["anthropic/claude-opus-4-8", "openai/gpt-5"]}},
        },
        env={},
    )
    assert counted(FOX, "BEST", client) == count_text(FOX, "claude-opus-4-8", "anthropic")


def test_a_provider_says_whose_an_unheard_model_is():
    client = Client({"providers": {"deepseek": {"api_key": "k"}}}, env={})
    assert counted(FOX, "deepseek/next", client) == count_text(FOX, "next", "deepseek")
    assert counted(FOX, "deepseek/next", client).kind == "exact"


def test_a_name_that_nobody_knows_is_said_and_not_guessed():
    with pytest.raises(UnknownModel):
        counted(FOX, "gtp-5")


def test_what_is_no_conversation_is_refused_by_its_place():
    with pytest.raises(InvalidRequest) as caught:
        counted([{"role": "user"}], "gpt-4o")
    assert caught.value.param == "messages[0].content"


def test_the_synchronous_twin_counts_the_same():
    with SyncClient(env={}) as client:
        assert client.count_tokens(FOX, "gpt-5") == count_text(FOX, "gpt-5")
        assert client.count_tokens(TURNS, "gpt-5").kind == "reconstructed"


def test_a_large_text_lets_the_loop_go_on():
    async def main() -> int:
        async with Client(env={}) as client:
            await client.count_tokens("a", "gpt-5")  # the tokenizer is there
            counting = asyncio.create_task(client.count_tokens("word and 12 " * 50_000, "gpt-5"))
            turns = 0
            while not counting.done():
                await asyncio.sleep(0)
                turns += 1
            assert (await counting).tokens > 150_000
            return turns

    assert asyncio.run(main()) > 10
