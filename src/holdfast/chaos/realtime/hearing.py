"""What a session hears: audio becomes user messages, by voice detection or when the client says so."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from holdfast.chaos.realtime.audio import Ear
from holdfast.chaos.realtime.conversation import heard
from holdfast.chaos.realtime.wrong import Wrong

if TYPE_CHECKING:
    from holdfast.chaos.realtime.conversation import Stored
    from holdfast.chaos.realtime.session import RealtimeConnection
    from holdfast.chaos.wire.base import Media

__all__ = ["Hearing"]

_SHORTEST_MS = 100


class Hearing:
    """The input buffer of a session, and its turns.

    Voice detection, simulated: speech has ended once ``turn_s`` seconds of audio stand in the buffer, whatever they sound
    like. All of the buffer is one turn then.
    """

    def __init__(self, session: RealtimeConnection, turn_s: float) -> None:
        self._session = session
        self._turn_ms = turn_s * 1000
        self._ear = Ear()

    def append(self, audio: str) -> None:
        """Raises :class:`Wrong`."""
        session, ear = self._session, self._ear
        try:
            ear.append(audio, session.preferences.input["format"]["type"])
        except ValueError as error:
            raise Wrong("invalid_value", f"Invalid audio: {error}.", "audio") from None
        turns = session.preferences.input["turn_detection"]
        if turns is None or ear.ms < self._turn_ms:
            return
        item_id = session.new_id("item")
        session.tell("input_audio_buffer.speech_started", audio_start_ms=ear.start_ms, item_id=item_id)
        if turns["interrupt_response"] and (active := session.active) is not None:
            active.cancel("turn_detected")
        session.tell("input_audio_buffer.speech_stopped", audio_end_ms=ear.end_ms, item_id=item_id)
        self._commit(item_id)
        if turns["create_response"]:
            session.respond({}, None, b"")

    def commit(self) -> None:
        """What stands in the buffer is a message. Raises :class:`Wrong` where that is too little."""
        if self._ear.ms < _SHORTEST_MS:
            message = (
                f"Error committing input audio buffer: buffer too small. Expected at least {_SHORTEST_MS}ms of audio, "
                f"but buffer only has {self._ear.ms:.2f}ms of audio."
            )
            raise Wrong("input_audio_buffer_commit_empty", message)
        self._commit(self._session.new_id("item"))

    def clear(self) -> None:
        self._ear.clear()
        self._session.tell("input_audio_buffer.cleared")

    def _commit(self, item_id: str) -> None:
        session = self._session
        ms = self._ear.ms
        media = self._ear.commit(session.preferences.input["format"]["type"])
        stored = heard(item_id, media, ms)
        previous = session.conversation.last_id
        session.tell("input_audio_buffer.committed", previous_item_id=previous, item_id=item_id)
        session.conversation.add(stored)
        for what in ("added", "done"):
            session.tell(f"conversation.item.{what}", previous_item_id=previous, item=stored.value)
        if session.preferences.input["transcription"] is not None:
            self._transcribe(stored, media, ms)

    def _transcribe(self, stored: Stored, media: Media, ms: float) -> None:
        """Nobody listens: the transcript says how much was heard, and tells one audio from another."""
        session = self._session
        pieces = (f"{ms:g} ms", " of audio,", f" sha256 {media.sha256}")
        place = {"item_id": stored.id, "content_index": 0}
        for piece in pieces:
            session.tell("conversation.item.input_audio_transcription.delta", **place, delta=piece)
        transcript = "".join(pieces)
        stored.value["content"][0]["transcript"] = transcript
        session.tell(
            "conversation.item.input_audio_transcription.completed",
            **place,
            transcript=transcript,
            usage={"type": "duration", "seconds": math.ceil(ms / 1000)},
        )
