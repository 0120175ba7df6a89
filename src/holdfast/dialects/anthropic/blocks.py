"""Content blocks, both ways. A block that isn't known here stays whole, as an Opaque."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.dialects.anthropic.cache import read_cache, write_cache
from holdfast.dialects.anthropic.citations import read_citations, write_citation
from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.reading import invalid_request, read_json
from holdfast.dialects.signatures import mark, unmark
from holdfast.dialects.writing import Writer, merged, write_json
from holdfast.errors import HoldfastError
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
    from collections.abc import Callable, Mapping

    from holdfast.dialects.reading import Fields
    from holdfast.dialects.writing import Drops
    from holdfast.model import Media

__all__ = ["BlockWriter", "arguments_of", "read_block", "read_blocks"]


class BlockWriter(Writer):
    """A writer that knows whether it is asked or answered.

    Args:
        origin: the dialect that the request or answer was read in; None where it was built by hand.
        answered: an answer has to arrive, so what can't be said there is left out; in a request it is refused.
    """

    __slots__ = ("answered", "origin", "results")

    def __init__(self, origin: str | None, *, answered: bool, drops: Drops | None = None) -> None:
        super().__init__(DIALECT, origin, strict=not answered, drops=drops)
        self.origin = origin
        self.answered = answered
        self.results: Mapping[str, str] = {}
        """How the content of each result was spelled, by the id of its call."""

    def issuer(self, signed_by: str | None) -> str:
        """The dialect whose provider signed; what was built by hand is meant for whoever gets it."""
        return signed_by or self.origin or DIALECT

    def proof(self, proof: str, signed_by: str | None) -> str:
        return mark(proof, self.issuer(signed_by), DIALECT)

    def blocks(self, part: Part, path: str) -> list[dict[str, Any]]:
        """The blocks that say ``part``: none where it can't be said and may be left out."""
        return _WRITERS[type(part)](part, self, path)


def read_blocks(message: Fields, name: str, *, answered: bool = False) -> tuple[Part, ...]:
    """The blocks in the list ``name``. A carrier's signature goes to the call or text that it stands before.

    In an answer a marked signature stays as it is: its mark is taken off when the conversation comes back.
    """
    parts: list[Part] = []
    carried: Reasoning | None = None
    items = message.items(name) or []
    for at, item in enumerate(items):
        part = read_block(message.one_item(item, name, at))
        if carried is not None:
            if isinstance(part, ToolCall | Text):
                part = replace(part, signature=carried.signature, signed_by=carried.signed_by)
            else:
                parts.append(carried)
            carried = None
        if isinstance(part, Reasoning) and _is_carrier(part) and at + 1 < len(items):
            carried = part
            continue
        parts.append(part)
    return tuple(map(_as_it_came, parts)) if answered else tuple(parts)


def _as_it_came(part: Part) -> Part:
    if not isinstance(part, Text | Reasoning | ToolCall) or part.signed_by is None:
        return part
    changes: dict[str, Any] = {"signed_by": None}
    if part.signature is not None:
        changes["signature"] = mark(part.signature, part.signed_by, DIALECT)
    if isinstance(part, Reasoning) and part.encrypted is not None:
        changes["encrypted"] = mark(part.encrypted, part.signed_by, DIALECT)
    return replace(part, **changes)


def read_block(block: Fields) -> Part:
    kind = block.needed_text("type", "the name of a block's type such as text or image")
    reader = _READERS.get(kind)
    if reader is None:
        return Opaque(dialect=DIALECT, data={"type": kind, **block.left}, place="content")
    return reader(block)


def arguments_of(call: ToolCall) -> dict[str, Any] | None:
    """The arguments as an object; None where they are none."""
    if not call.arguments.strip():
        return {}
    try:
        value = read_json(call.arguments.encode(), invalid_request)
    except (HoldfastError, UnicodeEncodeError):
        return None
    return value if isinstance(value, dict) else None


def _is_carrier(part: Reasoning) -> bool:
    """A foreign signature alone: it belongs to what follows, which has no field for it here."""
    return not part.text and part.signature is not None and part.signed_by is not None


# Reading


def _read_text(block: Fields) -> Part:
    return Text(
        text=block.needed_text("text"),
        citations=read_citations(block),
        cache=read_cache(block),
        extra=block.left,
    )


def _read_thinking(block: Fields) -> Part:
    text = block.needed_text("thinking")
    signature, signed_by = unmark(block.text("signature") or "", DIALECT)
    foreign = signed_by if signed_by != DIALECT else None
    return Reasoning(text=text, signature=signature or None, signed_by=foreign, extra=block.left)


