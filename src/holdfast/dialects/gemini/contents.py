"""``contents`` and ``systemInstruction``, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.gemini.names import MODEL, USER
from holdfast.dialects.gemini.parts import read_part, write_part
from holdfast.dialects.gemini.signed import WAIVER
from holdfast.dialects.writing import merged
from holdfast.model import Message, Part, Role, ToolCall, ToolResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.dialects.gemini.writer import GeminiWriter
    from holdfast.dialects.reading import Fields

__all__ = ["read_content", "read_system", "write_contents", "write_parts"]

_ROLES: Final[Mapping[str, Role]] = {
    USER: Role.USER,
    MODEL: Role.ASSISTANT,
    "function": Role.USER,
    "tool": Role.USER,
    "": Role.USER,
}
_SYSTEM: Final = (Role.SYSTEM, Role.DEVELOPER)
_ABSENT: Final = "absent"
_NULL: Final = "null"


def read_content(content: Fields) -> Message:
    """One turn. What answers calls alone is a tool's message, whatever Google calls its speaker."""
    absent = "role" not in content.left
    null = content.left.get("role") is None
    word = content.text("role")
    role = Role.USER if word is None else _ROLES.get(word)
    if role is None:
        raise content.fault("role", f"is {word!r}; it must be {USER} or {MODEL}")
    spelling: dict[str, str] = {}
    parts = _read_parts(content, spelling)
    if role is Role.USER and parts and all(isinstance(part, ToolResult) for part in parts):
        role = Role.TOOL
    if absent or null:
        content.left.pop("role", None)
        spelling["role"] = _ABSENT if absent else _NULL
    elif word != _word(role):
        spelling["role"] = word or ""
    return Message(role=role, parts=parts, spelling=spelling, extra=content.left)


def read_system(fields: Fields) -> tuple[Message, ...]:
    """The system instruction, as one message; its role says nothing."""
    content = fields.fields("systemInstruction")
    if content is None:
        return ()
    spelling: dict[str, str] = {}
    word = content.text("role")
    if word is not None:
        spelling["role"] = word
    parts = _read_parts(content, spelling)
    return (Message(role=Role.SYSTEM, parts=parts, spelling=spelling, extra=content.left),)


def write_contents(messages: Sequence[Message], writer: GeminiWriter) -> dict[str, Any]:
    """``systemInstruction`` and ``contents``. This dialect's own keep their turns; others' are joined by speaker."""
    system: dict[str, Any] | None = None
    contents: list[dict[str, Any]] = []
    for at, message in enumerate(messages):
        path = f"messages[{at}]"
        if message.name is not None:
            writer.refuse(path, "name")
        if message.role in _SYSTEM:
            if contents:
                writer.refuse(path, "system.later")
                continue
            system = _joined(system, _write_system(message, writer, path))
            continue
        content = _write_content(message, writer, path)
        if not writer.same and not content["parts"]:
            continue
        if writer.same and _lost_signature(message, writer):
            _waive(content)
        if contents and not writer.same and contents[-1]["role"] == content["role"]:
            contents[-1]["parts"] += content["parts"]
        else:
            contents.append(content)
    if not writer.same:
        for content in contents:
            _waive(content)
    return {"systemInstruction": system, "contents": contents}


def write_parts(
    parts: Sequence[Part], writer: GeminiWriter, path: str, spelling: Mapping[str, str]
) -> list[dict[str, Any]]:
    written = (
        write_part(part, writer, f"{path}.parts[{at}]", spelling.get(f"parts[{at}]"))
        for at, part in enumerate(parts)
    )
    return [part for part in written if part is not None]


def _word(role: Role) -> str:
    return MODEL if role is Role.ASSISTANT else USER


def _read_parts(content: Fields, spelling: dict[str, str]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for at, fields in enumerate(content.each("parts")):
        part, spelt = read_part(fields)
        if spelt is not None:
            spelling[f"parts[{at}]"] = spelt
        parts.append(part)
    return tuple(parts)


def _write_system(message: Message, writer: GeminiWriter, path: str) -> dict[str, Any]:
    spelling = writer.spelling(message.spelling)
    parts = write_parts(message.parts, writer, path, spelling)
    return merged({"role": spelling.get("role"), "parts": parts}, writer.leftovers(message.extra, path))


def _write_content(message: Message, writer: GeminiWriter, path: str) -> dict[str, Any]:
    spelling = writer.spelling(message.spelling)
    extra = writer.leftovers(message.extra, path)
    role: str | None = spelling.get("role", _word(message.role))
    parts = write_parts(message.parts, writer, path, spelling)
    known: dict[str, Any] = {"role": role, "parts": parts}
    if role == _ABSENT:
        del known["role"]
    elif role == _NULL:
        known["role"] = None
    if not parts and writer.same and "parts" not in extra:
        del known["parts"]
    return known | {name: value for name, value in extra.items() if name not in known}


def _joined(before: dict[str, Any] | None, content: dict[str, Any]) -> dict[str, Any]:
    return content if before is None else {**before, **content, "parts": before["parts"] + content["parts"]}


def _lost_signature(message: Message, writer: GeminiWriter) -> bool:
    """Whether another provider signed one of its calls, whose signature isn't written."""
    return any(
        isinstance(part, ToolCall) and part.signature is not None and writer.foreign(part.signed_by)
        for part in message.parts
    )


def _waive(content: dict[str, Any]) -> None:
    """Google checks the first call of a turn for its signature. One that another provider made has none."""
    if content.get("role") != MODEL:
        return
    for part in content.get("parts", ()):
        if "functionCall" in part:
            part.setdefault("thoughtSignature", WAIVER)
            return
