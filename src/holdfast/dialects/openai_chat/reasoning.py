"""Reasoning in all its spellings: ``reasoning_content`` (DeepSeek), ``reasoning`` and ``reasoning_details`` (OpenRouter).

Servers say the same thought in several fields at once. The model holds it once; which fields said it is the message's
``spelling["reasoning"]``, their names joined by ``+``; behind ``reasoning_details`` stands each detail's number and format.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.openai_chat.signed import issuer_of, whose
from holdfast.dialects.openai_chat.writer import ChatWriter, opaque_name
from holdfast.dialects.writing import merged
from holdfast.model import Opaque, Part, Reasoning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
_NO_ASIDE: Final[Mapping[str, Any]] = {}
_NOTHING: Final = ":"
_WORD: Final = re.compile(r"[\w.-]{1,64}")
THOUGHT, SUMMARY, ENCRYPTED = "reasoning.text", "reasoning.summary", "reasoning.encrypted"


def read_reasoning(message: Fields, *, answered: bool = False) -> tuple[tuple[Part, ...], str | None]:
    """The thoughts of a message, and the fields that said them (None: nothing was said)."""
    parts: list[Part] = [read_detail(detail, answered=answered) for detail in message.each(DETAILS)]
    said = [DETAILS] if parts else []
    if parts and not answered and (aside := _taken_aside(parts)).strip(":,"):
        said = [f"{DETAILS}[{aside}]"]
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


def _taken_aside(parts: list[Part]) -> str:
    """What details have beside what they say, their number and their format, taken out of ``parts`` as one word for each.

    Callers hand both back as a stream told them. No other dialect has a place for them, nor any use.
    """
    return ",".join(_aside(part) if isinstance(part, Reasoning) else _NOTHING for part in parts)


def _aside(part: Reasoning) -> str:
    index, format_ = part.extra.get("index"), part.extra.get("format")
    number = word = ""
    if type(index) is int:
        number = str(part.extra.pop("index"))
    if isinstance(format_, str) and _WORD.fullmatch(format_):
        word = part.extra.pop("format")
    return f"{number}:{word}"


def write_reasoning(
    thoughts: Sequence[tuple[str, Part]], spelling: str | None, writer: ChatWriter
) -> dict[str, Any]:
    """The fields that say ``thoughts`` (paths and Reasoning, or Opaque ones of this place), spelled as they were."""
    asides = _asides(spelling, len(thoughts))
    kept = [
        (path, part, aside)
        for (path, part), aside in zip(thoughts, asides, strict=True)
        if _may_be_said(part, writer, path, aside)
    ]
    if not kept:
        return {}
    parts = [part for _, part, _ in kept]
    out: dict[str, Any] = {}
    for name in fields_of(parts, spelling):
        if name == DETAILS:
            details = (write_detail(part, writer, path, aside=aside) for path, part, aside in kept)
            out[name] = [detail for detail in details if detail is not None]
        elif (text := joined(parts)) or writer.own:
            out[name] = text
    return out


def _asides(spelling: str | None, count: int) -> list[dict[str, Any]]:
    """For each of ``count`` details what was taken aside; nothing where they aren't those that were read."""
    listed = (spelling or "").partition("[")[2].partition("]")[0].split(",")
    if len(listed) != count:
        return [{} for _ in range(count)]
    pairs = (word.partition(":") for word in listed)
    return [({"index": int(at)} if at else {}) | ({"format": said} if said else {}) for at, _, said in pairs]


def _may_be_said(part: Part, writer: ChatWriter, path: str, aside: Mapping[str, Any]) -> bool:
    """Whether the thought is everybody's, or its reader's own; a request's reader can't use what another signed."""
    if writer.answered or not isinstance(part, Reasoning):
        return True
    if part.signature is None and part.encrypted is None:
        return True
    if writer.issuer(part.signed_by) == DIALECT or _says_its_issuer(part, aside):
        return True
    writer.refuse(path, "reasoning.foreign")
    return False


def _says_its_issuer(part: Reasoning, aside: Mapping[str, Any]) -> bool:
    """OpenRouter's: it passes the proof on to the issuer that it names."""
    return part.signed_by is not None and issuer_of(aside.get("format")) == part.signed_by


def fields_of(parts: Sequence[Part], spelling: str | None) -> list[str]:
    """Where to say ``parts``: as they were said, else where most clients look, with details if only those can hold it."""
    if spelling is not None:
        return [name.partition("[")[0] for name in spelling.split("+")]
    only_details = any(
        not isinstance(part, Reasoning) or part.signature is not None or part.encrypted is not None
        for part in parts
    )
    return [PLAIN[0], DETAILS] if only_details else [PLAIN[0]]


def joined(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Reasoning))


def read_detail(detail: Fields, *, answered: bool) -> Reasoning | Opaque:
    """One item of ``reasoning_details``. A type that isn't known here stays whole.

    Whose the proof is matters in a request, which may go to another provider than the answer came from. In an answer it is
    simply the provider's, mark and all: only so does it come back to that provider unchanged.
    """
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
    signature, signed_by = detail.text("signature"), None
    if not answered:
        format_ = detail.left.get("format")
        if encrypted is not None:
            encrypted, signed_by = whose(encrypted, format_)
        if signature is not None:
            signature, signed_by = whose(signature, format_)
    return Reasoning(
        text=said or "",
        summary=summary,
        encrypted=encrypted,
        signature=signature,
        signed_by=signed_by,
        id=detail.text("id"),
        extra=detail.left,
    )


def write_detail(
    part: Part,
    writer: ChatWriter,
    path: str,
    kind: str | None = None,
    *,
    begun: bool = False,
    aside: Mapping[str, Any] = _NO_ASIDE,
) -> dict[str, Any] | None:
    """The detail for ``part``; ``kind`` where it continues one of that type, ``begun`` where it continues its proof."""
    if isinstance(part, Opaque):
        if part.dialect == DIALECT:
            return part.data
        writer.refuse(path, opaque_name(part.data))
        return None
    assert isinstance(part, Reasoning)  # noqa: S101  # for the type checker: callers pass nothing else
    extra = writer.leftovers(part.extra, path)
    if not writer.own and part.signature is not None:
        part = replace(part, summary=False)  # only a thought's text is signed here, whatever others call it
    kind = kind or detail_kind(part)
    plain = begun or _says_its_issuer(part, aside)
    encrypted, signature = (
        None if proof is None else writer.proof(proof, part.signed_by, begun=plain)
        for proof in (part.encrypted, part.signature)
    )
    known: dict[str, Any] = {"type": kind, "data": encrypted, "signature": signature, "id": part.id}
    field = "summary" if part.summary else "text"
    if part.text or (kind != ENCRYPTED and field not in extra):  # a null text stays null
        known[field] = part.text
    return merged(known | dict(aside), extra)


def detail_kind(part: Reasoning) -> str:
    """The detail's ``type``: by what it holds, unless the provider said otherwise."""
    said = part.extra.get("type")
    return said if said in (THOUGHT, SUMMARY, ENCRYPTED) else _kind(part.encrypted, summary=part.summary)


def _kind(encrypted: str | None, *, summary: bool) -> str:
    if encrypted is not None:
        return ENCRYPTED
    return SUMMARY if summary else THOUGHT
