"""A whole answer: what the provider is asked, what the caller gets, what the ledger says."""

from __future__ import annotations

import asyncio
import json
import math
from decimal import Decimal

import pytest
from tests.simulation.chat_wire import JSON, refuses, speaks, stream, whole
from tests.unit.client.here import Here, in_virtual_time

from holdfast import Client
from holdfast.errors import (
    ConfigError,
    InvalidRequest,
    RequestRefused,
    TargetsFailed,
    UnknownModel,
)
from holdfast.model import (
    FinishReason,
    Message,
    OutputFormat,
    OutputKind,
    Role,
    Text,
    Tool,
    ToolChoice,
    ToolMode,
)
from holdfast.testing.memory_transport import Reply

LOOK = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}


def received(here: Here, name: str = "a") -> dict:
    (request,) = here.arrivals(name)
    return json.loads(request.body)


def test_an_answer_with_all_that_is_known_of_it():
    async def main(here: Here) -> None:
        answer = await here.client.chat("Say hello.")

        assert (answer.text, answer.finish_reason, answer.provider, answer.model) == (
            "hello",
            "stop",
            "a",
            "m",
        )
        assert answer.finish_reason is FinishReason.STOP
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5)
        assert answer.cost_usd == Decimal("0.00006")
        assert (answer.attempts, answer.dropped, answer.reasoning, answer.tool_calls) == (1, (), "", ())
        assert answer.answer.model == "m-1", "what the provider calls it"
        assert answer.message == Message(role=Role.ASSISTANT, parts=(Text(text="hello"),))
        record = here.record()
        assert (record.intent.id, record.state, record.intent.dialect) == (
            answer.request_id,
            "ok",
            "holdfast",
        )
        assert not record.intent.stream
        assert repr(answer) == (
            "ChatAnswer(text='hello', tool_calls=0, finish_reason='stop', provider='a', model='m', attempts=1, "
            "cost_usd=0.000060000)"
        )
        assert received(here) == {"model": "m", "messages": [{"role": "user", "content": "Say hello."}]}

    in_virtual_time({"a": [whole()]}, main)


def test_every_argument_reaches_the_provider():
    async def main(here: Here) -> None:
        await here.client.chat(
            [
                {"role": "system", "content": "Be brief."},
                Message(role=Role.USER, parts=(Text(text="from the model"),)),
                {"role": "user", "content": [{"type": "text", "text": "What is this?"}]},
            ],
            "CHAT",
            tools=[LOOK, Tool(name="find", parameters={"type": "object"})],
            tool_choice="required",
            parallel_tool_calls=False,
            temperature=0.5,
            top_p=0.9,
            max_tokens=77,
            response_format={"type": "json_object"},
            reasoning_effort="low",
            stop=["END"],
            seed=7,
            n=2,
            metadata={"team": "search"},
            extra={"presence_penalty": 0.25, "x_unknown": {"kept": [1, 2.5]}},
            tags={"env": "prod"},
            session="s-1",
        )
        find = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
        asked = received(here)
        asked.pop("max_completion_tokens", None)  # its newer name, which this provider may be sent as well
        assert asked == {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "from the model"},
                {"role": "user", "content": [{"type": "text", "text": "What is this?"}]},
            ],
            "tools": [LOOK, find],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 77,
            "response_format": {"type": "json_object"},
            "reasoning_effort": "low",
            "stop": ["END"],
            "seed": 7,
            "n": 2,
            "metadata": {"team": "search"},
            "presence_penalty": 0.25,
            "x_unknown": {"kept": [1, 2.5]},
        }
        intent = here.record().intent
        assert (intent.tags, intent.session, intent.model) == ({"env": "prod"}, "s-1", "CHAT")

    two = [
        {"index": n, "message": {"role": "assistant", "content": str(n)}, "finish_reason": "stop"}
        for n in range(2)
    ]
    body = json.dumps({"id": "x", "object": "chat.completion", "model": "m", "choices": two}).encode()
    in_virtual_time({"a": [Reply(200, JSON, ((0.0, body),))]}, main)


