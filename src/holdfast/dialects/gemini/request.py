"""Requests, both ways and without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.calls import with_call_names
from holdfast.dialects.gemini.config import CONFIG, read_config, write_config
from holdfast.dialects.gemini.contents import read_content, read_system, write_contents
from holdfast.dialects.gemini.names import DIALECT
from holdfast.dialects.gemini.rejoined import rejoined
from holdfast.dialects.gemini.spelt import Spelt, SpeltFields, respelt
from holdfast.dialects.gemini.tools import read_choice, read_tools, write_choice, write_tools
from holdfast.dialects.gemini.writer import GeminiWriter
from holdfast.dialects.reading import invalid_request, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.model import Request

if TYPE_CHECKING:
    from holdfast.dialects.writing import Drops

__all__ = ["decode_request", "encode_request"]

_WITHIN: Final = f"{CONFIG}."


def decode_request(body: bytes) -> Request:
    """The request in ``body``. Its model and whether it streams stand in the URL, not here.

    Raises:
        InvalidRequest: it isn't one; ``param`` is the path of the field at fault.
    """
    spelt = Spelt()
    fields = SpeltFields(read_json(body, invalid_request), "", invalid_request, spelt)
    spelling: dict[str, str] = {}
    model = fields.text("model")
    if model is not None:
        spelling["model"] = "body"
    contents = fields.each("contents")
    if not contents:
        raise fields.fault("contents", "must be a list of at least one content")
    system = read_system(fields)
    messages = system + tuple(read_content(content) for content in contents)
    tools = read_tools(fields, spelling)
    tool_choice = read_choice(fields, spelling)
    config = read_config(fields, spelling)
    request = Request(
        model=model or "",
        messages=messages,
        tools=tools,
        tool_choice=tool_choice,
        **config,
        dialect=DIALECT,
        spelling=spelling | spelt.spelling(),
        extra=fields.left,
    )
    return rejoined(request)


def encode_request(request: Request, drops: Drops | None = None) -> bytes:
    """The body that asks for ``request``.

    Raises:
        CantExpress: this dialect has no way to say something of it; ``param`` names that.
        InvalidRequest: it holds something that JSON can't say.
    """
    writer = GeminiWriter(request.dialect, answered=False, drops=drops)
    if not writer.same:
        request = with_call_names(request)
    _refuse_strangers(request, writer)
    spelling = writer.spelling(request.spelling)
    extra = writer.leftovers(request.extra, "")
    beside = {name: value for name, value in extra.items() if not name.startswith(_WITHIN)}
    within = {name.removeprefix(_WITHIN): value for name, value in extra.items() if name.startswith(_WITHIN)}
    known: dict[str, Any] = write_contents(request.messages, writer)
    known["model"] = request.model if "model" in spelling else None
    known["tools"] = write_tools(request.tools, writer, spelling)
    known["toolConfig"] = write_choice(request.tool_choice, request.tools, writer, spelling)
    known[CONFIG] = write_config(request, writer, spelling, within)
    out = merged(known, beside)
    if writer.same:
        respelt(out, spelling)
    return write_json(out)


def _refuse_strangers(request: Request, writer: GeminiWriter) -> None:
    """Fields of a request that Google has no place for."""
    if request.parallel_tool_calls is False:
        writer.refuse("parallel_tool_calls")
    if request.user is not None:
        writer.refuse("user")
    if request.metadata:
        writer.refuse("metadata")
    if request.cache is not None:
        writer.refuse("cache", "cache_control")
