"""What was answered, whatever the wire says. A whole answer is the fold of its events (:mod:`holdfast.model.fold`)."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from holdfast.model.content import Part, Text
from holdfast.model.message import Message  # noqa: TC001  # msgspec reads the annotations at run time
from holdfast.model.usage import Usage  # noqa: TC001  # msgspec reads the annotations at run time

__all__ = ["Answer", "Choice", "Finish", "FinishReason"]


class FinishReason(enum.StrEnum):
    """Why a choice ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    """The provider withheld the rest: safety, recitation, a refusal that it reports as a reason."""
    PAUSE = "pause"
    """The turn isn't over: the provider asks to be called again with what it said so far."""
    OTHER = "other"
    """None of these; ``raw`` has the provider's word."""


class Finish(msgspec.Struct, frozen=True):
    """``raw`` is the provider's own word, which says more than the reason."""

    reason: FinishReason
    raw: str


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One alternative. ``finish`` is None where the provider gave no reason: it didn't end properly."""

    index: int
    message: Message
    finish: Finish | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.message.parts

    @property
    def text(self) -> str:
        """All of its text, joined."""
        return "".join(part.text for part in self.message.parts if isinstance(part, Text))


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``dialect`` names whose leftovers stand in the ``extra`` and ``spelling`` fields throughout."""

    id: str = ""
    model: str = ""
    """As the provider says it, which may differ from what was asked."""
    created: int | None = None
    """Unix seconds, by the provider's clock."""
    choices: tuple[Choice, ...] = ()
    usage: Usage | None = None
    dialect: str | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
