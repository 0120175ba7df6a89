"""A worker's place among the others: it tells the supervisor what it counted, and asks what all have."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from holdfast.errors import HoldfastError
from holdfast.gateway.workers_link import (
    Ask,
    Counted,
    Failed,
    Link,
    Reload,
    Scraped,
    Serving,
    Sums,
    last_words,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from holdfast.gateway.workers_sums import Family

__all__ = ["TELL_S", "Crew", "Seat"]

TELL_S: Final = 1.0
"""How often a worker tells what it counted: what it counted since is lost if it is killed."""
_SHARE: Final = 0.01
"""Of its time, at most so much for that: a thousand series take some milliseconds."""
_SCRAPE_S: Final = 2.0
_LEAVE_S: Final = 1.0


class Seat:
    """What a worker is born with: its number and its end of the link."""

    def __init__(self, number: int, end: socket.socket) -> None:
        self.number = number
        self._end = end
        self._spare = end.dup()

    async def link(self) -> Link:
        """The link, on the running loop. Once."""
        return await Link.over(self._end)

    def fail(self, message: str) -> None:
        """The last words, when there is no loop any more."""
        last_words(self._spare, Failed(message))

    def close(self) -> None:
        """Both are over; a second call does nothing."""
        self._spare.close()
        self._end.close()


class Crew:
    """The worker's side of the link, as long as it serves.

    Args:
        link: to the supervisor.
        number: the worker's, from 1.
        count: the worker's own numbers, now.
        scrape_s: how long everyone's numbers are waited for.
    """

    def __init__(
        self, link: Link, number: int, count: Callable[[], list[Family]], *, scrape_s: float = _SCRAPE_S
    ) -> None:
        self._scrape_s = scrape_s
        self.number = number
        self._link = link
        self._count = count
        self._told: list[Family] = []
        self._wanted: dict[int, asyncio.Future[list[Family]]] = {}
        self._scrapes = 0
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._tell())]

    def serving(self, url: str, keyed: bool) -> None:
        """Connections are taken."""
        self._link.send(Serving(url, keyed))

    def reload(self) -> None:
        """Has the other workers read the configuration again."""
        self._link.send(Reload())

    async def sums(self) -> list[Family]:
        """All workers' numbers together.

        Raises:
            HoldfastError: they can't be had; a part of them would look as if counters went backwards.
        """
        self._scrapes += 1
        number = self._scrapes
        wanted = self._wanted[number] = asyncio.get_running_loop().create_future()
        self._link.send(Scraped(number))
        try:
            async with asyncio.timeout(self._scrape_s):
                sums: list[Family] = await wanted
                return sums
        except TimeoutError:
            said = "the supervisor doesn't tell the other workers' numbers; ask again"
            raise HoldfastError(said, status=503) from None
        finally:
            del self._wanted[number]

    async def leave(self) -> None:
        """Tells the last numbers. Call it when nothing counts any more."""
        for task in self._tasks:
            task.cancel()
        self._link.send(Counted(self._count()))
        with suppress(TimeoutError):  # the supervisor hangs, and nobody will miss them
            async with asyncio.timeout(_LEAVE_S):
                await self._link.flush()
        self._link.close()

    async def _listen(self) -> None:
        while (said := await self._link.next_to_worker()) is not None:
            match said:
                case Ask():
                    self._told = self._count()
                    self._link.send(Counted(self._told, said.id))
                case Sums() if (wanted := self._wanted.get(said.id)) is not None and not wanted.done():
                    wanted.set_result(said.families)
        os.kill(os.getpid(), signal.SIGTERM)  # nobody would tell it to end any more

    async def _tell(self) -> None:
        loop, took_s = asyncio.get_running_loop(), 0.0
        while True:
            await asyncio.sleep(max(TELL_S, took_s / _SHARE))
            began = loop.time()
            now = self._count()
            took_s = loop.time() - began
            if now != self._told:
                self._told = now
                self._link.send(Counted(now))
