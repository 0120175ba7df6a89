"""The official OpenAI SDK against the gateway, over real sockets: what people's programs will do with it."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from tests.support.gateway import FREE_RETRIES, Running, document_of, run_gateway
from tests.support.joined import numbered

from holdfast.chaos import Chaos, ChaosConfig, Entry, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = {
    "ok": "ok",
    "tools": "tools=3",
    "thinks": "reasoning=4",
    "cached": "cached=2",
    "slow": "slow=5 headers=late",
    "quiet": "stall=3",
    "bad": "400 message='temperature is out of range'",
    "missing": "404",
    "limited": "429 retry_after=60",
    "down": "500",
    "hung": "hang",
    "locked": "401",
    "cut": "tps=100 cut=fin after=5",
    "healed": "500; ok",
}
MESSAGES = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}


class City(BaseModel):
    name: str
    population: int


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("sdk") / "ledger.db",
        models=SCRIPTS,
        timeouts={"total_s": 20},
        retry={"base_s": 0.01, "max_s": 0.05, "jitter": 0, **FREE_RETRIES},
        routes={name: {"targets": [f"one/{name}"]} for name in SCRIPTS},
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


@pytest.fixture
def client(gateway: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key="unused", timeout=20) as made:
        yield made


@pytest.fixture
def served(chaos: Chaos):
    """The journal's entries of this test, once they are over."""
    before = max((entry.seq for entry in chaos.journal()), default=0)

    def entries(count: int = 1) -> list[Entry]:
        def done(all_entries: list[Entry]) -> bool:
            new = [entry for entry in all_entries if entry.seq > before]
            return len(new) >= count and all(entry.end for entry in new)

        chaos.wait_for(done)
        return chaos.journal(since=before)

    return entries


class TestAnswers:
    def test_plain(self, client: OpenAI, served) -> None:
        answer = client.chat.completions.create(model="ok", messages=MESSAGES)
        (entry,) = served()
        assert answer.choices[0].message.content == entry.text == numbered(entry.nonce, 20)
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.completion_tokens == entry.usage.completion_tokens == 20
        assert answer.model == "ok"
        assert answer._request_id  # the gateway's, which the ledger knows

    def test_the_request_id_is_the_ledgers(self, client: OpenAI, gateway: Running) -> None:
        answer = client.chat.completions.create(model="ok", messages=MESSAGES)
        assert gateway.record(answer._request_id).state == "ok"

    def test_streamed(self, client: OpenAI, served) -> None:
        with client.chat.completions.create(model="ok", messages=MESSAGES, stream=True) as stream:
            chunks = list(stream)
        (entry,) = served()
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == entry.text
        assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
        assert all(chunk.choices for chunk in chunks), "no usage event: it was not asked for"

    def test_async(self, gateway: Running, served) -> None:
        async def both() -> tuple[str, str]:
            async with AsyncOpenAI(base_url=gateway.base_url, api_key="unused") as client:
                plain = await client.chat.completions.create(model="ok", messages=MESSAGES)
                stream = await client.chat.completions.create(model="ok", messages=MESSAGES, stream=True)
                text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
                return plain.choices[0].message.content or "", text

        plain, streamed = asyncio.run(both())
        assert [plain, streamed] == [entry.text for entry in served(2)]

    def test_usage_when_asked(self, client: OpenAI, served) -> None:
        with client.chat.completions.create(
            model="cached", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        ) as stream:
            *chunks, last = list(stream)
        (entry,) = served()
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.prompt_tokens_details is not None
        assert (last.usage.completion_tokens, last.usage.prompt_tokens_details.cached_tokens) == (20, 2)
        assert all(chunk.usage is None for chunk in chunks)
        assert entry.usage.cached_tokens == 2

    def test_several_choices(self, client: OpenAI, served) -> None:
        answer = client.chat.completions.create(model="ok", messages=MESSAGES, n=2)
        with client.chat.completions.create(model="ok", messages=MESSAGES, n=2, stream=True) as stream:
            texts = ["", ""]
            finishes = []
            for chunk in stream:
                for choice in chunk.choices:
                    texts[choice.index] += choice.delta.content or ""
                    finishes += [choice.finish_reason] if choice.finish_reason else []
        plain, streamed = served(2)
        assert [c.message.content for c in answer.choices] == [
            numbered(plain.nonce, 20), numbered(f"{plain.nonce}.1", 20),
        ]  # fmt: skip
        assert texts == [numbered(streamed.nonce, 20), numbered(f"{streamed.nonce}.1", 20)]
        assert finishes == ["stop", "stop"]

    def test_reasoning_passes(self, client: OpenAI, served) -> None:
        answer = client.chat.completions.create(model="thinks", messages=MESSAGES)
        with client.chat.completions.create(model="thinks", messages=MESSAGES, stream=True) as stream:
            deltas = [chunk.choices[0].delta for chunk in stream]
        plain, streamed = served(2)
        assert answer.choices[0].message.reasoning_content == numbered(f"{plain.nonce}~", 4)
        assert (
            "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == streamed.reasoning
        )
        assert "".join(delta.content or "" for delta in deltas) == streamed.text

    def test_models(self, client: OpenAI) -> None:
        listed = {model.id: model.owned_by for model in client.models.list()}
        assert listed["ok"] == "holdfast"
        assert listed["one/ok"] == "one"


