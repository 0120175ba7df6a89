"""BH1 over real sockets: one hung provider changes nothing for another, and keeps its callers out by being full."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.load import asked, ended_by, held, ms_of, reasons_of, sent_to, state_of

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.http import Answer

    from holdfast.chaos import Entry
    from holdfast.resilience.bulkhead import BulkheadSnapshot

PLACES, QUEUE = 6, 4
BLOCKS, EACH = 4, 25  # of requests to the healthy one: by turns beside the hung one and without it


@pytest.fixture(scope="module")
def hung() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts={"stream": "stall=2"}, default="hang")) as server:
        yield server


@pytest.fixture(scope="module")
def healthy() -> Iterator[Chaos]:
    """It takes 20 ms, as a very fast model does: what a hung neighbour adds is seen against that."""
    with run_chaos(ChaosConfig(default="delay=0.02")) as server:
        yield server


@contextmanager
def world(
    folder: Path, hung: Chaos, healthy: Chaos, *, max_wait_s: float = 30, overall: int | None = None
) -> Iterator[Running]:
    document = document_of(
        hung.base_url,
        folder / "ledger.db",
        routes={
            "hung": {"targets": ["one/m"]},
            "stream": {"targets": ["one/stream"]},
            "healthy": {"targets": ["two/m"]},
            "pair": {"targets": ["one/m", "two/m"]},
        },
    )
    document["providers"]["one"]["bulkhead"] = {
        "max_concurrent": PLACES,
        "max_queue": QUEUE,
        "max_wait_s": max_wait_s,
    }
    document["providers"]["two"]["base_url"] = healthy.base_url
    if overall is not None:
        document["overall"] = {"max_concurrent": overall, "max_queue": 0}
    hung.reset()
    healthy.reset()
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


def bulkhead(gateway: Running, target: str = "one/m") -> BulkheadSnapshot:
    snapshot = state_of(gateway, target).bulkhead
    assert snapshot is not None
    return snapshot


async def ask_often(gateway: Running, count: int, model: str) -> list[Answer]:
    request = sent_to(model)
    return [await asked(gateway.port, request) for _ in range(count)]


async def filled(gateway: Running, hung: Chaos) -> None:
    """Waits until every place at the hung one is taken, and its queue is full."""

    def there(entries: list[Entry]) -> bool:
        return sum(entry.end is None for entry in entries) == PLACES

    await asyncio.to_thread(hung.wait_for, there)
    while bulkhead(gateway).waiting < QUEUE:
        await asyncio.sleep(0)


async def emptied(gateway: Running, hung: Chaos) -> None:
    """Waits until nobody is at the hung one any more."""
    await asyncio.to_thread(hung.wait_for, lambda entries: all(entry.end for entry in entries))
    while bulkhead(gateway).in_use:
        await asyncio.sleep(0)


def test_a_healthy_neighbour_notices_nothing(tmp_path: Path, hung: Chaos, healthy: Chaos) -> None:
    with world(tmp_path, hung, healthy) as gateway:

        async def main() -> tuple[list[Answer], list[Answer], list[Answer]]:
            alone: list[Answer] = []
            beside: list[Answer] = []
            overflow: list[Answer] = []

            async def knock() -> None:
                while True:
                    overflow.append(await asked(gateway.port, sent_to("hung")))
                    await asyncio.sleep(
                        0.02
                    )  # a steady load, not as fast as it gets: that would measure the CPU

            for _ in range(BLOCKS):
                alone += await ask_often(gateway, EACH, "healthy")
                async with held(gateway.port, [sent_to("hung")] * (PLACES + QUEUE)):
                    await filled(gateway, hung)
                    knocking = asyncio.create_task(knock())
                    beside += await ask_often(gateway, EACH, "healthy")
                    knocking.cancel()
                    await asyncio.wait([knocking])
                await emptied(gateway, hung)
            return alone, beside, overflow

        alone, beside, overflow = asyncio.run(main())
        assert {answer.status for answer in alone + beside} == {200}
        assert ms_of(beside) <= 1.25 * ms_of(alone)
        assert len(healthy.journal()) == 2 * BLOCKS * EACH
        assert len(hung.journal()) <= (PLACES + QUEUE) * BLOCKS, "nobody but those who had a place or a turn"
        assert len(overflow) > BLOCKS
        assert {answer.status for answer in overflow} == {503}


def test_overflow_is_refused_at_once_and_places_come_back(
    tmp_path: Path, hung: Chaos, healthy: Chaos
) -> None:
    with world(tmp_path, hung, healthy) as gateway:

        async def main() -> list[Answer]:
            async with held(gateway.port, [sent_to("hung")] * (PLACES + QUEUE)):
                await filled(gateway, hung)
                overflow = await ask_often(gateway, 50, "hung")
                state = bulkhead(gateway)
                assert (state.in_use, state.waiting) == (PLACES, QUEUE)
            await asyncio.to_thread(ended_by, gateway, PLACES + QUEUE + 50)
            return overflow

        overflow = asyncio.run(main())
        for answer in overflow:
            assert answer.status == 503
            assert reasons_of(answer) == ["no_place"]
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.attempts == 0
        assert ms_of(overflow) < 10
        state = bulkhead(gateway)
        assert (state.in_use, state.waiting) == (0, 0)
        assert state.refused == 50
        assert len(hung.journal()) <= PLACES + QUEUE, "nobody but those who had a place or a turn"


def test_who_waits_gets_the_place_of_who_leaves(tmp_path: Path, hung: Chaos, healthy: Chaos) -> None:
    with world(tmp_path, hung, healthy) as gateway:

        async def main() -> None:
            async with held(gateway.port, [sent_to("hung")] * (PLACES + QUEUE)) as crowd:
                await filled(gateway, hung)
                crowd[0].leave()
                await asyncio.to_thread(hung.wait_for_requests, PLACES + 1)
                state = bulkhead(gateway)
                assert (state.in_use, state.waiting) == (PLACES, QUEUE - 1)
            await asyncio.to_thread(ended_by, gateway, PLACES + QUEUE)

        asyncio.run(main())
        assert bulkhead(gateway).in_use == 0


def test_a_place_is_held_to_the_end_of_the_stream(tmp_path: Path, hung: Chaos, healthy: Chaos) -> None:
    with world(tmp_path, hung, healthy) as gateway:

        async def main() -> None:
            async with held(gateway.port, [sent_to("stream", stream=True)] * PLACES) as streams:
                for stream in streams:
                    await stream.head()
                    await stream.until(b":1 ")
                assert bulkhead(gateway, "one/stream").in_use == PLACES
                for stream in streams[:2]:
                    stream.leave()
                await asyncio.to_thread(ended_by, gateway, 2)
                assert bulkhead(gateway, "one/stream").in_use == PLACES - 2
            await asyncio.to_thread(ended_by, gateway, PLACES)

        asyncio.run(main())
        assert bulkhead(gateway, "one/stream").in_use == 0


def test_who_waits_in_vain_is_told_when_his_time_is_over(tmp_path: Path, hung: Chaos, healthy: Chaos) -> None:
    with world(tmp_path, hung, healthy, max_wait_s=0.2) as gateway:

        async def main() -> Answer:
            async with held(gateway.port, [sent_to("hung")] * PLACES):
                await asyncio.to_thread(hung.wait_for_requests, PLACES)
                return await asked(gateway.port, sent_to("hung"))

        answer = asyncio.run(main())
        assert (answer.status, reasons_of(answer)) == (503, ["no_place"])
        assert 0.2 <= answer.seconds < 1
        assert len(hung.journal()) == PLACES


def test_where_one_is_full_the_next_target_serves(tmp_path: Path, hung: Chaos, healthy: Chaos) -> None:
    with world(tmp_path, hung, healthy) as gateway:

        async def main() -> list[Answer]:
            async with held(gateway.port, [sent_to("hung")] * (PLACES + QUEUE)):
                await filled(gateway, hung)
                return await ask_often(gateway, 10, "pair")

        answers = asyncio.run(main())
        assert {(answer.status, answer.headers["x-holdfast-provider"]) for answer in answers} == {
            (200, "two")
        }
        assert {answer.attempts for answer in answers} == {1}
        assert len(healthy.journal()) == 10


def test_the_places_of_all_together_are_bounded_too(tmp_path: Path, hung: Chaos, healthy: Chaos) -> None:
    with world(tmp_path, hung, healthy, overall=PLACES) as gateway:

        async def main() -> list[Answer]:
            async with held(gateway.port, [sent_to("hung")] * PLACES):
                await asyncio.to_thread(hung.wait_for_requests, PLACES)
                refused = await ask_often(gateway, 1, "healthy")
            await asyncio.to_thread(ended_by, gateway, PLACES + 1)
            return [*refused, *await ask_often(gateway, 1, "healthy")]

        refused, served = asyncio.run(main())
        assert (refused.status, reasons_of(refused)) == (503, ["no_place"])
        assert served.status == 200
        assert bulkhead(gateway, "two/m").in_use == 0, "the place that it had here came back"
