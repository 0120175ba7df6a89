"""Tools and the choice among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.gemini.names import DIALECT
from holdfast.dialects.gemini.schemas import as_google, as_json_schema
from holdfast.dialects.writing import merged
from holdfast.model import OpaqueTool, Tool, ToolChoice, ToolMode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.dialects.gemini.writer import GeminiWriter
    from holdfast.dialects.reading import Fields

__all__ = ["groups_of", "read_choice", "read_tools", "write_choice", "write_tools"]

_SCHEMA, _JSON_SCHEMA = "parameters", "parametersJsonSchema"
_AS_SCHEMA, _VERBATIM = "Schema", "verbatim"
_MODES: Final[Mapping[str, ToolMode]] = {
    "AUTO": ToolMode.AUTO,
    "ANY": ToolMode.REQUIRED,
    "NONE": ToolMode.NONE,
    "VALIDATED": ToolMode.AUTO,
}
_WORDS: Final[Mapping[ToolMode, str]] = {
    ToolMode.AUTO: "AUTO",
    ToolMode.REQUIRED: "ANY",
    ToolMode.NONE: "NONE",
    ToolMode.NAMED: "ANY",
}
_MODE: Final = "functionCallingConfig.mode"
"""The key in a request's ``spelling``."""


def read_tools(fields: Fields, spelling: dict[str, str]) -> tuple[Tool | OpaqueTool, ...]:
    """The items of ``tools``, flat: an item may hold several functions, and tools that Google runs beside them."""
    out: list[Tool | OpaqueTool] = []
    groups: list[int] = []
    for item in fields.each("tools"):
        before = len(out)
        for function in item.each("functionDeclarations"):
            out.append(_read_function(function, f"tools[{len(out)}]", spelling))
        if item.left or len(out) == before:
            out.append(OpaqueTool(dialect=DIALECT, data=item.left))
        groups.append(len(out) - before)
    if groups != _usual_groups(out):
        spelling["tools"] = " ".join(map(str, groups))
    return tuple(out)


def write_tools(
    tools: Sequence[Tool | OpaqueTool], writer: GeminiWriter, spelling: dict[str, str]
) -> list[dict[str, Any]] | None:
    out: list[dict[str, Any]] = []
    at = 0
    for size in groups_of(tools, spelling):
        functions: list[dict[str, Any]] = []
        beside: dict[str, Any] = {}
        for place in range(at, at + size):
            tool, path = tools[place], f"tools[{place}]"
            if isinstance(tool, Tool):
                functions.append(_write_function(tool, writer, path, spelling.get(path)))
            elif tool.dialect == DIALECT:
                beside |= tool.data
            else:
                writer.refuse(path, "tools.provider")
        at += size
        item: dict[str, Any] = {"functionDeclarations": functions} if functions else {}
        if item or beside or writer.same:
            out.append(item | beside)
    return out or None


def read_choice(fields: Fields, spelling: dict[str, str]) -> ToolChoice | None:
    """``toolConfig.functionCallingConfig``. ``VALIDATED`` is ``AUTO`` with arguments that surely fit their schema."""
    outer = fields.fields("toolConfig")
    if outer is None:
        return None
    choice = None
    inner = outer.fields("functionCallingConfig")
    if inner is not None:
        choice = _read_choice(inner, spelling)
        outer.keep("functionCallingConfig", inner)
    fields.keep("toolConfig", outer)
    return choice


def write_choice(
    choice: ToolChoice | None,
    tools: Sequence[Tool | OpaqueTool],
    writer: GeminiWriter,
    spelling: dict[str, str],
) -> dict[str, Any] | None:
    strict = any(isinstance(tool, Tool) and tool.strict for tool in tools)
    if choice is None:
        return _choice_config("VALIDATED") if strict else None
    if choice.mode is ToolMode.OPAQUE:
        if not writer.own:
            writer.refuse("tool_choice", "tool_choice")
            return None
        return {"functionCallingConfig": choice.extra}
    mode = _WORDS[choice.mode]
    if mode == "AUTO" and (strict or spelling.get(_MODE)):
        mode = spelling.get(_MODE) or "VALIDATED"
    writer.leftovers(choice.extra, "tool_choice")
    return _choice_config(mode, list(choice.names) if choice.mode is ToolMode.NAMED else None)


def _choice_config(mode: str, names: list[str] | None = None) -> dict[str, Any]:
    return {"functionCallingConfig": merged({"mode": mode, "allowedFunctionNames": names}, {})}


def _read_choice(inner: Fields, spelling: dict[str, str]) -> ToolChoice | None:
    word = inner.left.get("mode")
    mode = _MODES.get(word) if isinstance(word, str) else None
    if word is not None and not isinstance(word, str):
        raise inner.wrong(word, "a mode such as AUTO", "mode")
    if word is None:
        return None
    listed = inner.left.get("allowedFunctionNames")
    names = tuple(listed) if isinstance(listed, list) else ()
    if not all(isinstance(name, str) for name in names) or not isinstance(listed, list | None):
        raise inner.wrong(listed, "a list of names", "allowedFunctionNames")
    if mode is None or (names and mode is not ToolMode.REQUIRED):
        known = {"mode": word} | ({"allowedFunctionNames": listed} if names else {})
        for name in known:
            inner.take(name)
        return ToolChoice(mode=ToolMode.OPAQUE, extra=known)
    inner.take("mode")
    if word == "VALIDATED":
        spelling[_MODE] = word
    if not names:
        return ToolChoice(mode=mode)
    inner.take("allowedFunctionNames")
    return ToolChoice(mode=ToolMode.NAMED, names=names)


def _read_function(function: Fields, path: str, spelling: dict[str, str]) -> Tool:
    name = function.needed_text("name", "the function's name")
    description = function.text("description")
    parameters = None
    if function.left.get(_JSON_SCHEMA) is None and isinstance(function.left.get(_SCHEMA), dict):
        google = function.mapping(_SCHEMA)
        assert google is not None  # noqa: S101  # for the type checker: it is an object
        parameters = as_json_schema(google)
        spelling[path] = _AS_SCHEMA if parameters is not None else _VERBATIM
        parameters = google if parameters is None else parameters
    elif isinstance(function.left.get(_JSON_SCHEMA), dict):
        parameters = function.mapping(_JSON_SCHEMA)
    return Tool(name=name, description=description, parameters=parameters, extra=function.left)


def _write_function(tool: Tool, writer: GeminiWriter, path: str, spelt: str | None) -> dict[str, Any]:
    if tool.cache is not None:
        writer.refuse(path, "cache_control")
    known: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if spelt is None or tool.parameters is None:
        known[_JSON_SCHEMA] = tool.parameters
    else:
        known[_SCHEMA] = as_google(tool.parameters) if spelt == _AS_SCHEMA else tool.parameters
    return merged(known, writer.leftovers(tool.extra, path))


def groups_of(tools: Sequence[Tool | OpaqueTool], spelling: Mapping[str, str]) -> list[int]:
    """How many of the tools share each item, as they came; as usual where the tools have changed since."""
    came = [int(size) for size in spelling.get("tools", "").split()]
    return came if came and sum(came) == len(tools) else _usual_groups(tools)


def _usual_groups(tools: Sequence[Tool | OpaqueTool]) -> list[int]:
    """Functions that follow one another share an item; a tool of another kind has one for itself."""
    groups: list[int] = []
    functions = False
    for tool in tools:
        if functions and isinstance(tool, Tool):
            groups[-1] += 1
        else:
            groups.append(1)
        functions = isinstance(tool, Tool)
    return groups
