"""Answers and events, as Gemini writes them: every event a whole response, with what was used so far."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos import signature
from holdfast.chaos.plan import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.chaos.answer import Answer, Choice, ToolCall, Usage
    from holdfast.chaos.plan import Kind

__all__ = ["CLOSE", "ISSUER", "as_array", "event", "events", "is_first_generation", "plain"]

ISSUER = "gemini"
CLOSE = b"]"
_encode = msgspec.json.Encoder().encode
_PREFIX, _SUFFIX = b"data: ", b"\r\n\r\n"
_HEAD = b'data: {"candidates":[{"content":{"parts":['
_TEXT = b'{"text":"'
_FINISH = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "stop_sequence": "STOP",
    "content_filter": "SAFETY",
}


def is_first_generation(model: str) -> bool:
    """Whether the model is too old to sign its calls."""
    return model.lower().startswith(("gemini-1", "gemini-2.0"))


def event(data: bytes) -> bytes:
    """One server-sent event."""
    return _PREFIX + data + _SUFFIX


def as_array(parts: Iterable[Part]) -> Iterator[Part]:
    """Events as elements of one JSON array, as they are written where ``alt=sse`` wasn't asked for.

    It stands after the faults, so that these know one framing only; what they spoilt stays spoilt.
    """
    opened = False
    for part in parts:
        data = part.data
        if data.startswith(_PREFIX):
            lead = b",\r\n" if opened else b"["
            data = lead + data[len(_PREFIX) :]
            opened = True
        elif part.kind == "done" and not opened:
            data = b"[" + data
        part.data = data.removesuffix(_SUFFIX)
        yield part


def plain(answer: Answer) -> Part:
    """A whole response."""
    choices = answer.choices
    value = {
        "candidates": [_candidate(choice, i, answer.model) for i, choice in enumerate(choices)],
        "usageMetadata": _usage(answer.usage),
        "modelVersion": answer.model,
        "responseId": answer.id,
    }
    body = _encode(value)
    hidden = sum(choice.hidden for choice in choices)
    said = "".join(choices[0].text)
    at = body.find(_TEXT + _encode(said)[1:]) + len(_TEXT) if said else 0
    return Part(body, "body", answer.usage.completion_tokens - hidden, said, at=at, unseen=hidden)


def events(answer: Answer) -> Iterator[Part]:
    """All events of an answer; of several candidates, the tokens alternate."""
    frame = _Frame(answer)
    running = [_candidate_events(choice, i, answer.model, frame) for i, choice in enumerate(answer.choices)]
    for row in zip_longest(*running):
        yield from filter(None, row)


class _Frame:
    """What stands around the content of each event: names, and what was used so far."""

    def __init__(self, answer: Answer) -> None:
        self._prompt = answer.usage.prompt_tokens
        self._unseen = self._thought = sum(choice.hidden for choice in answer.choices)
        self._said = 0
        self._details = _encode(_prompt_usage(answer.usage))[1:-1]
        self._names = _encode({"modelVersion": answer.model, "responseId": answer.id})[1:]

    def part(
        self,
        inside: bytes,
        index: int,
        kind: Kind,
        tokens: int = 0,
        *,
        said: str = "",
        at: int = 0,
        finish: bytes = b"",
    ) -> Part:
        """An event whose one part is ``inside``, where ``said`` begins at ``at``."""
        if kind == "reasoning":
            self._thought += tokens
        else:
            self._said += tokens
        unseen, self._unseen = self._unseen, 0
        data = b'%b%b],"role":"model"}%b,"index":%d}],"usageMetadata":{%b},%b%b' % (
            _HEAD, inside, finish, index, self._usage(), self._names, _SUFFIX,
        )  # fmt: skip  # reads as the event does
        return Part(data, kind, tokens, said, index, at and at + len(_HEAD), unseen)

    def _usage(self) -> bytes:
        counts = b"%b" % self._details
        if self._said:
            counts += b',"candidatesTokenCount":%d' % self._said
        if self._thought:
            counts += b',"thoughtsTokenCount":%d' % self._thought
        return counts + b',"totalTokenCount":%d' % (self._prompt + self._said + self._thought)


def _candidate_events(choice: Choice, index: int, model: str, frame: _Frame) -> Iterator[Part]:
    if choice.thoughts_shown:
        for token in choice.reasoning:
            inside = b'{"text":' + _encode(token) + b',"thought":true}'
            yield frame.part(inside, index, "reasoning", 1, said=token, at=len(_TEXT))
    for token in choice.text:
        yield frame.part(b'{"text":' + _encode(token) + b"}", index, "text", 1, said=token, at=len(_TEXT))
    calls = _calls(choice, model)
    for call, part in calls:
        yield frame.part(_encode(part), index, "tool", len(call.pieces), said=call.arguments)
    last: dict[str, Any] = {"text": ""}
    if choice.reasoning and not calls:
        last["thoughtSignature"] = signature.made(ISSUER, "text", choice.salt)
    finish = b',"finishReason":' + _encode(_FINISH.get(choice.finish, choice.finish))
    yield frame.part(_encode(last), index, "finish", finish=finish)


def _candidate(choice: Choice, index: int, model: str) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if choice.reasoning and choice.thoughts_shown:
        parts.append({"text": "".join(choice.reasoning), "thought": True})
    calls = _calls(choice, model)
    if choice.text or not calls:
        parts.append({"text": "".join(choice.text)})
        if choice.reasoning and not calls:
            parts[-1]["thoughtSignature"] = signature.made(ISSUER, "text", choice.salt)
    parts += [part for _, part in calls]
    candidate = {
        "content": {"parts": parts, "role": "model"},
        "finishReason": _FINISH.get(choice.finish, choice.finish),
        "index": index,
    }
    if calls and not is_first_generation(model):
        candidate["finishMessage"] = "Model generated function call(s)."
    return candidate


def _calls(choice: Choice, model: str) -> list[tuple[ToolCall, dict[str, Any]]]:
    """Each call with its part; the first one is signed. A call that the output limit cut isn't made."""
    made: list[tuple[ToolCall, dict[str, Any]]] = []
    for call in choice.calls:
        try:
            inside: dict[str, Any] = {"name": call.name, "args": msgspec.json.decode(call.arguments)}
        except msgspec.DecodeError:
            break
        if model.lower().startswith("gemini-3"):
            inside["id"] = call.id
        part: dict[str, Any] = {"functionCall": inside}
        if not made and not is_first_generation(model):
            part["thoughtSignature"] = signature.made(ISSUER, f"call {call.name}", choice.salt)
        made.append((call, part))
    return made


def _prompt_usage(usage: Usage) -> dict[str, Any]:
    said: dict[str, Any] = {
        "promptTokenCount": usage.prompt_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt_tokens}],
    }
    if usage.cached_tokens:
        said["cachedContentTokenCount"] = usage.cached_tokens
        said["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage.cached_tokens}]
    return said


def _usage(usage: Usage) -> dict[str, Any]:
    said = _prompt_usage(usage)
    said["candidatesTokenCount"] = usage.completion_tokens - usage.reasoning_tokens
    if usage.reasoning_tokens:
        said["thoughtsTokenCount"] = usage.reasoning_tokens
    said["totalTokenCount"] = usage.total_tokens
    return said
