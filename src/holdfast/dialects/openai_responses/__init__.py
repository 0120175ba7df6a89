"""OpenAI's Responses, passed through to providers that speak them: watched, counted and recorded, never translated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.openai_chat.say import error_body
from holdfast.dialects.openai_errors import refusal
from holdfast.dialects.openai_responses.answer import read_answer
from holdfast.dialects.openai_responses.edit import edit_events
from holdfast.dialects.openai_responses.envelope import read_request, write_request
from holdfast.dialects.openai_responses.say import error_frame
from holdfast.dialects.openai_responses.scan import ResponseScanner
from holdfast.dialects.sse import comment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.base import Edit, Envelope, Scanner, Signal
    from holdfast.errors import HoldfastError, ProviderError

__all__ = ["OpenAIResponses"]


class OpenAIResponses:
    """The dialect as one object; its parts are the modules of this package."""

    name = "openai_responses"
    codec = None
    stream_content_type = "text/event-stream; charset=utf-8"
    end_frame = b""
    usage_apart = False
    needs_output_limit = False
    output_limit = "max_output_tokens"
    free = False
    request_id_header = b"x-request-id"
    forwarded: tuple[bytes, ...] = ()

    def read_request(self, body: bytes) -> Envelope:
        return read_request(body)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        return write_request(envelope, model=model, overrides=overrides)

    def scanner(self) -> Scanner:
        return ResponseScanner()

    def read_answer(self, body: bytes) -> list[Signal]:
        return read_answer(body)

    def edit(self, raw: bytes, edit: Edit) -> bytes:
        return edit_events(raw, edit)

    def refusal(self, status: int, body: bytes) -> ProviderError:
        return refusal(status, body)

    def error_body(self, error: HoldfastError, request_id: str) -> bytes:
        return error_body(error, request_id)

    def error_frame(self, error: HoldfastError, request_id: str) -> bytes:
        return error_frame(error, request_id)

    def comment(self, text: str) -> bytes:
        return comment(text)
