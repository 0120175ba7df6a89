"""Our own errors in Anthropic's words: ``{"type": "error", "error": {"type", "message"}, "request_id"}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.dialects.anthropic.errors import type_of
from holdfast.dialects.anthropic.frames import named
from holdfast.errors import TargetsFailed

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError

__all__ = ["error_body", "error_frame"]


def error_body(error: HoldfastError, request_id: str) -> bytes:
    """The body of an error answer. ``details.error_code`` is where Anthropic's SDK looks for a stable word."""
    return msgspec.json.encode({"type": "error", "error": _fields(error), "request_id": request_id})


def error_frame(error: HoldfastError, request_id: str) -> bytes:
    """A stream's last event. The SDK raises on it; no ``message_stop`` follows."""
    return named(b"error", error_body(error, request_id))


def _fields(error: HoldfastError) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": type_of(error.status),
        "message": error.message,
        "details": {"error_code": error.code, **error.details},
    }
    if error.param is not None:
        fields["param"] = error.param
    if isinstance(error, TargetsFailed):
        fields["attempts"] = [
            {"target": target, "error": failure.label, "message": failure.message}
            for target, failure in error.failures
        ]
    return fields
