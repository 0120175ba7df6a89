"""What goes wrong, by name, before a wire puts it into its provider's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.errors import nearest

if TYPE_CHECKING:
    from holdfast.chaos.quota import Quota

__all__ = ["NAMED", "PLAIN_STATUS", "ErrorAnswer", "Problem", "Refused", "check_name"]

NAMED: dict[str, str] = {
    "insufficient_quota": "the account has no credit left",
    "rate_limit": "too many requests per minute",
    "tokens_rate_limit": "too many tokens per minute",
    "context_length_exceeded": "the prompt is longer than the model's context",
    "content_policy": "the prompt is refused",
    "content_filter": "a filter stopped it",
    "invalid_api_key": "the key is wrong",
    "model_not_found": "there is no such model",
    "overloaded": "the provider is overloaded",
    "bad_request": "the request is wrong",
    "permission_denied": "the key may not do that",
    "timeout": "the request took too long to arrive",
    "request_too_large": "the request is too large",
    "unprocessable": "the request can't be processed",
    "server_error": "the server failed",
    "bad_gateway": "a proxy got no answer from the server",
    "service_unavailable": "the server can't answer now",
    "gateway_timeout": "a proxy waited too long for the server",
}
"""Errors that every provider has, by the name that scripts use."""

PLAIN_STATUS: dict[str, int] = {
    "bad_request": 400,
    "permission_denied": 403,
    "timeout": 408,
    "request_too_large": 413,
    "unprocessable": 422,
    "server_error": 500,
    "bad_gateway": 502,
    "service_unavailable": 503,
    "gateway_timeout": 504,
}
"""Those of them that are their status, at every provider."""


class Problem(msgspec.Struct, frozen=True):
    """An error to be told. Of ``name``, else by ``status``; the other fields go over what those imply."""

    status: int | None = None
    name: str | None = None
    message: str | None = None
    """May hold ``{model}``."""
    param: str | None = None
    """The field that is wrong, as the caller's wire writes it."""
    code: str | None = None
    """A code of OpenAI's."""
    wait_s: float | None = None
    """Seconds after which another try is welcome, where a wire says so in the body."""
    quota: Quota | None = None
    """What is left of the limits that were passed."""


class ErrorAnswer(msgspec.Struct):
    """An error in a provider's words."""

    status: int
    value: dict[str, Any]
    headers: dict[str, str] = {}

    @property
    def body(self) -> bytes:
        return msgspec.json.encode(self.value)


class Refused(Exception):
    """The caller's mistake, with the error that tells it so."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def check_name(name: str) -> None:
    """Raises ValueError with the nearest name where no error is called ``name``."""
    if name not in NAMED:
        raise ValueError(f"unknown error {name!r}: {nearest(name, NAMED)}")
