"""A reply as a value: what goes on the socket, in what pieces, after which pauses, and how it ends.

The wire makes a healthy :class:`Reply`; faults change it; the player writes it. So a fault is a pure function, and
only the player knows sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.wire.base import Asked, Wire
    from holdfast.chaos.wire.errors import ErrorAnswer, Problem

__all__ = ["FOREVER", "Billing", "Context", "Ending", "Kind", "Part", "Reply", "Shut", "whole"]

Kind = Literal["body", "role", "frame", "reasoning", "text", "tool", "finish", "usage", "done", "noise"]
"""``role`` opens a stream; ``frame`` is what a wire needs between tokens (the start of a block, a signature)."""
Ending = Literal["complete", "fin", "half_close", "reset", "hang"]
"""``half_close``: our FIN, while we still read until the client leaves."""
Billing = Literal["nothing", "served", "whole"]

FOREVER = float("inf")
"""A pause that only the client's leaving ends (or, of a reply that is ``live``, its source)."""


class Shut(msgspec.Struct, frozen=True):
    """What becomes of new connections for a while."""

    how: Literal["refused", "silent"]
    """refused: answered with RST; silent: not answered at all, as by a host that is gone."""
    seconds: float


class Part(msgspec.Struct, gc=False):
    """One piece of body: an event of a stream, or a whole plain body."""

    data: bytes
    kind: Kind
    tokens: int = 0
    """Completion tokens that the client has once it has this."""
    said: str = ""
    """Their text (of the channel that ``kind`` names), for the journal."""
    choice: int = 0
    at: int = 0
    """The byte of ``data`` where what is said begins, inside a JSON string; 0: it isn't in one."""
    unseen: int = 0
    """Tokens that are billed with this part, but that no client sees."""
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
    segments: Iterator[int] | None = None
    """Bytes of each segment, all that is left once it ends; one that is longer than what is due goes on in the next
    write, so that the segments' ends don't depend on the parts'."""
    segment_pause: float = 0.0
    """Seconds between these writes."""
    delay: float = 0.0
    """Seconds before anything at all is written."""
    head_step: int = 0
    """Bytes of the head per write; 0: all at once, with the first part."""
    head_pause: float = 0.0
    """Seconds between those writes, and after the last one."""
    shut: Shut | None = None
    """What the whole server does to new connections once this reply has ended."""
    live: Callable[[Callable[[], None]], Callable[[], None]] | None = None
    """Where parts come as they happen: is called at the start with what wakes the player from a part that is held
    :data:`FOREVER` (and is then passed over); returns what stops it."""
    wait: Callable[[Callable[[], None]], bool] | None = None
    """Asks for a place; False: what it was given is called once there is one, and nothing is written before."""
    billing: Billing = "nothing"


class Context(msgspec.Struct, frozen=True):
    """What a fault may know of the attempt that it spoils."""

    wire: Wire
    asked: Asked
    answer: Answer
    draw: Draw
    request_id: str

    @property
    def stream(self) -> bool:
        return self.asked.stream

    def error(self, problem: Problem) -> ErrorAnswer:
        """``problem`` in the provider's words."""
        return self.wire.error(problem, self.asked.model, self.request_id)


def whole(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Reply:
    """A short reply in one piece. Header names are given with ``_`` for ``-``."""
    named = {"content-type": content_type}
    named.update((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status, named, (Part(body, "body"),), length=len(body))
