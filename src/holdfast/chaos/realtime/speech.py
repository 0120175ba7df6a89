"""One response as the provider tells it: the events of its items, and what becomes of it where it is broken off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.chaos.plan import Part
from holdfast.chaos.quota import Quota
from holdfast.chaos.realtime.audio import CHUNK_MS, sound
from holdfast.chaos.realtime.conversation import Stored
from holdfast.chaos.realtime.events import Events
from holdfast.chaos.realtime.wire import RealtimeWire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.chaos.answer import Answer, Choice, ToolCall
    from holdfast.chaos.realtime.scene import Scene
    from holdfast.chaos.wire.base import Asked
    from holdfast.chaos.wire.errors import ErrorAnswer

__all__ = ["Speech"]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish -> the reason why a response is incomplete."""
_UNTOLD = {"type": "server_error", "code": None, "message": "The response failed; see the error before."}
_DELTA = {"audio": "response.output_audio_transcript.delta", "text": "response.output_text.delta"}
_SOUND = b'{"type":"response.output_audio.delta"'
_ADDED = b'{"type":"response.output_item.added"'
_DONE = b'{"type":"response.output_item.done"'
_PART_ADDED = b'{"type":"response.content_part.added"'
_PART_DONE = b'{"type":"response.content_part.done"'


