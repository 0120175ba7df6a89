"""Tools, the choice among them, and calls to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.anthropic.cache import read_cache, write_cache
from holdfast.dialects.anthropic.names import DIALECT, safe_id
from holdfast.dialects.reading import bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.errors import BadAnswer
from holdfast.model import OpaqueTool, Tool, ToolCall, ToolChoice, ToolMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.anthropic.writer import AnthropicWriter
    from holdfast.dialects.reading import Fields

__all__ = [
    "arguments_of",
    "read_call",
    "read_choice",
    "read_tool",
    "write_call",
    "write_choice",
    "write_tool",
    "written_id",
]

_CUSTOM: Final = "custom"
_DIRECT: Final = "direct"
_SERIAL: Final = "disable_parallel_tool_use"
_MODES: Final[Mapping[str, ToolMode]] = {
    "auto": ToolMode.AUTO,
    "any": ToolMode.REQUIRED,
    "none": ToolMode.NONE,
}
_WORDS: Final[Mapping[ToolMode, str]] = {mode: word for word, mode in _MODES.items()}
_NO_PARAMETERS: Final = {"type": "object", "properties": {}}
_UNREADABLE: Final = "INVALID_JSON"
"""Where Anthropic's own guide puts arguments that aren't JSON, so that they can be told as an object."""


def read_tool(tool: Fields) -> tuple[Tool | OpaqueTool, str | None]:
    """One item of ``tools``, and whether it says the type that goes without saying.

    Tools that Anthropic defines or runs itself (search, code execution, MCP) stay whole.
    """
    kind = tool.left.get("type")
    if kind not in (None, _CUSTOM):
        return OpaqueTool(dialect=DIALECT, data=tool.left), None
    said = None if kind is None else tool.text("type")
    name = tool.needed_text("name", "the tool's name")
    known = {
        "description": tool.text("description"),
        "parameters": tool.mapping("input_schema"),
        "strict": tool.flag("strict"),
    }
    return Tool(name=name, **known, cache=read_cache(tool), extra=tool.left), said  # type: ignore[arg-type]  # each was read as its type


def write_tool(
    tool: Tool | OpaqueTool, writer: AnthropicWriter, path: str, spelling: str | None = None
) -> dict[str, Any] | None:
    """The item for ``tool``; None where another dialect's tool may be left out."""
    if isinstance(tool, OpaqueTool):
        if tool.dialect == DIALECT:
            return tool.data
        writer.refuse(path, "tools.provider")
        return None
    known = {
        "type": spelling,
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.parameters if writer.same else _schema(tool.parameters),
        "strict": tool.strict,
        "cache_control": write_cache(tool.cache),
    }
    return merged(known, writer.leftovers(tool.extra, path))


def read_choice(fields: Fields, spelling: dict[str, str]) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether several tools may be called where it says so."""
    choice = fields.fields("tool_choice")
    if choice is None:
        return None, None
    kind = choice.needed_text("type", "auto, any, tool or none")
    serial = choice.flag(_SERIAL)
    if serial is False:  # which goes without saying
        spelling[_SERIAL] = "false"
    parallel = None if serial is None else not serial
    if kind == "tool":
        name = choice.needed_text("name", "the tool's name")
        return ToolChoice(mode=ToolMode.NAMED, names=(name,), extra=choice.left), parallel
    if (mode := _MODES.get(kind)) is not None:
        return ToolChoice(mode=mode, extra=choice.left), parallel
    return ToolChoice(mode=ToolMode.OPAQUE, extra={"type": kind, **choice.left}), parallel


def write_choice(
    choice: ToolChoice | None, parallel: bool | None, writer: AnthropicWriter, spelling: Mapping[str, str]
) -> dict[str, Any] | None:
    """``tool_choice``, which holds both what may be called and whether several may."""
    serial = True if parallel is False else None
    if parallel and spelling.get(_SERIAL) == "false":
        serial = False
    if choice is not None and choice.mode is ToolMode.OPAQUE and not writer.own:
        writer.refuse("tool_choice")
        choice = None  # it may be left out, and whether several tools may be called still counts
    if choice is not None and choice.mode is ToolMode.NAMED and len(choice.names) != 1:
        writer.refuse("tool_choice", "tool_choice.some")
        choice = None
    if choice is None:
        return None if serial is None else {"type": _WORDS[ToolMode.AUTO], _SERIAL: serial}
    if choice.mode is ToolMode.OPAQUE:
        return merged({**choice.extra, _SERIAL: serial}, {})
    extra = writer.leftovers(choice.extra, "tool_choice")
    if choice.mode is ToolMode.NAMED:
        return merged({"type": "tool", "name": choice.names[0], _SERIAL: serial}, extra)
    if choice.mode is ToolMode.NONE and not writer.same:
        serial = None  # has no place there, and says nothing where nothing is called
    return merged({"type": _WORDS[choice.mode], _SERIAL: serial}, extra)


def read_call(block: Fields, *, answered: bool) -> tuple[ToolCall, str | None]:
    """One ``tool_use`` block, and whether it says the caller that goes without saying.

    Who called (``caller``) is the model itself, ``direct``, unless code that it ran did: callers hand that back with every
    call, and no other dialect has a word for it. In an answer it stays where it is.
    """
    name = block.needed_text("name", "the tool's name")
    arguments = block.mapping("input")
    said = None
    if not answered and block.left.get("caller") == {"type": _DIRECT}:
        said = _DIRECT
        del block.left["caller"]
    call = ToolCall(
        id=block.text("id"),
        name=name,
        arguments="" if arguments is None else write_json(arguments).decode(),
        cache=read_cache(block),
        extra=block.left,
    )
    return call, said


def write_call(
    call: ToolCall, writer: AnthropicWriter, path: str, spelling: str | None = None
) -> dict[str, Any]:
    """The block for ``call``, whose arguments must be an object in a request."""
    arguments = arguments_of(call.arguments)
    if arguments is None:
        writer.refuse(path, "tool_call")
        arguments = {_UNREADABLE: call.arguments}
    known = {
        "type": "tool_use",
        "id": written_id(call.id, writer),
        "name": call.name,
        "input": arguments,
        "caller": {"type": _DIRECT} if spelling == _DIRECT else None,
        "cache_control": write_cache(call.cache),
    }
    return merged(known, writer.leftovers(call.extra, path))


def written_id(call_id: str | None, writer: AnthropicWriter) -> str | None:
    """A call's id. Another provider's may have characters that Anthropic refuses when it is handed back."""
    return call_id if call_id is None or writer.same else safe_id(call_id)


def arguments_of(text: str) -> dict[str, Any] | None:
    """Arguments as an object, empty where there are none; None where they aren't one."""
    if not text or text.isspace():
        return {}
    try:
        value = read_json(text.encode(), bad_answer)
    except (BadAnswer, UnicodeEncodeError):
        return None
    return value if isinstance(value, dict) else None


def _schema(parameters: dict[str, Any] | None) -> dict[str, Any]:
    """Anthropic requires a schema, and an object's."""
    if parameters is None:
        return _NO_PARAMETERS
    return parameters if "type" in parameters else {"type": "object", **parameters}
