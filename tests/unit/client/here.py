"""A client in virtual time: scripted providers in memory, a ledger in memory, seeded chance.

::

    async def main(here: Here) -> None:
        answer = await here.client.chat("hi")

    in_virtual_time({"a": [refuses(503)], "b": [whole("hello")]}, main)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast import Client
from holdfast.ledger.memory import MemoryLedger
from holdfast.testing.memory_transport import MemoryTransport, Reply
from holdfast.testing.virtual_time import VirtualClock, run_virtual
from holdfast.transport.base import Outgoing

if TYPE_CHECKING:
    from holdfast.ledger.entry import Record

T = TypeVar("T")
Handler = Callable[[Outgoing], Reply | Awaitable[Reply]]
Scripts = Mapping[str, Sequence[Reply] | Handler]


ONCE: Mapping[str, Any] = {"max_retries": 0}


class Here:
    """A client over one scripted provider for each name in ``scripts``; the route ``chat`` is in their order."""

    def __init__(
        self, clock: VirtualClock, scripts: Scripts, *, retry: Mapping[str, Any] = ONCE, **route: Any
    ) -> None:
        self.clock = clock
        self._scripts = {name: _handler(name, script) for name, script in scripts.items()}
        self.transport = MemoryTransport(lambda outgoing: self._scripts[outgoing.origin.host](outgoing))
        self.ledger = MemoryLedger(clock)
        document = {
            "providers": {
                name: {"dialect": "openai_chat", "base_url": f"http://{name}/v1", "auth": "none"}
                for name in scripts
            },
            "routes": {"chat": {"targets": [f"{name}/m" for name in scripts], **route}},
            "retry": retry,
            "prices": {
                f"{name}/m": {"input_per_1m": Decimal(2), "output_per_1m": Decimal(8)} for name in scripts
            },
        }
        self.client = Client(
            document, env={}, ledger=self.ledger, transport=self.transport, clock=clock, rng=random.Random(0)
        )

    def records(self) -> list[Record]:
        return list(self.ledger.records())

    def record(self) -> Record:
        """The only call there was."""
        (record,) = self.ledger.records()
        return record

    def arrivals(self, name: str) -> list[Outgoing]:
        return [seen.request for seen in self.transport.exchanges if seen.request.origin.host == name]

    def assert_quiet(self) -> None:
        """Nothing is left open: no connection, no call, no task but this one."""
        assert self.transport.stats().open == 0
        assert [record.state for record in self.records() if record.state == "in_flight"] == []
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == [], left


def in_virtual_time(scripts: Scripts, main: Callable[[Here], Awaitable[T]], **settings: Any) -> T:
    """``main`` with a client, which is closed after it; nothing may be left open."""

    async def run(clock: VirtualClock) -> T:
        here = Here(clock, scripts, **settings)
        try:
            result = await main(here)
            here.assert_quiet()
            return result
        finally:
            await here.client.aclose()

    return run_virtual(run)


def _handler(name: str, script: Sequence[Reply] | Handler) -> Handler:
    if callable(script):
        return script
    replies = iter(script)

    def handler(_: Outgoing) -> Reply:
        reply = next(replies, None)
        assert reply is not None, f"{name} has {len(script)} replies, and one more request came"
        return reply

    return handler
