"""An answer of any other dialect arrives, whole and streamed, and both tell the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.speakers import SPEAKERS

from holdfast.model import (
    Answer,
    Choice,
    Finish,
    FinishReason,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    fold,
    in_pieces,
    split,
)
from holdfast.testing.strategies import foreign_answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.dialects.codec import DialectCodec


MATCHED_BY_ID = {"openai_chat", "anthropic"}
"""Dialects whose callers need an id to answer a call; elsewhere names and order do."""

PROVEN = Answer(
    id="i",
    model="m",
    dialect="elsewhere",
    choices=(
        Choice(
            index=0,
            message=Message(
                role=Role.ASSISTANT,
                parts=(
                    Reasoning(text="hm", signature="b25l"),
                    Text(text="so", signature="dHdv"),
                    ToolCall(id="c", name="f", arguments="{}", signature="dGhyZWU="),
                ),
            ),
            finish=Finish(FinishReason.TOOL_CALLS, "calls"),
        ),
    ),
)


def told(answer: Answer) -> dict[str, Any]:
    """What callers act on: the text, the thoughts, the calls and how it ended."""
    (choice,) = answer.choices
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    return {
        "text": choice.text,
        "thoughts": "".join(part.text for part in choice.parts if isinstance(part, Reasoning)),
        "calls": [(call.name, json.loads(call.arguments)) for call in calls],
        "ids": [call.id for call in calls],
        "finish": choice.finish and choice.finish.reason,
        "usage": answer.usage and (answer.usage.input_tokens, answer.usage.output_tokens),
    }


def streamed(codec: DialectCodec, answer: Answer, size: int) -> Answer:
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    wire = b"".join(encoder.encode(event) for event in split(answer, in_pieces(size)))
    return fold(decoder.feed(wire) + decoder.finish())


@pytest.mark.parametrize("name", SPEAKERS)
def test_what_callers_act_on_arrives(name: str) -> None:
    codec, _ = SPEAKERS[name]

    @given(foreign_answers(), st.integers(1, 9))
    def check(answer: Answer, size: int) -> None:
        whole = told(codec.decode_answer(codec.encode_answer(answer)))
        assert told(streamed(codec, answer, size)) == whole
        (choice,) = answer.choices
        calls = [part for part in choice.parts if isinstance(part, ToolCall)]
        refused = "".join(part.text for part in choice.parts if isinstance(part, Refusal))
        # A dialect without refusals tells them as text.
        assert sorted(whole["text"]) in (sorted(choice.text), sorted(choice.text + refused))
        assert whole["calls"] == [(call.name, json.loads(call.arguments or "{}")) for call in calls]
        given_ids = [call.id for call in calls if call.id]
        if len(set(given_ids)) == len(given_ids) and name in MATCHED_BY_ID:
            assert len(set(whole["ids"]) - {None}) == len(calls)
        refused = any(isinstance(part, Refusal) for part in choice.parts)
        if calls and not refused and choice.finish and choice.finish.reason is FinishReason.STOP:
            assert whole["finish"] is FinishReason.TOOL_CALLS

    check()


HANDED_BACK: dict[str, Callable[[Any], dict[str, Any]]] = {
    "openai_chat": lambda answer: {"messages": [answer["choices"][0]["message"]]},
    "anthropic": lambda answer: {
        "max_tokens": 9,
        "messages": [{"role": "assistant", "content": answer["content"]}],
    },
    "gemini": lambda answer: {"contents": [answer["candidates"][0]["content"]]},
}
"""A conversation as callers go on with it: what they were told, as they were told it."""


@pytest.mark.parametrize("name", SPEAKERS)
@pytest.mark.parametrize("size", [None, 1, 100])
def test_signatures_come_back_with_their_issuer_however_they_were_told(name: str, size: int | None) -> None:
    codec, _ = SPEAKERS[name]
    body = codec.encode_answer(PROVEN if size is None else streamed(codec, PROVEN, size))
    request = {"model": "m", **HANDED_BACK[name](json.loads(body))}
    (message,) = codec.decode_request(json.dumps(request).encode()).messages
    proofs = {
        type(part): (part.signature, part.signed_by)
        for part in message.parts
        if isinstance(part, Text | Reasoning | ToolCall) and part.signature
    }
    issued = {
        type(part): (part.signature, "elsewhere")
        for part in PROVEN.choices[0].message.parts
        if isinstance(part, Text | Reasoning | ToolCall) and type(part) in proofs
    }
    assert proofs == issued
    assert Reasoning in proofs
