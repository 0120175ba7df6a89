"""The names that this dialect gives things, where they are needed in more than one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.model import Finish, FinishReason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIALECT", "finish_of", "finish_word"]

DIALECT = "openai_chat"

_REASONS: Mapping[str, FinishReason] = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_WORDS: Mapping[FinishReason, str] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.PAUSE: "length",  # the nearest that says: there is more
}


def finish_of(word: str) -> Finish:
    return Finish(_REASONS.get(word, FinishReason.OTHER), word)


def finish_word(finish: Finish) -> str:
    """The provider's own word where it means the same here, else the word for the reason."""
    if _REASONS.get(finish.raw) is finish.reason:
        return finish.raw
    return _WORDS.get(finish.reason, finish.raw)
