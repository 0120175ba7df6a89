"""What is counted of waits for a store, and how it is shown."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from tests.support.redis_server import running_redis

from holdfast.clock import SystemClock, system_rng
from holdfast.gateway.store_metrics import store_metrics
from holdfast.stores.base import Script, Spell, StoreLost
from holdfast.stores.redis import RedisSettings, RedisStore
from holdfast.stores.redis_url import RedisAddress
from holdfast.stores.waits import Waits


def shown(waits: Waits) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in store_metrics(SimpleNamespace(waits=waits))
        for sample in family.samples
    }


def test_each_wait_is_counted_once_up_to_its_bound_included() -> None:
    waits = Waits()
    waits.note("answered", 0.001, 0.001)
    waits.note("answered", 0.0011, 0.0021)
    waits.note("lost", 0.02, 0.0221)
    waits.note("lost", 5.0, 0.5)
    found = shown(waits)
    name = "holdfast_store_seconds_bucket"
    assert [found[name, "answered", bound] for bound in ("0.0005", "0.001", "0.0025", "+Inf")] == [0, 1, 2, 2]
    assert [found[name, "lost", bound] for bound in ("0.01", "0.02", "1.0", "+Inf")] == [0, 1, 1, 2]
    assert found["holdfast_store_seconds_sum", "lost"] == 5.02


def test_the_longest_is_a_requests_and_not_a_calls() -> None:
    waits = Waits()
    waits.note("answered", 0.01, 0.03)
    waits.note("answered", 0.02, 0.02)
    assert shown(waits)["holdfast_store_longest_seconds",] == 0.03


def test_without_a_store_they_are_there_and_empty() -> None:
    assert [(family.name, family.samples) for family in store_metrics(None)] == [
        ("holdfast_store_seconds", []),
        ("holdfast_store_longest_seconds", []),
    ]


def test_a_call_is_counted_by_how_it_ended() -> None:
    async def main() -> dict[tuple[str, ...], float]:
        with running_redis() as server:
            clock = SystemClock()
            address = RedisAddress.parse(server.url)
            settings = RedisSettings(timeout_s=0.3, budget_s=1.0)
            store = await RedisStore.open(address, settings, clock=clock, rng=system_rng())
            try:
                spell = Spell()
                await store.call(Script("one", "return 1"), (), (), spell)
                assert store.waits.longest_s == spell.spent_s
                server.freeze()
                with pytest.raises(StoreLost):
                    await store.call(Script("one", "return 1"), (), (), Spell())
                server.thaw()
            finally:
                await store.aclose()
            return shown(store.waits)

    found = asyncio.run(main())
    assert found["holdfast_store_seconds_count", "answered"] == 1
    assert found["holdfast_store_seconds_count", "lost"] == 1
    assert found["holdfast_store_seconds_bucket", "lost", "0.25"] == 0, "it had waited for a time-out"
    assert found["holdfast_store_longest_seconds",] >= 0.3
