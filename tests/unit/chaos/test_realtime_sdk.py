"""The Realtime API, as the official SDK speaks it."""

import asyncio

import openai
import pytest
from websockets.exceptions import InvalidStatus

from holdfast.chaos import ChaosConfig, run_chaos

# The SDK uses websockets' older entry point, which warns.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TOOL = {
    "type": "function", "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}  # fmt: skip  # reads better packed


@pytest.fixture(scope="module")
def chaos():
    scripts = {"caller": "tools=1; ok", "azure-*": "ok"}
    with run_chaos(ChaosConfig(tokens=5, scripts=scripts, api_keys=("secret",))) as chaos:
        yield chaos


@pytest.fixture
def client(chaos):
    with openai.OpenAI(base_url=chaos.base_url, api_key="secret", max_retries=0) as client:
        yield client


def _say(connection, text):
    content = [{"type": "input_text", "text": text}]
    connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})


def _until(connection, kind):
    events = []
    for event in connection:
        events.append(event)
        if event.type == kind:
            return events
    raise AssertionError(f"no {kind}")


def test_text(client, chaos):
    with client.realtime.connect(model="sync") as connection:
        assert connection.recv().session.model == "sync"
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        _say(connection, "hi there")
        connection.response.create()
        events = _until(connection, "response.done")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    response = events[-1].response
    entry = chaos.wait_for(
        lambda entries: [e for e in entries if e.model == "sync" and e.operation == "realtime" and e.end]
    )
    entry = next(e for e in entry if e.model == "sync" and e.operation == "realtime")
    assert text == entry.text == response.output[0].content[0].text
    assert (response.status, entry.end, entry.tokens) == ("completed", "complete", 5)
    assert (response.usage.output_tokens, entry.usage.completion_tokens) == (5, 5)
    assert response.usage.input_tokens == entry.usage.prompt_tokens > 0
    assert response.usage.output_token_details.audio_tokens == 0
    assert (entry.path, entry.status, entry.wire) == ("/v1/realtime", 200, "openai_realtime")


def test_speech(chaos):
    async def talk():
        async with (
            openai.AsyncOpenAI(base_url=chaos.base_url, api_key="secret") as client,
            client.realtime.connect(model="async") as connection,
        ):
            content = [{"type": "input_text", "text": "hi"}]
            await connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": content}
            )
            await connection.response.create()
            events = []
            async for event in connection:
                events.append(event)
                if event.type == "response.done":
                    break
            return events

    events = asyncio.run(talk())
    transcript = "".join(e.delta for e in events if e.type == "response.output_audio_transcript.delta")
    chunks = [event.delta for event in events if event.type == "response.output_audio.delta"]
    response = events[-1].response
    assert response.output[0].content[0].transcript == transcript
    assert len(set(chunks)) == 5
    details = response.usage.output_token_details
    assert (details.text_tokens, details.audio_tokens, response.usage.output_tokens) == (5, 5, 10)


def test_tools(client):
    with client.realtime.connect(model="caller") as connection:
        connection.session.update(
            session={"type": "realtime", "output_modalities": ["text"], "tools": [TOOL]}
        )
        _say(connection, "what is the weather?")
        connection.response.create()
        events = _until(connection, "response.done")
        done = next(event for event in events if event.type == "response.function_call_arguments.done")
        deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
        [call] = events[-1].response.output
        assert "".join(deltas) == done.arguments == call.arguments
        assert (call.name, call.call_id, call.status) == ("weather", done.call_id, "completed")
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "fog"}
        connection.conversation.item.create(item=output)
        connection.response.create()
        [message] = _until(connection, "response.done")[-1].response.output
        assert message.content[0].text


def test_azure(chaos):
    with (
        openai.OpenAI(base_url=f"{chaos.url}/openai/v1", api_key="secret") as client,
        client.realtime.connect(model="azure-1", extra_headers={"api-key": "secret"}) as connection,
    ):
        connection.response.create()
        events = _until(connection, "rate_limits.updated")
        added = next(event for event in events if event.type == "response.content_part.added")
        assert added.model_extra["content"] == {"type": "audio", "transcript": ""}


def test_wrong_key(chaos):
    with (
        openai.OpenAI(base_url=chaos.base_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(InvalidStatus) as caught,
        client.realtime.connect(model="m"),
    ):
        pass
    assert caught.value.response.status_code == 401
    assert b'"code":"invalid_api_key"' in caught.value.response.body


def test_errors_keep_the_session_open(client):
    with client.realtime.connect(model="m") as connection:
        connection.recv()
        connection.send(
            {"type": "session.update", "event_id": "mine", "session": {"type": "realtime", "voice": "x"}}
        )
        error = connection.recv()
        assert error.type == "error"
        assert (error.error.code, error.error.param) == ("unknown_parameter", "session.voice")
        assert error.error.event_id == "mine"
        connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
        assert connection.recv().session.instructions == "Be brief."
