"""A hundred mixed requests at once, some of whose clients leave: nothing is lost, nothing counted twice, no cent missing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import Answer, Client, ask, chat, request_bytes
from tests.support.joined import Joined, bill_of, check_ledger
from tests.support.metrics import samples

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.ledger.entry import Record

KINDS = {
    "ok": "ok",
    "healed": "500; ok",
    "limited": "429 retry_after_ms=20; ok",
    "reset": "reset; ok",
    "cut": "tps=200 cut=fin after=3",
    "bad": "400",
    "down": "503",
    "quiet": "no_usage",
    "left-silent": "hang",
    "left-stream": "stall=3",
}
REQUESTS = [(f"{kind}-{i}", i % 2 == 0 or kind == "left-stream") for kind in KINDS for i in range(10)]


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    scripts = {f"{kind}-*": script for kind, script in KINDS.items()}
    with run_chaos(ChaosConfig(scripts=scripts)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("reconcile") / "ledger.db",
        models=[model for model, _ in REQUESTS],
        retry={"base_s": 0.01, "max_s": 0.1},
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


async def _one(gateway: Running, chaos: Chaos, model: str, stream: bool) -> Answer | None:
    body = chat(f"one/{model}", stream=stream)
    if not model.startswith("left-"):
        return await ask(gateway.port, body)
    client = await Client.connect(gateway.port)
    await client.send(request_bytes("POST", "/v1/chat/completions", json.dumps(body).encode(), {}))
    if model.startswith("left-stream"):
        await client.head()
        await client.until(b":2 ")
    else:
        await asyncio.to_thread(
            chaos.wait_for, lambda entries: any(entry.model == model for entry in entries)
        )
    client.leave()
    return None


@pytest.fixture(scope="module")
def results(gateway: Running, chaos: Chaos) -> dict[str, Joined]:
    """By model: what each client saw, what was served, what is in the ledger."""

    async def all_at_once() -> list[Answer | None]:
        return await asyncio.gather(*(_one(gateway, chaos, model, stream) for model, stream in REQUESTS))

    answers = asyncio.run(all_at_once())
    gateway.wait_for(lambda: len(gateway.seen.ends) == len(REQUESTS))
    chaos.wait_for(lambda entries: all(entry.end for entry in entries))
    records: dict[str, Record] = {
        record.intent.model.removeprefix("one/"): record for record in gateway.records().values()
    }
    assert len(records) == len(REQUESTS)
    return {
        model: Joined(answer or Answer(), chaos.journal(model=model), records[model])
        for (model, _), answer in zip(REQUESTS, answers, strict=True)
    }


def test_every_request_has_one_end(gateway: Running, results: dict[str, Joined]) -> None:
    counts = gateway.counts()
    assert counts.balanced
    assert (counts.accepted, counts.ok, counts.failed, counts.cancelled, counts.in_flight) == (
        100,
        50,
        30,
        20,
        0,
    )
    for model, joined in results.items():
        wanted = (
            "cancelled"
            if model.startswith("left-")
            else "failed"
            if model[:3] in ("cut", "bad", "dow")
            else "ok"
        )
        assert joined.record.state == wanted, model
        if joined.answer.status:
            assert joined.answer.id == joined.record.intent.id


def test_every_attempt_is_one_row(chaos: Chaos, results: dict[str, Joined]) -> None:
    for joined in results.values():
        check_ledger(joined)
        if joined.record.state == "ok":
            assert joined.answer.text == joined.entries[-1].text
    assert sum(len(joined.rows) for joined in results.values()) == len(chaos.journal())


def test_money_is_conserved(results: dict[str, Joined]) -> None:
    """Σ ledger is what the provider billed, exactly where it told its usage, and never less elsewhere."""
    told = billed = 0
    for joined in results.values():
        for row, entry in zip(joined.rows, joined.entries, strict=True):
            if row.billed == "provider":
                told += row.cost_nano or 0
                billed += bill_of(entry)
    assert told == billed > 0
    assert sum(j.record.cost_nano or 0 for j in results.values()) >= sum(
        bill_of(entry) for joined in results.values() for entry in joined.entries
    )


def test_metrics_say_the_same(gateway: Running, results: dict[str, Joined]) -> None:
    text = asyncio.run(ask(gateway.port, method="GET", path="/metrics")).body.decode()
    scraped = samples(text)
    states = Counter(joined.record.state for joined in results.values())
    outcomes = Counter(row.outcome for joined in results.values() for row in joined.rows)
    for state, count in states.items():
        assert scraped[("holdfast_requests_total", "route=direct", f"state={state}")] == count
    for outcome, count in outcomes.items():
        assert scraped[("holdfast_attempts_total", f"outcome={outcome}", "provider=one")] == count
    cost = sum(value for key, value in scraped.items() if key[0] == "holdfast_cost_usd_total")
    assert round(cost * 1e9) == sum(joined.record.cost_nano or 0 for joined in results.values())
    assert scraped[("holdfast_in_flight",)] == 0
