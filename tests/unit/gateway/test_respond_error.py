"""Every class of error, as its caller reads it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import holdfast.errors as tree
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.errors import (
    BodyTooLarge,
    ContentRefused,
    ContextTooLong,
    Draining,
    HoldfastError,
    LedgerUnavailable,
    ModelMissing,
    ProviderError,
    RequestRefused,
    RequestTimeout,
    TargetsFailed,
)
from holdfast.gateway.asgi import Request
from holdfast.gateway.door import respond_error


def every(kind: type[HoldfastError]) -> set[type[HoldfastError]]:
    found = {kind} if kind.__module__ == tree.__name__ else set()
    return found.union(*(every(child) for child in kind.__subclasses__()))


CLASSES = sorted(every(HoldfastError), key=lambda kind: kind.__name__)


def made(kind: type[HoldfastError]) -> HoldfastError:
    if kind is tree.TimedOut:
        return kind("no", limit="idle_s", silent=False)
    if kind is TargetsFailed:
        return kind("no", failures=[("a/m", tree.ServerFailed("down", upstream_status=500))], status=502)
    if issubclass(kind, ProviderError):
        return kind("no", upstream_status=418)
    return kind("no")


def said(error: HoldfastError) -> tuple[int, dict[str, str], bytes]:
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    request = Request(
        id="the-id",
        method="POST",
        path="/",
        headers={},
        receive=asyncio.Queue.get,
        send=send,
        started_at=0.0,
        started_ns=0,
        voice=OpenAIChat(),
    )
    asyncio.run(respond_error(request, error))
    start, body = messages
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(headers["content-length"]) == len(body["body"])
    assert request.answered
    return start["status"], headers, body["body"]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_said_as_an_openai_error(kind):
    """No answer invites another layer of retries, but where nothing was tried and another process may serve."""
    error = made(kind)
    status, headers, body = said(error)
    fields = msgspec.json.decode(body)["error"]
    assert status == error.status
    assert (fields["message"], fields["code"], fields["request_id"]) == ("no", kind.code, "the-id")
    assert fields["type"] == {
        401: "authentication_error",
        402: "insufficient_quota",
        403: "permission_error",
        429: "rate_limit_error",
    }.get(status, "invalid_request_error" if status < 500 else "server_error")
    assert headers["x-request-id"] == headers["x-holdfast-request-id"] == "the-id"
    assert headers["content-type"] == "application/json"
    assert ("x-should-retry" in headers) == (not isinstance(error, LedgerUnavailable | Draining))
    assert (headers.get("connection") == "close") == isinstance(
        error, Draining | BodyTooLarge | RequestTimeout
    )
    assert headers.get("retry-after") == ("1" if isinstance(error, LedgerUnavailable) else None)


def test_all_that_failed_are_listed():
    _, _, body = said(made(TargetsFailed))
    assert msgspec.json.decode(body)["error"]["attempts"] == [
        {"target": "a/m", "error": "server_failed", "message": "down"}
    ]


@pytest.mark.parametrize("kind", [RequestRefused, ContentRefused, ContextTooLong, ModelMissing])
def test_the_callers_fault_goes_out_in_the_providers_own_bytes(kind):
    error = kind("no", upstream_status=418, body=b"teapot", headers={"content-type": "text/plain"})
    error.dialect = OpenAIChat.name
    status, headers, body = said(error)
    assert (status, body, headers["content-type"]) == (418, b"teapot", "text/plain")


@pytest.mark.parametrize("kind", [RequestRefused, ContentRefused, ContextTooLong, ModelMissing])
def test_the_words_of_another_dialect_are_said_in_the_callers(kind):
    error = kind("no", upstream_status=418, body=b'{"type":"error"}')
    error.dialect = "another"
    _, headers, body = said(error)
    assert headers["content-type"] == "application/json"
    assert msgspec.json.decode(body)["error"]["message"] == "no"


@pytest.mark.parametrize("kind", [tree.AuthRefused, tree.RateLimited, tree.ServerFailed])
def test_what_is_no_fault_of_the_callers_does_not(kind):
    status, _, body = said(kind("no", upstream_status=418, body=b"teapot"))
    assert status == kind.default_status
    assert b"teapot" not in body


@pytest.mark.parametrize(
    ("wait_s", "seconds", "milliseconds"), [(0.0, "0", "0"), (9.1, "10", "9100"), (0.0001, "1", "1")]
)
def test_a_wait_is_told_in_both_forms_and_never_too_short(wait_s, seconds, milliseconds):
    _, headers, _ = said(TargetsFailed("no", failures=[], status=429, retry_after_s=wait_s))
    assert (headers["retry-after"], headers["retry-after-ms"]) == (seconds, milliseconds)
