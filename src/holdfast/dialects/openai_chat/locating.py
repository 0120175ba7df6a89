"""Paths in a neutral request as its caller wrote them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from holdfast.dialects.openai_chat.reasoning import DETAILS, SPELLING
from holdfast.model import Audio, Image, Opaque, Reasoning, Refusal, Role, ToolCall, ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.model import Message, Part, Request

__all__ = ["locate"]

_IN_PART: Final = re.compile(r"messages\[(\d{1,9})\]\.parts\[(\d{1,9})\](.*)", re.DOTALL)
_FIRST: Final = re.compile(r"(\w*)(.*)", re.DOTALL)


def locate(request: Request, path: str) -> str:
    """``path`` (``messages[2].parts[0]``) as the caller of ``request`` wrote it (``messages[2].tool_calls[0]``)."""
    if found := _IN_PART.fullmatch(path):
        at, within, rest = int(found[1]), int(found[2]), found[3]
        if at < len(request.messages) and within < len(request.messages[at].parts):
            return f"messages[{at}].{_in_message(request.messages[at], within, rest)}"
    head, rest = _FIRST.fullmatch(path).groups()  # type: ignore[union-attr]  # it matches every text
    written = _TOP.get(head)
    return path if written is None else written(request.spelling, rest)


def _in_message(message: Message, within: int, rest: str) -> str:
    fields = [_field(part, message) for part in message.parts]
    field = fields[within]
    if not field.endswith("[]"):
        return field
    name = field.removesuffix("[]")
    return f"{name}[{fields[:within].count(field)}]{rest}"


def _field(part: Part, message: Message) -> str:
    """The field that holds ``part``; ``[]`` behind it where that is a list."""
    spelling = message.spelling
    content = "content[]" if spelling.get("content") == "parts" else "content"
    if isinstance(part, ToolResult) or message.role is not Role.ASSISTANT:
        return content
    place = part.place if isinstance(part, Opaque) else ""
    if isinstance(part, ToolCall) or place == "tool_calls":
        return spelling.get("tool_calls", "tool_calls[]")
    if isinstance(part, Reasoning) or place == DETAILS:
        first = spelling.get(SPELLING, DETAILS)
        return f"{DETAILS}[]" if first.startswith(DETAILS) else first.partition("+")[0]
    for kind, name, field in (
        (Refusal, "refusal", "refusal"),
        (Audio, "audio", "audio"),
        (Image, "image", "images[]"),
    ):
        if isinstance(part, kind) and name not in spelling:
            return field
    return content


def _reasoning(spelling: Mapping[str, str], rest: str) -> str:
    name = rest.removeprefix(".")
    spelled = spelling.get("reasoning")
    if spelled == "reasoning":
        return "reasoning" + rest.replace("budget_tokens", "max_tokens")
    if spelled == "thinking" and name != "effort":
        return "thinking" + rest.replace("enabled", "type")
    return "reasoning_effort"


_TOP: Final[Mapping[str, Callable[[Mapping[str, str], str], str]]] = {
    "cache": lambda _, rest: "cache_control" + rest,
    "max_output_tokens": lambda spelling, _: spelling.get("max_output_tokens", "max_completion_tokens"),
    "output": lambda _, rest: "response_format" + rest,
    "reasoning": _reasoning,
    "sampling": lambda _, rest: rest.removeprefix("."),
    "tool_choice": lambda spelling, rest: spelling.get("tool_choice", "tool_choice") + rest,
    "tools": lambda spelling, rest: spelling.get("tools", "tools") + rest,
}
