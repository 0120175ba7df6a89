"""What is asked, whatever the wire says."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Any

import msgspec

from holdfast.model.content import CacheMark  # noqa: TC001  # msgspec reads the annotations at run time
from holdfast.model.message import Message  # noqa: TC001  # msgspec reads the annotations at run time

__all__ = [
    "Number",
    "OpaqueTool",
    "OutputFormat",
    "OutputKind",
    "ReasoningOptions",
    "Request",
    "Sampling",
    "Tool",
    "ToolChoice",
    "ToolMode",
]


Number = int | float | Decimal
"""A JSON number: Decimal where a float would lose digits."""


class Tool(msgspec.Struct, frozen=True, kw_only=True, tag_field="tool", tag="function"):
    """A function that the model may call. ``parameters`` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    cache: CacheMark | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class OpaqueTool(msgspec.Struct, frozen=True, kw_only=True, tag_field="tool", tag="opaque"):
    """A tool that only ``dialect`` knows, such as one that the provider runs itself."""

    dialect: str
    data: dict[str, Any]


class ToolMode(enum.StrEnum):
    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    """Some tool, whichever."""
    NAMED = "named"
    OPAQUE = "opaque"
    """Something that only the request's dialect can say; it stands in ``extra``."""


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    mode: ToolMode
    names: tuple[str, ...] = ()
    """For ``NAMED``: the tool that must be called; more than one where the dialect lets the model choose among some."""
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class OutputKind(enum.StrEnum):
    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    OPAQUE = "opaque"
    """Something that only the request's dialect can say; it stands in ``extra``."""


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    """What shape the answer's text must have."""

    kind: OutputKind
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class ReasoningOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much the model should think. ``effort`` as callers write it (``none``, ``low`` … ``xhigh``)."""

    enabled: bool | None = None
    effort: str | None = None
    budget_tokens: int | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn. ``None``: the provider's default. Ranges are the provider's business."""

    temperature: Number | None = None
    top_p: Number | None = None
    top_k: Number | None = None
    min_p: Number | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    repetition_penalty: Number | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, Any] | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request for an answer, as its caller meant it.

    ``dialect`` names whose leftovers stand in the ``extra`` and ``spelling`` fields throughout; ``None`` for a request
    that was built by hand.
    """

    model: str
    messages: tuple[Message, ...]
    """System prompts are messages too, wherever the dialect keeps them."""
    tools: tuple[Tool | OpaqueTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    reasoning: ReasoningOptions | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    n: int | None = None
    max_output_tokens: int | None = None
    stream: bool | None = None
    include_usage: bool | None = None
    """Whether the caller wants a stream's usage event."""
    user: str | None = None
    metadata: dict[str, Any] | None = None
    cache: CacheMark | None = None
    """A mark on the whole request, where a dialect has one."""
    dialect: str | None = None
    spelling: dict[str, str] = msgspec.field(default_factory=dict)
    """How the dialect spelled what it can say in more than one way; no entry means its usual way."""
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
