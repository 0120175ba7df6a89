"""Three official SDKs behind one face, so that one test asks all of them the same: what was said, in words of no dialect."""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import anthropic
import openai
from google import genai
from google.genai import errors as google_errors
from google.genai import types as google

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["IMAGE", "SCHEMA", "SDKS", "TOOL", "Call", "Failure", "Said", "Sdk", "Turn"]

IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOL: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
"""Parameters of ``get_weather``, the tool that every test brings."""


@dataclass(frozen=True)
class Call:
    """A tool call as the SDK gave it."""

    id: str | None
    name: str
    arguments: dict[str, Any]


@dataclass
class Said:
    """An answer, whole or put together from a stream by the SDK's own rules."""

    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    finish: str = ""
    """``stop``, ``length`` or ``tool_calls``, whatever the dialect's word is."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    model: str = ""
    turn: Any = None
    """The SDK's own value to append to the conversation."""


@dataclass(frozen=True)
class Failure:
    """What the SDK raised."""

    status: int | None
    message: str
    body: Any


@dataclass(frozen=True)
class Turn:
    """What to ask."""

    prompt: str = "hi"
    system: str | None = None
    tools: bool = False
    image: bool = False
    schema: bool = False
    thinking: bool = False
    stream: bool = False
    max_tokens: int = 100
    before: tuple[Any, ...] = ()
    """(the SDK's own) earlier turns."""
    results: tuple[tuple[Call, str], ...] = ()
    """Results for the calls of the last earlier turn; they go instead of a prompt."""


class Sdk:
    """One SDK, pointed at a gateway."""

    name: ClassVar[str]
    client: Any

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def ask(self, model: str, turn: Turn) -> Said:
        """Raises Refused."""
        raise NotImplementedError

    def prompt(self, turn: Turn) -> list[Any]:
        """The last message of a turn, in the SDK's words."""
        raise NotImplementedError


class Refused(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class OpenAI(Sdk):
    name = "openai"

    def __init__(self, url: str) -> None:
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def prompt(self, turn: Turn) -> list[Any]:
        if turn.results:
            return [
                {"role": "tool", "tool_call_id": call.id, "content": result} for call, result in turn.results
            ]
        if not turn.image:
            return [{"role": "user", "content": turn.prompt}]
        url = "data:image/png;base64," + base64.b64encode(IMAGE).decode()
        return [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": turn.prompt},
                    {"type": "image_url", "image_url": {"url": url}},
                ],
            }
        ]

    def ask(self, model: str, turn: Turn) -> Said:
        system = [{"role": "system", "content": turn.system}] if turn.system else []
        asked: dict[str, Any] = {
            "model": model,
            "max_completion_tokens": turn.max_tokens,
            "messages": [*system, *turn.before, *self.prompt(turn)],
        }
        if turn.tools:
            function = {"name": "get_weather", "description": "Weather.", "parameters": TOOL}
            asked["tools"] = [{"type": "function", "function": function}]
        if turn.thinking:
            asked["reasoning_effort"] = "medium"
        if turn.schema:
            asked["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": SCHEMA, "strict": True},
            }
        try:
            if turn.stream:
                return self._stream(asked)
            return self._plain(asked)
        except openai.APIStatusError as error:
            raise Refused(Failure(error.status_code, error.message, error.body)) from error
        except openai.APIError as error:
            raise Refused(Failure(None, error.message, error.body)) from error

    def _plain(self, asked: dict[str, Any]) -> Said:
        answer = self.client.chat.completions.create(**asked)
        (choice,) = answer.choices
        message = choice.message
        calls = [
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or []
        ]
        assert answer.usage is not None
        return Said(
            text=message.content or "",
            reasoning=_thoughts(message.model_extra or {}),
            calls=calls,
            finish=choice.finish_reason,
            input_tokens=answer.usage.prompt_tokens,
            output_tokens=answer.usage.completion_tokens,
            model=answer.model,
            turn=message.model_dump(exclude_none=True),
        )

    def _stream(self, asked: dict[str, Any]) -> Said:
        said = Said()
        arguments: dict[int, list[Any]] = {}
        details: list[dict[str, Any]] = []
        stream = self.client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        for chunk in stream:
            said.model = chunk.model
            if chunk.usage is not None:
                said.input_tokens = chunk.usage.prompt_tokens
                said.output_tokens = chunk.usage.completion_tokens
            for choice in chunk.choices:
                delta = choice.delta
                said.text += delta.content or ""
                more = delta.model_extra or {}
                said.reasoning += _thoughts(more)
                details += more.get("reasoning_details") or []
                for call in delta.tool_calls or []:
                    known = arguments.setdefault(call.index, [None, "", "", None])
                    known[0] = call.id or known[0]
                    if call.function is not None:
                        known[1] += call.function.name or ""
                        known[2] += call.function.arguments or ""
                    known[3] = (call.model_extra or {}).get("extra_content") or known[3]
                said.finish = choice.finish_reason or said.finish
        said.calls = [Call(known[0], known[1], json.loads(known[2])) for known in arguments.values()]
        said.turn = {"role": "assistant", "content": said.text or None}
        if arguments:
            said.turn["tool_calls"] = [
                {
                    "id": known[0],
                    "type": "function",
                    "function": {"name": known[1], "arguments": known[2]},
                    **({"extra_content": known[3]} if known[3] else {}),
                }
                for known in arguments.values()
            ]
        if details:
            said.turn["reasoning_details"] = _joined(details)
        return said


