"""Errors, both ways: ``{"error": {"message", "type", "param", "code"}}`` and what other servers make of it."""

from __future__ import annotations

from typing import Any

from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.reading import bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.errors import BadAnswer
from holdfast.model import WireError

__all__ = ["decode_error", "encode_error", "error_of"]

_LONGEST = 2_000
"""Characters of an unreadable body that are kept as its message."""


def decode_error(status: int, body: bytes) -> WireError:
    """What an error answer says. Never raises: whatever came is an error, readable or not."""
    try:
        value = read_json(body, bad_answer)
    except BadAnswer:
        text = body[: 4 * _LONGEST].decode("utf-8", "replace").strip()[:_LONGEST]
        return WireError(message=text or f"status {status} without a body", status=status, dialect=DIALECT)
    if isinstance(value, list) and len(value) == 1:  # some servers wrap the object in a list
        value = value[0]
    if not isinstance(value, dict):
        return WireError(message=str(value)[:_LONGEST], status=status, dialect=DIALECT)
    return error_of(value, status)


def error_of(value: dict[str, Any], status: int | None) -> WireError:
    """The error in a decoded body or stream event."""
    outer = dict(value)
    error = outer.pop("error", None)
    if isinstance(error, str):
        return WireError(message=error, status=status, dialect=DIALECT, outer=outer)
    if not isinstance(error, dict):  # no error object: its fields stand at the top
        error, outer = value, {}
    left = dict(error)
    message = left.pop("message", None)
    if not isinstance(message, str):
        if message is not None:
            left["message"] = message
        detail = left.get("detail")
        message = detail if isinstance(detail, str) else f"the provider gave no message (status {status})"
    code = left.get("code")
    return WireError(
        message=message,
        type=_text(left, "type"),
        code=left.pop("code") if type(code) in (str, int) else None,
        param=_text(left, "param"),
        status=status,
        dialect=DIALECT,
        extra=left,
        outer=outer,
    )


def encode_error(error: WireError) -> bytes:
    """The body of an error answer; its status travels beside it."""
    return write_json(error_fields(error))


def error_fields(error: WireError) -> dict[str, Any]:
    """The body as JSON. All four fields are said, null where there is nothing to say."""
    own = error.dialect in (None, DIALECT)
    known = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    nulls: dict[str, Any] = dict.fromkeys(known)
    fields = nulls | merged(known, error.extra if own else {})
    return {"error": fields} | (error.outer if own else {})


def _text(left: dict[str, Any], name: str) -> str | None:
    value = left.get(name)
    if type(value) is str:
        del left[name]
        return value
    return None
