"""Anthropic's Messages, as its versions 2023-06-01 and 2026-10-21 speak it.

A caller's ``anthropic-version`` and ``anthropic-beta`` travel with its request where both sides speak this dialect, so the
provider answers in the version that was asked for. Everything that either version has is understood, whichever was named:

- 2026-10-21 is what SDKs send since 2.x (with ``Authorization: Bearer``; before, ``x-api-key``). Its types have no
  ``temperature``, ``top_p`` and ``top_k``; the format of an answer stands in ``output_config.format`` (before, in a beta's
  ``output_format``); an error's stable cause stands in ``error.details.error_code``; a message of the role ``system`` may
  stand behind a turn of the user's. An answer may tell ``stop_details``, and ``output_tokens_details`` in its usage.
- 2023-06-01 has all of these for models that know them.

What is newer than this code (an event, a block, a stop reason, a field) passes unread where both sides speak the dialect,
and is kept whole by the codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.anthropic.codec import AnthropicCodec
from holdfast.dialects.anthropic.edit import edit_event
from holdfast.dialects.anthropic.envelope import read_request, write_request
from holdfast.dialects.anthropic.frames import END_FRAME
from holdfast.dialects.anthropic.refusals import refusal
from holdfast.dialects.anthropic.say import error_body, error_frame
from holdfast.dialects.anthropic.scan import MessageScanner, read_answer
from holdfast.dialects.sse import comment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.base import Edit, Envelope, Scanner, Signal
    from holdfast.errors import HoldfastError, ProviderError

__all__ = ["Anthropic"]


class Anthropic:
    """The dialect as one object; its parts are the modules of this package."""

    name = "anthropic"
    stream_content_type = "text/event-stream; charset=utf-8"
    codec = AnthropicCodec()
    end_frame = END_FRAME
    usage_apart = False
    needs_output_limit = True
    output_limit = "max_tokens"
    free = False
    request_id_header = b"request-id"
    forwarded: tuple[bytes, ...] = (b"anthropic-",)

    def read_request(self, body: bytes) -> Envelope:
        return read_request(body)

    def write_request(self, envelope: Envelope, *, model: str, overrides: Mapping[str, Any]) -> bytes:
        return write_request(envelope, model=model, overrides=overrides)

    def scanner(self) -> Scanner:
        return MessageScanner()

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