def _read_redacted(block: Fields) -> Part:
    data, signed_by = unmark(block.needed_text("data"), DIALECT)
    return Reasoning(encrypted=data, signed_by=signed_by if signed_by != DIALECT else None, extra=block.left)


def _read_call(block: Fields) -> Part:
    name = block.needed_text("name", "the tool's name")
    arguments = block.mapping("input")
    return ToolCall(
        id=block.text("id"),
        name=name,
        arguments="" if arguments is None else write_json(arguments).decode(),
        cache=read_cache(block),
        extra=block.left,
    )


def _read_result(block: Fields) -> Part:
    call_id = block.needed_text("tool_use_id", "the id of the tool_use that it answers")
    content = block.left.get("content")
    parts: tuple[Any, ...] = ()
    if isinstance(content, str):
        del block.left["content"]
        parts = (Text(text=content),)
    elif isinstance(content, list):
        blocks = read_blocks(block, "content")
        parts = tuple(each for each in blocks if not isinstance(each, ToolCall | ToolResult))
    elif content is not None:
        raise block.wrong(content, "a string or a list of blocks", "content")
    is_error = block.flag("is_error")
    return ToolResult(
        call_id=call_id, parts=parts, is_error=is_error, cache=read_cache(block), extra=block.left
    )


def _read_image(block: Fields) -> Part:
    source = block.needed_fields("source")
    url, data, file_id, media_type = _read_source(source)
    block.keep("source", source)
    return Image(
        url=url, data=data, file_id=file_id, media_type=media_type, cache=read_cache(block), extra=block.left
    )


def _read_document(block: Fields) -> Part:
    source = block.left.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if kind not in ("base64", "url", "file", "text"):
        return Opaque(
            dialect=DIALECT, data={"type": "document", **_without_type(block.left)}, place="content"
        )
    inner = block.needed_fields("source")
    if kind == "text":
        inner.take("type")
        data: str | None = base64.b64encode(
            inner.needed_text("data").encode("utf-8", "surrogatepass")
        ).decode()
        url = file_id = None
        media_type = inner.text("media_type")
    else:
        url, data, file_id, media_type = _read_source(inner)
    block.keep("source", inner)
    return File(
        url=url,
        data=data,
        file_id=file_id,
        media_type=media_type,
        filename=block.text("title"),
        cache=read_cache(block),
        extra=block.left,
    )


def _read_source(source: Fields) -> tuple[str | None, str | None, str | None, str | None]:
    kind = source.needed_text("type", "base64, url or file")
    if kind == "base64":
        return None, source.needed_text("data", "base64"), None, source.text("media_type")
    if kind == "url":
        return source.needed_text("url", "an address"), None, None, None
    if kind == "file":
        return None, None, source.needed_text("file_id", "a file's id"), None
    raise source.fault("type", f"is {kind!r}; it must be base64, url or file")


def _without_type(left: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in left.items() if name != "type"}


_READERS: Final[Mapping[str, Callable[[Fields], Part]]] = {
    "text": _read_text,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "tool_use": _read_call,
    "tool_result": _read_result,
    "image": _read_image,
    "document": _read_document,
}

# Writing


def _write_text(text: Text, writer: BlockWriter, path: str) -> list[dict[str, Any]]:
    if text.citations and writer.origin != DIALECT and not writer.answered:
        writer.refuse(path, "citations")
        citations: list[dict[str, Any]] = []
    else:
        citations = [write_citation(each, writer) for each in text.citations]
    known = {"type": "text", "text": text.text, "citations": citations or None}
    block = merged(known | _mark(text), writer.leftovers(text.extra, path))
    return [*_carrier(text, writer, path), block]


def _write_refusal(refusal: Refusal, _: BlockWriter, __: str) -> list[dict[str, Any]]:
    """A refusal is text here, and a stop reason."""
    return [{"type": "text", "text": refusal.text, **_mark(refusal)}]


def _write_reasoning(thought: Reasoning, writer: BlockWriter, path: str) -> list[dict[str, Any]]:
    issuer = writer.issuer(thought.signed_by)
    signed = thought.signature is not None or thought.encrypted is not None
    taken = issuer == DIALECT if signed else writer.origin == DIALECT
    if not writer.answered and not taken:
        # Anthropic takes back only thoughts that it signed.
        writer.refuse(path, "reasoning.foreign" if signed else "reasoning.text")
        return []
    extra = writer.leftovers(thought.extra, path)
    if thought.encrypted is not None:
        data = writer.proof(thought.encrypted, thought.signed_by)
        return [merged({"type": "redacted_thinking", "data": data}, extra)]
    signature = writer.proof(thought.signature, thought.signed_by) if thought.signature else ""
    return [merged({"type": "thinking", "thinking": thought.text, "signature": signature}, extra)]


