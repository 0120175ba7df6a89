"""One way to ask each wire on a bare socket, and to read what it says without the product or an SDK."""

import json
from dataclasses import dataclass
from typing import Any

from tests.unit.chaos.raw import Seen, receive, send

TOKENS = 5


@dataclass(frozen=True)
class Speaker:
    """A client that knows just enough of one format."""

    name: str
    plain_path: str
    stream_path: str
    headers: dict[str, str]
    end: str | None
    """The last event of a whole stream, where there is an end marker."""
    error_at: str = "error"

    def ask(self, port: int, prompt: str = "hi", *, stream: bool = False, **more: Any) -> Seen:
        path = self.stream_path if stream else self.plain_path
        with send(port, self.body(prompt, stream=stream, **more), path=path, **self.headers) as sock:
            return receive(sock)

    def body(self, prompt: str, *, stream: bool, **more: Any) -> bytes:
        if self.name.startswith("gemini"):
            value: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
        elif self.name == "openai_responses":
            value = {"model": "m", "stream": stream, "input": [{"role": "user", "content": prompt}]}
        else:
            value = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]}
            if self.name == "anthropic":
                value["max_tokens"] = 1000
            else:
                value["stream_options"] = {"include_usage": True} if stream else None
        return json.dumps({**value, **more}).encode()

    def events(self, seen: Seen) -> list[Any]:
        """Each event's JSON, or its text where it isn't JSON."""
        text = seen.body.decode("utf-8", "replace").replace("\r\n", "\n")
        if self.name == "gemini array":
            return json.loads(text)
        return [_payload(event) for event in text.split("\n\n") if event and not event.startswith(":")]

    def text(self, value: Any) -> str:
        """What a plain answer or an event says."""
        if not isinstance(value, dict):
            return ""
        match self.name:
            case "anthropic":
                delta = value.get("delta") or {}
                return delta.get("text") or "".join(b.get("text", "") for b in value.get("content", ()))
            case "openai_chat":
                choice = (value.get("choices") or [{}])[0]
                return (choice.get("delta") or choice.get("message") or {}).get("content") or ""
            case "openai_responses":
                items = value.get("output") or ()
                parts = [
                    part for item in items for part in item.get("content", ()) if item["type"] == "message"
                ]
                delta = value.get("delta", "") if value.get("type") == "response.output_text.delta" else ""
                return delta + "".join(part["text"] for part in parts)
        candidate = (value.get("candidates") or [{}])[0]
        return "".join(part.get("text") or "" for part in candidate.get("content", {}).get("parts", ()))

    def finishes(self, values: list[Any]) -> list[str]:
        """The finish reasons that were told."""
        found = [_finish(value) for value in values if isinstance(value, dict)]
        return [reason for reason in found if reason]

    def said(self, seen: Seen) -> str:
        return "".join(map(self.text, self.events(seen)))


def _finish(value: dict[str, Any]) -> str | None:
    inner = value["delta"] if isinstance(value.get("delta"), dict) else {}
    response = value.get("response") or value
    status = response.get("status")
    first = (value.get("choices") or value.get("candidates") or [{}])[0]
    return (
        value.get("stop_reason")
        or inner.get("stop_reason")
        or first.get("finish_reason")
        or first.get("finishReason")
        or (status if status in ("completed", "incomplete") else None)
    )


def _payload(event: str) -> Any:
    lines = [line for line in event.split("\n") if not line.startswith(("event:", ":"))]
    text = "\n".join(lines).removeprefix("data: ")
    try:
        return json.loads(text)
    except ValueError:
        return text


_VERSION = {"anthropic-version": "2023-06-01"}
SPEAKERS = {
    "openai_chat": Speaker("openai_chat", "/v1/chat/completions", "/v1/chat/completions", {}, "[DONE]"),
    "deepseek": Speaker("openai_chat", "/chat/completions", "/chat/completions", {}, "[DONE]"),
    "openrouter": Speaker(
        "openai_chat", "/api/v1/chat/completions", "/api/v1/chat/completions", {}, "[DONE]"
    ),
    "responses": Speaker("openai_responses", "/v1/responses", "/v1/responses", {}, None),
    "anthropic": Speaker("anthropic", "/v1/messages", "/v1/messages", _VERSION, "message_stop"),
    "gemini": Speaker(
        "gemini",
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        {},
        None,
    ),
    "gemini array": Speaker(
        "gemini array", "/v1/models/m:generateContent", "/v1/models/m:streamGenerateContent", {}, None
    ),
}
