"""Error bodies as OpenAI shapes them: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import msgspec

from holdfast.chaos.errors import nearest

__all__ = ["NAMED", "ErrorBody", "body_of", "for_status", "named"]


class ErrorBody(msgspec.Struct, frozen=True):
    """An error of OpenAI's. ``message`` may hold ``{model}``."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None


NAMED: dict[str, ErrorBody] = {
    "insufficient_quota": ErrorBody(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "rate_limit": ErrorBody(
        429, "requests", "rate_limit_exceeded", "Rate limit reached for {model} on requests per min (RPM)."
    ),
    "tokens_rate_limit": ErrorBody(
        429, "tokens", "rate_limit_exceeded", "Rate limit reached for {model} on tokens per min (TPM)."
    ),
    "context_length_exceeded": ErrorBody(
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens; your messages are longer.",
        "messages",
    ),
    "content_policy": ErrorBody(
        400,
        "invalid_request_error",
        "content_policy_violation",
        "The request was rejected by the safety system.",
    ),
    "content_filter": ErrorBody(
        400,
        "invalid_request_error",
        "content_filter",
        "The response was filtered by the content policy.",
        "prompt",
    ),
    "invalid_api_key": ErrorBody(
        401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: ****."
    ),
    "model_not_found": ErrorBody(
        404,
        "invalid_request_error",
        "model_not_found",
        "The model '{model}' does not exist or you do not have access to it.",
        "model",
    ),
    "overloaded": ErrorBody(529, "overloaded_error", "overloaded", "Overloaded"),
}

_BY_STATUS: dict[int, ErrorBody] = {
    400: ErrorBody(400, "invalid_request_error", None, "The request could not be understood."),
    401: NAMED["invalid_api_key"],
    403: ErrorBody(
        403, "invalid_request_error", "permission_denied", "Your project has no access to {model}.", "model"
    ),
    404: NAMED["model_not_found"],
    408: ErrorBody(408, "invalid_request_error", "request_timeout", "The request took too long to arrive."),
    409: ErrorBody(409, "conflict", "conflict", "The resource was changed by another request."),
    413: ErrorBody(413, "invalid_request_error", "request_too_large", "The request is too large."),
    422: ErrorBody(422, "invalid_request_error", "unprocessable_entity", "The request can't be processed."),
    429: NAMED["rate_limit"],
    500: ErrorBody(500, "server_error", None, "The server had an error while processing your request."),
    502: ErrorBody(502, "server_error", "bad_gateway", "Bad gateway."),
    503: ErrorBody(
        503, "server_error", "service_unavailable", "The engine is overloaded, please try again later."
    ),
    504: ErrorBody(504, "server_error", "gateway_timeout", "Gateway timeout."),
    529: NAMED["overloaded"],
}


def for_status(status: int) -> ErrorBody:
    """The body that fits ``status``."""
    if (known := _BY_STATUS.get(status)) is not None:
        return known
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return ErrorBody(status, kind, None, f"The request failed with status {status}.")


def named(name: str) -> ErrorBody:
    """The error called ``name``. Raises ValueError with the nearest name."""
    if (known := NAMED.get(name)) is None:
        raise ValueError(f"unknown error {name!r}: {nearest(name, NAMED)}")
    return known


def body_of(error: ErrorBody, model: str = "") -> bytes:
    """The bytes of ``error``."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message.replace("{model}", model),
                "type": error.type,
                "param": error.param,
                "code": error.code,
            }
        }
    )
