"""How to answer: ``thinking``, and ``output_config`` with its effort and format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.writing import merged
from holdfast.model import OutputFormat, OutputKind, ReasoningOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.dialects.anthropic.writer import AnthropicWriter
    from holdfast.dialects.reading import Fields

__all__ = ["read_output", "read_reasoning", "write_options"]

_CONFIG: Final = "output_config"
_OLDER: Final = "output_format"
"""Where the format stood at the top while it was in beta."""
_SCHEMA: Final = "json_schema"
_OUTPUT: Final = "output"
_THINKING: Final = "thinking"
_KINDS: Final[Mapping[str, bool]] = {
    "adaptive": True,
    "between_tools": True,
    "disabled": False,
    "enabled": True,
}
_EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_NO_EFFORT: Final = "none"


def read_output(fields: Fields, spelling: dict[str, str]) -> OutputFormat | None:
    """The format that the answer must have. One that isn't a schema stays where it is."""
    holder = fields
    name = _OLDER
    if _has_schema(fields.left.get(_CONFIG), "format"):
        holder, name = fields.needed_fields(_CONFIG), "format"
    elif _has_schema(fields.left, _OLDER):
        spelling[_OUTPUT] = _OLDER
    else:
        return None
    inner = holder.needed_fields(name)
    inner.take("type")
    output = OutputFormat(kind=OutputKind.JSON_SCHEMA, schema=inner.mapping("schema"), extra=inner.left)
    if holder is not fields:
        fields.keep(_CONFIG, holder if holder.left else None)
    return output


def read_reasoning(fields: Fields, spelling: dict[str, str]) -> ReasoningOptions | None:
    """Whether and how much to think. A kind that isn't known here stays where it is."""
    effort = None
    config = fields.left.get(_CONFIG)
    if isinstance(config, dict) and config.get("effort") is not None:
        inner = fields.needed_fields(_CONFIG)
        effort = inner.text("effort")
        fields.keep(_CONFIG, inner if inner.left else None)
    thinking = fields.left.get(_THINKING)
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        return None if effort is None else ReasoningOptions(effort=effort)
    inner = fields.needed_fields(_THINKING)
    inner.take("type")
    spelling[_THINKING] = kind
    budget = inner.integer("budget_tokens")
    return ReasoningOptions(enabled=_KINDS[kind], effort=effort, budget_tokens=budget, extra=inner.left)


def write_options(
    output: OutputFormat | None,
    reasoning: ReasoningOptions | None,
    writer: AnthropicWriter,
    spelling: Mapping[str, str],
) -> dict[str, Any]:
    """``thinking`` and ``output_config``, as far as they are asked for."""
    format_ = _write_output(output, writer)
    thinking, effort = _write_reasoning(reasoning, writer, spelling)
    older = spelling.get(_OUTPUT) == _OLDER
    config = merged({"effort": effort, "format": None if older else format_}, {})
    return {_THINKING: thinking, _CONFIG: config or None, _OLDER: format_ if older else None}


def _has_schema(holder: Any, name: str) -> bool:
    inner = holder.get(name) if isinstance(holder, dict) else None
    return isinstance(inner, dict) and inner.get("type") == _SCHEMA


def _write_output(output: OutputFormat | None, writer: AnthropicWriter) -> dict[str, Any] | None:
    if output is None or output.kind is OutputKind.TEXT:  # which goes without saying
        return None
    if output.kind is OutputKind.OPAQUE:
        writer.refuse("output")
        return None
    extra = writer.leftovers(output.extra, "output")
    if output.kind is not OutputKind.JSON_SCHEMA:
        writer.refuse("output", "output.json_object")
        return None
    if output.name is not None:
        writer.refuse("output", "output.name")
    schema = output.schema
    if output.description is not None:
        schema = {"description": output.description, **(schema or {})}  # a schema has a place for it
    return merged({"type": _SCHEMA, "schema": schema if writer.same else schema or {}}, extra)


def _write_reasoning(
    options: ReasoningOptions | None, writer: AnthropicWriter, spelling: Mapping[str, str]
) -> tuple[dict[str, Any] | None, str | None]:
    if options is None:
        return None, None
    extra = writer.leftovers(options.extra, "reasoning")
    effort, enabled = options.effort, options.enabled
    if effort == _NO_EFFORT and not writer.same:
        effort, enabled = None, False
    if effort is not None and effort not in _EFFORTS and not writer.same:
        writer.refuse("reasoning.effort")
        effort = None
    if enabled is None and options.budget_tokens is None:
        return None, effort
    usual = "disabled" if enabled is False else "adaptive" if options.budget_tokens is None else "enabled"
    known = {"type": spelling.get(_THINKING, usual), "budget_tokens": options.budget_tokens}
    if enabled is False and not writer.same:
        del known["budget_tokens"]  # how much to think is nothing where it is off
    return merged(known, extra), effort
