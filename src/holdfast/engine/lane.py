"""How an attempt's answer gets from the provider's wire format into the caller's.

There are two lanes and one event path. Where both speak one dialect the bytes go through as they came (:class:`Native`). For
every other pair they become events of the neutral model and bytes again (:class:`Translated`). What the stream guard sees is
in both cases the provider's own scanner: nothing about completeness, usage or errors depends on the lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from holdfast.dialects.base import Signal
from holdfast.errors import BadAnswer, HoldfastError
from holdfast.model import Ended, Failed, Ping, Started

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.dialects.base import Dialect, Scanner
    from holdfast.dialects.codec import DialectCodec, EventDecoder, EventEncoder
    from holdfast.model import Event

__all__ = ["Lane", "Native", "Translated", "codec_of"]


class Lane(Protocol):
    """One attempt's way back."""

    native: bool
    """Caller and provider speak one dialect: bytes and headers pass unchanged."""
    usage_apart: bool
    """Whether usage comes to the guard as an event of its own, which goes out only if the caller asked for it."""

    def scanner(self) -> Scanner:
        """Reads the stream; its signals' bytes are in the caller's dialect."""
        ...

    def read_answer(self, body: bytes) -> list[Signal]:
        """A whole answer as the guard must see it."""
        ...

    def whole(self, body: bytes) -> bytes:
        """A whole answer as the caller gets it, once the guard has passed it. Raises BadAnswer."""
        ...

    def closing(self) -> bytes:
        """What is still to be said before the end marker of a stream that the guard called whole."""
        ...


class Native:
    """The provider's bytes are the caller's."""

    __slots__ = ("_dialect", "usage_apart")

    native = True

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.usage_apart = dialect.usage_apart

    def scanner(self) -> Scanner:
        return self._dialect.scanner()

    def read_answer(self, body: bytes) -> list[Signal]:
        return self._dialect.read_answer(body)

    def whole(self, body: bytes) -> bytes:
        return body

    def closing(self) -> bytes:
        return b""


class Translated:
    """Provider's bytes to events to caller's bytes. One for each attempt: the encoder remembers what it has said.

    Args:
        caller, provider: who hears and who speaks.
        include_usage: whether the caller asked for a stream's usage.
        answer_id: stands in where the provider gives its answer no id.
        created: Unix seconds, likewise.
    """

    __slots__ = (
        "_answer_id",
        "_caller",
        "_created",
        "_decoder",
        "_encoder",
        "_from",
        "_provider",
        "_scanner",
        "_to",
        "usage_apart",
    )

    native = False

    def __init__(
        self,
        caller: Dialect,
        provider: Dialect,
        *,
        include_usage: bool,
        answer_id: str,
        created: int,
    ) -> None:
        self._caller = caller
        self._provider = provider
        self._from, self._to = codec_of(provider), codec_of(caller)
        self.usage_apart = False  # the encoder puts usage where its dialect has it, and knows who asked
        self._answer_id = answer_id
        self._created = created
        self._scanner: Scanner = provider.scanner()
        self._decoder: EventDecoder = self._from.stream_decoder()
        self._encoder: EventEncoder = self._to.stream_encoder(include_usage=include_usage)

    def scanner(self) -> Scanner:
        return self

    def feed(self, data: bytes) -> list[Signal]:
        return [self._translate(signal, self._decoder.feed) for signal in self._scanner.feed(data)]

    def finish(self) -> list[Signal]:
        return [self._translate(signal, self._decode_last) for signal in self._scanner.finish()]

    def read_answer(self, body: bytes) -> list[Signal]:
        return self._provider.read_answer(body)

    def whole(self, body: bytes) -> bytes:
        answer = self._from.decode_answer(body)
        created = self._created if answer.created is None else answer.created
        try:
            return self._to.encode_answer(replace(answer, id=answer.id or self._answer_id, created=created))
        except HoldfastError as error:
            raise self._untold(error) from None

    def closing(self) -> bytes:
        return self._encoder.encode(Ended()).removesuffix(self._caller.end_frame)

    def _translate(self, signal: Signal, decode: Callable[[bytes], list[Event]]) -> Signal:
        """The signal with the caller's bytes in place of the provider's."""
        if not signal.raw or signal.error is not None or signal.malformed is not None:
            return signal
        try:
            raw = b"".join([self._encode(event) for event in decode(signal.raw)])
        except BadAnswer as error:
            return Signal(b"", malformed=error.message)
        except HoldfastError as error:
            return Signal(b"", malformed=self._untold(error).message)
        return Signal(
            raw, signal.beats, signal.text, signal.usage, end=signal.end, id=signal.id, model=signal.model
        )

    def _decode_last(self, raw: bytes) -> list[Event]:
        return self._decoder.feed(raw) + self._decoder.finish()

    def _encode(self, event: Event) -> bytes:
        if isinstance(event, Ended | Failed | Ping):
            return b""  # the end is ours to tell, faults are the guard's, and pings are each hop's own
        if isinstance(event, Started):
            created = self._created if event.created is None else event.created
            event = replace(event, id=event.id or self._answer_id, created=created)
        return self._encoder.encode(event)

    def _untold(self, error: HoldfastError) -> BadAnswer:
        """JSON that one side reads and the other can't write, such as a lone surrogate."""
        return BadAnswer(f"the answer can't be told in {self._caller.name}: {error.message}")


def codec_of(dialect: Dialect) -> DialectCodec:
    """Raises ValueError for a dialect that is only passed through."""
    codec = dialect.codec
    if codec is None:
        raise ValueError(f"{dialect.name} is only passed through: it can't be translated")
    return codec