def _thoughts(extra: dict[str, Any]) -> str:
    """DeepSeek's name, else OpenRouter's; OpenAI's SDK has none."""
    return extra.get("reasoning_content") or extra.get("reasoning") or ""


def _joined(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pieces of thoughts put together by their type and index, as OpenRouter says to."""
    out: dict[tuple[Any, Any], dict[str, Any]] = {}
    for detail in details:
        known = out.setdefault((detail.get("type"), detail.get("index")), {})
        for name, value in detail.items():
            grows = name in ("text", "summary", "data", "signature") and isinstance(known.get(name), str)
            known[name] = known[name] + (value or "") if grows else value
    return list(out.values())


class Anthropic(Sdk):
    name = "anthropic"

    def __init__(self, url: str) -> None:
        self.client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)

    def prompt(self, turn: Turn) -> list[Any]:
        if turn.results:
            blocks = [
                {"type": "tool_result", "tool_use_id": call.id, "content": result}
                for call, result in turn.results
            ]
            return [{"role": "user", "content": blocks}]
        content: list[dict[str, Any]] = [{"type": "text", "text": turn.prompt}]
        if turn.image:
            data = base64.b64encode(IMAGE).decode()
            content.append(
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
            )
        return [{"role": "user", "content": content}]

    def ask(self, model: str, turn: Turn) -> Said:
        asked: dict[str, Any] = {
            "model": model,
            "max_tokens": turn.max_tokens,
            "messages": [*turn.before, *self.prompt(turn)],
        }
        if turn.system:
            asked["system"] = turn.system
        if turn.tools:
            asked["tools"] = [{"name": "get_weather", "description": "Weather.", "input_schema": TOOL}]
        if turn.thinking:
            asked["thinking"] = {"type": "adaptive"}
        if turn.schema:
            asked["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        try:
            if not turn.stream:
                return self._said(self.client.messages.create(**asked))
            with self.client.messages.stream(**asked) as stream:
                return self._said(stream.get_final_message())
        except anthropic.APIStatusError as error:
            raise Refused(Failure(error.status_code, error.message, error.body)) from error
        except anthropic.APIError as error:
            raise Refused(Failure(None, error.message, error.body)) from error

    def _said(self, message: Any) -> Said:
        said = Said(model=message.model)
        for block in message.content:
            if block.type == "text":
                said.text += block.text
            elif block.type == "thinking":
                said.reasoning += block.thinking
            elif block.type == "tool_use":
                said.calls.append(Call(block.id, block.name, dict(block.input)))
        words = {
            "end_turn": "stop",
            "stop_sequence": "stop",
            "max_tokens": "length",
            "tool_use": "tool_calls",
        }
        said.finish = words.get(message.stop_reason, message.stop_reason)
        usage = message.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        said.input_tokens = usage.input_tokens + cached
        said.output_tokens = usage.output_tokens
        said.turn = {
            "role": "assistant",
            "content": [block.model_dump(exclude_none=True) for block in message.content],
        }
        return said


class Google(Sdk):
    name = "google"

    def __init__(self, url: str) -> None:
        self.client = genai.Client(api_key="none", http_options={"base_url": url})

    def prompt(self, turn: Turn) -> list[Any]:
        if turn.results:
            parts = [
                google.Part(
                    function_response=google.FunctionResponse(
                        id=call.id, name=call.name, response={"output": result}
                    )
                )
                for call, result in turn.results
            ]
            return [google.Content(role="user", parts=parts)]
        parts = [google.Part(text=turn.prompt)]
        if turn.image:
            parts.append(google.Part.from_bytes(data=IMAGE, mime_type="image/png"))
        return [google.Content(role="user", parts=parts)]

    def ask(self, model: str, turn: Turn) -> Said:
        config: dict[str, Any] = {
            "max_output_tokens": turn.max_tokens,
            "automatic_function_calling": {"disable": True},
        }
        if turn.system:
            config["system_instruction"] = turn.system
        if turn.tools:
            declaration = {
                "name": "get_weather",
                "description": "Weather.",
                "parameters_json_schema": TOOL,
            }
            config["tools"] = [{"function_declarations": [declaration]}]
        if turn.schema:
            config |= {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
        if turn.thinking:
            config["thinking_config"] = {"include_thoughts": True}
        asked = {"model": model, "contents": [*turn.before, *self.prompt(turn)], "config": config}
        try:
            if not turn.stream:
                return self._said([self.client.models.generate_content(**asked)])
            return self._said(list(self.client.models.generate_content_stream(**asked)))
        except google_errors.APIError as error:
            raise Refused(Failure(error.code, str(error.message), error.details)) from error

    def _said(self, chunks: list[Any]) -> Said:
        said = Said()
        parts: list[Any] = []
        for chunk in chunks:
            said.model = chunk.model_version or said.model
            if chunk.usage_metadata is not None:
                said.input_tokens = chunk.usage_metadata.prompt_token_count
                made = chunk.usage_metadata.candidates_token_count
                thought = chunk.usage_metadata.thoughts_token_count
                said.output_tokens = (
                    None if made is None and thought is None else (made or 0) + (thought or 0)
                )
            for candidate in chunk.candidates or []:
                for part in (candidate.content.parts if candidate.content else None) or []:
                    parts.append(part)
                    if part.function_call is not None:
                        call = part.function_call
                        said.calls.append(Call(call.id, call.name, dict(call.args or {})))
                    elif part.thought:
                        said.reasoning += part.text or ""
                    elif part.text:
                        said.text += part.text
                if candidate.finish_reason is not None:
                    said.finish = {"STOP": "stop", "MAX_TOKENS": "length"}.get(
                        candidate.finish_reason.value, candidate.finish_reason.value
                    )
        if said.finish == "stop" and said.calls:
            said.finish = "tool_calls"  # Gemini has no word of its own for it
        said.turn = google.Content(role="model", parts=parts)
        return said


SDKS: dict[str, type[Any]] = {kind.name: kind for kind in (OpenAI, Anthropic, Google)}


@contextmanager
def refused() -> Iterator[list[Failure]]:
    """Takes what the block raises; the list has it afterwards."""
    found: list[Failure] = []
    try:
        yield found
    except Refused as error:
        found.append(error.failure)
    assert found, "nothing was refused"
