"""Marks up to which the provider may cache: ``cache_control``, on blocks, tools and whole requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.writing import merged
from holdfast.model import CacheMark

if TYPE_CHECKING:
    from holdfast.dialects.reading import Fields

__all__ = ["read_cache", "write_cache"]


def read_cache(fields: Fields) -> CacheMark | None:
    """The mark; one that has no type stays a leftover, since we can't know what it means."""
    mark = fields.left.get("cache_control")
    if not isinstance(mark, dict) or type(mark.get("type")) is not str:
        return None
    inner = fields.needed_fields("cache_control")
    if inner.left["type"] == "ephemeral":
        del inner.left["type"]
    return CacheMark(ttl=inner.text("ttl"), extra=inner.left)


def write_cache(mark: CacheMark | None) -> dict[str, Any] | None:
    if mark is None:
        return None
    return merged({"type": mark.extra.get("type", "ephemeral"), "ttl": mark.ttl}, mark.extra)
