"""The Anthropic codec keeps what every dialect's codec must."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.anthropic.codec import AnthropicCodec
from holdfast.testing.conformance import asked, run_dialect_conformance, told

if TYPE_CHECKING:
    from holdfast.model import Answer, Request


def said(request: Request) -> Any:
    """What ``tests/wire/test_fields.py`` doesn't hold against the table anyway."""
    view = asked(request)
    for name in (
        "include_usage",
        "parallel_tool_calls",
        "tool_choice",
        "reasoning",
        "sampling",
        "n",
        "metadata",
        "output",
    ):
        del view[name]
    return view


def heard(answer: Answer) -> Any:
    """One message, whose usage is always told; a refusal in words is text and a stop reason, calls are a stop reason."""
    view = told(answer)
    view["usage"] = view["usage"] or (0, None, 0, None)
    (choice,) = view["choices"][:1] or [{"index": 0, "finish": None}]
    view["choices"] = choice
    if choice.get("refusal") or choice.get("calls"):
        del choice["finish"]
    choice["text"] = "".join(sorted(choice.get("text", "") + choice.pop("refusal", "")))
    # Positions count in the cited document here, and not in the text that cites.
    choice["citations"] = [(url, title) for url, title, *_ in choice.get("citations", ())]
    return view


def test_the_codec_keeps_the_promises_of_a_dialect() -> None:
    run_dialect_conformance(AnthropicCodec(), request_view=said, answer_view=heard, usage_apart=False)
