"""Token counts. Google counts thoughts beside the answer, and what its own tools put into the prompt beside the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.writing import merged
from holdfast.model import Usage

if TYPE_CHECKING:
    from holdfast.dialects.reading import Fields

__all__ = ["TOOL_PROMPT", "audio_of", "read_usage", "total", "write_usage"]

TOOL_PROMPT: Final = "toolUsePromptTokenCount"
_PROMPT_DETAILS, _OUTPUT_DETAILS = "promptTokensDetails", "candidatesTokensDetails"


def read_usage(usage: Fields) -> Usage:
    """What Google counted. A count that isn't said is 0: its JSON leaves zeros out. Details are left in ``extra``."""
    prompt, cached = usage.integer("promptTokenCount"), usage.integer("cachedContentTokenCount")
    said, thought = usage.integer("candidatesTokenCount"), usage.integer("thoughtsTokenCount")
    by_tools = usage.left.get(TOOL_PROMPT)
    by_tools = by_tools if type(by_tools) is int else 0
    counted = Usage(
        input_tokens=None if prompt is None else prompt + by_tools,
        cache_read_tokens=cached,
        input_audio_tokens=audio_of(usage.left.get(_PROMPT_DETAILS)),
        output_tokens=(said or 0) + (thought or 0),
        reasoning_tokens=thought,
        output_audio_tokens=audio_of(usage.left.get(_OUTPUT_DETAILS)),
        extra=usage.left,
    )
    if usage.left.get("totalTokenCount") == total(counted):
        usage.take("totalTokenCount")
    return counted


def write_usage(usage: Usage, extra: dict[str, Any]) -> dict[str, Any]:
    """``extra`` is the part of ``usage.extra`` that may be written."""
    by_tools = extra.get(TOOL_PROMPT)
    by_tools = by_tools if type(by_tools) is int else 0
    known: dict[str, Any] = {
        "promptTokenCount": None if usage.input_tokens is None else usage.input_tokens - by_tools,
        "cachedContentTokenCount": usage.cache_read_tokens,
        "candidatesTokenCount": None
        if usage.output_tokens is None
        else usage.output_tokens - (usage.reasoning_tokens or 0),
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": extra.get("totalTokenCount", total(usage)),
        _PROMPT_DETAILS: _details(usage.input_audio_tokens) if _PROMPT_DETAILS not in extra else None,
        _OUTPUT_DETAILS: _details(usage.output_audio_tokens) if _OUTPUT_DETAILS not in extra else None,
    }
    return merged(known, extra)


def total(usage: Usage) -> int | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens + usage.output_tokens


def audio_of(details: Any) -> int | None:
    """The audio in a list of counts by modality; None where it isn't mentioned."""
    if not isinstance(details, list):
        return None
    counts = [
        each.get("tokenCount", 0)
        for each in details
        if isinstance(each, dict) and each.get("modality") == "AUDIO"
    ]
    numbers = [count for count in counts if type(count) is int]
    return sum(numbers) if numbers else None


def _details(audio: int | None) -> list[dict[str, Any]] | None:
    return [{"modality": "AUDIO", "tokenCount": audio}] if audio else None
