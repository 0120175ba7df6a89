"""Tools of a request, and which of them may be called."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

from holdfast.chaos.wire.base import Tool
from holdfast.chaos.wire.openai_responses import fields

__all__ = ["Choice", "choice_of", "tools_of"]

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_LONGEST_NAME = 128
_MODES = ("none", "auto", "required")
_ASKED: dict[str, Literal["auto", "none", "any"]] = {"none": "none", "auto": "auto", "required": "any"}
_DEFAULTS = {"description": None, "strict": True}


class Choice(NamedTuple):
    mode: Literal["auto", "none", "any"] = "auto"
    names: tuple[str, ...] | None = None
    """None: all of them."""


def tools_of(request: dict[str, Any]) -> tuple[tuple[Tool, ...], list[dict[str, Any]]]:
    """The functions that the caller runs, and all tools as an answer repeats them. Raises :class:`Refused`.

    The provider's own tools are taken, and never called.
    """
    known: list[Tool] = []
    told: list[dict[str, Any]] = []
    for path, tool in fields.items(request, "tools"):
        if fields.required(tool, "type", f"{path}.") != "function":
            told.append(tool)
            continue
        name = fields.required(tool, "name", f"{path}.")
        if not _NAME.fullmatch(name):
            message = f"Invalid '{path}.name': string does not match pattern. Expected a string that matches the pattern "
            raise fields.refused(f"{message}'^{_NAME.pattern}$'.", f"{path}.name", "invalid_value")
        if len(name) > _LONGEST_NAME:
            message = f"Invalid '{path}.name': string too long. Expected a string with maximum length {_LONGEST_NAME}, but "
            raise fields.refused(
                f"{message}got a string with length {len(name)} instead.",
                f"{path}.name",
                "string_above_max_length",
            )
        fields.flag(tool, "strict", f"{path}.")
        fields.text(tool, "description", f"{path}.")
        parameters = fields.table(tool, "parameters", f"{path}.")
        known.append(Tool(name, parameters or None))
        told.append({**_DEFAULTS, "parameters": None, **tool})
    return tuple(known), told


def choice_of(request: dict[str, Any], tools: tuple[Tool, ...]) -> Choice:
    """What ``tool_choice`` says. Raises :class:`Refused`."""
    given = request.get("tool_choice")
    if given is None:
        return Choice()
    if isinstance(given, str):
        if given not in _MODES:
            raise fields.unsupported("tool_choice", given, _MODES)
        if given == "required" and not request.get("tools"):
            message = "Tool choice 'required' must be specified with 'tools' parameter."
            raise fields.refused(message, "tool_choice")
        return Choice(_ASKED[given])
    chosen = fields.table(request, "tool_choice")
    match fields.required(chosen, "type", "tool_choice."):
        case "function":
            return Choice("any", (_found(chosen, "tool_choice", tools),))
        case "allowed_tools":
            mode = fields.one_of(chosen, "mode", "tool_choice.", _MODES[1:])
            if mode is None:
                raise fields.missing("tool_choice.mode")
            names = tuple(
                _found(tool, path, tools)
                for path, tool in fields.items(chosen, "tools", "tool_choice.")
                if tool.get("type") == "function"
            )
            return Choice(_ASKED[mode], names)
    return Choice("none")  # a tool of the provider's own


def _found(chosen: dict[str, Any], path: str, tools: tuple[Tool, ...]) -> str:
    name = fields.required(chosen, "name", f"{path}.")
    if all(tool.name != name for tool in tools):
        raise fields.refused("Tool choice 'function' not found in 'tools' parameter.", "tool_choice")
    return name
