"""Requests of other dialects, made into what this one can say.

What was read in this dialect is written as it stands, however odd: it has been said here before. For everything else the
rules are OpenAI's own, as its SDK's types have them; other servers of the dialect take at least that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from msgspec.structs import replace

from holdfast.dialects.calls import with_call_ids
from holdfast.dialects.openai_chat.parts import part_name
from holdfast.model import (
    Audio,
    CacheMark,
    File,
    Image,
    Media,
    Message,
    Opaque,
    OpaqueTool,
    OutputFormat,
    OutputKind,
    Part,
    Reasoning,
    Refusal,
    Request,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Video,
)

if TYPE_CHECKING:
    from holdfast.dialects.openai_chat.writer import ChatWriter

__all__ = ["fitted"]

_ERROR: Final = "Error"
_NAME: Final = "answer"
"""A schema's name, which OpenAI requires and other dialects don't give."""

_P = TypeVar("_P", bound=Part)
_Said: TypeAlias = Text | Image | Audio | File | Video | Reasoning | Refusal | Opaque
"""What a tool's result may hold."""


def fitted(request: Request, writer: ChatWriter) -> Request:
    """``request`` less what can't be said here, and with what this dialect requires.

    Raises:
        CantExpress: that may not be left out.
    """
    if writer.same:
        return request
    request = with_call_ids(request)
    return replace(
        request,
        messages=tuple(
            _message(message, writer, f"messages[{at}]") for at, message in enumerate(request.messages)
        ),
        tools=tuple(_tool(tool, writer, f"tools[{at}]") for at, tool in enumerate(request.tools)),
        output=_output(request.output),
        cache=_cache(request.cache, writer, "cache"),
    )


def _message(message: Message, writer: ChatWriter, path: str) -> Message:
    placed = ((f"{path}.parts[{at}]", part) for at, part in enumerate(message.parts))
    fit = (_part(part, message.role, writer, where) for where, part in placed)
    parts = tuple(part for part in fit if part is not None)
    if all(isinstance(part, Reasoning) for part in parts):
        parts = (*parts, Text(text=""))  # OpenAI and DeepSeek refuse a message without content or calls
    return replace(message, parts=parts)


def _part(part: Part, role: Role, writer: ChatWriter, path: str) -> Part | None:
    part = _uncached(part, writer, path)
    match part:
        case Text() if part.citations:
            writer.refuse(path, "citations")
            return replace(part, citations=())
        case Image() | Audio() | File() | Video():
            return part if _has_place(part, role, writer, path) else None
        case ToolCall() if not part.arguments:
            return replace(
                part, arguments="{}"
            )  # a text that isn't JSON is the model's mistake; none is JSON's
        case ToolResult():
            return _result(part, writer, path)
        case _:
            return part


def _has_place(media: Image | Audio | File | Video, role: Role, writer: ChatWriter, path: str) -> bool:
    """Only users show and send things; ids mean something only to the provider that keeps what they name."""
    by_id = media.data is None and media.url is None
    own_voice = role is Role.ASSISTANT and isinstance(media, Audio) and by_id
    by_address = isinstance(media, File) and media.url is not None
    if (role is Role.USER or own_voice) and not by_address and (writer.own or not by_id):
        return True
    writer.refuse(path, part_name(media))
    return False


def _result(result: ToolResult, writer: ChatWriter, path: str) -> ToolResult:
    parts: list[_Said] = []
    for at, part in enumerate(result.parts):
        where = f"{path}.parts[{at}]"
        if isinstance(part, Media):
            writer.refuse(where, "tool_result.image" if isinstance(part, Image) else "tool_result.file")
            continue
        parts.append(_uncached(part, writer, where))
    if result.is_error:
        parts = _told_as_error(parts)
    # Here a result finds its call by id; a name beside it is a field that OpenAI's types don't have.
    return replace(result, parts=tuple(parts), name=result.name if writer.own else None)


def _told_as_error(parts: list[_Said]) -> list[_Said]:
    """A failure has no field here, so it is said where the model reads it: at the head of the text."""
    for at, part in enumerate(parts):
        if isinstance(part, Text):
            if part.text.lower().startswith(_ERROR.lower()):
                return parts
            return [*parts[:at], replace(part, text=f"{_ERROR}: {part.text}"), *parts[at + 1 :]]
    return [Text(text=_ERROR), *parts]


def _tool(tool: Tool | OpaqueTool, writer: ChatWriter, path: str) -> Tool | OpaqueTool:
    return tool if isinstance(tool, OpaqueTool) else replace(tool, cache=_cache(tool.cache, writer, path))


def _output(output: OutputFormat | None) -> OutputFormat | None:
    if output is None or output.kind is not OutputKind.JSON_SCHEMA:
        return output
    return replace(output, name=output.name or _NAME)


def _uncached(part: _P, writer: ChatWriter, path: str) -> _P:
    return part if part.cache is None else replace(part, cache=_cache(part.cache, writer, path))


def _cache(mark: CacheMark | None, writer: ChatWriter, path: str) -> CacheMark | None:
    """OpenAI caches on its own, and refuses fields that it doesn't know; OpenRouter's callers say marks in this dialect."""
    if mark is not None:
        writer.refuse(path, "cache_control")
    return None
