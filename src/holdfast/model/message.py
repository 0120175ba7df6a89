"""One turn of a conversation."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from holdfast.model.content import Part  # noqa: TC001  # msgspec reads the annotations at run time

__all__ = ["Message", "Role"]


class Role(enum.StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Who says what. ``parts`` stand in the order in which the model reads or wrote them."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    spelling: dict[str, str] = msgspec.field(default_factory=dict)
    """How the dialect spelled what it can say in more than one way; no entry means its usual way.

    Only the encoder of the same dialect reads it. It carries no meaning: a reader of the model may ignore it.
    """
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    """Fields of this message that only its dialect knows. A known field is here if it was there and null."""
