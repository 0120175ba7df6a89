"""What processes share, opened as the configuration says: the ledger's database, and the store for what may be lost.

The libraries for it are imported here, and only where a configuration asks for them.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, cast

import msgspec

from holdfast.clock import new_id
from holdfast.config import ServerUrl
from holdfast.config.sharing import wanting_redis
from holdfast.errors import ConfigError
from holdfast.ledger.pg_clock import NOW_NS
from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.clock import Clock, Rng
    from holdfast.config import Config
    from holdfast.engine.shared_breakers import SharedBreakers
    from holdfast.engine.shared_limits import SharedLimits
    from holdfast.engine.shared_rates import SharedRates
    from holdfast.ledger.base import Ledger, SqlLedger
    from holdfast.ledger.blocks import Authority
    from holdfast.ledger.postgres import PostgresLedger
    from holdfast.ledger.statement import Connection
    from holdfast.stores.redis import RedisStore

__all__ = [
    "Shared",
    "authority_over",
    "check_alone",
    "clock_of",
    "database_ledger",
    "need",
    "open_ledger",
    "redis_store",
]

_log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0

_ELDERS: Final = f"""
SELECT other.id, other.host, other.pid, other.renewed_ns, (
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND application_name = current_setting('application_name'))
FROM owners AS me JOIN owners AS other ON (other.started_ns, other.id) < (me.started_ns, me.id)
WHERE me.id = ? AND other.expires_ns > {NOW_NS} ORDER BY other.started_ns"""  # noqa: S608  # a constant
"""Who was there before, and how many others are connected as we are. Of two that start at once, one was there before."""


async def open_ledger(config: Config, clock: Clock, rng: Rng) -> SqlLedger:
    """The ledger, ready to be written; what a process that died left open in it is closed.

    Raises:
        ConfigError: a library that it needs isn't installed.
        LedgerUnavailable: it can't be opened, or, a file, another process has it.
    """
    settings = config.ledger
    if not isinstance(settings.url, ServerUrl):
        from holdfast.ledger.sqlite import SqliteLedger  # tests bring a ledger in memory

        return await SqliteLedger.open(
            settings.url,
            clock=clock,
            rng=rng,
            durability=settings.durability,
            busy_timeout_s=settings.busy_timeout_s,
            keep_days=settings.keep_days,
        )
    need("psycopg", "ledger.url")
    from holdfast.ledger.postgres import PostgresLedger  # a server's library, which few need

    return await PostgresLedger.open(
        settings.url.reveal(),
        clock=clock,
        rng=rng,
        keep_days=settings.keep_days,
    )


def redis_store(config: Config, clock: Clock, rng: Rng) -> RedisStore | None:
    """The store of what may be lost, not connected yet; None: there is none, and each process is on its own.

    Raises:
        ConfigError: its library isn't installed.
    """
    settings = config.redis
    if settings.url is None:
        return None
    need("hiredis", "redis.url")
    from holdfast.stores.redis import RedisSettings, RedisStore  # as above
    from holdfast.stores.redis_url import RedisAddress

    return RedisStore(
        RedisAddress.parse(settings.url.reveal()),
        RedisSettings(
            timeout_s=settings.timeout_ms / 1e3, budget_s=settings.budget_ms / 1e3, prefix=settings.prefix
        ),
        clock=clock,
        rng=rng,
    )


class Shared(msgspec.Struct, frozen=True):
    """What processes share and may lose: nothing of it, where this one is on its own."""

    store: RedisStore | None = None
    breakers: SharedBreakers | None = None
    limits: SharedLimits | None = None
    """Adaptive limits, that begin where other processes stand."""
    rates: SharedRates | None = None
    """Rate limits over all processes; while the store is lost, each counts its part of them."""

    @classmethod
    def over(cls, ledger: Ledger, config: Config, clock: Clock, rng: Rng) -> Shared:
        """As configured; nothing is connected yet.

        Args:
            ledger: knows how many processes there are.

        Raises:
            ConfigError: a library that it needs isn't installed.
        """
        store = redis_store(config, clock, rng)
        if store is None:
            return cls()
        from holdfast.engine.shared_breakers import SharedBreakers  # as above
        from holdfast.engine.shared_limits import SharedLimits
        from holdfast.engine.shared_rates import SharedRates
        from holdfast.stores.redis_adaptive import RedisAdaptive
        from holdfast.stores.redis_breakers import RedisBreakers
        from holdfast.stores.redis_rates import RedisRates

        def living() -> int:
            """How many share the database; one that has a file has it alone."""
            count: int = getattr(ledger, "living", 1)
            return count

        return cls(
            store,
            SharedBreakers(RedisBreakers(store), clock=clock, rng=rng, me=new_id(clock, rng)),
            SharedLimits(RedisAdaptive(store), clock=clock, me=new_id(clock, rng)),
            SharedRates(RedisRates(store), clock=clock, rng=rng, replicas=living),
        )

    async def start(self) -> None:
        """Connects, within a second or so, whether somebody is there or not."""
        if self.store is not None:
            await self.store.start()
        if self.breakers is not None:
            self.breakers.start()
        if self.limits is not None:
            self.limits.start()


def authority_over(ledger: Ledger) -> Authority | None:
    """Who says what this process may spend of budgets, where others spend of them too; None: nobody else does."""
    from holdfast.ledger.sql_ledger import DatabaseLedger  # as below

    if not isinstance(ledger, DatabaseLedger) or not isinstance(
        ledger.where, str
    ):  # a file has but one writer
        return None
    from holdfast.ledger.blocks_postgres import PostgresAuthority  # as above

    return PostgresAuthority(cast("PostgresLedger", ledger))


def database_ledger(ledger: Ledger) -> SqlLedger | None:
    """``ledger``, if it is one in a database."""
    from holdfast.ledger.sql_ledger import DatabaseLedger  # takes a database's library

    return cast("SqlLedger", ledger) if isinstance(ledger, DatabaseLedger) else None  # its subclasses are


def clock_of(ledger: SqlLedger, clock: Clock) -> Clock:
    """The clock that all who write to the ledger share: the server's, where it has one."""
    shared: Clock = getattr(ledger, "clock", clock)
    return shared


async def check_alone(ledger: Ledger, config: Config, needs: Sequence[str]) -> None:
    """That no other process lives which the ledger is shared with, if there is something that they couldn't share.

    One that isn't connected has died without a word, most likely, and may be back all the same: its lease is waited for.

    Raises:
        ConfigError: there is one.
    """
    database = database_ledger(ledger)
    if database is None or not config.ledger.shared or not needs:
        return
    first: dict[str, int] = {}
    while elders := await database.ask(Statement(run=partial(_elders, database.owner))):
        for owner, host, pid, renewed_ns, connected in elders:
            if first.setdefault(owner, renewed_ns) != renewed_ns or connected:
                where = f"process {pid} on {host}"
                said = (
                    f"ledger.url: {where} serves from {config.ledger.url} as well, and {wanting_redis(needs)}"
                )
                raise ConfigError(said, problems=(said,))
        _log.warning("another process may be serving from this ledger: waiting to see whether it lives")
        await asyncio.sleep(_LOOK_S)


def _elders(owner: str, connection: Connection) -> list[tuple[str, str, int, int, int]]:
    return connection.execute(_ELDERS, (owner,)).fetchall()


def need(library: str, setting: str) -> None:
    """That ``library`` is installed, which ``setting`` asks for. Raises ConfigError."""
    if find_spec(library) is None:
        problem = f"{setting}: {library} isn't installed: pip install 'holdfast[cluster]'"
        raise ConfigError(problem, problems=(problem,))
