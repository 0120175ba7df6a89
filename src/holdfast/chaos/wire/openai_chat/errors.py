"""Errors in OpenAI's words: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import msgspec

from holdfast.chaos.quota import Quota
from holdfast.chaos.wire import limit_headers
from holdfast.chaos.wire.errors import PLAIN_STATUS, ErrorAnswer, Problem

__all__ = ["error"]


class _Words(msgspec.Struct, frozen=True):
    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None


_NAMED = {
    "insufficient_quota": _Words(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "rate_limit": _Words(
        429, "requests", "rate_limit_exceeded", "Rate limit reached for {model} on requests per min (RPM)."
    ),
    "tokens_rate_limit": _Words(
        429, "tokens", "rate_limit_exceeded", "Rate limit reached for {model} on tokens per min (TPM)."
    ),
    "context_length_exceeded": _Words(
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens; your messages are longer.",
        "messages",
    ),
    "content_policy": _Words(
        400,
        "invalid_request_error",
        "content_policy_violation",
        "The request was rejected by the safety system.",
    ),
    "content_filter": _Words(
        400,
        "invalid_request_error",
        "content_filter",
        "The response was filtered by the content policy.",
        "prompt",
    ),
    "invalid_api_key": _Words(
        401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: ****."
    ),
    "model_not_found": _Words(
        404,
        "invalid_request_error",
        "model_not_found",
        "The model '{model}' does not exist or you do not have access to it.",
        "model",
    ),
    "overloaded": _Words(529, "overloaded_error", "overloaded", "Overloaded"),
}

_BY_STATUS = {
    400: _Words(400, "invalid_request_error", None, "The request could not be understood."),
    401: _NAMED["invalid_api_key"],
    403: _Words(
        403, "invalid_request_error", "permission_denied", "Your project has no access to {model}.", "model"
    ),
    404: _NAMED["model_not_found"],
    408: _Words(408, "invalid_request_error", "request_timeout", "The request took too long to arrive."),
    409: _Words(409, "conflict", "conflict", "The resource was changed by another request."),
    413: _Words(413, "invalid_request_error", "request_too_large", "The request is too large."),
    422: _Words(422, "invalid_request_error", "unprocessable_entity", "The request can't be processed."),
    429: _NAMED["rate_limit"],
    500: _Words(500, "server_error", None, "The server had an error while processing your request."),
    502: _Words(502, "server_error", "bad_gateway", "Bad gateway."),
    503: _Words(
        503, "server_error", "service_unavailable", "The engine is overloaded, please try again later."
    ),
    504: _Words(504, "server_error", "gateway_timeout", "Gateway timeout."),
    529: _NAMED["overloaded"],
}

_EXHAUSTED = {
    "requests": Quota(500, 0, 1.0, 200_000, 199_000, 0.3),
    "tokens": Quota(500, 499, 0.12, 200_000, 0, 6.0),
}
"""What is left where nobody counted, by the type of error that says so."""


def error(problem: Problem, model: str, request_id: str) -> ErrorAnswer:
    """``problem`` as OpenAI tells it."""
    words = _words(problem)
    message = words.message if problem.message is None else problem.message
    value = {
        "error": {
            "message": message.replace("{model}", model),
            "type": words.type,
            "param": words.param if problem.message is None else problem.param,
            "code": words.code if problem.code is None else problem.code,
        }
    }
    headers = {"x-request-id": request_id}
    if (exhausted := _EXHAUSTED.get(words.type)) is not None:
        headers |= limit_headers.openai(problem.quota or exhausted)
    return ErrorAnswer(problem.status or words.status, value, headers)


def _words(problem: Problem) -> _Words:
    if problem.name in _NAMED:
        return _NAMED[problem.name]
    status = PLAIN_STATUS[problem.name] if problem.name is not None else problem.status or 500
    if (known := _BY_STATUS.get(status)) is not None:
        return known
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return _Words(status, kind, None, f"The request failed with status {status}.")
