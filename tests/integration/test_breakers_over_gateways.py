"""Two gateways on one Redis: one sees a target fail, both leave it alone; one sees it well again, both ask it (CB1, RL3)."""

from __future__ import annotations

import asyncio
import json
import tomllib
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.simulation.chat_wire import refuses, whole
from tests.support.redis_server import RedisServer, running_redis
from tests.unit.gateway.door import Door

from holdfast.app import App
from holdfast.clock import SystemClock
from holdfast.config import parse
from holdfast.gateway.metrics import Metrics
from holdfast.ledger.memory import MemoryLedger
from holdfast.testing.memory_transport import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

P = 2
CONFIG = f"""
[redis]
url = "{{url}}"
timeout_ms = 500
budget_ms = 1000
[providers.a]
dialect = "openai_chat"
base_url = "http://a/v1"
api_key = "x"
[routes.chat]
targets = ["a/m"]
[retry]
max_retries = 0
[breaker]
failure_threshold = 3
min_requests = 3
success_threshold = {P}
open_s = 1.0
jitter = 0
[adaptive]
enabled = true
initial_limit = 40
"""
BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as redis:
        yield redis


class FarEnd:
    """The provider of both: it fails as long as it is told to."""

    def __init__(self) -> None:
        self.well = True
        self.refuses = 500
        self.asked = 0

    def __call__(self, _sent: object) -> Any:
        self.asked += 1
        return whole() if self.well else refuses(self.refuses)


async def gateway(stack: AsyncExitStack, server: RedisServer, far: FarEnd) -> Door:
    config = parse(tomllib.loads(CONFIG.format(url=server.url), parse_float=Decimal), {})
    clock = SystemClock()
    ledger = MemoryLedger(clock)
    app = await App.start(config, clock=clock, transport=MemoryTransport(far), ledger=ledger)
    stack.push_async_callback(app.aclose)
    metrics = Metrics(ledger)
    metrics.watch(app)
    return Door(clock, app, metrics)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def breaker(door: Door) -> dict[str, Any]:
    said = (await door.ask("GET", "/admin/targets")).json["targets"]
    shown: dict[str, Any] = said[0]["breaker"]
    return shown


def test_what_one_gateway_finds_out_holds_for_both(server):
    async def main() -> None:
        far = FarEnd()
        async with AsyncExitStack() as stack:
            here, there = [await gateway(stack, server, far) for _ in range(2)]
            for door in (here, there):
                assert (await door.chat(BODY)).status == 200
            far.well = False
            for _ in range(3):
                assert (await here.chat(BODY)).status >= 500
            theirs = next(iter(there.app.engine.gate)).shared
            loop = asyncio.get_running_loop()
            began = loop.time()
            await until(lambda: theirs.epoch == 1)
            assert loop.time() - began < 0.5
            asked = far.asked
            said = await there.chat(BODY)
            assert (said.status, far.asked) == (503, asked), "refused, and nothing was sent"
            shown = await breaker(there)
            assert (shown["state"], shown["shared"]["here"]) == ("open", False)
            assert (await breaker(here))["shared"] == {"epoch": 1, "here": True, "probes": 0, "alone": False}

            far.well = True
            await until(lambda: theirs.breaker.state == "half_open")
            asked = far.asked
            async with asyncio.timeout(20):
                while not theirs.breaker.closed:
                    await asyncio.gather(*[door.chat(BODY) for door in (here, there)])
            assert far.asked >= asked + P
            assert theirs.epoch == 2
            assert (await there.chat(BODY)).status == 200

    asyncio.run(main())


def test_a_gateway_that_starts_again_begins_with_the_limit_that_was_known(server):
    async def main() -> None:
        far = FarEnd()
        async with AsyncExitStack() as stack:
            here = await gateway(stack, server, far)
            far.well, far.refuses = False, 429
            await here.chat(BODY)
            limit = next(iter(here.app.engine.gate)).adaptive
            assert limit.limit == 36
            await until(lambda: bool(server.command("KEYS", "*adaptive*")))
        async with AsyncExitStack() as stack:
            again = await gateway(stack, server, far)
            far.well = True
            again.app.engine.gate.of(again.app.routes.resolve("chat").targets[0])
            limit = next(iter(again.app.engine.gate)).adaptive
            await until(lambda: limit.limit == 36)
            assert not limit.snapshot().slow_start

    asyncio.run(main())
