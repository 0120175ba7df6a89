"""Tools, and the choice among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.anthropic.cache import read_cache, write_cache
from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.writing import merged
from holdfast.model import OpaqueTool, Tool, ToolChoice, ToolMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.anthropic.blocks import BlockWriter
    from holdfast.dialects.reading import Fields

__all__ = ["read_choice", "read_tool", "write_choice", "write_tool"]

_SERIAL: Final = "disable_parallel_tool_use"
_MODES: Final[Mapping[str, ToolMode]] = {
    "auto": ToolMode.AUTO,
    "any": ToolMode.REQUIRED,
    "none": ToolMode.NONE,
}
_WORDS: Final[Mapping[ToolMode, str]] = {mode: word for word, mode in _MODES.items()}


def read_tool(tool: Fields) -> Tool | OpaqueTool:
    """One item of ``tools``. What Anthropic defines or runs itself stays whole."""
    kind = tool.left.get("type")
    if kind not in (None, "custom"):
        return OpaqueTool(dialect=DIALECT, data=tool.left)
    name = tool.needed_text("name", "the tool's name")
    return Tool(
        name=name,
        description=tool.text("description"),
        parameters=tool.mapping("input_schema"),
        strict=tool.flag("strict"),
        cache=read_cache(tool),
        extra=tool.left,
    )


def write_tool(tool: Tool | OpaqueTool, writer: BlockWriter, path: str) -> dict[str, Any] | None:
    if isinstance(tool, OpaqueTool):
        if tool.dialect == DIALECT:
            return tool.data
        writer.refuse(path, "tools.provider")
        return None
    schema = tool.parameters
    if schema is None and writer.origin != DIALECT:
        schema = {"type": "object", "properties": {}}  # Anthropic requires one
    known = {
        "name": tool.name,
        "description": tool.description,
        "input_schema": schema,
        "strict": tool.strict,
        "cache_control": write_cache(tool.cache),
    }
    return merged(known, writer.leftovers(tool.extra, path))


def read_choice(fields: Fields) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether calls may be parallel where it says so."""
    choice = fields.fields("tool_choice")
    if choice is None:
        return None, None
    kind = choice.needed_text("type", "auto, any, tool or none")
    parallel = None
    if choice.left.get(_SERIAL) is True:
        del choice.left[_SERIAL]
        parallel = False
    if kind == "tool":
        name = choice.needed_text("name", "the tool's name")
        return ToolChoice(mode=ToolMode.NAMED, names=(name,), extra=choice.left), parallel
    if (mode := _MODES.get(kind)) is not None:
        return ToolChoice(mode=mode, extra=choice.left), parallel
    return ToolChoice(mode=ToolMode.OPAQUE, extra={"type": kind, **choice.left}), parallel


def write_choice(choice: ToolChoice | None, parallel: bool | None, writer: BlockWriter) -> Any:
    serial = True if parallel is False else None
    if choice is None:
        return None if serial is None else {"type": "auto", _SERIAL: True}
    extra = writer.leftovers(choice.extra, "tool_choice")
    if choice.mode is ToolMode.OPAQUE:
        return extra or None
    if choice.mode is ToolMode.NAMED:
        if len(choice.names) != 1:
            writer.refuse("tool_choice", "tool_choice.some")
            return None
        return merged({"type": "tool", "name": choice.names[0], _SERIAL: serial}, extra)
    return merged({"type": _WORDS[choice.mode], _SERIAL: serial}, extra)
