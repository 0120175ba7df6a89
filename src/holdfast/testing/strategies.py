"""Hypothesis strategies for the neutral model: what any dialect may be asked to carry.

Texts are never empty: no wire tells an empty block from none in a stream.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "holdfast.testing.strategies needs Hypothesis, which holdfast itself doesn't: install `hypothesis`"
    ) from missing

from holdfast.model import (
    Answer,
    Audio,
    CacheMark,
    Choice,
    Citation,
    File,
    Finish,
    FinishReason,
    Image,
    Message,
    Opaque,
    OutputFormat,
    OutputKind,
    Part,
    Reasoning,
    ReasoningOptions,
    Refusal,
    Request,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
    Usage,
    Video,
    WireError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

__all__ = [
    "answers",
    "any_answers",
    "base64_texts",
    "cuts",
    "errors",
    "foreign_answers",
    "json_objects",
    "json_values",
    "names",
    "requests",
    "texts",
    "urls",
    "usages",
]

_TOKENS = st.integers(0, 2**40)
_NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,15}", fullmatch=True)
_BASE64 = st.binary(min_size=1, max_size=24).map(lambda raw: base64.b64encode(raw).decode())
_URLS = _NAMES.map(lambda name: f"https://example.test/{name}?a=1#b")


def names() -> SearchStrategy[str]:
    """Names as every provider takes them for models, tools and people."""
    return _NAMES


def base64_texts() -> SearchStrategy[str]:
    return _BASE64


def urls() -> SearchStrategy[str]:
    return _URLS


def texts(max_size: int = 40) -> SearchStrategy[str]:
    """Non-empty texts of every kind that UTF-8 can carry, line ends and control characters too."""
    everything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=max_size)
    awkward = st.sampled_from(
        ["\r\n", "\n\n", "data: [DONE]", "\u2028", "🙂é", "\ufeff", "\x00", " ", '"}', "\\"]
    )
    return everything | awkward


def json_values() -> SearchStrategy[Any]:
    """Any JSON, big integers and all; floats are finite."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.integers(10**18, 10**30)
        | st.floats(allow_nan=False, allow_infinity=False)
        | _any_text(12)
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_any_text(8), inner, max_size=3),
        max_leaves=6,
    )


def json_objects() -> SearchStrategy[dict[str, Any]]:
    return st.dictionaries(_any_text(8), json_values(), max_size=3)


def answers() -> SearchStrategy[Answer]:
    """Answers as any provider may give them: nothing in them belongs to one dialect alone."""
    return st.builds(
        Answer,
        id=_NAMES,
        model=_NAMES,
        created=st.integers(0, 2**33),
        choices=st.lists(_choices(), min_size=1, max_size=2).map(_numbered),
        usage=st.none() | usages(),
    )


def any_answers() -> SearchStrategy[Answer]:
    """Every answer that the model can hold, one dialect's leftovers and unusual parts too."""
    parts: SearchStrategy[Part] = st.one_of(
        st.builds(
            Text, text=_any_text(), citations=st.lists(_citations(), max_size=2).map(tuple), **_leftovers()
        ),
        st.builds(
            Reasoning,
            text=_any_text(),
            summary=st.booleans(),
            signature=st.none() | _any_text(),
            encrypted=st.none() | _any_text(),
            **_leftovers(),
        ),
        st.builds(Refusal, text=_any_text(), **_leftovers()),
        st.builds(
            ToolCall,
            id=st.none() | _NAMES,
            name=_any_text(8),
            arguments=_any_text(),
            signature=st.none() | _any_text(),
            **_leftovers(),
        ),
        st.builds(Audio, data=st.none() | _BASE64, transcript=st.none() | _any_text(), **_leftovers()),
        st.builds(Opaque, dialect=_NAMES, data=json_objects(), place=_NAMES, **_leftovers()),
        _images(),
        _tool_results(),
    )
    message = st.builds(
        Message,
        role=st.sampled_from(Role),
        parts=st.lists(parts, max_size=4).map(tuple),
        name=st.none() | _NAMES,
        spelling=st.dictionaries(_NAMES, _NAMES, max_size=2),
        extra=json_objects(),
    )
    choice = st.builds(
        Choice, index=st.integers(0, 9), message=message, finish=st.none() | _finishes(), extra=json_objects()
    )
    return st.builds(
        Answer,
        id=_any_text(),
        model=_any_text(),
        created=st.none() | st.integers(),
        choices=st.lists(choice, max_size=3, unique_by=lambda each: each.index).map(tuple),
        usage=st.none() | usages(),
        dialect=st.none() | _NAMES,
        extra=json_objects(),
    )


