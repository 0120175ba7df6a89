"""Counting beside an event loop: what would hold it up for long is counted in a thread.

The tokenizers let other threads run while they work, so the loop goes on: stalls of 10 ms were the longest seen while a
megabyte was counted. The way to a thread and back takes 0.1 ms, a text of 16,384 characters one to five.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from holdfast.model.content import Reasoning, Refusal, Text, ToolCall, ToolResult
from holdfast.providers.tokens.registry import count_request, count_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.model.content import Part
    from holdfast.model.request import Request
    from holdfast.providers.tokens.count import Count

__all__ = ["LARGE", "count_request_async", "count_text_async"]

LARGE: Final = 16_384
"""Characters from which on a thread counts."""

_TOOL: Final = 1_024
"""Characters that a tool is taken for: to measure its schema takes longer than most schemas need to be counted."""


async def count_text_async(text: str, model: str, provider: str | None = None) -> Count:
    """:func:`holdfast.providers.tokens.count_text`, in a thread if it takes long.

    Cancelled, it returns at once; the thread finishes its count and drops it.
    """
    use = _use_of(model, provider)
    if use.begun and len(text) < LARGE:
        return count_text(text, model, provider)
    counted = await asyncio.to_thread(count_text, text, model, provider)
    use.begun = True
    return counted


async def count_request_async(request: Request, model: str, provider: str | None = None) -> Count:
    """:func:`holdfast.providers.tokens.count_request`, in a thread if it takes long; cancelled as the other."""
    use = _use_of(model, provider)
    if use.begun and _characters(request) < LARGE:
        return count_request(request, model, provider)
    counted = await asyncio.to_thread(count_request, request, model, provider)
    use.begun = True
    return counted


class _Use:
    """A model's first count may load a tokenizer, whatever its text: it goes to a thread too."""

    begun = False


@lru_cache(maxsize=1_024)
def _use_of(model: str, provider: str | None) -> _Use:
    del model, provider  # what it is kept by
    return _Use()


def _characters(request: Request) -> int:
    said = sum(_length(message.parts) for message in request.messages)
    return said + _TOOL * len(request.tools)


def _length(parts: Iterable[Part]) -> int:
    length = 0
    for part in parts:
        match part:
            case Text() | Refusal() | Reasoning():
                length += len(part.text)
            case ToolCall():
                length += len(part.arguments)
            case ToolResult():
                length += _length(part.parts)
    return length
