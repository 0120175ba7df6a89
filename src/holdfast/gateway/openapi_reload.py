"""What the OpenAPI document says of ``/admin/reload`` and ``/admin/config``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.gateway.admin_reload import INVALID, OPERATIONS
from holdfast.gateway.reload import RESULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.gateway.admin_reload import ReloadOperation

__all__ = ["RELOAD_SCHEMAS", "reload_paths"]

_REFUSALS: Final = (400, 401, 403, 404, 405)
_QUERY: Final[Mapping[str, str]] = {"dry_run": "Only say what would change, or what is wrong."}
_NS: Final = {"type": "integer", "description": "Nanoseconds since 1970 UTC."}
_FILE: Final = {"type": ["string", "null"], "description": "Null: nothing but the environment was read."}
_HASH: Final = {
    "type": "string",
    "description": "Of the configuration; the same on every machine that has the same one.",
}
_GENERATION: Final = {
    "type": "integer",
    "minimum": 1,
    "description": "The one that counts now: 1 is the start's, and each reload that changed something adds one.",
}
_PLAIN: Final = ["string", "number", "integer", "boolean", "null"]
_VALUE: Final = {"type": [*_PLAIN, "object", "array"], "items": {"type": _PLAIN}}
_PROBLEMS: Final = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Everything that is wrong, each beginning with its path in the file.",
}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """Each of them is always there."""
    return {"type": "object", "required": list(properties), "properties": properties}


RELOAD_SCHEMAS: Final[Mapping[str, Any]] = {
    "Reloaded": _object(
        {
            "changed": {
                "type": "boolean",
                "description": "False: the configuration was this one already. In a dry run: whether it would change.",
            },
            "dry_run": {"type": "boolean"},
            "generation": _GENERATION,
            "since_ns": _NS,
            "file": _FILE,
            "hash": _HASH,
            "changes": {"type": "array", "items": {"$ref": "#/components/schemas/ConfigChange"}},
            "workers": {
                "enum": ["asked", None],
                "description": "The gateway's other processes on this machine were asked as well; null: there are none.",
            },
        }
    ),
    "ConfigChange": _object(
        {
            "path": {"type": "string", "description": "Of the setting, as TOML writes it."},
            "kind": {"enum": ["added", "removed", "changed"]},
            "before": {**_VALUE, "description": "Null where it wasn't set, and `***` where it isn't shown."},
            "after": {**_VALUE, "description": "Likewise."},
        }
    ),
    "NotReloaded": _object(
        {
            "error": _object(
                {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": "null"},
                    "code": {"type": "string"},
                }
            ),
            "problems": _PROBLEMS,
            "generation": _GENERATION,
        }
    ),
    "Config": _object(
        {
            "generation": _GENERATION,
            "since_ns": _NS,
            "file": _FILE,
            "hash": _HASH,
            "keys_age_s": {
                "type": ["number", "null"],
                "description": "Since keys were last known to be as the ledger has them; null where no other process "
                "changes them.",
            },
            "reloads": {
                "type": "object",
                "required": list(RESULTS),
                "properties": {result: {"type": "integer"} for result in RESULTS},
                "description": "Since the start.",
            },
            "last": {
                "type": ["object", "null"],
                "required": ["at_ns", "by", "result", "problems"],
                "properties": {
                    "at_ns": _NS,
                    "by": {"type": "string", "description": "An admin key's name, `local` or `SIGHUP`."},
                    "result": {"enum": list(RESULTS)},
                    "problems": _PROBLEMS,
                },
                "description": "What became of the last reload; null: there was none since the start.",
            },
        }
    ),
}


def reload_paths() -> dict[str, Any]:
    """The document's paths."""
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _tell(operation)
    return paths


def _tell(operation: ReloadOperation) -> dict[str, Any]:
    answers = {"200": ("As it is now.", operation.answer)}
    if INVALID in operation.refusals:
        answers[str(INVALID)] = ("It can't be applied, and nothing has changed.", "NotReloaded")
    refusals = sorted({*_REFUSALS, *operation.refusals} - {INVALID})
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": [{}, {"admin": []}, {"admin-x-api-key": []}],
        "parameters": [
            {
                "name": name,
                "in": "query",
                "schema": {"type": "boolean", "default": False},
                "description": _QUERY[name],
            }
            for name in operation.query
        ],
        "responses": {
            **{
                status: {
                    "description": said,
                    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
                }
                for status, (said, schema) in answers.items()
            },
            **{str(status): {"$ref": "#/components/responses/Error"} for status in refusals},
        },
    }
