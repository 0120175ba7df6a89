"""The names that this dialect gives things, where they are needed in more than one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.model import Finish, FinishReason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIALECT", "finish_of", "finish_word"]

DIALECT: Final = "anthropic"

_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
    "pause_turn": FinishReason.PAUSE,
}
_WORDS: Final[Mapping[FinishReason, str]] = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.PAUSE: "pause_turn",
}


def finish_of(word: str) -> Finish:
    return Finish(_REASONS.get(word, FinishReason.OTHER), word)


def finish_word(finish: Finish) -> str:
    """The provider's own word where it means the same here, else the word for the reason."""
    if _REASONS.get(finish.raw) is finish.reason:
        return finish.raw
    return _WORDS.get(finish.reason, finish.raw)
