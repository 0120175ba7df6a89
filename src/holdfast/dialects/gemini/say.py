"""Our own errors in Google's words: ``{"error": {"code", "message", "status", "details"}}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.gemini.errors import bad_field, delay, detail, word_of
from holdfast.errors import TargetsFailed

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError

__all__ = ["error_body", "error_frame"]

_DOMAIN: Final = "holdfast"


def error_body(error: HoldfastError, request_id: str) -> bytes:
    """The body of an error answer."""
    return msgspec.json.encode({"error": _fields(error, request_id)})


def error_frame(error: HoldfastError, request_id: str) -> bytes:
    """A stream's last event. The SDKs raise on it."""
    return b"data: " + error_body(error, request_id) + b"\n\n"


def _fields(error: HoldfastError, request_id: str) -> dict[str, Any]:
    metadata = {"request_id": request_id, **error.details}
    info = detail("ErrorInfo", reason=error.code.upper(), domain=_DOMAIN, metadata=metadata)
    details = [info]
    if error.param is not None:
        details.append(bad_field(error.param, error.message))
    if error.retry_after_s is not None:
        details.append(detail("RetryInfo", retryDelay=delay(error.retry_after_s)))
    if isinstance(error, TargetsFailed):
        attempts = [f"{target}: {failure.label}: {failure.message}" for target, failure in error.failures]
        details.append(detail("DebugInfo", stackEntries=attempts, detail="the attempts, in their order"))
    return {
        "code": error.status,
        "message": error.message,
        "status": word_of(error.status),
        "details": details,
    }
