"""Content blocks, both ways. A block that isn't known here stays whole, as an Opaque."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.anthropic.cache import read_cache, write_cache
from holdfast.dialects.anthropic.citations import read_citations, write_citations
from holdfast.dialects.anthropic.media import read_document, read_image, write_document, write_image
from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.anthropic.thoughts import (
    carried,
    carrier,
    read_redacted,
    read_thinking,
    signed_by_carrier,
    write_thought,
)
from holdfast.dialects.anthropic.tools import read_call, write_call, written_id
from holdfast.dialects.anthropic.writer import AnthropicWriter, opaque_name
from holdfast.dialects.writing import merged
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
    from holdfast.dialects.reading import Fields

__all__ = ["is_plain", "read_part", "read_parts", "write_part"]


def read_parts(
    holder: Fields, name: str, *, answered: bool = False
) -> tuple[tuple[Part, ...], dict[str, str]]:
    """The blocks in the list ``name``, which is taken, and how some of them are spelled, by their places."""
    parts: list[Part] = []
    spelling: dict[str, str] = {}
    for at, item in enumerate(holder.items(name) or []):
        if carried(item) and parts:
            signed = signed_by_carrier(parts[-1], item, answered=answered)
            if signed is not None:
                parts[-1] = signed
                continue
        part, spelt = read_part(holder.one_item(item, name, at), answered=answered)
        if spelt is not None:
            spelling[f"parts[{len(parts)}]"] = spelt
        parts.append(part)
    return tuple(parts), spelling


def read_part(block: Fields, *, answered: bool = False) -> tuple[Part, str | None]:
    """One block, and how it is spelled where that isn't the usual way."""
    kind = block.needed_text("type", "the name of a block's type such as text or image")
    match kind:
        case "text":
            citations = read_citations(block, answered=answered)
            text = block.needed_text("text")
            return Text(text=text, citations=citations, cache=read_cache(block), extra=block.left), None
        case "thinking":
            return read_thinking(block, answered=answered), None
        case "redacted_thinking":
            return read_redacted(block, answered=answered), None
        case "tool_use":
            return read_call(block, answered=answered)
        case "tool_result":
            return _read_result(block)
        case "image" if (image := read_image(block)) is not None:
            return image, None
        case "document" if (document := read_document(block)) is not None:
            return document, None
        case _:
            return Opaque(dialect=DIALECT, data={"type": kind, **block.left}), None


def write_part(
    part: Part, writer: AnthropicWriter, path: str, spelling: str | None = None
) -> list[dict[str, Any]]:
    """The blocks for ``part``, nearly always one: none where it can't be said and may be left out."""
    match part:
        case Text():
            return _write_text(part, writer, path)
        case Refusal():  # text here, and a stop reason
            return [_plain(part, writer, path)] if part.text or writer.answered else []
        case Reasoning():
            return write_thought(part, writer, path)
        case ToolCall():
            return [write_call(part, writer, path, spelling), *_carried(part, writer, path)]
        case ToolResult():
            return [_write_result(part, writer, path, spelling)]
        case Image() | File():
            written = _write_media(part, writer, path)
            return [] if written is None else [written]
        case Opaque() if part.dialect == DIALECT:
            return [part.data]
        case Opaque():
            writer.refuse(path, opaque_name(part.data))
        case Audio() | Video():
            way = "data" if part.data is not None else "url" if part.url is not None else "file_id"
            writer.refuse(path, f"{part.__struct_config__.tag}.{way}")
    return []


def is_plain(blocks: list[dict[str, Any]]) -> bool:
    """One text and nothing else on it: it may stand as a string."""
    return len(blocks) == 1 and blocks[0].keys() == {"type", "text"} and blocks[0]["type"] == "text"


def _write_text(text: Text, writer: AnthropicWriter, path: str) -> list[dict[str, Any]]:
    if not text.text and not writer.same and not writer.answered:
        return []  # Anthropic refuses empty texts, which say nothing
    citations = write_citations(text.citations, writer, path)
    block = _plain(text, writer, path)
    return [block if citations is None else {**block, "citations": citations}, *_carried(text, writer, path)]


def _plain(part: Text | Refusal, writer: AnthropicWriter, path: str) -> dict[str, Any]:
    known = {"type": "text", "text": part.text, "cache_control": write_cache(part.cache)}
    return merged(known, writer.leftovers(part.extra, path))


def _carried(part: Text | ToolCall, writer: AnthropicWriter, path: str) -> list[dict[str, Any]]:
    """The signature of a text or call, which has no field here: an answer's stands in a thought behind it."""
    if part.signature is None:
        return []
    if not writer.answered:
        writer.refuse(path, "tool_call.signature" if isinstance(part, ToolCall) else "reasoning.foreign")
        return []
    if isinstance(
        part, Text
    ):  # a block behind the last text would be taken for the answer: Claude Code shows the last
        return []
    return [carrier(writer.proof(part.signature, part.signed_by))]


def _write_media(
    part: Image | File, writer: AnthropicWriter, path: str, name: str | None = None
) -> dict[str, Any] | None:
    if writer.answered and not writer.same:
        return None  # callers expect nothing of the kind in an answer
    if isinstance(part, Image):
        return write_image(part, writer, path, name)
    return write_document(part, writer, path, name)


_STRING: Final = "string"
_ABSENT: Final = "absent"


def _read_result(block: Fields) -> tuple[ToolResult, str | None]:
    call_id = block.needed_text("tool_use_id", "the id of the tool_use that it answers")
    content = block.left.get("content")
    parts: tuple[Part, ...] = ()
    spelling: str | None = None
    if isinstance(content, str):
        del block.left["content"]
        parts, spelling = (Text(text=content),), _STRING
    elif content is None:
        spelling = _ABSENT
    else:
        parts = read_parts(block, "content")[0]
    inner = tuple(part for part in parts if not isinstance(part, ToolCall | ToolResult))
    if len(inner) < len(parts):
        raise block.fault("content", "holds a block that can't stand in a result")
    result = ToolResult(
        call_id=call_id,
        parts=inner,
        is_error=block.flag("is_error"),
        cache=read_cache(block),
        extra=block.left,
    )
    return result, spelling


def _write_result(
    result: ToolResult, writer: AnthropicWriter, path: str, spelling: str | None
) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    for at, part in enumerate(result.parts):
        where = f"{path}.parts[{at}]"
        if isinstance(part, Image | File):
            name = "tool_result.image" if isinstance(part, Image) else "tool_result.file"
            shown = _write_media(part, writer, where, name)
            blocks += [] if shown is None else [shown]
        else:
            blocks += write_part(part, writer, where)
    content: Any = blocks
    if (spelling == _STRING or not writer.same) and is_plain(blocks):
        content = blocks[0]["text"]
    elif not blocks and (spelling == _ABSENT or not writer.same):
        content = None
    known = {
        "type": "tool_result",
        "tool_use_id": written_id(result.call_id, writer),
        "content": content,
        "is_error": result.is_error,
        "cache_control": write_cache(result.cache),
    }
    return merged(known, writer.leftovers(result.extra, path))
