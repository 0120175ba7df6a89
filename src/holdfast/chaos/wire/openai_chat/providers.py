"""Who speaks OpenAI's formats, and what each does the same at all of its endpoints: keys, headers, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.chaos.wire import limit_headers
from holdfast.chaos.wire.errors import ErrorAnswer
from holdfast.chaos.wire.keys import bearer
from holdfast.chaos.wire.openai_chat import azure_filters, errors
from holdfast.chaos.wire.openai_chat.flavours import NANO_PER_TOKEN

if TYPE_CHECKING:
    from holdfast.chaos.http import Request
    from holdfast.chaos.quota import Quota
    from holdfast.chaos.wire.errors import Problem

__all__ = ["AZURE", "DEEPSEEK", "OPENAI", "OPENROUTER", "Provider"]

_CREATED = 1_700_000_000
_CONTEXT = 1_048_576
_OUTPUT = 65_536
_PARAMETERS = [
    "include_reasoning", "max_tokens", "reasoning", "response_format", "stop", "structured_outputs", "tool_choice",
    "tools",
]  # fmt: skip  # a list reads better packed
_PER_TOKEN = f"{NANO_PER_TOKEN / 10**9:f}"  # dollars


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

    def model(self, name: str) -> dict[str, Any]:
        """A row of the list of models."""
        return {"id": name, "object": "model", "created": _CREATED, "owned_by": "chaos"}

    def models(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The list of models."""
        return {"object": "list", "data": rows}

    def one_model(self, name: str) -> dict[str, Any]:
        return self.model(name)

    def error(self, problem: Problem, model: str, request_id: str) -> ErrorAnswer:
        return errors.error(problem, model, request_id)


class _Azure(Provider):
    def key(self, request: Request) -> bytes | None:
        # Its own header, or Bearer for tokens of its directory.
        return request.header(b"api-key") or bearer(request)

    def headers(self, request_id: str, quota: Quota) -> dict[str, str]:
        return {"x-request-id": request_id, **_azure_ids(request_id), **limit_headers.openai(quota)}

    def error(self, problem: Problem, model: str, request_id: str) -> ErrorAnswer:
        error = super().error(problem, model, request_id)
        error.headers |= _azure_ids(request_id)
        if problem.name not in ("content_filter", "content_policy"):
            return error
        said = None if problem.message is None else str(error.value["error"]["message"])
        told = azure_filters.refusal(error.status, said)
        return ErrorAnswer(error.status, {"error": told}, error.headers)


def _azure_ids(request_id: str) -> dict[str, str]:
    return {"apim-request-id": request_id.removeprefix("req_"), "x-ms-region": "Chaos"}


class _DeepSeek(Provider):
    """It tells no limits."""

    def headers(self, request_id: str, quota: Quota) -> dict[str, str]:  # noqa: ARG002  # the others' signature
        return {"x-request-id": request_id, "x-ds-trace-id": request_id.removeprefix("req_")}

    def model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "owned_by": "chaos"}


class _OpenRouter(Provider):
    def headers(self, request_id: str, quota: Quota) -> dict[str, str]:
        return {"x-request-id": request_id, **limit_headers.openrouter(quota)}

    def model(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "canonical_slug": name,
            "name": name,
            "created": _CREATED,
            "description": "",
            "context_length": _CONTEXT,
            "architecture": {
                "modality": "text+image->text",
                "input_modalities": ["text", "image", "file"],
                "output_modalities": ["text"],
                "tokenizer": "Other",
                "instruct_type": None,
            },
            "pricing": {"prompt": _PER_TOKEN, "completion": _PER_TOKEN, "request": "0", "image": "0"},
            "top_provider": {
                "context_length": _CONTEXT,
                "max_completion_tokens": _OUTPUT,
                "is_moderated": False,
            },
            "per_request_limits": None,
            "supported_parameters": _PARAMETERS,
        }

    def models(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {"data": rows}

    def one_model(self, name: str) -> dict[str, Any]:
        return {"data": self.model(name)}


OPENAI = Provider()
AZURE = _Azure()
DEEPSEEK = _DeepSeek()
OPENROUTER = _OpenRouter()
