"""Media in parts: ``inlineData`` (base64) and ``fileData`` (an address, or what the Files API keeps)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.gemini.names import FILES
from holdfast.dialects.writing import merged
from holdfast.model import Audio, File, Image, Media, Video

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.gemini.writer import GeminiWriter
    from holdfast.dialects.reading import Fields

__all__ = ["media_name", "read_media", "write_media"]

_KINDS: Final[Mapping[str, type[Media]]] = {"image": Image, "audio": Audio, "video": Video}
_USUAL: Final[Mapping[type[Media], str]] = {
    Image: "image/jpeg",
    Audio: "audio/mpeg",
    Video: "video/mp4",
    File: "application/pdf",
}
"""Where nothing tells the media type, which Google wants with an address and other dialects don't give."""
_BY_ENDING: Final[Mapping[str, str]] = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "heic": "image/heic",
    "heif": "image/heif", "gif": "image/gif", "bmp": "image/bmp", "avif": "image/avif",
    "wav": "audio/wav", "mp3": "audio/mpeg", "aiff": "audio/aiff", "aac": "audio/aac", "ogg": "audio/ogg",
    "flac": "audio/flac", "m4a": "audio/mp4", "opus": "audio/opus",
    "mp4": "video/mp4", "mpeg": "video/mpeg", "mpg": "video/mpeg", "mov": "video/quicktime", "avi": "video/x-msvideo",
    "webm": "video/webm", "wmv": "video/x-ms-wmv", "3gp": "video/3gpp",
    "pdf": "application/pdf", "txt": "text/plain", "html": "text/html", "css": "text/css", "csv": "text/csv",
    "md": "text/markdown", "xml": "text/xml", "json": "application/json", "rtf": "text/rtf",
}  # fmt: skip  # a list reads better packed
_DETAILS: Final[Mapping[str, str]] = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}
_LEVELS: Final[Mapping[str, str]] = {level: detail for detail, level in _DETAILS.items()}


def read_media(part: Fields, name: str) -> Image | Audio | Video | File:
    """The medium in ``inlineData`` or ``fileData``; its kind is told by the media type."""
    inner = part.needed_fields(name)
    media_type = inner.text("mimeType")
    known: dict[str, Any] = {"media_type": media_type}
    if name == "inlineData":
        # Google's own SDK writes base64 in its URL-safe alphabet, which nobody else reads.
        known["data"] = inner.needed_text("data", "base64 data").replace("-", "+").replace("_", "/")
        if media_type is None:
            media_type = _USUAL[File]
    else:
        uri = inner.needed_text("fileUri", "the address of a file")
        by_id = uri.startswith(FILES) or "://" not in uri
        known["file_id" if by_id else "url"] = uri
        if media_type is None:
            media_type = _by_address(uri) or _USUAL[File]
    kind = _KINDS.get(media_type.partition("/")[0], File)
    if kind is File:
        known["filename"] = inner.text("displayName")
    elif kind is Image:
        known["detail"] = _read_detail(part)
    part.keep(name, inner if inner.left else None)
    return kind(**known, extra=part.left)  # type: ignore[return-value]  # it is one of the four


def write_media(media: Media, writer: GeminiWriter, path: str) -> dict[str, Any] | None:
    """The fields of the part for ``media``; None where it has no way to be said and may be left out."""
    uri = media.url if media.file_id is None else media.file_id
    if media.file_id is not None and not (writer.own or media.file_id.startswith(FILES)):
        writer.refuse(path, media_name(media))
        return None
    kind = type(media)
    media_type = media.media_type
    if media_type is None and not writer.same:
        media_type = (uri and _by_address(uri, kind)) or _USUAL[kind]
    inner: dict[str, Any] = {"mimeType": media_type}
    if isinstance(media, File):
        inner["displayName"] = media.filename
    if media.data is not None:
        known: dict[str, Any] = {"inlineData": merged(inner | {"data": media.data}, {})}
    elif uri is not None:
        known = {"fileData": merged(inner | {"fileUri": uri}, {})}
    else:
        writer.refuse(path, media_name(media))
        return None
    if isinstance(media, Image) and media.detail not in (None, "auto"):
        level = _DETAILS.get(media.detail or "")
        if level is None:
            writer.refuse(path, "image.detail")
        else:
            known["mediaResolution"] = {"level": level}
    return known


def media_name(media: Media) -> str:
    """What ``media`` is in the words of :data:`holdfast.dialects.fields.NEUTRAL`: ``image.file_id``."""
    way = "data" if media.data is not None else "url" if media.url is not None else "file_id"
    return f"{media.__struct_config__.tag}.{way}"


def _read_detail(part: Fields) -> str | None:
    resolution = part.left.get("mediaResolution")
    level = resolution.get("level") if isinstance(resolution, dict) and len(resolution) == 1 else None
    if not isinstance(level, str) or level not in _LEVELS:
        return None
    del part.left["mediaResolution"]
    return _LEVELS[level]


def _by_address(uri: str, kind: type[Media] | None = None) -> str | None:
    """The media type that an address ends in; of ``kind``, where that is known already."""
    name = uri.partition("?")[0].partition("#")[0].rpartition("/")[2]
    found = _BY_ENDING.get(name.rpartition(".")[2].lower())
    if found is None or kind is None or _KINDS.get(found.partition("/")[0], File) is kind:
        return found
    return None
