"""What goes back into a conversation: everything that any provider can be told, and nothing that only one knows."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given

from holdfast.client.conversation import portable, request_of
from holdfast.dialects.openai_chat.codec import OpenAIChatCodec
from holdfast.errors import InvalidRequest
from holdfast.model import (
    Citation,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
)
from holdfast.testing.strategies import answers

ONE = Message(role=Role.ASSISTANT, parts=(Text(text="x"),))


def test_signatures_stay_with_their_issuers_name():
    parts = (
        Reasoning(text="hm", signature="s1"),
        Reasoning(encrypted="e"),
        Reasoning(text="seen"),
        Text(text="so", signature="s2"),
        ToolCall(id="c", name="look", signature="s3"),
        ToolCall(id="d", name="look", signature="s4", signed_by="gemini"),
    )
    message = portable(Message(role=Role.ASSISTANT, parts=parts), "anthropic")
    assert [getattr(part, "signed_by", None) for part in message.parts] == [
        "anthropic",
        "anthropic",
        None,
        "anthropic",
        "anthropic",
        "gemini",
    ]
    assert [getattr(part, "signature", None) for part in message.parts] == [
        "s1",
        None,
        None,
        "s2",
        "s3",
        "s4",
    ]


def test_what_only_one_dialect_knows_is_left_out():
    parts = (
        Text(text="x", extra={"odd": 1}, citations=(Citation(url="u", extra={"odd": 1}),)),
        ToolCall(id="c", name="look", extra={"odd": 1}),
        Refusal(text="no", extra={"odd": 1}),
        Reasoning(text="hm", signature="s", extra={"odd": 1}),
    )
    message = Message(role=Role.ASSISTANT, parts=parts, spelling={"reasoning": "x"}, extra={"odd": 1})
    assert b"odd" not in msgspec.json.encode(portable(message, "anthropic"))
    assert portable(message, "anthropic").spelling == {}
    own = portable(message, "openai_chat")
    assert own.spelling == {"reasoning": "x"}
    assert own.parts[3].extra == {"odd": 1}, "a signed thought must go back as it came"
    assert own.extra == {}


def test_a_block_of_one_provider_stays_whole():
    block = Opaque(dialect="anthropic", data={"type": "server_tool_use", "id": "s"})
    assert portable(Message(role=Role.ASSISTANT, parts=(block,)), "anthropic").parts == (block,)


@given(answers())
def test_any_answer_can_go_back(answer):
    """The next request with it can be said in a dialect without leaving anything but thoughts and their marks."""
    for choice in answer.choices:
        message = portable(choice.message, answer.dialect)
        assert [type(part) for part in message.parts] == [type(part) for part in choice.message.parts]
        request = request_of([message], "m", stream=False, parameters={}, extra=None)
        assert request.messages == (message,)
        assert request.dialect == "openai_chat"


def test_values_of_the_model_keep_their_place():
    wire = {"role": "user", "content": "a"}
    request = request_of([wire, ONE, wire, ONE], "m", stream=True, parameters={}, extra=None)
    assert [message.role for message in request.messages] == ["user", "assistant", "user", "assistant"]
    assert request.messages[1] is ONE
    assert request.stream is True
    with pytest.raises(InvalidRequest) as caught:
        request_of([ONE, ONE, {"role": "user"}], "m", stream=True, parameters={}, extra=None)
    assert caught.value.param == "messages[2].content"


def test_a_prompt_is_a_message():
    request = request_of("hi", "m", stream=False, parameters={"n": None}, extra={"user": "u"})
    assert OpenAIChatCodec().encode_request(request) == (
        b'{"model":"m","messages":[{"role":"user","content":"hi"}],"user":"u"}'
    )


def test_an_argument_counts_more_than_the_same_in_extra():
    request = request_of("hi", "m", stream=False, parameters={"seed": 1}, extra={"seed": 2, "top_k": 3})
    assert (request.sampling.seed, request.sampling.top_k) == (1, 3)
