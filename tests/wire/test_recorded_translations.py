"""What callers really asked, translated to each other dialect and back, keeps what both can say."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from tests.wire.recorded import CHAT, recordings
from tests.wire.speakers import SPEAKERS
from tests.wire.test_translate_and_back import PROOFS, asked_of, promised, unsayable, views

from holdfast.dialects.fields import HARMLESS, NEUTRAL
from holdfast.dialects.writing import Drops
from holdfast.errors import CantExpress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.model import Request

RECORDED = {"openai_chat": CHAT, "anthropic": ("anthropic",), "gemini": ("gemini",)}
ASKS = ("/chat/completions", "/messages", ":generateContent", ":streamGenerateContent")
LEAST = {"openai_chat": 0.6, "anthropic": 0.5, "gemini": 0.6}
"""The share of a dialect's recorded requests that any other has to be able to say, so that the test isn't about nothing.

Anthropic's are mostly about tools that it runs itself, containers and thinking by the token.
"""
ONLY_ITS_OWN = "tool_reference"
"""Blocks by which Anthropic loads tools as it goes. Results that hold nothing else say nothing to anybody else."""


def requests(name: str) -> Iterator[tuple[str, Any]]:
    """What was asked; the model stands in the body, as the gateway puts it there where a dialect has it in the path."""
    for file in RECORDED[name]:
        for exchange in recordings(file):
            path = exchange["path"]
            if path.endswith(ASKS) and not _names(exchange["request"], ONLY_ITS_OWN):
                named = {"model": path.rpartition("/")[2].partition(":")[0]} if ":" in path else {}
                yield exchange["id"], {**exchange["request"], **named}


def sent(request: Request, target: str, original: Any) -> Request | CantExpress:
    """``request`` as ``target`` reads it, with what may be left out by default left out; or why it can't be said there."""
    codec, _ = SPEAKERS[target]
    drops = Drops(HARMLESS)
    reasons = unsayable(request, target)
    try:
        body = codec.encode_request(request, drops)
    except CantExpress as error:
        refusal = error
    else:
        assert set(drops.dropped) <= reasons
        return codec.decode_request(body)
    own = refusal.field not in NEUTRAL and _names(original, refusal.field)
    assert refusal.field in reasons or own, f"{target} refuses {refusal.field}, which its table promises"
    return refusal


def _names(original: Any, field: str | None) -> bool:
    """Whether the caller's JSON has such a field, or a block of that type: something of its own dialect."""
    if isinstance(original, dict):
        return (
            field in original
            or original.get("type") == field
            or any(_names(each, field) for each in original.values())
        )
    return isinstance(original, list) and any(_names(each, field) for each in original)


@pytest.mark.parametrize(("ours", "theirs"), list(product(RECORDED, SPEAKERS)))
def test_recorded_requests_survive_the_way_there_and_back(ours: str, theirs: str) -> None:
    codec, _ = SPEAKERS[ours]
    survived, refused = 0, []
    for id_, original in requests(ours):
        first = codec.decode_request(json.dumps(original).encode())
        there = sent(first, theirs, original)
        if isinstance(there, CantExpress):
            refused.append((id_, there.field))
            continue
        back = sent(there, ours, original)
        assert not isinstance(back, CantExpress), f"{id_}: {ours} can't say what it said itself: {back.field}"
        names = asked_of(first, promised(ours, theirs) - PROOFS, ours)
        assert views(back, names, ours) == views(first, names, ours), id_
        survived += 1
    assert survived >= LEAST[ours] * (survived + len(refused)), refused
