"""Large questions are counted beside the loop, a few at a time, and give their place back."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any

from holdfast.clock import SystemClock
from holdfast.dialects.count_tokens import AnthropicCountTokens
from holdfast.engine.policy import Target
from holdfast.gateway.tally import Tallies, Tally
from holdfast.providers.tokens.aside import LARGE

PATIENCE_S = 20.0
"""For what never takes that long, unless it never comes."""
BODY = {"model": "m", "messages": [{"role": "user", "content": "word " * (LARGE // 5)}]}


class Gated(AnthropicCountTokens):
    """Reads a body once it is told to, as a large one takes its time."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def neutral(self, envelope: Any) -> Any:
        self.begun.release()
        assert self.go.wait(PATIENCE_S), "the loop stands still: it can't say go"
        return super().neutral(envelope)


def tally(tallies: Tallies, dialect: AnthropicCountTokens) -> Tally:
    call: Any = SimpleNamespace(
        dialect=dialect,
        envelope=dialect.read_request(json.dumps(BODY).encode()),
        resolved=SimpleNamespace(targets=[Target(provider="openai", model="gpt-4o")]),
        deadline=SystemClock().monotonic() + PATIENCE_S,
        id="a",
    )
    return Tally(tallies, call, dialect)


def tallies() -> Tallies:
    engine: Any = SimpleNamespace(
        endpoint=lambda *_: SimpleNamespace(dialect=SimpleNamespace(name="elsewhere")),
        admission=None,
        learner=None,
        clock=SystemClock(),
    )
    return Tallies(engine)


def test_the_loop_goes_on_while_a_large_one_is_counted() -> None:
    dialect = Gated()

    async def both() -> None:
        counting = asyncio.create_task(tally(tallies(), dialect).ask(None))  # type: ignore[arg-type]  # not asked
        assert await asyncio.to_thread(dialect.begun.acquire, timeout=PATIENCE_S)
        assert not counting.done()
        dialect.go.set()
        told = await counting
        assert told is not None
        assert json.loads(told.body)["input_tokens"] > LARGE // 10

    asyncio.run(both())


def test_as_many_as_may_be_are_counted_at_once_and_then_the_next() -> None:
    dialect = Gated()

    async def five() -> None:
        room = tallies()
        counting = [asyncio.create_task(tally(room, dialect).ask(None)) for _ in range(5)]  # type: ignore[arg-type]  # not asked
        for _ in range(2):
            assert await asyncio.to_thread(dialect.begun.acquire, timeout=PATIENCE_S)
        assert room.room.locked()
        assert not dialect.begun.acquire(blocking=False)
        dialect.go.set()
        told = await asyncio.gather(*counting)
        assert all(each is not None for each in told)
        assert not room.room.locked(), "each place was given back"

    asyncio.run(five())
