"""Requests, both ways and without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.openai_chat.fitting import fitted
from holdfast.dialects.openai_chat.messages import read_message, write_message
from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.openai_chat.parts import read_cache, write_cache
from holdfast.dialects.openai_chat.tools import (
    read_choice,
    read_legacy_tool,
    read_tool,
    write_choice,
    write_tool,
)
from holdfast.dialects.openai_chat.writer import ChatWriter
from holdfast.dialects.reading import Fields, invalid_request, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.model import OutputFormat, OutputKind, ReasoningOptions, Request, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.dialects.writing import Drops

__all__ = ["decode_request", "encode_request"]

_SAMPLING: Mapping[str, Callable[[Fields, str], Any]] = {
    "temperature": Fields.number,
    "top_p": Fields.number,
    "top_k": Fields.number,
    "min_p": Fields.number,
    "frequency_penalty": Fields.number,
    "presence_penalty": Fields.number,
    "repetition_penalty": Fields.number,
    "seed": Fields.integer,
    "logprobs": Fields.flag,
    "top_logprobs": Fields.integer,
    "logit_bias": Fields.mapping,
}
_PLAIN: Mapping[str, Callable[[Fields, str], Any]] = {
    "parallel_tool_calls": Fields.flag,
    "n": Fields.integer,
    "stream": Fields.flag,
    "user": Fields.text,
    "metadata": Fields.mapping,
}
_MAXIMA = ("max_completion_tokens", "max_tokens")
"""The newer name first: it is the usual one, and counts where both are there."""


def decode_request(body: bytes) -> Request:
    """The request in ``body``.

    Raises:
        InvalidRequest: it isn't one; ``param`` is the path of the field at fault.
    """
    fields = Fields(read_json(body, invalid_request), "", invalid_request)
    spelling: dict[str, str] = {}
    model = fields.needed_text("model", "the name of a model")
    messages = fields.each("messages")
    if not messages:
        raise fields.fault("messages", "must be a list of at least one message")
    tools = [read_tool(tool) for tool in fields.each("tools")]
    tool_choice = read_choice(fields, "tool_choice")
    if not tools and (legacy := fields.each("functions")):
        spelling["tools"] = "functions"
        tools = [read_legacy_tool(function) for function in legacy]
    if tool_choice is None and (tool_choice := read_choice(fields, "function_call")) is not None:
        spelling["tool_choice"] = "function_call"
    return Request(
        model=model,
        messages=tuple(read_message(message) for message in messages),
        tools=tuple(tools),
        tool_choice=tool_choice,
        output=_read_output(fields),
        reasoning=_read_reasoning(fields, spelling),
        sampling=Sampling(**{name: read(fields, name) for name, read in _SAMPLING.items()}),
        stop=_read_stop(fields, spelling),
        max_output_tokens=_read_maximum(fields, spelling),
        include_usage=_read_include_usage(fields),
        **{name: read(fields, name) for name, read in _PLAIN.items()},
        cache=read_cache(fields),
        dialect=DIALECT,
        spelling=spelling,
        extra=fields.left,
    )


def encode_request(request: Request, drops: Drops | None = None) -> bytes:
    """The body that asks for ``request``.

    Raises:
        CantExpress: this dialect has no way to say something of it; ``param`` names that.
        InvalidRequest: it holds something that JSON can't say.
    """
    writer = ChatWriter(request.dialect, answered=False, drops=drops)
    request = fitted(request, writer)
    spelling = writer.spelling(request.spelling)
    messages = [
        wire
        for at, message in enumerate(request.messages)
        for wire in write_message(message, writer, f"messages[{at}]")
    ]
    known: dict[str, Any] = {"model": request.model, "messages": messages}
    functions = spelling.get("tools") == "functions"
    tools = (
        write_tool(tool, writer, f"tools[{at}]", legacy=functions) for at, tool in enumerate(request.tools)
    )
    known["functions" if functions else "tools"] = [tool for tool in tools if tool is not None] or None
    if request.tool_choice is not None:
        name = spelling.get("tool_choice", "tool_choice")
        legacy = name == "function_call"
        known[name] = write_choice(request.tool_choice, writer, "tool_choice", legacy=legacy)
    known["response_format"] = _write_output(request.output, writer)
    known |= {name: getattr(request.sampling, name) for name in _SAMPLING}
    known |= {name: getattr(request, name) for name in _PLAIN}
    known["stop"] = _write_stop(request.stop, spelling)
    known[spelling.get("max_output_tokens", _MAXIMA[0])] = request.max_output_tokens
    if request.include_usage is not None:
        known["stream_options"] = {"include_usage": request.include_usage}
    known["cache_control"] = write_cache(request.cache)
    known |= _write_reasoning(request.reasoning, spelling, writer)
    return write_json(merged(known, writer.leftovers(request.extra, "")))


def _read_output(fields: Fields) -> OutputFormat | None:
    output = fields.fields("response_format")
    if output is None:
        return None
    name = output.needed_text("type", "text, json_object or json_schema")
    if name == "json_schema":
        inner = output.needed_fields("json_schema")
        known = {
            "name": inner.text("name"),
            "description": inner.text("description"),
            "schema": inner.mapping("schema"),
            "strict": inner.flag("strict"),
        }
        output.keep("json_schema", inner)
        return OutputFormat(kind=OutputKind.JSON_SCHEMA, **known, extra=output.left)  # type: ignore[arg-type]  # each was read as its type
    if name in (OutputKind.TEXT, OutputKind.JSON_OBJECT):
        return OutputFormat(kind=OutputKind(name), extra=output.left)
    return OutputFormat(kind=OutputKind.OPAQUE, extra={"type": name, **output.left})


def _write_output(output: OutputFormat | None, writer: ChatWriter) -> dict[str, Any] | None:
    if output is None:
        return None
    if output.kind is OutputKind.OPAQUE:
        if not writer.own:
            writer.refuse("output", "output")
            return None
        return output.extra or None
    extra = writer.leftovers(output.extra, "output")
    known: dict[str, Any] = {"type": output.kind.value}
    if output.kind is OutputKind.JSON_SCHEMA:
        schema = {"name": output.name, "description": output.description, "schema": output.schema}
        known["json_schema"] = merged(schema | {"strict": output.strict}, {})
    return merged(known, extra)


def _read_reasoning(fields: Fields, spelling: dict[str, str]) -> ReasoningOptions | None:
    """``reasoning`` (OpenRouter), else ``thinking`` (DeepSeek), else ``reasoning_effort`` (OpenAI, and most)."""
    if (options := fields.fields("reasoning")) is not None:
        spelling["reasoning"] = "reasoning"
        return ReasoningOptions(
            enabled=options.flag("enabled"),
            effort=options.text("effort"),
            budget_tokens=options.integer("max_tokens"),
            extra=options.left,
        )
    thinking = fields.left.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") in _THINKING:
        spelling["reasoning"] = "thinking"
        options = fields.needed_fields("thinking")
        return ReasoningOptions(
            enabled=_THINKING[options.needed_text("type")],
            effort=fields.text("reasoning_effort"),
            budget_tokens=options.integer("budget_tokens"),
            extra=options.left,
        )
    effort = fields.text("reasoning_effort")
    return None if effort is None else ReasoningOptions(effort=effort)


def _write_reasoning(
    options: ReasoningOptions | None, spelling: dict[str, str], writer: ChatWriter
) -> dict[str, Any]:
    if options is None:
        return {}
    extra = writer.leftovers(options.extra, "reasoning")
    match spelling.get("reasoning"):
        case "reasoning":
            known = {
                "enabled": options.enabled,
                "effort": options.effort,
                "max_tokens": options.budget_tokens,
            }
            return {"reasoning": merged(known, extra)}
        case "thinking":
            known = {
                "type": "disabled" if options.enabled is False else "enabled",
                "budget_tokens": options.budget_tokens,
            }
            return {"thinking": merged(known, extra), "reasoning_effort": options.effort}
        case _:
            if options.budget_tokens is not None:
                writer.refuse("reasoning.budget_tokens")
            if options.enabled is False:
                return {"reasoning_effort": "none"}
            return {"reasoning_effort": options.effort or (_MEDIUM if options.enabled else None)}


def _read_stop(fields: Fields, spelling: dict[str, str]) -> tuple[str, ...]:
    stop = fields.left.get("stop")
    if stop is None or stop == []:
        return ()
    del fields.left["stop"]
    if isinstance(stop, str):
        spelling["stop"] = "string"
        return (stop,)
    if isinstance(stop, list) and all(isinstance(each, str) for each in stop):
        return tuple(stop)
    raise fields.wrong(stop, "a string or a list of strings", "stop")


def _write_stop(stop: tuple[str, ...], spelling: dict[str, str]) -> str | list[str] | None:
    if len(stop) == 1 and spelling.get("stop") == "string":
        return stop[0]
    return list(stop) or None


def _read_maximum(fields: Fields, spelling: dict[str, str]) -> int | None:
    for name in _MAXIMA:
        if fields.left.get(name) is not None:
            if name != _MAXIMA[0]:
                spelling["max_output_tokens"] = name
            return fields.integer(name)
    return None


def _read_include_usage(fields: Fields) -> bool | None:
    options = fields.fields("stream_options")
    if options is None:
        return None
    include = options.flag("include_usage")
    fields.keep("stream_options", options)
    return include


_MEDIUM = "medium"
"""What most servers take for thinking without saying how much."""
_THINKING: Mapping[Any, bool] = {"enabled": True, "disabled": False}
