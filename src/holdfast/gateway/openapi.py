"""The OpenAPI document of what the gateway serves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from holdfast.gateway.admin import PATHS as ADMIN
from holdfast.gateway.openapi_keys import KEY_SCHEMAS, key_paths
from holdfast.gateway.openapi_money import MONEY_SCHEMAS, money_paths
from holdfast.gateway.openapi_provider_keys import PROVIDER_KEY_SCHEMAS, provider_key_paths
from holdfast.gateway.openapi_reload import RELOAD_SCHEMAS, reload_paths
from holdfast.gateway.paths import AZURE_VERBS, GEMINI_VERBS, MODELS, POSTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["openapi"]

_TEMPLATES: Final[Mapping[str, str]] = {
    f"/{version}/models/{{model}}:{verb}": dialect
    for version in ("v1", "v1beta", "v1alpha")
    for verb, (dialect, _) in GEMINI_VERBS.items()
} | {f"/openai/deployments/{{model}}/{verb}": dialect for verb, dialect in AZURE_VERBS.items()}

_SUMMARIES: Final[Mapping[str, str]] = {
    "anthropic": "A message, in Anthropic's Messages format",
    "anthropic_count_tokens": "How many tokens a message has: as an Anthropic target counts, or as the gateway does",
    "gemini": "Content, in Gemini's format",
    "gemini_count_tokens": "How many tokens a content has: as a Gemini target counts, or as the gateway does",
    "openai_chat": "A chat completion, in OpenAI's Chat Completions format",
    "openai_embeddings": "Embeddings, in OpenAI's format",
    "openai_responses": "A response, in OpenAI's Responses format",
}

_ADMIN: Final[Mapping[str, str]] = {
    "/admin/targets": "How the policies before each target stand that was asked since the start",
    "/admin/rates": "How callers' own rate limits stand: what is allowed now, by key and by model",
}
_ADMIN_PARAMETERS: Final[Mapping[str, str]] = {
    "target": "The only one to be told, such as `openai/gpt-4o`; with several keys or addresses `openai[one]/gpt-4o`.",
}


def openapi(version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document. Request fields that a provider knows and we don't are allowed: they travel on."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": version,
            "description": "An LLM gateway that keeps its promises when providers fail.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"x-api-key": []}, {"x-goog-api-key": []}, {"api-key": []}],
        "paths": {
            **{path: {"post": _ask(path, place.dialect)} for path, place in POSTS.items()},
            **{path: {"post": _ask(path, dialect)} for path, dialect in _TEMPLATES.items()},
            "/": {"get": _greeting()},
            **{path: {"get": _models(path)} for path in MODELS},
            **{f"{path}/{{model}}": {"get": _models(path, one=True)} for path in MODELS},
            "/health/live": {"get": _probe("isLive", "The process answers")},
            "/health/ready": {"get": _probe("isReady", "The gateway takes requests; 503 says why not")},
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Prometheus metrics",
                    "security": [{}, {"metrics": []}, {"metrics-x-api-key": []}],
                    "responses": {
                        "200": {
                            "description": "The text format.",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        },
                        **dict.fromkeys(("401", "403", "405"), _SAID),
                    },
                }
            },
            **{path: {"get": _admin(path, parameters)} for path, parameters in ADMIN.items()},
            **key_paths(),
            **provider_key_paths(),
            **money_paths(),
            **reload_paths(),
            "/openapi.json": {
                "get": {
                    "operationId": "openapi",
                    "summary": "This document",
                    "responses": {
                        "200": _json("OpenAPI 3.1."),
                        **dict.fromkeys(("401", "403", "405"), _SAID),
                    },
                }
            },
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                **{
                    name: {"type": "apiKey", "in": "header", "name": name}
                    for name in ("x-api-key", "x-goog-api-key", "api-key")
                },
                "admin": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`gateway.admin_key`, or an admin key that was made.",
                },
                "admin-x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "metrics": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`gateway.metrics_key`, or what opens `/admin`.",
                },
                "metrics-x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "responses": {
                "Error": {
                    "description": "What was wrong, and what would be right.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
            },
            "schemas": {
                "ChatRequest": _CHAT_REQUEST,
                "AnyRequest": _ANY_REQUEST,
                "Error": _ERROR,
                **KEY_SCHEMAS,
                **PROVIDER_KEY_SCHEMAS,
                **MONEY_SCHEMAS,
                **RELOAD_SCHEMAS,
            },
        },
    }


_SAID = {"$ref": "#/components/responses/Error"}
_REFUSALS = (
    "400",
    "401",
    "402",
    "403",
    "404",
    "405",
    "408",
    "413",
    "415",
    "429",
    "500",
    "501",
    "502",
    "503",
    "504",
)

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "integer", "null"]},
                "request_id": {"type": "string"},
                "attempts": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "target": {"type": "string"},
                            "error": {"type": "string"},
                            "message": {"type": "string"},
                        },
                    },
                },
            },
        }
    },
}

_ANY_REQUEST: dict[str, Any] = {"type": "object", "additionalProperties": True}

_CHAT_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role"],
                "properties": {
                    "role": {"type": "string"},
                    "content": {
                        "type": ["string", "array", "null"],
                        "items": {
                            "type": "object",
                            "required": ["type"],
                            "properties": {"type": {"type": "string"}},
                        },
                    },
                },
            },
        },
        "stream": {"type": ["boolean", "null"]},
        "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 128},
        "max_tokens": {"type": ["integer", "null"]},
        "max_completion_tokens": {"type": ["integer", "null"]},
        "temperature": {"type": ["number", "null"]},
        "top_p": {"type": ["number", "null"]},
        "stop": {"type": ["string", "array", "null"], "items": {"type": "string"}},
        "tools": {"type": ["array", "null"], "items": {"type": "object", "required": ["type"]}},
        "response_format": {"type": ["object", "null"], "required": ["type"]},
    },
    "additionalProperties": True,
}


def _ask(path: str, dialect: str) -> dict[str, Any]:
    """The operation that asks for an answer."""
    body = "ChatRequest" if dialect == "openai_chat" else "AnyRequest"
    content = {"application/json": {"schema": {"type": "object"}}}
    if dialect in ("openai_chat", "openai_responses", "anthropic", "gemini"):
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "operationId": _name("ask", path),
        "summary": _SUMMARIES[dialect],
        "parameters": [
            *_in_path(path),
            _header("x-holdfast-session", "Names a session in the ledger.", r"^[\w.:/-]{1,64}$"),
            _header("x-holdfast-tags", "Tags for the ledger: `team=search,env=prod`.", None),
            _header("x-request-timeout", "Seconds that the caller will wait in all.", None),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}},
        },
        "responses": {
            "200": {
                "description": "The answer, whole or as a stream.",
                "headers": _answer_headers(),
                "content": content,
            },
            **dict.fromkeys(_REFUSALS, _SAID),
        },
    }


def _models(path: str, *, one: bool = False) -> dict[str, Any]:
    return {
        "operationId": _name("model" if one else "models", path),
        "summary": "One name that may be asked for"
        if one
        else "Every name that may be asked for: routes and their targets; in the shape of the caller's SDK",
        "parameters": _in_path(path + "/{model}") if one else [],
        "responses": {
            "200": _json("In OpenAI's, Anthropic's or Gemini's shape."),
            **dict.fromkeys(("400", "401", "403", "404", "405"), _SAID),
        },
    }


def _admin(path: str, parameters: Iterable[str]) -> dict[str, Any]:
    return {
        "operationId": _name("show", path),
        "summary": _ADMIN[path],
        "security": [{}, {"admin": []}, {"admin-x-api-key": []}],
        "parameters": [
            {
                "name": name,
                "in": "query",
                "description": _ADMIN_PARAMETERS[name],
                "schema": {"type": "string"},
            }
            for name in parameters
        ],
        "responses": {
            "200": _json("See the gateway's page."),
            **dict.fromkeys(("400", "401", "403", "404", "405"), _SAID),
        },
    }


def _greeting() -> dict[str, Any]:
    return {
        "operationId": "greet",
        "summary": "Who is here, for clients that knock first",
        "security": [{}],
        "responses": {"200": _json("Name and version."), "405": _SAID},
    }


def _name(verb: str, path: str) -> str:
    return "_".join((verb, *re.findall(r"\w+", path)))


def _in_path(path: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 256}
    return [{"name": "model", "in": "path", "required": True, "schema": schema}] if "{model}" in path else []


def _json(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": {"type": "object"}}}}


def _probe(operation: str, summary: str) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "security": [{}],
        "responses": {
            "200": _json("Yes."),
            "405": {"$ref": "#/components/responses/Error"},
            "503": _json("No."),
        },
    }


def _header(name: str, description: str, pattern: str | None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"} if pattern is None else {"type": "string", "pattern": pattern}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _answer_headers() -> dict[str, Any]:
    told = {
        "x-holdfast-request-id": "The request's id in the ledger.",
        "x-holdfast-provider": "Who served.",
        "x-holdfast-model": "The model as sent to the provider.",
        "x-holdfast-deployment": "Which of the provider's keys or addresses, where it has several.",
        "x-holdfast-dropped": "Fields that the target can't say and the route permits to leave out.",
        "x-holdfast-degraded": (
            "`redis`: Redis was lost when the request was admitted, and this process counted its part of the rate limits "
            "alone. Several are separated by commas."
        ),
        "x-holdfast-attempts": "How many attempts were begun.",
        "x-holdfast-max-output-tokens": "The output limit that the route set, where the request named none.",
        "x-holdfast-cost-usd": "What it cost, where that is known by then.",
        "x-holdfast-token-count": "Of a count that the gateway made: `exact`, `reconstructed` or `calibrated`.",
        "x-holdfast-token-model": "The target as whose tokens it counted.",
        "x-holdfast-token-upper-bound": "The most that the count can be; absent where not all input can be seen.",
    }
    return {name: {"description": said, "schema": {"type": "string"}} for name, said in told.items()}
