"""Requests of OpenAI Chat Completions.

Rule for ``prompt_tokens``, of every wire: 4 per message, plus the UTF-8 bytes of its text / 4 rounded up, plus 85 per part
that is no text, plus 10 per tool. ``completion_tokens`` is the number of pieces said: reasoning, text and tool arguments.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec

from holdfast.chaos import signature
from holdfast.chaos.wire.base import MESSAGE_TOKENS, PART_TOKENS, TOOL_TOKENS, Asked, Tool, text_tokens
from holdfast.chaos.wire.errors import Problem, Refused
from holdfast.chaos.wire.media import data_url, inline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.chaos.wire.base import Media

__all__ = ["decoded", "read"]

T = TypeVar("T")


class _Address(msgspec.Struct):
    url: str


class _File(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None


class _Audio(msgspec.Struct):
    data: str
    format: str


class _Piece(msgspec.Struct):
    type: str
    text: str | None = None
    image_url: _Address | None = None
    file: _File | None = None
    input_audio: _Audio | None = None


class _Call(msgspec.Struct):
    id: str


class _Detail(msgspec.Struct):
    type: str
    text: str | None = None
    signature: str | None = None
    index: int | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Piece] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    reasoning_details: list[_Detail] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(piece.text or "" for piece in self.content or ())

    def prompt_tokens(self) -> int:
        others = sum(piece.type != "text" for piece in self.content) if isinstance(self.content, list) else 0
        return MESSAGE_TOKENS + text_tokens(self.text) + PART_TOKENS * others


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
    stop: str | Annotated[list[str], msgspec.Meta(max_length=4)] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _ResponseFormat | None = None


_decoder = msgspec.json.Decoder(ChatRequest)
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")


def decoded(body: bytes, model: str | None, decoder: msgspec.json.Decoder[T]) -> T:
    """``body`` as ``decoder`` reads it, with the path's ``model`` in place of its own. Raises :class:`Refused`."""
    try:
        if model is None:
            return decoder.decode(body)
        value = msgspec.json.decode(body)
        named = {**value, "model": model} if isinstance(value, dict) else value
        return msgspec.convert(named, decoder.type)
    except msgspec.ValidationError as error:
        raise Refused(_complaint(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(Problem(400, message="We could not parse the JSON body of your request.")) from None


def read(body: bytes, model: str | None) -> Asked:
    """What ``body`` asks for. Raises :class:`Refused`, which names the field, where it isn't a request.

    ``model``: what the path says; it goes before the body's.
    """
    request = decoded(body, model, _decoder)
    _check_conversation(request.messages)
    _check_signatures(request.messages)
    choice, names = _choice(request)
    return Asked(
        model=request.model,
        stream=bool(request.stream),
        last_user_text=next((m.text for m in reversed(request.messages) if m.role == "user"), ""),
        prompt_tokens=sum(m.prompt_tokens() for m in request.messages)
        + TOOL_TOKENS * len(request.tools or ()),
        include_usage=request.stream_options is not None and bool(request.stream_options.include_usage),
        limit=request.max_completion_tokens or request.max_tokens,
        choices=request.n or 1,
        stop=_stop(request.stop),
        tools=tuple(
            Tool(tool.function.name, tool.function.parameters)
            for tool in request.tools or ()
            if tool.function is not None
        ),
        tool_choice=choice,
        tool_names=names,
        parallel=request.parallel_tool_calls is not False,
        schema=_schema(request.response_format),
        media=tuple(_media(request.messages)),
    )


def _stop(given: str | list[str] | None) -> tuple[str, ...]:
    words = [given] if isinstance(given, str) else given or []
    return tuple(filter(None, words))


def _choice(request: ChatRequest) -> tuple[Literal["auto", "none", "any"], tuple[str, ...] | None]:
    given = request.tool_choice
    if isinstance(given, _ToolChoice):
        if given.function is None:
            return "any", None
        name = given.function.name
        if all(tool.function is None or tool.function.name != name for tool in request.tools or ()):
            message = f"Tool choice function {name!r} is not among 'tools'."
            raise Refused(Problem(400, message=message, param="tool_choice"))
        return "any", (name,)
    return ("none" if given == "none" else "any" if given == "required" else "auto"), None


def _schema(asked: _ResponseFormat | None) -> dict[str, Any] | None:
    if asked is None or asked.type == "text":
        return None
    if asked.json_schema is not None and asked.json_schema.schema_ is not None:
        return asked.json_schema.schema_
    return {"type": "object", "properties": {"answer": {"type": "string"}}}


def _check_conversation(messages: list[_Message]) -> None:
    """Calls and their results belong together."""
    open_calls: set[str] = set()
    for i, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id is None:
                raise Refused(_missing(f"messages[{i}].tool_call_id"))
            if message.tool_call_id not in open_calls:
                text = (
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message "
                    "with 'tool_calls'."
                )
                raise Refused(Problem(400, message=text, param=f"messages.[{i}].role"))
            open_calls.discard(message.tool_call_id)
            continue
        _none_left(open_calls, i)
        open_calls = {call.id for call in message.tool_calls or ()} if message.role == "assistant" else set()
    _none_left(open_calls, len(messages))


def _check_signatures(messages: list[_Message]) -> None:
    """OpenRouter's thoughts come back in one piece or in those of a stream; each one's pieces share an index."""
    for i, message in enumerate(messages):
        thoughts: dict[int | None, list[_Detail]] = {}
        for detail in message.reasoning_details or ():
            thoughts.setdefault(detail.index, []).append(detail)
        for pieces in thoughts.values():
            text = "".join(piece.text or "" for piece in pieces)
            given = next((piece.signature for piece in reversed(pieces) if piece.signature), None)
            if given is not None and not signature.holds("openrouter", text, given):
                param = f"messages[{i}].reasoning_details"
                raise Refused(Problem(400, message="Invalid `signature` in `thinking` block", param=param))


def _none_left(calls: set[str], at: int) -> None:
    if calls:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            "'tool_call_id'. The following tool_call_ids did not have response messages: "
        )
        raise Refused(Problem(400, message=text + ", ".join(sorted(calls)), param=f"messages.[{at}].role"))


def _media(messages: list[_Message]) -> Iterator[Media]:
    for i, message in enumerate(messages):
        for j, piece in enumerate(message.content if isinstance(message.content, list) else ()):
            try:
                yield from _brought(piece)
            except ValueError as error:
                param = f"messages[{i}].content[{j}]"
                problem = Problem(
                    400, message=f"Invalid {piece.type}: {error}.", param=param, code="invalid_value"
                )
                raise Refused(problem) from None


def _brought(piece: _Piece) -> Iterator[Media]:
    if piece.image_url is not None:
        yield data_url("image", piece.image_url.url)
    elif piece.file is not None:
        yield data_url("file", piece.file.file_data or piece.file.file_id or "")
    elif piece.input_audio is not None:
        yield inline("audio", f"audio/{piece.input_audio.format}", piece.input_audio.data)


def _missing(param: str) -> Problem:
    message = f"Missing required parameter: '{param}'."
    return Problem(400, message=message, param=param, code="missing_required_parameter")


def _complaint(text: str) -> Problem:
    found = _PATH.search(text)
    path = found["path"] if found else ""
    if missing := _MISSING.search(text):
        return _missing(".".join(filter(None, (path, missing["field"]))))
    message = f"Invalid value for '{path}': {_PATH.sub('', text)}."
    return Problem(400, message=message, param=path or None, code="invalid_value")
