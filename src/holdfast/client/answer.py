"""What callers of the library get: whole answers, and the chunks of streamed ones."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003  # msgspec reads the annotations at run time
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.client.conversation import portable
from holdfast.model import Answer, FinishReason, Message, Reasoning, Refusal, Role, ToolCall, Usage

if TYPE_CHECKING:
    from holdfast.model import Choice, Part

__all__ = ["ChatAnswer", "StreamChunk", "ToolCallPiece"]


_SHOWN: Final = 200  # characters of an answer's text in its repr


class ToolCallPiece(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """More of one tool call. ``id`` and ``name`` come with its first piece, its arguments (JSON text) bit by bit."""

    index: int
    """Which of the choice's tool calls, from 0."""
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class StreamChunk(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """One piece of a streamed answer."""

    index: int
    """Counts the chunks of a stream: 0, 1, 2 … without a gap."""
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    finish_reason: FinishReason | None = None
    """On the last chunk, and only there. With ``n`` choices the last ``n`` chunks end one each."""
    model: str
    """What was asked of ``provider``. Both are the same on all chunks of a stream."""
    provider: str
    choice: int = 0
    """Which of ``n`` alternatives goes on."""
    usage: Usage | None = None
    """On the last chunk, where the provider told it."""


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. ``text``, ``reasoning``, ``tool_calls`` … are its first choice's."""

    answer: Answer
    """Everything that the provider said, in the neutral model."""
    provider: str
    """Who served it."""
    model: str
    """What was asked of ``provider``; ``answer.model`` is what it calls that itself."""
    attempts: int
    """How many attempts it took, over all providers."""
    cost_usd: Decimal | None
    """What all attempts cost together, in dollars; None where a price isn't known."""
    request_id: str
    """Its id in the ledger."""
    dropped: tuple[str, ...] = ()
    """Fields that ``provider`` can't say and the route permits to leave out."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        return self.answer.choices

    @property
    def usage(self) -> Usage | None:
        """Tokens of the answer as the provider counted them; None where it didn't say."""
        return self.answer.usage

    @property
    def text(self) -> str:
        return self.choices[0].text if self.choices else ""

    @property
    def reasoning(self) -> str:
        """What the model thought, as far as the provider shows it."""
        return "".join(part.text for part in self._parts if isinstance(part, Reasoning))

    @property
    def refusal(self) -> str:
        """Why the model won't answer, where its provider says so apart from the text."""
        return "".join(part.text for part in self._parts if isinstance(part, Refusal))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return tuple(part for part in self._parts if isinstance(part, ToolCall))

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it ended. A FinishReason is a string too: ``== "stop"``."""
        finish = self.choices[0].finish if self.choices else None
        return None if finish is None else finish.reason

    @property
    def message(self) -> Message:
        """What to append to the conversation. Signatures of thoughts and tool calls stay with it, for the provider that
        made them; any other provider can go on with it too."""
        if not self.choices:
            return Message(role=Role.ASSISTANT)
        return portable(self.choices[0].message, self.answer.dialect)

    def __repr__(self) -> str:
        """What one wants to see of it; ``answer`` shows everything."""
        shown = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}…"
        finish = None if self.finish_reason is None else str(self.finish_reason)
        return (
            f"ChatAnswer(text={shown!r}, tool_calls={len(self.tool_calls)}, finish_reason={finish!r}, "
            f"provider={self.provider!r}, model={self.model!r}, attempts={self.attempts}, cost_usd={self.cost_usd})"
        )

    @property
    def _parts(self) -> tuple[Part, ...]:
        return self.choices[0].parts if self.choices else ()
