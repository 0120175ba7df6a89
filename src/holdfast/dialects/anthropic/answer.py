"""Whole answers, both ways and without loss. An answer is one message: there are no alternatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.dialects.anthropic.names import DIALECT, finish_of, finish_word, made_message_id
from holdfast.dialects.anthropic.parts import read_parts, write_part
from holdfast.dialects.anthropic.usage import NO_USAGE, read_usage, write_usage
from holdfast.dialects.anthropic.writer import AnthropicWriter
from holdfast.dialects.calls import made_id
from holdfast.dialects.counted import readable
from holdfast.dialects.reading import Fields, bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.model import Answer, Choice, Message, Refusal, Role, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.model import Part, Usage

__all__ = ["OF_THE_END", "decode_answer", "encode_answer", "usage_fields"]

OF_THE_END: Final = ("stop_sequence", "stop_details", "container")
"""What a stream tells with its end, and a whole answer beside everything else: in the model it belongs to the choice."""


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
    for name, usual in (("type", "message"), ("role", Role.ASSISTANT.value)):
        if fields.left.get(name) == usual:
            del fields.left[name]
    parts, _ = read_parts(fields, "content", answered=True)
    word = fields.text("stop_reason")
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
        usage=readable(usage, read_usage),
        dialect=DIALECT,
        extra=fields.left,
    )


def encode_answer(answer: Answer) -> bytes:
    """The body that gives ``answer``: its first choice. What has no place in an answer here is left out.

    Raises:
        InvalidRequest: it holds something that JSON can't say.
    """
    writer = AnthropicWriter(answer.dialect, answered=True)
    choice = min(answer.choices, key=lambda each: each.index, default=_NOTHING)
    extra = writer.leftovers(answer.extra, "")
    id_ = answer.id or made_message_id(answer.model, answer.created)
    known: dict[str, Any] = {
        "id": id_,
        "type": extra.get("type", "message"),
        "role": extra.get("role", Role.ASSISTANT.value),
        "model": answer.model,
        "content": [
            block for part in _with_ids(choice.parts, id_) for block in write_part(part, writer, "content")
        ],
        "usage": usage_fields(answer.usage, writer),
    }
    end: dict[str, Any] = {"stop_reason": _stop_reason(choice, writer), "stop_sequence": None}
    end |= writer.leftovers(choice.extra, "")
    return write_json(merged(known, end | extra))


def usage_fields(usage: Usage | None, writer: AnthropicWriter) -> dict[str, Any]:
    return dict(NO_USAGE) if usage is None else write_usage(usage, writer.leftovers(usage.extra, "usage"))


def _stop_reason(choice: Choice, writer: AnthropicWriter) -> str | None:
    if choice.finish is None:
        return None
    called = any(isinstance(part, ToolCall) for part in choice.parts)
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    return finish_word(choice.finish, own=writer.own, called=called, refused=refused)


def _with_ids(parts: tuple[Part, ...], answer_id: str) -> Iterator[Part]:
    """``parts`` with an id on every call: callers match their results by it."""
    calls = 0
    for part in parts:
        if isinstance(part, ToolCall):
            yield part if part.id is not None else replace(part, id=made_id(answer_id, 0, calls))
            calls += 1
        else:
            yield part


_NOTHING: Final = Choice(index=0, message=Message(role=Role.ASSISTANT))
