"""How callers of two dialects ask and hear, and what the fault table's rows become at providers of other dialects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.e2e.fault_rows import BAD, Pair, broken, fine, limited, once, passed_on, retried

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.http import Answer

__all__ = ["ELSEWHERE", "LANES", "Heard", "Lane", "heard", "question"]


@dataclass(frozen=True)
class Lane:
    """A caller's dialect and a provider's."""

    caller: str
    provider: str
    backed: bool = True
    """Whether the rows run with a second target as well."""

    @property
    def native(self) -> bool:
        return self.caller == self.provider

    @property
    def name(self) -> str:
        return f"{self.caller}-{self.provider}"


LANES = (
    Lane("anthropic", "anthropic"),
    Lane("gemini", "gemini"),
    Lane("anthropic", "gemini", backed=False),
    Lane("gemini", "openai_chat", backed=False),
)


def question(caller: str, model: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """Path and body of a request without anything that some dialect lacks."""
    if caller == "anthropic":
        body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
        return "/v1/messages", {**body, "stream": True} if stream else body
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    return f"/v1beta/models/{model}:{verb}", {
        "contents": contents,
        "generationConfig": {"maxOutputTokens": 64},
    }


@dataclass
class Heard:
    """What the caller's SDK would make of an answer."""

    text: str = ""
    finish: str | None = None
    ended: bool = False
    """The dialect's own end of a whole answer was there."""
    error: dict[str, Any] | None = None
    """The error as it stood in a body or in a stream's event, in the caller's own shape."""
    after: int = 0
    """Events after the error or the end."""


def heard(caller: str, answer: Answer) -> Heard:
    """Reads ``answer`` as ``caller``'s dialect has it; anything else in it is an assertion."""
    said = Heard()
    if answer.status != 200:
        _error(caller, answer.json, said)
        return said
    values = _events(answer.body, named=caller == "anthropic") if answer.streamed else [answer.json]
    for value in values:
        if said.ended or said.error is not None:
            said.after += 1
        if "error" in value:
            _error(caller, value, said)
        else:
            _READERS[caller](value, said, streamed=answer.streamed)
    if caller == "gemini" or not answer.streamed:
        said.ended = said.finish is not None and said.error is None
    return said


def _anthropic(value: dict[str, Any], said: Heard, *, streamed: bool) -> None:
    if not streamed:
        said.text = "".join(block.get("text", "") for block in value["content"])
        said.finish = value["stop_reason"]
        return
    match value["type"]:
        case "content_block_delta":
            said.text += value["delta"].get("text", "")
        case "message_delta":
            said.finish = value["delta"]["stop_reason"]
        case "message_stop":
            said.ended = True


def _gemini(value: dict[str, Any], said: Heard, *, streamed: bool) -> None:
    for candidate in value.get("candidates", ()):
        for part in candidate.get("content", {}).get("parts", ()):
            if not part.get("thought"):
                said.text += part.get("text", "")
        said.finish = candidate.get("finishReason", said.finish)
    if (reason := value.get("promptFeedback", {}).get("blockReason")) is not None:
        said.error = {"blockReason": reason}


def _error(caller: str, value: dict[str, Any], said: Heard) -> None:
    error = value["error"]
    assert isinstance(error["message"], str)
    if caller == "anthropic":
        assert value["type"] == "error"
        assert isinstance(error["type"], str)
    else:
        assert isinstance(error["code"], int)
        assert isinstance(error["status"], str)
    said.error = error


_READERS = {"anthropic": _anthropic, "gemini": _gemini}


def _events(body: bytes, *, named: bool) -> list[Any]:
    """The data of each event, on one line or more, that end with CR LF at Google; nobody's stream ends inside a frame.

    ``named``: Anthropic's SDK passes over events without their own name.
    """
    text = body.decode().replace("\r\n", "\n")
    assert text.endswith("\n\n"), f"the stream ends inside a frame: {text[-80:]!r}"
    values = []
    for lines in (frame.split("\n") for frame in text.split("\n\n")):
        data = [line.removeprefix("data:") for line in lines if line.startswith("data:")]
        if not data:
            continue
        value = json.loads("\n".join(data))
        if not named or f"event: {value['type']}" in lines:
            values.append(value)
    return values


_REFUSED = passed_on("request_refused", 400)
_LATER = once("rate_limited", 429, retry_after="20")
ELSEWHERE: Mapping[tuple[str, str], Pair | None] = {
    # Anthropic says the id and the model once: whoever says them again begins a second message.
    ("anthropic", "id changes"): broken(*BAD),
    ("anthropic", "model changes"): broken(*BAD),
    # Its counts come with the stop reason, in an event that says nothing of them where they are null.
    ("anthropic", "usage: null, streamed"): fine(usage="none"),
    # An answer of no blocks is one, and it has its stop reason.
    ("anthropic", "plain without a choice"): None,
    # And says only in words, which nobody should parse, that it was the prompt's length or its content.
    ("anthropic", "context length"): _REFUSED,
    ("anthropic", "content policy"): _REFUSED,
    ("anthropic", "content filter"): _REFUSED,
    ("anthropic", "error in 200, context"): _REFUSED,
    ("anthropic", "error event at 0, policy"): _REFUSED,
    ("gemini", "context length"): _REFUSED,
    ("gemini", "error in 200, context"): _REFUSED,
    # Blocked prompts are an answer at Google's: `test_a_blocked_prompt`.
    ("gemini", "content policy"): None,
    ("gemini", "content filter"): None,
    ("gemini", "error event at 0, policy"): None,
    # A count that is null reads as zero there, as the format's defaults have it.
    ("gemini", "usage: null"): None,
    ("gemini", "usage: null, streamed"): None,
    # Its 429 says in its body when to come again: 20 s, unless the script says otherwise.
    ("gemini", "429"): _LATER,
    ("gemini", "429, nonsense"): _LATER,
    ("gemini", "429, negative"): limited(retry_after="0"),
    ("gemini", "quota"): once("quota_exhausted", 429, retry_after="20"),
    ("gemini", "rate_limit"): _LATER,
    ("gemini", "tokens_rate_limit"): _LATER,
    ("gemini", "error in 200, 429"): _LATER,
    ("gemini", "error in 200, quota"): once("quota_exhausted", 429, retry_after="20"),
    ("gemini", "error event at 0, 429"): _LATER,
    # Its own word counts, where there is one: an unknown 4xx has INVALID_ARGUMENT, an unknown 5xx INTERNAL.
    ("gemini", "408"): passed_on("request_refused", 408),
    ("gemini", "timeout"): passed_on("request_refused", 408),
    ("gemini", "529"): retried("server_failed"),
    ("gemini", "302"): None,
}
"""By the provider's dialect and the row's name: what becomes of it there, where that differs; None: it isn't run."""
