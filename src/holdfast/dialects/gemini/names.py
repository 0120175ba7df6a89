"""The names that this dialect gives things, where they are needed in more than one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.model import Finish, FinishReason

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DIALECT",
    "FILES",
    "MALFORMED_CALL",
    "MODEL",
    "UNSPECIFIED",
    "USER",
    "blocked_of",
    "finish_of",
    "finish_word",
]

DIALECT: Final = "gemini"
USER, MODEL = "user", "model"
FILES: Final = "https://generativelanguage.googleapis.com/"
"""Where the Files API keeps what was uploaded: such an address means something to this provider only, as an id does."""
MALFORMED_CALL: Final = "MALFORMED_FUNCTION_CALL"
UNSPECIFIED: Final = frozenset(
    {"", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"}
)
"""Words that say: nothing yet."""

_FILTERED = (
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION", "PUP_LIMITED_DISABLED", "MODEL_ARMOR", "JAILBREAK",
)  # fmt: skip  # a list reads better packed
_REASONS: Final[Mapping[str, FinishReason]] = dict.fromkeys(_FILTERED, FinishReason.CONTENT_FILTER) | {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.PAUSE,
}
_WORDS: Final[Mapping[FinishReason, str]] = {
    FinishReason.STOP: "STOP",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.CONTENT_FILTER: "SAFETY",
    FinishReason.PAUSE: "MAX_TOKENS",  # the nearest that says: there is more, and needs no token to go on
    FinishReason.OTHER: "OTHER",
}


def finish_of(word: str, *, called: bool) -> Finish:
    """Why a candidate ended. There is no word for tool calls: ``STOP`` after one means them."""
    reason = _REASONS.get(word, FinishReason.OTHER)
    return Finish(FinishReason.TOOL_CALLS if called and reason is FinishReason.STOP else reason, word)


def blocked_of(word: str) -> Finish:
    """Why there is no candidate at all: the prompt's ``blockReason``."""
    return Finish(FinishReason.CONTENT_FILTER, word)


def finish_word(finish: Finish, *, own: bool) -> str:
    """The provider's own word where it is one of this dialect's, else the word for the reason."""
    known = _REASONS.get(finish.raw)
    if own and (
        finish.reason in (FinishReason.OTHER, known) or (known and finish.raw == _WORDS[finish.reason])
    ):
        return finish.raw
    return _WORDS[finish.reason]
