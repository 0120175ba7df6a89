"""Errors, both ways: ``{"error": {"code", "message", "status", "details"}}``, as ``google.rpc.Status`` has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.gemini.names import DIALECT
from holdfast.dialects.reading import bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.errors import BadAnswer
from holdfast.model import WireError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "bad_field",
    "decode_error",
    "delay",
    "detail",
    "encode_error",
    "error_fields",
    "error_of",
    "reason_of",
    "retry_after",
    "violations",
    "word_of",
]

_LONGEST = 2_000
"""Characters of an unreadable body that are kept as its message."""
_RPC: Final = "type.googleapis.com/google.rpc."
_DELAY: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_WORDS: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def word_of(status: int) -> str:
    """Google's word for an HTTP status; the nearest for one that it doesn't use."""
    return _WORDS.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")


def delay(seconds: float) -> str:
    """A duration as Google's JSON has it: ``1.5s``."""
    return f"{max(seconds, 0):.9f}".rstrip("0").rstrip(".") + "s"


def detail(kind: str, **fields: Any) -> dict[str, Any]:
    """One item of ``details``."""
    return {"@type": f"{_RPC}{kind}", **fields}


def bad_field(param: str, message: str) -> dict[str, Any]:
    return detail("BadRequest", fieldViolations=[{"field": param, "description": message}])


def found(error: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The details of one kind."""
    details = error.get("details")
    listed = details if isinstance(details, list) else []
    return [each for each in listed if isinstance(each, dict) and each.get("@type") == f"{_RPC}{kind}"]


def reason_of(error: Mapping[str, Any]) -> str | None:
    """The machine-readable reason, where Google gives one: ``API_KEY_INVALID``."""
    reasons = (each.get("reason") for each in found(error, "ErrorInfo"))
    return next((reason for reason in reasons if isinstance(reason, str) and reason), None)


def retry_after(error: Mapping[str, Any]) -> float | None:
    """Seconds after which another try may help, as ``RetryInfo`` says them."""
    for each in found(error, "RetryInfo"):
        delay = each.get("retryDelay")
        if isinstance(delay, str) and (matched := _DELAY.fullmatch(delay)):
            return float(matched[1])
    return None


def violations(error: Mapping[str, Any], kind: str, name: str) -> list[dict[str, Any]]:
    """The items of the list ``name`` in all details of one kind."""
    lists = (each.get(name) for each in found(error, kind))
    return [item for listed in lists if isinstance(listed, list) for item in listed if isinstance(item, dict)]


def decode_error(status: int, body: bytes) -> WireError:
    """What an error answer says. Never raises: whatever came is an error, readable or not."""
    try:
        value = read_json(body, bad_answer)
    except BadAnswer:
        text = body[: 4 * _LONGEST].decode("utf-8", "replace").strip()[:_LONGEST]
        return WireError(message=text or f"status {status} without a body", status=status, dialect=DIALECT)
    if isinstance(value, list) and len(value) == 1:  # as streamGenerateContent gives it without `alt=sse`
        value = value[0]
    if not isinstance(value, dict):
        return WireError(message=str(value)[:_LONGEST], status=status, dialect=DIALECT)
    return error_of(value, status)


def error_of(value: dict[str, Any], status: int | None) -> WireError:
    """The error in a decoded body or stream event; a stream's names its status itself."""
    outer = dict(value)
    error = outer.pop("error", None)
    if isinstance(error, str):
        return WireError(message=error, status=status, dialect=DIALECT, outer=outer)
    if not isinstance(error, dict):  # no error object: its fields stand at the top
        error, outer = value, {}
    left = dict(error)
    code = left.get("code")
    if type(code) is int and 100 <= code <= 599 and status in (None, code):
        status = left.pop("code")
    message = left.get("message")
    if isinstance(message, str):
        del left["message"]
    else:
        message = f"the provider gave no message (status {status})"
    word = left.get("status")
    if isinstance(word, str):
        del left["status"]
    else:
        word = None
    fields = (each.get("field") for each in violations(error, "BadRequest", "fieldViolations"))
    return WireError(
        message=message,
        type=None if status is not None and word == word_of(status) else word,
        code=reason_of(error),
        param=next((field for field in fields if isinstance(field, str)), None),
        status=status,
        retry_after_s=retry_after(error),
        dialect=DIALECT,
        extra=left,
        outer=outer,
    )


def encode_error(error: WireError) -> bytes:
    """The body of an error answer; its status travels beside it, and in it."""
    return write_json(error_fields(error))


def error_fields(error: WireError) -> dict[str, Any]:
    """The body as JSON. A type that isn't one of Google's words gives way to the word for the status."""
    own = error.dialect in (None, DIALECT)
    status = error.status or 500
    known: dict[str, Any] = {
        "code": status,
        "message": error.message,
        "status": error.type if error.dialect == DIALECT and error.type else word_of(status),
    }
    if error.dialect != DIALECT:
        known["details"] = _details(error) or None
    extra = error.extra if own else {}
    fields = merged(known, extra) | ({"code": extra["code"]} if "code" in extra else {})
    return {"error": fields} | (error.outer if own else {})


def _details(error: WireError) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    if error.code is not None:
        details.append(detail("ErrorInfo", reason=str(error.code)))
    if error.param is not None:
        details.append(bad_field(error.param, error.message))
    if error.retry_after_s is not None:
        details.append(detail("RetryInfo", retryDelay=delay(error.retry_after_s)))
    return details
