"""A Hypothesis strategy for requests that say anything that can be asked, a few things at a time.

:func:`holdfast.testing.strategies.requests` has what every dialect is asked most; here each field of the neutral vocabulary
comes up as often as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.model import (
    Audio,
    CacheMark,
    Citation,
    File,
    Image,
    Message,
    OpaqueTool,
    OutputFormat,
    OutputKind,
    Part,
    Reasoning,
    ReasoningOptions,
    Refusal,
    Request,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
    Video,
)
from holdfast.testing.strategies import base64_texts, names, texts, urls

__all__ = ["ADDITIONS", "conversations"]

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]
Addition: TypeAlias = Callable[[Draw, Request], Request]

_DIALECTS: Final = st.sampled_from(["openai_chat", "anthropic", "gemini", "elsewhere"])
_ARGUMENTS: Final = st.sampled_from(["{}", '{"city": "Zürich", "n": 1.50}', '{"a":[1,{"b":null}]}'])
_SHARE: Final = st.floats(0, 1)
_MARKS: Final = st.sampled_from([CacheMark(), CacheMark(ttl="5m"), CacheMark(ttl="1h")])
_EXAMPLE: Final = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@st.composite
def conversations(draw: Draw, most: int = 4) -> Request:
    """Requests built by hand: a few turns of text, and up to ``most`` other fields of the neutral vocabulary."""
    request = Request(model=draw(names()), messages=(_user(draw(texts())),))
    if draw(st.booleans()):
        request = _turns(request, _model(Text(text=draw(texts()))), _user(draw(texts())))
    for name in sorted(draw(st.sets(st.sampled_from(sorted(ADDITIONS)), max_size=most))):
        request = ADDITIONS[name](draw, request)
    return request


def _user(text: str, *parts: Part) -> Message:
    return Message(role=Role.USER, parts=(Text(text=text), *parts))


def _model(*parts: Part) -> Message:
    return Message(role=Role.ASSISTANT, parts=parts)


def _turns(request: Request, *messages: Message) -> Request:
    return replace(request, messages=(*request.messages, *messages))


def _system(role: Role, least: int, most: int) -> Addition:
    def add(draw: Draw, request: Request) -> Request:
        said = draw(st.lists(texts(), min_size=least, max_size=most))
        systems = (Message(role=role, parts=(Text(text=text),)) for text in said)
        return replace(request, messages=(*systems, *request.messages))

    return add


def _later(draw: Draw, request: Request) -> Request:
    return _turns(request, Message(role=Role.SYSTEM, parts=(Text(text=draw(texts())),)), _user(draw(texts())))


def _named(draw: Draw, request: Request) -> Request:
    return _turns(request, replace(_user(draw(texts())), name=draw(names())))


def _shown(part: st.SearchStrategy[Part]) -> Addition:
    return lambda draw, request: _turns(request, _user(draw(texts()), draw(part)))


def _answered(part: st.SearchStrategy[Part], *, alone: bool = False) -> Addition:
    """A turn of the model's that begins with ``part``, and the next of the user's."""

    def add(draw: Draw, request: Request) -> Request:
        said = () if alone else (Text(text=draw(texts())),)
        return _turns(request, _model(draw(part), *said), _user(draw(texts())))

    return add


def _thought_before_a_call(draw: Draw, request: Request) -> Request:
    return _called(draw, request, first=(Reasoning(text=draw(texts())),))


def _one_call(draw: Draw, request: Request) -> Request:
    return _called(draw, request)


def _calls(draw: Draw, request: Request) -> Request:
    return _called(draw, request, count=draw(st.integers(2, 3)))


def _signed_call(draw: Draw, request: Request) -> Request:
    signed_by = draw(st.none() | _DIALECTS)
    return _called(
        draw, request, change=lambda call: replace(call, signature=draw(base64_texts()), signed_by=signed_by)
    )


def _called(
    draw: Draw,
    request: Request,
    *,
    count: int = 1,
    first: tuple[Part, ...] = (),
    change: Callable[[ToolCall], ToolCall] = lambda call: call,
    result: Callable[[ToolResult], ToolResult] = lambda result: result,
) -> Request:
    """A turn of calls, their results in any order, and the user's next turn. Several calls may be of one tool."""
    made = sum(isinstance(part, ToolCall) for message in request.messages for part in message.parts)
    calls = [
        change(ToolCall(id=f"call_{made + at}", name=draw(st.sampled_from("fg")), arguments=draw(_ARGUMENTS)))
        for at in range(count)
    ]
    results = [
        result(ToolResult(call_id=call.id, name=call.name, parts=(Text(text=f"result {draw(texts())}"),)))
        for call in draw(st.permutations(calls))
    ]
    said = [Message(role=Role.TOOL, parts=(each,)) for each in results]
    request = _turns(request, _model(*first, *calls), *said, _user(draw(texts())))
    return request if request.tools else _with_tools(request, "f", "g")


