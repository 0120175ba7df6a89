"""What the OpenAPI document says of budgets, sessions and the cost breaker."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from holdfast.gateway.admin_money import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.gateway.admin_money import MoneyOperation

__all__ = ["MONEY_SCHEMAS", "money_paths"]

_REFUSALS: Final = (400, 401, 403, 404, 405)
_QUERY: Final[Mapping[str, str]] = {
    "budget": "Only the one of this name.",
    "subject": "Only the key, session (`KEY/ID`), team, model or tag value of this name.",
    "key": "Only those of this caller's key.",
}
_USD: Final = {"type": "string", "description": "Dollars, exactly: nine decimals."}
_AMOUNT: Final = {"type": ["string", "integer"], "description": "Dollars as text, or tokens, as `unit` says."}
_COUNT: Final = {"type": "integer"}
_NS: Final = {"type": "integer", "description": "Nanoseconds since 1970 UTC."}
_SECONDS: Final = {"type": "number"}
_UNIT: Final = {"enum": ["usd", "tokens"]}
_WINDOW: Final = {"enum": ["session", "hour", "day", "month", "forever"]}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """Each of them is always there."""
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(schema: str) -> dict[str, Any]:
    return {"type": "array", "maxItems": 1_000, "items": {"$ref": f"#/components/schemas/{schema}"}}


_MORE: Final = {"type": "integer", "description": "How many are left out."}
MONEY_SCHEMAS: Final[Mapping[str, Any]] = {
    "Budgets": _object(
        {
            "budgets": _list("BudgetRule"),
            "accounts": _list("BudgetAccount"),
            "more": _MORE,
            "reservations": {**_COUNT, "description": "Requests under way that may have money set aside."},
            "overruns": {**_COUNT, "description": "Bills above their bound, since the start."},
            "refused": {
                "type": "object",
                "additionalProperties": _COUNT,
                "description": "Requests refused over money since the start, by the error's label.",
            },
        }
    ),
    "BudgetRule": _object(
        {
            "budget": {"type": "string"},
            "scope": {
                "type": "string",
                "description": "`all`, `key`, `session`, `team`, `model` or `tag:NAME`.",
            },
            "match": {"type": "array", "items": {"type": "string"}},
            "window": _WINDOW,
            "unit": _UNIT,
            "limit": _AMOUNT,
            "warn_at": {"type": "number"},
            "hard": {"type": "boolean"},
        }
    ),
    "BudgetAccount": _object(
        {
            "budget": {"type": "string"},
            "subject": {"type": ["string", "null"], "description": "Null where everybody's is one."},
            "window": _WINDOW,
            "unit": _UNIT,
            "hard": {"type": "boolean"},
            "limit": _AMOUNT,
            "spent": _AMOUNT,
            "reserved": {
                **_AMOUNT,
                "description": "For requests that run; of several processes, in this one.",
            },
            "leased": {
                **_AMOUNT,
                "type": [*_AMOUNT["type"], "null"],
                "description": "What this process may spend without asking, reservations included. Null: it asks nobody.",
            },
            "left": _AMOUNT,
            "used": {
                "type": "number",
                "description": "Spent, reserved and leased by other processes, over the limit.",
            },
            "refused": {**_COUNT, "description": "Requests that it had no room for, since the start."},
            "free_again_in_s": {
                "type": ["number", "null"],
                "description": "Until nothing of what is spent counts any more. Null: nothing is, or it always will.",
            },
        }
    ),
    "Sessions": {
        "type": "object",
        "required": ["enabled", "sessions", "more"],
        "properties": {
            "enabled": {
                "type": "boolean",
                "description": "Whether sessions have an end: cost protection is on.",
            },
            "sessions": _list("Session"),
            "more": _MORE,
            "counts": {"type": "object", "description": "How many there are, and were since the start."},
        },
    },
    "Session": _object(
        {
            "id": {"type": "string"},
            "key": {"type": "string", "description": "Whose it is."},
            "state": {"enum": ["active", "exhausted", "ended", "expired"]},
            "started_ns": _NS,
            "ends_ns": {**_NS, "description": "When its time is over."},
            "ended_ns": {
                "type": ["integer", "null"],
                "description": "When it was over, for whatever reason.",
            },
            "left_s": {**_SECONDS, "description": "Until its time is over; 0 where it is over."},
            "warned": {"type": "boolean", "description": "Its caller was told that most is spent."},
            "spent_usd": _USD,
        }
    ),
    "CostBreaker": {
        "type": "object",
        "required": ["enabled"],
        "properties": {
            "enabled": {"type": "boolean", "description": "False: there is none, and nothing else is told."},
            "state": {"enum": ["closed", "open", "half_open"]},
            "threshold_usd": _USD,
            "spent_usd": _USD,
            "reserved_usd": _USD,
            "window_s": _SECONDS,
            "cool_down_s": _SECONDS,
            "probes": {**_COUNT, "description": "Requests that are out to find out whether it may close."},
            "opened": {**_COUNT, "description": "Since the start."},
            "refused": {**_COUNT, "description": "Since the start."},
            "retry_after_s": {**_SECONDS, "description": "Until time alone may let a request through."},
        },
    },
}
_ANSWERS: Final[Mapping[str, str]] = {
    "list_budgets": "Budgets",
    "list_sessions": "Sessions",
    "show_session": "Session",
    "end_session": "Session",
    "show_cost_breaker": "CostBreaker",
    "reset_cost_breaker": "CostBreaker",
}


def money_paths() -> dict[str, Any]:
    """The document's paths."""
    paths: dict[str, Any] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _tell(path, operation)
    return paths


def _tell(path: str, operation: MoneyOperation) -> dict[str, Any]:
    answer = {"$ref": f"#/components/schemas/{_ANSWERS[operation.name]}"}
    refusals = sorted({*_REFUSALS, *operation.refusals})
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": [{}, {"admin": []}, {"admin-x-api-key": []}],
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in re.findall(r"{(\w+)}", path)
            ),
            *(
                {"name": name, "in": "query", "schema": {"type": "string"}, "description": _QUERY[name]}
                for name in operation.query
            ),
        ],
        "responses": {
            "200": {"description": "As it is now.", "content": {"application/json": {"schema": answer}}},
            **{str(status): {"$ref": "#/components/responses/Error"} for status in refusals},
        },
    }
