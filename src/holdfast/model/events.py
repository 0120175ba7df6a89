"""A streamed answer, event by event. ``fold(events)`` is the answer; ``split(answer)`` is one of its streams.

A *block* is one part of one choice. ``key`` orders the blocks of a choice and is the same for all events of a block:
its index where the wire numbers blocks, else whatever integer its dialect gives that kind of part. Keys needn't be dense.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.model.answer import Finish  # noqa: TC001  # msgspec reads the annotations at run time
from holdfast.model.content import Citation, Part  # noqa: TC001  # msgspec reads the annotations at run time
from holdfast.model.message import Role
from holdfast.model.usage import Usage  # noqa: TC001  # msgspec reads the annotations at run time
from holdfast.model.wire_error import WireError  # noqa: TC001  # msgspec reads the annotations at run time

__all__ = [
    "AudioDelta",
    "BlockStarted",
    "ChoiceLeftover",
    "ChoiceStarted",
    "CitationDelta",
    "Ended",
    "Event",
    "Failed",
    "Finished",
    "MessageLeftover",
    "OpaqueDelta",
    "Ping",
    "ReasoningDelta",
    "RefusalDelta",
    "SignatureDelta",
    "Started",
    "TextDelta",
    "ToolCallDelta",
    "UsageReported",
]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=True):
    pass


class Started(_Event, frozen=True, kw_only=True):
    """The answer's metadata.

    May come again as more is known: what was said first stays; ``extra`` replaces by key (but for nulls).
    """

    id: str = ""
    model: str = ""
    created: int | None = None
    dialect: str | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class ChoiceStarted(_Event, frozen=True, kw_only=True):
    """There is such a choice, though it hasn't said anything yet."""

    choice: int
    role: Role = Role.ASSISTANT
    name: str | None = None


class BlockStarted(_Event, frozen=True, kw_only=True):
    """A block begins as ``part``; deltas go on from there. Blocks that don't stream come whole this way.

    Deltas may come without it where a kind of part needs nothing but its text.
    """

    choice: int
    key: int
    part: Part


class TextDelta(_Event, frozen=True, kw_only=True):
    choice: int
    key: int
    text: str


class ReasoningDelta(_Event, frozen=True, kw_only=True):
    choice: int
    key: int
    text: str = ""
    encrypted: str = ""


class RefusalDelta(_Event, frozen=True, kw_only=True):
    choice: int
    key: int
    text: str


class ToolCallDelta(_Event, frozen=True, kw_only=True):
    """More of a tool call's ``arguments``. ``id`` and ``name`` where the wire gives them only now."""

    choice: int
    key: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


class AudioDelta(_Event, frozen=True, kw_only=True):
    """More of the audio (base64, as sent) or of its transcript."""

    choice: int
    key: int
    data: str = ""
    transcript: str = ""


class OpaqueDelta(_Event, frozen=True, kw_only=True):
    """More of a block that only its dialect knows, added as :func:`holdfast.model.fold.accumulate` does."""

    choice: int
    key: int
    data: dict[str, Any]


class SignatureDelta(_Event, frozen=True, kw_only=True):
    """More of the signature of a text, reasoning or tool-call block."""

    choice: int
    key: int
    signature: str


class CitationDelta(_Event, frozen=True, kw_only=True):
    choice: int
    key: int
    citation: Citation


class MessageLeftover(_Event, frozen=True, kw_only=True):
    """Fields of the message that only its dialect knows, added as :func:`holdfast.model.fold.accumulate` does.

    ``spelling`` replaces by key.
    """

    choice: int
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    spelling: dict[str, str] = msgspec.field(default_factory=dict)


class ChoiceLeftover(_Event, frozen=True, kw_only=True):
    """Fields of the choice that only its dialect knows: ``extra`` replaces by key (but for nulls), ``more`` is added."""

    choice: int
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    more: dict[str, Any] = msgspec.field(default_factory=dict)


class Finished(_Event, frozen=True, kw_only=True):
    choice: int
    finish: Finish


class UsageReported(_Event, frozen=True, kw_only=True):
    """The usage so far, in full: a later one replaces it."""

    usage: Usage


class Failed(_Event, frozen=True, kw_only=True):
    """The provider said, within the stream, that it can't go on."""

    error: WireError


class Ended(_Event, frozen=True, kw_only=True):
    """The dialect's terminal marker."""


class Ping(_Event, frozen=True, kw_only=True):
    """A sign of life without meaning: a ping event or a comment."""


Event = (
    Started
    | ChoiceStarted
    | BlockStarted
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallDelta
    | AudioDelta
    | OpaqueDelta
    | SignatureDelta
    | CitationDelta
    | MessageLeftover
    | ChoiceLeftover
    | Finished
    | UsageReported
    | Failed
    | Ended
    | Ping
)
