"""Calls of one provider in memory, at prices that a configuration states, and what the ledger says they cost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.simulation.chat_wire import whole

from holdfast import Client
from holdfast.ledger.memory import MemoryLedger
from holdfast.testing.memory_transport import MemoryTransport
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["costs_of"]


def costs_of(
    prices: Mapping[str, tuple[int, int]], model: str, usages: Sequence[tuple[int, int]]
) -> list[int | None]:
    """Nano-dollars of each call of ``model``, in turn answered with ``usages``.

    Args:
        prices: dollars for 1M tokens of input and of output, by model.
    """

    async def main(clock: VirtualClock) -> list[int | None]:
        answers = iter([whole(usage=usage, model=model) for usage in usages])
        ledger = MemoryLedger(clock)
        document = {
            "providers": {
                "openai": {"dialect": "openai_chat", "base_url": "http://openai/v1", "auth": "none"}
            },
            "routes": {"chat": {"targets": [f"openai/{model}"]}},
            "prices": {
                name: {"input_per_1m": given, "output_per_1m": made} for name, (given, made) in prices.items()
            },
        }
        client = Client(
            document,
            env={},
            ledger=ledger,
            transport=MemoryTransport(lambda _: next(answers)),
            clock=clock,
            rng=random.Random(0),
        )
        try:
            for _ in usages:
                await client.chat("hi", max_tokens=1_000_000)
            ended = [record.end for record in ledger.records()]
            return [None if end is None else end.cost_nano for end in ended]
        finally:
            await client.aclose()

    return run_virtual(main)
