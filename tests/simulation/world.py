"""A small world for the engine: scripted providers in memory, a ledger in memory, time that jumps, seeded chance.

::

    async def main(clock: VirtualClock) -> None:
        world = World(clock, {"a": [refuses(503)], "b": [speaks(*stream("hi"))]})
        outcome = await world.ask()
        assert outcome.heard.text == "hi"

    run_virtual(main)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.simulation.chat_wire import Heard, hear, request

from holdfast.clock import new_id
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.engine.call import Call, Limits
from holdfast.engine.endpoint import Endpoint
from holdfast.engine.engine import Engine
from holdfast.engine.policy import Policy, Retry, Target, Timeouts
from holdfast.engine.route import Resolved
from holdfast.errors import HoldfastError
from holdfast.ledger.memory import MemoryLedger
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.secret import Secret
from holdfast.testing.memory_transport import MemoryTransport, Reply
from holdfast.transport.base import Origin, Outgoing

if TYPE_CHECKING:
    from holdfast.engine.exchange import Exchange
    from holdfast.ledger.entry import AttemptRow, End, Intent, Record
    from holdfast.testing.virtual_time import VirtualClock

Handler = Callable[[Outgoing], Reply | Awaitable[Reply]]

PRICES = {  # dollars per 1M tokens: nano-dollars per 1k
    "a": ("2", "8"),
    "b": ("3", "12"),
    "c": ("0.5", "1.5"),
}
DIALECT = OpenAIChat()
POLICY, TIMEOUTS, NO_LIMITS = Policy(), Timeouts(), Limits()
QUICK = Retry(max_retries=2, base_s=0.5, max_s=8.0, jitter=0.0)


@dataclass
class Outcome:
    """What a caller got, and what the ledger says of it."""

    error: HoldfastError | None
    """Raised before the commit: an honest status."""
    body: bytes
    heard: Heard | None
    """Of a stream that was begun."""
    record: Record
    took_s: float

    @property
    def end(self) -> End:
        assert self.record.end is not None
        return self.record.end

    @property
    def rows(self) -> tuple[AttemptRow, ...]:
        return self.end.attempts

    @property
    def tried(self) -> list[tuple[str, str]]:
        return [(row.provider, row.outcome) for row in self.rows]


class Told:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.intents: list[Intent] = []
        self.rows: list[AttemptRow] = []
        self.ends: list[End] = []

    def accepted(self, intent: Intent) -> None:
        self.intents.append(intent)

    def attempted(self, intent: Intent, row: AttemptRow) -> None:
        self.rows.append(row)

    def ended(self, intent: Intent, end: End) -> None:
        self.ends.append(end)


class World:
    """An engine with one scripted provider for each name in ``scripts``; the chain is in their order."""

    def __init__(
        self,
        clock: VirtualClock,
        scripts: Mapping[str, Sequence[Reply] | Handler],
        *,
        seed: int = 0,
        policy: Policy = POLICY,
        timeouts: Timeouts = TIMEOUTS,
        retry: Retry = QUICK,
        prices: Mapping[str, tuple[str, str]] = PRICES,
        begin_s: float = 0.0,
        max_buffer_bytes: int = 1_000_000,
    ) -> None:
        self.clock = clock
        self.rng = random.Random(seed)
        self.policy = policy
        self.targets = tuple(
            Target(provider=name, model="m", timeouts=timeouts, retry=retry) for name in scripts
        )
        self._scripts = {name: _handler(name, script) for name, script in scripts.items()}
        self.transport = MemoryTransport(lambda outgoing: self._scripts[outgoing.origin.host](outgoing))
        self.ledger = MemoryLedger(clock, latency_s=begin_s)
        self.told = Told()
        overrides, problems = parse_overrides(
            {
                f"{name}/m": {"input_per_1m": Decimal(given), "output_per_1m": Decimal(made)}
                for name, (given, made) in prices.items()
            }
        )
        assert not problems
        self.engine = Engine(
            [endpoint(name) for name in scripts],
            transport=self.transport,
            ledger=self.ledger,
            book=PriceBook(overrides),
            clock=clock,
            rng=self.rng,
            observer=self.told,
            max_buffer_bytes=max_buffer_bytes,
        )

    def call(
        self, body: bytes | None = None, *, limits: Limits = NO_LIMITS, policy: Policy | None = None
    ) -> Call:
        envelope = DIALECT.read_request(body if body is not None else request())
        return Call(
            id=new_id(self.clock, self.rng),
            dialect=DIALECT,
            envelope=envelope,
            resolved=Resolved(
                asked=envelope.model,
                match="route",
                route="chat",
                targets=self.targets,
                skipped=(),
                policy=policy or self.policy,
            ),
            started_at=self.clock.monotonic(),
            started_ns=self.clock.wall_ns(),
            limits=limits,
        )

    def exchange(self, body: bytes | None = None, **more: Any) -> Exchange:
        return self.engine.exchange(self.call(body, **more))

    async def ask(self, body: bytes | None = None, **more: Any) -> Outcome:
        """One request from its first byte to its end."""
        exchange = self.exchange(body, **more)
        began = self.clock.monotonic()
        try:
            error, data = await converse(exchange)
        finally:
            exchange.close()
        record = await self.ledger.get(exchange.call.id)
        assert record is not None
        streamed = exchange.call.envelope.stream and error is None
        return Outcome(error, data, hear(data) if streamed else None, record, self.clock.monotonic() - began)

    def arrivals(self, name: str) -> list[float]:
        """When each request came in at one provider."""
        return [seen.began_at for seen in self.transport.exchanges if seen.request.origin.host == name]

    def assert_quiet(self) -> None:
        """Nothing is left open: no connection, no task but this one."""
        assert self.transport.stats().open == 0
        assert [seen.ended for seen in self.transport.exchanges if seen.ended == "open"] == []
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == [], left


async def converse(exchange: Exchange) -> tuple[HoldfastError | None, bytes]:
    """Opens and reads to the end, as a door does."""
    try:
        await exchange.open()
    except HoldfastError as error:
        return error, b""
    parts: list[bytes] = []
    while True:
        data = await exchange.read()
        parts.append(data)
        if exchange.over:
            return None, b"".join(parts)


def endpoint(name: str) -> Endpoint:
    return Endpoint(
        provider=name,
        dialect=DIALECT,
        origin=Origin("http", name, 80),
        path="/v1/chat/completions",
        headers=((b"authorization", f"Bearer sk-secret-of-{name}".encode()),),
        secrets=(Secret(f"sk-secret-of-{name}"),),
    )


def _handler(name: str, script: Sequence[Reply] | Handler) -> Handler:
    if callable(script):
        return script
    replies = iter(script)

    def handler(outgoing: Outgoing) -> Reply:
        reply = next(replies, None)
        assert reply is not None, f"{name} has {len(script)} replies, and one more request came"
        return reply

    return handler
