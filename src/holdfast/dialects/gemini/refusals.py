"""What one of Google's errors means: by status and structured body, never by the words of its message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.dialects.gemini.errors import reason_of, retry_after, violations, word_of
from holdfast.errors import (
    AuthRefused,
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

_KEY_REASONS = (
    "ACCESS_TOKEN_EXPIRED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "ACCESS_TOKEN_TYPE_UNSUPPORTED", "ACCOUNT_STATE_INVALID",
    "API_KEY_ANDROID_APP_BLOCKED", "API_KEY_EXPIRED", "API_KEY_HTTP_REFERRER_BLOCKED", "API_KEY_INVALID",
    "API_KEY_IOS_APP_BLOCKED", "API_KEY_IP_ADDRESS_BLOCKED", "API_KEY_SERVICE_BLOCKED", "CONSUMER_INVALID",
    "CONSUMER_SUSPENDED", "CREDENTIALS_MISSING", "SECURITY_POLICY_VIOLATED", "SERVICE_DISABLED", "USER_BLOCKED_BY_ADMIN",
    "USER_PROJECT_DENIED",
)  # fmt: skip  # a list reads better packed
_BY_REASON: Final[Mapping[str, type[ProviderError]]] = dict.fromkeys(_KEY_REASONS, AuthRefused) | {
    "BILLING_DISABLED": QuotaExhausted,
    "RESOURCE_QUOTA_EXCEEDED": QuotaExhausted,
    "RATE_LIMIT_EXCEEDED": RateLimited,
}
"""``google.rpc.ErrorInfo``'s reason, where it says more than the status: a bad key is a 400 here."""

_BY_WORD: Final[Mapping[str, type[ProviderError]]] = {
    "INVALID_ARGUMENT": RequestRefused,
    "FAILED_PRECONDITION": RequestRefused,
    "OUT_OF_RANGE": RequestRefused,
    "UNAUTHENTICATED": AuthRefused,
    "PERMISSION_DENIED": AuthRefused,
    "NOT_FOUND": ModelMissing,
    "RESOURCE_EXHAUSTED": RateLimited,
    "ABORTED": ServerFailed,
    "CANCELLED": ServerFailed,
    "DATA_LOSS": ServerFailed,
    "DEADLINE_EXCEEDED": ServerFailed,
    "INTERNAL": ServerFailed,
    "UNKNOWN": ServerFailed,
    "UNIMPLEMENTED": ServerFailed,
    "UNAVAILABLE": Overloaded,
}
_BY_STATUS: Final[Mapping[int, type[ProviderError]]] = {
    401: AuthRefused,
    402: QuotaExhausted,
    403: AuthRefused,
    404: ModelMissing,
    408: ServerFailed,
    409: ServerFailed,
    425: ServerFailed,
    429: RateLimited,
    499: ServerFailed,
    503: Overloaded,
}
"""Statuses with a meaning of their own, where no word is given; other 4xx are the caller's fault, the rest the server's."""
_STATUS_OF_WORD: Final[Mapping[str, int]] = {
    word_of(status): status for status in (400, 401, 403, 404, 409, 429, 499, 500, 501, 503, 504)
} | {"FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400}
_DAILY: Final = "PerDay"
"""In the id of a quota that is counted by the day; those by the minute have ``PerMinute``."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def refusal(status: int, body: bytes) -> ProviderError:
    """The typed meaning of an answer with an error status."""
    return _typed(status, _error_object(body), body)


def inner_refusal(error: Any, body: bytes) -> ProviderError:
    """The typed meaning of an error object that came with a 200: in a whole body, or as a stream's event."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    code, word = fields.get("code"), fields.get("status")
    if type(code) is int and 400 <= code <= 599:
        return _typed(code, fields, body)
    return _typed(_STATUS_OF_WORD.get(word, 500) if isinstance(word, str) else 500, fields, body)


def _typed(status: int, fields: Mapping[str, Any], body: bytes) -> ProviderError:
    word, reason = fields.get("status"), reason_of(fields)
    word = word if isinstance(word, str) else None
    kind = _BY_REASON.get(reason or "") or _BY_WORD.get(word or "") or _BY_STATUS.get(status)
    if kind is None:
        kind = RequestRefused if 400 <= status < 500 else ServerFailed
    if kind is RateLimited and _is_spent(fields):
        kind = QuotaExhausted
    message = fields.get("message")
    error = kind(
        message if isinstance(message, str) and message else f"the provider answered {status}",
        upstream_status=status,
        body=body,
        kind=reason or word,
        param=_param(fields),
        retry_after_s=retry_after(fields),
    )
    if isinstance(error, RequestRefused | ModelMissing):
        error.status = status  # passed on as it is
    return error


def _is_spent(fields: Mapping[str, Any]) -> bool:
    """Whether a quota is used up that doesn't come back within the request's life: one by the day, or one of nothing."""
    for violation in violations(fields, "QuotaFailure", "violations"):
        quota, value = violation.get("quotaId"), violation.get("quotaValue")
        if (isinstance(quota, str) and _DAILY in quota) or value == "0":
            return True
    return False


def _param(fields: Mapping[str, Any]) -> str | None:
    names = (each.get("field") for each in violations(fields, "BadRequest", "fieldViolations"))
    return next((name for name in names if isinstance(name, str) and name), None)


def _error_object(body: bytes) -> Mapping[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except _UNREADABLE:
        return {}
    if isinstance(answer, list) and answer:  # as streamGenerateContent gives it without `alt=sse`
        answer = answer[0]
    if not isinstance(answer, dict):
        return {}
    error = answer.get("error", answer)
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}
