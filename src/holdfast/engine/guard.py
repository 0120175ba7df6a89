"""The stream guard: what may be told to the caller, and when, as one table.

It reads the :class:`~holdfast.dialects.base.Signal` values of one attempt, streamed or whole, and answers with the bytes
that may go out. A stream is a success only in the state :attr:`State.DONE`; nothing else may be reported as one. Finish
reasons are therefore held back until then: a provider that goes on after one has broken its word, and the caller must not
hold a "stop" in hand when that shows.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from holdfast.dialects.base import Edit
from holdfast.errors import BadAnswer, ConnectionLost, HoldfastError, Truncated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.dialects.base import Dialect, Signal
    from holdfast.model.usage import Usage

__all__ = ["TABLE", "Event", "Guard", "State"]


class State(Enum):
    """Where an answer stands."""

    WAITING = "waiting"
    """No content yet: everything is held back, and another target may still serve."""
    SPEAKING = "speaking"
    """Committed: the caller has seen content of this attempt, so no other may be mixed in."""
    CLOSING = "closing"
    """Every choice has finished: only usage and the end marker may follow."""
    DONE = "done"
    BROKEN = "broken"

    __hash__ = object.__hash__  # the table is looked up for every event; Enum's own hash is Python code


class Event(Enum):
    """What a signal means to the guard."""

    EMPTY = "empty"
    """A role, an empty delta, a ping, a comment."""
    CONTENT = "content"
    FINISH = "finish"
    """A choice finished, and others are still open."""
    LAST_FINISH = "last finish"
    REPEAT = "repeat"
    """The same finish reason for the same choice once more."""
    CONFLICT = "conflict"
    """Another finish reason for a finished choice, or content after it."""
    USAGE = "usage"
    END = "end"
    """The end marker while a choice is open."""
    FULL_END = "full end"
    """The end marker after every choice that appeared has finished."""
    ERROR = "error"
    MALFORMED = "malformed"
    EOF = "eof"
    """The bytes ended."""
    LOST = "lost"
    """The connection broke."""

    __hash__ = object.__hash__


_W, _S, _C, _D, _B = State.WAITING, State.SPEAKING, State.CLOSING, State.DONE, State.BROKEN

TABLE: Final[Mapping[State, Mapping[Event, State]]] = {
    _W: {
        Event.EMPTY: _W,
        Event.CONTENT: _S,
        Event.FINISH: _W,
        Event.LAST_FINISH: _C,  # an empty answer is an answer
        Event.REPEAT: _W,
        Event.CONFLICT: _B,
        Event.USAGE: _W,
        Event.END: _B,
        Event.FULL_END: _D,
        Event.ERROR: _B,
        Event.MALFORMED: _B,
        Event.EOF: _B,
        Event.LOST: _B,
    },
    _S: {
        Event.EMPTY: _S,
        Event.CONTENT: _S,
        Event.FINISH: _S,
        Event.LAST_FINISH: _C,
        Event.REPEAT: _S,
        Event.CONFLICT: _B,
        Event.USAGE: _S,
        Event.END: _B,  # an end marker without a finish reason is a cut that looks tidy
        Event.FULL_END: _D,
        Event.ERROR: _B,
        Event.MALFORMED: _B,
        Event.EOF: _B,
        Event.LOST: _B,
    },
    _C: {  # the answer is whole: what goes wrong now can't make it less so
        Event.EMPTY: _C,
        Event.CONTENT: _B,
        Event.FINISH: _B,
        Event.LAST_FINISH: _B,
        Event.REPEAT: _C,
        Event.CONFLICT: _B,
        Event.USAGE: _C,
        Event.END: _D,
        Event.FULL_END: _D,
        Event.ERROR: _D,
        Event.MALFORMED: _D,
        Event.EOF: _D,
        Event.LOST: _D,
    },
    _D: dict.fromkeys(Event, _D),  # nothing comes after the end
    _B: dict.fromkeys(Event, _B),
}


class Guard:
    """One attempt's answer, watched.

    Args:
        dialect: the caller's wire format, for the few events that must be changed on their way.
        choices: how many alternatives the caller asked for.
        wants_usage: whether the caller asked for the usage event.
        usage_apart: whether usage is an event of its own, to be told last and only if asked for; by default as ``dialect``
            has it. Where it isn't, it stays where it came.
    """

    __slots__ = (
        "_choices",
        "_dialect",
        "_ending",
        "_finished",
        "_held",
        "_id",
        "_model",
        "_seen",
        "_spoke",
        "_usage_apart",
        "_usage_frame",
        "_wants_usage",
        "content",
        "fault",
        "finish_reason",
        "progress",
        "said",
        "state",
        "usage",
        "usage_so_far",
        "written",
    )

    def __init__(
        self,
        dialect: Dialect,
        *,
        choices: int = 1,
        wants_usage: bool = True,
        usage_apart: bool | None = None,
    ) -> None:
        self._dialect = dialect
        self._usage_apart = dialect.usage_apart if usage_apart is None else usage_apart
        self._choices = choices
        self._wants_usage = wants_usage
        self._held: list[bytes] = []
        self._ending: list[bytes] = []
        self._seen: set[int] = set()
        self._finished: dict[int, str] = {}
        self._id: str | None = None
        self._model: str | None = None
        self.state = State.WAITING
        self._spoke = False
        self.content = 0
        """The kinds of content seen, as bits of :mod:`holdfast.dialects.base`."""
        self.progress = 0
        """Counts the events that weren't pings: what resets the idle limit."""
        self.said = 0
        """Characters of text, of events with one choice."""
        self.usage: Usage | None = None
        self.usage_so_far = False
        """It came with content that isn't the last: where nothing follows, more may be billed."""
        self._usage_frame = b""
        self.finish_reason: str | None = None
        self.written: list[str] | None = None
        """Where set: takes the text that went out, for a resumption."""
        self.fault: HoldfastError | None = None
        """Why the state is BROKEN."""

    @property
    def spoke(self) -> bool:
        """Content was seen."""
        return self._spoke

    @property
    def committed(self) -> bool:
        """Content was seen, or a whole answer without any. A break after it comes too late for another target.

        Counted by events, not by what went out: whether the break came in the same segment as the content must not matter.
        """
        return self._spoke or self.state is State.CLOSING or self.state is State.DONE

    @property
    def id(self) -> str | None:
        """The answer's id, as the provider first gave it."""
        return self._id

    @property
    def model(self) -> str | None:
        return self._model

    def adopt(self, id: str | None, model: str | None) -> None:  # noqa: A002  # the wire's own word
        """Speak under the id and model of an earlier attempt, whose stream this one goes on with."""
        self._id, self._model = id, model

    def feed(self, signals: Iterable[Signal]) -> bytes:
        """What may go out now. Stops at the first fault: ``fault`` says which, and what came before it still counts."""
        out: list[bytes] = []
        for signal in signals:
            if self.state is _D or self.state is _B:
                break
            finished = len(self._finished)
            raw = self._pass(signal)
            if self.state is _B:
                break
            if signal.end or not raw:  # the end marker is ours to write: cost and usage go before it
                continue
            if len(self._finished) > finished or self.state is _C:
                self._ending.append(raw)
            elif self.state is _W:
                self._held.append(raw)
            else:
                if self._held:
                    out += self._held
                    self._held = []
                out.append(raw)
                if self.written is not None and signal.text:
                    self.written.append(signal.text)
        return out[0] if len(out) == 1 else b"".join(out)

    def closing(self) -> bytes:
        """Once DONE: what was held back for it, the finish reasons and the usage event if it was asked for."""
        frames = [*self._held, *self._ending]
        if self._wants_usage:
            frames.append(self._usage_frame)
        self._held, self._ending, self._usage_frame = [], [], b""
        return b"".join(frames)

    def eof(self) -> None:
        """The answer's bytes have ended in order."""
        self._go(Event.EOF, None)

    def lost(self, error: HoldfastError) -> None:
        """The answer's bytes have ended out of order."""
        self._go(Event.LOST, error)

    def _pass(self, signal: Signal) -> bytes:
        """Moves the state; returns the signal's bytes as they may go out."""
        if signal.error is not None:
            self._go(Event.ERROR, signal.error)
            return b""
        if signal.malformed is not None:
            self._go(Event.MALFORMED, BadAnswer(signal.malformed))
            return b""
        if signal.end:
            whole = bool(self._seen) and len(self._finished) == len(self._seen)
            self._go(Event.FULL_END if whole else Event.END, None)
            return signal.raw
        raw = signal.raw
        repeated = frozenset(self._beat(signal)) if signal.beats else None
        if signal.usage is not None:
            raw = self._keep_usage(signal)
        if repeated:
            raw = raw and self._dialect.edit(raw, Edit(drop_finish=repeated))
        if (signal.id and signal.id != self._id) or (signal.model and signal.model != self._model):
            raw = self._constant(signal, raw)
        return raw

    def _beat(self, signal: Signal) -> list[int]:
        """The choices' part of a signal; returns those whose finish reason is a repeat."""
        repeats: list[int] = []
        for index, content, finish in signal.beats:
            self._seen.add(index)
            done = self._finished.get(index)
            if content:
                self.said += len(signal.text)
                self.content |= content
                self.progress += 1
                self._go(Event.CONFLICT if done is not None else Event.CONTENT, None)
            if finish is None:
                if not content:
                    self._go(Event.EMPTY, None)
                continue
            self.progress += 1
            if done is not None:
                self._go(Event.REPEAT if done == finish else Event.CONFLICT, None)
                repeats.append(index)
                continue
            self._finished[index] = finish
            if self.finish_reason is None or index == 0:
                self.finish_reason = finish
            last = len(self._finished) >= self._choices and len(self._finished) == len(self._seen)
            self._go(Event.LAST_FINISH if last else Event.FINISH, None)
        return repeats

    def _keep_usage(self, signal: Signal) -> bytes:
        """Takes usage out of the stream, where it stands apart: it is told once, last, and only if it was asked for."""
        self.usage = signal.usage
        self.usage_so_far = bool(signal.beats) and len(self._finished) < max(len(self._seen), 1)
        self.progress += 1
        self._go(Event.USAGE, None)
        if not self._usage_apart:
            return signal.raw
        if not signal.beats:
            self._usage_frame = signal.raw
            return b""
        if self._wants_usage:
            self._usage_frame = self._dialect.edit(signal.raw, Edit(usage="only"))
        return self._dialect.edit(signal.raw, Edit(usage="drop"))

    def _constant(self, signal: Signal, raw: bytes) -> bytes:
        """One id and one model for a stream: the first ones. Some servers make up a new id for each chunk."""
        if self._id is None and signal.id:
            self._id = signal.id
        if self._model is None and signal.model:
            self._model = signal.model
        edit = Edit(
            id=self._id if signal.id and signal.id != self._id else None,
            model=self._model if signal.model and signal.model != self._model else None,
        )
        if edit.id is None and edit.model is None:
            return raw
        if self._usage_frame and signal.usage is not None:
            self._usage_frame = self._dialect.edit(self._usage_frame, edit)
        return raw and self._dialect.edit(raw, edit)

    def _go(self, event: Event, error: HoldfastError | None) -> None:
        before = self.state
        self.state = TABLE[before][event]
        if self.state is _S:
            self._spoke = True
        if self.state is _B and before is not _B:
            self.fault = error or _fault(before, event)


def _fault(state: State, event: Event) -> HoldfastError:
    if event in (Event.CONFLICT, Event.CONTENT, Event.FINISH):
        return BadAnswer("the provider went on after a finish reason: the answer can't be trusted")
    if event is Event.LOST:
        return ConnectionLost("the connection to the provider was lost")
    if state is State.WAITING:
        return Truncated("the provider's answer ended before any content and without a finish reason")
    return Truncated("the provider's answer ended without a finish reason: it is incomplete")
