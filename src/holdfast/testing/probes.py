"""One small request for every field that can be asked, and the check that holds a dialect's table against its codec.

Example:
    >>> from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
    >>> from holdfast.dialects.openai_chat.fields import FIELDS
    >>> from holdfast.testing.probes import check_table
    >>> check_table("openai_chat", OpenAIChatCodec(), FIELDS)
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.dialects.fields import NEUTRAL, Cant, Said
from holdfast.dialects.writing import Drops
from holdfast.errors import CantExpress
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
    Video,
)
from holdfast.testing.said import said, says

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.dialects.codec import DialectCodec
    from holdfast.dialects.fields import Table
    from holdfast.model import Part

__all__ = ["PROBES", "check_table"]

_ELSEWHERE: Final = "elsewhere"
"""A dialect that nobody speaks."""
_PDF: Final = "application/pdf"
_CALL: Final = ToolCall(id="call_one", name="weather", arguments='{"city":"Bern"}')
_OTHER: Final = ToolCall(id="call_two", name="time", arguments='{"zone":"CET"}')
_WEATHER: Final = Tool(
    name="weather",
    description="Tells the weather",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
_TIME: Final = Tool(name="time", parameters={"type": "object", "properties": {"zone": {"type": "string"}}})
_NEWS: Final = Tool(name="news", parameters={"type": "object", "properties": {}})
_SCHEMA: Final = OutputFormat(
    kind=OutputKind.JSON_SCHEMA,
    schema={
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    },
)


def _user(*parts: Part) -> Message:
    return Message(role=Role.USER, parts=parts or (Text(text="hello"),))


def _model(*parts: Part) -> Message:
    return Message(role=Role.ASSISTANT, parts=parts)


def _system(text: str, role: Role = Role.SYSTEM) -> Message:
    return Message(role=role, parts=(Text(text=text),))


def _result(*parts: Any, of: ToolCall = _CALL, is_error: bool | None = None) -> Message:
    result = ToolResult(call_id=of.id, name=of.name, parts=parts or (Text(text="rain"),), is_error=is_error)
    return Message(role=Role.TOOL, parts=(result,))


def _ask(*messages: Message, **fields: Any) -> Request:
    return Request(model="model", messages=messages or (_user(),), **fields)


def _show(part: Part) -> Request:
    return _ask(_user(Text(text="look"), part))


def _thought(part: Reasoning) -> Request:
    return _ask(_user(), _model(part, Text(text="so")), _user(Text(text="and")))


def _called(*results: Message, calls: tuple[ToolCall, ...] = (_CALL,)) -> Request:
    return _ask(_user(), _model(*calls), *(results or (_result(),)), tools=(_WEATHER, _TIME))


def _choose(mode: ToolMode, *names: str) -> Request:
    return _ask(tools=(_WEATHER, _TIME, _NEWS), tool_choice=ToolChoice(mode=mode, names=names))


def _draw(**fields: Any) -> Request:
    return _ask(sampling=Sampling(**fields))


def _think(**fields: Any) -> Request:
    return _ask(reasoning=ReasoningOptions(**fields), max_output_tokens=8_192)


BASE: Final = _ask()
"""Says nothing but a text; what a probe says besides is its field."""

PROBES: Final[Mapping[str, Request]] = {
    "system": _ask(_system("be brief"), _user()),
    "system.several": _ask(_system("be brief"), _system("be kind"), _user()),
    "system.later": _ask(_user(), _model(Text(text="hi")), _system("be brief"), _user(Text(text="go on"))),
    "role.developer": _ask(_system("be brief", Role.DEVELOPER), _user()),
    "name": _ask(Message(role=Role.USER, parts=(Text(text="hello"),), name="anna")),
    "text": _ask(_user(Text(text="good evening"))),
    "image.data": _show(Image(data="iVBORw0=", media_type="image/png")),
    "image.url": _show(Image(url="https://example.test/a.png")),
    "image.file_id": _show(Image(file_id="file-1")),
    "image.detail": _show(Image(url="https://example.test/a.png", detail="low")),
    "audio.data": _show(Audio(data="UklGRg==", media_type="audio/wav")),
    "file.data": _show(File(data="JVBERi0=", media_type=_PDF)),
    "file.url": _show(File(url="https://example.test/a.pdf", media_type=_PDF)),
    "file.file_id": _show(File(file_id="file-1")),
    "file.filename": _show(File(data="JVBERi0=", media_type=_PDF, filename="a.pdf")),
    "video.data": _show(Video(data="AAAAGA==", media_type="video/mp4")),
    "video.url": _show(Video(url="https://example.test/a.mp4", media_type="video/mp4")),
    "refusal": _ask(_user(), _model(Refusal(text="no")), _user(Text(text="why"))),
    "citations": _ask(
        _user(),
        _model(
            Text(
                text="so it is",
                citations=(Citation(url="https://example.test", title="t", cited_text="it is"),),
            )
        ),
        _user(Text(text="and")),
    ),
    "reasoning.text": _thought(Reasoning(text="hm")),
    "reasoning.signature": _thought(Reasoning(text="hm", signature="c2lnbmVk")),
    "reasoning.encrypted": _thought(Reasoning(encrypted="c2VjcmV0")),
    "reasoning.foreign": _thought(Reasoning(text="hm", signature="c2lnbmVk", signed_by=_ELSEWHERE)),
    "tool_call": _called(),
    "tool_call.id": _called(),
    "tool_call.signature": _called(calls=(replace(_CALL, signature="c2lnbmVk"),)),
    "tool_calls.parallel": _called(_result(of=_OTHER), _result(), calls=(_CALL, _OTHER)),
    "tool_result.text": _called(),
    "tool_result.image": _called(_result(Image(data="iVBORw0=", media_type="image/png"))),
    "tool_result.file": _called(_result(File(data="JVBERi0=", media_type=_PDF))),
    "tool_result.is_error": _called(_result(Text(text="no such city"), is_error=True)),
    "cache_control": _show(Text(text="a long text", cache=CacheMark(ttl="5m"))),
    "tools": _ask(tools=(_WEATHER,)),
    "tools.strict": _ask(tools=(replace(_WEATHER, strict=True),)),
    "tools.provider": _ask(tools=(OpaqueTool(dialect=_ELSEWHERE, data={"type": "browser"}),)),
    "tool_choice.auto": _choose(ToolMode.AUTO),
    "tool_choice.none": _choose(ToolMode.NONE),
    "tool_choice.required": _choose(ToolMode.REQUIRED),
    "tool_choice.named": _choose(ToolMode.NAMED, "time"),
    "tool_choice.some": _choose(ToolMode.NAMED, "weather", "time"),
    "parallel_tool_calls": _ask(tools=(_WEATHER,), parallel_tool_calls=False),
    "output.text": _ask(output=OutputFormat(kind=OutputKind.TEXT)),
    "output.json_object": _ask(output=OutputFormat(kind=OutputKind.JSON_OBJECT)),
    "output.json_schema": _ask(output=_SCHEMA),
    "output.name": _ask(output=replace(_SCHEMA, name="reply")),
    "output.strict": _ask(output=replace(_SCHEMA, strict=True)),
    "reasoning.enabled": _think(enabled=True),
    "reasoning.effort": _think(effort="low"),
    "reasoning.budget_tokens": _think(budget_tokens=2_048),
    "temperature": _draw(temperature=0.5),
    "top_p": _draw(top_p=0.5),
    "top_k": _draw(top_k=5),
    "min_p": _draw(min_p=0.5),
    "frequency_penalty": _draw(frequency_penalty=0.5),
    "presence_penalty": _draw(presence_penalty=0.5),
    "repetition_penalty": _draw(repetition_penalty=1.5),
    "seed": _draw(seed=7),
    "logprobs": _draw(logprobs=True),
    "top_logprobs": _draw(logprobs=True, top_logprobs=2),
    "logit_bias": _draw(logit_bias={"5": -100}),
    "stop": _ask(stop=("END",)),
    "n": _ask(n=2),
    "max_output_tokens": _ask(max_output_tokens=100),
    "user": _ask(user="u-1"),
    "metadata": _ask(metadata={"team": "a"}),
}
"""By the names in :data:`holdfast.dialects.fields.NEUTRAL`: a request that says that field, and little else."""

_WITHIN: Final[Mapping[str, str]] = {
    "file.filename": "file.data",
    "image.detail": "image.url",
    "output.name": "output.json_schema",
    "output.strict": "output.json_schema",
    "reasoning.foreign": "reasoning.text",
    "reasoning.signature": "reasoning.text",
    "tool_call.id": "tool_call",
    "tool_call.signature": "tool_call",
    "tool_calls.parallel": "tool_call",
    "tool_result.file": "tool_call",
    "tool_result.image": "tool_call",
    "tool_result.is_error": "tool_call",
    "tool_result.text": "tool_call",
    "tools.strict": "tools",
    "top_logprobs": "logprobs",
}
"""Fields that can't be said without another one: where that can't be said, they can't either, and say so by its name."""


