"""Gemini's models: one, or a page of their list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.wire.gemini.fields import invalid, value_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.chaos.http import Request

__all__ = ["model", "page"]

_SIZE = 50
_MOST = 1000
_PAGE = "page-"


def model(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
    }


def page(names: Sequence[str], request: Request) -> bytes:
    """``pageSize`` models from where ``pageToken`` says. Raises :class:`Refused`."""
    size = _size(request.argument("pageSize"))
    start = _start(request.argument("pageToken"), len(names))
    value: dict[str, Any] = {"models": [model(name) for name in names[start : start + size]]}
    if start + size < len(names):
        value["nextPageToken"] = f"{_PAGE}{start + size}"
    return msgspec.json.encode(value)


def _size(given: str | None) -> int:
    try:
        size = int(given or 0)
    except ValueError:
        raise value_error("page_size", "TYPE_INT32", given) from None
    if size < 0:
        raise invalid("* ListModelsRequest.page_size: must not be negative\n", "page_size")
    return min(size, _MOST) or _SIZE  # what is more than the most is cut to it, as Google does


def _start(token: str | None, count: int) -> int:
    if not token:
        return 0
    digits = token.removeprefix(_PAGE)
    if digits == token or not digits.isdecimal() or len(digits) > 9 or int(digits) >= max(count, 1):
        raise invalid("* ListModelsRequest.page_token: it is none of ours\n", "page_token")
    return int(digits)
