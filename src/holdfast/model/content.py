"""The parts that a message is made of, each said once for all dialects.

What only one dialect says about a part stays in ``extra`` under that dialect's own names. Whose names those are
stands on the request or answer (its ``dialect``), not on every part.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "Audio",
    "CacheMark",
    "Citation",
    "File",
    "Image",
    "Media",
    "Opaque",
    "Part",
    "Reasoning",
    "Refusal",
    "Text",
    "ToolCall",
    "ToolResult",
    "Video",
]


class CacheMark(msgspec.Struct, frozen=True, kw_only=True):
    """Everything up to here may be cached by the provider. ``ttl`` as callers write it (``5m``, ``1h``)."""

    ttl: str | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a text has something from. ``start`` and ``end`` count in the citing text, in the dialect's units."""

    url: str | None = None
    title: str | None = None
    cited_text: str | None = None
    start: int | None = None
    end: int | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class _Part(msgspec.Struct, frozen=True, kw_only=True, tag_field="part"):
    cache: CacheMark | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class Text(_Part, frozen=True, kw_only=True, tag="text"):
    text: str
    citations: tuple[Citation, ...] = ()
    signature: str | None = None
    """Proof of thought that some providers attach to plain text and want back unchanged."""
    signed_by: str | None = None
    """The dialect of the provider that signed it, and alone can check it. None: the dialect of the request or answer."""


class Media(_Part, frozen=True, kw_only=True):
    """Bytes by exactly one of three ways: ``url``, ``data`` (base64, as sent) or ``file_id`` (kept by the provider)."""

    url: str | None = None
    data: str | None = None
    file_id: str | None = None
    media_type: str | None = None


class Image(Media, frozen=True, kw_only=True, tag="image"):
    detail: str | None = None
    """How closely the model should look: ``low``, ``high``, ``auto``."""


class Audio(Media, frozen=True, kw_only=True, tag="audio"):
    transcript: str | None = None


class File(Media, frozen=True, kw_only=True, tag="file"):
    filename: str | None = None


class Video(Media, frozen=True, kw_only=True, tag="video"):
    pass


class Reasoning(_Part, frozen=True, kw_only=True, tag="reasoning"):
    """What the model thought. ``encrypted`` is what only its provider can read (redacted thinking too)."""

    text: str = ""
    summary: bool = False
    """Whether ``text`` is a summary and not the thought itself."""
    signature: str | None = None
    encrypted: str | None = None
    signed_by: str | None = None
    """The dialect of the provider that signed or encrypted it. None: the dialect of the request or answer."""
    id: str | None = None


class ToolCall(_Part, frozen=True, kw_only=True, tag="tool_call"):
    """``arguments`` is the JSON text as the model wrote it: it needn't be valid. Not every dialect gives an ``id``."""

    id: str | None = None
    name: str
    arguments: str = ""
    signature: str | None = None
    signed_by: str | None = None
    """The dialect of the provider that signed it. None: the dialect of the request or answer."""


class Refusal(_Part, frozen=True, kw_only=True, tag="refusal"):
    text: str


class Opaque(_Part, frozen=True, kw_only=True, tag="opaque"):
    """Something that only ``dialect`` knows (server tools, code execution): kept whole, never guessed at.

    ``place`` says where its dialect keeps it, for dialects that have more than one place.
    """

    dialect: str
    data: dict[str, Any]
    place: str = ""


class ToolResult(_Part, frozen=True, kw_only=True, tag="tool_result"):
    call_id: str | None = None
    name: str | None = None
    """The tool's name, for dialects that match results by name."""
    parts: tuple[Text | Image | Audio | File | Video | Reasoning | Refusal | Opaque, ...] = ()
    is_error: bool | None = None


Part = Text | Image | Audio | File | Video | Reasoning | ToolCall | ToolResult | Refusal | Opaque
