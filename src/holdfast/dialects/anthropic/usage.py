"""Token counts: Anthropic counts input read from a cache or written to one beside the rest; the model has totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.writing import merged
from holdfast.model import Usage

if TYPE_CHECKING:
    from holdfast.dialects.reading import Fields

__all__ = ["NO_USAGE", "read_usage", "write_usage"]

NO_USAGE: Final = {"input_tokens": 0, "output_tokens": 0}
"""What stands where nothing is known: the SDK's types need both counts. No provider counts an answer so."""

_READ, _WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"
_BY_TTL, _HOUR, _MINUTES = "cache_creation", "ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens"
_DETAILS, _THOUGHT = "output_tokens_details", "thinking_tokens"


def read_usage(usage: Fields) -> Usage | None:
    """What the provider counted; None where it says nothing. Searches, tiers and the like are left in ``extra``."""
    if usage.left == NO_USAGE:
        return None
    fresh, output = usage.integer("input_tokens"), usage.integer("output_tokens")
    read, written = usage.integer(_READ), usage.integer(_WRITTEN)
    by_ttl = usage.left.get(
        _BY_TTL
    )  # stays there: it has the five minutes' too, of which the model has only the sum
    hour = by_ttl.get(_HOUR) if isinstance(by_ttl, dict) else None
    thought = None
    if (details := usage.fields(_DETAILS)) is not None:
        thought = details.integer(_THOUGHT)
        usage.keep(_DETAILS, details)
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour if type(hour) is int else None,
        output_tokens=output,
        reasoning_tokens=thought,
        extra=usage.left,
    )


def write_usage(usage: Usage | None, extra: dict[str, Any]) -> dict[str, Any]:
    """``extra`` is the part of ``usage.extra`` that may be written."""
    if usage is None:
        return dict(NO_USAGE)
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    known: dict[str, Any] = {
        "input_tokens": max(0, (usage.input_tokens or 0) - cached),
        _READ: usage.cache_read_tokens,
        _WRITTEN: usage.cache_write_tokens,
        "output_tokens": usage.output_tokens or 0,
    }
    if usage.reasoning_tokens is not None:
        known[_DETAILS] = {_THOUGHT: usage.reasoning_tokens}
    if usage.cache_write_1h_tokens is not None:
        minutes = max(0, (usage.cache_write_tokens or 0) - usage.cache_write_1h_tokens)
        known[_BY_TTL] = extra.get(_BY_TTL) or {_MINUTES: minutes, _HOUR: usage.cache_write_1h_tokens}
    return merged(known, extra)
