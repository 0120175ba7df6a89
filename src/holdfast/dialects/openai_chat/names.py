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
    FinishReason.OTHER: "length",  # and that says: this isn't all that was meant
}


def finish_of(word: str) -> Finish:
    return Finish(_REASONS.get(word, FinishReason.OTHER), word)


def finish_word(finish: Finish, *, own: bool, called: bool) -> str:
    """The provider's own word where it is one of this dialect's, else the word for the reason.

    Args:
        own: whether the answer is this dialect's, in which every word has been said before.
        called: whether tools were called. Callers look for that word, and not every dialect has one for it.
    """
    if own and finish.reason in (FinishReason.OTHER, _REASONS.get(finish.raw)):
        return finish.raw
    if called and not own and finish.reason is FinishReason.STOP:
        return _WORDS[FinishReason.TOOL_CALLS]
    return _WORDS[finish.reason]
