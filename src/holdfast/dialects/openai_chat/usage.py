"""Token counts: OpenAI's two totals with their details, and what DeepSeek and OpenRouter say beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.writing import merged
from holdfast.model import Usage

if TYPE_CHECKING:
    from holdfast.dialects.reading import Fields

__all__ = ["read_usage", "with_reasoning", "write_usage"]

_INPUT, _OUTPUT = "prompt_tokens_details", "completion_tokens_details"


def read_usage(usage: Fields) -> Usage:
    """What the provider counted. Fields that only it knows (cost, cache misses) are left in ``extra``."""
    total_in, total_out = usage.integer("prompt_tokens"), usage.integer("completion_tokens")
    cached = written = audio_in = None
    if (details := usage.fields(_INPUT)) is not None:
        cached = details.integer("cached_tokens")
        written = details.integer("cache_write_tokens")
        audio_in = details.integer("audio_tokens")
        usage.keep(_INPUT, details)
    reasoning = audio_out = None
    if (details := usage.fields(_OUTPUT)) is not None:
        reasoning = details.integer("reasoning_tokens")
        audio_out = details.integer("audio_tokens")
        usage.keep(_OUTPUT, details)
    total_out = with_reasoning(total_in, total_out, reasoning, usage.left.get("total_tokens"))
    if cached is None:  # DeepSeek said it here alone, before it took over OpenAI's place too
        hit = usage.left.get("prompt_cache_hit_tokens")
        cached = hit if type(hit) is int else None
    if usage.left.get("total_tokens") == _total(total_in, total_out):
        usage.take("total_tokens")
    return Usage(
        input_tokens=total_in,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        input_audio_tokens=audio_in,
        output_tokens=total_out,
        reasoning_tokens=reasoning,
        output_audio_tokens=audio_out,
        extra=usage.left,
    )


def write_usage(usage: Usage, extra: dict[str, Any]) -> dict[str, Any]:
    """``extra`` is the part of ``usage.extra`` that may be written."""
    known: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": extra.get("total_tokens", _total(usage.input_tokens, usage.output_tokens)),
    }
    inputs = {
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "audio_tokens": usage.input_audio_tokens,
    }
    outputs = {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.output_audio_tokens}
    known[_INPUT] = merged(inputs, {}) or None
    known[_OUTPUT] = merged(outputs, {}) or None
    return merged(known, extra)


def with_reasoning(given: int | None, completed: int | None, reasoned: int | None, total: Any) -> int | None:
    """The output's total, reasoning included: xAI counts it beside the completion, which only the sum of all shows."""
    if reasoned and given is not None and completed is not None and total == given + completed + reasoned:
        return completed + reasoned
    return completed


def _total(total_in: int | None, total_out: int | None) -> int | None:
    return None if total_in is None or total_out is None else total_in + total_out
