"""OpenAI Chat Completions, as OpenAI, DeepSeek, OpenRouter and most other servers speak it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
from holdfast.dialects.openai_chat.edit import edit_event
from holdfast.dialects.openai_chat.envelope import read_request, write_request
from holdfast.dialects.openai_chat.refusals import refusal
from holdfast.dialects.openai_chat.say import error_body, error_frame
from holdfast.dialects.openai_chat.scan import END_FRAME, ChatScanner, read_answer
from holdfast.dialects.sse import comment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.base import Edit, Envelope, Scanner, Signal
    from holdfast.errors import HoldfastError, ProviderError

__all__ = ["OpenAIChat"]


class OpenAIChat:
    """The dialect as one object; its parts are the modules of this package."""

    name = "openai_chat"
    stream_content_type = "text/event-stream; charset=utf-8"
    codec = OpenAIChatCodec()
    end_frame = END_FRAME
    usage_apart = True
    needs_output_limit = False
    output_limit = None
    free = False
    request_id_header = b"x-request-id"
    forwarded: tuple[bytes, ...] = ()

    def read_request(self, body: bytes) -> Envelope:
        return read_request(body)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        return write_request(envelope, model=model, overrides=overrides)

    def scanner(self) -> Scanner:
        return ChatScanner()

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

    def comment(self, text: str) -> bytes:
        return comment(text)