def foreign_answers(dialect: str = "elsewhere") -> SearchStrategy[Answer]:
    """One choice of another dialect's answer: proofs, leftovers and blocks that only it knows, in any order."""
    proof = st.none() | _BASE64
    parts: SearchStrategy[Part] = st.one_of(
        st.builds(
            Text,
            text=_any_text(),
            citations=st.lists(_citations(), max_size=2).map(tuple),
            signature=proof,
            extra=json_objects(),
        ),
        st.builds(Reasoning, text=_any_text(), summary=st.booleans(), signature=proof, extra=json_objects()),
        st.builds(Reasoning, encrypted=_BASE64, id=st.none() | _NAMES),
        st.builds(Refusal, text=_any_text()),
        st.builds(
            ToolCall,
            id=st.none() | _NAMES,
            name=_NAMES,
            arguments=st.just("") | _arguments(),
            signature=proof,
            extra=json_objects(),
        ),
        st.builds(Opaque, dialect=st.just(dialect), data=json_objects()),
        _images(),
    )
    message = st.lists(parts, max_size=5).map(lambda said: Message(role=Role.ASSISTANT, parts=tuple(said)))
    choice = st.builds(Choice, index=st.just(0), message=message, finish=_finishes(), extra=json_objects())
    return st.builds(
        Answer,
        id=_NAMES,
        model=_NAMES,
        created=st.none() | st.integers(0, 2**33),
        choices=choice.map(lambda only: (only,)),
        usage=st.none() | usages(),
        dialect=st.just(dialect),
        extra=json_objects(),
    )


def requests() -> SearchStrategy[Request]:
    """Requests as a caller of the library writes them: nothing in them belongs to one dialect alone."""
    tools = st.lists(_tools(), max_size=3, unique_by=lambda tool: tool.name).map(tuple)
    turns = st.lists(_turns(), min_size=1, max_size=3).map(
        lambda each: tuple(m for turn in each for m in turn)
    )
    systems = st.lists(texts(), max_size=1).map(
        lambda said: tuple(Message(role=Role.SYSTEM, parts=(Text(text=text),)) for text in said)
    )
    return st.builds(
        Request,
        model=_NAMES,
        messages=st.tuples(systems, turns).map(lambda both: both[0] + both[1]),
        tools=tools,
        tool_choice=st.none() | _tool_choices(),
        parallel_tool_calls=st.none() | st.booleans(),
        output=st.none() | _outputs(),
        reasoning=st.none() | st.builds(ReasoningOptions, effort=st.sampled_from(["low", "medium", "high"])),
        sampling=_samplings(),
        stop=st.lists(texts(8), max_size=3).map(tuple),
        n=st.none() | st.integers(1, 4),
        max_output_tokens=st.none() | st.integers(1, 10**6),
        stream=st.none() | st.booleans(),
        include_usage=st.none() | st.booleans(),
        user=st.none() | _NAMES,
        metadata=st.none() | st.dictionaries(_NAMES, texts(8), max_size=2),
    )


def usages() -> SearchStrategy[Usage]:
    """Usage that adds up: kinds are part of their totals."""

    def consistent(counts: tuple[int, ...]) -> Usage:
        fresh, read, written, audio_in, plain, thought, audio_out = counts
        return Usage(
            input_tokens=fresh + read + written + audio_in,
            cache_read_tokens=read,
            cache_write_tokens=written,
            input_audio_tokens=audio_in,
            output_tokens=plain + thought + audio_out,
            reasoning_tokens=thought,
            output_audio_tokens=audio_out,
        )

    return st.tuples(*[_TOKENS] * 7).map(consistent)


def errors() -> SearchStrategy[WireError]:
    """Errors as a provider may give them."""
    return st.builds(
        WireError,
        message=texts(),
        type=st.none() | _NAMES,
        code=st.none() | _NAMES,
        param=st.none() | _NAMES,
        status=st.sampled_from([400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 529]),
    )


@st.composite
def cuts(draw: Callable[[SearchStrategy[Any]], Any], data: bytes) -> list[bytes]:
    """A way to cut ``data`` into segments, as a network may: in places, or into single bytes."""
    if draw(st.integers(0, 4)) == 0:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def _any_text(max_size: int = 20) -> SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=max_size)


def _leftovers() -> dict[str, SearchStrategy[Any]]:
    mark = st.builds(CacheMark, ttl=st.none() | st.just("5m"), extra=json_objects())
    return {"cache": st.none() | mark, "extra": json_objects()}


def _finishes() -> SearchStrategy[Finish]:
    return st.builds(Finish, st.sampled_from(FinishReason), _NAMES)


def _citations() -> SearchStrategy[Citation]:
    return st.builds(Citation, url=_URLS, title=texts(), start=_TOKENS, end=_TOKENS)


def _tool_calls() -> SearchStrategy[ToolCall]:
    return st.builds(ToolCall, id=_NAMES, name=_NAMES, arguments=_arguments())


def _arguments() -> SearchStrategy[str]:
    return st.sampled_from(["{}", '{"city": "Zürich", "n": 1.50}', '{"a":[1,{"b":null}]}'])


