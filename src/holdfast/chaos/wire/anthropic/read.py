"""Requests of Anthropic Messages, and what the API answers 400 to.

``prompt_tokens`` is counted as for Chat Completions; the system prompt counts as a message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos.wire.anthropic import fields
from holdfast.chaos.wire.anthropic.conversation import prompt_of
from holdfast.chaos.wire.base import TOOL_TOKENS, Asked, Tool
from holdfast.chaos.wire.errors import Problem, Refused

if TYPE_CHECKING:
    from holdfast.chaos.http import Request

__all__ = ["read"]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_LEAST_BUDGET = 1024
_Choice = Literal["auto", "none", "any"]


def read(request: Request, *, count: bool) -> Asked:
    """What ``request`` asks for. Raises :class:`Refused` in the API's words.

    ``count``: it asks for the number of tokens only.
    """
    if not request.header(b"anthropic-version"):
        raise Refused(Problem(400, message="anthropic-version: header is required"))
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "The request body is not valid JSON: it could not be parsed."
        raise Refused(Problem(400, message=message)) from None
    if not isinstance(body, dict):
        raise Refused(Problem(400, message="Input should be a valid dictionary"))
    try:
        return _asked(body, count=count)
    except fields.Wrong as wrong:
        raise Refused(Problem(400, message=str(wrong))) from None


def _asked(body: dict[str, Any], *, count: bool) -> Asked:
    fields.only(body, fields.COUNT if count else fields.CREATE, "")
    model = fields.text(body, "model", "")
    if not model:
        raise fields.Wrong("model: String should have at least 1 character")
    limit = None if count else fields.number(body, "max_tokens", "", required=True, least=0)
    prompt = prompt_of(body)
    tools = _tools(body)
    choice, names, parallel = _choice(body, tools)
    thinks, thoughts = _thinking(body, limit, choice)
    _sampling(body, thinks=thinks)
    return Asked(
        model=model,
        stream=fields.flag(body, "stream", ""),
        last_user_text=prompt.last_user_text,
        prompt_tokens=prompt.tokens + TOOL_TOKENS * len(body.get("tools") or ()),
        limit=limit,
        stop=_stops(body),
        tools=tools,
        tool_choice=choice,
        tool_names=names,
        parallel=parallel,
        schema=_schema(body),
        thinks=thinks,
        thoughts=thoughts,
        media=tuple(prompt.media),
    )


def _tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    """Those that the caller runs; the provider's own are accepted, and never called."""
    known: list[Tool] = []
    names: set[str] = set()
    for i, tool in enumerate(fields.items(body, "tools", "")):
        if tool.get("type", "custom") not in ("custom", None):
            continue
        path = f"tools.{i}.custom."
        fields.only(tool, fields.TOOL, path)
        name = fields.text(tool, "name", path)
        if not _NAME.fullmatch(name):
            raise fields.Wrong(f"{path}name: String should match pattern '^{_NAME.pattern}$'")
        schema = fields.table(tool, "input_schema", path, required=True)
        if schema.get("type") != "object":
            raise fields.Wrong(f"{path}input_schema.type: Input should be 'object'")
        if name in names:
            raise fields.Wrong("tools: Tool names must be unique.")
        names.add(name)
        known.append(Tool(name, schema))
    return tuple(known)


def _choice(body: dict[str, Any], tools: tuple[Tool, ...]) -> tuple[_Choice, tuple[str, ...] | None, bool]:
    given = fields.table(body, "tool_choice", "")
    if not given:
        return "auto", None, True
    if not body.get("tools"):
        raise fields.Wrong("tool_choice: tool_choice may only be specified while providing tools.")
    kind = given.get("type")
    if kind not in ("auto", "any", "tool", "none"):
        raise fields.Wrong(
            f"tool_choice: Input tag {kind!r} found using 'type' does not match any of the expected tags: "
            "'auto', 'any', 'tool', 'none'"
        )
    parallel = not fields.flag(given, "disable_parallel_tool_use", f"tool_choice.{kind}.")
    if kind != "tool":
        return kind, None, parallel
    name = fields.text(given, "name", "tool_choice.tool.")
    if all(tool.name != name for tool in tools) and not any(
        isinstance(tool, dict) and tool.get("name") == name for tool in body["tools"]
    ):
        raise fields.Wrong(f"tool_choice.tool: Tool '{name}' not found in provided tools")
    return "any", (name,), parallel


def _thinking(
    body: dict[str, Any], limit: int | None, choice: _Choice
) -> tuple[bool, Literal["shown", "hidden", "off"]]:
    given = fields.table(body, "thinking", "")
    kind = given.get("type")
    if not given:
        return False, "shown"
    if kind not in ("enabled", "disabled", "adaptive", "between_tools"):
        raise fields.Wrong(
            f"thinking: Input tag {kind!r} found using 'type' does not match any of the expected tags: "
            "'disabled', 'enabled', 'adaptive', 'between_tools'"
        )
    if kind == "disabled":
        return False, "off"
    if kind == "enabled":
        budget = fields.number(
            given, "budget_tokens", "thinking.enabled.", required=True, least=_LEAST_BUDGET
        )
        if limit is not None and budget is not None and limit <= budget:
            raise fields.Wrong("`max_tokens` must be greater than `thinking.budget_tokens`.")
        if choice == "any":
            raise fields.Wrong("Thinking may not be enabled when tool_choice forces tool use.")
    return True, "hidden" if given.get("display") == "omitted" else "shown"


def _sampling(body: dict[str, Any], *, thinks: bool) -> None:
    temperature = body.get("temperature")
    if temperature is None:
        return
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        raise fields.Wrong("temperature: Input should be a valid number")
    if not 0 <= temperature <= 1:
        raise fields.Wrong("temperature: range: 0..1")
    if thinks and temperature != 1:
        raise fields.Wrong("`temperature` may only be set to 1 when thinking is enabled.")


def _stops(body: dict[str, Any]) -> tuple[str, ...]:
    given = body.get("stop_sequences") or []
    if not isinstance(given, list) or not all(isinstance(word, str) for word in given):
        raise fields.Wrong("stop_sequences: Input should be a valid list of strings")
    if not all(word.strip() for word in given):
        raise fields.Wrong("stop_sequences: each stop sequence must contain non-whitespace")
    return tuple(given)


def _schema(body: dict[str, Any]) -> Any:
    output = fields.table(body, "output_config", "")
    asked = fields.table(output, "format", "output_config.") or fields.table(body, "output_format", "")
    if not asked:
        return None
    if asked.get("type") != "json_schema":
        raise fields.Wrong("output_config.format.type: Input should be 'json_schema'")
    return fields.table(asked, "schema", "output_config.format.", required=True)
