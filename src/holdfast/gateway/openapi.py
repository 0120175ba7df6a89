"""The OpenAPI document of what the gateway serves."""

from __future__ import annotations

from typing import Any

__all__ = ["openapi"]


def openapi(version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document. Request fields that a provider knows and we don't are allowed: they travel on."""
    error = {"$ref": "#/components/responses/Error"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": version,
            "description": "An LLM gateway that keeps its promises when providers fail.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}],
        "paths": {
            "/v1/chat/completions": {
                "post": {
                    "operationId": "createChatCompletion",
                    "summary": "A chat completion, in OpenAI's Chat Completions format",
                    "parameters": [
                        _header("x-holdfast-session", "Names a session in the ledger.", r"^[\w.:/-]{1,64}$"),
                        _header("x-holdfast-tags", "Tags for the ledger: `team=search,env=prod`.", None),
                        _header("x-request-timeout", "Seconds that the caller will wait in all.", None),
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest"}}
                        },
                    },
                    "responses": {
                        "200": {
                            "description": "The answer, whole or as a stream of server-sent events.",
                            "headers": _answer_headers(),
                            "content": {
                                "application/json": {"schema": {"type": "object"}},
                                "text/event-stream": {"schema": {"type": "string"}},
                            },
                        },
                        **dict.fromkeys(_REFUSALS, error),
                    },
                }
            },
            "/v1/models": {
                "get": {
                    "operationId": "listModels",
                    "summary": "Every name that may be asked for: routes and their targets",
                    "responses": {
                        "200": _json("The list."),
                        **dict.fromkeys(("401", "403", "405"), error),
                    },
                }
            },
            "/health/live": {"get": _probe("isLive", "The process answers")},
            "/health/ready": {"get": _probe("isReady", "The gateway takes requests; 503 says why not")},
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Prometheus metrics",
                    "responses": {
                        "200": {
                            "description": "The text format.",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        },
                        **dict.fromkeys(("401", "403", "405"), error),
                    },
                }
            },
            "/openapi.json": {
                "get": {
                    "operationId": "openapi",
                    "summary": "This document",
                    "responses": {
                        "200": _json("OpenAPI 3.1."),
                        **dict.fromkeys(("401", "403", "405"), error),
                    },
                }
            },
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Error": {
                    "description": "What was wrong, and what would be right.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
            },
            "schemas": {"ChatRequest": _CHAT_REQUEST, "Error": _ERROR},
        },
    }


_REFUSALS = ("400", "401", "402", "403", "404", "405", "408", "413", "415", "429", "500", "502", "503", "504")

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
        "x-holdfast-attempts": "How many attempts were begun.",
        "x-holdfast-max-output-tokens": "The output limit that the route set, where the request named none.",
        "x-holdfast-cost-usd": "What it cost, where that is known by then.",
    }
    return {name: {"description": said, "schema": {"type": "string"}} for name, said in told.items()}