def _choices() -> SearchStrategy[Choice]:
    said = st.tuples(
        st.lists(st.builds(Reasoning, text=texts()), max_size=1),
        st.lists(
            st.builds(Text, text=texts(), citations=st.lists(_citations(), max_size=2).map(tuple)), max_size=1
        ),
        st.lists(_tool_calls(), max_size=3, unique_by=lambda call: call.id),
    )

    def choice(kinds: tuple[list[Reasoning], list[Text], list[ToolCall]]) -> Choice:
        parts: tuple[Part, ...] = tuple(part for kind in kinds for part in kind)
        called = any(isinstance(part, ToolCall) for part in parts)
        finish = (
            Finish(FinishReason.TOOL_CALLS, "tool_calls") if called else Finish(FinishReason.STOP, "stop")
        )
        return Choice(index=0, message=Message(role=Role.ASSISTANT, parts=parts), finish=finish)

    ended = said.filter(any).map(choice)
    cut_short = texts().map(
        lambda text: Choice(
            index=0,
            message=Message(role=Role.ASSISTANT, parts=(Text(text=text),)),
            finish=Finish(FinishReason.LENGTH, "length"),
        )
    )
    return ended | cut_short


def _numbered(choices: list[Choice]) -> tuple[Choice, ...]:
    return tuple(
        Choice(index=index, message=choice.message, finish=choice.finish)
        for index, choice in enumerate(choices)
    )


def _images() -> SearchStrategy[Image]:
    by_data = st.builds(Image, data=_BASE64, media_type=st.sampled_from(["image/png", "image/jpeg"]))
    return by_data | st.builds(Image, url=_URLS)


def _tool_results() -> SearchStrategy[ToolResult]:
    said = texts().map(lambda text: (Text(text=text),))
    return st.builds(ToolResult, call_id=_NAMES, parts=said)


def _turns() -> SearchStrategy[tuple[Message, ...]]:
    asked: SearchStrategy[Part] = st.one_of(
        st.builds(Text, text=texts()),
        _images(),
        st.builds(File, data=_BASE64, media_type=st.just("application/pdf"), filename=st.just("a.pdf")),
        st.builds(Audio, data=_BASE64, media_type=st.sampled_from(["audio/wav", "audio/mpeg"])),
        st.builds(Video, url=_URLS),
    )
    user = st.lists(asked, min_size=1, max_size=3).map(
        lambda parts: (Message(role=Role.USER, parts=tuple(parts)),)
    )
    assistant = texts().map(lambda text: (Message(role=Role.ASSISTANT, parts=(Text(text=text),)),))

    def with_results(calls: list[ToolCall]) -> tuple[Message, ...]:
        results = (
            Message(role=Role.TOOL, parts=(ToolResult(call_id=call.id, parts=(Text(text=call.name),)),))
            for call in calls
        )
        return (Message(role=Role.ASSISTANT, parts=tuple(calls)), *results)

    called = st.lists(_tool_calls(), min_size=1, max_size=3, unique_by=lambda call: call.id).map(with_results)
    return user | st.tuples(user, assistant | called).map(lambda both: both[0] + both[1])


def _tools() -> SearchStrategy[Tool]:
    schema = st.dictionaries(
        _NAMES, st.sampled_from([{"type": "string"}, {"type": "number"}]), max_size=2
    ).map(lambda properties: {"type": "object", "properties": properties})
    return st.builds(
        Tool,
        name=_NAMES,
        description=st.none() | texts(),
        parameters=schema,
        strict=st.none() | st.booleans(),
    )


def _tool_choices() -> SearchStrategy[ToolChoice]:
    modes = st.sampled_from([ToolMode.AUTO, ToolMode.NONE, ToolMode.REQUIRED])
    named = _NAMES.map(lambda name: ToolChoice(mode=ToolMode.NAMED, names=(name,)))
    return modes.map(lambda mode: ToolChoice(mode=mode)) | named


def _outputs() -> SearchStrategy[OutputFormat]:
    plain = st.sampled_from([OutputFormat(kind=OutputKind.TEXT), OutputFormat(kind=OutputKind.JSON_OBJECT)])
    schema = st.builds(
        OutputFormat,
        kind=st.just(OutputKind.JSON_SCHEMA),
        name=_NAMES,
        schema=st.just({"type": "object", "properties": {"a": {"type": "integer"}}}),
        strict=st.none() | st.booleans(),
    )
    return plain | schema


def _samplings() -> SearchStrategy[Sampling]:
    share = st.none() | st.floats(0, 1)
    return st.builds(
        Sampling,
        temperature=share,
        top_p=share,
        frequency_penalty=share,
        presence_penalty=share,
        seed=st.none() | st.integers(0, 2**31),
        logprobs=st.none() | st.booleans(),
        top_logprobs=st.none() | st.integers(0, 20),
    )
