"""Requests of Gemini, and what the API answers 400 to.

``prompt_tokens`` is counted as for Chat Completions; the system instruction counts as a message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos.wire.base import TOOL_TOKENS, Asked, Tool
from holdfast.chaos.wire.gemini import embed, fields
from holdfast.chaos.wire.gemini.conversation import prompt_of
from holdfast.chaos.wire.gemini.fields import checked, invalid, value_error

if TYPE_CHECKING:
    from holdfast.chaos.http import Request
    from holdfast.chaos.wire.base import Place

__all__ = ["read"]

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
_JSON = "application/json"


def read(request: Request, place: Place) -> Asked:
    """What ``request`` asks for. Raises :class:`Refused` in the API's words."""
    try:
        given = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid("Invalid JSON payload received. Parsing terminated before end of input.") from None
    if not isinstance(given, dict):
        raise invalid("Invalid JSON payload received. Root element must be a message.")
    model = place.model or ""
    if place.operation == "embed":
        return embed.read(given, model, batch=request.path.endswith(":batchEmbedContents"))
    value = checked(given, fields.COUNT if place.operation == "count" else fields.REQUEST)
    if isinstance(inner := value.get("generateContentRequest"), dict):
        value = inner
    return _asked(value, place, model)


def _asked(request: dict[str, Any], place: Place, model: str) -> Asked:
    prompt = prompt_of(request, model)
    config = _table(request, "generationConfig", "generation_config")
    declarations = [
        declaration
        for tool in _several(request.get("tools"))
        for declaration in _several(tool.get("functionDeclarations"))
    ]
    tools = tuple(_tool(declaration, i) for i, declaration in enumerate(declarations))
    choice, names = _choice(request, tools)
    thinks, thoughts = _thinking(config)
    return Asked(
        model=model,
        stream=place.stream,
        sse=place.sse,
        last_user_text=prompt.last_user_text,
        prompt_tokens=prompt.tokens + TOOL_TOKENS * len(tools),
        limit=_number(config, "maxOutputTokens", "max_output_tokens", 1),
        choices=_choices(config),
        stop=_stops(config),
        tools=tools,
        tool_choice=choice,
        tool_names=names,
        schema=_schema(config, tools, model),
        thinks=thinks,
        thoughts=thoughts,
        media=tuple(prompt.media),
    )


def _tool(declaration: dict[str, Any], number: int) -> Tool:
    path = f"GenerateContentRequest.tools[0].function_declarations[{number}].name"
    name = declaration.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(
            f"* {path}: Invalid function name. Must start with a letter or an underscore. Must be alphanumeric (a-z, "
            "A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 64.\n"
        )
    if "parameters" in declaration and "parametersJsonSchema" in declaration:
        raise invalid("parameters_json_schema must not be set when parameters is set.")
    return Tool(name, declaration.get("parametersJsonSchema") or declaration.get("parameters"))


def _choice(
    request: dict[str, Any], tools: tuple[Tool, ...]
) -> tuple[Literal["auto", "none", "any"], tuple[str, ...] | None]:
    config = _table(
        _table(request, "toolConfig", "tool_config"), "functionCallingConfig", "function_calling_config"
    )
    mode = str(config.get("mode") or "AUTO").upper()
    allowed = config.get("allowedFunctionNames")
    if mode not in ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"):
        raise value_error(
            "tool_config.function_calling_config.mode",
            "type.googleapis.com/google.ai.generativelanguage.v1beta.FunctionCallingConfig.Mode",
            mode,
        )
    if allowed is not None and not (
        isinstance(allowed, list) and all(isinstance(name, str) for name in allowed)
    ):
        raise value_error(
            "tool_config.function_calling_config.allowed_function_names", "TYPE_STRING", allowed
        )
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise invalid("Function calling config: allowed_function_names should be set only when mode is ANY.")
    if mode == "ANY" and not tools:
        raise invalid("Function calling mode is ANY, but no function declarations are provided.")
    if allowed and (unknown := [name for name in allowed if all(tool.name != name for tool in tools)]):
        raise invalid(f"allowed_function_names[{unknown[0]}] is not in function_declarations.")
    names = tuple(allowed) if allowed else None
    return ("any" if mode == "ANY" else "none" if mode == "NONE" else "auto"), names


def _thinking(config: dict[str, Any]) -> tuple[bool, Literal["shown", "hidden", "off"]]:
    given = _table(config, "thinkingConfig", "generation_config.thinking_config")
    budget = _number(given, "thinkingBudget", "thinking_budget", -1)
    if budget == 0:
        return False, "off"
    wanted = bool(budget or given.get("thinkingLevel") or given.get("includeThoughts"))
    return wanted, "shown" if given.get("includeThoughts") else "hidden"


def _choices(config: dict[str, Any]) -> int:
    count = _number(config, "candidateCount", "candidate_count", 0) or 1
    if count > 8:
        raise invalid(
            "* GenerateContentRequest.generation_config.candidate_count: must be in the range [1, 8].\n"
        )
    return count


def _stops(config: dict[str, Any]) -> tuple[str, ...]:
    given = config.get("stopSequences") or []
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise value_error("generation_config.stop_sequences", "TYPE_STRING", given)
    if len(given) > 5:
        raise invalid("* GenerateContentRequest.generation_config.stop_sequences: at most 5 are allowed.\n")
    return tuple(filter(None, given))


def _schema(config: dict[str, Any], tools: tuple[Tool, ...], model: str) -> Any:
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    if config.get("responseMimeType") != _JSON:
        return None
    if tools and model.lower().startswith(("gemini-1", "gemini-2")):
        raise invalid(f"Function calling with a response mime type: '{_JSON}' is unsupported")
    return schema or {"type": "object", "properties": {"answer": {"type": "string"}}}


def _table(value: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    given = value.get(name)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise value_error(path, "message", given)
    return given


def _several(given: Any) -> list[dict[str, Any]]:
    """A repeated field; one message alone counts as a list of one."""
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def _number(config: dict[str, Any], name: str, path: str, least: int) -> int | None:
    given = config.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int):
        raise value_error(f"generation_config.{path}", "TYPE_INT32", given)
    if given < least:
        raise invalid(
            f"* GenerateContentRequest.generation_config.{path}: {path} must be at least {least}.\n"
        )
    return given