def _resulted(part: st.SearchStrategy[Any]) -> Addition:
    def add(draw: Draw, request: Request) -> Request:
        return _called(
            draw, request, result=lambda result: replace(result, parts=(*result.parts, draw(part)))
        )

    return add


def _failed(draw: Draw, request: Request) -> Request:
    return _called(draw, request, result=lambda result: replace(result, is_error=True))


def _marked(draw: Draw, request: Request) -> Request:
    mark = draw(_MARKS)
    match draw(st.sampled_from(["text", "tool", "call", "result", "inner", "request"])):
        case "text":
            return _turns(request, Message(role=Role.USER, parts=(Text(text=draw(texts()), cache=mark),)))
        case "tool":
            return replace(
                request, tools=(*request.tools, Tool(name="marked", parameters=_EXAMPLE, cache=mark))
            )
        case "call":
            return _called(draw, request, change=lambda call: replace(call, cache=mark))
        case "result":
            return _called(draw, request, result=lambda result: replace(result, cache=mark))
        case "inner":
            inner = (Text(text="result", cache=mark),)
            return _called(draw, request, result=lambda result: replace(result, parts=inner))
        case _:
            return replace(request, cache=mark)


def _with_tools(request: Request, *called: str) -> Request:
    return replace(request, tools=tuple(Tool(name=name, parameters=_EXAMPLE) for name in called))


def _tools(draw: Draw, request: Request) -> Request:
    tool = Tool(name="described", description=draw(st.none() | texts()), parameters=_EXAMPLE)
    return replace(request, tools=(*request.tools, tool))


def _strict(draw: Draw, request: Request) -> Request:
    tool = Tool(name="strict", parameters=_EXAMPLE, strict=draw(st.booleans()))
    return replace(request, tools=(*request.tools, tool))


def _ran_elsewhere(_: Draw, request: Request) -> Request:
    return replace(request, tools=(*request.tools, OpaqueTool(dialect="elsewhere", data={"type": "browser"})))


def _choice(mode: ToolMode, *chosen: str) -> Addition:
    def add(_: Draw, request: Request) -> Request:
        request = request if request.tools else _with_tools(request, "f", "g", "h")
        if (
            mode is ToolMode.NONE
        ):  # then how many at once is no question, and not every dialect takes an answer to it
            request = replace(request, parallel_tool_calls=None)
        return replace(request, tool_choice=ToolChoice(mode=mode, names=chosen))

    return add


def _one_at_a_time(draw: Draw, request: Request) -> Request:
    request = request if request.tools else _with_tools(request, "f")
    return replace(request, parallel_tool_calls=draw(st.booleans()))


def _output(**fields: st.SearchStrategy[Any]) -> Addition:
    def add(draw: Draw, request: Request) -> Request:
        return replace(request, output=OutputFormat(**{name: draw(each) for name, each in fields.items()}))

    return add


def _schema(**fields: st.SearchStrategy[Any]) -> Addition:
    return _output(kind=st.just(OutputKind.JSON_SCHEMA), schema=st.just(_EXAMPLE), **fields)


def _thinking(**fields: st.SearchStrategy[Any]) -> Addition:
    def add(draw: Draw, request: Request) -> Request:
        options = ReasoningOptions(**{name: draw(each) for name, each in fields.items()})
        return replace(request, reasoning=options)

    return add


def _sampling(**fields: st.SearchStrategy[Any]) -> Addition:
    def add(draw: Draw, request: Request) -> Request:
        drawn = {name: draw(each) for name, each in fields.items()}
        return replace(request, sampling=replace(request.sampling, **drawn))

    return add


def _field(**fields: st.SearchStrategy[Any]) -> Addition:
    def add(draw: Draw, request: Request) -> Request:
        return replace(request, **{name: draw(each) for name, each in fields.items()})

    return add


_PNG: Final = st.just("image/png")
_PDF: Final = st.just("application/pdf")
_IMAGES: Final = st.builds(Image, data=base64_texts(), media_type=_PNG)
_FILES: Final = st.builds(File, data=base64_texts(), media_type=_PDF)
_SIGNERS: Final = st.none() | _DIALECTS

