"""The response object, as it stands at the beginning and at the end of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.chaos.answer import Answer
    from holdfast.chaos.wire.openai_responses.flavours import Flavour
    from holdfast.chaos.wire.openai_responses.items import Item
    from holdfast.chaos.wire.openai_responses.read import Responding

__all__ = ["begun", "ended"]

_WHOLE = ("stop", "tool_calls", "stop_sequence")
_STATUSES = ("completed", "failed", "cancelled", "queued", "in_progress")
_REASONS = {"length": "max_output_tokens"}


def begun(answer: Answer, asked: Responding, flavour: Flavour, status: str = "in_progress") -> dict[str, Any]:
    """Before anything is said."""
    return _response(answer, asked, flavour, status=status, **flavour.beside(None))


def ended(answer: Answer, asked: Responding, flavour: Flavour, items: list[Item]) -> dict[str, Any]:
    """With all that was said, how it ended, and what it is billed as."""
    choice = answer.choices[0]
    status, reason = _ending(choice.finish)
    beside = flavour.beside(choice)
    if status == "completed":
        beside["completed_at"] = answer.created
    if status == "failed":
        beside["error"] = {"code": "server_error", "message": "The model failed."}
    if reason is not None:
        beside["incomplete_details"] = {"reason": reason}
    output = [item.done for item in items]
    usage = flavour.usage(answer.usage)
    return _response(answer, asked, flavour, output, status=status, usage=usage, **beside)


def _ending(finish: str) -> tuple[str, str | None]:
    """Status, and why it is incomplete. A word of the script's own is a status if there is one, else a reason."""
    if finish in _WHOLE:
        return "completed", None
    if finish in _STATUSES:
        return finish, None
    return "incomplete", _REASONS.get(finish, finish)


def _response(
    answer: Answer, asked: Responding, flavour: Flavour, output: list[Any] | None = None, **beside: Any
) -> dict[str, Any]:
    # Id, model and text come before whatever a fault may take out or change, and before what the caller sent.
    value = {
        "id": answer.id,
        "object": "response",
        "created_at": answer.created,
        "model": answer.model,
        "output": output or [],
        "status": None,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "usage": None,
        **asked.echo,
        **beside,
    }
    for name in flavour.never:
        del value[name]
    return value
