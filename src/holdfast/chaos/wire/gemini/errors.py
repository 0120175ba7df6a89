"""Errors in Google's words: ``{"error": {"code", "message", "status", "details"}}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.wire.errors import PLAIN_STATUS, ErrorAnswer, Problem

if TYPE_CHECKING:
    from holdfast.chaos.quota import Quota

__all__ = ["error", "in_array"]

_RPC = "type.googleapis.com/google.rpc."


class _Words(msgspec.Struct, frozen=True):
    code: int
    status: str
    message: str
    details: tuple[dict[str, Any], ...] = ()


def _failure(metric: str, quota: str, value: str) -> dict[str, Any]:
    violation = {
        "quotaMetric": f"generativelanguage.googleapis.com/{metric}",
        "quotaId": quota,
        "quotaDimensions": {"location": "global", "model": "{model}"},
        "quotaValue": value,
    }
    return {"@type": f"{_RPC}QuotaFailure", "violations": [violation]}


_HELP = {
    "@type": f"{_RPC}Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
_EXCEEDED = "You exceeded your current quota, please check your plan and billing details."
_BAD_KEY = {
    "@type": f"{_RPC}ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
    "metadata": {"service": "generativelanguage.googleapis.com"},
}

_NAMED = {
    "insufficient_quota": _Words(
        429,
        "RESOURCE_EXHAUSTED",
        _EXCEEDED,
        (
            _failure(
                "generate_content_free_tier_requests",
                "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                "250",
            ),
            _HELP,
        ),
    ),
    "rate_limit": _Words(
        429,
        "RESOURCE_EXHAUSTED",
        _EXCEEDED,
        (
            _failure(
                "generate_content_paid_tier_requests", "GenerateRequestsPerMinutePerProjectPerModel", "10"
            ),
            _HELP,
        ),
    ),
    "tokens_rate_limit": _Words(
        429,
        "RESOURCE_EXHAUSTED",
        _EXCEEDED,
        (
            _failure(
                "generate_content_paid_tier_input_token_count",
                "GenerateContentPaidTierInputTokensPerModelPerMinute",
                "1000000",
            ),
            _HELP,
        ),
    ),
    "context_length_exceeded": _Words(
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "invalid_api_key": _Words(
        400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", (_BAD_KEY,)
    ),
    "model_not_found": _Words(
        404,
        "NOT_FOUND",
        "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call "
        "ModelService.ListModels to see the list of available models and their supported methods.",
    ),
    "overloaded": _Words(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
}

_BY_STATUS = {
    400: _Words(400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: _Words(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: _Words(403, "PERMISSION_DENIED", "The caller does not have permission"),
    404: _NAMED["model_not_found"],
    409: _Words(409, "ABORTED", "The operation was aborted."),
    429: _NAMED["rate_limit"],
    499: _Words(499, "CANCELLED", "The operation was cancelled."),
    500: _Words(
        500, "INTERNAL", "An internal error has occurred. Please retry or report in the issue tracker."
    ),
    501: _Words(501, "UNIMPLEMENTED", "Operation is not implemented, or supported, or enabled."),
    503: _NAMED["overloaded"],
    504: _Words(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}

_BLOCKED = {"content_policy": "PROHIBITED_CONTENT", "content_filter": "SAFETY"}
_RETRY_DELAY_S = 20.0


def error(problem: Problem, model: str) -> ErrorAnswer:
    """``problem`` as Google tells it. A prompt that is refused for what it says is no error there, but a 200."""
    if problem.name in _BLOCKED:
        return ErrorAnswer(problem.status or 200, _blocked(_BLOCKED[problem.name], model))
    words = _words(problem)
    message = words.message if problem.message is None else problem.message
    details = [_counted(detail, model, problem.quota) for detail in words.details]
    if problem.param is not None:
        violation = {"field": problem.param, "description": message}
        details = [{"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]}]
    if words.status == "RESOURCE_EXHAUSTED" or problem.wait_s is not None:
        wait = _RETRY_DELAY_S if problem.wait_s is None else problem.wait_s
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": f"{wait:g}s"})
    status = problem.status or words.code
    value: dict[str, Any] = {
        "code": status,
        "message": message.replace("{model}", model),
        "status": words.status,
    }
    if details:
        value["details"] = details
    return ErrorAnswer(status, {"error": value})


class _InArray(ErrorAnswer):
    """The only element of an array."""

    @property
    def body(self) -> bytes:
        return msgspec.json.encode([self.value])


def in_array(problem: Problem, model: str) -> ErrorAnswer:
    """:func:`error`, in an array."""
    told = error(problem, model)
    return _InArray(told.status, told.value, told.headers)


def _words(problem: Problem) -> _Words:
    if problem.name in _NAMED:
        return _NAMED[problem.name]
    status = PLAIN_STATUS[problem.name] if problem.name is not None else problem.status or 500
    if (known := _BY_STATUS.get(status)) is not None:
        return known
    kind = "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"
    return _Words(status, kind, f"The request failed with status {status}.")


def _counted(detail: dict[str, Any], model: str, quota: Quota | None) -> dict[str, Any]:
    """``detail`` with the model, and the limit that was truly passed."""
    if not detail["@type"].endswith("QuotaFailure"):
        return detail
    (violation,) = detail["violations"]
    counted = {**violation, "quotaDimensions": {**violation["quotaDimensions"], "model": model}}
    if quota is not None:
        of_tokens = "token" in violation["quotaMetric"]
        counted["quotaValue"] = str(quota.tokens_limit if of_tokens else quota.requests_limit)
    return {**detail, "violations": [counted]}


def _blocked(reason: str, model: str) -> dict[str, Any]:
    return {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 8},
        "modelVersion": model,
    }
