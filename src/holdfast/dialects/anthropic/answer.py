"""Whole answers, both ways and without loss. An answer is one message: there are no alternatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.dialects.anthropic.blocks import BlockWriter, read_blocks
from holdfast.dialects.anthropic.names import DIALECT, finish_of, finish_word
from holdfast.dialects.anthropic.usage import read_usage, write_usage
from holdfast.dialects.calls import made_id
from holdfast.dialects.reading import Fields, bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.model import Answer, Choice, Finish, FinishReason, Message, Refusal, Role, ToolCall

if TYPE_CHECKING:
    from holdfast.model import Part

__all__ = ["OF_THE_END", "decode_answer", "encode_answer", "finish_with", "with_ids"]

OF_THE_END: Final = ("stop_sequence", "stop_details", "container")
"""Fields that a stream tells with its end, and a whole answer beside everything else."""


def decode_answer(body: bytes) -> Answer:
    """The answer in ``body``.

    Raises:
        BadAnswer: it isn't one; ``param`` is the path of the field at fault.
    """
    fields = Fields(read_json(body, bad_answer), "", bad_answer)
    if fields.left.get("type") == "error":
        raise fields.fault("type", "is error: this is no answer")
    if not isinstance(fields.left.get("content"), list):
        raise fields.wrong(fields.left.get("content"), "a list of blocks", "content")
    if fields.left.get("type") == "message":
        fields.take("type")
    if fields.left.get("role") == "assistant":
        fields.take("role")
    parts = read_blocks(fields, "content", answered=True)
    word = fields.text("stop_reason")
    if word is None:
        fields.left.pop("stop_reason", None)
    usage = fields.fields("usage")
    of_the_end: dict[str, Any] = {name: fields.left.pop(name) for name in OF_THE_END if name in fields.left}
    choice = Choice(
        index=0,
        message=Message(role=Role.ASSISTANT, parts=parts),
        finish=None if word is None else finish_of(word),
        extra=of_the_end,
    )
    return Answer(
        id=fields.text("id") or "",
        model=fields.text("model") or "",
        choices=(choice,),
        usage=None if usage is None else read_usage(usage),
        dialect=DIALECT,
        extra=fields.left,
    )


def encode_answer(answer: Answer) -> bytes:
    """The body that gives ``answer``: its first choice. What has no place in an answer here is left out.

    Raises:
        InvalidRequest: it holds something that JSON can't say.
    """
    writer = BlockWriter(answer.dialect, answered=True)
    choice = answer.choices[0] if answer.choices else Choice(index=0, message=Message(role=Role.ASSISTANT))
    content: list[dict[str, Any]] = []
    for part in with_ids(choice.parts, answer.id):
        content += writer.blocks(part, "content")
    usage = answer.usage
    known: dict[str, Any] = {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
    }
    nulls = {"stop_reason": None, "stop_sequence": None}
    end = (
        {}
        if choice.finish is None
        else {"stop_reason": finish_word(finish_with(choice.finish, choice.parts))}
    )
    extra = writer.leftovers(choice.extra, "") | writer.leftovers(answer.extra, "")
    told = {"usage": write_usage(usage, {} if usage is None else writer.leftovers(usage.extra, "usage"))}
    return write_json(nulls | merged(known | end | told, extra))


def finish_with(finish: Finish, parts: tuple[Part, ...]) -> Finish:
    """A refusal or a call that another dialect tells only in the message is a stop reason here."""
    if finish.reason is not FinishReason.STOP:
        return finish
    if any(isinstance(part, ToolCall) for part in parts):
        return Finish(FinishReason.TOOL_CALLS, "tool_use")
    if any(isinstance(part, Refusal) for part in parts):
        return Finish(FinishReason.CONTENT_FILTER, "refusal")
    return finish


def with_ids(parts: tuple[Part, ...], answer_id: str) -> list[Part]:
    """``parts`` with an id on every tool call: Anthropic's callers match results by them."""
    calls = 0
    out: list[Part] = []
    for part in parts:
        if isinstance(part, ToolCall):
            calls += 1
            if part.id is None:
                part = replace(part, id=made_id(answer_id, 0, calls - 1))  # noqa: PLW2901  # the same part, completed
        out.append(part)
    return out
