"""Token counts: Anthropic counts cached input beside the rest; the model has totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.writing import merged
from holdfast.model import Usage

if TYPE_CHECKING:
    from holdfast.dialects.reading import Fields

__all__ = ["read_usage", "write_usage"]

_READ, _WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"
_BY_AGE, _HOUR = "cache_creation", "ephemeral_1h_input_tokens"
_DETAILS, _THOUGHT = "output_tokens_details", "thinking_tokens"


def read_usage(usage: Fields) -> Usage:
    """What the provider counted. Searches, tiers and the like are left in ``extra``."""
    plain = usage.integer("input_tokens")
    read, written = usage.integer(_READ), usage.integer(_WRITTEN)
    output = usage.integer("output_tokens")
    ages = usage.left.get(_BY_AGE)  # stays there: it has both ages, and the model only the dearer one
    hour = ages.get(_HOUR) if isinstance(ages, dict) else None
    thought = None
    if (details := usage.fields(_DETAILS)) is not None:
        thought = details.integer(_THOUGHT)
        usage.keep(_DETAILS, details)
    return Usage(
        input_tokens=None if plain is None else plain + (read or 0) + (written or 0),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour if type(hour) is int else None,
        output_tokens=output,
        reasoning_tokens=thought,
        extra=usage.left,
    )


def write_usage(usage: Usage | None, extra: dict[str, Any]) -> dict[str, Any]:
    """``extra`` is the part of ``usage.extra`` that may be written. Both counts are said: the SDK's types rely on them."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    known: dict[str, Any] = {
        "input_tokens": max(0, (usage.input_tokens or 0) - cached),
        _READ: usage.cache_read_tokens,
        _WRITTEN: usage.cache_write_tokens,
        "output_tokens": usage.output_tokens or 0,
    }
    if usage.reasoning_tokens is not None:
        known[_DETAILS] = {_THOUGHT: usage.reasoning_tokens}
    if usage.cache_write_1h_tokens is not None and _BY_AGE not in extra:
        minutes = max(0, (usage.cache_write_tokens or 0) - usage.cache_write_1h_tokens)
        known[_BY_AGE] = {"ephemeral_5m_input_tokens": minutes, _HOUR: usage.cache_write_1h_tokens}
    return merged(known, extra)
