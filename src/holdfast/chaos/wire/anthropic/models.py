"""Anthropic's models: one, or a page of their list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.wire.errors import Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.chaos.http import Request

__all__ = ["model", "page"]

_LIMIT = 20
_MOST = 1000


def model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2025-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def page(names: Sequence[str], request: Request) -> bytes:
    """``limit`` models from the start, after ``after_id`` or before ``before_id``. Raises :class:`Refused`."""
    limit = _limit(request.argument("limit"))
    after, before = request.argument("after_id"), request.argument("before_id")
    if after is not None and before is not None:
        raise _wrong("after_id: may not be given together with before_id")
    if before is not None:
        candidates = names[: _position(names, before, "before_id")]
        shown = candidates[-limit:]
    else:
        candidates = names if after is None else names[_position(names, after, "after_id") + 1 :]
        shown = candidates[:limit]
    return msgspec.json.encode(
        {
            "data": [model(name) for name in shown],
            "has_more": len(shown) < len(candidates),
            "first_id": shown[0] if shown else None,
            "last_id": shown[-1] if shown else None,
        }
    )


def _limit(given: str | None) -> int:
    if given is None:
        return _LIMIT
    try:
        limit = int(given)
    except ValueError:
        raise _wrong("limit: Input should be a valid integer, unable to parse string as an integer") from None
    if limit < 1:
        raise _wrong("limit: Input should be greater than or equal to 1")
    if limit > _MOST:
        raise _wrong(f"limit: Input should be less than or equal to {_MOST}")
    return limit


def _position(names: Sequence[str], name: str, argument: str) -> int:
    if name not in names:
        raise _wrong(f"{argument}: there is no such model")
    return names.index(name)


def _wrong(message: str) -> Refused:
    return Refused(Problem(400, message=message))
