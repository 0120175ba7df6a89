"""Checked by mypy strict and by pyright, never run: the library as its users would write it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict, assert_type

from holdfast import ChatAnswer, ChatStream, Client, StreamChunk, SyncChatStream, SyncClient
from holdfast.client import ToolCallPiece
from holdfast.config import Config, load
from holdfast.ledger import MemoryLedger
from holdfast.model import (
    Choice,
    FinishReason,
    Message,
    OutputFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
)


class Turn(TypedDict):
    role: str
    content: str


async def ways_to_make_one(config: Config, ledger: MemoryLedger) -> None:
    Client()
    Client("holdfast.toml")
    Client(Path("holdfast.toml"), env={"KEY": "k"})
    Client({"providers": {"openai": {"api_key": "k"}}}, ledger=":memory:")
    Client(config, ledger=ledger)
    Client(load(None, {}), ledger=Path("calls.db"))
    Client(keys={"openai": "k"}, provider_priority=["deepseek", "openai"])
    async with Client() as client:
        assert_type(client, Client)
    await client.aclose()


async def whole(
    client: Client, turns: list[Turn], plain: list[dict[str, str]], loose: list[dict[str, Any]]
) -> None:
    answer = await client.chat("hi")
    assert_type(answer, ChatAnswer)
    assert_type(answer.text, str)
    assert_type(answer.tool_calls, tuple[ToolCall, ...])
    assert_type(answer.finish_reason, FinishReason | None)
    assert_type(answer.usage, Usage | None)
    assert_type(answer.cost_usd, Decimal | None)
    assert_type(answer.choices, tuple[Choice, ...])
    assert_type(answer.message, Message)
    assert_type(answer.finish_reason == "stop", bool)
    await client.chat(turns, "openai/gpt-5-mini")
    await client.chat(plain)
    await client.chat(loose)
    said = Message(role=Role.USER, parts=(Text(text="hi"),))
    await client.chat([said, answer.message])
    await client.chat([{"role": "user", "content": "hi"}, answer.message])
    await client.chat(
        "hi",
        tools=[{"type": "function", "function": {"name": "look"}}, Tool(name="find")],
        tool_choice="auto",
        response_format={"type": "json_object"},
        stop=["END"],
        tags={"env": "prod"},
        timeout=30,
        extra={"presence_penalty": 0.5},
    )


async def formats(client: Client, tools: list[Tool], choice: ToolChoice, output: OutputFormat) -> None:
    await client.chat("hi", tools=tools, tool_choice=choice, response_format=output)
    await client.chat("hi", tool_choice={"type": "function", "function": {"name": "look"}}, stop="END")


async def streamed(client: Client) -> None:
    async for chunk in client.stream("hi"):
        assert_type(chunk, StreamChunk)
        assert_type(chunk.index, int)
        assert_type(chunk.text, str)
        assert_type(chunk.provider, str)
        assert_type(chunk.finish_reason, FinishReason | None)
        assert_type(chunk.tool_calls, tuple[ToolCallPiece, ...])
    async with client.stream("hi") as answering:
        assert_type(answering, ChatStream)
        chunks: AsyncIterator[StreamChunk] = answering
        assert_type(await answering.answer(), ChatAnswer)
    del chunks


def who(client: Client) -> None:
    assert_type(client.fallback_chain, tuple[str, ...])
    assert_type(client.provider_priority, tuple[str, ...])
    assert_type(client.get_fallback_chain("chat"), tuple[str, ...])
    assert_type(client.next_provider({"openai"}), str | None)
    assert_type(client.provider_for("chat"), str)
    assert_type(client.is_provider_configured("openai"), bool)
    names: Sequence[str] = client.models
    del names


def synchronous() -> None:
    with SyncClient("holdfast.toml") as client:
        assert_type(client.chat("hi"), ChatAnswer)
        stream = client.stream("hi")
        assert_type(stream, SyncChatStream)
        chunks: Iterator[StreamChunk] = stream
        for chunk in client.stream("hi"):
            assert_type(chunk, StreamChunk)
        with stream as answering:
            assert_type(answering.answer(), ChatAnswer)
        assert_type(client.fallback_chain, tuple[str, ...])
    client.close()
    del chunks
