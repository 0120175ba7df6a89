"""What an OpenAI-shaped error means: by status and structured body, never by the words of its message.

Chat Completions, Responses and Embeddings share it. Shapes seen: OpenAI and DeepSeek ``{"error": {"message", "type",
"param", "code": str}}``, OpenRouter ``{"error": {"message", "code": int, "metadata"}}``, and servers that put the object's
fields at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

_BY_WORD: Mapping[str, type[ProviderError]] = {
    "insufficient_quota": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "billing_not_active": QuotaExhausted,
    "insufficient_balance": QuotaExhausted,
    "context_length_exceeded": ContextTooLong,
    "content_policy_violation": ContentRefused,
    "content_filter": ContentRefused,
    "invalid_prompt": ContentRefused,
    "image_content_policy_violation": ContentRefused,
    "bio_policy": ContentRefused,
    "misalignment_policy_violation": ContentRefused,
    "model_not_found": ModelMissing,
    "invalid_api_key": AuthRefused,
}
"""``code`` or ``type`` where it says more than the status does."""

_BY_STATUS: Mapping[int, type[ProviderError]] = {
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

_STATUS_OF_WORD: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "requests": 429,
    "tokens": 429,
    "insufficient_quota": 429,
    "overloaded_error": 529,
    "server_overloaded": 503,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "content_filter": 400,
    "model_not_found": 404,
    # A Response fails in words of its own.
    "invalid_prompt": 400,
    "bio_policy": 400,
    "misalignment_policy_violation": 400,
    "data_residency_mismatch": 400,
    "invalid_image": 400,
    "invalid_image_format": 400,
    "invalid_base64_image": 400,
    "invalid_image_url": 400,
    "invalid_image_mode": 400,
    "image_too_large": 400,
    "image_too_small": 400,
    "image_parse_error": 400,
    "image_content_policy_violation": 400,
    "image_file_too_large": 400,
    "image_file_not_found": 400,
    "unsupported_image_media_type": 400,
    "empty_image_file": 400,
    "failed_to_download_image": 400,
}
"""The status that an error inside a 200 would have had."""


def refusal(status: int, body: bytes) -> ProviderError:
    """The typed meaning of an answer with an error status."""
    return _typed(status, _error_object(body), body)


def inner_refusal(error: Any, body: bytes) -> ProviderError:
    """The typed meaning of an error object that came with a 200: in a whole body, or as a stream's event."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    code = fields.get("code")
    if isinstance(code, int) and 400 <= code <= 599:
        return _typed(code, fields, body)
    for word in _words(fields):
        if word in _STATUS_OF_WORD:
            return _typed(_STATUS_OF_WORD[word], fields, body)
    return _typed(500, fields, body)


def _typed(status: int, fields: Mapping[str, Any], body: bytes) -> ProviderError:
    words = _words(fields)
    kind = next((_BY_WORD[word] for word in words if word in _BY_WORD), None)
    if kind is None:
        kind = _BY_STATUS.get(status) or (RequestRefused if 400 <= status < 500 else ServerFailed)
        if status == 403 and _is_moderation(fields):
            kind = ContentRefused
    message = fields.get("message")
    param = fields.get("param")
    error = kind(
        message if isinstance(message, str) and message else f"the provider answered {status}",
        upstream_status=status,
        body=body,
        kind=words[0] if words else None,
        param=param if isinstance(param, str) else None,
    )
    if isinstance(error, RequestRefused | ModelMissing):
        error.status = status  # passed on as it is
    return error


def _words(fields: Mapping[str, Any]) -> list[str]:
    return [word.lower() for name in ("code", "type") if isinstance(word := fields.get(name), str) and word]


def _is_moderation(fields: Mapping[str, Any]) -> bool:
    """OpenRouter says 403 for flagged input as well, and then lists the reasons."""
    metadata = fields.get("metadata")
    return isinstance(metadata, dict) and "reasons" in metadata


def _error_object(body: bytes) -> Mapping[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(answer, list) and answer:  # some compatible servers wrap the object in a list
        answer = answer[0]
    if not isinstance(answer, dict):
        return {}
    error = answer.get("error", answer)
    if isinstance(error, dict):
        return error
    return {"message": error} if isinstance(error, str) else {}
