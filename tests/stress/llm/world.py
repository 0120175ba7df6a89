"""A run's surroundings: a chaos provider on a socket, the library configured for it, a ledger in a file."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tests.stress.llm.audit import Run, arrived
from tests.stress.llm.collector import Collector
from tests.stress.llm.rows import run_rows
from tests.support.gateway import document_of
from tests.support.six import six_providers

from holdfast import Client
from holdfast.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.stress.llm.rows import Row

    from holdfast.chaos import Chaos, Entry
    from holdfast.ledger.entry import Counts, Record
    from holdfast.transport.base import Transport

__all__ = ["EVER", "SEED", "Provider", "World"]

Provider: TypeAlias = Literal["azure", "openrouter"]

SEED = int(os.environ.get("STRESS_SEED", "7"))
"""Of every fault that is left to chance. The bounds in the tests hold for any seed, each but once in 10⁹ times."""
EVER = 99
"""Retries after which no script of this suite still refuses: as many as the configuration takes."""
_MODEL = "gpt-5.4-mini"
_BASE_S, _CAP_S = 0.002, 0.05
"""Pauses between attempts: real ones, and short, so that a thousand of them take seconds."""


class World:
    """Where rows are run.

    Args:
        chaos: the provider: all providers, each at its own paths.
        folder: for the ledger.
    """

    def __init__(self, chaos: Chaos, folder: Path) -> None:
        self.chaos = chaos
        self._ledger = folder / "ledger.db"

    def run(
        self,
        rows: list[Row],
        provider: Provider,
        *,
        workers: int = 8,
        retries: int = 3,
        stream: bool = False,
        deadline_s: float | None = None,
        timeouts: dict[str, float] | None = None,
        transport: Transport | None = None,
        out: Collector | None = None,
        phases: int = 1,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
        between: Callable[[], None] | None = None,
    ) -> Run:
        """Runs ``rows`` to their end, and gathers what all sides say of them.

        Args:
            retries: after a query's first try.
            deadline_s: for a whole row.
            timeouts: of the route (``answer_s`` …); by default so long that only a broken test meets them.
            phases: the rows are run in so many equal parts, one after the other, by one client.
            beside: runs beside each phase, on the client's loop.
            between: called when a phase is over, in a thread.
        """
        out = out if out is not None else Collector()
        document = self._document(provider, retries, timeouts or {})
        size, left = divmod(len(rows), phases)
        assert not left, "the phases aren't equal"

        async def live() -> None:
            async with Client(document, env={}, transport=transport) as client:
                for phase in range(phases):
                    async with asyncio.TaskGroup() as group:
                        if beside is not None:
                            group.create_task(beside())
                        await run_rows(
                            client,
                            rows[phase * size : (phase + 1) * size],
                            out,
                            workers=workers,
                            model="stress",
                            stream=stream,
                            deadline_s=deadline_s,
                        )
                    if between is not None:
                        await asyncio.to_thread(between)

        asyncio.run(live())
        records, counts, entries = self.ends()
        return Run(rows, out, entries, records, counts)

    def ends(self) -> tuple[dict[str, Record], Counts, list[Entry]]:
        """What the ledger and the provider's journal have now, once nothing runs any more.

        The ledger's records by the query's name, its counts, and the journal in order of arrival.
        """
        with LedgerReader(self._ledger) as reader:
            records = list(reader.requests(limit=None))
            counts = reader.counts()
        by_name = {f"{each.intent.tags['row']}.{each.intent.tags['query']}": each for each in records}
        assert len(by_name) == len(records), "a query has two records"
        sent = sum(
            arrived(row) for record in records if record.end is not None for row in record.end.attempts
        )
        # What was sent is read there, and a client that left is missed there, a moment later.
        entries = self.chaos.wait_for_requests(sent, 20.0, ended=True)
        return by_name, counts, entries

    def _document(self, provider: Provider, retries: int, timeouts: dict[str, float]) -> dict[str, Any]:
        route = {
            "targets": [f"{provider}/{_MODEL}"],
            "timeouts": {"connect_s": 5.0, "answer_s": 30.0, "first_token_s": 30.0, "idle_s": 30.0, **timeouts},
            "retry": {
                "max_retries": retries, "max_attempts": EVER + 1,
                "base_s": _BASE_S, "max_s": _CAP_S, "jitter": "full",
                # More than a run can ask for: what is tried here is the rows' own tries, not what all of them may have.
                "budget_ratio": 1, "budget_floor_per_s": 1_000,
            },
            "breaker": {"enabled": False},  # likewise: a run is one long outage, and each row's own tries are what counts
        }  # fmt: skip
        document = document_of(self.chaos.base_url, self._ledger, models=[_MODEL], routes={"stress": route})
        document["providers"] = {provider: six_providers(self.chaos.url)[provider]}
        return document
