"""Errors in Anthropic's words: ``{"type": "error", "error": {"type", "message"}, "request_id"}``."""

from __future__ import annotations

import msgspec

from holdfast.chaos.wire import limit_headers
from holdfast.chaos.wire.errors import PLAIN_STATUS, ErrorAnswer, Problem

__all__ = ["error"]


class _Words(msgspec.Struct, frozen=True):
    status: int
    type: str
    message: str


_NAMED = {
    "insufficient_quota": _Words(
        402,
        "billing_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
        "purchase credits.",
    ),
    "rate_limit": _Words(
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 50 requests per minute.",
    ),
    "tokens_rate_limit": _Words(
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 40,000 input tokens per minute.",
    ),
    "context_length_exceeded": _Words(
        400, "invalid_request_error", "prompt is too long: 204521 tokens > 200000 maximum"
    ),
    "content_policy": _Words(400, "invalid_request_error", "Output blocked by content filtering policy"),
    "content_filter": _Words(400, "invalid_request_error", "Output blocked by content filtering policy"),
    "invalid_api_key": _Words(401, "authentication_error", "invalid x-api-key"),
    "model_not_found": _Words(404, "not_found_error", "model: {model}"),
    "overloaded": _Words(529, "overloaded_error", "Overloaded"),
}

_BY_STATUS = {
    400: _Words(400, "invalid_request_error", "The request body is not valid."),
    401: _NAMED["invalid_api_key"],
    402: _NAMED["insufficient_quota"],
    403: _Words(
        403, "permission_error", "Your API key does not have permission to use the specified resource."
    ),
    404: _NAMED["model_not_found"],
    409: _Words(409, "conflict_error", "The resource was changed by another request."),
    413: _Words(413, "request_too_large", "Request exceeds the maximum size"),
    429: _NAMED["rate_limit"],
    500: _Words(500, "api_error", "Internal server error"),
    504: _Words(504, "timeout_error", "Request timed out"),
    529: _NAMED["overloaded"],
}

_RESET = "2025-08-01T00:00:00Z"  # a constant: the time of day would make two runs of one seed differ
_LIMITS = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "0",
    "anthropic-ratelimit-requests-reset": _RESET,
    "anthropic-ratelimit-tokens-limit": "48000",
    "anthropic-ratelimit-tokens-remaining": "48000",
    "anthropic-ratelimit-tokens-reset": _RESET,
    "anthropic-ratelimit-input-tokens-limit": "40000",
    "anthropic-ratelimit-input-tokens-remaining": "40000",
    "anthropic-ratelimit-input-tokens-reset": _RESET,
    "anthropic-ratelimit-output-tokens-limit": "8000",
    "anthropic-ratelimit-output-tokens-remaining": "8000",
    "anthropic-ratelimit-output-tokens-reset": _RESET,
}
_NO_TOKENS = {
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-tokens-remaining": "8000",
    "anthropic-ratelimit-input-tokens-remaining": "0",
}


def error(problem: Problem, model: str, request_id: str) -> ErrorAnswer:
    """``problem`` as Anthropic tells it."""
    words = _words(problem)
    message = words.message if problem.message is None else problem.message
    value = {
        "type": "error",
        "error": {"type": words.type, "message": message.replace("{model}", model)},
        "request_id": request_id,
    }
    headers = {"request-id": request_id}
    if words.type == "rate_limit_error" and problem.quota is not None:
        headers |= limit_headers.anthropic(problem.quota)
    elif words.type == "rate_limit_error":
        headers |= _LIMITS | (_NO_TOKENS if problem.name == "tokens_rate_limit" else {})
    return ErrorAnswer(problem.status or words.status, value, headers)


def _words(problem: Problem) -> _Words:
    if problem.name in _NAMED:
        return _NAMED[problem.name]
    status = PLAIN_STATUS[problem.name] if problem.name is not None else problem.status or 500
    if (known := _BY_STATUS.get(status)) is not None:
        return known
    if status >= 500:
        return _Words(status, "api_error", "Internal server error")
    return _Words(status, "invalid_request_error", f"The request failed with status {status}.")
