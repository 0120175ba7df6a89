"""What dialects without streams have in common: one body asked, one body answered, passed through unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from holdfast.dialects.base import Signal
from holdfast.dialects.openai_chat.envelope import invalid
from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.dialects.base import Edit, Scanner

__all__ = ["NeverStreams", "read_fields", "read_typed"]

_T = TypeVar("_T")
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class NeverStreams:
    """The parts of a dialect that only streams need."""

    stream_content_type = "application/json"
    end_frame = b""
    usage_apart = False
    needs_output_limit = False
    output_limit: str | None = ""
    codec = None

    def scanner(self) -> Scanner:
        raise RuntimeError("this dialect has no streams")

    def edit(self, raw: bytes, edit: Edit) -> bytes:  # noqa: ARG002  # the protocol's place for it
        return raw

    def comment(self, text: str) -> bytes:  # noqa: ARG002  # the protocol's place for it
        return b""


def read_fields(body: bytes, typed: Callable[[bytes], _T]) -> tuple[_T, dict[str, msgspec.Raw]]:
    """The body as ``typed`` reads it, and its fields as they came.

    Raises:
        InvalidRequest: not UTF-8, not JSON, nested too deep, or a field of the wrong type; ``param`` names it.
    """
    try:
        if not body.isascii():
            body.decode()
        return typed(body), _raw_fields(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not valid UTF-8 at offset {error.start}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(error) from None


def read_typed(body: bytes, typed: Callable[[bytes], _T]) -> _T | Signal:
    """A whole answer as ``typed`` reads it, or the signal that it can't be read."""
    if not body or body.isspace():
        return Signal(body, malformed="the provider answered 200 with an empty body")
    try:
        if not body.isascii():
            body.decode()
        return typed(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Signal(body, malformed=f"the answer can't be read: {error}")
