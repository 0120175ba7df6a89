"""The Anthropic codec keeps every promise of a codec."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from holdfast.dialects.anthropic.codec import AnthropicCodec
from holdfast.model import Answer, OutputKind, Request, ToolChoice, ToolMode
from holdfast.testing.conformance import asked, run_dialect_conformance, told


def asked_of_anthropic(request: Request) -> Any:
    """What a request asks, less what goes without saying there: usage is always told, and an answer is text."""
    output, choice = request.output, request.tool_choice
    if output is not None and output.kind is OutputKind.TEXT:
        output = None
    elif output is not None:
        output = replace(output, strict=None)  # a schema is always kept to
    sampling = replace(
        request.sampling,
        **{
            name: None
            for name, nothing in (("frequency_penalty", 0), ("presence_penalty", 0), ("logprobs", False))
            if getattr(request.sampling, name) == nothing
        },
    )
    return asked(
        replace(
            request,
            include_usage=None,
            tool_choice=None if choice == ToolChoice(mode=ToolMode.AUTO) else choice,
            output=output,
            sampling=sampling,
            n=None,
            parallel_tool_calls=_one_at_a_time(request),
        )
    )


def _one_at_a_time(request: Request) -> bool | None:
    """False where it is said: that several tools may be called is how it is, and none are where none may be."""
    choice = request.tool_choice
    none = choice is not None and choice.mode is ToolMode.NONE
    return None if request.parallel_tool_calls or none else request.parallel_tool_calls


def told_by_anthropic(answer: Answer) -> Any:
    """What an answer tells: one message, whose citations don't count in its text."""
    view = told(replace(answer, choices=answer.choices[:1]))
    for choice in view["choices"]:
        choice["citations"] = [citation[:2] for citation in choice["citations"]]
    return view


def test_anthropic_conforms() -> None:
    run_dialect_conformance(AnthropicCodec(), request_view=asked_of_anthropic, answer_view=told_by_anthropic)
