"""Tokens of OpenAI's models: texts exactly, and requests as OpenAI is known to write them for its models.

What stands around a message, a call or a tool isn't published for most models. The numbers here are those that the bills of
2025 and 2026 add up with (``docs/tokens.md``); the bound leaves room for what they don't.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.model.content import ToolCall, ToolResult
from holdfast.model.request import OutputKind, Tool
from holdfast.providers.tokens.bounds import OVERHEADS
from holdfast.providers.tokens.bpe import count_tokens
from holdfast.providers.tokens.count import EMPTY, Count, Kind
from holdfast.providers.tokens.counter import Family
from holdfast.providers.tokens.encodings import EncodingName, encoding
from holdfast.providers.tokens.openai_images import Patches, Tiles, image_rule, image_tokens
from holdfast.providers.tokens.openai_tools import write_tools
from holdfast.providers.tokens.pieces import Pieces, pieces, size

if TYPE_CHECKING:
    from holdfast.model.request import Request

__all__ = ["FAMILY", "OpenAICounter", "encoding_for"]

_ENCODINGS: Final[dict[str, EncodingName]] = {
    "gpt-3.5": "cl100k_base",
    "gpt-35-": "cl100k_base",  # as Azure writes it
    "gpt-4": "cl100k_base",
    "gpt-4.": "o200k_base",
    "gpt-41": "o200k_base",
    "gpt-4o": "o200k_base",
    "gpt-5": "o200k_base",
    "gpt-6": "o200k_base",
    "gpt-audio": "o200k_base",
    "gpt-oss": "o200k_base",
    "gpt-realtime": "o200k_base",
    "chatgpt-": "o200k_base",
    "codex-": "o200k_base",
    "computer-use-": "o200k_base",
    "o1": "o200k_base",
    "o3": "o200k_base",
    "o4": "o200k_base",
    "text-embedding-": "cl100k_base",
    "babbage-002": "cl100k_base",
    "davinci-002": "cl100k_base",
}
"""By the beginning of a model's name; the longest that fits."""

_TUNED: Final = "ft:"
"""Before the name of the model that was fine-tuned: ``ft:gpt-4o:acme::id``."""


def encoding_for(model: str) -> EncodingName | None:
    """The encoding of an OpenAI model, in any spelling of its name; None for any other model."""
    name = model.lower().rpartition("/")[2].removeprefix(_TUNED)
    fits = [beginning for beginning in _ENCODINGS if name.startswith(beginning)]
    return _ENCODINGS[max(fits, key=len)] if fits else None


