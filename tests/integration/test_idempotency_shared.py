"""One idempotency key at two gateways on one PostgreSQL: one run, and its answer at both, byte for byte."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.simulation.chat_wire import request, whole
from tests.unit.gateway.door import Door, Said

from holdfast.app import App
from holdfast.config import parse
from holdfast.gateway.metrics import Metrics
from holdfast.testing.memory_transport import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import PostgresServer

    from holdfast.testing.memory_transport import Reply
    from holdfast.transport import Outgoing

BODY = request(stream=False, model="chat")


class Provider:
    """Answers when it may, each time with other words."""

    def __init__(self) -> None:
        self.asked = 0
        self.may = asyncio.Event()
        self.reached = asyncio.Event()

    async def __call__(self, _: Outgoing) -> Reply:
        self.asked += 1
        self.reached.set()
        await self.may.wait()
        return whole(f"answer {self.asked}")


@asynccontextmanager
async def gateway(url: str, provider: Provider) -> AsyncIterator[Door]:
    settings: dict[str, Any] = {
        "ledger": {"url": url},
        "breaker": {"enabled": False},
        "providers": {"a": {"dialect": "openai_chat", "base_url": "http://a/v1", "api_key": "sk-a"}},
        "routes": {"chat": {"targets": ["a/m"]}},
    }
    app = await App.start(parse(settings, {}), transport=MemoryTransport(provider))
    try:
        metrics = Metrics(app.ledger)
        metrics.watch(app)
        yield Door(app.clock, app, metrics)
    finally:
        await app.aclose()


def keyed(door: Door, key: str) -> asyncio.Task[Said]:
    return asyncio.create_task(door.chat(BODY, {"idempotency-key": key}))


def test_many_callers_at_both_make_one_run_for_each_key(database: str) -> None:
    async def main() -> None:
        provider = Provider()
        async with gateway(database, provider) as one, gateway(database, provider) as other:
            callers = {key: [keyed(door, key) for door in (one, other) * 5] for key in ("k-1", "k-2", "k-3")}
            await provider.reached.wait()
            provider.may.set()
            for tasks in callers.values():
                answers = await asyncio.gather(*tasks)
                assert {each.status for each in answers} == {200}
                assert len({each.body for each in answers}) == 1
            assert provider.asked == 3
            again = await other.chat(BODY, {"idempotency-key": "k-1"})
            assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
            counts = await one.app.ledger.counts()  # type: ignore[attr-defined]  # PostgreSQL's has it
            assert (counts.accepted, counts.ok) == (3, 3)

    asyncio.run(main())


@pytest.mark.parametrize("at", ["first", "second"])
def test_a_run_whose_process_was_taken_for_dead_is_unknown_at_both(
    postgres: PostgresServer, database: str, at: str
) -> None:
    async def main() -> None:
        provider = Provider()
        async with gateway(database, provider) as one:
            first = keyed(one, "k")
            await provider.reached.wait()
            postgres.run(database, "DELETE FROM owners")  # as whoever recovers does, when its lease is over
            async with gateway(database, provider) as other:
                refused = await keyed(other, "k")
                assert (refused.status, refused.headers["x-should-retry"]) == (409, "false")
                assert refused.error["code"] == "idempotency_outcome_unknown"
                # It was only frozen, and says now how the run ended.
                provider.may.set()
                assert (await first).status == 200
                async with asyncio.timeout(20):
                    while (told := await keyed(other if at == "second" else one, "k")).status != 200:
                        await asyncio.sleep(0)
                assert told.body == (await first).body
                assert provider.asked == 1

    asyncio.run(main())
