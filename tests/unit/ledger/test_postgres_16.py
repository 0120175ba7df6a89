"""An older PostgreSQL passes what every ledger passes. All other tests use 18, unless HOLDFAST_TEST_POSTGRES=16 is set."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.property_tests.ledger.test_blocks_twins import Real, machine_on
from tests.support.postgres import PostgresServer
from tests.unit.ledger.on_postgres import ledger_on
from tests.unit.ledger.test_pg_listen import (
    test_words_of_a_group_and_of_a_transaction_are_heard_by_all as words_are_heard_by_all,
)

from holdfast.clock import SystemClock, system_rng
from holdfast.ledger.conformance import run_store_conformance
from holdfast.ledger.idempotency_conformance import run_idempotency_conformance
from holdfast.ledger.keys_conformance import run_keys_conformance
from holdfast.ledger.postgres import PostgresLedger
from holdfast.ledger.sql_idempotency import SqlIdempotency
from holdfast.ledger.sql_keys import SqlKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer({"fsync": "off"}, version=16) as made:
        yield made


def test_it_is_one(server: PostgresServer) -> None:
    ((version,),) = server.admin.execute("SHOW server_version_num").fetchall()
    assert int(version) // 10_000 == 16


def test_the_ledger_conforms(server: PostgresServer) -> None:
    urls: list[str] = []

    async def factory() -> PostgresLedger:
        urls.append(server.database())
        return await PostgresLedger.open(urls[-1], clock=SystemClock(), rng=system_rng())

    run_store_conformance(factory)
    for url in urls:
        server.give_back(url)


def test_keys_conform(server: PostgresServer) -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[SqlKeys]:
        async with ledger_on(server) as ledger:
            yield SqlKeys(ledger)

    run_keys_conformance(factory)


def test_idempotency_keys_conform(server: PostgresServer) -> None:
    @asynccontextmanager
    async def factory() -> AsyncIterator[SqlIdempotency]:
        async with ledger_on(server) as ledger:
            yield SqlIdempotency(ledger)

    run_idempotency_conformance(factory)


def test_blocks_are_as_in_memory(server: PostgresServer) -> None:
    url = server.database()
    real = Real(url, server)
    try:
        run_state_machine_as_test(machine_on(real), settings=settings(max_examples=5, stateful_step_count=40))
    finally:
        with asyncio.Runner() as runner:
            for authority in real.authorities:
                runner.run(authority.aclose())
        real.close()
    server.give_back(url)


def test_words_between_processes_come(server: PostgresServer) -> None:
    url = server.database()
    words_are_heard_by_all(url)
    server.give_back(url)