def check_table(dialect: str, codec: DialectCodec, table: Table) -> None:
    """Holds a dialect's table against what its codec does, for every field that can be asked.

    Raises:
        AssertionError: a field that the table calls said isn't found at its path or doesn't come back, one that it says
            can't be said was written or refused by another name, or a field has no row.
    """
    _expect(
        set(table) == set(NEUTRAL), f"the table's rows aren't NEUTRAL: {sorted(set(table) ^ set(NEUTRAL))}"
    )
    for name, row in table.items():
        if isinstance(row, Cant):
            _check_refused(name, codec, _refusable(name, table))
        else:
            _check_said(name, dialect, codec, row)


def _check_said(name: str, dialect: str, codec: DialectCodec, row: Said) -> None:
    probe = PROBES[name]
    if name == "tools.provider":
        probe = replace(probe, tools=(OpaqueTool(dialect=dialect, data={"type": "browser"}),))
    try:
        body = codec.encode_request(probe)
    except CantExpress as refusal:
        raise AssertionError(f"{name}: the table says {row.path}, the codec: {refusal.message}") from None
    without = json.loads(codec.encode_request(BASE))
    there = list(_values(json.loads(body), row.path))
    _expect(bool(there), f"{name}: nothing is at {row.path} in {body!r}")
    _expect(
        there != list(_values(without, row.path)) or (json.loads(body) == without and bool(row.note)),
        f"{name}: {row.path} says the same without it, and no note says that it needn't be said: {there!r}",
    )
    back, asked = (said(request, name, dialect) for request in (codec.decode_request(body), probe))
    _expect(
        (back == asked) or not row.back,
        f"{name}: came back as {back!r}, not {asked!r}: the row has to say so",
    )
    _expect((back != asked) or row.back, f"{name}: comes back as it was, though the row says it doesn't")
    _expect(row.back or bool(row.note), f"{name}: a note has to say why it doesn't come back")


