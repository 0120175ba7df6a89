"""What Anthropic's errors mean: by status and ``error.type``, never by the words of a message.

That a prompt is too long is said in the message alone (an ``invalid_request_error`` like any other), so it counts as the
caller's fault and goes to no larger window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

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

_BY_TYPE: Final[Mapping[str, tuple[type[ProviderError], int]]] = {
    "invalid_request_error": (RequestRefused, 400),
    "authentication_error": (AuthRefused, 401),
    "billing_error": (QuotaExhausted, 402),
    "permission_error": (AuthRefused, 403),
    "not_found_error": (ModelMissing, 404),
    "request_too_large": (RequestRefused, 413),
    "rate_limit_error": (RateLimited, 429),
    "api_error": (ServerFailed, 500),
    "timeout_error": (ServerFailed, 504),
    "overloaded_error": (Overloaded, 529),
}
"""Each type with the status that goes with it."""
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


def refusal(status: int, body: bytes) -> ProviderError:
    """The typed meaning of an answer with an error status."""
    return _typed(status, _error_object(body), body)


def inner_refusal(error: Any, body: bytes) -> ProviderError:
    """The typed meaning of an error that came with a 200: in a whole body, or as a stream's event."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    kind = fields.get("type")
    status = _BY_TYPE[kind][1] if isinstance(kind, str) and kind in _BY_TYPE else 500
    return _typed(status, fields, body)


def _typed(status: int, fields: Mapping[str, Any], body: bytes) -> ProviderError:
    word = fields.get("type")
    kind = _BY_TYPE[word][0] if isinstance(word, str) and word in _BY_TYPE else None
    if kind in (None, RequestRefused):  # an unusual status says more than the commonest type
        kind = _BY_STATUS.get(status) or (RequestRefused if 400 <= status < 500 else ServerFailed)
    message = fields.get("message")
    error = kind(
        message if isinstance(message, str) and message else f"the provider answered {status}",
        upstream_status=status,
        body=body,
        kind=word if isinstance(word, str) else None,
    )
    if isinstance(error, RequestRefused | ModelMissing):
        error.status = status  # passed on as it is
    return error


def _error_object(body: bytes) -> Mapping[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    error = answer.get("error", answer) if isinstance(answer, dict) else None
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}
