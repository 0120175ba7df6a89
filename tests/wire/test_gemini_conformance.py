"""The Gemini codec keeps every promise of a codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from holdfast.dialects.gemini.codec import GeminiCodec
from holdfast.model import Media, Message, OutputFormat, Request, Tool, ToolChoice, ToolMode, ToolResult
from holdfast.testing.conformance import asked, run_dialect_conformance

if TYPE_CHECKING:
    from holdfast.model import Part


def test_gemini_conforms() -> None:
    run_dialect_conformance(GeminiCodec(), request_view=asked_of_gemini)


def asked_of_gemini(request: Request) -> Any:
    """What a request asks, less what stands in the URL and what is the same by another name.

    The model, and whether it streams, aren't in the body. A schema has no name, and its letter is always kept. Arguments of
    all functions fit, or of none, and to say so is to say that the model may call them, as it may anyway.
    """
    return asked(
        replace(
            request,
            model="",
            stream=None,
            include_usage=None,
            parallel_tool_calls=None,
            messages=tuple(_typed(message) for message in request.messages),
            tools=tuple(replace(tool, strict=None) for tool in request.tools if isinstance(tool, Tool)),
            tool_choice=None
            if request.tool_choice == ToolChoice(mode=ToolMode.AUTO)
            else request.tool_choice,
            output=request.output and _unnamed(request.output),
            metadata=None,
        )
    )


def _typed(message: Message) -> Message:
    return replace(message, parts=tuple(_without_guess(part) for part in message.parts))


def _without_guess(part: Part) -> Part:
    """An address has a media type here, which is guessed where it isn't given."""
    if isinstance(part, ToolResult):
        return replace(part, name=None)
    return replace(part, media_type=None) if isinstance(part, Media) and part.url is not None else part


def _unnamed(output: OutputFormat) -> OutputFormat:
    return replace(output, name=None, strict=None)
