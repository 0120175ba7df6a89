"""The library's own dialect: the neutral model itself, as JSON. Nothing is lost in it, and nothing is spelled two ways.

A request and an answer are one JSON value each. A stream is one event a line; a line that begins with ``:`` is a comment.
Only callers in this process speak it, never a provider.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec
from msgspec.structs import replace

from holdfast.dialects.base import Envelope
from holdfast.dialects.reading import bad_answer, invalid_request, read_json
from holdfast.dialects.writing import write_json
from holdfast.errors import HoldfastError
from holdfast.model import (
    Answer,
    Ended,
    Event,
    Failed,
    Finished,
    Request,
    Started,
    TextDelta,
    UsageReported,
    WireError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.dialects.base import Edit, Scanner, Signal
    from holdfast.dialects.reading import Fault
    from holdfast.dialects.writing import Drops
    from holdfast.errors import ProviderError

__all__ = ["DIALECT", "Neutral", "NeutralCodec", "read_events"]

DIALECT: Final = "holdfast"

_T = TypeVar("_T")
_PATH: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class NeutralCodec:
    """Both ways without loss: what is read is what was written."""

    name = DIALECT

    def decode_request(self, body: bytes) -> Request:
        return _read(body, Request, invalid_request)

    def encode_request(self, request: Request, drops: Drops | None = None) -> bytes:  # noqa: ARG002  # it can say all
        return write_json(request)

    def locate(self, request: Request, path: str) -> str:  # noqa: ARG002  # paths are the neutral model's already
        return path

    def decode_answer(self, body: bytes) -> Answer:
        return _read(body, Answer, bad_answer)

    def encode_answer(self, answer: Answer) -> bytes:
        return write_json(answer)

    def stream_decoder(self) -> _Decoder:
        return _Decoder()

    def stream_encoder(self, *, include_usage: bool = True) -> _Encoder:
        return _Encoder(include_usage=include_usage)

    def decode_error(self, status: int, body: bytes) -> WireError:
        try:
            error = _read(body, WireError, bad_answer)
        except HoldfastError:
            return WireError(message=body[:500].decode(errors="replace"), status=status, dialect=DIALECT)
        return replace(error, status=error.status or status)

    def encode_error(self, error: WireError) -> bytes:
        return write_json(error)


class Neutral:
    """The dialect as the engine uses it: for callers only."""

    name = DIALECT
    stream_content_type = "application/jsonl"
    codec = NeutralCodec()
    end_frame = write_json(Ended()) + b"\n"
    usage_apart = False
    needs_output_limit = False
    output_limit = ""
    free = False
    request_id_header = b"x-request-id"
    forwarded: tuple[bytes, ...] = ()

    def read_request(self, body: bytes) -> Envelope:
        request = self.codec.decode_request(body)
        return Envelope(
            model=request.model,
            stream=bool(request.stream),
            choices=request.n or 1,
            wants_usage=True,
            max_output_tokens=request.max_output_tokens,
            size=len(body),
            fields=_raw_fields(body),
        )

    def edit(self, raw: bytes, edit: Edit) -> bytes:
        return b"".join([_line(event) for event in _edited(read_events(raw), edit)])

    def error_body(self, error: HoldfastError, request_id: str) -> bytes:
        return self.codec.encode_error(_wire_error(error, request_id))

    def error_frame(self, error: HoldfastError, request_id: str) -> bytes:
        return _line(Failed(error=_wire_error(error, request_id)))

    def comment(self, text: str) -> bytes:
        return f": {text}\n".encode()

    # What is only asked of a provider's dialect.

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:  # noqa: ARG002  # see _unspoken
        _unspoken()

    def scanner(self) -> Scanner:
        _unspoken()

    def read_answer(self, body: bytes) -> list[Signal]:  # noqa: ARG002  # see _unspoken
        _unspoken()

    def refusal(self, status: int, body: bytes) -> ProviderError:  # noqa: ARG002  # see _unspoken
        _unspoken()


class _Decoder:
    """Lines, however their bytes are cut."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the last line, so that a long one in many pieces stays linear

    def feed(self, data: bytes) -> list[Event]:
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._pieces.append(data)
            return []
        lines = b"".join([*self._pieces, whole])
        self._pieces = [rest]
        return read_events(lines)

    def finish(self) -> list[Event]:
        lines, self._pieces = b"".join(self._pieces), []
        return read_events(lines)


class _Encoder:
    __slots__ = ("_include_usage",)

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage

    def encode(self, event: Event) -> bytes:
        if isinstance(event, UsageReported) and not self._include_usage:
            return b""
        return _line(event)


def read_events(lines: bytes) -> list[Event]:
    """The events in whole lines. Raises BadAnswer."""
    try:
        return [_event(line) for line in lines.split(b"\n") if line and not line.startswith(b":")]
    except UnicodeDecodeError as error:
        raise bad_answer(f"the line isn't valid UTF-8 (byte {error.start})", None) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_answer(*_told(error)) from None


def _line(event: Event) -> bytes:
    return write_json(event) + b"\n"


def _edited(events: list[Event], edit: Edit) -> Iterable[Event]:
    if edit.text is not None:
        text = next((event for event in events if isinstance(event, TextDelta)), None)
        if text is not None:
            yield replace(text, text=edit.text)
        return
    for event in events:
        if isinstance(event, UsageReported):
            if edit.usage == "drop":
                continue
        elif edit.usage == "only" or (isinstance(event, Finished) and event.choice in edit.drop_finish):
            continue
        if isinstance(event, Started):
            yield replace(
                event,
                id=edit.id if edit.id is not None and event.id else event.id,
                model=edit.model if edit.model is not None and event.model else event.model,
            )
        else:
            yield event


def _exact(number: str) -> Any:
    """A number where any value may stand, as exact as :func:`read_json` has it."""
    return read_json(number.encode(), bad_answer)


# Made once: to work out a union's type costs more than to read an event.
_event = msgspec.json.Decoder(Event, float_hook=_exact).decode


def _read(body: bytes, kind: type[_T], fault: Fault) -> _T:
    """By way of plain values: only so does a number in a typed field stay exact. Events have none."""
    value = read_json(body, fault)
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise fault(*_told(error)) from None


def _told(error: Exception) -> tuple[str, str | None]:
    """What was wrong, and where."""
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply", None
    said = str(error)
    found = _PATH.search(said)
    return said, found["path"] if found else None


def _wire_error(error: HoldfastError, request_id: str) -> WireError:
    return WireError(
        message=error.message,
        type=error.label,
        code=error.code,
        param=error.param,
        status=error.status,
        retry_after_s=error.retry_after_s,
        dialect=DIALECT,
        extra={"request_id": request_id},
    )


def _unspoken() -> NoReturn:
    raise RuntimeError(f"no provider speaks {DIALECT}: it is for callers in this process")
