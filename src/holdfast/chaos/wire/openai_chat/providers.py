"""Who speaks OpenAI's formats, and what each does the same at all of its endpoints: keys, headers, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.chaos.wire import limit_headers
from holdfast.chaos.wire.keys import bearer
from holdfast.chaos.wire.openai_chat import errors

if TYPE_CHECKING:
    from holdfast.chaos.http import Request
    from holdfast.chaos.quota import Quota
    from holdfast.chaos.wire.errors import ErrorAnswer, Problem

__all__ = ["AZURE", "DEEPSEEK", "OPENAI", "OPENROUTER", "Provider"]


class Provider:
    """OpenAI itself; each other one is a subclass."""

    def key(self, request: Request) -> bytes | None:
        """The caller's key, where this provider looks for it."""
        return bearer(request)

    def headers(self, request_id: str, quota: Quota) -> dict[str, str]:
        """What a healthy answer says beside its content type."""
        return {
            "x-request-id": request_id,
            "openai-organization": "chaos",
            "openai-version": "2020-10-01",
            "openai-processing-ms": "12",  # a constant, so that a run replays to the byte
            **limit_headers.openai(quota),
        }

    def error(self, problem: Problem, model: str, request_id: str) -> ErrorAnswer:
        return errors.error(problem, model, request_id)


class _Azure(Provider):
    def key(self, request: Request) -> bytes | None:
        # Its own header, or Bearer for tokens of its directory.
        return request.header(b"api-key") or bearer(request)

    def headers(self, request_id: str, quota: Quota) -> dict[str, str]:
        return {
            "x-request-id": request_id,
            "apim-request-id": request_id.removeprefix("req_"),
            "x-ms-region": "Chaos",
            **limit_headers.openai(quota),
        }


class _DeepSeek(Provider):
    """It tells no limits."""

    def headers(self, request_id: str, quota: Quota) -> dict[str, str]:  # noqa: ARG002  # the others' signature
        return {"x-request-id": request_id, "x-ds-trace-id": request_id.removeprefix("req_")}


class _OpenRouter(Provider):
    def headers(self, request_id: str, quota: Quota) -> dict[str, str]:
        return {"x-request-id": request_id, **limit_headers.openrouter(quota)}


OPENAI = Provider()
AZURE = _Azure()
DEEPSEEK = _DeepSeek()
OPENROUTER = _OpenRouter()
