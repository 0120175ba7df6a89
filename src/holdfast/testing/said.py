"""What a request says of each neutral field, without how it is spelled or cut into messages.

Two requests that say the same of a field give equal values; one that doesn't say it gives an empty one. Defaults that say
nothing (any number of calls in one turn, a schema that needn't be strict) count as not said.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.dialects.calls import with_call_ids, with_call_names
from holdfast.model import (
    Audio,
    File,
    Image,
    Media,
    Message,
    OpaqueTool,
    OutputKind,
    Part,
    Reasoning,
    Refusal,
    Request,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolMode,
    ToolResult,
    Video,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["said", "says"]

_P = TypeVar("_P", bound=Part)
_SYSTEM: Final = (Role.SYSTEM, Role.DEVELOPER)


def says(request: Request, name: str, asked: str) -> bool:
    """Whether ``request`` says anything of the field ``name`` to the dialect ``asked``."""
    return said(request, name, asked) not in (None, ())


def said(request: Request, name: str, asked: str) -> Any:
    """What ``request`` says of the field ``name`` to a provider of the dialect ``asked``, which knows its own signatures."""
    return _SAID[name](request, asked)


def _parts(request: Request, kind: type[_P]) -> Iterator[_P]:
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, kind):
                yield part


def _leading(request: Request) -> tuple[str, ...]:
    texts: list[str] = []
    for message in request.messages:
        if message.role not in _SYSTEM:
            break
        texts += _texts(message)
    return tuple(texts)


def _later(request: Request) -> tuple[str, ...]:
    begun = False
    texts: list[str] = []
    for message in request.messages:
        if message.role not in _SYSTEM:
            begun = True
        elif begun:
            texts += _texts(message)
    return tuple(texts)


def _texts(message: Message) -> list[str]:
    return [part.text for part in message.parts if isinstance(part, Text) and part.text]


def _spoken(request: Request) -> tuple[tuple[Role, str], ...]:
    """Refusals too: a dialect without a field for them says them as text."""
    return tuple(
        (message.role, part.text)
        for message in request.messages
        if message.role not in _SYSTEM
        for part in message.parts
        if isinstance(part, Text | Refusal) and part.text
    )


def _media(kind: type[Media], way: str) -> Callable[[Request, str], Any]:
    def view(request: Request, _: str) -> Any:
        return tuple(
            (part.data, part.media_type) if way == "data" else getattr(part, way)
            for message in request.messages
            for part in message.parts
            if isinstance(part, kind) and getattr(part, way) is not None
        )

    return view


def _own(part: Text | Reasoning | ToolCall, request: Request, asked: str) -> bool:
    return (part.signed_by or request.dialect or asked) == asked


def _proven(part: Reasoning) -> bool:
    return part.signature is not None or part.encrypted is not None


def _thoughts(request: Request, _: str) -> Any:
    """Thoughts that nobody signed, those of one message joined: not every dialect keeps them apart."""
    joined = (
        "".join(part.text for part in message.parts if isinstance(part, Reasoning) and not _proven(part))
        for message in request.messages
    )
    return tuple(text for text in joined if text)


def _signatures(request: Request, asked: str) -> Any:
    return tuple(
        (part.text, part.signature)
        for part in _parts(request, Reasoning)
        if part.signature is not None and _own(part, request, asked)
    )


def _encrypted(request: Request, asked: str) -> Any:
    return tuple(
        part.encrypted
        for part in _parts(request, Reasoning)
        if part.encrypted is not None and _own(part, request, asked)
    )


def _foreign(request: Request, asked: str) -> Any:
    thoughts = [part for part in _parts(request, Reasoning) if _proven(part)]
    texts = [part for part in _parts(request, Text) if part.signature is not None]
    return (
        *((part.signature, part.encrypted) for part in thoughts if not _own(part, request, asked)),
        *((part.signature, None) for part in texts if not _own(part, request, asked)),
    )


def _calls(request: Request, _: str) -> Any:
    return tuple((call.name, _read(call.arguments)) for call in _parts(request, ToolCall))


def _read(arguments: str) -> Any:
    """What the arguments say: dialects that send them as an object don't keep their spelling."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def _parallel(request: Request, _: str) -> Any:
    """The turns of several calls, each with the results that follow, by the number of the call that they answer."""
    complete = with_call_names(with_call_ids(request))
    numbers = {call.id: at for at, call in enumerate(_parts(complete, ToolCall))}
    turns = [
        tuple(numbers[part.id] for part in message.parts if isinstance(part, ToolCall))
        for message in complete.messages
    ]
    several = tuple(turn for turn in turns if len(turn) > 1)
    if not several:
        return ()
    return several, tuple(numbers.get(result.call_id) for result in _parts(complete, ToolResult))


