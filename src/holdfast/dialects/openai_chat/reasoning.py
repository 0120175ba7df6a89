"""Reasoning in all its spellings: ``reasoning_content`` (DeepSeek), ``reasoning`` and ``reasoning_details`` (OpenRouter).

Servers say the same thought in several fields at once. The model holds it once; which fields said it is the message's
``spelling["reasoning"]``, their names joined by ``+``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.writing import Writer, merged
from holdfast.model import Opaque, Part, Reasoning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.dialects.reading import Fields

__all__ = [
    "DETAILS",
    "PLAIN",
    "SPELLING",
    "detail_kind",
    "fields_of",
    "joined",
    "read_detail",
    "read_reasoning",
    "write_detail",
    "write_reasoning",
]

DETAILS = "reasoning_details"
PLAIN = ("reasoning_content", "reasoning")
SPELLING = "reasoning"
"""The key in a message's ``spelling``."""
THOUGHT, SUMMARY, ENCRYPTED = "reasoning.text", "reasoning.summary", "reasoning.encrypted"


def read_reasoning(message: Fields) -> tuple[tuple[Part, ...], str | None]:
    """The thoughts of a message, and the fields that said them (None: nothing was said)."""
    parts: list[Part] = [read_detail(detail) for detail in message.each(DETAILS)]
    said = [DETAILS] if parts else []
    text = joined(parts) if parts else None
    for name in PLAIN:
        plain = message.text(name)
        if plain is None:
            continue
        if text is None:
            text = plain
            parts.append(Reasoning(text=plain))
        if plain == text:
            said.append(name)
        else:
            message.left[name] = plain
    return tuple(parts), "+".join(said) or None


def write_reasoning(parts: Sequence[Part], spelling: str | None, writer: Writer, path: str) -> dict[str, Any]:
    """The fields that say ``parts`` (Reasoning, and Opaque ones of this place), spelled as they were."""
    if not parts:
        return {}
    out: dict[str, Any] = {}
    for name in fields_of(parts, spelling):
        if name == DETAILS:
            details = (write_detail(part, writer, f"{path}.{DETAILS}[{at}]") for at, part in enumerate(parts))
            out[name] = [detail for detail in details if detail is not None]
        else:
            out[name] = joined(parts)
    return out


def fields_of(parts: Sequence[Part], spelling: str | None) -> list[str]:
    """Where to say ``parts``: as they were said, else where most clients look, with details if only those can hold it."""
    if spelling is not None:
        return spelling.split("+")
    only_details = any(
        not isinstance(part, Reasoning) or part.signature is not None or part.encrypted is not None
        for part in parts
    )
    return [PLAIN[0], DETAILS] if only_details else [PLAIN[0]]


def joined(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Reasoning))


def read_detail(detail: Fields) -> Reasoning | Opaque:
    """One item of ``reasoning_details``. A type that isn't known here stays whole."""
    kind = detail.left.get("type")
    if kind not in (THOUGHT, SUMMARY, ENCRYPTED):
        return Opaque(dialect=DIALECT, data=detail.left, place=DETAILS)
    encrypted = detail.text("data")
    summary = kind == SUMMARY or (kind == ENCRYPTED and "summary" in detail.left)
    field = "summary" if summary else "text"
    said = detail.text(field)
    if said == "" and kind == ENCRYPTED:  # not what it says; kept as it stands
        detail.left[field] = said
    if kind == _kind(encrypted, summary=summary):
        del detail.left["type"]
    return Reasoning(
        text=said or "",
        summary=summary,
        encrypted=encrypted,
        signature=detail.text("signature"),
        id=detail.text("id"),
        extra=detail.left,
    )


def write_detail(part: Part, writer: Writer, path: str, kind: str | None = None) -> dict[str, Any] | None:
    """The detail for ``part``; ``kind`` where it continues one of that type."""
    if isinstance(part, Opaque):
        if part.dialect == DIALECT:
            return part.data
        writer.refuse(path)
        return None
    assert isinstance(part, Reasoning)  # noqa: S101  # for the type checker: callers pass nothing else
    extra = writer.leftovers(part.extra, path)
    kind = kind or detail_kind(part)
    known: dict[str, Any] = {"type": kind, "data": part.encrypted, "signature": part.signature, "id": part.id}
    field = "summary" if part.summary else "text"
    if part.text or (kind != ENCRYPTED and field not in extra):  # a null text stays null
        known[field] = part.text
    return merged(known, extra)


def detail_kind(part: Reasoning) -> str:
    """The detail's ``type``: by what it holds, unless the provider said otherwise."""
    said = part.extra.get("type")
    return said if isinstance(said, str) else _kind(part.encrypted, summary=part.summary)


def _kind(encrypted: str | None, *, summary: bool) -> str:
    if encrypted is not None:
        return ENCRYPTED
    return SUMMARY if summary else THOUGHT
