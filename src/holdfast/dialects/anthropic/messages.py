"""``system`` and ``messages``, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.anthropic.parts import is_plain, read_parts, write_part
from holdfast.dialects.writing import merged
from holdfast.model import Message, Role, Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from holdfast.dialects.anthropic.writer import AnthropicWriter
    from holdfast.dialects.reading import Fields

__all__ = ["CONTENT", "leading_prompts", "read_message", "read_system", "write_messages", "write_system"]

CONTENT: Final = "content"
_STRING: Final = "string"
_PLACE: Final = "place"
_MESSAGES: Final = "messages"
_ROLES: Final[Mapping[str, Role]] = {role.value: role for role in (Role.USER, Role.ASSISTANT, Role.SYSTEM)}
_SYSTEM: Final = (Role.SYSTEM, Role.DEVELOPER)

_Placed = tuple[int, Message]
"""A message with its number in the neutral request."""


def read_system(fields: Fields) -> tuple[Message, ...]:
    """``system``, as the one message that it stands for; its blocks are texts of their own."""
    system = fields.left.get("system")
    if system is None:
        return ()
    if isinstance(system, str):
        del fields.left["system"]
        return (Message(role=Role.SYSTEM, parts=(Text(text=system),), spelling={CONTENT: _STRING}),)
    if not isinstance(system, list):
        raise fields.wrong(system, "a string or a list of text blocks", "system")
    parts, spelling = read_parts(fields, "system")
    return (Message(role=Role.SYSTEM, parts=parts, spelling=spelling),)


def read_message(message: Fields) -> Message:
    """One message. A system prompt may stand among them too (since Claude Opus 4.8), behind a turn of the user's."""
    word = message.needed_text("role", _one_of_roles())
    role = _ROLES.get(word)
    if role is None:
        raise message.fault("role", f"is {word!r}; it must be {_one_of_roles()}")
    placed = {_PLACE: _MESSAGES} if role is Role.SYSTEM else {}
    content = message.left.get(CONTENT)
    if isinstance(content, str):
        del message.left[CONTENT]
        spelling = {CONTENT: _STRING, **placed}
        return Message(role=role, parts=(Text(text=content),), spelling=spelling, extra=message.left)
    if not isinstance(content, list):
        if content is None and CONTENT not in message.left:
            raise message.fault(CONTENT, "is missing; it must be a string or a list of blocks")
        raise message.wrong(content, "a string or a list of blocks", CONTENT)
    parts, spelling = read_parts(message, CONTENT)
    return Message(role=role, parts=parts, spelling=spelling | placed, extra=message.left)


def leading_prompts(messages: Sequence[Message], *, same: bool = True) -> int:
    """How many of ``messages`` stand in ``system``. In this dialect's own requests one may stand among the messages."""
    for at, message in enumerate(messages):
        if message.role not in _SYSTEM or (same and message.spelling.get(_PLACE) == _MESSAGES):
            return at
    return len(messages)


def write_system(messages: Sequence[Message], writer: AnthropicWriter) -> Any:
    """The prompts before the conversation: a string where they are one plain text, else a block for each text."""
    blocks: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        _check_speaker(message, writer, at)
        writer.leftovers(message.extra, f"messages[{at}]")
        blocks += _blocks((at, message), writer)
    if not messages or not (blocks or writer.same):
        return None
    spelled = writer.spelling(messages[0].spelling).get(CONTENT)
    return blocks[0]["text"] if is_plain(blocks) and _as_string(spelled, writer) else blocks


def write_messages(messages: Sequence[Message], start: int, writer: AnthropicWriter) -> list[dict[str, Any]]:
    """The conversation from ``start`` on."""
    placed = list(enumerate(messages))[start:]
    groups = [[each] for each in placed] if writer.same else list(_turns(placed, writer))
    written = [_write(group, writer) for group in groups]
    if writer.same:
        return written
    said = [message for message in written if message[CONTENT]]  # Anthropic refuses empty ones
    return said or written


def _turns(placed: Sequence[_Placed], writer: AnthropicWriter) -> Iterator[list[_Placed]]:
    """Messages by turns. Anthropic wants the results of a turn's calls in one message, right behind them, and takes a system
    prompt behind a turn of the user's only: one that stands elsewhere goes behind the next."""
    heard: list[_Placed] = []
    prompts: list[_Placed] = []
    for each in placed:
        role = each[1].role
        if role in _SYSTEM:
            prompts.append(each)
        elif role is Role.ASSISTANT:
            yield from _heard(heard, prompts, writer)
            heard, prompts = [], []
            yield [each]
        else:
            heard.append(each)
    yield from _heard(heard, prompts, writer)


def _heard(heard: list[_Placed], prompts: list[_Placed], writer: AnthropicWriter) -> Iterator[list[_Placed]]:
    answered = any(message.role is Role.TOOL for _, message in heard)
    yield from [heard] if answered else [[each] for each in heard]
    if not prompts:
        return
    if heard:
        yield prompts
    else:
        writer.refuse(f"messages[{prompts[0][0]}]", "system.later")


def _write(group: Sequence[_Placed], writer: AnthropicWriter) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    for at, message in group:
        _check_speaker(message, writer, at)
        extra |= writer.leftovers(message.extra, f"messages[{at}]")
        blocks += _blocks((at, message), writer)
    if not writer.same:
        blocks.sort(
            key=lambda block: block.get("type") != "tool_result"
        )  # results behind anything else are refused
    first = group[0][1]
    content: Any = blocks
    if is_plain(blocks) and _as_string(writer.spelling(first.spelling).get(CONTENT), writer):
        content = blocks[0]["text"]
    return merged({"role": _role(first.role), CONTENT: content}, extra)


def _blocks(placed: _Placed, writer: AnthropicWriter) -> list[dict[str, Any]]:
    at, message = placed
    spelling = writer.spelling(message.spelling)
    return [
        block
        for within, part in enumerate(message.parts)
        for block in write_part(
            part, writer, f"messages[{at}].parts[{within}]", spelling.get(f"parts[{within}]")
        )
    ]


def _role(role: Role) -> str:
    if role in _SYSTEM:
        return Role.SYSTEM.value
    return Role.ASSISTANT.value if role is Role.ASSISTANT else Role.USER.value


def _as_string(spelled: str | None, writer: AnthropicWriter) -> bool:
    return spelled == _STRING or not writer.same


def _check_speaker(message: Message, writer: AnthropicWriter, at: int) -> None:
    if message.name is not None:
        writer.refuse(f"messages[{at}]", "name")


def _one_of_roles() -> str:
    return "one of " + ", ".join(_ROLES)
