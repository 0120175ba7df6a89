"""Whole answers, both ways and without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from holdfast.dialects.calls import made_id
from holdfast.dialects.counted import readable
from holdfast.dialects.openai_chat.messages import read_message, write_message
from holdfast.dialects.openai_chat.names import DIALECT, finish_of, finish_word
from holdfast.dialects.openai_chat.usage import read_usage, write_usage
from holdfast.dialects.openai_chat.writer import ChatWriter
from holdfast.dialects.reading import Fields, bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.model import Answer, Choice, Message, Part, ToolCall

if TYPE_CHECKING:
    from holdfast.model import Usage

__all__ = ["decode_answer", "encode_answer"]

OBJECT = "chat.completion"


def decode_answer(body: bytes) -> Answer:
    """The answer in ``body``.

    Raises:
        BadAnswer: it isn't one; ``param`` is the path of the field at fault.
    """
    fields = Fields(read_json(body, bad_answer), "", bad_answer)
    if fields.left.get("error") is not None:
        raise fields.fault("error", "is set: this is an error, not an answer")
    if not isinstance(fields.left.get("choices"), list):
        raise fields.wrong(fields.left.get("choices"), "a list of choices", "choices")
    if fields.left.get("object") == OBJECT:
        fields.take("object")
    choices = tuple(_read_choice(choice, at) for at, choice in enumerate(fields.each("choices")))
    fields.left.pop("choices", None)
    usage = fields.fields("usage")
    return Answer(
        id=fields.text("id") or "",
        model=fields.text("model") or "",
        created=fields.integer("created"),
        choices=choices,
        usage=readable(usage, read_usage),
        dialect=DIALECT,
        extra=fields.left,
    )


def encode_answer(answer: Answer) -> bytes:
    """The body that gives ``answer``. Another dialect's leftovers have no place here and are left out.

    Raises:
        InvalidRequest: it holds something that JSON can't say.
    """
    writer = ChatWriter(answer.dialect, answered=True)
    extra = writer.leftovers(answer.extra, "")
    known: dict[str, Any] = {
        "id": answer.id,
        "object": extra.get("object") or OBJECT,
        "created": answer.created,
        "model": answer.model,
        "choices": [_write_choice(choice, answer.id, writer) for choice in answer.choices],
        "usage": _write_usage(answer.usage, writer),
    }
    return write_json(merged(known, extra))


def _read_choice(choice: Fields, at: int) -> Choice:
    index = choice.integer("index")
    message = choice.needed_fields("message")
    word = choice.text("finish_reason")
    if word is None:
        choice.left.pop("finish_reason", None)
    return Choice(
        index=at if index is None else index,
        message=read_message(message, answered=True),
        finish=None if word is None else finish_of(word),
        extra=choice.left,
    )


def _write_choice(choice: Choice, answer_id: str, writer: ChatWriter) -> dict[str, Any]:
    path = f"choices[{choice.index}]"
    said = choice.message if writer.own else _callable(choice, answer_id)
    (message,) = write_message(said, writer, f"{path}.message", answered=True)
    known = {"index": choice.index, "message": message}
    called = any(isinstance(part, ToolCall) for part in choice.parts)
    finish = None if choice.finish is None else finish_word(choice.finish, own=writer.own, called=called)
    return merged(known, {"finish_reason": finish, **writer.leftovers(choice.extra, path)})


def _callable(choice: Choice, answer_id: str) -> Message:
    """The message with what callers need to answer its calls: an id, and arguments that are JSON."""
    parts: list[Part] = []
    ordinal = 0
    for part in choice.parts:
        if isinstance(part, ToolCall):
            id_ = part.id or made_id(answer_id, choice.index, ordinal)
            part = replace(part, id=id_, arguments=part.arguments or "{}")  # noqa: PLW2901  # the same part, completed
            ordinal += 1
        parts.append(part)
    return replace(choice.message, parts=tuple(parts))


def _write_usage(usage: Usage | None, writer: ChatWriter) -> dict[str, Any] | None:
    return None if usage is None else write_usage(usage, writer.leftovers(usage.extra, "usage"))
