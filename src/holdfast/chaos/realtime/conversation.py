"""A conversation: its items in their order, and what they cost as a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.realtime.audio import CHUNK_MS, Ear, input_tokens
from holdfast.chaos.realtime.wrong import Wrong
from holdfast.chaos.wire.base import MESSAGE_TOKENS, PART_TOKENS, Media, text_tokens
from holdfast.chaos.wire.media import data_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.chaos.realtime import shapes

__all__ = ["Conversation", "Stored", "heard", "said", "taken"]

_MOST_ITEMS = 4_096
_MOST_BYTES = 67_108_864
_PIECES = {
    "user": ("input_text", "input_audio", "input_image"),
    "assistant": ("output_text", "output_audio"),
    "system": ("input_text",),
}
_NEEDED = {
    "message": ("role", "content"),
    "function_call": ("name", "arguments"),
    "function_call_output": ("call_id", "output"),
}
_FIELDS = {
    "message": ("role", "content"),
    "function_call": ("name", "call_id", "arguments"),
    "function_call_output": ("call_id", "output"),
}


class Stored(msgspec.Struct):
    """An item, and what a prompt with it costs."""

    value: dict[str, Any]
    text: str = ""
    media: tuple[Media, ...] = ()
    audio_tokens: int = 0
    ms: float = 0.0
    """Length of its audio."""
    weight: int = 0
    """Bytes that it is counted as."""

    @property
    def id(self) -> str:
        given: str = self.value["id"]
        return given

    @property
    def text_tokens(self) -> int:
        others = sum(media.kind != "audio" for media in self.media)
        return MESSAGE_TOKENS + text_tokens(self.text) + PART_TOKENS * others


class Conversation:
    """Items in their order. The oldest are forgotten where there are too many, or too long ones."""

    def __init__(self) -> None:
        self._entries: list[Stored] = []
        self._by_id: dict[str, Stored] = {}
        self._bytes = 0

    def __iter__(self) -> Iterator[Stored]:
        return iter(self._entries)

    def get(self, item_id: str) -> Stored | None:
        return self._by_id.get(item_id)

    @property
    def last_id(self) -> str | None:
        return self._entries[-1].id if self._entries else None

    def before(self, item_id: str) -> str | None:
        """The id of the item before that one."""
        at = self._at(item_id)
        return self._entries[at - 1].id if at > 0 else None

    def add(self, entry: Stored, after: str | None = None) -> None:
        """At the end; behind the item ``after``; or, where that is ``root``, at the beginning. Raises :class:`Wrong`."""
        if entry.id in self._by_id:
            message = f"Error adding item: an item with id '{entry.id}' exists already."
            raise Wrong("item_create_duplicate_id", message, "item.id")
        if after is not None and after != "root" and after not in self._by_id:
            message = f"Error adding item: the previous item with id '{after}' does not exist."
            raise Wrong("item_create_invalid_previous_item_id", message, "previous_item_id")
        at = len(self._entries) if after is None else 0 if after == "root" else self._at(after) + 1
        self._entries.insert(at, entry)
        self._by_id[entry.id] = entry
        entry.weight = _weight(entry)
        self._bytes += entry.weight
        while len(self._entries) > _MOST_ITEMS or (self._bytes > _MOST_BYTES and len(self._entries) > 1):
            self.remove(self._entries[0].id)

    def remove(self, item_id: str) -> None:
        """Nothing happens where there is none."""
        if (entry := self._by_id.pop(item_id, None)) is not None:
            self._entries.remove(entry)
            self._bytes -= entry.weight

    def update(self, item_id: str, text: str, ms: float) -> None:
        """What an item says changed; nothing happens where there is none."""
        if (entry := self._by_id.get(item_id)) is None:
            return
        entry.text, entry.ms, entry.audio_tokens = text, ms, round(ms / CHUNK_MS)
        self._bytes -= entry.weight
        entry.weight = _weight(entry)
        self._bytes += entry.weight

    def _at(self, item_id: str) -> int:
        return next((i for i, entry in enumerate(self._entries) if entry.id == item_id), -1)


def _weight(entry: Stored) -> int:
    return len(msgspec.json.encode(entry.value)) + 256


def said(entries: Iterable[Stored]) -> tuple[str, tuple[Media, ...]]:
    """The last user message's text, and all that isn't text."""
    text, media = "", list[Media]()
    for entry in entries:
        media += entry.media
        if entry.value.get("role") == "user":
            text = entry.text
    return text, tuple(media)


def heard(item_id: str, media: Media, ms: float) -> Stored:
    """A user message out of the input buffer."""
    content = [{"type": "input_audio", "transcript": None}]
    value = {"id": item_id, "type": "message", "status": "completed", "role": "user", "content": content}
    return Stored(value, media=(media,), audio_tokens=input_tokens(ms), ms=ms)


def taken(item: shapes.Item, item_id: str, param: str, kind: str) -> Stored:
    """A client's item, as it stands in the conversation; ``kind`` is the format of its audio. Raises :class:`Wrong`."""
    if item.type not in _NEEDED:
        raise Wrong("invalid_value", f"Invalid value: '{item.type}'.", f"{param}.type")
    for name in _NEEDED[item.type]:
        if getattr(item, name) is msgspec.UNSET:
            path = f"{param}.{name}"
            raise Wrong("missing_required_parameter", f"Missing required parameter: '{path}'.", path)
    given: dict[str, Any] = msgspec.to_builtins(item)
    for name in ("role", "content", "name", "call_id", "arguments", "output"):
        if name in given and name not in _FIELDS[item.type]:
            raise Wrong("unknown_parameter", f"Unknown parameter: '{param}.{name}'.", f"{param}.{name}")
    value: dict[str, Any] = {"id": given.get("id", item_id), "type": item.type}
    if item.type != "function_call_output":
        value["status"] = given.get("status") or "completed"
    value |= {name: given[name] for name in _FIELDS[item.type] if name in given}
    if item.type == "function_call":
        value.setdefault("call_id", f"call_{value['id'].removeprefix('item_')[:16]}")
        return Stored(value, f"{given['name']}{given['arguments']}")
    if item.type == "function_call_output":
        return Stored(value, given["output"])
    return _message(item, value, param, kind)


