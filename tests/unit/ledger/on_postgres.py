"""A ledger on a PostgreSQL of the tests, in a database of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from holdfast.clock import SystemClock, system_rng
from holdfast.ledger.postgres import PostgresLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import PostgresServer


@asynccontextmanager
async def ledger_in(url: str, **options: Any) -> AsyncIterator[PostgresLedger]:
    """One more process' in that database."""
    ledger = await PostgresLedger.open(url, clock=SystemClock(), rng=system_rng(), **options)
    try:
        yield ledger
    finally:
        await ledger.aclose()


@asynccontextmanager
async def ledger_on(server: PostgresServer, **options: Any) -> AsyncIterator[PostgresLedger]:
    """Alone in an empty database."""
    url = server.database()
    try:
        async with ledger_in(url, **options) as ledger:
            yield ledger
    finally:
        server.give_back(url)
