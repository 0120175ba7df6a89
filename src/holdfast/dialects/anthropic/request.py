"""Requests, both ways and without loss. A request to count tokens is one too, less what is only for answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.anthropic.cache import read_cache, write_cache
from holdfast.dialects.anthropic.messages import (
    leading_prompts,
    read_message,
    read_system,
    write_messages,
    write_system,
)
from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.anthropic.options import read_output, read_reasoning, write_options
from holdfast.dialects.anthropic.tools import read_choice, read_tool, write_choice, write_tool
from holdfast.dialects.anthropic.writer import AnthropicWriter
from holdfast.dialects.calls import with_call_ids
from holdfast.dialects.reading import Fields, invalid_request, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.model import Request, Sampling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.writing import Drops
    from holdfast.model import OpaqueTool, Tool

__all__ = ["decode_request", "encode_request"]

_UNSAID: Final[Mapping[str, Any]] = {
    "min_p": None,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "repetition_penalty": 1,
    "seed": None,
    "logprobs": False,
    "top_logprobs": None,
    "logit_bias": None,
}
"""Ways of sampling that Anthropic hasn't, with the value of each that changes nothing."""


def decode_request(body: bytes) -> Request:
    """The request in ``body``.

    Raises:
        InvalidRequest: it isn't one; ``param`` is the path of the field at fault.
    """
    fields = Fields(read_json(body, invalid_request), "", invalid_request)
    spelling: dict[str, str] = {}
    model = fields.needed_text("model", "the name of a model")
    system = read_system(fields)
    messages = fields.each("messages")
    if not messages:
        raise fields.fault("messages", "must be a list of at least one message")
    tools = _read_tools(fields, spelling)
    tool_choice, parallel = read_choice(fields, spelling)
    return Request(
        model=model,
        messages=(*system, *(read_message(message) for message in messages)),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        output=read_output(fields, spelling),
        reasoning=read_reasoning(fields, spelling),
        sampling=Sampling(
            temperature=fields.number("temperature"),
            top_p=fields.number("top_p"),
            top_k=fields.number("top_k"),
        ),
        stop=_read_stop(fields),
        max_output_tokens=fields.integer("max_tokens"),
        stream=fields.flag("stream"),
        user=_read_user(fields),
        cache=read_cache(fields),
        dialect=DIALECT,
        spelling=spelling,
        extra=fields.left,
    )


def encode_request(request: Request, drops: Drops | None = None) -> bytes:
    """The body that asks for ``request``. ``max_tokens``, which Anthropic requires, is there if the request has it.

    Raises:
        CantExpress: this dialect has no way to say something of it; ``param`` names that.
        InvalidRequest: it holds something that JSON can't say.
    """
    writer = AnthropicWriter(request.dialect, answered=False, drops=drops)
    if not writer.same:
        request = with_call_ids(request)
        _refuse_the_rest(request, writer)
    spelling = writer.spelling(request.spelling)
    start = leading_prompts(request.messages, same=writer.same)
    tools = (
        write_tool(tool, writer, f"tools[{at}]", spelling.get(f"tools[{at}]"))
        for at, tool in enumerate(request.tools)
    )
    known: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_output_tokens,
        "system": write_system(request.messages[:start], writer),
        "messages": write_messages(request.messages, start, writer),
        "tools": [tool for tool in tools if tool is not None] or None,
        "tool_choice": write_choice(request.tool_choice, request.parallel_tool_calls, writer, spelling),
        **write_options(request.output, request.reasoning, writer, spelling),
        "temperature": request.sampling.temperature,
        "top_p": request.sampling.top_p,
        "top_k": request.sampling.top_k,
        "stop_sequences": list(request.stop) or None,
        "stream": request.stream,
        "metadata": None if request.user is None else {"user_id": request.user},
        "cache_control": write_cache(request.cache),
    }
    return write_json(merged(known, writer.leftovers(request.extra, "")))


def _read_tools(fields: Fields, spelling: dict[str, str]) -> tuple[Tool | OpaqueTool, ...]:
    tools: list[Tool | OpaqueTool] = []
    for at, inner in enumerate(fields.each("tools")):
        tool, said = read_tool(inner)
        if said is not None:
            spelling[f"tools[{at}]"] = said
        tools.append(tool)
    return tuple(tools)


def _read_stop(fields: Fields) -> tuple[str, ...]:
    stop = fields.left.get("stop_sequences")
    if stop is None or stop == []:
        return ()
    if isinstance(stop, list) and all(isinstance(each, str) for each in stop):
        del fields.left["stop_sequences"]
        return tuple(stop)
    raise fields.wrong(stop, "a list of strings", "stop_sequences")


def _read_user(fields: Fields) -> str | None:
    metadata = fields.fields("metadata")
    if metadata is None:
        return None
    user = metadata.text("user_id")
    fields.keep("metadata", metadata if metadata.left or user is None else None)
    return user


def _refuse_the_rest(request: Request, writer: AnthropicWriter) -> None:
    for name, nothing in _UNSAID.items():
        value = getattr(request.sampling, name)
        if value is not None and value != nothing and value != {}:
            writer.refuse(f"sampling.{name}", name)
    if request.n not in (None, 1):
        writer.refuse("n")
    if request.metadata:
        writer.refuse("metadata")
