"""What a wire is: one provider's format, as its server side speaks it. Requests in; answers, events and errors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from holdfast.chaos.answer import Answer
    from holdfast.chaos.draws import Draw
    from holdfast.chaos.http import Request
    from holdfast.chaos.plan import Part
    from holdfast.chaos.quota import Quota
    from holdfast.chaos.wire.errors import ErrorAnswer, Problem

__all__ = ["Asked", "Field", "Media", "Operation", "Place", "Tool", "Wire", "text_tokens"]

Field = Literal["id", "model", "answer"]
Operation = Literal["answer", "count", "embed", "connect", "realtime"]
"""``connect`` and ``realtime`` are a session and each of its responses."""

MESSAGE_TOKENS = 4
PART_TOKENS = 85
TOOL_TOKENS = 10


def text_tokens(text: str) -> int:
    """Tokens that a text of the prompt is billed as: its UTF-8 bytes / 4, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


class Place(msgspec.Struct, frozen=True):
    """What a request's path and query say about it."""

    operation: Operation = "answer"
    model: str | None = None
    stream: bool = False
    sse: bool = True
    """Whether a stream is server-sent events (else: one JSON array, written bit by bit)."""


class Tool(msgspec.Struct, frozen=True):
    name: str
    parameters: Any = None
    """Its JSON schema."""


class Media(msgspec.Struct, frozen=True):
    """A part of the prompt that is no text."""

    kind: str
    """image, file, audio …"""
    type: str
    """Its media type, or the address that it is to be read from."""
    size: int = 0
    sha256: str = ""

    def __str__(self) -> str:
        inside = f" {self.size} bytes sha256:{self.sha256}" if self.sha256 else ""
        return f"[{self.kind} {self.type}{inside}]"


class Asked(msgspec.Struct, frozen=True):
    """What must be known of a request; the rest of its body is only written down."""

    model: str
    stream: bool
    last_user_text: str
    prompt_tokens: int
    sse: bool = True
    include_usage: bool = True
    limit: int | None = None
    """Most tokens of output, thoughts included."""
    choices: int = 1
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "none", "any"] = "auto"
    tool_names: tuple[str, ...] | None = None
    """None: all of them may be called."""
    parallel: bool = True
    schema: Any = None
    """The JSON schema that the text must follow; None: none."""
    thinks: bool = False
    """Whether thoughts were asked for."""
    thoughts: Literal["shown", "hidden", "off"] = "shown"
    """What becomes of thoughts: told, billed without being told, or not thought."""
    media: tuple[Media, ...] = ()

    def tools_to_call(self, scripted: int | None) -> Sequence[Tool]:
        """The tools that this answer calls: as many as the script says, else one where the request demands it."""
        known = [tool for tool in self.tools if self.tool_names is None or tool.name in self.tool_names]
        if not known or self.tool_choice == "none" or scripted == 0:
            return ()
        count = scripted or (1 if self.tool_choice == "any" else 0)
        return [known[i % len(known)] for i in range(count if self.parallel else min(count, 1))]


class Wire(Protocol):
    """One provider's format. Parts carry marks (kind, tokens, what they say and where), so that faults need no format."""

    @property
    def name(self) -> str: ...

    @property
    def json_type(self) -> str:
        """The content type of a whole body."""
        ...

    @property
    def names(self) -> Mapping[Field, str]:
        """What it calls an answer's id, its model, and what holds all that is said."""
        ...

    @property
    def repeats_names(self) -> bool:
        """Whether each event of a stream tells id and model, or only the first one does."""
        ...

    def key(self, request: Request) -> bytes | None:
        """The caller's key, where this provider looks for it."""
        ...

    def read(self, request: Request, place: Place) -> Asked:
        """Raises :class:`Refused` where the provider would answer 400."""
        ...

    def answer_id(self, draw: Draw) -> str: ...

    def call_id(self, draw: Draw, purpose: str) -> str: ...

    def plain(self, answer: Answer, asked: Asked) -> Part:
        """A whole answer's body."""
        ...

    def events(self, answer: Answer, asked: Asked) -> Iterator[Part]:
        """A stream's events, to its end."""
        ...

    def opening(self, answer: Answer, asked: Asked) -> Part:
        """The first event of :meth:`events`."""
        ...

    def framed(self, parts: Iterable[Part], asked: Asked) -> Iterable[Part]:
        """A stream's parts, spoilt or not, in the framing that was asked for."""
        ...

    def end(self, asked: Asked) -> bytes:
        """What ends a stream; empty: nothing but the end of the body."""
        ...

    def content_type(self, asked: Asked) -> str: ...

    def headers(self, asked: Asked, request_id: str, quota: Quota) -> dict[str, str]:
        """What a healthy answer says beside its content type; lower-case names."""
        ...

    def less(self, value: Any, what: Literal["usage", "finish"]) -> None:
        """Take usage or finish reason out of a decoded body or event."""
        ...

    def count(self, asked: Asked) -> bytes:
        """The body that tells a prompt's tokens."""
        ...

    def models(self, names: Sequence[str], request: Request) -> bytes:
        """The body of a list of models, or of the page of it that is asked for. Raises :class:`Refused`."""
        ...

    def model(self, name: str) -> bytes:
        """The body that describes one model."""
        ...

    def error(self, problem: Problem, model: str, request_id: str) -> ErrorAnswer: ...

    def error_event(self, error: ErrorAnswer, asked: Asked) -> bytes:
        """An error in the middle of a stream."""
        ...
