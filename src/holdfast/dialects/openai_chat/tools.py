"""Tools, the choice among them, and calls to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.openai_chat.parts import read_cache, write_cache
from holdfast.dialects.openai_chat.signed import place, take, whose
from holdfast.dialects.writing import merged
from holdfast.model import Opaque, OpaqueTool, Tool, ToolCall, ToolChoice, ToolMode

if TYPE_CHECKING:
    from holdfast.dialects.openai_chat.writer import ChatWriter
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
    tool: Tool | OpaqueTool, writer: ChatWriter, path: str, *, legacy: bool = False
) -> dict[str, Any] | None:
    """The item for ``tool``; None where another dialect's tool may be left out."""
    if isinstance(tool, OpaqueTool):
        if tool.dialect == DIALECT:
            return tool.data
        writer.refuse(path, "tools.provider")
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
    some = ToolChoice(mode=ToolMode.NAMED, names=_allowed(value))
    if len(some.names) > 1 and _some(some.names) == value:
        return some
    return ToolChoice(mode=ToolMode.OPAQUE, extra=value)


def _allowed(value: dict[str, Any]) -> tuple[str, ...]:
    """The names of the functions in ``allowed_tools``, as far as they can be read."""
    inner = value.get("allowed_tools")
    tools = inner.get("tools") if isinstance(inner, dict) else None
    listed = tools if isinstance(tools, list) else []
    functions = [tool.get("function") for tool in listed if isinstance(tool, dict)]
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    return tuple(name for name in names if isinstance(name, str))


def _some(names: tuple[str, ...]) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}


def write_choice(choice: ToolChoice, writer: ChatWriter, path: str, *, legacy: bool = False) -> Any:
    match choice.mode:
        case ToolMode.OPAQUE:
            if not writer.own:
                writer.refuse(path, path)
                return None
            return choice.extra
        case ToolMode.NAMED if legacy and len(choice.names) == 1:
            return {"name": choice.names[0]}
        case ToolMode.NAMED if len(choice.names) == 1:
            return {"type": "function", "function": {"name": choice.names[0]}}
        case ToolMode.NAMED:
            return _some(choice.names)
        case _:
            writer.leftovers(choice.extra, path)
            return choice.mode.value


def read_call(call: Fields, *, answered: bool = False) -> ToolCall | Opaque:
    """One item of ``tool_calls``."""
    name = call.text("type")
    if name not in (None, "function"):
        return Opaque(dialect=DIALECT, data={"type": name, **call.left}, place="tool_calls")
    function = call.needed_fields("function")
    known = _read_called(function)
    call.keep("function", function)
    signature, signed_by = take(call.left), None
    if signature is not None and not answered:
        signature, signed_by = whose(signature)
    return ToolCall(id=call.text("id"), **known, signature=signature, signed_by=signed_by, extra=call.left)


def read_legacy_call(function: Fields) -> ToolCall:
    """``function_call``, as it was before tool calls."""
    known = _read_called(function)
    return ToolCall(**known, extra={"function": function.left} if function.left else {})


def write_call(call: ToolCall, writer: ChatWriter, path: str, *, legacy: bool = False) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    extra = writer.leftovers(call.extra, path)
    signature = call.signature
    if signature is not None and not writer.answered and (legacy or writer.issuer(call.signed_by) != DIALECT):
        writer.refuse(path, "tool_call.signature")
        signature = None
    if legacy:
        return merged(function, extra.get("function", {}))
    known: dict[str, Any] = {"id": call.id, "type": "function", "function": function}
    if signature is not None:
        known |= place(writer.proof(signature, call.signed_by))
    return merged(known, extra)


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
