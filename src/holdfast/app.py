"""Configuration to wired objects: the one place that makes things and owns how long they live."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from holdfast import __version__, failpoints
from holdfast.clock import SystemClock, system_rng
from holdfast.cluster import Shared, authority_over, check_alone, clock_of, database_ledger, open_ledger
from holdfast.config.sharing import needs_redis
from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.count_tokens import AnthropicCountTokens, GeminiCountTokens
from holdfast.dialects.gemini import Gemini
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.dialects.openai_embeddings import OpenAIEmbeddings
from holdfast.dialects.openai_responses import OpenAIResponses
from holdfast.engine.endpoint import AUTH, Endpoint
from holdfast.engine.engine import Engine
from holdfast.engine.gates import Gatehouse
from holdfast.engine.idempotency import Runs
from holdfast.engine.learning import Learner
from holdfast.engine.rates import RateAdmission
from holdfast.engine.sessions import SessionDesk
from holdfast.engine.treasury import Treasury
from holdfast.errors import Draining
from holdfast.ledger.memory import MemoryLedger
from holdfast.ledger.sessions import MemorySessions, SqlSessions
from holdfast.live import Live, gates_in
from holdfast.money.account import account_key
from holdfast.money.budgets import Budgets
from holdfast.money.cost_breaker import CostBreaker
from holdfast.money.leases import Leases
from holdfast.money.session import SessionSettings, SessionState
from holdfast.money.sessions import Sessions
from holdfast.money.shared import SharedBudgets
from holdfast.provider_keys import ProviderKeys
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.tenants import Tenants
from holdfast.transport.base import Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from holdfast.clock import Clock, Rng
    from holdfast.config import Config, Deployment, Provider
    from holdfast.dialects.base import Dialect
    from holdfast.engine.observer import Observer
    from holdfast.engine.route import Routes
    from holdfast.ledger.base import Ledger, SqlLedger
    from holdfast.ledger.blocks import Authority
    from holdfast.ledger.entry import Charge
    from holdfast.ledger.idempotency import IdempotencyStore
    from holdfast.ledger.keys import KeyStore, StoredKey
    from holdfast.ledger.provider_keys import ProviderKeyStore
    from holdfast.ledger.sessions import SessionStore
    from holdfast.money.session import Session
    from holdfast.transport.base import Transport

__all__ = ["DIALECTS", "App", "endpoints_of", "prices_of", "reached"]


DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        OpenAIChat(),
        Anthropic(),
        Gemini(),
        OpenAIResponses(),
        OpenAIEmbeddings(),
        AnthropicCountTokens(),
        GeminiCountTokens(),
    )
}
"""Every wire format that callers and providers may speak, by its name in the configuration."""


class App(msgspec.Struct, kw_only=True):
    """What a door needs. Made by :meth:`start` on the event loop that will use it; ended by :meth:`aclose`."""

    live: Live
    """The configuration that counts for what begins now."""
    ledger: Ledger
    transport: Transport
    clock: Clock
    rng: Rng
    runs: Runs
    """Of requests with idempotency keys."""
    keys: KeyStore
    provider_keys: ProviderKeys
    """Tenants' own that are kept in the ledger's database."""
    shared: Shared = Shared()
    stored_keys: Sequence[StoredKey] = ()
    """As they stood at the start."""

    @property
    def config(self) -> Config:
        return self.live.config

    @property
    def engine(self) -> Engine:
        return self.live.engine

    @property
    def tenants(self) -> Tenants:
        """Who is served with whose key."""
        return self.live.tenants

    @property
    def routes(self) -> Routes:
        """Those of who has no key of its own."""
        return self.live.tenants.shared

    @classmethod
    async def start(
        cls,
        config: Config,
        *,
        observer: Observer | None = None,
        clock: Clock | None = None,
        rng: Rng | None = None,
        transport: Transport | None = None,
        ledger: Ledger | None = None,
        idempotency: IdempotencyStore | None = None,
        keys: KeyStore | None = None,
        authority: Authority | None = None,
    ) -> App:
        """Opens the ledger (which settles what a crash left open), Redis if there is one, and makes the rest.

        Raises:
            LedgerUnavailable: the ledger can't be opened, or another process holds it.
            ConfigError: what it keeps sealed can't be opened; a library isn't installed; another process serves from it,
                and they can't share what they limit.
        """
        clock = clock if clock is not None else SystemClock()
        rng = rng if rng is not None else system_rng()
        book = await prices_of(config)
        if ledger is None:
            opened = await open_ledger(config, clock, rng)
            clock = clock_of(opened, clock)
            ledger, idempotency, keys = opened, _keys_in(opened), _callers_in(opened)
        if idempotency is None:
            from holdfast.ledger.memory_idempotency import MemoryIdempotency  # beside a ledger in memory

            idempotency = MemoryIdempotency(ledger=ledger)
        if keys is None:
            from holdfast.ledger.memory_keys import MemoryKeys  # as above

            keys = MemoryKeys()
        async with AsyncExitStack() as undo:  # what fails or is cancelled on the way leaves nothing open
            undo.push_async_callback(ledger.aclose)
            stored_keys = await keys.all()
            money = await _Money.load(config, ledger, authority, clock, rng)
            tenants = Tenants(config, endpoints=endpoints_of)
            provider_keys = ProviderKeys(_provider_keys_in(ledger), tenants, config, clock)
            await provider_keys.load()
            shared = Shared.over(ledger, config, clock, rng)
            if shared.store is None:
                limited = any(key.limits.rate is not None for key in stored_keys)
                await check_alone(ledger, config, needs_redis(config, stored=limited))
            if failpoints.armed:
                failpoints.hit("start.loaded")
            if transport is None:
                from holdfast.transport import HttpTransport  # tests bring their own, without sockets

                transport = HttpTransport()
            engine = Engine(
                reached(config),
                transport=transport,
                ledger=ledger,
                book=book,
                pricing=config.unknown_price,
                clock=clock,
                rng=rng,
                observer=observer,
            )
            _guard(engine, config, money, shared)
            app = cls(
                live=Live(config=config, engine=engine, tenants=tenants, since_ns=clock.wall_ns()),
                ledger=ledger,
                transport=transport,
                clock=clock,
                rng=rng,
                runs=Runs(engine, idempotency, shared=money.leases is not None),
                keys=keys,
                provider_keys=provider_keys,
                shared=shared,
                stored_keys=stored_keys,
            )
            undo.pop_all()  # it closes the ledger itself
            undo.push_async_callback(app.aclose)
            if money.leases is not None:
                money.leases.start()
            await shared.start()
            undo.pop_all()
        return app

    def adopt(self, config: Config, book: PriceBook) -> None:
        """``config`` counts from now on; what began goes on as it began. Waits for nothing, so that no request sees both.

        Rates and budgets are put in force by who knows all keys (:class:`~holdfast.gateway.keyring.Keyring`).

        Args:
            config: other than :data:`~holdfast.config.fixed.FIXED` settings may differ.
            book: its prices.

        Raises:
            ConfigError: keys that are kept can't be opened under it; nothing has changed.
        """
        sealer = self.provider_keys.prepare(config)
        engine = self.live.engine.under(reached(config), book=book, pricing=config.unknown_price)
        self.live = Live(
            config=config,
            engine=engine,
            tenants=self.live.tenants.under(config),
            generation=self.live.generation + 1,
            since_ns=self.clock.wall_ns(),
        )
        self.provider_keys.apply(config, sealer)
        if isinstance(engine.gate, Gatehouse):
            engine.gate.apply(gates_in(config), overall=config.overall)
        if (treasury := engine.treasury) is not None:
            if treasury.breaker is not None:
                treasury.breaker.apply(config.cost_protection.breaker)
            if treasury.sessions is not None:
                treasury.sessions.sessions.apply(config.cost_protection.session)

    async def aclose(self) -> None:
        """Ends runs that nobody waits for, closes connections, then the ledger: what ended last is written down last."""
        self.keys.flush()
        try:
            await self.runs.aclose(Draining("the process is shutting down", retry_after_s=1.0))
            await self.transport.aclose()
            if self.engine.learner is not None:
                await self.engine.learner.aclose()
            if self.engine.treasury is not None:
                await self.engine.treasury.aclose()
            gate = self.engine.gate
            if isinstance(gate, Gatehouse):
                await gate.aclose()
        finally:
            if failpoints.armed:
                failpoints.hit("drain.over")
            if self.shared.rates is not None:
                self.shared.rates.flush()
            if self.shared.store is not None:
                await self.shared.store.aclose()
            await self.ledger.aclose()


async def prices_of(config: Config) -> PriceBook:
    """Every price, read beside the loop: the first time takes a third of a second."""
    overrides, _ = parse_overrides(config.prices)  # problems were reported when the file was read
    book = PriceBook(overrides)
    await asyncio.to_thread(book.load)
    return book


def reached(config: Config) -> list[Endpoint]:
    """Whatever a shared key opens."""
    usable = [provider for provider in config.providers.values() if provider.usable]
    return [endpoint for provider in usable for endpoint in endpoints_of(provider)]


def endpoints_of(provider: Provider) -> list[Endpoint]:
    """A configured provider as the engine reaches it: each deployment by each dialect that it speaks, its own first."""
    return [
        _endpoint(provider, deployment, dialect)
        for deployment in provider.deployments
        for dialect in sorted(provider.row.doors, key=lambda name: name != provider.row.dialect)
    ]


def _endpoint(provider: Provider, deployment: Deployment, dialect: str) -> Endpoint:
    row, door = provider.row, provider.row.doors[dialect]
    base = urlsplit(deployment.base_url).path.rstrip("/")
    headers: dict[bytes, bytes] = {
        b"content-type": b"application/json",
        b"accept": b"application/json, text/event-stream",
        b"accept-encoding": b"identity",  # a stream that is compressed is a stream that is buffered
        b"user-agent": f"holdfast/{__version__}".encode(),
    }
    headers |= {name.lower().encode(): value.encode() for name, value in row.headers}
    secrets = [*deployment.headers.values()]
    if deployment.key is not None:
        name, prefix = AUTH[deployment.auth]
        headers[name] = prefix + deployment.key.reveal().encode()
        secrets.append(deployment.key)
    if deployment.proxy is not None:  # in the clear it sees every request, and may quote its login back
        secrets += deployment.proxy.secrets
    headers |= {name.encode(): value.reveal().encode() for name, value in deployment.headers.items()}
    return Endpoint(
        provider=provider.name,
        deployment=deployment.name,
        dialect=DIALECTS[dialect],
        origin=Origin.parse(deployment.base_url, proxy=deployment.proxy, ca_file=deployment.ca_file),
        path=base + door.path,
        stream_path=None if door.stream_path is None else base + door.stream_path,
        headers=tuple(headers.items()),
        max_tokens_field=row.max_tokens_field,
        unsupported=provider.unsupported,
        secrets=tuple(secrets),
    )


class _Money(msgspec.Struct):
    """What is counted, from where the ledger says that it stands."""

    spent: Sequence[Charge]
    budgets: Budgets
    leases: Leases | None
    """Of budgets that other processes spend too."""
    sessions: SessionDesk | None

    @classmethod
    async def load(
        cls, config: Config, ledger: Ledger, authority: Authority | None, clock: Clock, rng: Rng
    ) -> _Money:
        """Raises LedgerUnavailable."""
        if authority is None:
            authority = authority_over(ledger)
        rules = (*config.budgets, *config.cost_protection.rules)
        if authority is None:
            leases, budgets = None, Budgets(rules, now_ns=clock.wall_ns)
        else:
            leases = Leases(authority, flush=ledger.flush, now_ns=clock.wall_ns)
            budgets = SharedBudgets(rules, leases=leases, now_ns=clock.wall_ns)
        spent = await ledger.spending()
        sessions = await _sessions(config, ledger, budgets, clock, rng, shared=leases is not None)
        budgets.load(_counting(spent, sessions))
        return cls(spent, budgets, leases, sessions)


def _guard(engine: Engine, config: Config, money: _Money, shared: Shared) -> None:
    """What lets requests through or doesn't: budgets, the cost breaker, targets' limits and breakers, rates."""
    clock, protection = engine.clock, config.cost_protection
    breaker = CostBreaker(protection.breaker, clock=clock, spent=money.spent, shared=money.leases is not None)
    engine.treasury = Treasury(
        money.budgets,
        ledger=engine.ledger,
        clock=clock,
        breaker=breaker if protection.enabled else None,
        sessions=money.sessions,
        leases=money.leases,
    )
    engine.learner = Learner()
    engine.gate = Gatehouse(
        clock=clock,
        rng=engine.rng,
        overall=config.overall,
        breakers=shared.breakers,
        limits=shared.limits,
        rates=shared.rates,
    )
    if not config.rates.empty:
        engine.admission = RateAdmission(config.rates, clock=clock, shared=shared.rates)


def _counting(spent: Iterable[Charge], desk: SessionDesk | None) -> Iterator[Charge]:
    """Without what sessions spent that are over: nobody may use them again. An exhausted one may be, and must stay so."""
    usable = (SessionState.ACTIVE, SessionState.EXHAUSTED)
    going_on = {f"{each.key}/{each.id}" for each in (desk.sessions if desk else ()) if each.state in usable}
    beginning = account_key(SessionSettings().budget, "")
    for charge in spent:
        if not charge.account.startswith(beginning) or charge.account.removeprefix(beginning) in going_on:
            yield charge


async def _sessions(
    config: Config, ledger: Ledger, budgets: Budgets, clock: Clock, rng: Rng, *, shared: bool
) -> SessionDesk | None:
    """Sessions have an end where cost protection says which; elsewhere they are names."""
    if not config.cost_protection.enabled:
        return None
    settings = config.cost_protection.session

    def forgotten(session: Session) -> None:
        budgets.forget(account_key(settings.budget, f"{session.key}/{session.id}"))

    database = database_ledger(ledger)
    if database is not None:
        store: SessionStore = SqlSessions(database)
    else:
        store = ledger.books.sessions if isinstance(ledger, MemoryLedger) else MemorySessions()
    desk = SessionDesk(Sessions(settings, clock=clock, rng=rng, forgotten=forgotten), store, shared=shared)
    await desk.load(clock.wall_ns())
    return desk


def _provider_keys_in(ledger: Ledger) -> ProviderKeyStore:
    if (database := database_ledger(ledger)) is not None:
        from holdfast.ledger.sql_provider_keys import SqlProviderKeys  # tests bring a ledger in memory

        return SqlProviderKeys(database)
    from holdfast.ledger.memory_provider_keys import MemoryProviderKeys  # beside that one

    return MemoryProviderKeys()


def _keys_in(ledger: SqlLedger) -> IdempotencyStore:
    from holdfast.ledger.sql_idempotency import SqlIdempotency  # as above

    return SqlIdempotency(ledger)


def _callers_in(ledger: SqlLedger) -> KeyStore:
    from holdfast.ledger.sql_keys import SqlKeys  # as above

    return SqlKeys(ledger)