ADDITIONS: Final[Mapping[str, Addition]] = {
    "system": _system(Role.SYSTEM, 1, 1),
    "system.several": _system(Role.SYSTEM, 2, 3),
    "system.later": _later,
    "role.developer": _system(Role.DEVELOPER, 1, 1),
    "name": _named,
    "image.data": _shown(_IMAGES),
    "image.url": _shown(st.builds(Image, url=urls())),
    "image.file_id": _shown(st.builds(Image, file_id=names())),
    "image.detail": _shown(st.builds(Image, url=urls(), detail=st.sampled_from(["auto", "low", "high"]))),
    "audio.data": _shown(
        st.builds(Audio, data=base64_texts(), media_type=st.sampled_from(["audio/wav", "audio/mpeg"]))
    ),
    "file.data": _shown(_FILES),
    "file.url": _shown(st.builds(File, url=urls(), media_type=_PDF)),
    "file.file_id": _shown(st.builds(File, file_id=names())),
    "file.filename": _shown(st.builds(File, data=base64_texts(), media_type=_PDF, filename=st.just("a.pdf"))),
    "video.data": _shown(st.builds(Video, data=base64_texts(), media_type=st.just("video/mp4"))),
    "video.url": _shown(st.builds(Video, url=urls())),
    "refusal": _answered(st.builds(Refusal, text=texts()), alone=True),
    "citations": _answered(
        st.builds(
            Text,
            text=texts(),
            citations=st.tuples(st.builds(Citation, url=urls(), title=texts(), cited_text=texts())),
        ),
        alone=True,
    ),
    "reasoning.text": _thought_before_a_call,
    "reasoning.signature": _answered(st.builds(Reasoning, text=texts(), signature=base64_texts())),
    "reasoning.encrypted": _answered(st.builds(Reasoning, encrypted=base64_texts(), signed_by=_SIGNERS)),
    "reasoning.foreign": _answered(
        st.builds(Reasoning, text=texts(), signature=base64_texts(), signed_by=_DIALECTS)
    ),
    "tool_call": _one_call,
    "tool_call.signature": _signed_call,
    "tool_calls.parallel": _calls,
    "tool_result.image": _resulted(_IMAGES),
    "tool_result.file": _resulted(_FILES),
    "tool_result.is_error": _failed,
    "cache_control": _marked,
    "tools": _tools,
    "tools.strict": _strict,
    "tools.provider": _ran_elsewhere,
    "tool_choice.auto": _choice(ToolMode.AUTO),
    "tool_choice.none": _choice(ToolMode.NONE),
    "tool_choice.required": _choice(ToolMode.REQUIRED),
    "tool_choice.named": _choice(ToolMode.NAMED, "f"),
    "tool_choice.some": _choice(ToolMode.NAMED, "f", "g"),
    "parallel_tool_calls": _one_at_a_time,
    "output.text": _output(kind=st.just(OutputKind.TEXT)),
    "output.json_object": _output(kind=st.just(OutputKind.JSON_OBJECT)),
    "output.json_schema": _schema(),
    "output.name": _schema(name=names()),
    "output.strict": _schema(name=names(), strict=st.booleans()),
    "reasoning.enabled": _thinking(enabled=st.booleans()),
    "reasoning.effort": _thinking(effort=st.sampled_from(["low", "medium", "high"])),
    "reasoning.budget_tokens": _thinking(budget_tokens=st.integers(1_024, 30_000)),
    "temperature": _sampling(temperature=_SHARE),
    "top_p": _sampling(top_p=_SHARE),
    "top_k": _sampling(top_k=st.integers(1, 100)),
    "min_p": _sampling(min_p=_SHARE),
    "frequency_penalty": _sampling(frequency_penalty=_SHARE),
    "presence_penalty": _sampling(presence_penalty=_SHARE),
    "repetition_penalty": _sampling(repetition_penalty=_SHARE),
    "seed": _sampling(seed=st.integers(0, 2**31 - 1)),
    "logprobs": _sampling(logprobs=st.booleans()),
    "top_logprobs": _sampling(logprobs=st.just(True), top_logprobs=st.integers(0, 20)),  # noqa: FBT003  # a value
    "logit_bias": _sampling(logit_bias=st.dictionaries(st.just("5"), st.integers(-100, 100))),
    "stop": _field(stop=st.lists(texts(8), min_size=1, max_size=3).map(tuple)),
    "n": _field(n=st.integers(1, 4)),
    "max_output_tokens": _field(max_output_tokens=st.integers(1, 10**6)),
    "user": _field(user=names()),
    "metadata": _field(metadata=st.dictionaries(names(), texts(8), min_size=1, max_size=2)),
}
"""By neutral name: what puts that field into a request, as a turn or beside it."""
