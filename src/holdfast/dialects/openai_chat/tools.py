"""Tools, the choice among them, and calls to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.openai_chat.parts import read_cache, write_cache
from holdfast.dialects.writing import Writer, merged
from holdfast.model import Opaque, OpaqueTool, Tool, ToolCall, ToolChoice, ToolMode

if TYPE_CHECKING:
    from holdfast.dialects.reading import Fields

__all__ = [
    "read_call",
    "read_choice",
    "read_legacy_call",
    "read_legacy_tool",
    "read_tool",
    "write_call",
    "write_choice",
    "write_tool",
]


def read_tool(tool: Fields) -> Tool | OpaqueTool:
    """One item of ``tools``. What isn't a function (custom tools, tools that the provider runs) stays whole."""
    name = tool.needed_text("type", "function, or the name of a tool that the provider knows")
    if name != "function":
        return OpaqueTool(dialect=DIALECT, data={"type": name, **tool.left})
    function = tool.needed_fields("function")
    known = _read_function(function)
    tool.keep("function", function)
    return Tool(**known, cache=read_cache(tool), extra=tool.left)


def read_legacy_tool(function: Fields) -> Tool:
    """One item of ``functions``, as they were before tools."""
    known = _read_function(function)
    return Tool(**known, extra={"function": function.left} if function.left else {})


def write_tool(
    tool: Tool | OpaqueTool, writer: Writer, path: str, *, legacy: bool = False
) -> dict[str, Any] | None:
    """The item for ``tool``; None where another dialect's tool may be left out."""
    if isinstance(tool, OpaqueTool):
        if tool.dialect == DIALECT:
            return tool.data
        writer.refuse(path)
        return None
    function: dict[str, Any] = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    extra = writer.leftovers(tool.extra, path)
    if legacy:
        return merged(function, extra.get("function", {}))
    known = {"type": "function", "function": merged(function, {}), "cache_control": write_cache(tool.cache)}
    return merged(known, extra)


def read_choice(fields: Fields, name: str) -> ToolChoice | None:
    """``tool_choice``, or ``function_call`` as it was before tools."""
    value = fields.take(name)
    if value is None:
        return None
    if isinstance(value, str):
        if value in _MODES:
            return ToolChoice(mode=ToolMode(value))
        raise fields.fault(
            name, f"is {value!r}; it must be {', '.join(_MODES)} or an object that names a tool"
        )
    if isinstance(value, dict) and not isinstance(value.get("function"), dict | None):
        raise fields.fault(f"{name}.function", "must be an object with the tool's name")
    if not isinstance(value, dict):
        raise fields.wrong(value, f"{', '.join(_MODES)} or an object that names a tool", name)
    if value.keys() == {"type", "function"} and value["type"] == "function":
        function = value["function"]
        if function and function.keys() == {"name"} and isinstance(function["name"], str):
            return ToolChoice(mode=ToolMode.NAMED, names=(function["name"],))
    if value.keys() == {"name"} and isinstance(value["name"], str):
        return ToolChoice(mode=ToolMode.NAMED, names=(value["name"],))
    return ToolChoice(mode=ToolMode.OPAQUE, extra=value)


def write_choice(choice: ToolChoice, writer: Writer, path: str, *, legacy: bool = False) -> Any:
    match choice.mode:
        case ToolMode.OPAQUE:
            return writer.leftovers(choice.extra, path)
        case ToolMode.NAMED if legacy and len(choice.names) == 1:
            return {"name": choice.names[0]}
        case ToolMode.NAMED if len(choice.names) == 1:
            return {"type": "function", "function": {"name": choice.names[0]}}
        case ToolMode.NAMED:
            tools = [{"type": "function", "function": {"name": name}} for name in choice.names]
            return {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
        case _:
            writer.leftovers(choice.extra, path)
            return choice.mode.value


def read_call(call: Fields) -> ToolCall | Opaque:
    """One item of ``tool_calls``."""
    name = call.text("type")
    if name not in (None, "function"):
        return Opaque(dialect=DIALECT, data={"type": name, **call.left}, place="tool_calls")
    function = call.needed_fields("function")
    known = _read_called(function)
    call.keep("function", function)
    return ToolCall(id=call.text("id"), **known, extra=call.left)


def read_legacy_call(function: Fields) -> ToolCall:
    """``function_call``, as it was before tool calls."""
    known = _read_called(function)
    return ToolCall(**known, extra={"function": function.left} if function.left else {})


def write_call(call: ToolCall, writer: Writer, path: str, *, legacy: bool = False) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    extra = writer.leftovers(call.extra, path)
    if legacy:
        return merged(function, extra.get("function", {}))
    return merged({"id": call.id, "type": "function", "function": function}, extra)


def _read_function(function: Fields) -> dict[str, Any]:
    return {
        "name": function.needed_text("name", "the function's name"),
        "description": function.text("description"),
        "parameters": function.mapping("parameters"),
        "strict": function.flag("strict"),
    }


def _read_called(function: Fields) -> dict[str, Any]:
    return {
        "name": function.needed_text("name", "the function's name"),
        "arguments": function.text("arguments") or "",
    }


_MODES = (ToolMode.AUTO.value, ToolMode.NONE.value, ToolMode.REQUIRED.value)
