"""Hedges over real sockets: the faster target serves, the slower one is cut, and both are on record."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import Answer, Client, chat, request_bytes
from tests.support.joined import numbered

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = ("slow-a", "quick-a", "slow-b", "quick-b", "slow-p", "quick-p", "never-a", "never-b")


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    scripts = {"slow-*": "tokens=10 ttft=5", "quick-*": "tokens=10", "never-*": "503"}
    with run_chaos(ChaosConfig(scripts=scripts)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("hedge") / "ledger.db",
        models=MODELS,
        retry={"max_retries": 0},
        routes={
            "hedged": {
                "targets": ["one/slow-a", "two/quick-a"],
                "hedge": {"delay_s": 0.1, "ratio": 1},
            },
            "plain": {
                "targets": ["one/slow-p", "two/quick-p"],
                "hedge": {"delay_s": 0.1, "ratio": 1},
            },
            "budget": {
                "targets": ["one/slow-b", "two/quick-b"],
                "hedge": {"delay_s": 0.05, "ratio": 0},
                "timeouts": {"first_token_s": 0.5, "answer_s": 0.5},
            },
            "failing": {"targets": ["one/never-a", "two/never-b"], "hedge": {"delay_s": 0.1, "ratio": 1}},
        },
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


async def ask(port: int, model: str, *, stream: bool) -> Answer:
    client = await Client.connect(port)
    await client.send(
        request_bytes("POST", "/v1/chat/completions", json.dumps(chat(model, stream=stream)).encode(), {})
    )
    await client.head()
    try:
        return await client.rest()
    finally:
        client.leave()


@pytest.mark.parametrize(("model", "stream"), [("hedged", True), ("plain", False)])
def test_the_faster_one_serves_and_the_slower_one_is_cut(gateway, chaos, model, stream):
    answer = asyncio.run(ask(gateway.port, model, stream=stream))
    assert answer.status == 200
    assert answer.seconds < 3
    letter = "a" if stream else "p"
    (served,) = chaos.journal(model=f"quick-{letter}")
    assert answer.text == numbered(served.nonce, 10), "one attempt's text, and no other's"
    assert answer.headers["x-holdfast-provider"] == "two"
    (cut,) = chaos.wait_for(
        lambda journal: [e.end for e in journal if e.model == f"slow-{letter}"] == ["client_left"]
    )[:1]
    assert cut.tokens == 0
    record = gateway.record(answer.id)
    assert sorted((row.provider, row.outcome) for row in record.end.attempts) == [
        ("one", "superseded"),
        ("two", "ok"),
    ]
    billed = {row.provider: row.billed for row in record.end.attempts}
    assert billed == {"one": "bound", "two": "provider"}
    assert record.end.cost_nano == sum(row.cost_nano for row in record.end.attempts)


def test_without_budget_the_slow_one_is_waited_for(gateway, chaos):
    answer = asyncio.run(ask(gateway.port, "budget", stream=True))
    assert answer.status == 200, "after the time-out the next target serves"
    record = gateway.record(answer.id)
    assert [(row.provider, row.outcome) for row in record.end.attempts] == [
        ("one", "timed_out"),
        ("two", "ok"),
    ]
    slow, quick = chaos.journal(model="slow-b")[0], chaos.journal(model="quick-b")[0]
    assert (quick.arrived_ns - slow.arrived_ns) / 1e9 > 0.4


def test_a_failure_is_no_reason_for_a_hedge(gateway, chaos):
    answer = asyncio.run(ask(gateway.port, "failing", stream=True))
    assert answer.status == 502
    assert [len(chaos.journal(model=name)) for name in ("never-a", "never-b")] == [1, 1]
