"""Errors, both ways: ``{"type": "error", "error": {"type", "message"}, "request_id"}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.reading import bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.errors import BadAnswer
from holdfast.model import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["decode_error", "encode_error", "error_fields", "error_of", "type_of"]

_LONGEST: Final = 2_000
"""Characters of an unreadable body that are kept as its message."""
_ERROR: Final = "error"
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def type_of(status: int) -> str:
    """The word for errors of that status."""
    return _TYPES.get(status) or ("invalid_request_error" if 400 <= status < 500 else "api_error")


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
    error = outer.pop(_ERROR, None)
    if outer.get("type") == _ERROR:
        del outer["type"]
    if isinstance(error, str):
        return WireError(message=error, status=status, dialect=DIALECT, outer=outer)
    if not isinstance(error, dict):  # no error object: its fields stand at the top
        error, outer = value, {}
    left = dict(error)
    message, kind = left.get("message"), left.get("type")
    if isinstance(message, str):
        del left["message"]
    else:
        message = f"the provider gave no message (status {status})"
    if isinstance(kind, str):
        del left["type"]
    return WireError(
        message=message,
        type=kind if isinstance(kind, str) else None,
        status=status,
        dialect=DIALECT,
        extra=left,
        outer=outer,
    )


def encode_error(error: WireError) -> bytes:
    """The body of an error answer; its status travels beside it."""
    return write_json(error_fields(error))


def error_fields(error: WireError) -> dict[str, Any]:
    """The body as JSON. Another dialect's type is no word here: the status has one."""
    own = error.dialect in (None, DIALECT)
    kind = error.type if own and error.type is not None else type_of(error.status or 500)
    fields = merged({"type": kind, "message": error.message}, error.extra if own else {})
    outer = {name: value for name, value in error.outer.items() if name not in ("type", _ERROR)}
    return {"type": _ERROR, _ERROR: fields} | (outer if own else {})
