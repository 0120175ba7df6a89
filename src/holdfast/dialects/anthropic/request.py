"""Requests, both ways and without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.anthropic.blocks import BlockWriter
from holdfast.dialects.anthropic.cache import read_cache, write_cache
from holdfast.dialects.anthropic.messages import (
    leading_prompts,
    read_message,
    read_system,
    write_messages,
    write_system,
)
from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.anthropic.tools import read_choice, read_tool, write_choice, write_tool
from holdfast.dialects.calls import with_call_ids
from holdfast.dialects.reading import Fields, invalid_request, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.model import OutputFormat, OutputKind, ReasoningOptions, Request, Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.writing import Drops

__all__ = ["decode_request", "encode_request", "locate"]

_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_UNNAMED: Final = "answer"
"""What a schema is called where its caller's dialect wants a name and nobody gave one."""
_THINKING: Final[Mapping[str, bool]] = {
    "enabled": True,
    "disabled": False,
    "adaptive": True,
    "between_tools": True,
}
_CANT: Final = (
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "top_logprobs",
    "logit_bias",
)


_DEFAULTS: Final[Mapping[str, Any]] = {
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "repetition_penalty": 1,
    "min_p": 0,
    "top_logprobs": 0,
    "logit_bias": {},
}
"""Values that say nothing: they are what happens anyway."""


def decode_request(body: bytes) -> Request:
    """The request in ``body``.

    Raises:
        InvalidRequest: it isn't one; ``param`` is the path of the field at fault.
    """
    fields = Fields(read_json(body, invalid_request), "", invalid_request)
    spelling: dict[str, str] = {}
    model = fields.needed_text("model", "the name of a model")
    system = read_system(fields, spelling)
    messages = fields.each("messages")
    if not messages:
        raise fields.fault("messages", "must be a list of at least one message")
    tools = tuple(read_tool(tool) for tool in fields.each("tools"))
    choice, parallel = read_choice(fields)
    if choice is not None:
        spelling["tool_choice"] = "said"
    metadata = fields.fields("metadata")
    user = None
    if metadata is not None:
        user = metadata.text("user_id")
        fields.keep("metadata", metadata)
    output = _read_output(fields)
    return Request(
        model=model,
        messages=system + tuple(read_message(message) for message in messages),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        output=output,
        reasoning=_read_reasoning(fields, spelling),
        sampling=Sampling(
            temperature=fields.number("temperature"),
            top_p=fields.number("top_p"),
            top_k=fields.number("top_k"),
        ),
        stop=_read_stop(fields),
        max_output_tokens=fields.integer("max_tokens"),
        stream=fields.flag("stream"),
        user=user,
        cache=read_cache(fields),
        dialect=DIALECT,
        spelling=spelling,
        extra=fields.left,
    )


def encode_request(request: Request, drops: Drops | None = None) -> bytes:
    """The body that asks for ``request``. Its ``max_tokens``, which Anthropic requires, is there if the request has it.

    Raises:
        CantExpress: this dialect has no way to say something of it.
        InvalidRequest: it holds something that JSON can't say.
    """
    writer = BlockWriter(request.dialect, answered=False, drops=drops)
    if request.dialect != DIALECT:
        request = with_call_ids(request)
    spelling = writer.spelling(request.spelling)
    start = leading_prompts(request.messages)
    tools = (write_tool(tool, writer, f"tools[{at}]") for at, tool in enumerate(request.tools))
    known: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_output_tokens,
        "system": write_system(request.messages[:start], spelling, writer),
        "messages": write_messages(request.messages, start, writer),
        "tools": [tool for tool in tools if tool is not None] or None,
        "tool_choice": write_choice(request.tool_choice, request.parallel_tool_calls, writer),
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
        "top_k": request.sampling.top_k,
        "stop_sequences": list(request.stop) or None,
        "stream": request.stream,
        "metadata": {"user_id": request.user} if request.user is not None else None,
        "cache_control": write_cache(request.cache),
        **_write_reasoning(request.reasoning, spelling, writer),
    }
    config = merged(
        {"effort": known.pop("effort", None), "format": _write_output(request.output, writer)}, {}
    )
    known["output_config"] = config or None
    _refuse_the_rest(request, writer)
    return write_json(merged(known, writer.leftovers(request.extra, "")))


