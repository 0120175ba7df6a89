"""Evidence, not product: Anthropic's and Gemini's answers as neutral events, with as little code as shows that they fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from holdfast.model import (
    BlockStarted,
    ChoiceLeftover,
    ChoiceStarted,
    Citation,
    CitationDelta,
    Ended,
    Event,
    Finish,
    Finished,
    FinishReason,
    Image,
    Opaque,
    OpaqueDelta,
    Part,
    Ping,
    Reasoning,
    ReasoningDelta,
    SignatureDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ANTHROPIC_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
    "pause_turn": FinishReason.PAUSE,
}
GEMINI_REASONS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": FinishReason.OTHER,
}


def anthropic(answer: dict[str, Any]) -> Iterator[Event]:
    """A whole answer, told as the stream it could have been."""
    left = dict(answer)
    yield Started(id=left.pop("id"), model=left.pop("model"), dialect="anthropic")
    yield ChoiceStarted(choice=0)
    for key, block in enumerate(left.pop("content")):
        yield BlockStarted(choice=0, key=key, part=_anthropic_block(block))
    yield UsageReported(usage=_anthropic_usage(left.pop("usage")))
    word = left.pop("stop_reason")
    yield Started(extra=left)
    yield Finished(choice=0, finish=Finish(ANTHROPIC_REASONS[word], word))
    yield Ended()


def anthropic_stream(events: list[dict[str, Any]]) -> Iterator[Event]:
    usage: dict[str, Any] = {}
    opaque: set[int] = set()
    for event in events:
        key = event.get("index", 0)
        match event["type"]:
            case "message_start":
                left = dict(event["message"])
                yield Started(id=left.pop("id"), model=left.pop("model"), dialect="anthropic")
                yield ChoiceStarted(choice=0)
                usage |= left.pop("usage")
                yield Started(extra={k: v for k, v in left.items() if k not in ("content", "stop_reason")})
            case "content_block_start":
                part = _anthropic_block(event["content_block"])
                if isinstance(part, Opaque):
                    opaque.add(key)
                yield BlockStarted(choice=0, key=key, part=part)
            case "content_block_delta":
                yield _anthropic_delta(key, event["delta"], opaque=key in opaque)
            case "message_delta":
                usage |= event["usage"]
                yield UsageReported(usage=_anthropic_usage(usage))
                delta = dict(event["delta"])
                word = delta.pop("stop_reason")
                yield Started(extra=delta)
                yield Finished(choice=0, finish=Finish(ANTHROPIC_REASONS[word], word))
            case "message_stop":
                yield Ended()
            case _:
                yield Ping()


def _anthropic_delta(key: int, delta: dict[str, Any], *, opaque: bool) -> Event:
    match delta["type"]:
        case "text_delta":
            return TextDelta(choice=0, key=key, text=delta["text"])
        case "thinking_delta":
            return ReasoningDelta(choice=0, key=key, text=delta["thinking"])
        case "signature_delta":
            return SignatureDelta(choice=0, key=key, signature=delta["signature"])
        case "citations_delta":
            return CitationDelta(choice=0, key=key, citation=_anthropic_citation(delta["citation"]))
        case "input_json_delta" if not opaque:
            return ToolCallDelta(choice=0, key=key, arguments=delta["partial_json"])
        case _:
            return OpaqueDelta(choice=0, key=key, data={"partial_json": delta["partial_json"]})


def _anthropic_block(block: dict[str, Any]) -> Part:
    left = {name: value for name, value in block.items() if name != "type"}
    match block["type"]:
        case "text":
            citations = tuple(_anthropic_citation(each) for each in left.pop("citations", None) or ())
            return Text(text=left.pop("text"), citations=citations, extra=left)
        case "thinking":
            return Reasoning(text=left.pop("thinking"), signature=left.pop("signature") or None, extra=left)
        case "redacted_thinking":
            return Reasoning(encrypted=left.pop("data"), extra=left)
        case "tool_use":
            arguments = left.pop("input")
            text = json.dumps(arguments, ensure_ascii=False) if arguments else ""
            return ToolCall(id=left.pop("id"), name=left.pop("name"), arguments=text, extra=left)
        case _:
            return Opaque(dialect="anthropic", data=block)


def _anthropic_citation(citation: dict[str, Any]) -> Citation:
    left = dict(citation)
    known = {ours: left.pop(theirs, None) for ours, theirs in (("url", "url"), ("title", "title"))}
    return Citation(**known, cited_text=left.pop("cited_text", None), extra=left)


def _anthropic_usage(usage: dict[str, Any]) -> Usage:
    left = dict(usage)
    read, written = left.pop("cache_read_input_tokens", 0), left.pop("cache_creation_input_tokens", 0)
    details = left.pop("output_tokens_details", None) or {}
    return Usage(
        input_tokens=left.pop("input_tokens") + read + written,
        cache_read_tokens=read,
        cache_write_tokens=written,
        output_tokens=left.pop("output_tokens"),
        reasoning_tokens=details.get("thinking_tokens"),
        extra=left,
    )


def gemini(chunks: list[dict[str, Any]]) -> Iterator[Event]:
    """A whole answer is a stream of one chunk. Parts have no numbers: a part goes on while its kind stays the same."""
    key, kind = -1, ""
    for chunk in chunks:
        left = dict(chunk)
        candidates, usage = left.pop("candidates", []), left.pop("usageMetadata", None)
        yield Started(
            id=left.pop("responseId", ""), model=left.pop("modelVersion", ""), dialect="gemini", extra=left
        )
        for candidate in candidates:
            rest = dict(candidate)
            index = rest.pop("index", 0)
            yield ChoiceStarted(choice=index)
            content = dict(rest.pop("content", {}))
            for raw in content.get("parts", []):
                part = dict(raw)
                now = "thought" if part.get("thought") else next(iter(part))
                if now != kind or now not in ("text", "thought"):
                    key, kind = key + 1, now
                    yield BlockStarted(choice=index, key=key, part=_gemini_part(part))
                    continue
                text = part.pop("text")
                part.pop("thought", None)
                more = ReasoningDelta if now == "thought" else TextDelta
                yield more(choice=index, key=key, text=text)
                if signature := part.pop("thoughtSignature", None):
                    yield SignatureDelta(choice=index, key=key, signature=signature)
                assert not part
            word = rest.pop("finishReason", None)
            yield ChoiceLeftover(choice=index, extra=rest)
            if word:
                yield Finished(choice=index, finish=Finish(GEMINI_REASONS[word], word))
        if usage is not None:
            yield UsageReported(usage=_gemini_usage(usage))
    yield Ended()


def _gemini_part(part: dict[str, Any]) -> Part:
    signature = part.pop("thoughtSignature", None)
    match part:
        case {"thought": True, "text": text}:
            return Reasoning(text=text, summary=True, signature=signature)
        case {"text": text}:
            return Text(text=text, signature=signature)
        case {"functionCall": call}:
            arguments = json.dumps(call.get("args", {}), ensure_ascii=False)
            return ToolCall(id=call.get("id"), name=call["name"], arguments=arguments, signature=signature)
        case {"inlineData": {"mimeType": media_type, "data": data}} if media_type.startswith("image/"):
            return Image(data=data, media_type=media_type)
        case _:
            return Opaque(
                dialect="gemini", data=part | ({"thoughtSignature": signature} if signature else {})
            )


def _gemini_usage(usage: dict[str, Any]) -> Usage:
    left = dict(usage)
    thoughts, said = left.pop("thoughtsTokenCount", None), left.pop("candidatesTokenCount", None)
    return Usage(
        input_tokens=left.pop("promptTokenCount", None),
        cache_read_tokens=left.pop("cachedContentTokenCount", None),
        output_tokens=None if said is None and thoughts is None else (said or 0) + (thoughts or 0),
        reasoning_tokens=thoughts,
        extra=left,
    )