def _write_call(call: ToolCall, writer: BlockWriter, path: str) -> list[dict[str, Any]]:
    arguments = arguments_of(call)
    if arguments is None:
        writer.refuse(path, "tool_call")
        arguments = {}
    known: dict[str, Any] = {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}
    block = merged(known | _mark(call), writer.leftovers(call.extra, path))
    return [*_carrier(call, writer, path), block]


def _write_result(result: ToolResult, writer: BlockWriter, path: str) -> list[dict[str, Any]]:
    content: Any = []
    for at, part in enumerate(result.parts):
        content += writer.blocks(part, f"{path}.parts[{at}]")
    spelled = writer.results.get(result.call_id or "", "string" if writer.origin != DIALECT else "blocks")
    if spelled == "string" and len(content) == 1 and content[0].keys() == {"type", "text"}:
        content = content[0]["text"]
    elif spelled == "absent" and not content:
        content = None
    known = {
        "type": "tool_result",
        "tool_use_id": result.call_id,
        "content": content,
        "is_error": result.is_error,
    }
    return [merged(known | _mark(result), writer.leftovers(result.extra, path))]


def _write_image(image: Image, writer: BlockWriter, path: str) -> list[dict[str, Any]]:
    if image.detail not in (None, "auto"):
        writer.refuse(path, "image.detail")
    source = _write_source(image, writer, path, "image")
    if source is None:
        return []
    known = {"type": "image", "source": source, **_mark(image)}
    return [merged(known, writer.leftovers(image.extra, path))]


def _write_file(file: File, writer: BlockWriter, path: str) -> list[dict[str, Any]]:
    text = _plain_text(file)
    if text is not None:
        source: dict[str, Any] | None = {"type": "text", "media_type": "text/plain", "data": text}
    elif file.data is not None and file.media_type not in (None, "application/pdf") and not writer.own:
        writer.refuse(path, "file.data")
        return []
    else:
        source = _write_source(file, writer, path, "file")
    if source is None:
        return []
    known = {"type": "document", "source": source, "title": file.filename, **_mark(file)}
    return [merged(known, writer.leftovers(file.extra, path))]


def _write_source(media: Media, writer: BlockWriter, path: str, name: str) -> dict[str, Any] | None:
    if media.data is not None:
        kind = media.media_type or ("application/pdf" if name == "file" else "image/png")
        return {"type": "base64", "media_type": kind, "data": media.data}
    if media.url is not None:
        return {"type": "url", "url": media.url}
    if media.file_id is not None:
        if not writer.own:  # ids belong to the provider that keeps the file
            writer.refuse(path, f"{name}.file_id")
            return None
        return {"type": "file", "file_id": media.file_id}
    return None


def _plain_text(file: File) -> str | None:
    """A text file's content: it stands here as it is, and not as base64."""
    if file.data is None or (file.media_type or "").partition(";")[0] != "text/plain":
        return None
    try:
        return base64.b64decode(file.data, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None


def _write_unsayable(media: Audio | Video, writer: BlockWriter, path: str) -> list[dict[str, Any]]:
    name = type(media).__name__.lower()
    writer.refuse(path, f"{name}.url" if media.url is not None else f"{name}.data")
    return []


def _write_opaque(part: Opaque, writer: BlockWriter, path: str) -> list[dict[str, Any]]:
    if part.dialect == DIALECT:
        return [part.data]
    kind = part.data.get("type")
    writer.refuse(path, kind if isinstance(kind, str) else next(iter(part.data), ""))
    return []


def _carrier(part: Text | ToolCall, writer: BlockWriter, path: str) -> list[dict[str, Any]]:
    """The signature of a call or text, for which there is no field: an answer's travels in a thought before it."""
    if part.signature is None:
        return []
    if not writer.answered:
        writer.refuse(path, "tool_call.signature")
        return []
    signature = writer.proof(part.signature, part.signed_by)
    return [{"type": "thinking", "thinking": "", "signature": signature}]


def _mark(part: Part) -> dict[str, Any]:
    return {"cache_control": write_cache(part.cache)} if part.cache is not None else {}


_WRITERS: Final[Mapping[type, Callable[[Any, BlockWriter, str], list[dict[str, Any]]]]] = {
    Text: _write_text,
    Refusal: _write_refusal,
    Reasoning: _write_reasoning,
    ToolCall: _write_call,
    ToolResult: _write_result,
    Image: _write_image,
    File: _write_file,
    Audio: _write_unsayable,
    Video: _write_unsayable,
    Opaque: _write_opaque,
}