def _results(request: Request, _: str) -> Any:
    """Texts only. A failure that is told in words has them in front (``tool_result.is_error`` is a field of its own)."""
    joined = (
        "".join(part.text for part in result.parts if isinstance(part, Text))
        for result in _parts(request, ToolResult)
    )
    return tuple(text for each in joined if (text := "" if each == "Error" else each.removeprefix("Error: ")))


def _shown(kind: type[Media]) -> Callable[[Request, str], Any]:
    return lambda request, _: tuple(
        (part.data, part.url, part.file_id)
        for result in _parts(request, ToolResult)
        for part in result.parts
        if isinstance(part, kind)
    )


def _marks(request: Request, _: str) -> Any:
    def of(part: Part) -> Iterator[Any]:
        if isinstance(part, ToolResult):
            for inner in part.parts:
                yield inner.cache
        yield part.cache

    marks = [mark for message in request.messages for part in message.parts for mark in of(part)]
    marks += [tool.cache for tool in request.tools if isinstance(tool, Tool)]
    return tuple(mark.ttl or "" for mark in [*marks, request.cache] if mark is not None)


def _mode(mode: ToolMode, *, several: bool = False) -> Callable[[Request, str], Any]:
    def view(request: Request, _: str) -> Any:
        choice = request.tool_choice
        if choice is None or choice.mode is not mode or (len(choice.names) > 1) != several:
            return None
        return tuple(sorted(choice.names)) or mode.value

    return view


def _thinks(request: Request, _: str) -> Any:
    """Where it is said how much to think, that there is to be a thought goes without saying."""
    options = request.reasoning
    if options is None or (options.enabled and (options.effort or options.budget_tokens)):
        return None
    return options.enabled


def _output(kind: OutputKind, take: Callable[[Any], Any]) -> Callable[[Request, str], Any]:
    def view(request: Request, _: str) -> Any:
        return None if request.output is None or request.output.kind is not kind else take(request.output)

    return view


def _sampling(name: str) -> Callable[[Request, str], Any]:
    return lambda request, _: getattr(request.sampling, name)


def _unless(value: Any, default: Any) -> Any:
    return None if value == default else value


