"""Content parts: the items of a message's ``content`` list, and marks on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.openai_chat.writer import ChatWriter, opaque_name
from holdfast.dialects.writing import merged
from holdfast.model import (
    Audio,
    CacheMark,
    File,
    Image,
    Media,
    Opaque,
    Part,
    Refusal,
    Text,
    Video,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.dialects.reading import Fields

__all__ = ["part_name", "read_cache", "read_image", "read_part", "write_cache", "write_image", "write_part"]

_BASE64 = ";base64,"
_AUDIO_FORMATS: Mapping[str, str] = {"mp3": "audio/mpeg"}
_AUDIO_NAMES: Mapping[str, str] = {"audio/mpeg": "mp3", "audio/x-wav": "wav"}


def read_part(part: Fields) -> Part:
    """One item of a ``content`` list. A type that isn't known here stays whole, as an Opaque."""
    name = part.needed_text("type", "the name of a content type such as text or image_url")
    reader = _READERS.get(name)
    if reader is None:
        return Opaque(dialect=DIALECT, data={"type": name, **part.left}, place="content")
    return reader(part)


def write_part(part: Part, writer: ChatWriter, path: str) -> dict[str, Any] | None:
    """The item for ``part``; None where it has no place in a ``content`` list and the writer permits leaving it out."""
    if isinstance(part, Opaque):
        if part.dialect == DIALECT:
            return part.data
        writer.refuse(path, opaque_name(part.data))
        return None
    known = _known(part)
    if known is None:
        writer.refuse(path, part_name(part))
        return None
    known["cache_control"] = write_cache(part.cache)
    return merged(known, writer.leftovers(part.extra, path))


def part_name(part: Part) -> str:
    """What ``part`` is in the words of :data:`holdfast.dialects.fields.NEUTRAL`: ``image.file_id``."""
    kind = str(part.__struct_config__.tag)
    if not isinstance(part, Media):
        return kind
    way = "data" if part.data is not None else "url" if part.url is not None else "file_id"
    return f"{kind}.{way}"


def read_cache(fields: Fields) -> CacheMark | None:
    """The mark in ``cache_control``; one that has no type stays a leftover, since we can't know what it means."""
    mark = fields.left.get("cache_control")
    if not isinstance(mark, dict) or type(mark.get("type")) is not str:
        return None
    inner = fields.needed_fields("cache_control")
    if inner.left["type"] == "ephemeral":
        del inner.left["type"]
    return CacheMark(ttl=inner.text("ttl"), extra=inner.left)


def write_cache(mark: CacheMark | None) -> dict[str, Any] | None:
    if mark is None:
        return None
    return merged({"type": mark.extra.get("type", "ephemeral"), "ttl": mark.ttl}, mark.extra)


def read_image(part: Fields) -> Image:
    part.take("type")
    inner = part.needed_fields("image_url")
    url, data, media_type = _read_url(inner.needed_text("url", "an address or a data: URL"))
    detail = inner.text("detail")
    part.keep("image_url", inner)
    return Image(
        url=url, data=data, media_type=media_type, detail=detail, cache=read_cache(part), extra=part.left
    )


def write_image(image: Image) -> dict[str, Any] | None:
    url = _write_url(image)
    if url is None:
        return None
    return {"type": "image_url", "image_url": merged({"url": url, "detail": image.detail}, {})}


def _read_text(part: Fields) -> Text:
    return Text(text=part.needed_text("text"), cache=read_cache(part), extra=part.left)


def _read_refusal(part: Fields) -> Refusal:
    return Refusal(text=part.needed_text("refusal"), cache=read_cache(part), extra=part.left)


def _read_audio(part: Fields) -> Audio:
    inner = part.needed_fields("input_audio")
    data = inner.needed_text("data", "base64 audio")
    name = inner.text("format")
    part.keep("input_audio", inner)
    media_type = None if name is None else _AUDIO_FORMATS.get(name, f"audio/{name}")
    return Audio(data=data, media_type=media_type, cache=read_cache(part), extra=part.left)


def _read_file(part: Fields) -> File:
    inner = part.needed_fields("file")
    url = data = media_type = None
    if (content := inner.text("file_data")) is not None:
        url, data, media_type = _read_url(content)
        if url is not None and not url.startswith(("http://", "https://", "data:")):
            url, data = None, url  # base64 without the data: URL around it
    file_id, filename = inner.text("file_id"), inner.text("filename")
    part.keep("file", inner)
    return File(
        url=url,
        data=data,
        media_type=media_type,
        file_id=file_id,
        filename=filename,
        cache=read_cache(part),
        extra=part.left,
    )


def _read_video(part: Fields) -> Video:
    inner = part.needed_fields("video_url")
    url, data, media_type = _read_url(inner.needed_text("url", "an address or a data: URL"))
    part.keep("video_url", inner)
    return Video(url=url, data=data, media_type=media_type, cache=read_cache(part), extra=part.left)


_READERS: Mapping[str, Callable[[Fields], Part]] = {
    "text": _read_text,
    "image_url": read_image,
    "input_audio": _read_audio,
    "file": _read_file,
    "video_url": _read_video,
    "refusal": _read_refusal,
}


def _known(part: Part) -> dict[str, Any] | None:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Refusal():
            return {"type": "refusal", "refusal": part.text}
        case Image():
            return write_image(part)
        case Video() if (url := _write_url(part)) is not None:
            return {"type": "video_url", "video_url": {"url": url}}
        case Audio() if part.data is not None:
            return {"type": "input_audio", "input_audio": _write_audio(part.data, part.media_type)}
        case File():
            content = part.data if part.data is not None and part.media_type is None else _write_url(part)
            if content is None and part.file_id is None:
                return None
            names = {"file_data": content, "file_id": part.file_id, "filename": part.filename}
            return {"type": "file", "file": merged(names, {})}
        case _:
            return None


def _write_audio(data: str, media_type: str | None) -> dict[str, Any]:
    if media_type is None:
        return {"data": data}
    return {"data": data, "format": _AUDIO_NAMES.get(media_type, media_type.removeprefix("audio/"))}


def _read_url(text: str) -> tuple[str | None, str | None, str | None]:
    """(url, data, media type): a data: URL is taken apart only where putting it together gives the same text."""
    if text.startswith("data:"):
        media_type, found, data = text[5:].partition(_BASE64)
        if found and media_type and "," not in media_type:
            return None, data, media_type
    return text, None, None


def _write_url(media: Media) -> str | None:
    if media.data is None:
        return media.url
    return f"data:{media.media_type or 'application/octet-stream'}{_BASE64}{media.data}"
