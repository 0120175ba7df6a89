"""A run of another process: it is waited for, and replayed byte for byte. Two gateways on one store, in virtual time."""

from __future__ import annotations

import asyncio
import random
import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.simulation.chat_wire import refuses, request, speaks, stream, whole
from tests.unit.gateway.door import CONFIG, Door

from holdfast.app import App
from holdfast.config import parse
from holdfast.gateway.metrics import Metrics
from holdfast.ledger.memory import MemoryLedger
from holdfast.ledger.memory_idempotency import MemoryIdempotency
from holdfast.testing.memory_transport import MemoryTransport, Reply
from holdfast.testing.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.testing.virtual_time import VirtualClock
    from holdfast.transport import Outgoing

KEYED = {"idempotency-key": "k-1"}
BODY = request(stream=False, model="chat")
STREAMED = request(stream=True, model="chat")


class Provider:
    """What it says, in that order, and how often it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked = 0

    async def __call__(self, _: Outgoing) -> Reply:
        self.asked += 1
        return self.replies.pop(0)


def on_two(main: Callable[[Door, Door], Awaitable[None]], provider: Provider, *, shared: bool = True) -> None:
    async def run(clock: VirtualClock) -> None:
        ledger = MemoryLedger(clock)
        store = MemoryIdempotency(ledger=ledger)
        doors = []
        for seed in (1, 2):
            app = await App.start(
                parse(tomllib.loads(CONFIG, parse_float=Decimal), {}),
                clock=clock,
                rng=random.Random(seed),
                transport=MemoryTransport(provider),
                ledger=ledger,
                idempotency=store,
            )
            app.runs.shared = shared
            metrics = Metrics(ledger)
            metrics.watch(app)
            doors.append(Door(clock, app, metrics))
        await main(*doors)
        for door in doors:
            await door.settle()

    run_virtual(run)


def told(answer: Any) -> tuple[int, bytes, str | None]:
    return answer.status, answer.body, answer.headers.get("idempotency-replayed")


@pytest.mark.parametrize("body", [BODY, STREAMED], ids=["whole", "stream"])
def test_a_caller_elsewhere_gets_the_same_bytes_when_the_run_is_over(body: bytes) -> None:
    reply = whole(head_s=5.0) if body is BODY else speaks(*stream("a", "b"), first_s=2.0, gap_s=1.0)
    provider = Provider(reply)

    async def main(one: Door, other: Door) -> None:
        first = asyncio.create_task(one.chat(body, KEYED))
        await asyncio.sleep(1.0)
        joined = [asyncio.create_task(other.chat(body, KEYED)) for _ in range(3)]
        answers = [await first, *[await each for each in joined]]
        assert told(answers[0]) == (200, answers[0].body, None)
        assert {told(each) for each in answers[1:]} == {(200, answers[0].body, "true")}
        assert told(await other.chat(body, KEYED)) == (200, answers[0].body, "true")
        own = {"idempotency-replayed", "x-request-id", "x-holdfast-request-id"}
        first_headers, *others = (
            {name: each.headers[name] for name in each.headers.keys() - own} for each in answers
        )
        assert others == [first_headers] * 3
        assert provider.asked == 1

    on_two(main, provider)


def test_too_long_a_run_elsewhere_has_its_callers_come_back() -> None:
    provider = Provider(whole(head_s=120.0))

    async def main(one: Door, other: Door) -> None:
        first = asyncio.create_task(one.chat(BODY, KEYED))
        await asyncio.sleep(1.0)
        since = other.clock.monotonic()
        refused = await other.chat(BODY, KEYED)
        assert (refused.status, refused.headers["retry-after"]) == (409, "1")
        assert 45.0 < other.clock.monotonic() - since <= 50.0
        assert (await first).status == 200
        assert (await other.chat(BODY, KEYED)).status == 200
        assert provider.asked == 1

    on_two(main, provider)


def test_where_the_run_elsewhere_came_to_nothing_it_is_run_here() -> None:
    provider = Provider(refuses(503, head_s=3.0), refuses(503), whole("second"))

    async def main(one: Door, other: Door) -> None:
        first = asyncio.create_task(one.chat(BODY, KEYED))
        await asyncio.sleep(1.0)
        second = await other.chat(BODY, KEYED)
        assert (await first).status == 502
        assert (second.status, second.headers.get("idempotency-replayed")) == (200, None)
        assert b"second" in second.body
        assert provider.asked == 3

    on_two(main, provider)


def test_another_request_under_the_key_is_a_conflict_at_once() -> None:
    provider = Provider(whole(head_s=5.0))

    async def main(one: Door, other: Door) -> None:
        first = asyncio.create_task(one.chat(BODY, KEYED))
        await asyncio.sleep(1.0)
        since = other.clock.monotonic()
        assert (await other.chat(STREAMED, KEYED)).status == 422
        assert other.clock.monotonic() == since
        await first

    on_two(main, provider)


def test_a_process_of_its_own_waits_for_nobody() -> None:
    provider = Provider(whole(head_s=5.0))

    async def main(one: Door, other: Door) -> None:
        first = asyncio.create_task(one.chat(BODY, KEYED))
        await asyncio.sleep(1.0)
        since = other.clock.monotonic()
        refused = await other.chat(BODY, KEYED)
        assert (refused.status, other.clock.monotonic()) == (409, since)
        await first

    on_two(main, provider, shared=False)
