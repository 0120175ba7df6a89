"""Many callers at once, and what the provider's journal says of them: how many at a time or in a window, how fairly."""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import asynccontextmanager
from statistics import median
from typing import TYPE_CHECKING

from tests.support.http import Answer, Client, chat, request_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from tests.support.gateway import Running

    from holdfast.chaos import Entry
    from holdfast.engine.gates import TargetState

__all__ = [
    "asked",
    "callers",
    "ended_by",
    "held",
    "jain",
    "most_at_once",
    "most_in_window",
    "ms_of",
    "open_loop",
    "reasons_of",
    "sent_to",
    "state_of",
]

PATH = "/v1/chat/completions"


def sent_to(model: str, *, stream: bool = False, text: str = "hi", headers: Mapping[str, str] = {}) -> bytes:
    """A whole request."""
    body = json.dumps(chat(model, stream=stream, text=text)).encode()
    return request_bytes("POST", PATH, body, {"connection": "close", **headers})


async def asked(port: int, request: bytes) -> Answer:
    """One exchange on a connection of its own."""
    client = await Client.connect(port)
    try:
        await client.send(request)
        await client.head()
        return await client.rest()
    finally:
        client.leave()


async def callers(port: int, request: bytes, count: int) -> list[Client]:
    """So many callers who have all sent ``request`` before any of them reads: connected first, so that nobody is late."""
    clients = [await Client.connect(port) for _ in range(count)]
    for client in clients:
        await client.send(request)
    return clients


@asynccontextmanager
async def held(port: int, requests: Iterable[bytes]) -> AsyncIterator[list[Client]]:
    """Callers who have sent their requests, and leave at the end of the block."""
    clients: list[Client] = []
    try:
        for request in requests:
            clients.append(await Client.connect(port))
            await clients[-1].send(request)
        yield clients
    finally:
        for client in clients:
            client.leave()


async def open_loop(port: int, rate: float, count: int, request: bytes) -> list[Answer]:
    """``count`` requests, one each 1 / ``rate`` seconds, however long the answers take: what a busy world does."""
    began = time.monotonic()
    tasks = []
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))  # the rate is what is tested
        tasks.append(asyncio.create_task(asked(port, request)))
    return list(await asyncio.gather(*tasks))


def most_at_once(entries: Sequence[Entry]) -> int:
    """The largest number of attempts that were at the provider together, by its own clock."""
    moments = sorted(
        (moment, change)
        for entry in entries
        for moment, change in ((entry.arrived_ns, 1), (entry.ended_ns or math.inf, -1))
    )
    now = most = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def most_in_window(times_ns: Iterable[int], window_s: float) -> int:
    """The largest number of moments in any window of that length, wherever it starts; its end isn't part of it."""
    times = sorted(times_ns)
    first = most = 0
    for last, moment in enumerate(times):
        while moment - times[first] >= window_s * 1e9:
            first += 1
        most = max(most, last - first + 1)
    return most


def jain(shares: Sequence[float]) -> float:
    """Jain's index (R. Jain, 1984): 1 where all have the same, 1 / n where one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def ms_of(answers: Iterable[Answer]) -> float:
    """The median of how long they took, in milliseconds."""
    return median(answer.seconds for answer in answers) * 1e3


def reasons_of(answer: Answer) -> list[str]:
    """Why each target that was asked, or would have been, did not serve."""
    return [attempt["error"] for attempt in answer.error["attempts"]]


def state_of(gateway: Running, target: str) -> TargetState:
    """How everything before ``target`` stands."""

    def find() -> TargetState:
        return next(state for state in gateway.app.engine.gate.states() if state.target == target)

    return gateway.call(find)


def ended_by(gateway: Running, count: int) -> None:
    """Blocks until so many requests are over."""
    gateway.wait_for(lambda: len(gateway.seen.ends) >= count, 10)