def _message(item: shapes.Item, value: dict[str, Any], param: str, kind: str) -> Stored:
    assert isinstance(item.content, list)  # noqa: S101  # a message without one was refused
    entry = Stored(value)
    texts: list[str] = []
    content: list[dict[str, Any]] = []
    for i, piece in enumerate(item.content):
        path = f"{param}.content[{i}]"
        if piece.type not in _PIECES[str(item.role)]:
            known = ", ".join(f"'{name}'" for name in _PIECES[str(item.role)])
            message = f"Invalid value: '{piece.type}'. Supported values are: {known}."
            raise Wrong("invalid_value", message, f"{path}.type")
        shown, text = _piece(piece, path, kind, entry)
        content.append(shown)
        texts.append(text)
    entry.text = "".join(texts)
    value["content"] = content
    return entry


def _piece(piece: shapes.Piece, path: str, kind: str, entry: Stored) -> tuple[dict[str, Any], str]:
    """The piece as it is told, and its text."""
    if piece.type in ("input_text", "output_text"):
        return {"type": piece.type, "text": _needed(piece.text, f"{path}.text")}, piece.text or ""
    if piece.type == "input_image":
        url = _needed(piece.image_url, f"{path}.image_url")
        try:
            entry.media += (data_url("image", url),)
        except ValueError as error:
            raise Wrong("invalid_value", f"Invalid image: {error}.", f"{path}.image_url") from None
        return {"type": piece.type, "image_url": url, "detail": piece.detail or "auto"}, ""
    ear = Ear()
    if piece.type == "input_audio" or piece.audio is not None:
        try:
            ear.append(_needed(piece.audio, f"{path}.audio"), kind)
        except ValueError as error:
            raise Wrong("invalid_value", f"Invalid audio: {error}.", f"{path}.audio") from None
    entry.ms += ear.ms
    if piece.type == "input_audio":
        entry.audio_tokens += input_tokens(ear.ms)
        entry.media += (ear.commit(kind),)
    return {"type": piece.type, "transcript": piece.transcript}, piece.transcript or ""


def _needed(given: str | None, path: str) -> str:
    if given is None:
        raise Wrong("missing_required_parameter", f"Missing required parameter: '{path}'.", path)
    return given
