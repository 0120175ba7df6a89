"""An app on OpenAI's SDK, and what its tests can ask once the provider fails when they say so.

pip install 'holdfast[chaos]' openai pytest && pytest test_openai_app.py
"""

import openai
import pytest


class Incomplete(Exception):
    """The answer stopped before its end."""


def summarize(client: openai.OpenAI, text: str) -> str:
    """The app: a streamed answer, whole or not at all."""
    pieces, finish = [], None
    with client.chat.completions.create(
        model="gpt-5.4-mini", messages=[{"role": "user", "content": f"Summarize: {text}"}], stream=True
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                pieces.append(choice.delta.content or "")
                finish = choice.finish_reason or finish
    if finish != "stop":  # without this line the third test fails: a closed connection looks like an end
        raise Incomplete(finish)
    return "".join(pieces)


@pytest.fixture
def client(chaosllm_server):
    with openai.OpenAI(base_url=chaosllm_server.base_url, api_key="any", max_retries=2) as client:
        yield client


@pytest.mark.chaosllm(script="429 retry-after-ms=20; 503; ok")
def test_it_outlives_a_rate_limit_and_an_overload(client, chaosllm_server):
    text = summarize(client, "a long story")
    attempts = chaosllm_server.journal()
    assert [attempt.status for attempt in attempts] == [429, 503, 200]
    assert text == attempts[-1].text  # what was served, byte for byte


@pytest.mark.chaosllm(script="insufficient_quota")
def test_it_gives_up_at_once_when_the_account_is_empty(client, chaosllm_server):
    with pytest.raises(openai.RateLimitError) as raised:
        summarize(client.with_options(max_retries=0), "a long story")
    assert raised.value.code == "insufficient_quota"
    assert len(chaosllm_server.journal()) == 1


@pytest.mark.parametrize("how", ["clean", "fin", "reset"])
def test_half_an_answer_is_an_error(client, chaosllm_server, how):
    chaosllm_server.update_config(script=f"tokens=40 cut={how} after=10")
    with pytest.raises((Incomplete, openai.APIConnectionError, openai.APIError, OSError)):
        summarize(client, "a long story")
    assert chaosllm_server.journal()[0].tokens == 10


@pytest.mark.chaosllm(rates={"429 retry-after-ms=10": 20, "503 retry-after-ms=10": 5}, seed=7)
def test_twenty_rows_through_a_bad_day(chaosllm_server):
    with openai.OpenAI(base_url=chaosllm_server.base_url, api_key="any", max_retries=5) as client:
        impatient = client.with_options(timeout=10)
        rows = [summarize(impatient, f"row {i} [[key=row {i}]]") for i in range(20)]
    assert len(set(rows)) == 20  # each answer carries its attempt's nonce: none was mixed up or repeated
    assert sum(attempt.status == 200 for attempt in chaosllm_server.journal()) == 20
