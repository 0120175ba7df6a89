"""The parts of a content, both ways: a request's and an answer's are the same thing here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.gemini.media import read_media, write_media
from holdfast.dialects.gemini.names import DIALECT
from holdfast.dialects.gemini.results import as_object, read_result, write_result
from holdfast.dialects.gemini.signed import WAIVERS, opened, proof_of
from holdfast.dialects.writing import merged, write_json
from holdfast.model import (
    Audio,
    File,
    Image,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Video,
)

if TYPE_CHECKING:
    from holdfast.dialects.gemini.writer import GeminiWriter
    from holdfast.dialects.reading import Fields

__all__ = ["read_part", "write_call", "write_part"]

_DATA: Final = (
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
    "toolCall", "toolResponse",
)  # fmt: skip  # a list reads better packed
_SIGNATURE: Final = "thoughtSignature"


def read_part(part: Fields, *, answered: bool = False) -> tuple[Part, str | None]:
    """One part, and how it was spelled where that isn't the usual way. What isn't known here stays whole.

    Whose a signature is matters in a request, which may go to another provider than the answer came from. In an answer it
    is simply the provider's.
    """
    said = [name for name in _DATA if part.left.get(name) is not None]
    thought = part.left.get("thought") is True
    match said:
        case ["text"]:
            return _read_text(part, thought=thought, answered=answered), None
        case ["functionCall"] if not thought and _is_whole(part.left["functionCall"]):
            waiver = _take_waiver(part)
            return _read_call(part, answered=answered), waiver
        case ["functionResponse"] if not thought:
            return read_result(part)
        case ["inlineData" | "fileData"] if not thought:
            return read_media(part, said[0]), None
        case _:
            return Opaque(dialect=DIALECT, data=part.left), None


def write_part(
    part: Part, writer: GeminiWriter, path: str, spelt: str | None = None
) -> dict[str, Any] | None:
    """The wire's part for ``part``; None where it can't be said and may be left out."""
    if part.cache is not None:
        writer.refuse(path, "cache_control")
    match part:
        case Opaque():
            if part.dialect == DIALECT:
                return part.data
            kind = part.data.get("type")
            writer.refuse(path, kind if isinstance(kind, str) else next(iter(part.data), ""))
            return None
        case ToolResult():
            return write_result(part, writer, path, spelt)
        case ToolCall():
            return write_call(part, writer, path, spelt)
        case _:
            known = _write_said(part, writer, path)
            return None if known is None else merged(known, writer.leftovers(part.extra, path))


def write_call(
    call: ToolCall, writer: GeminiWriter, path: str, waiver: str | None = None
) -> dict[str, Any] | None:
    """The part for ``call``; None where its arguments aren't an object, which only they can be here."""
    args = as_object(call.arguments)
    if args is None and call.arguments.strip():
        writer.refuse(path, "tool_call")
        return None
    if args is None and not writer.same:
        args = {}
    signature = call.signature
    if signature is not None and writer.foreign(call.signed_by) and not writer.answered:
        writer.refuse(path, "tool_call.signature")
        signature = None
    inner = merged({"id": call.id, "name": call.name, "args": args}, {})
    known = {"functionCall": inner, _SIGNATURE: _proof(signature, call.signed_by, writer) or waiver}
    return merged(known, writer.leftovers(call.extra, path))


def _write_said(
    part: Text | Reasoning | Refusal | Image | Audio | File | Video, writer: GeminiWriter, path: str
) -> dict[str, Any] | None:
    match part:
        case Text():
            return _write_text(part, writer, path)
        case Reasoning():
            return _write_thought(part, writer, path)
        case Refusal():
            return _write_refusal(part, writer, path)
        case _:
            return write_media(part, writer, path)


def _read_text(part: Fields, *, thought: bool, answered: bool) -> Part:
    text = part.needed_text("text")
    signature, signed_by, encrypted = _take_signature(part, answered=answered)
    if not thought:
        return Text(text=text, signature=signature, signed_by=signed_by, extra=part.left)
    part.take("thought")
    if encrypted:
        return Reasoning(text=text, encrypted=signature, signed_by=signed_by, extra=part.left)
    return Reasoning(text=text, summary=True, signature=signature, signed_by=signed_by, extra=part.left)


def _read_call(part: Fields, *, answered: bool) -> ToolCall:
    inner = part.needed_fields("functionCall")
    args = inner.mapping("args")
    signature, signed_by, _ = _take_signature(part, answered=answered)
    call = {
        "id": inner.text("id"),
        "name": inner.needed_text("name", "the function's name"),
        "arguments": "" if args is None else write_json(args).decode(),
    }
    part.keep("functionCall", inner if inner.left else None)
    return ToolCall(**call, signature=signature, signed_by=signed_by, extra=part.left)  # type: ignore[arg-type]  # each was read as its type


def _is_whole(call: Any) -> bool:
    """Whether it is one call. Arguments may also come piece by piece, where that is asked for."""
    return isinstance(call, dict) and call.get("partialArgs") is None and call.get("willContinue") is None


def _take_signature(part: Fields, *, answered: bool) -> tuple[str | None, str | None, bool]:
    signature = part.text(_SIGNATURE)
    if signature is None:
        return None, None, False
    if answered:
        return opened(signature), None, False
    proof = proof_of(signature)
    return proof.value, proof.signed_by, proof.encrypted


def _take_waiver(part: Fields) -> str | None:
    """What stands in for a signature says nothing to anybody else."""
    signature = part.left.get(_SIGNATURE)
    if not isinstance(signature, str) or signature not in WAIVERS:
        return None
    del part.left[_SIGNATURE]
    return signature


def _write_text(text: Text, writer: GeminiWriter, path: str) -> dict[str, Any]:
    if text.citations and not (writer.answered or writer.same):
        writer.refuse(path, "citations")
    signature = text.signature
    if signature is not None and writer.foreign(text.signed_by) and not writer.answered:
        writer.refuse(path, "reasoning.foreign")
        signature = None
    return merged({"text": text.text, _SIGNATURE: _proof(signature, text.signed_by, writer)}, {})


def _write_thought(thought: Reasoning, writer: GeminiWriter, path: str) -> dict[str, Any] | None:
    proven = thought.signature is not None or thought.encrypted is not None
    if not writer.answered:
        if proven and writer.foreign(thought.signed_by):
            writer.refuse(path, "reasoning.foreign")
            return None
        if thought.encrypted is not None:
            writer.refuse(path, "reasoning.encrypted")
            return None
    known: dict[str, Any] = {"text": thought.text, "thought": True}
    if thought.encrypted is not None:
        known[_SIGNATURE] = writer.proof(thought.encrypted, thought.signed_by, encrypted=True)
    else:
        known[_SIGNATURE] = _proof(thought.signature, thought.signed_by, writer)
    return merged(known, {})


def _write_refusal(refusal: Refusal, writer: GeminiWriter, path: str) -> dict[str, Any] | None:
    """An answer has to arrive, and a refusal is what was said; in a request nobody could tell it from a text."""
    if writer.answered:
        return {"text": refusal.text}
    writer.refuse(path, "refusal")
    return None


def _proof(signature: str | None, signed_by: str | None, writer: GeminiWriter) -> str | None:
    return None if signature is None else writer.proof(signature, signed_by)
