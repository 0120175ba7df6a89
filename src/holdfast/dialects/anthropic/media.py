"""Images and documents: a block with a ``source``, by one of several ways."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.anthropic.cache import read_cache, write_cache
from holdfast.dialects.writing import merged
from holdfast.model import File, Image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.anthropic.writer import AnthropicWriter
    from holdfast.dialects.reading import Fields
    from holdfast.model import Media

__all__ = ["read_document", "read_image", "write_document", "write_image"]

_PDF: Final = "application/pdf"
_PLAIN: Final = "text/plain"
_IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_BEGINNINGS: Final[Mapping[str, str]] = {
    "/9j/": "image/jpeg",
    "iVBOR": "image/png",
    "R0lG": "image/gif",
    "UklGR": "image/webp",
    "JVBERi0": _PDF,
}
"""How base64 of each type that Anthropic takes begins: it wants the type, which not every dialect says."""


def read_image(block: Fields) -> Image | None:
    """The image; None where its source is of a kind that isn't known here."""
    if _kind(block) not in ("base64", "url", "file"):
        return None
    source = block.needed_fields("source")
    media = _read_source(source)
    block.keep("source", source if source.left else None)
    return Image(**media, cache=read_cache(block), extra=block.left)


def read_document(block: Fields) -> File | None:
    """The document; None where its source is of a kind that isn't known here, or is made of blocks itself."""
    kind, media_type = _kind(block), _media_type(block)
    if kind == "text" and media_type == _PLAIN:
        source = block.needed_fields("source")
        source.take("type")
        text = source.needed_text("data", "the document's text")
        media = {"data": base64.b64encode(text.encode()).decode(), "media_type": source.text("media_type")}
    elif kind in ("url", "file") or (kind == "base64" and media_type != _PLAIN):
        source = block.needed_fields("source")
        media = _read_source(source)
    else:
        return None
    block.keep("source", source if source.left else None)
    return File(**media, filename=block.text("title"), cache=read_cache(block), extra=block.left)


def write_image(
    image: Image, writer: AnthropicWriter, path: str, name: str | None = None
) -> dict[str, Any] | None:
    """The block; None where it can't be said and may be left out. ``name``: what it is where it stands."""
    if image.detail not in (None, "auto"):
        writer.refuse(path, "image.detail")
    media_type = image.media_type or _guessed(image.data)
    if image.data is not None and not writer.same and media_type not in _IMAGES:
        writer.refuse(path, name or "image.data")
        return None
    source = _write_source(image, media_type, writer, path, "image.file_id")
    if source is None:
        return None
    known = {"type": "image", "source": source, "cache_control": write_cache(image.cache)}
    return merged(known, writer.leftovers(image.extra, path))


def write_document(
    file: File, writer: AnthropicWriter, path: str, name: str | None = None
) -> dict[str, Any] | None:
    """The block; None where it can't be said and may be left out. ``name``: what it is where it stands."""
    media_type = file.media_type or _guessed(file.data)
    text = _plain_text(file.data, media_type)
    if text is not None:
        source: dict[str, Any] | None = {"type": "text", "media_type": _PLAIN, "data": text}
    elif file.data is not None and not writer.same and media_type != _PDF:
        writer.refuse(path, name or "file.data")
        return None
    else:
        source = _write_source(file, media_type, writer, path, "file.file_id")
    if source is None:
        return None
    known = {
        "type": "document",
        "source": source,
        "title": file.filename,
        "cache_control": write_cache(file.cache),
    }
    return merged(known, writer.leftovers(file.extra, path))


def _kind(block: Fields) -> Any:
    source = block.left.get("source")
    return source.get("type") if isinstance(source, dict) else None


def _media_type(block: Fields) -> Any:
    source = block.left.get("source")
    return source.get("media_type") if isinstance(source, dict) else None


def _read_source(source: Fields) -> dict[str, Any]:
    match source.take("type"):
        case "base64":
            return {"data": source.needed_text("data", "base64"), "media_type": source.text("media_type")}
        case "url":
            return {"url": source.needed_text("url", "an address")}
        case _:
            return {"file_id": source.needed_text("file_id", "a file's id")}


def _write_source(
    media: Media, media_type: str | None, writer: AnthropicWriter, path: str, name: str
) -> dict[str, Any] | None:
    if media.data is not None:
        return merged({"type": "base64", "media_type": media_type, "data": media.data}, {})
    if media.url is not None:
        return {"type": "url", "url": media.url}
    if media.file_id is not None and writer.own:
        return {"type": "file", "file_id": media.file_id}
    writer.refuse(path, name)  # an id means something only to the provider that keeps the file
    return None


def _guessed(data: str | None) -> str | None:
    if data is None:
        return None
    return next((kind for beginning, kind in _BEGINNINGS.items() if data.startswith(beginning)), None)


def _plain_text(data: str | None, media_type: str | None) -> str | None:
    """A text file's content, which stands here as it is and not as base64."""
    if data is None or media_type is None or media_type.partition(";")[0].strip() != _PLAIN:
        return None
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