class TestTools:
    def test_parallel_calls(self, client: OpenAI, served) -> None:
        answer = client.chat.completions.create(model="tools", messages=MESSAGES, tools=[WEATHER])
        (entry,) = served()
        calls = answer.choices[0].message.tool_calls or []
        assert [call.function.name for call in calls] == ["weather"] * 3
        assert len({call.id for call in calls}) == 3
        assert [json.loads(call.function.arguments) for call in calls] == [
            {"city": f"{entry.nonce}.t{i}:0", "days": 1} for i in range(3)
        ]
        assert answer.choices[0].finish_reason == "tool_calls"

    def test_streamed_parallel_calls(self, client: OpenAI, served) -> None:
        with client.chat.completions.stream(model="tools", messages=MESSAGES, tools=[WEATHER]) as stream:
            for _ in stream:
                pass
            answer = stream.get_final_completion()
        (entry,) = served()
        calls = answer.choices[0].message.tool_calls or []
        assert len({call.id for call in calls}) == 3
        assert "".join(call.function.arguments for call in calls) == entry.arguments
        assert answer.choices[0].finish_reason == "tool_calls"

    def test_results_arrive(self, client: OpenAI, served) -> None:
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
        }
        messages = [
            *MESSAGES,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "☀ 21°"},
        ]
        client.chat.completions.create(model="ok", messages=messages, tools=[WEATHER])
        (entry,) = served()
        assert json.loads(entry.body)["messages"] == messages


class TestStructuredOutput:
    def test_parsed(self, client: OpenAI, served) -> None:
        answer = client.chat.completions.parse(model="ok", messages=MESSAGES, response_format=City)
        (entry,) = served()
        assert answer.choices[0].message.parsed == City.model_validate_json(entry.text)
        assert json.loads(entry.body)["response_format"]["json_schema"]["name"] == "City"

    def test_streamed(self, client: OpenAI, served) -> None:
        with client.chat.completions.stream(model="ok", messages=MESSAGES, response_format=City) as stream:
            for _ in stream:
                pass
            parsed = stream.get_final_completion().choices[0].message.parsed
        (entry,) = served()
        assert parsed == City.model_validate_json(entry.text)

    def test_as_a_dict(self, client: OpenAI, served) -> None:
        schema = {"name": "city", "strict": True, "schema": City.model_json_schema()}
        wanted = {"type": "json_schema", "json_schema": schema}
        answer = client.chat.completions.create(model="ok", messages=MESSAGES, response_format=wanted)
        City.model_validate_json(answer.choices[0].message.content or "")
        assert json.loads(served()[0].body)["response_format"] == wanted


class TestWhatArrives:
    """The provider gets what the caller wrote."""

    def test_images_and_files(self, client: OpenAI, served) -> None:
        data = base64.b64encode(bytes(range(256)) * 64).decode()
        content = [
            {"type": "text", "text": "what is this? é \U0001f600"},
            {
                "type": "image_url",
                "image_url": {"url": "https://example.test/a.png?x=1&y=ü", "detail": "low"},
            },
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"},
            },
            {"type": "file", "file": {"file_id": "file-123"}},
        ]
        client.chat.completions.create(model="ok", messages=[{"role": "user", "content": content}])
        (entry,) = served()
        assert json.loads(entry.body)["messages"][0]["content"] == content

    def test_unknown_fields_both_ways(self, client: OpenAI, served) -> None:
        extra = {"new_parameter": {"deep": [1, 2.5, None, "x"]}, "seed": 7, "big": 12345678901234567890123}
        raw = client.chat.completions.with_raw_response.create(
            model="ok", messages=MESSAGES, extra_body=extra
        )
        sent = json.loads(served()[0].body)
        assert {name: sent[name] for name in extra} == extra
        answer = json.loads(raw.text)
        assert answer["system_fingerprint"] == "fp_chaos"
        assert answer["service_tier"] == "default"

    def test_every_byte_but_the_model(self, gateway: Running, served) -> None:
        """Numbers, escapes and order stay as they were written; only `model` is ours."""
        import httpx2

        body = (
            '{"model":"ok","temperature":1.0e0,"messages":[{"role":"user","content":"\\u00e9\\/"}],'
            '"x":1E400,"seed":9007199254740993,"logit_bias":{"50256":-100.00}}'
        )
        answer = httpx2.post(f"{gateway.base_url}/chat/completions", content=body)
        assert answer.status_code == 200
        (entry,) = served()
        assert entry.body.decode() == body

    def test_headers_do_not_leak(self, client: OpenAI, served) -> None:
        """The caller's own key and our headers are not the provider's business."""
        client.chat.completions.create(
            model="ok", messages=MESSAGES, extra_headers={"x-holdfast-tags": "team=a"}
        )
        (entry,) = served()
        assert not [name for name in entry.headers if name.startswith(("x-holdfast", "x-stainless"))]
        assert entry.key_sha256 is not None
        assert "unused" not in str(entry.headers)


