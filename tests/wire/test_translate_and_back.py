"""For any conversation: what both dialects can say is the same after it was translated and translated back."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from tests.wire.speakers import SPEAKERS

from holdfast.dialects.fields import NEUTRAL, Cant, Said
from holdfast.dialects.openai_chat.parts import part_name
from holdfast.dialects.writing import Drops
from holdfast.errors import CantExpress
from holdfast.model import Audio, File, Image, Request, ToolCall, ToolResult, Video
from holdfast.testing.conversations import ADDITIONS, conversations
from holdfast.testing.said import said, says

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROOFS = {"reasoning.signature", "reasoning.encrypted", "reasoning.foreign", "tool_call.signature"}
"""Whose they are changes with whom they are sent to."""
WAIVED = {"tool_call.signature"}
"""A dialect may put something in the place of a signature that isn't there."""


def unsayable(request: Request, target: str) -> set[str]:
    """The fields of ``request`` that the table of ``target`` doesn't promise to carry from the request's dialect."""
    _, table = SPEAKERS[target]
    names = {name for name in NEUTRAL if says(request, name, target) and isinstance(table[name], Cant)}
    if request.dialect not in (
        None,
        target,
    ):  # ids mean something only to the provider that keeps what they name
        names |= {part_name(part) for part in _media(request) if part.data is None and part.url is None}
    if any(_foreign(call, request, target) for message in request.messages for call in message.parts):
        names.add("tool_call.signature")
    return names | _unnamed(request)


def _media(request: Request) -> Iterator[Image | Audio | File | Video]:
    for message in request.messages:
        for part in message.parts:
            for each in part.parts if isinstance(part, ToolResult) else (part,):
                if isinstance(each, Image | Audio | File | Video):
                    yield each


def _unnamed(request: Request) -> set[str]:
    """Ways to give sound and film that the vocabulary has no name for, since one dialect alone knows them."""
    return {
        name
        for part in _media(request)
        if isinstance(part, Audio | Video) and part.data is None
        for name in ("audio.data", "video.data", part_name(part))
    }


def _foreign(part: Any, request: Request, target: str) -> bool:
    signed = isinstance(part, ToolCall) and part.signature is not None
    return signed and (part.signed_by or request.dialect or target) != target


def translated(request: Request, target: str) -> tuple[Request, tuple[str, ...]]:
    """``request`` as a caller of ``target`` would have asked it, and what had to be left out for that.

    What is refused is something that the table says can't be said; permitted to be left out, it is no hindrance.
    """
    codec, _ = SPEAKERS[target]
    reasons = unsayable(request, target)
    try:
        return codec.decode_request(codec.encode_request(request)), ()
    except CantExpress as refusal:
        if refusal.field not in reasons:
            raise AssertionError(f"{target} refuses {refusal.field}, which its table promises") from None
    drops = Drops(reasons)
    body = codec.encode_request(request, drops)
    assert drops.dropped
    return codec.decode_request(body), drops.dropped


def views(request: Request, names: Iterable[str], asked: str) -> dict[str, Any]:
    return {name: said(request, name, asked) for name in names}


def asked_of(request: Request, names: Iterable[str], asked: str) -> list[str]:
    """Those of ``names`` that it says anything of. What else comes back stands in for a field without a place of its own."""
    return [name for name in sorted(names) if says(request, name, asked)]


def without(names: set[str], lost: Iterable[str]) -> set[str]:
    """``names`` less what was left out. A refusal counts as text, which is how it is said where it has no field."""
    gone = set(lost)
    return names - gone - ({"text"} if "refusal" in gone else set())


def told_as_text(request: Request, *dialects: str) -> set[str]:
    """``text``, where a refusal is told as one."""
    as_text = any(isinstance(row := SPEAKERS[each][1]["refusal"], Said) and not row.back for each in dialects)
    return {"text"} if as_text and any(says(request, "refusal", each) for each in dialects) else set()


def _proofs_of_calls(request: Request, asked: str) -> set[str]:
    return (
        set(said(request, "tool_call.signature", asked))
        if "tool_call.signature" in promised(asked)
        else set()
    )


def promised(*dialects: str) -> set[str]:
    """The fields that each of ``dialects`` says and gives back."""
    tables = [SPEAKERS[dialect][1] for dialect in dialects]
    return {
        name for name in NEUTRAL if all(isinstance(row := table[name], Said) and row.back for table in tables)
    }


@pytest.mark.parametrize(("ours", "theirs"), list(product(SPEAKERS, repeat=2)))
def test_what_both_can_say_survives_the_way_there_and_back(ours: str, theirs: str) -> None:
    @given(conversations())
    def check(request: Request) -> None:
        first, never_said = translated(request, ours)
        own = asked_of(request, without(promised(ours), never_said) - WAIVED, ours)
        assert views(first, own, ours) == views(request, own, ours)
        if not WAIVED & set(never_said):
            assert _proofs_of_calls(request, ours) <= _proofs_of_calls(first, ours)
        there, lost_there = translated(first, theirs)
        back, lost_back = translated(there, ours)
        names = asked_of(first, without(promised(ours, theirs) - PROOFS, lost_there + lost_back), ours)
        assert views(back, names, ours) == views(first, names, ours)

    check()


def test_conversations_say_everything_there_is() -> None:
    told_by_others = {"text", "tool_call.id", "tool_result.text"}
    assert set(NEUTRAL) - set(ADDITIONS) == told_by_others
    assert set(ADDITIONS) <= set(NEUTRAL)
