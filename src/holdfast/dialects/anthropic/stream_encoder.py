"""Streamed answers: events to server-sent events. The other way is :mod:`holdfast.dialects.anthropic.stream`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.dialects.anthropic.answer import usage_fields
from holdfast.dialects.anthropic.blocks import BlockTeller
from holdfast.dialects.anthropic.errors import error_fields
from holdfast.dialects.anthropic.frames import END_FRAME, frame
from holdfast.dialects.anthropic.names import finish_word, made_message_id
from holdfast.dialects.anthropic.turns import InTurn
from holdfast.dialects.anthropic.writer import AnthropicWriter
from holdfast.dialects.writing import merged
from holdfast.model import (
    ChoiceLeftover,
    Ended,
    Event,
    Failed,
    Finish,
    Finished,
    Ping,
    Started,
    Usage,
    UsageReported,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["StreamEncoder"]

_PING: Final = frame({"type": "ping"})


class StreamEncoder:
    """Writes one stream. What has no place in it (another dialect's leftovers, alternatives but the first) is left out.

    ``message_start`` goes out with the first block, ``message_delta`` with the end: only then all of it is known.

    Args:
        include_usage: whether usage is told. Without it the counts that the SDK's types need are 0.
    """

    def __init__(self, *, include_usage: bool = True) -> None:
        self._include_usage = include_usage
        self._writer = AnthropicWriter(None, answered=True)
        self._started = Started()
        self._begun = False
        self._late: dict[str, Any] = {}  # fields of the message that came after its beginning
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._end: dict[str, Any] = {}
        self._turns = InTurn()
        self._teller = BlockTeller()

    def encode(self, event: Event) -> bytes:
        """The bytes that tell ``event``; empty where it says nothing that this dialect tells now.

        Raises:
            InvalidRequest: it holds something that JSON can't say.
        """
        match event:
            case Started():
                return self._learn(event)
            case UsageReported():
                self._usage = event.usage if self._include_usage else None
                return b""
            case Ended():
                return b"".join(self._ended())
            case Failed():
                return frame(error_fields(event.error))
            case Ping():
                return _PING
            case _ if event.choice != 0:
                return b""
            case Finished():
                self._finish = event.finish
                return b""
            case ChoiceLeftover():
                self._end |= self._writer.leftovers({**event.extra, **event.more}, "")
                return b""
            case _:
                key = getattr(
                    event, "key", None
                )  # a choice's or message's own events have none, and say nothing here
                return b"" if key is None else b"".join(self._blocks(self._turns.add(key, event)))

    def _learn(self, event: Started) -> bytes:
        known = self._started
        if event.dialect is not None:
            self._writer = AnthropicWriter(event.dialect, answered=True)
        extra = self._writer.leftovers(event.extra, "")
        if self._begun:
            self._late |= extra
        self._started = replace(
            known,
            id=known.id or event.id,
            model=known.model or event.model,
            created=event.created if known.created is None else known.created,
            extra=known.extra | extra,
        )
        return b""

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        started = self._started
        id_ = started.id or made_message_id(started.model, started.created)
        self._teller.answer_id = id_
        message: dict[str, Any] = {
            "id": id_,
            "type": "message",
            "role": "assistant",
            "model": started.model,
            "content": [],
            "usage": usage_fields(self._usage, self._writer),
        }
        nothing_yet = {"stop_reason": None, "stop_sequence": None}
        return frame({"type": "message_start", "message": merged(message, nothing_yet | started.extra)})

    def _blocks(self, events: Iterator[Event]) -> Iterator[bytes]:
        yield self._begin()
        for event in events:
            yield from self._teller.tell(event, self._writer)

    def _ended(self) -> Iterator[bytes]:
        yield from self._blocks(self._turns.rest())
        yield from self._teller.close(self._writer)
        reason = None
        if self._finish is not None:
            teller = self._teller
            reason = finish_word(
                self._finish, own=self._writer.own, called=teller.called, refused=teller.refused
            )
        event = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None, **self._end},
            "usage": usage_fields(self._usage, self._writer),
        }
        yield frame(merged(event, self._late))
        yield END_FRAME