class TestErrors:
    """What was wrong, as the SDK's own exceptions; and its own retries make no storm."""

    @pytest.mark.parametrize(
        ("model", "error", "attempts", "words"),
        [
            ("bad", openai.BadRequestError, 1, "temperature is out of range"),
            ("missing", openai.NotFoundError, 1, "does not exist"),
            ("limited", openai.RateLimitError, 1, "Rate limit reached"),
            ("down", openai.InternalServerError, 3, "3 attempts failed"),
            ("locked", openai.InternalServerError, 1, "refused the gateway"),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    def test_typed_once(self, client, served, model, error, attempts, words, stream) -> None:
        assert client.max_retries > 0  # the SDK's own, which must not multiply ours
        with pytest.raises(error) as raised:
            client.chat.completions.create(model=model, messages=MESSAGES, stream=stream)
        assert words in str(raised.value)
        assert raised.value.request_id
        assert len(served(attempts)) == attempts
        assert all("x-stainless-retry-count" not in entry.headers for entry in served(attempts))

    def test_unknown_model(self, client: OpenAI, served) -> None:
        with pytest.raises(openai.NotFoundError) as raised:
            client.chat.completions.create(model="tolls", messages=MESSAGES)
        assert raised.value.code == "model_not_found"
        assert raised.value.param == "model"
        assert "tools" in str(raised.value)  # the nearest name
        assert served(0) == []

    def test_broken_stream_raises(self, client: OpenAI, served) -> None:
        chunks = []
        stream = client.chat.completions.create(model="cut", messages=MESSAGES, stream=True)
        with stream, pytest.raises(openai.APIError) as raised:
            chunks.extend(stream)
        (entry,) = served()
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert said == entry.text == numbered(entry.nonce, 5)
        assert raised.value.code == "connection_lost"

    def test_our_retries_are_enough(self, gateway: Running, served) -> None:
        with OpenAI(base_url=gateway.base_url, api_key="unused", max_retries=0) as client:
            answer = client.chat.completions.create(model="healed", messages=MESSAGES)
        failed, entry = served(2)
        assert (failed.status, answer.choices[0].message.content) == (500, entry.text)


class TestPatience:
    """The time that the SDK says it will wait is obeyed: after it nobody listens."""

    def test_total(self, client: OpenAI, served) -> None:
        with pytest.raises(openai.InternalServerError) as raised:
            client.chat.completions.create(
                model="hung", messages=MESSAGES, extra_headers={"x-request-timeout": "0.3"}
            )
        assert raised.value.status_code == 504
        entries = served()
        took = (entries[-1].ended_ns - entries[0].arrived_ns) / 1e9
        assert took < 1
        assert len(entries) == 1

    def test_stainless_timeouts(self, client: OpenAI, served) -> None:
        for header in ("x-stainless-timeout", "x-stainless-read-timeout"):
            with pytest.raises(openai.InternalServerError) as raised:
                client.chat.completions.create(model="hung", messages=MESSAGES, extra_headers={header: "0.3"})
            assert raised.value.status_code == 504
        assert all((entry.ended_ns - entry.arrived_ns) / 1e9 < 1 for entry in served(2))

    def test_read_timeout_bounds_gaps(self, client: OpenAI, served) -> None:
        headers = {"x-stainless-read-timeout": "0.3"}
        with (
            pytest.raises(openai.APIError) as raised,
            client.chat.completions.create(
                model="quiet", messages=MESSAGES, stream=True, extra_headers=headers
            ) as stream,
        ):
            list(stream)
        assert raised.value.code == "provider_timeout"
        assert served()[0].text.count(":") == 3

    def test_a_client_that_gives_up(self, gateway: Running, served) -> None:
        """Its own timeout closes the connection, and the upstream call goes with it."""
        with (
            OpenAI(base_url=gateway.base_url, api_key="unused", timeout=0.3, max_retries=0) as client,
            pytest.raises(openai.APITimeoutError),
        ):
            client.chat.completions.create(
                model="slow", messages=MESSAGES, extra_headers={"x-stainless-timeout": "30"}
            )
        (entry,) = served()
        assert entry.end == "client_left"
