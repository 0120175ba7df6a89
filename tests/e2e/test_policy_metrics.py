"""``/metrics`` over real sockets: what the policies did, to the last one, as the provider's journal knows it too."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import Answer, Client, ask, chat, request_bytes
from tests.support.metrics import samples

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

SCRIPTS = {
    "down": "500",
    "slow": "delay=0.3",
    "held": "tokens=400 tps=20",
    "twice": "; ".join(["500", "500", "ok"] * 3),
    "busy": "529",
}
KEYS = {"ann": "key-of-ann", "bob": "key-of-bob"}
SCRAPER = "key-of-the-scraper"
LIMIT = "holdfast_places_limit", "provider=one"
BREAKER = {"failure_threshold": 4, "min_requests": 4, "open_s": 500, "jitter": 0}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A new one for each test: its counters begin at 0."""
    chaos.reset()
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("policy-metrics") / "ledger.db",
        gateway={"metrics_key": SCRAPER, "rate": {"requests": 50, "window_s": 3600}},
        breaker=BREAKER,
        retry={"max_retries": 2, "base_s": 0.01, "max_s": 0.02, "budget_ratio": 0, "budget_floor_per_s": 0.5},
        bulkhead={"max_concurrent": 2, "max_queue": 1, "max_wait_s": 30},
        keys={name: {"sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in KEYS.items()},
        routes={
            "safe": {"targets": ["one/down", "two/m"]},
            "retried": {"targets": ["one/twice"], "breaker": {"enabled": False}},
        },
    )
    document["providers"]["two"]["adaptive"] = {"enabled": True, "initial_limit": 2}
    document["models"] = {"one/scarce*": {"rate": {"requests": 1, "window_s": 3600}}}
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


def post(running: Running, model: str, key: str = "ann", **headers: str) -> Answer:
    fields = {"x-api-key": KEYS[key], **{name.replace("_", "-"): value for name, value in headers.items()}}
    return asyncio.run(ask(running.port, chat(model), headers=fields))


def scrape(running: Running) -> Counter[tuple[str, ...]]:
    answer = asyncio.run(ask(running.port, method="GET", path="/metrics", headers={"x-api-key": SCRAPER}))
    assert answer.status == 200
    return samples(answer.body.decode())


@contextmanager
def counting(running: Running) -> Iterator[dict[str, float]]:
    """What the policies' counters grew by within the block; the dictionary is filled at its end."""
    before, grown = scrape(running), {}
    yield grown
    for key, value in scrape(running).items():
        if key[0] in COUNTERS and value != before[key]:
            grown[" ".join((key[0].removeprefix("holdfast_").removesuffix("_total"), *key[1:]))] = (
                value - before[key]
            )


COUNTERS = {
    f"holdfast_{name}_total"
    for name in (
        "attempts", "attempts_refused", "retries", "retries_refused", "client_retries", "breaker_opened",
        "adaptive_decreases", "idempotency", "rate_refused", "refused",
    )
}  # fmt: skip


def test_an_outage_with_a_breaker_and_a_budget(gateway: Running, chaos: Chaos) -> None:
    """Attempts: 3, 1 and none (the breaker is open). Of the budget's five retries two are made."""
    with counting(gateway) as grown:
        assert [post(gateway, "safe").status for _ in range(5)] == [200] * 5
    assert grown == {
        "attempts outcome=server_failed provider=one": 4,
        "attempts outcome=ok provider=two": 5,
        "retries provider=one": 2,
        "breaker_opened provider=one": 1,
        # One retry was still wanted when the breaker opened, and then each request asked once.
        "attempts_refused policy=breaker provider=one": 4,
    }
    assert len(chaos.journal(model="down")) == 4
    seen = scrape(gateway)
    assert seen["holdfast_breaker_targets", "provider=one", "state=open"] == 1
    assert seen["holdfast_breaker_targets", "provider=two", "state=closed"] == 1


def test_retries_made_and_not_allowed(gateway: Running, chaos: Chaos) -> None:
    """The budget has five retries: two each for two requests, one for the third."""
    with counting(gateway) as grown:
        assert [post(gateway, "retried").status for _ in range(3)] == [200, 200, 502]
    assert grown["retries provider=one"] == 5
    assert grown["retries_refused provider=one"] == 1
    assert len(chaos.journal(model="twice")) == 8


def test_places_taken_waited_for_and_refused(gateway: Running) -> None:
    """Two streams hold the places, one request waits for one, and two more are refused."""

    async def begin(model: str, *, stream: bool) -> Client:
        client = await Client.connect(gateway.port)
        body = json.dumps(chat(model, stream=stream)).encode()
        await client.send(request_bytes("POST", "/v1/chat/completions", body, {"x-api-key": KEYS["ann"]}))
        return client

    async def main() -> None:
        holding = [await begin("one/held", stream=True) for _ in range(2)]
        for client in holding:
            await client.head()
        waits = await begin("one/held", stream=True)
        while (during := await asyncio.to_thread(scrape, gateway))[
            "holdfast_places_waiting", "provider=one"
        ] == 0:
            pass  # the request is on its way
        assert (during["holdfast_places_in_use", "provider=one"], during[LIMIT]) == (2, 2)
        refused = [await begin("one/held", stream=True) for _ in range(2)]
        assert [(await client.head()).status for client in refused] == [503, 503]
        for client in holding:
            client.leave()
        assert (await waits.head()).status == 200
        for client in (waits, *refused):
            client.leave()

    with counting(gateway) as grown:
        asyncio.run(main())
        gateway.wait_for(lambda: len(gateway.seen.ends) == 5)
    assert grown == {
        "attempts outcome=abandoned provider=one": 3,
        "attempts_refused policy=bulkhead provider=one": 2,
    }
    seen = scrape(gateway)
    assert (
        seen["holdfast_places_in_use", "provider=one"],
        seen["holdfast_places_waiting", "provider=one"],
    ) == (0, 0)


def test_an_overloaded_target_lowers_its_limit(gateway: Running) -> None:
    with counting(gateway) as grown:
        post(gateway, "two/busy")
    assert grown["adaptive_decreases provider=two"] == 3, "once for each attempt"
    assert scrape(gateway)["holdfast_adaptive_limit", "provider=two"] == 1
    assert scrape(gateway)["holdfast_places_limit", "provider=two"] == 1


def test_clients_that_try_again(gateway: Running) -> None:
    with counting(gateway) as grown:
        for count in ("0", "1", "2"):
            post(gateway, "two/m", x_stainless_retry_count=count)
    assert grown == {"attempts outcome=ok provider=two": 3, "client_retries provider=two": 2}


def test_callers_beyond_their_rates(gateway: Running) -> None:
    with counting(gateway) as grown:
        for _ in range(3):
            post(gateway, "one/scarce-1", "bob")
        for _ in range(52):
            post(gateway, "two/m", "bob")
    assert grown["rate_refused kind=model name=one/scarce*"] == 2
    assert grown["rate_refused kind=key name=bob"] == 3, (
        "what the model's limit refused took nothing of the key's 50"
    )
    assert grown["refused reason=rate_exceeded"] == 5


def test_idempotency_keys(gateway: Running, chaos: Chaos) -> None:
    async def together(count: int) -> None:
        headers = {"x-api-key": KEYS["ann"], "idempotency-key": "burst"}
        await asyncio.gather(*(ask(gateway.port, chat("one/slow"), headers=headers) for _ in range(count)))

    with counting(gateway) as grown:
        asyncio.run(together(8))
        post(gateway, "one/slow", idempotency_key="burst")
        post(gateway, "one/m", idempotency_key="burst")
        post(gateway, "one/m", idempotency_key="")
    assert len(chaos.journal(model="slow")) == 1
    assert grown["idempotency result=ran"] == 1
    assert grown["idempotency result=joined"] + grown["idempotency result=replayed"] == 8
    assert grown["idempotency result=idempotency_conflict"] == 1
    assert grown["refused reason=invalid_idempotency_key"] == 1
    assert scrape(gateway)[("holdfast_idempotency_running",)] == 0
