"""Whole answers, both ways and without loss."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.dialects.calls import made_id
from holdfast.dialects.counted import readable
from holdfast.dialects.gemini.citations import citations_in, grounding_of
from holdfast.dialects.gemini.contents import write_parts
from holdfast.dialects.gemini.names import (
    DIALECT,
    MALFORMED_CALL,
    MODEL,
    UNSPECIFIED,
    blocked_of,
    finish_of,
    finish_word,
)
from holdfast.dialects.gemini.parts import read_part
from holdfast.dialects.gemini.usage import read_usage, write_usage
from holdfast.dialects.gemini.writer import GeminiWriter
from holdfast.dialects.reading import Fields, bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.model import Answer, Choice, Finish, FinishReason, Message, Part, Role, Text, ToolCall

if TYPE_CHECKING:
    from holdfast.model import Usage

__all__ = [
    "ABSENT",
    "NO_CANDIDATE",
    "block_reason",
    "created_at",
    "decode_answer",
    "encode_answer",
    "finish_reason",
    "told_word",
    "write_created",
    "write_usage_of",
]

NO_CANDIDATE: Final = "candidate"
"""The key in a message's ``spelling`` where the prompt was blocked, so that there is no candidate to say why."""
ABSENT: Final = "absent"


def decode_answer(body: bytes) -> Answer:
    """The answer in ``body``.

    Raises:
        BadAnswer: it isn't one; ``param`` is the path of the field at fault.
    """
    value = read_json(body, bad_answer)
    if isinstance(value, list) and len(value) == 1:  # as streamGenerateContent gives it without `alt=sse`
        value = value[0]
    fields = Fields(value, "", bad_answer)
    if fields.left.get("error") is not None:
        raise fields.fault("error", "is set: this is an error, not an answer")
    reason = block_reason(fields)
    candidates = fields.left.get("candidates")
    if not isinstance(candidates, list) and (
        candidates is not None or (reason is None and "usageMetadata" not in fields.left)
    ):
        raise fields.wrong(candidates, "a list of candidates", "candidates")
    choices = tuple(_read_candidate(candidate, at) for at, candidate in enumerate(fields.each("candidates")))
    if reason is not None and not choices:
        choices = (_blocked(reason),)
    usage = fields.fields("usageMetadata")
    created, exact = created_at(fields.left.get("createTime"))
    if exact:
        fields.take("createTime")
    return Answer(
        id=fields.text("responseId") or "",
        model=fields.text("modelVersion") or "",
        created=created,
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
    writer = GeminiWriter(answer.dialect, answered=True)
    extra = writer.leftovers(answer.extra, "")
    candidates = [
        _write_candidate(choice if writer.own else with_ids(choice, answer.id), writer)
        for choice in answer.choices
        if not (writer.own and NO_CANDIDATE in choice.message.spelling)
    ]
    blocked = len(candidates) < len(answer.choices)
    known: dict[str, Any] = {
        "candidates": None if blocked and not candidates else candidates,
        "usageMetadata": write_usage_of(answer.usage, writer),
        "modelVersion": answer.model or None,
        "responseId": answer.id or None,
        "createTime": write_created(answer.created, extra),
    }
    return write_json(merged(known, extra))


def block_reason(fields: Fields) -> str | None:
    """Why the prompt was refused, if it was: then there are no candidates."""
    feedback = fields.left.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    return reason if isinstance(reason, str) and reason not in UNSPECIFIED else None


def finish_reason(candidate: Fields) -> str | None:
    """Why the candidate ended, if it has."""
    word = candidate.text("finishReason")
    candidate.left.pop("finishReason", None)
    return None if word is None or word in UNSPECIFIED else word


def created_at(text: Any) -> tuple[int | None, bool]:
    """``createTime`` (RFC 3339) in Unix seconds, and whether that says all of it."""
    if not isinstance(text, str):
        return None, False
    try:
        moment = datetime.fromisoformat(text)
        seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None, False
    return seconds, _rfc3339(seconds) == text


def write_created(created: int | None, extra: dict[str, Any]) -> str | None:
    return None if created is None or "createTime" in extra else _rfc3339(created)


def with_ids(choice: Choice, answer_id: str) -> Choice:
    """``choice`` with an id on every call, made where its provider gave none: callers tell calls apart by it."""
    parts: list[Part] = []
    ordinal = 0
    for part in choice.parts:
        if isinstance(part, ToolCall):
            part = replace(part, id=part.id or made_id(answer_id, choice.index, ordinal))  # noqa: PLW2901  # the same part, completed
            ordinal += 1
        parts.append(part)
    return replace(choice, message=replace(choice.message, parts=tuple(parts)))


def told_word(finish: Finish, *, own: bool, unsaid_calls: bool) -> str:
    """The finish reason. A call whose arguments aren't an object couldn't be told, which Google has a word for."""
    if unsaid_calls and finish.reason in (FinishReason.STOP, FinishReason.TOOL_CALLS):
        return MALFORMED_CALL
    return finish_word(finish, own=own)


def write_usage_of(usage: Usage | None, writer: GeminiWriter) -> dict[str, Any] | None:
    return None if usage is None else write_usage(usage, writer.leftovers(usage.extra, "usage"))


def _read_candidate(candidate: Fields, at: int) -> Choice:
    index = candidate.integer("index")
    content = candidate.fields("content")
    parts: list[Part] = []
    extra: dict[str, Any] = {}
    if content is not None:
        read = [read_part(part, answered=True) for part in content.each("parts")]
        parts = [part for part, _ in read]
        content.text("role")
        extra = content.left
    word = finish_reason(candidate)
    called = any(isinstance(part, ToolCall) for part in parts)
    message = Message(role=Role.ASSISTANT, parts=_cited(parts, candidate), extra=extra)
    return Choice(
        index=at if index is None else index,
        message=message,
        finish=None if word is None else finish_of(word, called=called),
        extra=candidate.left,
    )


def _cited(parts: list[Part], candidate: Fields) -> tuple[Part, ...]:
    """``parts`` with the candidate's citations on its last text."""
    citations = tuple(citations_in(candidate.left))
    if citations:
        for at in reversed(range(len(parts))):
            part = parts[at]
            if isinstance(part, Text) and part.text:
                parts[at] = replace(part, citations=citations)
                break
    return tuple(parts)


def _blocked(reason: str) -> Choice:
    message = Message(role=Role.ASSISTANT, spelling={NO_CANDIDATE: ABSENT})
    return Choice(index=0, message=message, finish=blocked_of(reason))


def _write_candidate(choice: Choice, writer: GeminiWriter) -> dict[str, Any]:
    path = f"choices[{choice.index}]"
    message = choice.message
    parts = write_parts(message.parts, writer, f"{path}.message", {})
    calls = sum(isinstance(part, ToolCall) for part in message.parts)
    unsaid = calls > sum("functionCall" in part for part in parts)
    content = {"parts": parts or None, "role": MODEL}
    finish = choice.finish
    known: dict[str, Any] = {
        "content": merged(content, writer.leftovers(message.extra, f"{path}.message")),
        "finishReason": None if finish is None else told_word(finish, own=writer.own, unsaid_calls=unsaid),
        "index": choice.index,
    }
    if not writer.same:
        known |= grounding_of(
            each for part in message.parts if isinstance(part, Text) for each in part.citations
        )
    return merged(known, writer.leftovers(choice.extra, path))


def _rfc3339(seconds: int) -> str | None:
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment.year >= 1_000 else None
