"""Tool calls among dialects that match results by id and one that matches them by name.

What is missing is made from what is there, always the same for the same conversation: a provider's prompt cache
and a caller's next turn both rely on that.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.model import Message, Request, ToolCall, ToolResult

if TYPE_CHECKING:
    from holdfast.model import Part

__all__ = ["made_id", "with_call_ids", "with_call_names"]


def made_id(answer_id: str, choice: int, ordinal: int) -> str:
    """An id for call number ``ordinal`` of an answer whose provider gives none: unique as the answer's own id is."""
    return f"call_{answer_id or 'answer'}_{choice}_{ordinal}"


def with_call_ids(request: Request) -> Request:
    """``request`` with an id on every tool call and result. Results without one answer the calls of their name in order."""
    made = 0
    open_calls: defaultdict[str | None, deque[str]] = defaultdict(deque)
    messages: list[Message] = []
    for message in request.messages:
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                if part.id is None:
                    part = replace(part, id=f"call_{made}")  # noqa: PLW2901  # the same part, completed
                    made += 1
                open_calls[part.name].append(part.id or "")
            elif isinstance(part, ToolResult):
                waiting = open_calls[part.name]
                if part.call_id is None:
                    answered = waiting.popleft() if waiting else f"call_{made}"
                    part = replace(part, call_id=answered)  # noqa: PLW2901  # the same part, completed
                elif part.call_id in waiting:
                    waiting.remove(part.call_id)
            parts.append(part)
        messages.append(_with_parts(message, parts))
    return replace(request, messages=tuple(messages))


def with_call_names(request: Request) -> Request:
    """``request`` with the tool's name on every result whose call is in the conversation."""
    names = {
        part.id: part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolCall) and part.id is not None
    }
    messages = [
        _with_parts(
            message,
            [
                replace(part, name=names.get(part.call_id or ""))
                if isinstance(part, ToolResult) and part.name is None
                else part
                for part in message.parts
            ],
        )
        for message in request.messages
    ]
    return replace(request, messages=tuple(messages))


def _with_parts(message: Message, parts: list[Part]) -> Message:
    return message if tuple(parts) == message.parts else replace(message, parts=tuple(parts))
