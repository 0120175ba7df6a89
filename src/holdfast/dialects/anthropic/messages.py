"""Messages and system prompts, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.anthropic.blocks import BlockWriter, read_blocks
from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.writing import merged
from holdfast.model import Message, Role, Text, ToolResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.dialects.reading import Fields

__all__ = ["leading_prompts", "read_message", "read_system", "write_messages", "write_system"]

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_CONTENT = "content"
_PLACE = "place"
_RESULT = "result:"


def read_system(fields: Fields, spelling: dict[str, str]) -> tuple[Message, ...]:
    """``system``, as the one message that it stands for."""
    system = fields.left.get("system")
    if system is None:
        return ()
    if isinstance(system, str):
        del fields.left["system"]
        spelling["system"] = "string"
        return (Message(role=Role.SYSTEM, parts=(Text(text=system),)),)
    if isinstance(system, list):
        return (Message(role=Role.SYSTEM, parts=read_blocks(fields, "system")),)
    raise fields.wrong(system, "a string or a list of text blocks", "system")


def read_message(message: Fields) -> Message:
    word = message.needed_text("role", "user, assistant or system")
    role = _ROLES.get(word)
    if role is None:
        raise message.fault("role", f"is {word!r}; it must be user, assistant or system")
    spelling = {_PLACE: "messages"} if role is Role.SYSTEM else {}
    content = message.left.get(_CONTENT)
    if isinstance(content, str):
        del message.left[_CONTENT]
        spelling[_CONTENT] = "string"
        return Message(role=role, parts=(Text(text=content),), spelling=spelling, extra=message.left)
    if isinstance(content, list):
        spelling |= _results(content)
        parts = read_blocks(message, _CONTENT)
        return Message(role=role, parts=parts, spelling=spelling, extra=message.left)
    if content is None:
        raise message.fault(_CONTENT, "is missing; it must be a string or a list of blocks")
    raise message.wrong(content, "a string or a list of blocks", _CONTENT)


def _results(content: list[Any]) -> dict[str, str]:
    """How each result's content is spelled: ``string`` or ``absent``, where it isn't the usual list."""
    spelled: dict[str, str] = {}
    for block in content:
        if isinstance(block, dict) and block.get("type") == "tool_result":
            inner = block.get(_CONTENT)
            if not isinstance(inner, list):
                spelled[f"{_RESULT}{block.get('tool_use_id')}"] = "absent" if inner is None else "string"
    return spelled


def leading_prompts(messages: Sequence[Message]) -> int:
    """How many of ``messages`` are system prompts before the conversation."""
    for at, message in enumerate(messages):
        if message.role not in (Role.SYSTEM, Role.DEVELOPER) or message.spelling.get(_PLACE) == "messages":
            return at
    return len(messages)


def write_system(messages: Sequence[Message], spelling: dict[str, str], writer: BlockWriter) -> Any:
    """The leading prompts: one plain text as a string, more as blocks."""
    blocks: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        path = f"messages[{at}]"
        if message.name is not None:
            writer.refuse(path, "name")
        writer.leftovers(message.extra, path)
        for within, part in enumerate(message.parts):
            blocks += writer.blocks(part, f"{path}.parts[{within}]")
    if _is_plain(blocks) and (spelling.get("system") == "string" or writer.origin != DIALECT):
        return blocks[0]["text"]
    return blocks if messages else None


def write_messages(messages: Sequence[Message], start: int, writer: BlockWriter) -> list[dict[str, Any]]:
    """The conversation from ``start`` on. Results of one turn's calls go into one message, as Anthropic wants them."""
    return [
        _write(group, writer)
        for group in _turns(list(enumerate(messages))[start:], merge=writer.origin != DIALECT)
    ]


def _turns(messages: list[tuple[int, Message]], *, merge: bool) -> Iterator[list[tuple[int, Message]]]:
    group: list[tuple[int, Message]] = []
    for at, message in messages:
        results = any(_has_results(each) for _, each in group)
        if group and not (merge and results and message.role in (Role.TOOL, Role.USER)):
            yield group
            group = []
        group.append((at, message))
    if group:
        yield group


def _has_results(message: Message) -> bool:
    return any(isinstance(part, ToolResult) for part in message.parts)


def _write(group: list[tuple[int, Message]], writer: BlockWriter) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    for at, message in group:
        path = f"messages[{at}]"
        spelling = writer.spelling(message.spelling)
        writer.results = {
            key.removeprefix(_RESULT): how for key, how in spelling.items() if key.startswith(_RESULT)
        }
        if message.name is not None:
            writer.refuse(path, "name")
        extra |= writer.leftovers(message.extra, path)
        for within, part in enumerate(message.parts):
            blocks += writer.blocks(part, f"{path}.parts[{within}]")
    if len(group) > 1:  # results first: the API refuses them behind anything else
        blocks.sort(key=lambda block: block.get("type") != "tool_result")
    first = group[0][1]
    role = {Role.TOOL: "user", Role.DEVELOPER: "system"}.get(first.role, first.role.value)
    content: Any = blocks
    spelled = writer.spelling(first.spelling).get(_CONTENT)
    if _is_plain(blocks) and (spelled == "string" or writer.origin != DIALECT):
        content = blocks[0]["text"]
    return merged({"role": role, "content": content}, extra)


def _is_plain(blocks: list[dict[str, Any]]) -> bool:
    """One text and nothing else on it: it may stand as a string."""
    return len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