def test_values_of_the_model_instead_of_dicts():
    async def main(here: Here) -> None:
        await here.client.chat(
            [Message(role=Role.USER, parts=(Text(text="hi"),))],
            tools=[Tool(name="look")],
            tool_choice=ToolChoice(mode=ToolMode.NAMED, names=("look",)),
            response_format=OutputFormat(
                kind=OutputKind.JSON_SCHEMA, name="x", schema={"type": "object"}, strict=True
            ),
        )
        asked = received(here)
        assert asked["tool_choice"] == {"type": "function", "function": {"name": "look"}}
        assert asked["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True},
        }

    in_virtual_time({"a": [whole()]}, main)


def test_numbers_arrive_as_they_were_written():
    async def main(here: Here) -> None:
        await here.client.chat(
            "hi", temperature=Decimal("0.1000000000000000000000001"), seed=10**30, extra={"x": 10**23}
        )
        (request,) = here.arrivals("a")
        assert b'"temperature":0.1000000000000000000000001' in request.body
        assert b'"seed":1000000000000000000000000000000' in request.body
        assert b'"x":100000000000000000000000' in request.body

    in_virtual_time({"a": [whole()]}, main)


def test_a_tool_call_and_what_goes_back():
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sea"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call], "annotations": []}
    body = json.dumps(
        {"model": "m", "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    ).encode()

    async def main(here: Here) -> None:
        conversation = [{"role": "user", "content": "Look."}]
        answer = await here.client.chat(conversation, tools=[LOOK])
        (asked,) = answer.tool_calls
        assert (asked.id, asked.name, json.loads(asked.arguments)) == ("call_1", "look", {"at": "sea"})
        assert answer.finish_reason == "tool_calls"
        result = {"role": "tool", "tool_call_id": asked.id, "content": "waves"}
        assert (await here.client.chat([*conversation, answer.message, result])).text == "hello"
        sent = json.loads(here.arrivals("a")[1].body)["messages"]
        assert sent[0] == conversation[0]
        assert sent[1]["tool_calls"] == [call]
        assert "annotations" not in sent[1], "no leftover of one provider goes to the next"
        assert sent[2] == result

    in_virtual_time({"a": [Reply(200, JSON, ((0.0, body),)), whole()]}, main)


def test_a_signed_thought_goes_back_to_its_provider_as_it_came():
    details = [
        {
            "type": "reasoning.text",
            "text": "hm",
            "signature": "sig",
            "format": "x-v1",
            "index": 0,
            "id": "r1",
        },
        {"type": "reasoning.encrypted", "data": "opaque", "format": "x-v1", "index": 1},
    ]
    message = {"role": "assistant", "content": "So.", "reasoning": "hm", "reasoning_details": details}
    body = json.dumps({"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]}).encode()

    async def main(here: Here) -> None:
        answer = await here.client.chat("Think.")
        assert (answer.text, answer.reasoning) == ("So.", "hm")
        await here.client.chat([{"role": "user", "content": "Think."}, answer.message])
        sent = json.loads(here.arrivals("a")[1].body)["messages"][1]
        assert sent["reasoning_details"] == details
        assert sent["content"] == "So."

    in_virtual_time({"a": [Reply(200, JSON, ((0.0, body),)), whole()]}, main)


def test_the_next_provider_is_asked_the_same():
    async def main(here: Here) -> None:
        answer = await here.client.chat("hi", temperature=0.5, tools=[LOOK])
        assert (answer.provider, answer.attempts, answer.text) == ("b", 2, "hello")
        assert received(here, "a") == received(here, "b")
        assert [row.outcome for row in here.record().end.attempts] == ["overloaded", "ok"]

    in_virtual_time({"a": [refuses(503)], "b": [whole()]}, main)


def test_if_all_fail_one_error_says_how():
    async def main(here: Here) -> None:
        with pytest.raises(TargetsFailed) as caught:
            await here.client.chat("hi")
        assert [(target, error.label) for target, error in caught.value.failures] == [
            ("a/m", "rate_limited"),
            ("b/m", "overloaded"),
        ]
        assert here.record().state == "failed"

    in_virtual_time({"a": [refuses(429)], "b": [refuses(503)]}, main)


def test_a_refused_request_is_the_callers():
    async def main(here: Here) -> None:
        with pytest.raises(RequestRefused) as caught:
            await here.client.chat("hi")
        assert (caught.value.upstream_status, caught.value.dialect) == (400, "openai_chat")
        assert here.arrivals("b") == []

    in_virtual_time({"a": [refuses(400)], "b": [whole()]}, main)


@pytest.mark.parametrize("model", ["chatt", "nope/x", "", "x" * 300])
def test_an_unknown_model_costs_nothing(model):
    async def main(here: Here) -> None:
        with pytest.raises(UnknownModel) as caught:
            await here.client.chat("hi", model)
        assert caught.value.param == "model"
        if model == "chatt":
            assert "chat" in caught.value.message.split("nearest are")[1]
        assert here.records() == []

    in_virtual_time({"a": []}, main)


def test_without_a_key_it_says_which_are_looked_for():
    async def main() -> None:
        async with Client(env={}) as client:
            with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
                await client.chat("hi")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [Message(role=Role.USER), {"role": "user", "content": 7}]},
            "messages[1].content",
        ),
        ({"messages": "hi", "temperature": math.nan}, "temperature"),
        ({"messages": "hi", "tools": "look"}, "tools"),
        ({"messages": "hi", "stop": 7}, "stop"),
        ({"messages": "hi", "extra": {"stream": True}}, "stream"),
        ({"messages": "hi", "timeout": 0}, "timeout"),
        ({"messages": "hi", "timeout": math.nan}, "timeout"),
        ({"messages": "hi", "session": "no spaces"}, "session"),
        ({"messages": "hi", "tags": {"a": "b,c"}}, "tags['a']"),
        ({"messages": "hi", "tags": {str(n): "x" for n in range(17)}}, "tags"),
        ({"messages": "\ud800"}, None),
        ({"messages": "hi", "extra": {"x": object()}}, None),
    ],
)
def test_what_is_wrong_in_form_names_its_place_and_sends_nothing(arguments, param):
    async def main(here: Here) -> None:
        with pytest.raises(InvalidRequest) as caught:
            await here.client.chat(**arguments)
        assert caught.value.param == param
        with pytest.raises(InvalidRequest):
            here.client.stream(**arguments)
        assert here.records() == []

    in_virtual_time({"a": []}, main)


