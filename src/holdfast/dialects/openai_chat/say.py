"""Our own errors in OpenAI's words: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.errors import TargetsFailed

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError

__all__ = ["error_body", "error_frame"]

_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}


def error_body(error: HoldfastError, request_id: str) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode({"error": _fields(error, request_id)})


def error_frame(error: HoldfastError, request_id: str) -> bytes:
    """A stream's last event. The SDKs raise on it; no end marker follows."""
    return b"data: " + error_body(error, request_id) + b"\n\n"


def _fields(error: HoldfastError, request_id: str) -> dict[str, Any]:
    kind = _TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "server_error")
    fields: dict[str, Any] = {
        "message": error.message,
        "type": kind,
        "param": error.param,
        "code": error.code,
        "request_id": request_id,
    }
    if error.details:
        fields["details"] = dict(error.details)
    if isinstance(error, TargetsFailed):
        fields["attempts"] = [
            {"target": target, "error": failure.label, "message": failure.message}
            for target, failure in error.failures
        ]
    return fields
