"""ID1, ID2: one key is one run at the provider, and everybody who asks with it gets that run's answer, byte for byte."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import Answer, Client, chat, request_bytes

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = {
    "plain": "ok",
    "slow": "delay=0.3",
    "held": "tokens=30 tps=60",
    "endless": "tokens=200 tps=40",
    "flaky-plain": "503; ok",
    "flaky-stream": "503; ok",
    "broken": "tokens=20 cut=reset after=5; ok",
    "refused": "400",
    "large": "tokens=30000 batch=1000",
}
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("idempotency") / "ledger.db",
        models=SCRIPTS,
        retry={"max_retries": 0},
        routes={name: {"targets": [f"one/{name}"]} for name in SCRIPTS},
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """One that no other test has."""
    return f"key-of-{request.node.name}".replace(" ", "_")


async def send(port: int, body: dict[str, Any], key: str, path: str = PATH) -> Client:
    client = await Client.connect(port)
    await client.send(request_bytes("POST", path, json.dumps(body).encode(), {"idempotency-key": key}))
    return client


async def ask(port: int, body: dict[str, Any], key: str, path: str = PATH) -> Answer:
    client = await send(port, body, key, path)
    await client.head()
    try:
        return await client.rest()
    finally:
        client.leave()


def arrived(chaos: Chaos, model: str, prompt: str) -> int:
    """Requests with that prompt that came to the provider."""
    return sum(prompt in str(entry.body) for entry in chaos.journal(model=model))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_second_request_gets_the_first_ones_answer(gateway, chaos, key, stream):
    body = chat("plain", stream=stream, text=key)

    async def main():
        return await ask(gateway.port, body, key), await ask(gateway.port, body, key)

    first, second = asyncio.run(main())
    assert (first.status, second.status) == (200, 200)
    assert second.body == first.body
    assert first.text
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    same = {"content-type", "x-holdfast-provider", "x-holdfast-model", "x-holdfast-attempts"}
    assert {name: first.headers[name] for name in same} == {name: second.headers[name] for name in same}
    assert arrived(chaos, "plain", key) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("model", ["slow", "held"])
def test_a_hundred_at_once_are_one_run(gateway, chaos, key, stream, model):
    body = chat(model, stream=stream, text=key)

    async def main():
        return await asyncio.gather(*(ask(gateway.port, body, key) for _ in range(100)))

    answers = asyncio.run(main())
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert arrived(chaos, model, key) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 0


def test_another_request_under_the_key_is_a_conflict(gateway, chaos, key):
    async def main():
        first = await ask(gateway.port, chat("plain", text=key), key)
        other = await ask(gateway.port, chat("plain", text=key + " or not"), key)
        elsewhere = await ask(gateway.port, chat("plain", text=key), key, path=PATH + "?beta=true")
        return first, other, elsewhere

    first, other, elsewhere = asyncio.run(main())
    assert first.status == 200
    for refused in (other, elsewhere):
        assert refused.status == 422
        assert refused.error["code"] == "idempotency_conflict"
        assert refused.headers["x-should-retry"] == "false"
    assert arrived(chaos, "plain", key) == 1


def test_a_conflict_is_seen_while_it_runs_too(gateway, key):
    async def main():
        first = await send(gateway.port, chat("held", stream=True, text=key), key)
        await first.head()
        other = await ask(gateway.port, chat("held", stream=True, text="another"), key)
        await first.rest()
        first.leave()
        return other

    assert asyncio.run(main()).status == 422


@pytest.mark.parametrize(
    ("bad", "said"),
    [("", "is empty"), ("x" * 256, "256 characters"), ("a b", "visible ASCII"), ("h\xe9", "visible ASCII")],
    ids=["empty", "long", "space", "latin"],
)
def test_a_bad_key_is_named(gateway, bad, said):
    answer = asyncio.run(ask(gateway.port, chat("plain"), bad))
    assert answer.status == 400
    assert said in answer.error["message"]
    assert answer.error["code"] == "invalid_idempotency_key"


def test_who_leaves_does_not_end_the_run(gateway, chaos, key):
    body = chat("held", stream=True, text=key)

    async def main():
        client = await send(gateway.port, body, key)
        await client.head()
        await client.until(b"data:")
        client.leave()
        return await ask(gateway.port, body, key)

    answer = asyncio.run(main())
    assert answer.status == 200
    assert answer.events[-1].is_end
    assert arrived(chaos, "held", key) == 1
    assert [entry.end for entry in chaos.journal(model="held") if key in str(entry.body)] == ["complete"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_transient_failure_is_not_kept(gateway, chaos, key, stream):
    model = "flaky-stream" if stream else "flaky-plain"
    body = chat(model, stream=stream, text=key)

    async def main():
        return [await ask(gateway.port, body, key) for _ in range(3)]

    first, second, third = asyncio.run(main())
    assert first.status == 502
    assert (second.status, third.status) == (200, 200)
    assert third.body == second.body
    assert arrived(chaos, model, key) == 2


def test_a_stream_that_broke_is_not_kept(gateway, chaos, key):
    body = chat("broken", stream=True, text=key)

    async def main():
        return [await ask(gateway.port, body, key) for _ in range(3)]

    first, second, third = asyncio.run(main())
    assert first.events[-1].is_error
    assert second.events[-1].is_end
    assert third.body == second.body
    assert arrived(chaos, "broken", key) == 2


def test_what_the_caller_got_wrong_is_kept(gateway, chaos, key):
    body = chat("refused", text=key)

    async def main():
        return await ask(gateway.port, body, key), await ask(gateway.port, body, key)

    first, second = asyncio.run(main())
    assert (first.status, second.status) == (400, 400)
    assert second.body == first.body
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["idempotency-replayed"] == "true"
    assert arrived(chaos, "refused", key) == 1


def test_an_answer_too_large_to_keep_is_delivered_once(gateway, chaos, key):
    body = chat("large", stream=True, text=key, max_tokens=500_000)

    async def main():
        return await ask(gateway.port, body, key), await ask(gateway.port, body, key)

    first, second = asyncio.run(main())
    assert first.status == 200
    assert first.events[-1].is_end
    assert second.status == 409
    assert second.error["code"] == "not_replayable"
    assert second.headers["x-should-retry"] == "false"
    assert arrived(chaos, "large", key) == 1


def test_requests_without_a_key_are_runs_of_their_own(gateway, chaos, key):
    async def plain() -> Answer:
        client = await Client.connect(gateway.port)
        await client.send(request_bytes("POST", PATH, json.dumps(chat("plain", text=key)).encode(), {}))
        await client.head()
        try:
            return await client.rest()
        finally:
            client.leave()

    async def main():
        return await asyncio.gather(plain(), plain())

    first, second = asyncio.run(main())
    assert first.body != second.body, "the provider gives each answer a nonce"
    assert arrived(chaos, "plain", key) == 2


def test_the_ledger_has_one_request_for_a_key(gateway, key):
    body = chat("slow", text=key)
    before = gateway.counts()

    async def main():
        await asyncio.gather(*(ask(gateway.port, body, key) for _ in range(20)))
        await ask(gateway.port, body, key)

    asyncio.run(main())
    after = gateway.counts()
    assert after.accepted - before.accepted == 1
    assert after.ok - before.ok == 1


def test_anthropics_door_keeps_its_own_words(gateway, chaos, key):
    body = {"model": "plain", "max_tokens": 64, "messages": [{"role": "user", "content": key}]}

    async def main():
        return [await ask(gateway.port, body, key, path="/v1/messages") for _ in range(2)]

    first, second = asyncio.run(main())
    assert (first.status, first.json["type"]) == (200, "message")
    assert second.body == first.body
    assert arrived(chaos, "plain", key) == 1


def test_at_the_end_of_the_process_a_run_is_told_and_given_up(chaos, tmp_path, key):
    document = document_of(
        chaos.base_url,
        tmp_path / "ledger.db",
        models=SCRIPTS,
        gateway={"drain_s": 0.1},
        routes={"endless": {"targets": ["one/endless"]}, "plain": {"targets": ["one/plain"]}},
    )
    body = chat("endless", stream=True, text=key)

    async def begin(running: Running) -> Answer:
        stays, leaves = await send(running.port, body, key), await send(running.port, body, key + "2")
        for client in (stays, leaves):
            await client.head()
            await client.until(b"data:")
        leaves.leave()
        running.loop.call_soon_threadsafe(running.stop)
        try:
            return await stays.rest()
        finally:
            stays.leave()

    with run_gateway(document) as running:
        answer = asyncio.run(begin(running))
    assert answer.events[-1].is_error
    with run_gateway(document) as running:
        records = running.records().values()
        assert [record.state for record in records] == ["failed", "failed"]
        again = asyncio.run(ask(running.port, body, key))
        assert again.events[-1].is_end, "it was told that it failed, so it may run again"
