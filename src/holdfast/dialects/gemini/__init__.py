"""Gemini: Google's generateContent and streamGenerateContent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.gemini.codec import GeminiCodec
from holdfast.dialects.gemini.edit import edit_event
from holdfast.dialects.gemini.envelope import read_request, write_request
from holdfast.dialects.gemini.refusals import refusal
from holdfast.dialects.gemini.say import error_body, error_frame
from holdfast.dialects.gemini.scan import GeminiScanner, read_answer
from holdfast.dialects.gemini.stream_encoder import SIGN_OF_LIFE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.base import Edit, Envelope, Scanner, Signal
    from holdfast.errors import HoldfastError, ProviderError

__all__ = ["Gemini"]


class Gemini:
    """The dialect as one object; its parts are the modules of this package.

    The model, and whether an answer streams, stand in the URL: :meth:`read_request` leaves them open.
    """

    name = "gemini"
    stream_content_type = "text/event-stream; charset=utf-8"
    codec = GeminiCodec()
    end_frame = b""
    usage_apart = False
    needs_output_limit = False
    output_limit = "generationConfig"
    free = False
    request_id_header = b"x-request-id"
    forwarded: tuple[bytes, ...] = ()

    def read_request(self, body: bytes) -> Envelope:
        return read_request(body)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        return write_request(envelope, model=model, overrides=overrides)

    def scanner(self) -> Scanner:
        return GeminiScanner()

    def read_answer(self, body: bytes) -> list[Signal]:
        return read_answer(body)

    def edit(self, raw: bytes, edit: Edit) -> bytes:
        return edit_event(raw, edit)

    def refusal(self, status: int, body: bytes) -> ProviderError:
        return refusal(status, body)

    def error_body(self, error: HoldfastError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def error_frame(self, error: HoldfastError, request_id: str) -> bytes:
        return error_frame(error, request_id)

    def comment(self, text: str) -> bytes:  # noqa: ARG002  # Google's SDKs read every line but `data:` as JSON
        return SIGN_OF_LIFE
