"""What providers billed for requests that were recorded (``tests/wire/recordings``), beside those requests."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.gemini import Gemini
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.model.content import Text
from holdfast.model.fold import fold
from holdfast.model.request import Request  # noqa: TC001  # msgspec reads the annotations at run time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.dialects.base import Dialect
    from holdfast.model.answer import Answer

__all__ = ["Answered", "Billed", "all_visible", "answered", "billed", "counts_of", "exchanges"]

RECORDINGS = Path(__file__).resolve().parent.parent / "tests" / "wire" / "recordings"
FILES = {
    "anthropic": "anthropic",
    "azure_chat": "azure",
    "deepseek_chat": "deepseek",
    "gemini": "gemini",
    "openai_chat": "openai",
    "openrouter_chat": "openrouter",
    "responses": "openai",
}


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    provider: str
    model: str
    second: bool
    """Of the half in which weights of texts weren't fitted. Tests' names decide: exchanges of one resemble each other."""


class Billed(Exchange, frozen=True, kw_only=True):
    """A request and its bill."""

    body: bytes
    request: Request | None
    """None of a dialect that has no neutral form: Responses."""
    tokens: int


class Answered(Exchange, frozen=True, kw_only=True):
    """An answer that is text and nothing else, and its bill."""

    text: str
    tokens: int


@cache
def billed() -> tuple[Billed, ...]:
    """Every recorded request whose input was billed."""
    return tuple(each for each in map(_billed, exchanges()) if each is not None)


@cache
def answered() -> tuple[Answered, ...]:
    """Every different recorded answer of text alone, of 30 billed tokens or more."""
    found = {each.text: each for each in map(_answered, exchanges()) if each is not None}
    return tuple(each for each in found.values() if each.tokens >= 30)


def exchanges() -> Iterator[dict[str, Any]]:
    """The recorded exchanges that were answered, each with its ``provider`` and ``model``."""
    for name, provider in FILES.items():
        for line in (RECORDINGS / f"{name}.jsonl").read_text(encoding="utf-8").split("\n"):
            exchange = json.loads(line) if line else {}
            if exchange.get("status") == 200:
                model = exchange["request"].get("model") or _model_in(exchange["path"])
                yield {"provider": provider, **exchange, "model": model}


def _model_in(path: str) -> str:
    return path.rpartition("/models/")[2].partition(":")[0]


def _dialect(path: str) -> Dialect | None:
    if "/messages" in path:
        return Anthropic()
    if "enerateContent" in path:
        return Gemini()
    return OpenAIChat() if path.endswith("/chat/completions") else None


def _billed(exchange: dict[str, Any]) -> Billed | None:
    dialect = _dialect(exchange["path"])
    body = msgspec.json.encode(exchange["request"])
    if dialect is None:
        request, tokens = None, _last_usage(exchange)
    else:
        request = dialect.codec.decode_request(body)
        tokens = (exchange.get("response") or {}).get("input_tokens")  # of a count_tokens
        if tokens is None:
            usage = _answer(dialect, exchange).usage
            tokens = usage.input_tokens if usage is not None else None
    if not tokens:  # one provider bills 0 for a video
        return None
    return Billed(**_named(exchange), body=body, request=request, tokens=tokens)


def _answered(exchange: dict[str, Any]) -> Answered | None:
    dialect = _dialect(exchange["path"])
    if dialect is None or exchange["path"].endswith("count_tokens"):
        return None
    answer = _answer(dialect, exchange)
    usage = answer.usage
    parts = [part for choice in answer.choices for part in choice.parts]
    if usage is None or not usage.output_tokens or not all(isinstance(part, Text) for part in parts):
        return None
    if len(answer.choices) != 1 or (usage.reasoning_tokens and exchange["provider"] != "gemini"):
        return None
    tokens = usage.output_tokens - (usage.reasoning_tokens or 0)
    return Answered(**_named(exchange), text=answer.choices[0].text, tokens=tokens)


def _answer(dialect: Dialect, exchange: dict[str, Any]) -> Answer:
    if "stream" in exchange:
        decoder = dialect.codec.stream_decoder()
        return fold([*decoder.feed(exchange["stream"].encode()), *decoder.finish()])
    return dialect.codec.decode_answer(msgspec.json.encode(exchange["response"]))


def _last_usage(exchange: dict[str, Any]) -> int | None:
    """Of a Responses exchange."""
    said = json.dumps(exchange["response"]) if "response" in exchange else exchange["stream"]
    found = re.findall(r'"input_tokens": ?(\d+)', said)
    return int(found[-1]) if found else None


def _named(exchange: dict[str, Any]) -> dict[str, Any]:
    test = re.split(r"[\[#]", exchange["id"])[0]
    return {
        "id": exchange["id"],
        "provider": exchange["provider"],
        "model": exchange["model"],
        "second": hashlib.sha256(test.encode()).digest()[0] % 2 == 1,
    }


_HIDDEN = re.compile(
    rb'"(previous_response_id|conversation|file_ids?|file_url|fileUri|fileData|cachedContent|container|web_search_options|mcp_servers'
    rb'|item_reference|preset|plugins|input_audio|inlineData|inline_data)"'
    rb'|"type":"(web_search|web_fetch|file_search|code_interpreter|code_execution|image_generation|mcp|computer|tool_search'
    rb"|advisor|compaction|url|document|image|input_image|image_url|input_file|file)"
    rb'|"url":"http|google_?[sS]earch|urlContext|codeExecution|"mode":"pro"'
)
"""What says that more was read than stands in the body: references, media, tools that the provider runs, and an effort
(``pro``) at which a model reads its own drafts."""


def all_visible(exchange: Billed) -> bool:
    """Whether all that was billed stands in the body, as text."""
    return _HIDDEN.search(exchange.body) is None and "-search" not in exchange.model


def counts_of(body: bytes) -> tuple[int, int]:
    """How many tools and messages ``body`` has, in any dialect."""
    fields = json.loads(body)
    tools = fields.get("tools") or []
    tools = [tools] if isinstance(tools, dict) else tools
    declared = [
        each.get("functionDeclarations") or each.get("function_declarations") or [1] for each in tools
    ]
    said = fields.get("messages") or fields.get("contents") or fields.get("input")
    return sum(map(len, declared)), len(said) if isinstance(said, list) else 1
