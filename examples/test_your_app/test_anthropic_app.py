"""An app on Anthropic's SDK: a tool loop that must end, and overloads that come in the middle of a stream.

pip install 'holdfast[chaos]' anthropic pytest && pytest test_anthropic_app.py
"""

import anthropic
import pytest

WEATHER = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def answer(client: anthropic.Anthropic, question: str, most_turns: int = 4) -> str:
    """The app: ask, call the tools that are asked for, and answer; a stream that breaks is asked once more."""
    messages = [{"role": "user", "content": question}]
    for _ in range(most_turns):
        said = _said(client, messages)
        calls = [block for block in said.content if block.type == "tool_use"]
        if not calls:
            return "".join(block.text for block in said.content if block.type == "text")
        messages.append({"role": "assistant", "content": said.content})
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
        messages.append({"role": "user", "content": results})
    raise RuntimeError("it never stopped calling tools")


def _said(client: anthropic.Anthropic, messages: list, tries: int = 2):
    try:
        with client.messages.stream(
            model="claude-haiku-4-5", max_tokens=500, messages=messages, tools=[WEATHER]
        ) as stream:
            return stream.get_final_message()
    except anthropic.APIStatusError as error:
        if error.status_code != 200 or tries == 1:  # 200: an error event, which the SDK doesn't try again
            raise
    return _said(client, messages, tries - 1)


@pytest.fixture
def client(chaosllm_server):
    with anthropic.Anthropic(base_url=chaosllm_server.url, api_key="any", max_retries=1) as client:
        yield client


@pytest.mark.chaosllm(script="tools=1; ok")
def test_a_tool_is_called_and_its_result_is_used(client, chaosllm_server):
    text = answer(client, "How is the weather?")
    first, second = chaosllm_server.journal()
    assert first.arguments.startswith('{"city":')
    assert second.text == text


@pytest.mark.chaosllm(script="tools=1")
def test_a_model_that_calls_tools_for_ever_is_stopped(client, chaosllm_server):
    with pytest.raises(RuntimeError, match="never stopped"):
        answer(client, "How is the weather?")
    assert len(chaosllm_server.journal()) == 4


@pytest.mark.chaosllm(script="overloaded; error_event after=5 error=overloaded; ok")
def test_an_overload_before_and_within_a_stream(client, chaosllm_server):
    text = answer(client, "How is the weather?")
    statuses = [(attempt.status, attempt.faults) for attempt in chaosllm_server.journal()]
    assert statuses == [(529, ["status"]), (200, ["error_event"]), (200, [])]
    assert text == chaosllm_server.journal()[-1].text  # and nothing of the attempt that broke


@pytest.mark.chaosllm(clock="hand", script="stall=3")
def test_a_stream_that_falls_silent(client, chaosllm_server):
    with pytest.raises(
        Exception, match="timed out"
    ):  # no anthropic.APITimeoutError: see what your app catches
        answer(client.with_options(timeout=0.3, max_retries=0), "How is the weather?")
    (attempt,) = chaosllm_server.wait_for_requests(1, ended=True)
    assert (attempt.tokens, attempt.end) == (3, "client_left")
