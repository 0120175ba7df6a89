"""The dialect's codec as one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.dialects.anthropic.answer import decode_answer, encode_answer
from holdfast.dialects.anthropic.errors import decode_error, encode_error
from holdfast.dialects.anthropic.locating import locate
from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.anthropic.request import decode_request, encode_request
from holdfast.dialects.anthropic.stream import StreamDecoder
from holdfast.dialects.anthropic.stream_encoder import StreamEncoder

if TYPE_CHECKING:
    from holdfast.dialects.writing import Drops
    from holdfast.model import Answer, Request, WireError

__all__ = ["AnthropicCodec"]


class AnthropicCodec:
    """Anthropic's Messages, both ways."""

    name = DIALECT

    def decode_request(self, body: bytes) -> Request:
        return decode_request(body)

    def encode_request(self, request: Request, drops: Drops | None = None) -> bytes:
        return encode_request(request, drops)

    def locate(self, request: Request, path: str) -> str:
        return locate(request, path)

    def decode_answer(self, body: bytes) -> Answer:
        return decode_answer(body)

    def encode_answer(self, answer: Answer) -> bytes:
        return encode_answer(answer)

    def stream_decoder(self) -> StreamDecoder:
        return StreamDecoder()

    def stream_encoder(self, *, include_usage: bool = True) -> StreamEncoder:
        return StreamEncoder(include_usage=include_usage)

    def decode_error(self, status: int, body: bytes) -> WireError:
        return decode_error(status, body)

    def encode_error(self, error: WireError) -> bytes:
        return encode_error(error)
