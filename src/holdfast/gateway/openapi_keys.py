"""What the OpenAPI document says of ``/admin/keys``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.gateway.admin_keys import OPERATIONS

if TYPE_CHECKING:
    from holdfast.gateway.admin_keys import Operation

__all__ = ["KEY_SCHEMAS", "key_paths", "tell_operation"]

_NAME: Final = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}
_LABEL: Final = r"^[\w.:/-]{1,64}$"
_NS: Final = {"type": ["integer", "null"], "description": "Nanoseconds since 1970 UTC."}
_AT: Final = {"type": ["string", "null"], "format": "date-time"}


def _names(description: str) -> dict[str, Any]:
    return {"type": ["array", "null"], "items": {"type": "string"}, "description": description}


_RATE: Final[dict[str, Any]] = {
    "type": ["object", "null"],
    "description": "Its own rate limit, as `[keys.NAME.rate]`. Null: that of every key.",
    "properties": {
        "requests": {"type": ["integer", "null"], "minimum": 1},
        "tokens": {"type": ["integer", "null"], "minimum": 1},
        "window_s": {"type": "number", "default": 60},
        "max_queue": {"type": "integer", "default": 0},
        "max_wait_s": {"type": "number", "default": 30},
    },
    "additionalProperties": False,
}
_BUDGETS: Final[dict[str, Any]] = {
    "type": ["array", "null"],
    "description": "Its own budgets: one of the limits in each, and each window once for dollars and once for tokens.",
    "items": {
        "type": "object",
        "required": ["window"],
        "properties": {
            "window": {"enum": ["hour", "day", "month", "forever"]},
            "limit_usd": {
                "type": ["string", "number", "null"],
                "description": "At most nine decimals; read digit by digit.",
            },
            "limit_tokens": {"type": ["integer", "null"], "minimum": 0},
        },
        "additionalProperties": False,
    },
}
_LIMITS: Final[dict[str, Any]] = {
    "team": {"type": ["string", "null"], "pattern": _LABEL},
    "tags": {
        "type": ["object", "null"],
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "pattern": _LABEL},
        "description": "On every request of its holder's, over those that the request brings.",
    },
    "routes": _names("Routes that it may use. With neither list: all."),
    "models": _names("Patterns of models that it may ask for. Either list lets a request in."),
    "rate": _RATE,
    "budgets": _BUDGETS,
}
_CHANGES: Final[dict[str, Any]] = {
    **_LIMITS,
    "expires_in_s": {"type": ["number", "null"], "description": "From now. Null: never."},
    "expires_at": {**_AT, "description": "With its zone; in place of `expires_in_s`."},
}

KEY_SCHEMAS: Final[dict[str, Any]] = {
    "NewKey": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": _NAME,
            "admin": {
                "type": "boolean",
                "default": False,
                "description": "Opens `/admin`, and asks no models.",
            },
            **_CHANGES,
        },
        "additionalProperties": False,
    },
    "KeyChanges": {"type": "object", "properties": _CHANGES, "additionalProperties": False},
    "KeyRotation": {
        "type": "object",
        "properties": {
            "grace_s": {
                "type": "number",
                "minimum": 0,
                "default": 86_400,
                "description": "How long the older texts go on.",
            }
        },
        "additionalProperties": False,
    },
    "Key": {
        "type": "object",
        "required": ["name", "kind", "source", "state", "prefix"],
        "properties": {
            "name": {"type": "string"},
            "id": {"type": ["string", "null"]},
            "kind": {"enum": ["caller", "admin"]},
            "source": {"enum": ["file", "ledger"]},
            "state": {"enum": ["active", "expired", "revoked"]},
            "prefix": {"type": ["string", "null"], "description": "How its newest text begins."},
            "key": {
                "type": "string",
                "description": "Its text: where it is made or rotated, and never again.",
            },
            **_LIMITS,
            **{f"{name}_ns": _NS for name in ("created", "expires", "revoked", "last_used")},
            **{f"{name}_at": _AT for name in ("created", "expires", "revoked", "last_used")},
            "replaced": {
                "type": "array",
                "description": "Older texts that still work.",
                "items": {
                    "type": "object",
                    "properties": {
                        "prefix": {"type": "string"},
                        "until_ns": _NS,
                        "until_at": _AT,
                        "last_used_ns": _NS,
                        "last_used_at": _AT,
                    },
                },
            },
        },
    },
    "Keys": {
        "type": "object",
        "required": ["keys"],
        "properties": {"keys": {"type": "array", "items": {"$ref": "#/components/schemas/Key"}}},
    },
}


def key_paths() -> dict[str, Any]:
    """The document's paths."""
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = tell_operation(path, operation, _answer(operation))
    return paths


def tell_operation(path: str, operation: Operation, answer: str) -> dict[str, Any]:
    """One of an admin's operations; ``answer`` is the schema of what it says."""
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": [{}, {"admin": []}, {"admin-x-api-key": []}],
        "parameters": [*_in_path(path), *map(_in_query, operation.query)],
        "responses": {
            str(operation.status): {
                "description": "As it is now.",
                "content": {"application/json": {"schema": _schema(answer)}},
            },
            **dict.fromkeys(map(str, sorted({*_REFUSALS, *operation.refusals})), _SAID),
        },
    }
    if operation.form:
        content = {"application/json": {"schema": _schema(operation.form)}}
        told["requestBody"] = {"required": operation.required, "content": content}
    return told


_SAID: Final = {"$ref": "#/components/responses/Error"}
_REFUSALS: Final = (400, 401, 403, 404, 405, 413)


def _answer(operation: Operation) -> str:
    return "Keys" if operation.name == "list_keys" else "Key"


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("name", "provider")
        if f"{{{name}}}" in path
    ]


def _in_query(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": "Also those that expired or were revoked.",
        "schema": {"type": "boolean", "default": False},
    }
