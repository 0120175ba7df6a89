"""Thoughts of other providers that came to the caller in pieces, put together again.

A stream tells a thought's text first and its signature last, in a part of its own; SDKs keep each chunk as a content of its
own in their history. Google doesn't mind. The provider that signed the thought does: it wants the whole text beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.dialects.gemini.names import DIALECT
from holdfast.model import Message, Reasoning, Role, Text

if TYPE_CHECKING:
    from holdfast.model import Part, Request

__all__ = ["rejoined"]


def rejoined(request: Request) -> Request:
    """``request`` with each foreign signature on all of its text; the same where there is none."""
    if not any(_sealed(part) for message in request.messages for part in message.parts):
        return request
    messages: list[Message] = []
    for message in request.messages:
        last = messages[-1] if messages else None
        if last is not None and last.role is message.role is Role.ASSISTANT and not message.extra:
            messages[-1] = replace(last, parts=last.parts + message.parts)
        else:
            messages.append(message)
    return replace(
        request,
        messages=tuple(
            replace(message, parts=_joined(message.parts)) if message.role is Role.ASSISTANT else message
            for message in messages
        ),
    )


def _joined(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    out: list[Part] = []
    for part in parts:
        if isinstance(part, Text | Reasoning) and not part.text and _sealed(part):
            text: list[str] = []
            while out and _is_piece_of(part, out[-1]):
                before = out.pop()
                text.append(before.text)  # type: ignore[union-attr]  # a piece has the type of the part
            out.append(replace(part, text="".join(reversed(text))))
        else:
            out.append(part)
    return tuple(out)


def _sealed(part: Part) -> bool:
    return isinstance(part, Text | Reasoning) and part.signed_by not in (None, DIALECT)


def _is_piece_of(part: Text | Reasoning, before: Part) -> bool:
    if type(before) is not type(part) or (isinstance(part, Reasoning) and part.encrypted is not None):
        return False
    return not before.extra and _signature(before) is None


def _signature(part: Part) -> str | None:
    if isinstance(part, Reasoning):
        return part.signature if part.encrypted is None else part.encrypted
    return part.signature if isinstance(part, Text) else None
