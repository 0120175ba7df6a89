"""What callers write, as a request of the neutral model; and what was answered, as a part of the next request.

Dicts are read as OpenAI writes them, whichever provider they go to: it is what everybody has at hand. Values of the neutral
model may stand among them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec.structs import replace

from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.writing import write_json
from holdfast.errors import InvalidRequest
from holdfast.model import (
    Message,
    Opaque,
    OpaqueTool,
    OutputFormat,
    Reasoning,
    Request,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

if TYPE_CHECKING:
    from holdfast.model import Part

__all__ = ["Messages", "ResponseFormat", "ToolChoices", "Tools", "checked_label", "portable", "request_of"]

Messages: TypeAlias = str | Sequence[Mapping[str, object] | Message]
"""A prompt, or a conversation: messages as OpenAI writes them, and values of the neutral model."""
Tools: TypeAlias = Sequence[Mapping[str, object] | Tool | OpaqueTool]
ToolChoices: TypeAlias = str | Mapping[str, object] | ToolChoice
ResponseFormat: TypeAlias = Mapping[str, object] | OutputFormat

_CODEC: Final = OpenAIChatCodec()
_OURS: Final = frozenset({"model", "messages", "stream", "stream_options"})
_LABEL: Final = re.compile(r"[\w.:/-]{1,64}")

# Stand where a value of the model goes, so that what is beside it keeps its place, also in error messages.
_A_MESSAGE: Final[Mapping[str, object]] = {"role": "user", "content": ""}
_A_TOOL: Final[Mapping[str, object]] = {"type": "function", "function": {"name": "_"}}


def request_of(
    messages: Messages,
    model: str,
    *,
    stream: bool,
    parameters: Mapping[str, object],
    extra: Mapping[str, object] | None,
) -> Request:
    """The request that a caller means.

    Args:
        messages, model: as :meth:`holdfast.Client.chat` takes them.
        stream: whether the answer is wanted as a stream.
        parameters: by OpenAI's names, Nones left out; over ``extra``.
        extra: parameters that have no argument of their own.

    Raises:
        InvalidRequest: something isn't of the form that it must have; ``param`` says where.
    """
    ours = _OURS.intersection(extra or ())
    if ours:
        name = min(ours)
        raise InvalidRequest(f"{name} can't be set by `extra`: it is set by the call itself", param=name)
    wire = {**(extra or {}), **{name: value for name, value in parameters.items() if value is not None}}
    _check_finite(wire)
    turns: Sequence[object] = (
        [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    )
    tools = _listed(wire.pop("tools", None))
    values = {
        name: wire.pop(name)
        for name, kind in (("tool_choice", ToolChoice), ("response_format", OutputFormat))
        if isinstance(wire.get(name), kind)
    }
    wire |= {
        "model": model,
        "messages": [_A_MESSAGE if isinstance(turn, Message) else turn for turn in turns],
    }
    if tools:
        wire["tools"] = [_A_TOOL if isinstance(tool, Tool | OpaqueTool) else tool for tool in tools]
    request = _CODEC.decode_request(write_json(wire))
    changes: dict[str, Any] = {
        "stream": stream or None,
        "messages": tuple(
            turn if isinstance(turn, Message) else read
            for turn, read in zip(turns, request.messages, strict=True)
        ),
    }
    if tools:
        changes["tools"] = tuple(
            tool if isinstance(tool, Tool | OpaqueTool) else read
            for tool, read in zip(tools, request.tools, strict=True)
        )
    if "tool_choice" in values:
        changes["tool_choice"] = values["tool_choice"]
    if "response_format" in values:
        changes["output"] = values["response_format"]
    return replace(request, **changes)


def portable(message: Message, dialect: str | None) -> Message:
    """An answer's message as any provider can be given it.

    What only its provider's dialect knows of it is left out, unless the request will speak that dialect: another provider
    couldn't be asked at all. Signatures stay, each with its issuer's name.
    """
    own = dialect == DIALECT
    return Message(
        role=message.role,
        parts=tuple(_portable(part, dialect, own=own) for part in message.parts),
        name=message.name,
        spelling=message.spelling if own else {},
    )


def checked_label(name: str, value: object) -> str:
    """``value``, if the ledger takes it as a session's name or as part of a tag. Raises InvalidRequest."""
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise InvalidRequest(f"{name} must be 1 to 64 letters, digits and . : / _ -", param=name)
    return value


def _portable(part: Part, dialect: str | None, *, own: bool) -> Part:
    match part:
        case Opaque() | ToolResult():
            return part
        case Reasoning() if part.signature is not None or part.encrypted is not None:
            return replace(part, signed_by=part.signed_by or dialect, extra=part.extra if own else {})
        case Text():
            citations = tuple(replace(citation, extra={}) for citation in part.citations)
            signed_by = part.signed_by or dialect if part.signature is not None else None
            return replace(part, citations=citations, signed_by=signed_by, cache=None, extra={})
        case ToolCall() if part.signature is not None:
            return replace(part, signed_by=part.signed_by or dialect, cache=None, extra={})
        case _:
            return replace(part, cache=None, extra={})


def _listed(tools: object) -> list[object]:
    if tools is None:
        return []
    if isinstance(tools, str) or not isinstance(tools, Sequence):
        raise InvalidRequest("tools must be a list of tools", param="tools")
    return list(tools)


def _check_finite(wire: Mapping[str, object]) -> None:
    """JSON has no NaN and no infinity: they would be written as null, and so be lost without a word."""
    for name, value in wire.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidRequest(f"{name} is {value}: it must be a finite number", param=name)