_SCHEMA: Final = OutputKind.JSON_SCHEMA
_SAID: Final[Mapping[str, Callable[[Request, str], Any]]] = {
    "system": lambda request, _: texts if len(texts := _leading(request)) == 1 else None,
    "system.several": lambda request, _: texts if len(texts := _leading(request)) > 1 else None,
    "system.later": lambda request, _: _later(request),
    "role.developer": lambda request, _: tuple(
        text for message in request.messages if message.role is Role.DEVELOPER for text in _texts(message)
    ),
    "name": lambda request, _: tuple(message.name for message in request.messages if message.name),
    "text": lambda request, _: _spoken(request),
    "image.data": _media(Image, "data"),
    "image.url": _media(Image, "url"),
    "image.file_id": _media(Image, "file_id"),
    "image.detail": lambda request, _: tuple(
        image.detail for image in _parts(request, Image) if image.detail not in (None, "auto")
    ),
    "audio.data": _media(Audio, "data"),
    "file.data": _media(File, "data"),
    "file.url": _media(File, "url"),
    "file.file_id": _media(File, "file_id"),
    "file.filename": lambda request, _: tuple(
        file.filename for file in _parts(request, File) if file.filename
    ),
    "video.data": _media(Video, "data"),
    "video.url": _media(Video, "url"),
    "refusal": lambda request, _: tuple(part.text for part in _parts(request, Refusal)),
    "citations": lambda request, _: tuple(
        (each.url, each.title, each.cited_text) for text in _parts(request, Text) for each in text.citations
    ),
    "reasoning.text": _thoughts,
    "reasoning.signature": _signatures,
    "reasoning.encrypted": _encrypted,
    "reasoning.foreign": _foreign,
    "tool_call": _calls,
    "tool_call.id": lambda request, _: tuple(call.id for call in _parts(request, ToolCall) if call.id),
    "tool_call.signature": lambda request, asked: tuple(
        call.signature for call in _parts(request, ToolCall) if call.signature and _own(call, request, asked)
    ),
    "tool_calls.parallel": _parallel,
    "tool_result.text": _results,
    "tool_result.image": _shown(Image),
    "tool_result.file": _shown(File),
    "tool_result.is_error": lambda request, _: tuple(
        at for at, result in enumerate(_parts(request, ToolResult)) if result.is_error
    ),
    "cache_control": _marks,
    "tools": lambda request, _: tuple(
        (tool.name, tool.description, tool.parameters) for tool in request.tools if isinstance(tool, Tool)
    ),
    "tools.strict": lambda request, _: tuple(
        tool.name for tool in request.tools if isinstance(tool, Tool) and tool.strict
    ),
    "tools.provider": lambda request, _: tuple(
        tool.data for tool in request.tools if isinstance(tool, OpaqueTool)
    ),
    "tool_choice.auto": _mode(ToolMode.AUTO),
    "tool_choice.none": _mode(ToolMode.NONE),
    "tool_choice.required": _mode(ToolMode.REQUIRED),
    "tool_choice.named": _mode(ToolMode.NAMED),
    "tool_choice.some": _mode(ToolMode.NAMED, several=True),
    "parallel_tool_calls": lambda request, _: False if request.parallel_tool_calls is False else None,
    "output.text": _output(OutputKind.TEXT, lambda _: True),
    "output.json_object": _output(OutputKind.JSON_OBJECT, lambda _: True),
    "output.json_schema": _output(_SCHEMA, lambda output: output.schema),
    "output.name": _output(_SCHEMA, lambda output: output.name),
    "output.strict": _output(_SCHEMA, lambda output: output.strict or None),
    "reasoning.enabled": _thinks,
    "reasoning.effort": lambda request, _: request.reasoning and request.reasoning.effort,
    "reasoning.budget_tokens": lambda request, _: request.reasoning and request.reasoning.budget_tokens,
    "temperature": _sampling("temperature"),
    "top_p": _sampling("top_p"),
    "top_k": _sampling("top_k"),
    "min_p": _sampling("min_p"),
    "frequency_penalty": lambda request, _: _unless(request.sampling.frequency_penalty, 0),
    "presence_penalty": lambda request, _: _unless(request.sampling.presence_penalty, 0),
    "repetition_penalty": lambda request, _: _unless(request.sampling.repetition_penalty, 1),
    "seed": _sampling("seed"),
    "logprobs": lambda request, _: request.sampling.logprobs or None,
    "top_logprobs": _sampling("top_logprobs"),
    "logit_bias": lambda request, _: request.sampling.logit_bias or None,
    "stop": lambda request, _: request.stop,
    "n": lambda request, _: _unless(request.n, 1),
    "max_output_tokens": lambda request, _: request.max_output_tokens,
    "user": lambda request, _: request.user,
    "metadata": lambda request, _: request.metadata or None,
}