def test_a_timeout_bounds_the_whole_call():
    async def main(here: Here) -> None:
        began = here.clock.monotonic()
        with pytest.raises(TargetsFailed) as caught:
            await here.client.chat("hi", timeout=7.0)
        assert caught.value.status == 504
        assert 7.0 <= here.clock.monotonic() - began <= 7.02

    in_virtual_time({"a": [whole(head_s=60.0)], "b": [whole(head_s=60.0)]}, main, timeouts={"answer_s": 4.0})


def test_cancelling_the_task_settles_the_call():
    async def main(here: Here) -> None:
        task = asyncio.create_task(here.client.chat("hi"))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert here.record().state == "cancelled"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await here.client.chat("hi")
        assert [record.state for record in here.records()] == ["cancelled", "cancelled"]

    in_virtual_time({"a": [whole(head_s=60.0), whole(head_s=60.0)]}, main)


def test_many_tasks_share_a_client():
    async def main(here: Here) -> None:
        answers = await asyncio.gather(*(here.client.chat(f"say {n}") for n in range(100)))
        assert [answer.text for answer in answers] == [f"say {n}" for n in range(100)]
        assert len({answer.request_id for answer in answers}) == 100

    def echo(outgoing):
        said = json.loads(outgoing.body)["messages"][0]["content"]
        return whole(said, head_s=float(said.split()[1]) % 7)

    in_virtual_time({"a": echo}, main)


def test_a_stream_where_a_whole_answer_was_asked_for_is_no_answer():
    async def main(here: Here) -> None:
        with pytest.raises(TargetsFailed) as caught:
            await here.client.chat("hi")
        assert caught.value.failures[0][1].label == "bad_answer"

    in_virtual_time({"a": [speaks(*stream("x"))]}, main)
