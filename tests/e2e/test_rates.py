"""Rate limits of callers at the gateway: refused before anything is sent, told in the caller's own words."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import Answer, Client, chat, request_bytes

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig()) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("rates") / "ledger.db",
        gateway={"host": "127.0.0.1", "port": 0, "rate": {"requests": 5, "window_s": 3600}},
        default_route="all",
        routes={"all": {"targets": ["one/{model}"], "models": ["*"]}},
        keys={
            **{
                name: {"sha256": sha256(name)}
                for name in ("ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal")
            },
            "vip": {"sha256": sha256("vip"), "rate": {"requests": 1000, "window_s": 3600}},
            "small": {"sha256": sha256("small"), "rate": {"tokens": 2_000, "window_s": 3600}},
        },
    )
    document["models"] = {"scarce*": {"rate": {"requests": 3, "window_s": 3600}}}
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


async def ask(port: int, key: str, body: dict[str, Any], path: str = CHAT, **headers: str) -> Answer:
    client = await Client.connect(port)
    fields = {"authorization": f"Bearer {key}", **{n.replace("_", "-"): v for n, v in headers.items()}}
    await client.send(request_bytes("POST", path, json.dumps(body).encode(), fields))
    await client.head()
    try:
        return await client.rest()
    finally:
        client.leave()


def burst(port: int, key: str, count: int, model: str = "m") -> list[Answer]:
    async def main() -> list[Answer]:
        return await asyncio.gather(*(ask(port, key, chat(model)) for _ in range(count)))

    return asyncio.run(main())


def test_no_more_pass_than_the_limit_lets(gateway, chaos):
    answers = burst(gateway.port, "ann", 40, "for-ann")
    assert sorted(answer.status for answer in answers) == [200] * 5 + [429] * 35
    assert len(chaos.journal(model="for-ann")) == 5
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.error["code"] == "rate_limit_exceeded"
    assert "key ann" in refused.error["message"]
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    assert "x-should-retry" not in refused.headers
    assert refused.headers["x-ratelimit-limit-requests"] == "5"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_an_answer_tells_what_is_left(gateway):
    left = [burst(gateway.port, "bob", 1)[0].headers["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert left == ["4", "3", "2"]


def test_keys_do_not_share(gateway):
    assert {answer.status for answer in burst(gateway.port, "vip", 30)} == {200}
    assert {answer.status for answer in burst(gateway.port, "cat", 5)} == {200}


def test_a_models_limit_is_for_all_callers(gateway, chaos):
    async def main() -> list[Answer]:
        return [await ask(gateway.port, key, chat("Scarce-1")) for key in ("vip", "dan", "vip", "dan", "vip")]

    answers = asyncio.run(main())
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert "model scarce*" in answers[-1].error["message"]
    left = burst(gateway.port, "dan", 1)[0].headers["x-ratelimit-remaining-requests"]
    assert left == "3", "a request that the model's limit refused took nothing from its key"


def test_tokens_are_reserved_at_the_bound_and_settled(gateway):
    """About 190 bytes and 500 tokens of output are reserved, of which an answer uses some 30."""
    body = chat("m", max_tokens=500)

    async def main() -> list[Answer]:
        return [await ask(gateway.port, "small", body) for _ in range(8)]

    answers = asyncio.run(main())
    assert {answer.status for answer in answers} == {200}, "all eight reservations at once would be too many"
    together = burst(gateway.port, "small", 8)
    assert {answer.status for answer in together} <= {200, 429}
    left = int(answers[-1].headers["x-ratelimit-remaining-tokens"])
    assert left < 2_000 - 500


def test_what_never_fits_says_so(gateway):
    answer = asyncio.run(ask(gateway.port, "small", chat("m", max_tokens=5_000)))
    assert answer.status == 429
    assert "more than the whole limit" in answer.error["message"]
    assert "retry-after" not in answer.headers
    assert answer.headers["x-should-retry"] == "false"


def test_anthropics_callers_get_their_own_headers(gateway):
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}

    async def main() -> list[Answer]:
        return [await ask(gateway.port, "eve", body, MESSAGES) for _ in range(6)]

    answers = asyncio.run(main())
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert answers[0].headers["anthropic-ratelimit-requests-remaining"] == "4"
    assert answers[-1].headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert answers[-1].json["error"]["type"] == "rate_limit_error"


def test_replays_are_free(gateway, chaos):
    async def main() -> list[Answer]:
        body = chat("for-fay")
        first = await ask(gateway.port, "fay", body, idempotency_key="one")
        again = [await ask(gateway.port, "fay", body, idempotency_key="one") for _ in range(10)]
        return [first, *again, *[await ask(gateway.port, "fay", body) for _ in range(5)]]

    answers = asyncio.run(main())
    assert [answer.status for answer in answers] == [200] * 15 + [429]
    assert len(chaos.journal(model="for-fay")) == 5


def test_a_refused_run_leaves_its_key_free(gateway):
    async def main() -> list[Answer]:
        for _ in range(5):
            await ask(gateway.port, "gus", chat("m"))
        body = chat("m", text="later")
        return [await ask(gateway.port, "gus", body, idempotency_key="k") for _ in range(2)]

    answers = asyncio.run(main())
    assert [answer.status for answer in answers] == [429, 429]
    assert {answer.error["code"] for answer in answers} == {"rate_limit_exceeded"}


def test_replays_are_free_when_nothing_is_left(gateway, chaos):
    async def main() -> list[Answer]:
        body = chat("for-hal")
        first = await ask(gateway.port, "hal", body, idempotency_key="one")
        for _ in range(4):
            await ask(gateway.port, "hal", chat("other"))
        spent = await ask(gateway.port, "hal", chat("other"))
        return [first, spent, await ask(gateway.port, "hal", body, idempotency_key="one")]

    first, spent, again = asyncio.run(main())
    assert [answer.status for answer in (first, spent, again)] == [200, 429, 200]
    assert again.body == first.body
    assert len(chaos.journal(model="for-hal")) == 1
