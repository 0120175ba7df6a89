"""What Anthropic's errors mean: by status and ``error.type``, never by the words of a message.

That a prompt is too long, or that content was blocked, Anthropic says in the message alone, under an
``invalid_request_error`` like any other: it counts as the caller's fault, and a prompt that is too long goes to no larger
window. Servers that say it in ``error.details.error_code``, Anthropic's place for a stable cause, are understood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.errors import (
    AuthRefused,
    ContentRefused,
    ContextTooLong,
    ModelMissing,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    ServerFailed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["inner_refusal", "refusal"]

_BY_CODE: Final[Mapping[str, type[ProviderError]]] = {
    "content_policy_violation": ContentRefused,
    "context_length_exceeded": ContextTooLong,
    "contract_spend_limit_reached": QuotaExhausted,
    "enforced_spend_limit_reached": QuotaExhausted,
    "linked_organization_billing_unavailable": QuotaExhausted,
    "linked_organization_spend_limit_reached": QuotaExhausted,
}
"""``error.details.error_code`` where it says more than the type does."""

_BY_TYPE: Final[Mapping[str, tuple[type[ProviderError], int]]] = {
    "api_error": (ServerFailed, 500),
    "authentication_error": (AuthRefused, 401),
    "billing_error": (QuotaExhausted, 402),
    "invalid_request_error": (RequestRefused, 400),
    "not_found_error": (ModelMissing, 404),
    "overloaded_error": (Overloaded, 529),
    "permission_error": (AuthRefused, 403),
    "rate_limit_error": (RateLimited, 429),
    "request_too_large": (RequestRefused, 413),
    "timeout_error": (ServerFailed, 504),
}
"""Each ``error.type``, and the status that it would have had inside a 200."""

_BY_STATUS: Final[Mapping[int, type[ProviderError]]] = {
    401: AuthRefused,
    402: QuotaExhausted,
    403: AuthRefused,
    404: ModelMissing,
    408: ServerFailed,
    409: ServerFailed,
    425: ServerFailed,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}
"""Statuses with a meaning of their own; other 4xx are the caller's fault, everything else is the server's."""

_UNKNOWN: Final[tuple[type[ProviderError], int]] = (ServerFailed, 500)
_GENERAL: Final = (RequestRefused, ServerFailed)
"""What says less than a status with a meaning of its own."""


def refusal(status: int, body: bytes) -> ProviderError:
    """The typed meaning of an answer with an error status."""
    return _typed(status, _error_object(body), body)


def inner_refusal(error: Any, body: bytes) -> ProviderError:
    """The typed meaning of an error object that came with a 200: in a whole body, or as a stream's event."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    _, status = _BY_TYPE.get(_word(fields, "type") or "", _UNKNOWN)
    return _typed(status, fields, body)


def _typed(status: int, fields: Mapping[str, Any], body: bytes) -> ProviderError:
    word = _word(fields, "type")
    details = fields.get("details")
    code = _word(details, "error_code") if isinstance(details, dict) else None
    message = _word(fields, "message")
    error = _kind(status, word, code)(
        message or f"the provider answered {status}",
        upstream_status=status,
        body=body,
        kind=code or word,
    )
    if isinstance(error, RequestRefused | ModelMissing):
        error.status = status  # passed on as it is
    return error


def _kind(status: int, word: str | None, code: str | None) -> type[ProviderError]:
    by_code = _BY_CODE.get(code or "")
    if by_code is not None:
        return by_code
    by_type, _ = _BY_TYPE.get(word or "", _UNKNOWN)
    if by_type not in _GENERAL and status >= 400:
        return by_type
    return _BY_STATUS.get(status) or (RequestRefused if 400 <= status < 500 else ServerFailed)


def _word(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _error_object(body: bytes) -> Mapping[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(answer, dict):
        return {}
    error = answer.get("error", answer)
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}
