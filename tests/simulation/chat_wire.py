"""What a Chat Completions provider writes and a caller reads: made and read here without the product's own code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec

from holdfast.testing.memory_transport import Ending, Reply

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}


def event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def usage_fields(given: int, made: int) -> dict[str, int]:
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def chunk(
    text: str | None = None,
    *,
    index: int = 0,
    finish: str | None = None,
    usage: tuple[int, int] | None = None,
    answer_id: str = "chatcmpl-1",
    model: str = "m-1",
    choices: bool = True,
    **delta: Any,
) -> bytes:
    """One streamed event: a piece of one choice, or (``choices=False``) only usage."""
    said = delta if text is None else {"content": text, **delta}
    return event(
        {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
            "choices": [{"index": index, "delta": said, "finish_reason": finish}] if choices else [],
            **({"usage": usage_fields(*usage)} if usage else {}),
        }
    )


def usage_chunk(given: int, made: int, **more: Any) -> bytes:
    return chunk(usage=(given, made), choices=False, **more)


def stream(
    *pieces: str, usage: tuple[int, int] | None = (10, 5), finish: str = "stop", **more: Any
) -> list[bytes]:
    """A whole, orderly stream as its events."""
    events = [
        chunk(role="assistant", **more),
        *(chunk(piece, **more) for piece in pieces),
        chunk(finish=finish, **more),
    ]
    if usage:
        events.append(usage_chunk(*usage, **more))
    return [*events, DONE]


def speaks(
    *pieces: bytes,
    gap_s: float = 0.0,
    head_s: float = 0.0,
    first_s: float = 0.0,
    ending: Ending = "complete",
    end_s: float = 0.0,
    until_eof: bool = False,
    connect_s: float = 0.0,
) -> Reply:
    """A streamed answer: the head after ``head_s``, the first piece ``first_s`` later, then one each ``gap_s``."""
    segments = tuple((first_s if n == 0 else gap_s, piece) for n, piece in enumerate(pieces))
    return Reply(
        200, SSE, segments, ending, head_s=head_s, end_s=end_s, until_eof=until_eof, connect_s=connect_s
    )


def whole(
    text: str = "hello", *, usage: tuple[int, int] | None = (10, 5), model: str = "m-1", head_s: float = 0.0
) -> Reply:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        **({"usage": usage_fields(*usage)} if usage else {}),
    }
    return Reply(200, JSON, ((0.0, msgspec.json.encode(body)),), head_s=head_s)


def refuses(
    status: int, *, headers: dict[str, str] | None = None, code: str | None = None, head_s: float = 0.0
) -> Reply:
    body = {"error": {"message": f"said {status}", "type": "error", "param": None, "code": code}}
    return Reply(status, {**JSON, **(headers or {})}, ((0.0, msgspec.json.encode(body)),), head_s=head_s)


def request(
    *,
    stream: bool = True,
    max_tokens: int | None = 100,
    model: str = "chat",
    prompt: str = "hello",
    **more: Any,
) -> bytes:
    fields: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}], **more}
    if stream:
        fields["stream"] = True
    if max_tokens is not None:
        fields["max_tokens"] = max_tokens
    return msgspec.json.encode(fields)


@dataclass
class Heard:
    """A stream as its caller reads it."""

    texts: dict[int, str] = field(default_factory=dict)
    finishes: dict[int, list[str]] = field(default_factory=dict)
    usages: list[tuple[int, int]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    dones: int = 0
    after_end: int = 0
    """Events after the end marker or an error: there may be none."""

    @property
    def text(self) -> str:
        return self.texts.get(0, "")

    @property
    def endings(self) -> int:
        return self.dones + len(self.errors)


def hear(data: bytes) -> Heard:
    """Reads a stream's bytes; every frame must be whole."""
    heard = Heard()
    *frames, rest = data.split(b"\n\n")
    assert rest == b"", f"half an event: {rest!r}"
    for frame in frames:
        if frame.startswith(b": "):
            heard.comments.append(frame[2:].decode())
            continue
        assert frame.startswith(b"data: "), frame
        if heard.endings:
            heard.after_end += 1
        if frame == b"data: [DONE]":
            heard.dones += 1
            continue
        _hear_one(heard, json.loads(frame[6:]))
    return heard


def _hear_one(heard: Heard, value: dict[str, Any]) -> None:
    if "error" in value:
        heard.errors.append(value["error"])
        return
    heard.ids.add(value["id"])
    heard.models.add(value["model"])
    if value.get("usage"):
        heard.usages.append((value["usage"]["prompt_tokens"], value["usage"]["completion_tokens"]))
    for choice in value["choices"]:
        index = choice["index"]
        piece = choice["delta"].get("content") or ""
        if piece and index in heard.finishes:
            raise AssertionError(f"content after the finish reason of choice {index}")
        heard.texts[index] = heard.texts.get(index, "") + piece
        if choice.get("finish_reason"):
            heard.finishes.setdefault(index, []).append(choice["finish_reason"])
