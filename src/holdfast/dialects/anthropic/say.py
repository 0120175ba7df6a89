"""Our own errors in Anthropic's words: ``{"type": "error", "error": {"type", "message"}, "request_id"}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.dialects.anthropic.errors import TYPES
from holdfast.errors import Overloaded, TargetsFailed

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError

__all__ = ["error_body", "error_frame"]


def error_body(error: HoldfastError, request_id: str) -> bytes:
    """The body of an error answer. ``code`` and ``param`` are ours: Anthropic's SDK keeps what it doesn't know."""
    return msgspec.json.encode(_fields(error, request_id))


def error_frame(error: HoldfastError, request_id: str) -> bytes:
    """A stream's last event. The SDK raises on it; no ``message_stop`` follows."""
    return b"event: error\ndata: " + error_body(error, request_id) + b"\n\n"


def _fields(error: HoldfastError, request_id: str) -> dict[str, Any]:
    kind = TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "api_error")
    if isinstance(error, Overloaded):
        kind = "overloaded_error"
    said: dict[str, Any] = {"type": kind, "message": error.message, "code": error.code}
    if error.param is not None:
        said["param"] = error.param
    if isinstance(error, TargetsFailed):
        said["attempts"] = [
            {"target": target, "error": failure.label, "message": failure.message}
            for target, failure in error.failures
        ]
    return {"type": "error", "error": said, "request_id": request_id}
