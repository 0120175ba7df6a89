"""What the engine needs of a wire format on the hot path: only what must be known, and the original bytes.

A dialect reads a request into an :class:`Envelope`, cuts an answer (streamed or whole: one path) into :class:`Signal` values
for the stream guard, and patches bytes where something must differ. Everything that it leaves alone travels as it came.
The complete, lossless reading into the neutral model is the dialect's codec; conformance tests hold the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.codec import DialectCodec
    from holdfast.errors import HoldfastError, ProviderError
    from holdfast.model.usage import Usage

__all__ = [
    "AUDIO",
    "OTHER",
    "REASONING",
    "REFUSAL",
    "TEXT",
    "TOOL",
    "Beat",
    "Dialect",
    "Edit",
    "Envelope",
    "Scanner",
    "Signal",
]

TEXT, REASONING, REFUSAL, TOOL, AUDIO, OTHER = 1, 2, 4, 8, 16, 32
"""Bits of what a delta carries. Plain integers: an IntFlag costs a microsecond for each operation.

``OTHER`` is content of no such kind (an image, a server tool's block) and text in a second block: an answer with it can't be
resumed as one text.
"""

Beat = tuple[int, int, "str | None"]
"""What one wire event says of one choice: its index, the content bits, its finish reason if it has one now."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known of a request to route, limit and record it; the rest stays in ``fields`` as it came."""

    model: str
    stream: bool = False
    choices: int = 1
    """How many alternatives were asked for (``n``): success needs each of them finished."""
    wants_usage: bool = False
    """Whether the caller asked for the stream's usage event. We always ask the provider for it."""
    max_output_tokens: int | None = None
    size: int = 0
    """Bytes of the body as received: on the hot path an upper bound of its visible input tokens."""
    fields: dict[str, msgspec.Raw] = {}  # msgspec copies an empty mutable default for each instance


class Signal(msgspec.Struct, frozen=True, gc=False):
    """One wire event, as far as the stream guard must understand it. ``raw`` is what a caller of this dialect gets."""

    raw: bytes
    beats: tuple[Beat, ...] = ()
    text: str = ""
    """The text delta, where the event has exactly one choice."""
    usage: Usage | None = None
    error: ProviderError | None = None
    malformed: str | None = None
    """Why the event can't be read, in words for the log."""
    end: bool = False
    id: str | None = None
    model: str | None = None


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """A change to one wire event on its way through. The default changes nothing."""

    usage: str = "keep"
    """``keep``, ``drop`` (take usage out), or ``only`` (leave nothing but usage)."""
    drop_finish: frozenset[int] = frozenset()
    """Choices whose repeated finish reason is taken out."""
    id: str | None = None
    model: str | None = None
    text: str | None = None
    """Leaves nothing but the text delta of the only choice, which says this instead."""


class Scanner(Protocol):
    """Incremental reading of one streamed answer."""

    def feed(self, data: bytes) -> list[Signal]:
        """The events that ``data`` completes. Raises BadAnswer where an event outgrows its bound."""
        ...

    def finish(self) -> list[Signal]:
        """The bytes have ended: what was left over, if it is a whole event."""
        ...


class Dialect(Protocol):
    """A wire format as the engine and the gateway use it."""

    @property
    def name(self) -> str: ...
    @property
    def codec(self) -> DialectCodec | None:
        """Its way into the neutral model and back; None where it is only passed through to providers that speak it."""
        ...

    @property
    def stream_content_type(self) -> str: ...
    @property
    def end_frame(self) -> bytes:
        """The terminal marker of a stream, as the last frame; empty where the dialect has none of its own."""
        ...

    @property
    def usage_apart(self) -> bool:
        """Whether a stream's usage is an event of its own, which callers get only if they asked for it."""
        ...

    @property
    def needs_output_limit(self) -> bool:
        """Whether its providers refuse a request without an output limit."""
        ...

    @property
    def output_limit(self) -> str | None:
        """The request's field that holds the output limit; empty: there is none. None: each provider has its own
        (:attr:`holdfast.engine.endpoint.Endpoint.max_tokens_field`)."""
        ...

    @property
    def free(self) -> bool:
        """Whether providers charge nothing for it."""
        ...

    @property
    def request_id_header(self) -> bytes:
        """Where callers of this dialect look for the request's id; lower case."""
        ...

    @property
    def forwarded(self) -> tuple[bytes, ...]:
        """Prefixes (lower case) of headers that travel unchanged, both ways, where caller and provider speak it."""
        ...

    def read_request(self, body: bytes) -> Envelope:
        """Raises InvalidRequest, which names the field, for everything that isn't a request of this dialect."""
        ...

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        """The body for a target that speaks this dialect: the original fields, and usage asked for.

        ``overrides`` are a route's parameters by OpenAI's names (``max_tokens``, ``stop``, ``seed`` …), put where this
        dialect has them; a name that isn't known is put at the top as it stands.
        """
        ...

    def scanner(self) -> Scanner: ...

    def read_answer(self, body: bytes) -> list[Signal]:
        """A whole answer as the signals of its split: content, finish reasons, usage, end."""
        ...

    def edit(self, raw: bytes, edit: Edit) -> bytes:
        """``raw``, one event's frames or several events', changed; empty where nothing worth sending is left."""
        ...

    def refusal(self, status: int, body: bytes) -> ProviderError:
        """What an error answer means, judged by status and structured body, never by words in a message."""
        ...

    def error_body(self, error: HoldfastError, request_id: str) -> bytes: ...

    def error_frame(self, error: HoldfastError, request_id: str) -> bytes:
        """The error as a stream event. No terminal marker may follow it."""
        ...

    def comment(self, text: str) -> bytes:
        """A remark in a stream that its readers skip; a mere sign of life where the dialect has no comments."""
        ...
