"""OpenAI Chat Completions, the provider's side: requests in; plain answers and events out.

Rule for ``prompt_tokens``: 4 per message, plus the UTF-8 bytes of its text / 4 rounded up, plus 85 per part that is no
text, plus 10 per tool. ``completion_tokens`` is the number of pieces said: reasoning, text and tool arguments.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from holdfast.chaos.plan import Part, Reply
from holdfast.chaos.wire.errors import ErrorBody

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.chaos.answer import Answer, Choice, Usage

__all__ = ["DONE", "ChatRequest", "Refused", "decode", "event", "healthy", "models"]

DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


class Refused(Exception):
    """The caller's mistake, with the error that tells it so."""

    def __init__(self, error: ErrorBody) -> None:
        super().__init__(error.message)
        self.error = error


class _Piece(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Piece] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(piece.text or "" for piece in self.content or ())

    def prompt_tokens(self) -> int:
        others = sum(piece.type != "text" for piece in self.content) if isinstance(self.content, list) else 0
        return 4 + -(-len(self.text.encode("utf-8", "surrogatepass")) // 4) + 85 * others


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _Named(msgspec.Struct):
    name: str


class _ToolChoice(msgspec.Struct):
    type: str
    function: _Named | None = None


class _SchemaFormat(msgspec.Struct):
    schema_: dict[str, Any] | None = msgspec.field(default=None, name="schema")


class _ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _SchemaFormat | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """What must be known of a request; the rest of its body is only written down."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    response_format: _ResponseFormat | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def output_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def last_user_text(self) -> str:
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")

    def prompt_tokens(self) -> int:
        return sum(message.prompt_tokens() for message in self.messages) + 10 * len(self.tools or ())

    def tools_to_call(self, scripted: int | None) -> Sequence[_Function]:
        """The tools that this answer calls: as many as the script says, else one where ``tool_choice`` demands it."""
        known = [tool.function for tool in self.tools or () if tool.function is not None]
        choice = self.tool_choice
        if not known or choice == "none" or scripted == 0:
            return ()
        if isinstance(choice, _ToolChoice) and choice.function is not None:
            named = choice.function.name
            known = [function for function in known if function.name == named]
            return known[:1] * (scripted or 1)
        if scripted is None:
            return known[:1] if choice == "required" or isinstance(choice, _ToolChoice) else ()
        return [known[i % len(known)] for i in range(scripted)]

    def schema_asked(self) -> dict[str, Any] | None:
        if self.response_format is None or self.response_format.type == "text":
            return None
        given = self.response_format.json_schema
        if given is not None and given.schema_ is not None:
            return given.schema_
        return {"type": "object", "properties": {"answer": {"type": "string"}}}


_decoder = msgspec.json.Decoder(ChatRequest)
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def decode(body: bytes) -> ChatRequest:
    """The request in ``body``. Raises :class:`Refused`, which names the field, where it isn't one."""
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Refused(_complaint(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "We could not parse the JSON body of your request."
        raise Refused(ErrorBody(400, "invalid_request_error", None, message)) from None
    if isinstance(request.tool_choice, _ToolChoice) and request.tool_choice.function is not None:
        name = request.tool_choice.function.name
        if all(tool.function is None or tool.function.name != name for tool in request.tools or ()):
            message = f"Tool choice function {name!r} is not among 'tools'."
            raise Refused(ErrorBody(400, "invalid_request_error", None, message, "tool_choice"))
    return request


def _complaint(text: str) -> ErrorBody:
    found = _PATH.search(text)
    path = found["path"] if found else ""
    if missing := _MISSING.search(text):
        param = ".".join(filter(None, (path, missing["field"])))
        message = f"Missing required parameter: '{param}'."
        return ErrorBody(400, "invalid_request_error", "missing_required_parameter", message, param)
    message = f"Invalid value for '{path}': {_PATH.sub('', text)}."
    return ErrorBody(400, "invalid_request_error", "invalid_value", message, path or None)


def models(names: Sequence[str]) -> bytes:
    """The body of ``GET /v1/models``."""
    rows = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "chaos"} for name in names]
    return _encode({"object": "list", "data": rows})


def healthy(answer: Answer, *, stream: bool, include_usage: bool) -> Reply:
    """The reply to a request when nothing goes wrong."""
    if stream:
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        parts = _events(answer, include_usage=include_usage)
        return Reply(200, headers, parts, early_head=True, billing="served")
    value = _plain(answer)
    body = _encode(value)
    part = Part(body, "body", answer.usage.completion_tokens, value["choices"][0]["message"]["content"] or "")
    return Reply(200, {"content-type": "application/json"}, (part,), length=len(body), billing="whole")


def event(value: Any) -> bytes:
    """One server-sent event with ``value`` as its JSON."""
    return b"data: " + _encode(value) + b"\n\n"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _plain(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            {"index": i, "message": _message(choice), "logprobs": None, "finish_reason": choice.finish}
            for i, choice in enumerate(answer.choices)
        ],
        "usage": _usage(answer.usage),
        "service_tier": "default",
        "system_fingerprint": "fp_chaos",
    }


def _message(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.text), "refusal": None}
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["content"] = None
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.pieces)},
            }
            for call in choice.calls
        ]
    return message


def _events(answer: Answer, *, include_usage: bool) -> Iterator[Part]:
    """All events of an answer; of several choices, the tokens alternate as they do at a provider."""
    head = _encode(
        {
            "id": answer.id,
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model,
            "service_tier": "default",
            "system_fingerprint": "fp_chaos",
        }
    )[:-1]
    tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
    if len(answer.choices) == 1:
        yield from _choice_events(answer.choices[0], 0, head, tail)
    else:
        running = [_choice_events(choice, i, head, tail) for i, choice in enumerate(answer.choices)]
        for row in zip_longest(*running):
            yield from filter(None, row)
    if include_usage:
        usage = b"data: " + head + b',"choices":[],"usage":' + _encode(_usage(answer.usage)) + b"}\n\n"
        yield Part(usage, "usage")
    yield Part(DONE, "done")


def _choice_events(choice: Choice, index: int, head: bytes, tail: bytes) -> Iterator[Part]:
    before = b"data: " + head + b',"choices":[{"index":%d,"delta":' % index
    after = b',"logprobs":null,"finish_reason":null}]' + tail
    opening = b'{"role":"assistant","content":null}' if choice.calls else b'{"role":"assistant","content":""}'
    yield Part(before + opening + after, "role", choice=index)
    for token in choice.reasoning:
        data = before + b'{"reasoning_content":' + _encode(token) + b"}" + after
        yield Part(data, "reasoning", 1, token, index)
    text_before = before + b'{"content":'
    text_after = b"}" + after
    for token in choice.text:
        yield Part(text_before + _encode(token) + text_after, "text", 1, token, index)
    for i, call in enumerate(choice.calls):
        opened = {
            "index": i,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield Part(before + _encode({"tool_calls": [opened]}) + after, "tool", choice=index)
        for piece in call.pieces:
            delta = _encode({"tool_calls": [{"index": i, "function": {"arguments": piece}}]})
            yield Part(before + delta + after, "tool", 1, piece, index)
    finish = before + b'{},"logprobs":null,"finish_reason":' + _encode(choice.finish) + b"}]" + tail
    yield Part(finish, "finish", choice=index)
