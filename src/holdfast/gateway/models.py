"""``/v1/models`` as each of three SDKs wants it: every name that may be asked for, whole or page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from holdfast.errors import InvalidRequest, NotFound
from holdfast.providers.models import context_window, max_output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.engine.route import ModelEntry

__all__ = ["list_models", "one_model"]

_EPOCH: Final = "1970-01-01T00:00:00Z"  # Anthropic's own word for a date that isn't known
_MOST: Final = 1_000


def list_models(dialect: str, entries: Sequence[ModelEntry], query: bytes) -> dict[str, Any]:
    """The list, in ``dialect``'s shape and with its way of paging.

    Raises:
        InvalidRequest: a page that isn't one.
    """
    asked = {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}
    return _LISTS.get(dialect, _openai_list)(entries, asked)


def one_model(dialect: str, entry: ModelEntry) -> dict[str, Any]:
    """One entry, as ``dialect`` says it."""
    return _ONES.get(dialect, _openai)(entry)


def _openai(entry: ModelEntry) -> dict[str, Any]:
    return {"id": entry.id, "object": "model", "created": 0, "owned_by": entry.owned_by}


def _anthropic(entry: ModelEntry) -> dict[str, Any]:
    model = _bare(entry)
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": _EPOCH,
        "lifecycle": "active",
        "max_input_tokens": context_window(model, entry.owned_by),
        "max_tokens": max_output(model),
    }


def _gemini(entry: ModelEntry) -> dict[str, Any]:
    model = _bare(entry)
    known = {
        "name": f"models/{entry.id}",
        "displayName": entry.id,
        "inputTokenLimit": context_window(model, entry.owned_by),
        "outputTokenLimit": max_output(model),
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }
    return {name: value for name, value in known.items() if value is not None}


def _openai_list(entries: Sequence[ModelEntry], _: Mapping[str, str]) -> dict[str, Any]:
    return {"object": "list", "data": [_openai(entry) for entry in entries]}


def _anthropic_list(entries: Sequence[ModelEntry], asked: Mapping[str, str]) -> dict[str, Any]:
    limit = _limit(asked, "limit", 20)
    first, last = 0, len(entries)
    if "after_id" in asked:
        first = _place(entries, asked["after_id"], "after_id") + 1
    if "before_id" in asked:
        last = _place(entries, asked["before_id"], "before_id")
        first = max(first, last - limit)
    page = entries[first : min(last, first + limit)]
    more = first + len(page) < last if "before_id" not in asked else first > 0
    return {
        "data": [_anthropic(entry) for entry in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }


def _gemini_list(entries: Sequence[ModelEntry], asked: Mapping[str, str]) -> dict[str, Any]:
    limit = _limit(asked, "pageSize", 50)
    token = asked.get("pageToken", "0")
    if not token.isdecimal() or len(token) > 9:
        raise InvalidRequest("pageToken isn't one that a list gave", param="pageToken")
    first = int(token)
    page = entries[first : first + limit]
    said: dict[str, Any] = {"models": [_gemini(entry) for entry in page]}
    if first + limit < len(entries):
        said["nextPageToken"] = str(first + limit)
    return said


def _limit(asked: Mapping[str, str], name: str, default: int) -> int:
    value = asked.get(name)
    if value is None:
        return default
    if not value.isdecimal() or len(value) > 9 or not 1 <= int(value) <= _MOST:
        raise InvalidRequest(f"{name} must be a whole number from 1 to {_MOST}", param=name)
    return int(value)


def _place(entries: Sequence[ModelEntry], wanted: str, name: str) -> int:
    for at, entry in enumerate(entries):
        if entry.id == wanted:
            return at
    raise NotFound(f"{name} names no model of this list")


def _bare(entry: ModelEntry) -> str:
    """The model's name at its provider: a target is listed as ``provider/model``."""
    return entry.id.removeprefix(f"{entry.owned_by}/")


_ONES: Final[Mapping[str, Callable[[ModelEntry], dict[str, Any]]]] = {
    "anthropic": _anthropic,
    "gemini": _gemini,
}
_LISTS: Final[Mapping[str, Callable[[Sequence[ModelEntry], Mapping[str, str]], dict[str, Any]]]] = {
    "anthropic": _anthropic_list,
    "gemini": _gemini_list,
}
