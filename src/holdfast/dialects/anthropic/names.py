"""The names that this dialect gives things, where they are needed in more than one place."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from holdfast.model import Finish, FinishReason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIALECT", "finish_of", "finish_word", "made_message_id", "safe_id"]

DIALECT: Final = "anthropic"

_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
    "pause_turn": FinishReason.PAUSE,
    "compaction": FinishReason.PAUSE,
}
_WORDS: Final[Mapping[FinishReason, str]] = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
    FinishReason.PAUSE: "pause_turn",
    FinishReason.OTHER: "max_tokens",  # the nearest that says: this isn't all that was meant
}
_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]")


def finish_of(word: str) -> Finish:
    return Finish(_REASONS.get(word, FinishReason.OTHER), word)


def finish_word(finish: Finish, *, own: bool, called: bool, refused: bool) -> str:
    """The provider's own word where it is one of this dialect's, else the word for the reason.

    Args:
        own: whether the answer is this dialect's, in which every word has been said before.
        called: whether tools were called. Callers look for that word, and not every dialect has one for it.
        refused: whether there is a refusal, which is a reason here and a part elsewhere.
    """
    if own and finish.reason in (FinishReason.OTHER, _REASONS.get(finish.raw)):
        return finish.raw
    if not own and finish.reason is FinishReason.STOP:
        if called:
            return _WORDS[FinishReason.TOOL_CALLS]
        if refused:
            return _WORDS[FinishReason.CONTENT_FILTER]
    return _WORDS[finish.reason]


def made_message_id(model: str, created: int | None) -> str:
    """An id for an answer whose provider gave none. It is the same for the whole answer and its stream."""
    return f"msg_{blake2b(f'{model}:{created}'.encode('utf-8', 'replace'), digest_size=12).hexdigest()}"


def safe_id(call_id: str) -> str:
    """A call's id as Anthropic takes it (``^[a-zA-Z0-9_-]+$``): other providers have other characters in theirs."""
    return _ODD.sub(lambda found: f"_{ord(found[0]):x}_", call_id) or "call"
