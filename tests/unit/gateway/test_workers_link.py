"""What a supervisor and a worker say to each other."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from holdfast.errors import HoldfastError
from holdfast.gateway.workers_crew import Crew, Seat
from holdfast.gateway.workers_link import (
    LARGEST,
    Ask,
    Begin,
    Counted,
    Failed,
    Link,
    Reload,
    Scraped,
    Serving,
    Sums,
    read_begin,
)
from holdfast.gateway.workers_sums import Family, Sample

if TYPE_CHECKING:
    from holdfast.gateway.workers_link import FromWorker, ToWorker

NUMBERS = [Family("asked", "counter", "Asked.", [Sample("asked_total", (("route", "a"),), float("inf"))])]
FROM_WORKER: list[FromWorker] = [
    Serving("http://x", keyed=True),
    Failed("no"),
    Counted(NUMBERS),
    Counted(NUMBERS, 3),
    Scraped(2),
    Reload(),
]
TO_WORKER: list[ToWorker] = [
    Begin(number=1, workers=2, listener=5, file="f", text=b"\xff", simulated={"openai": "http://y"}),
    Ask(1),
    Sums(2, NUMBERS),
]


async def pair() -> tuple[Link, Link]:
    ours, theirs = socket.socketpair()
    return await Link.over(ours), await Link.over(theirs)


def test_what_is_said_arrives_as_it_was_said() -> None:
    async def main() -> None:
        here, there = await pair()
        for each in TO_WORKER:
            here.send(each)
        for each in FROM_WORKER:
            there.send(each)
        assert [await there.next_to_worker() for _ in TO_WORKER] == TO_WORKER
        assert [await here.next_from_worker() for _ in FROM_WORKER] == FROM_WORKER
        here.close()
        assert await there.next_to_worker() is None
        there.send(Reload())  # nobody hears it
        there.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "data", [b"\0\0\0\5{}", b"\0\0\0\2{}", (LARGEST + 1).to_bytes(4) + b"x", b"\xff", b""]
)
def test_what_cannot_be_read_is_the_end(data: bytes) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            link = await Link.over(ours)
            theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            assert await link.next_from_worker() is None
            link.close()

    asyncio.run(main())


def test_who_does_not_read_is_given_up_before_memory_is() -> None:
    async def main() -> None:
        here, there = await pair()
        big = [Family("x", "counter", "x" * 2**20, [])]
        for _ in range(LARGEST // 2**20 + 3):
            here.send(Sums(1, big))
        here.send(Sums(1, []))
        heard = 0
        while await there.next_to_worker() is not None:
            heard += 1
        assert heard < LARGEST // 2**20
        for link in (here, there):
            link.close()

    asyncio.run(main())


def test_the_first_message_is_read_before_there_is_a_loop() -> None:
    ours, theirs = socket.socketpair()

    async def main() -> None:
        link = await Link.over(ours)
        link.send(TO_WORKER[0])
        await link.flush()
        assert await asyncio.to_thread(read_begin, theirs) == TO_WORKER[0]
        link.close()

    with theirs:
        asyncio.run(main())
        assert read_begin(theirs) is None  # the supervisor is gone


def test_last_words_are_heard_when_the_loop_is_over() -> None:
    ours, theirs = socket.socketpair()
    seat = Seat(2, theirs)

    async def worker() -> None:
        link = await seat.link()
        link.send(Scraped(1))
        await link.flush()
        link.close()

    asyncio.run(worker())
    seat.fail("there is no database")
    seat.close()

    async def supervisor() -> list[FromWorker | None]:
        link = await Link.over(ours)
        heard = [await link.next_from_worker() for _ in range(3)]
        link.close()
        return heard

    assert asyncio.run(supervisor()) == [Scraped(1), Failed("there is no database"), None]


class TestCrew:
    def test_it_tells_when_asked_and_when_it_leaves(self) -> None:
        async def main() -> None:
            here, there = await pair()
            counted = [1.0]

            def count() -> list[Family]:
                return [Family("asked", "counter", "", [Sample("asked_total", (), counted[0])])]

            crew = Crew(there, 1, count)
            here.send(Ask(7))
            assert await here.next_from_worker() == Counted(count(), 7)
            counted[0] = 2.0
            await crew.leave()
            assert await here.next_from_worker() == Counted(count())
            assert await here.next_from_worker() is None
            here.close()

        asyncio.run(main())

    def test_it_tells_by_itself_what_is_new(self) -> None:
        async def main() -> None:
            here, there = await pair()
            crew = Crew(there, 1, lambda: NUMBERS)
            async with asyncio.timeout(20):
                assert await here.next_from_worker() == Counted(NUMBERS)
            await crew.leave()
            here.close()

        asyncio.run(main())

    def test_a_scrape_gets_everyones_numbers(self) -> None:
        async def main() -> None:
            here, there = await pair()
            crew = Crew(there, 1, list)
            one, other = asyncio.create_task(crew.sums()), asyncio.create_task(crew.sums())
            first, second = await here.next_from_worker(), await here.next_from_worker()
            assert isinstance(first, Scraped)
            assert isinstance(second, Scraped)
            here.send(Sums(second.id, NUMBERS))
            assert await other == NUMBERS
            here.send(Sums(second.id, NUMBERS))  # a late one: nobody waits for it
            here.send(Sums(first.id, []))
            assert await one == []
            await crew.leave()
            here.close()

        asyncio.run(main())

    def test_a_scrape_without_an_answer_says_so_and_tells_no_part(self) -> None:
        async def main() -> None:
            here, there = await pair()
            crew = Crew(there, 1, lambda: NUMBERS, scrape_s=0.01)
            with pytest.raises(HoldfastError, match="ask again") as caught:
                await crew.sums()
            assert caught.value.status == 503
            await crew.leave()
            here.close()

        asyncio.run(main())

    def test_a_supervisor_that_is_gone_is_told_to_this_process_as_sigterm(self) -> None:
        async def main() -> None:
            told = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
            here, there = await pair()
            crew = Crew(there, 1, lambda: NUMBERS)
            here.close()
            async with asyncio.timeout(20):
                await told.wait()
            await crew.leave()

        before = signal.getsignal(signal.SIGTERM)
        try:
            asyncio.run(main())
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_it_has_the_others_reload(self) -> None:
        async def main() -> None:
            here, there = await pair()
            crew = Crew(there, 1, list)
            crew.reload()
            assert await here.next_from_worker() == Reload()
            await crew.leave()
            here.close()

        asyncio.run(main())
