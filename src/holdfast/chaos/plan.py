"""A reply as a value: what goes on the socket, in what pieces, after which pauses, and how it ends.

The wire makes a healthy :class:`Reply`; faults change it; the player writes it. So a fault is a pure function, and
only the player knows sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.draws import Draw

__all__ = ["FOREVER", "Billing", "Context", "Ending", "Kind", "Part", "Reply", "whole"]

Kind = Literal["body", "role", "reasoning", "text", "tool", "finish", "usage", "done", "noise"]
Ending = Literal["complete", "fin", "reset", "hang"]
Billing = Literal["nothing", "served", "whole"]

FOREVER = float("inf")
"""A pause that only the client's leaving ends."""


class Part(msgspec.Struct, gc=False):
    """One piece of body: an event of a stream, or a whole plain body."""

    data: bytes
    kind: Kind
    tokens: int = 0
    """Completion tokens that the client has once it has this."""
    said: str = ""
    """Their text (of the channel that ``kind`` names), for the journal."""
    choice: int = 0
    pause: float = 0.0
    """Seconds after the part before it was due: a steady pace, lateness made good."""
    hold: float = 0.0
    """Seconds of silence before it, from when it would have been written."""

    @property
    def waits(self) -> bool:
        """Whether it can't go along with the part before it."""
        return self.pause > 0 or self.hold > 0

    @property
    def is_content(self) -> bool:
        """Whether a client would call this part of the answer's content."""
        return self.tokens > 0


class Reply(msgspec.Struct):
    """One exchange's other half, ready to be played."""

    status: int | None
    """None: not a byte is sent, only the ending happens."""
    headers: dict[str, str]
    parts: Iterable[Part]
    length: int | None = None
    """The content-length that is claimed; None means chunked."""
    ending: Ending = "complete"
    early_head: bool = False
    """Whether status and headers go out before the first part's pause (a stream's do), or with it."""
    batch: int = 1
    """Tokens per write."""
    segment: int = 0
    """Bytes per write, whatever they hold; 0 for no such limit."""
    delay: float = 0.0
    """Seconds before anything at all is written."""
    billing: Billing = "nothing"


class Context(msgspec.Struct, frozen=True):
    """What a fault may know of the attempt that it spoils."""

    stream: bool
    include_usage: bool
    answer: Answer
    draw: Draw
    model: str


def whole(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Reply:
    """A short reply in one piece. Header names are given with ``_`` for ``-``."""
    named = {"content-type": content_type}
    named.update((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status, named, (Part(body, "body"),), length=len(body))