def _check_refused(name: str, codec: DialectCodec, refused_as: frozenset[str]) -> None:
    probe = PROBES[name]
    try:
        body = codec.encode_request(probe)
    except CantExpress as refusal:
        _expect(refusal.field in refused_as, f"{name}: was refused as {refusal.field}")
        _expect(bool(refusal.param), f"{name}: the refusal doesn't say where")
    else:
        raise AssertionError(f"{name}: the table says it can't be said, the codec wrote {body!r}")
    drops = Drops(refused_as)
    body = codec.encode_request(probe, drops)
    _expect(name in drops.dropped or bool(refused_as & set(drops.dropped)), f"{name}: was dropped untold")
    left = codec.decode_request(body)
    _expect(not says(left, name, codec.name), f"{name}: was told as dropped, and written: {body!r}")


def _refusable(name: str, table: Table) -> frozenset[str]:
    """The names by which ``name`` may be refused: its own, or that of the field it stands in, where that can't be said."""
    outer = _WITHIN.get(name)
    within = {outer} if outer is not None and isinstance(table.get(outer), Cant) else set()
    return frozenset({name} | within)


def _values(value: Any, path: str) -> Iterator[Any]:
    """What stands at ``path`` (``messages[].content``), in every item of every list on the way."""
    name, _, rest = path.partition(".")
    found = re.fullmatch(r"([^\[\]]*)((?:\[\])*)", name)
    _expect(found is not None, f"{path} isn't a path")
    inner = value.get(found[1]) if found is not None and isinstance(value, dict) else None
    items = [inner]
    for _ in range(len(found[2]) // 2 if found is not None else 0):
        items = [each for item in items if isinstance(item, list) for each in item]
    for item in items:
        if item is None:
            continue
        if rest:
            yield from _values(item, rest)
        else:
            yield item


def _expect(held: bool, why: str) -> None:  # reads like assert
    if not held:
        raise AssertionError(why)