class _Frame(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that stand around what is said, for models of one kind at one of the two APIs."""

    reply: int
    """Once: the beginning of the answer."""
    message: int = 4
    """To each message that says something, its role included."""
    call: int
    """To a tool call and its result together. The tool's name stands in both."""
    parallel: int = 0
    """To each message that calls more than one tool at once."""
    tools: int
    """Once, if there are tools."""
    tools_beside_system: int = 0
    """Above ``tools`` where there is a system prompt that they join."""
    bare_tool: int = 0
    """To each tool without parameters."""
    schema: int = 1
    """To an output schema, above its JSON."""


_EARLIER_CHAT: Final = _Frame(reply=3, call=13, parallel=14, tools=9, tools_beside_system=-4)
_EARLIER_RESPONSES: Final = _Frame(reply=3, call=13, parallel=14, tools=3)
_THINKING_CHAT: Final = _Frame(reply=2, call=19, tools=91, bare_tool=-1)
_THINKING_RESPONSES: Final = _Frame(reply=2, call=19, tools=9, tools_beside_system=-1, bare_tool=-1)
_SEARCHING: Final = _Frame(reply=0, message=0, call=13, tools=9)
"""Those that search the web with each question are billed by the search, and for the bare text."""

_EARLIER: Final = ("gpt-3.5", "gpt-35-", "gpt-4", "chatgpt-4", "ft:gpt-3.5", "ft:gpt-4")
_OVERHEAD: Final = OVERHEADS["openai"]


class OpenAICounter(msgspec.Struct, frozen=True, kw_only=True):
    """Counts for one model."""

    encoding: EncodingName
    known: bool
    """Whether the encoding is the model's own, and not a guess at one nobody has heard of."""
    chat: _Frame
    responses: _Frame
    image: Tiles | Patches

    def text(self, text: str) -> Count:
        if not text:
            return EMPTY if self.known else Count(0, "calibrated", 0)
        tokens = self._tokens(text)
        return Count(tokens, "exact", tokens) if self.known else Count(tokens, "calibrated", size(text))

    def request(self, request: Request) -> Count:
        found = pieces(request)
        frame = self.responses if request.dialect == "openai_responses" else self.chat
        said = sum(map(self._tokens, found.texts))
        called = sum(
            self._tokens(part.name)
            for message in request.messages
            for part in message.parts
            if isinstance(part, ToolCall)
        )
        images = [image_tokens(self.image, each) for each in found.images]
        tokens = said + called + self._written(request, frame, found) + self._around(request, frame)
        tokens += sum(guess for guess, _ in images)
        if self.known:
            most = said + called + sum(map(self._tokens, (*found.thoughts, *found.old_thoughts)))
            most += found.written_bytes
        else:
            most = found.text_bytes + called
        most += found.sealed + self._most_around(found) + sum(most for _, most in images)
        kind: Kind = "reconstructed" if self.known else "calibrated"
        return Count(min(tokens, most), kind, most, found.unseen)

    def _tokens(self, text: str) -> int:
        return count_tokens(encoding(self.encoding), text) if text else 0

    def _written(self, request: Request, frame: _Frame, found: Pieces) -> int:
        """Tools and the output's schema, as they are written for the model."""
        tools = [
            tool
            for tool in request.tools
            if isinstance(tool, Tool) and tool.extra.get("defer_loading") is not True
        ]
        written = 0
        if tools:
            written += self._tokens(write_tools(tools)) + frame.tools
            written += frame.tools_beside_system if found.systems else 0
            written += frame.bare_tool * sum(not (tool.parameters or {}).get("properties") for tool in tools)
        output = request.output
        if output is not None and output.kind is OutputKind.JSON_SCHEMA:
            schema = json.dumps(output.schema, ensure_ascii=False, separators=(",", ":"), default=str)
            written += self._tokens(schema) + frame.schema
            # Tools and schema stand in a system prompt: in one of their own, if the caller has none.
            written += 0 if tools or found.systems else frame.message
        return written

    def _around(self, request: Request, frame: _Frame) -> int:
        around = frame.reply
        for message in request.messages:
            calls = sum(isinstance(part, ToolCall) for part in message.parts)
            results = sum(isinstance(part, ToolResult) for part in message.parts)
            around += frame.call * calls + (frame.parallel if calls > 1 else 0)
            around += frame.message if len(message.parts) > calls + results else 0
            around += 1 if message.name else 0
        return around

    def _most_around(self, found: Pieces) -> int:
        tools = len(found.tools) + len(found.deferred) + bool(found.schema)
        units = found.messages + found.parts + found.calls + found.results
        return _OVERHEAD.of(tools=tools, messages=units)


def _counter(model: str) -> OpenAICounter:
    name = encoding_for(model)
    earlier = model.startswith(_EARLIER)
    chat = _SEARCHING if "-search-" in model else _EARLIER_CHAT if earlier else _THINKING_CHAT
    return OpenAICounter(
        encoding=name or "o200k_base",
        known=name is not None,
        chat=chat,
        responses=_EARLIER_RESPONSES if earlier else _THINKING_RESPONSES,
        image=image_rule(model.removeprefix(_TUNED)),
    )


FAMILY = Family(
    beginnings=(*_ENCODINGS, *(_TUNED + beginning for beginning in _ENCODINGS)),
    providers=("openai", "azure"),
    counter=_counter,
)