class Speech(RealtimeWire):
    """The wire of one response. Items join the conversation as they are told."""

    def __init__(self, key: bytes | None, scene: Scene, spare_id: str) -> None:
        super().__init__(key, scene.asked, azure=scene.azure)
        self.scene = scene
        self.id = spare_id
        """Of the response; an answer that comes about brings its own."""
        self.broke = False
        """Whether it told of an error."""
        self.told_end = False
        """Whether the client has the end that follows an error."""
        self._events = Events(spare_id[-10:])
        self._quota = Quota()
        self._answer: Answer | None = None
        self._items: list[dict[str, Any]] = []
        # What the client has by now:
        self._text: list[str] = []
        self._text_tokens = 0
        self._tool_tokens = 0
        self._audio_tokens = 0
        self._added = 0
        self._done = 0
        self._part_open = False

    # The wire.

    def headers(self, asked: Asked, request_id: str, quota: Quota) -> dict[str, str]:  # noqa: ARG002  # the protocol's
        self._quota = quota
        return {}

    def error_event(self, error: ErrorAnswer, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        self.broke = True
        return self._events.error(error.value["error"])

    def end(self, asked: Asked) -> bytes:  # noqa: ARG002  # the protocol's
        """The end after an error; by itself a response has no end but its finish."""
        return self._failed(_UNTOLD) if self.broke else b""

    def events(self, answer: Answer, asked: Asked) -> Iterator[Part]:  # noqa: ARG002  # the protocol's
        self._answer = answer
        self.id = answer.id
        self._events = Events(answer.nonce)
        choice = answer.choices[0]
        yield Part(self._events.make("response.created", response=self._response("in_progress")), "role")
        if choice.text or not choice.calls:
            yield from self._message(choice)
        for call in choice.calls:
            yield from self._call(call)
        reason = _INCOMPLETE.get(choice.finish)
        status = "completed" if reason is None else "incomplete"
        details = None if reason is None else {"type": "incomplete", "reason": reason}
        spoken = len(choice.text) if self.scene.audio else 0
        response = self._response(status, details, self._items, self._usage(choice.tokens, spoken))
        yield Part(self._events.make("response.done", response=response), "finish")
        yield Part(self._rate_limits(), "frame")

    def _message(self, choice: Choice) -> Iterator[Part]:
        audio = self.scene.audio
        index = len(self._items)
        item = self._item(index, type="message", role="assistant", content=[])
        yield from self._begin(index, item, "")
        place = {"response_id": self.id, "item_id": item["id"], "output_index": index, "content_index": 0}
        yield Part(self._content_part("added", place, ""), "frame")
        delta = _DELTA["audio" if audio else "text"]
        said: list[str] = []
        for i, piece in enumerate(choice.text):
            data, at = self._events.text(delta, piece, **place)
            said.append(piece)
            yield Part(data, "text", 1, piece, at=at)
            if audio:
                chunk = sound(self.scene.kind, i)
                yield Part(
                    self._events.make("response.output_audio.delta", **place, delta=chunk), "frame", unseen=1
                )
        text = "".join(said)
        for data in self._content_done(place, text):
            yield Part(data, "frame")
        status = "incomplete" if choice.finish in _INCOMPLETE else "completed"
        item |= {"status": status, "content": [self._content(text)]}
        yield from self._finish(index, item, text, len(said) * CHUNK_MS if audio else 0)

    def _call(self, call: ToolCall) -> Iterator[Part]:
        index = len(self._items)
        item = self._item(index, type="function_call", name=call.name, call_id=call.id, arguments="")
        yield from self._begin(index, item, call.name)
        place = {
            "response_id": self.id,
            "item_id": item["id"],
            "output_index": index,
            "call_id": call.id,
        }
        for piece in call.pieces:
            data, at = self._events.text("response.function_call_arguments.delta", piece, **place)
            yield Part(data, "tool", 1, piece, at=at)
        arguments = call.arguments
        done = self._events.make(
            "response.function_call_arguments.done", **place, name=call.name, arguments=arguments
        )
        yield Part(done, "frame")
        item |= {"status": "completed", "arguments": arguments}
        yield from self._finish(index, item, call.name + arguments, 0)

    def _item(self, index: int, **fields: Any) -> dict[str, Any]:
        item_id = f"item_{self._nonce}{index:0{21 - len(self._nonce)}x}"
        kind = fields.pop("type")
        return {"id": item_id, "type": kind, "status": "in_progress", **fields}

    @property
    def _nonce(self) -> str:
        return self.id[-10:] if self._answer is None else self._answer.nonce

    def _begin(self, index: int, item: dict[str, Any], text: str) -> Iterator[Part]:
        self._items.append(item)
        shown = dict(item)
        yield Part(
            self._events.make(
                "response.output_item.added", response_id=self.id, output_index=index, item=shown
            ),
            "frame",
        )
        if (conversation := self.scene.conversation) is not None:
            previous = conversation.last_id
            conversation.add(Stored(item, text))
            yield Part(
                self._events.make("conversation.item.added", previous_item_id=previous, item=shown), "frame"
            )

    def _finish(self, index: int, item: dict[str, Any], text: str, ms: float) -> Iterator[Part]:
        for data in self._item_done(index, item, text, ms):
            yield Part(data, "frame")

    # What is said in several ways of ending.

    def _item_done(self, index: int, item: dict[str, Any], text: str, ms: float) -> Iterator[bytes]:
        if (conversation := self.scene.conversation) is not None:
            conversation.update(item["id"], text, ms)
            yield self._events.make(
                "conversation.item.done", previous_item_id=conversation.before(item["id"]), item=item
            )
        yield self._events.make(
            "response.output_item.done", response_id=self.id, output_index=index, item=item
        )

    def _content_done(self, place: dict[str, Any], text: str) -> Iterator[bytes]:
        if self.scene.audio:
            yield self._events.make("response.output_audio.done", **place)
            yield self._events.make("response.output_audio_transcript.done", **place, transcript=text)
        else:
            yield self._events.make("response.output_text.done", **place, text=text)
        yield self._content_part("done", place, text)

    def _content_part(self, what: str, place: dict[str, Any], text: str) -> bytes:
        part = {"type": "audio", "transcript": text} if self.scene.audio else {"type": "text", "text": text}
        more = {"content": part} if self.scene.azure else {}
        return self._events.make(f"response.content_part.{what}", **place, part=part, **more)

    def _content(self, text: str) -> dict[str, Any]:
        if self.scene.audio:
            return {"type": "output_audio", "transcript": text}
        return {"type": "output_text", "text": text}

    def _response(
        self,
        status: str,
        details: dict[str, Any] | None = None,
        output: list[dict[str, Any]] | None = None,
        usage: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        scene = self.scene
        sounds = {"type": scene.kind, "rate": 24000} if scene.kind == "audio/pcm" else {"type": scene.kind}
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": output or [],
            "conversation_id": scene.conversation_id,
            "output_modalities": ["audio" if scene.audio else "text"],
            "max_output_tokens": scene.max_output_tokens,
            "audio": {"output": {"format": sounds, "voice": scene.voice}},
            "usage": usage,
            "metadata": scene.metadata,
        }

    def _usage(self, text: int, audio: int) -> dict[str, Any]:
        prompt = self.scene.asked.prompt_tokens
        cached = 0 if self._answer is None else self._answer.usage.cached_tokens
        heard = self.scene.prompt_audio_tokens
        written = prompt - heard
        cached_text = min(cached, written)
        return {
            "total_tokens": prompt + text + audio,
            "input_tokens": prompt,
            "output_tokens": text + audio,
            "input_token_details": {
                "text_tokens": written,
                "audio_tokens": heard,
                "image_tokens": 0,
                "cached_tokens": cached,
                "cached_tokens_details": {
                    "text_tokens": cached_text,
                    "audio_tokens": cached - cached_text,
                    "image_tokens": 0,
                },
            },
            "output_token_details": {"text_tokens": text, "audio_tokens": audio},
        }

    def _rate_limits(self) -> bytes:
        quota = self._quota
        limits = [
            {
                "name": "tokens",
                "limit": quota.tokens_limit,
                "remaining": quota.tokens_left,
                "reset_seconds": quota.tokens_reset_s,
            }
        ]
        return self._events.make("rate_limits.updated", rate_limits=limits)

    # What the client has, and the ends before the end.

    def served(self, parts: list[Part]) -> None:
        """These reached the client."""
        for part in parts:
            sound = part.data.startswith(_SOUND)
            self._audio_tokens += sound
            self._text_tokens += part.unseen - sound  # lost on the way, but billed
            if part.kind == "text":
                self._text_tokens += part.tokens
                self._text.append(part.said)
            elif part.kind == "tool":
                self._tool_tokens += part.tokens
            elif part.kind == "done":
                self.told_end = True
            elif part.kind == "frame":
                self._told(part.data)

    def _told(self, data: bytes) -> None:
        if data.startswith(_ADDED):
            self._added += 1
        elif data.startswith(_DONE):
            self._done += 1
        elif data.startswith(_PART_ADDED):
            self._part_open = True
        elif data.startswith(_PART_DONE):
            self._part_open = False

    def cancelled(self, reason: str) -> Iterator[bytes]:
        """The events of a response that was broken off: what was said stays said, and is billed."""
        if self._answer is None:  # it waits for its turn, and was never told of
            yield self._events.make("response.created", response=self._response("in_progress"))
        self._forget_untold()
        if self._done < len(self._items):
            yield from self._broken_off(self._done)
        details = {"type": "cancelled", "reason": reason}
        usage = self._usage(self._text_tokens + self._tool_tokens, self._audio_tokens)
        yield self._events.make(
            "response.done", response=self._response("cancelled", details, self._items, usage)
        )

    def _forget_untold(self) -> None:
        for item in self._items[self._added :]:
            if self.scene.conversation is not None:
                self.scene.conversation.remove(item["id"])
        del self._items[self._added :]

    def _broken_off(self, index: int) -> Iterator[bytes]:
        item = self._items[index]
        item["status"] = "incomplete"
        if item["type"] == "message":
            text = "".join(self._text)
            place = {"response_id": self.id, "item_id": item["id"], "output_index": index, "content_index": 0}
            if self._part_open:
                yield from self._content_done(place, text)
            item["content"] = [self._content(text)]
            yield from self._item_done(index, item, text, self._audio_tokens * CHUNK_MS)
            return
        item["arguments"] = self._arguments(item["call_id"])
        yield from self._item_done(index, item, item["name"] + item["arguments"], 0)

    def _arguments(self, call_id: str) -> str:
        """As much of a call's arguments as the client has."""
        assert self._answer is not None  # noqa: S101  # there is a call
        left = self._tool_tokens
        for call in self._answer.choices[0].calls:
            if call.id == call_id:
                return "".join(call.pieces[:left])
            left = max(0, left - len(call.pieces))
        return ""

    def failed(self, error: dict[str, Any]) -> list[bytes]:
        """The events of a response that comes to nothing."""
        created = self._events.make("response.created", response=self._response("in_progress"))
        return [created, self._failed(error)]

    def _failed(self, error: dict[str, Any]) -> bytes:
        details = {"type": "failed", "error": error}
        return self._events.make("response.done", response=self._response("failed", details))
