"""What a request is made of, as far as a provider wraps its parts differently."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.model.content import Image, Media, Opaque, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from holdfast.model.message import Role
from holdfast.model.request import OpaqueTool, OutputKind, Tool, ToolMode

if TYPE_CHECKING:
    from holdfast.model.request import Request

__all__ = ["Pieces", "pieces"]

_REFERS: Final = frozenset(
    {
        "cachedContent",
        "cached_content",
        "container",
        "context_management",
        "conversation",
        "mcp_servers",
        "plugins",
        "preset",
        "previous_response_id",
        "prompt",
        "web_search_options",
    }
)
"""Fields by which dialects bring in what isn't in the request."""


_read_arguments: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Pieces(msgspec.Struct):
    """The texts of a request, apart by what is put around them, and how many of each thing there are."""

    texts: list[str] = msgspec.field(default_factory=list)
    """What was said, by whomever: system prompts, turns, calls' names and arguments, results."""
    thoughts: list[str] = msgspec.field(default_factory=list)
    """The model's own, of the turns that aren't over: providers leave the older ones out."""
    old_thoughts: list[str] = msgspec.field(default_factory=list)
    tools: list[str] = msgspec.field(default_factory=list)
    """Each tool's definition: JSON."""
    deferred: list[str] = msgspec.field(default_factory=list)
    """Of tools that are read only once they are searched for."""
    schema: str = ""
    """The output format's: JSON."""
    messages: int = 0
    systems: int = 0
    """Of the messages those of the system or a developer."""
    parts: int = 0
    calls: int = 0
    arguments: int = 0
    """Of all calls."""
    calling: int = 0
    """Turns with calls in them."""
    results: int = 0
    answering: int = 0
    """Rows of results: what answers one turn's calls."""
    forced: bool = False
    """A tool has to be called."""
    thinking: bool = False
    sealed: int = 0
    """Characters of thoughts that the provider alone can read: signed or encrypted."""
    images: list[Image] = msgspec.field(default_factory=list)
    """Those whose bytes are here."""
    unseen: bool = False
    """Something is a reference, or media that no formula is known for, or a tool that the provider runs."""

    @property
    def written_bytes(self) -> int:
        """Bytes of what the provider writes anew for its model, from JSON: tools and the output's schema."""
        return size(self.schema) + sum(map(size, self.tools)) + sum(map(size, self.deferred))

    @property
    def text_bytes(self) -> int:
        """Bytes of everything that is text, but for sealed thoughts."""
        return self.written_bytes + sum(map(size, (*self.texts, *self.thoughts, *self.old_thoughts)))


def size(text: str) -> int:
    """Bytes of UTF-8; half a surrogate pair, which a caller's JSON may hold, is three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def pieces(request: Request) -> Pieces:
    """``request``, taken apart."""
    found = Pieces(unseen=not _REFERS.isdisjoint(request.extra))
    last_asked = max(
        (
            n
            for n, message in enumerate(request.messages)
            if message.role is Role.USER and not _answers(message.parts)
        ),
        default=-1,
    )
    answered = False
    for n, message in enumerate(request.messages):
        found.messages += 1
        found.calling += any(isinstance(part, ToolCall) for part in message.parts)
        answers = _answers(message.parts)
        found.answering += answers and not answered
        answered = answers
        found.systems += message.role in (Role.SYSTEM, Role.DEVELOPER)
        if message.name:
            found.texts.append(message.name)
        for part in message.parts:
            _part(found, part, over=n < last_asked)
    for tool in request.tools:
        _tool(found, tool)
    if (choice := request.tool_choice) is not None:
        found.forced = choice.mode in (ToolMode.REQUIRED, ToolMode.NAMED)
    if (output := request.output) is not None and output.kind is not OutputKind.TEXT:
        found.schema = _json(
            {"name": output.name, "description": output.description, "schema": output.schema}
        )
    if (reasoning := request.reasoning) is not None:
        found.thinking = reasoning.enabled is True
    return found


def _answers(parts: tuple[Part, ...]) -> bool:
    return any(isinstance(part, ToolResult) for part in parts)


def _tool(found: Pieces, tool: Tool | OpaqueTool) -> None:
    if isinstance(tool, OpaqueTool):
        found.tools.append(_json(tool.data))
        found.unseen = True
        return
    if tool.extra.get("defer_loading") is True:
        found.deferred.append(_definition(tool))
    else:
        found.tools.append(_definition(tool))


def _definition(tool: Tool) -> str:
    return _json({"name": tool.name, "description": tool.description, "parameters": tool.parameters})


def _part(found: Pieces, part: Part, *, over: bool) -> None:
    found.parts += 1
    match part:
        case Text():
            found.texts.append(part.text)
            found.sealed += len(part.signature or "")
        case Refusal():
            found.texts.append(part.text)
        case Reasoning():
            (found.old_thoughts if over else found.thoughts).append(part.text)
            found.sealed += len(part.signature or "") + len(part.encrypted or "")
        case ToolCall():
            found.calls += 1
            found.texts += (part.name, part.arguments)
            found.arguments += _arguments(part.arguments)
            found.sealed += len(part.signature or "")
        case ToolResult():
            found.results += 1
            for each in part.parts:
                _part(found, each, over=over)
        case Opaque():
            found.texts.append(_json(part.data))
            found.unseen = True
        case Image(data=str()):
            found.images.append(part)
        case Media():
            found.unseen = True


def _arguments(text: str) -> int:
    try:
        return len(_read_arguments(text))
    except (
        msgspec.MsgspecError,
        UnicodeEncodeError,
        RecursionError,
    ):  # a model wrote it, or somebody who means harm
        return 0


def _json(value: dict[str, Any]) -> str:
    """With spaces after colons and commas, as most write it for a model, and without what isn't set."""
    said = {name: each for name, each in value.items() if each}
    return json.dumps(said, ensure_ascii=False, default=str) if said else ""