def locate(request: Request, path: str) -> str:
    """``path`` as the caller wrote it: the leading prompt stands in ``system``, before the messages."""
    name, bracket, rest = path.partition("[")
    if name != "messages" or not bracket:
        return {"max_output_tokens": "max_tokens", "stop": "stop_sequences", "user": "metadata.user_id"}.get(
            path, path
        )
    number, _, inner = rest.partition("]")
    start = leading_prompts(request.messages)
    at = int(number) if number.isdecimal() else start
    inner = inner.replace(".parts[", ".content[")
    if at < start:
        return "system" + inner.removeprefix(".content")
    return f"messages[{at - start}]{inner}"


def _refuse_the_rest(request: Request, writer: BlockWriter) -> None:
    for name in _CANT:
        if getattr(request.sampling, name) not in (None, _DEFAULTS.get(name)):
            writer.refuse(name)
    if request.sampling.logprobs:
        writer.refuse("logprobs")
    if request.n not in (None, 1):
        writer.refuse("n")
    if request.metadata:
        writer.refuse("metadata")


def _read_stop(fields: Fields) -> tuple[str, ...]:
    stop = fields.left.get("stop_sequences")
    if not stop and isinstance(stop, list | None):
        return ()
    if isinstance(stop, list) and all(isinstance(each, str) for each in stop):
        del fields.left["stop_sequences"]
        return tuple(stop)
    raise fields.wrong(stop, "a list of strings", "stop_sequences")


def _read_output(fields: Fields) -> OutputFormat | None:
    """``output_config.format``. What isn't a schema stays where it is."""
    config = fields.left.get("output_config")
    form = config.get("format") if isinstance(config, dict) else None
    if (
        not isinstance(form, dict)
        or form.get("type") != "json_schema"
        or not isinstance(form.get("schema"), dict)
    ):
        return None
    inner = fields.needed_fields("output_config")
    format_ = inner.needed_fields("format")
    format_.take("type")
    output = OutputFormat(kind=OutputKind.JSON_SCHEMA, schema=format_.mapping("schema"), extra=format_.left)
    fields.keep("output_config", inner)
    return output


def _write_output(output: OutputFormat | None, writer: BlockWriter) -> dict[str, Any] | None:
    if output is None:
        return None
    extra = writer.leftovers(output.extra, "output")
    if output.kind is not OutputKind.JSON_SCHEMA:
        writer.refuse("output", "output.text" if output.kind is OutputKind.TEXT else "output.json_object")
        return None
    if output.name not in (None, _UNNAMED):
        writer.refuse("output", "output.name")
    schema = output.schema or {}
    if output.description is not None:
        schema = {"description": output.description, **schema}
    return merged({"type": "json_schema", "schema": schema}, extra)


def _read_reasoning(fields: Fields, spelling: dict[str, str]) -> ReasoningOptions | None:
    effort = None
    config = fields.left.get("output_config")
    if isinstance(config, dict) and config.get("effort") is not None:
        inner = fields.needed_fields("output_config")
        effort = inner.text("effort")
        fields.keep("output_config", inner)
    thinking = fields.left.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") not in _THINKING:
        return None if effort is None else ReasoningOptions(effort=effort)
    inner = fields.needed_fields("thinking")
    kind = inner.needed_text("type")
    spelling["thinking"] = kind
    return ReasoningOptions(
        enabled=_THINKING[kind], effort=effort, budget_tokens=inner.integer("budget_tokens"), extra=inner.left
    )


def _write_reasoning(
    options: ReasoningOptions | None, spelling: dict[str, str], writer: BlockWriter
) -> dict[str, Any]:
    if options is None:
        return {}
    extra = writer.leftovers(options.extra, "reasoning")
    effort, enabled = options.effort, options.enabled
    if effort == "none":
        effort, enabled = None, False
    if effort is not None and effort not in _EFFORTS and not writer.own:
        writer.refuse("reasoning", "reasoning.effort")
        effort = None
    thinking = None
    if enabled is not None or options.budget_tokens is not None:
        usual = "enabled" if options.budget_tokens is not None else "adaptive"
        kind = spelling.get("thinking", usual) if enabled is not False else "disabled"
        thinking = merged({"type": kind, "budget_tokens": options.budget_tokens}, extra)
    return {"thinking": thinking, "effort": effort}
