"""The conformance test fails on codecs that break one promise each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import Phase, settings

from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
from holdfast.dialects.openai_chat.stream import StreamDecoder
from holdfast.dialects.openai_chat.stream_encoder import StreamEncoder
from holdfast.errors import InvalidRequest
from holdfast.model import Ended, Event, TextDelta, ToolCallDelta, UsageReported, WireError
from holdfast.testing.conformance import run_dialect_conformance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.model import Answer, Request


@pytest.fixture(autouse=True)
def only_searching() -> Iterator[None]:
    """A found fault is enough here: making it small is what takes the time."""
    before = settings.get_current_profile_name()
    settings.register_profile("only-searching", max_examples=20, phases=[Phase.generate], database=None)
    settings.load_profile("only-searching")
    yield
    settings.load_profile(before)


class DropsSystem(OpenAIChatCodec):
    def decode_request(self, body: bytes) -> Request:
        request = super().decode_request(body)
        return msgspec.structs.replace(request, messages=request.messages[1:] or request.messages)


class DropsSeed(OpenAIChatCodec):
    def encode_request(self, request: Request) -> bytes:
        fields = json.loads(super().encode_request(request))
        fields.pop("seed", None)
        return json.dumps(fields).encode()


class ForgetsUsage(OpenAIChatCodec):
    def decode_answer(self, body: bytes) -> Answer:
        return msgspec.structs.replace(super().decode_answer(body), usage=None)


class CrashesOnLists(OpenAIChatCodec):
    def decode_request(self, body: bytes) -> Request:
        try:
            return super().decode_request(body)
        except InvalidRequest as error:
            if "is a list" in error.message:
                raise TypeError("unhashable type: 'list'") from error
            raise


class CutsLines(OpenAIChatCodec):
    """Takes every network segment for whole events."""

    def stream_decoder(self) -> Any:
        class Decoder(StreamDecoder):
            def feed(self, data: bytes) -> list[Event]:
                lines = [
                    line for line in data.split(b"\n") if line.startswith(b"data: ") and line.endswith(b"}")
                ]
                return [event for line in lines for event in self.payload(line[6:])] + [Ended()] * (
                    b"[DONE]" in data
                )

        return Decoder()


class _Encoder(StreamEncoder):
    silent: type[Any] = TextDelta

    def encode(self, event: Event) -> bytes:
        return b"" if isinstance(event, self.silent) else super().encode(event)


class LosesText(OpenAIChatCodec):
    def stream_encoder(self, *, include_usage: bool = True) -> Any:
        return _Encoder(include_usage=include_usage)


class LosesArguments(OpenAIChatCodec):
    def stream_encoder(self, *, include_usage: bool = True) -> Any:
        encoder = _Encoder(include_usage=include_usage)
        encoder.silent = ToolCallDelta
        return encoder


class NeverEnds(OpenAIChatCodec):
    def stream_encoder(self, *, include_usage: bool = True) -> Any:
        encoder = _Encoder(include_usage=include_usage)
        encoder.silent = Ended
        return encoder


class AlwaysTellsUsage(OpenAIChatCodec):
    def stream_encoder(self, *, include_usage: bool = True) -> StreamEncoder:
        return StreamEncoder()


class NeverTellsUsage(OpenAIChatCodec):
    def stream_encoder(self, *, include_usage: bool = True) -> Any:
        encoder = _Encoder()
        encoder.silent = UsageReported
        return encoder


class ForgetsStatus(OpenAIChatCodec):
    def decode_error(self, status: int, body: bytes) -> WireError:
        return super().decode_error(500, body)


class RaisesOnErrors(OpenAIChatCodec):
    def decode_error(self, status: int, body: bytes) -> WireError:
        json.loads(body)
        return super().decode_error(status, body)


@pytest.mark.parametrize(
    "codec",
    [
        AlwaysTellsUsage,
        CutsLines,
        DropsSeed,
        DropsSystem,
        ForgetsStatus,
        ForgetsUsage,
        LosesArguments,
        LosesText,
        NeverEnds,
        NeverTellsUsage,
    ],
)
def test_a_broken_codec_is_found(codec: type[OpenAIChatCodec]) -> None:
    with pytest.raises(AssertionError):
        run_dialect_conformance(codec())


@pytest.mark.parametrize(("codec", "crash"), [(CrashesOnLists, TypeError), (RaisesOnErrors, ValueError)])
def test_a_crash_is_shown_as_it_is(codec: type[OpenAIChatCodec], crash: type[Exception]) -> None:
    with pytest.raises(crash):
        run_dialect_conformance(codec())
