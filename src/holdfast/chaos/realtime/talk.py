"""One response: an attempt like any other, whose answer is spoken on a session's line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from holdfast.chaos.realtime.faults import as_session
from holdfast.chaos.realtime.speaker import Speaker

if TYPE_CHECKING:
    from holdfast.chaos.chat import Attempt
    from holdfast.chaos.clock import Clock
    from holdfast.chaos.journal import End
    from holdfast.chaos.plan import Part, Reply, Shut
    from holdfast.chaos.realtime.line import Line
    from holdfast.chaos.realtime.speech import Speech
    from holdfast.chaos.settings import Pace

__all__ = ["Stage", "Talk"]

_GOING_AWAY = 1001
_INTERNAL_ERROR = 1011


class Stage(Protocol):
    """The session, as a response sees it."""

    line: Line
    clock: Clock

    @property
    def pace(self) -> Pace: ...
    def over(self, talk: Talk) -> None:
        """The response has ended; the session goes on."""
        ...

    def ending(self, end: End) -> None:
        """The connection is being ended by us, in that way."""
        ...

    def shut(self, shut: Shut) -> None: ...


class Talk:
    """A response from its creation to its end. What ends the connection ends it with all that runs on it."""

    def __init__(self, stage: Stage, speech: Speech, reply: Reply, attempt: Attempt) -> None:
        self._stage = stage
        self._speech = speech
        self._attempt = attempt
        self._reply = attempt.reply = as_session(reply, speech, attempt, stage.pace)
        attempt.entry.operation = "realtime"
        self._ended = False
        self._cancelled: str | None = None
        self._speaker = Speaker(
            stage.line,
            self._reply,
            stage.clock,
            begun=attempt.head_sent,
            served=self._served,
            done=self._done,
        )

    @property
    def id(self) -> str:
        """The response's id."""
        return self._speech.id

    @property
    def in_conversation(self) -> bool:
        """Whether it adds to the conversation, as only one response at a time can."""
        return self._speech.scene.conversation is not None and self._cancelled is None

    def start(self) -> None:
        self._speaker.start()

    def free(self) -> None:
        """The line has room again."""
        if self._cancelled is None or self._speaker.in_piece:
            self._speaker.free()
        if self._cancelled is not None and not self._ended:
            self._break_off(self._cancelled)

    def cancel(self, reason: str) -> None:
        """Break it off, once what was written has gone; the journal says that the client left it."""
        self._cancelled = reason
        self._break_off(reason)

    def _break_off(self, reason: str) -> None:
        if self._stage.line.clogged or self._speaker.in_piece:  # what is half out can't be taken back
            return
        self._speaker.stop()
        self._stage.over(self)
        for event in self._speech.cancelled(reason):
            self._stage.line.send(event)
        self.left("client_left")

    def left(self, end: End) -> None:
        """It is over, for that reason."""
        if not self._ended:
            self._ended = True
            self._speaker.stop()
            self._attempt.ended(end)

    def _served(self, size: int, parts: list[Part]) -> None:
        if self._ended:
            return
        self._speech.served(parts)
        self._attempt.served(size, parts)

    def _done(self) -> None:
        """All of it was written: end it as the reply says."""
        stage, line = self._stage, self._stage.line
        match self._reply.ending:
            case "complete":
                self._complete()
            case "hang":
                line.deaf = True
                return
            case "fin":
                stage.ending("closed_by_us")
                line.finish()
            case "half_close":
                stage.ending("half_closed_by_us")
                line.half_close()
            case "reset":
                line.reset(lambda: stage.ending("reset_by_us"))
        if self._reply.shut is not None:
            stage.shut(self._reply.shut)

    def _complete(self) -> None:
        stage, line = self._stage, self._stage.line
        faults = self._attempt.entry.faults
        if "cut" in faults and self._reply.length is None:
            stage.ending("closed_by_us")
            line.close(_GOING_AWAY)
        elif "error_event" in faults and self._speech.broke and not self._speech.told_end:
            stage.ending("closed_by_us")
            line.close(_INTERNAL_ERROR, "internal error")
        else:
            self.left("complete")
            stage.over(self)
