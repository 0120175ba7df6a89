"""Errors, both ways: ``{"type": "error", "error": {"type", "message"}, "request_id"}``."""

from __future__ import annotations

from typing import Any, Final

from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.reading import bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.errors import BadAnswer
from holdfast.model import WireError

__all__ = ["TYPES", "decode_error", "encode_error", "error_fields", "error_of"]

_LONGEST: Final = 2_000
"""Characters of an unreadable body that are kept as its message."""

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The word for each status that has one of its own."""


def decode_error(status: int, body: bytes) -> WireError:
    """What an error answer says. Never raises: whatever came is an error, readable or not."""
    try:
        value = read_json(body, bad_answer)
    except BadAnswer:
        text = body[: 4 * _LONGEST].decode("utf-8", "replace").strip()[:_LONGEST]
        return WireError(message=text or f"status {status} without a body", status=status, dialect=DIALECT)
    if not isinstance(value, dict):
        return WireError(message=str(value)[:_LONGEST], status=status, dialect=DIALECT)
    return error_of(value, status)


def error_of(value: dict[str, Any], status: int | None) -> WireError:
    """The error in a decoded body or stream event."""
    outer = dict(value)
    error = outer.pop("error", None)
    if outer.get("type") == "error":
        del outer["type"]
    if isinstance(error, str):
        return WireError(message=error, status=status, dialect=DIALECT, outer=outer)
    if not isinstance(error, dict):
        error, outer = value, {}
    left = dict(error)
    message = left.pop("message", None)
    if not isinstance(message, str):
        if message is not None:
            left["message"] = message
        message = f"the provider gave no message (status {status})"
    kind = left.get("type")
    if type(kind) is str:
        del left["type"]
    return WireError(
        message=message,
        type=kind if type(kind) is str else None,
        status=status,
        dialect=DIALECT,
        extra=left,
        outer=outer,
    )


def encode_error(error: WireError) -> bytes:
    """The body of an error answer; its status travels beside it."""
    return write_json(error_fields(error))


def error_fields(error: WireError) -> dict[str, Any]:
    own = error.dialect in (None, DIALECT)
    kind = error.type or TYPES.get(error.status or 500, "api_error")
    fields = merged({"type": kind, "message": error.message}, error.extra if own else {})
    return {"type": "error", "error": fields} | (error.outer if own else {})
