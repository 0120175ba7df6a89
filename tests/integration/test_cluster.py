"""What is opened and refused where processes share a PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.postgres import PostgresServer
from tests.unit.config.reading import WALL, read

from holdfast.clock import SystemClock, system_rng
from holdfast.cluster import check_alone, need, open_ledger, redis_store
from holdfast.config.sharing import needs_redis
from holdfast.errors import ConfigError
from holdfast.ledger.postgres import PostgresLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from holdfast.config import Config

_OWNER = """
INSERT INTO owners (id, pid, host, started_ns, renewed_ns, expires_ns)
SELECT 'elder', 77, 'there', 1, 1, CAST(extract(epoch FROM clock_timestamp()) * 1000000000 AS BIGINT) + %s"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as made:
        yield made


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    made = server.database()
    yield made
    server.give_back(made)


def configured(url: str) -> Config:
    return read(f'[ledger]\nurl = "{url}"\n{WALL}')


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[PostgresLedger]:
    ledger = await open_ledger(config, SystemClock(), system_rng())
    assert isinstance(ledger, PostgresLedger)
    try:
        yield ledger
    finally:
        await ledger.aclose()


def test_a_living_elder_is_refused_by_who_came_later_alone(url: str) -> None:
    async def main() -> None:
        config = configured(url)
        needs = needs_redis(config)
        assert needs == ("circuit breakers (breaker)",)
        async with opened(config) as first, opened(config) as second:
            await check_alone(first, config, needs)
            with pytest.raises(
                ConfigError, match="as well, and several processes share circuit breakers"
            ) as caught:
                await check_alone(second, config, needs)
            await check_alone(second, config, ())
        assert "canary" not in str(caught.value)

    asyncio.run(main())


def test_an_elder_that_died_is_waited_for(url: str, server: PostgresServer) -> None:
    async def main() -> None:
        config = configured(url)
        async with opened(config) as ledger:
            server.run(url, _OWNER, (500_000_000,))
            before = asyncio.get_running_loop().time()
            await check_alone(ledger, config, ("breakers",))
            assert asyncio.get_running_loop().time() - before > 0.4

    asyncio.run(main())


def test_an_elder_that_is_back_is_refused_at_its_next_renewal(url: str, server: PostgresServer) -> None:
    async def main() -> None:
        config = configured(url)
        async with opened(config) as ledger:
            server.run(url, _OWNER, (5_000_000_000,))
            checking = asyncio.create_task(check_alone(ledger, config, ("breakers",)))
            done, _ = await asyncio.wait((checking,), timeout=0.3)
            assert not done
            server.run(url, "UPDATE owners SET renewed_ns = 2 WHERE id = 'elder'")
            with pytest.raises(ConfigError, match="process 77 on there serves from postgresql://"):
                await checking

    asyncio.run(main())


def test_what_isnt_installed_is_told_with_what_to_do() -> None:
    need("asyncio", "ledger.url")
    with pytest.raises(
        ConfigError, match=r"^redis.url: no_such_library isn't installed: pip install 'holdfast\[cluster\]'"
    ):
        need("no_such_library", "redis.url")


def test_a_store_is_made_as_configured_and_connects_later() -> None:
    config = read('[redis]\nurl = "redis://:canary@127.0.0.1:1/3"\nprefix = "ours"\ntimeout_ms = 5\n')
    store = redis_store(config, SystemClock(), system_rng())
    assert store is not None
    assert store.key("x") == "{ours}:x"
    assert store.state().address == "redis://127.0.0.1:1/3"
    assert redis_store(read(""), SystemClock(), system_rng()) is None
