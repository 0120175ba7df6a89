"""What the OpenAPI document says of tenants' own keys to providers."""

from __future__ import annotations

from typing import Any, Final

from holdfast.gateway.admin_provider_keys import OPERATIONS
from holdfast.gateway.openapi_keys import tell_operation

__all__ = ["PROVIDER_KEY_SCHEMAS", "provider_key_paths"]

_BASE_URL: Final = {"type": ["string", "null"], "description": "An address that belongs to the key."}

PROVIDER_KEY_SCHEMAS: Final[dict[str, Any]] = {
    "OwnKey": {
        "type": "object",
        "required": ["api_key"],
        "properties": {"api_key": {"type": "string", "writeOnly": True}, "base_url": _BASE_URL},
        "additionalProperties": False,
    },
    "KeptKey": {
        "type": "object",
        "required": ["key", "provider", "source", "unused"],
        "properties": {
            "key": {"type": "string", "description": "The name of the caller's key whose own it is."},
            "provider": {"type": "string"},
            "source": {"enum": ["file", "ledger"]},
            "base_url": _BASE_URL,
            "set_ns": {"type": ["integer", "null"], "description": "Nanoseconds since 1970 UTC."},
            "set_at": {"type": ["string", "null"], "format": "date-time"},
            "sealed_under": {"enum": ["newest", "older", None], "description": "Which master key opens it."},
            "unused": {"type": ["string", "null"], "description": "Why it isn't used. Null: it is."},
            "replaced": {"type": "boolean", "description": "Where it was set: instead of another one."},
        },
    },
    "KeptKeys": {
        "type": "object",
        "required": ["provider_keys"],
        "properties": {"provider_keys": {"type": "array", "items": {"$ref": "#/components/schemas/KeptKey"}}},
    },
    "RemovedKey": {
        "type": "object",
        "required": ["key", "provider", "removed"],
        "properties": {
            "key": {"type": "string"},
            "provider": {"type": "string"},
            "removed": {"type": "boolean"},
        },
    },
    "Resealed": {
        "type": "object",
        "required": ["sealed", "left"],
        "properties": {
            "sealed": {"type": "integer", "description": "Keys that were sealed under an older one."},
            "left": {
                "type": "integer",
                "description": "Keys that can't be opened: damaged. Set or remove them.",
            },
        },
    },
}

_ANSWERS: Final = {
    "set_own_key": "KeptKey",
    "remove_own_key": "RemovedKey",
    "reseal_provider_keys": "Resealed",
    "list_own_keys": "KeptKeys",
    "list_provider_keys": "KeptKeys",
}


def provider_key_paths() -> dict[str, Any]:
    """The document's paths."""
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = tell_operation(path, operation, _ANSWERS[operation.name])
    return paths
