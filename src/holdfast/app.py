"""Configuration to wired objects: the one place that makes things and owns how long they live."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from holdfast import __version__
from holdfast.clock import SystemClock, system_rng
from holdfast.dialects.anthropic import Anthropic
from holdfast.dialects.count_tokens import AnthropicCountTokens, GeminiCountTokens
from holdfast.dialects.gemini import Gemini
from holdfast.dialects.openai_chat import OpenAIChat
from holdfast.dialects.openai_embeddings import OpenAIEmbeddings
from holdfast.dialects.openai_responses import OpenAIResponses
from holdfast.engine.endpoint import Endpoint
from holdfast.engine.engine import Engine
from holdfast.engine.route import Routes
from holdfast.providers.models import owner_of
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.transport.base import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.clock import Clock, Rng
    from holdfast.config import Config, Deployment, Provider
    from holdfast.dialects.base import Dialect
    from holdfast.engine.observer import Observer
    from holdfast.ledger.base import Ledger
    from holdfast.transport.base import Transport

__all__ = ["DIALECTS", "App", "endpoints_of"]


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

    config: Config
    engine: Engine
    routes: Routes
    ledger: Ledger
    transport: Transport
    clock: Clock
    rng: Rng

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
    ) -> App:
        """Opens the ledger (which settles what a crash left open) and makes the rest; opens no connection.

        Raises:
            LedgerUnavailable: the ledger can't be opened, or another process holds it.
        """
        clock = clock if clock is not None else SystemClock()
        rng = rng if rng is not None else system_rng()
        overrides, _ = parse_overrides(config.prices)  # problems were reported when the file was read
        book = PriceBook(overrides)
        await asyncio.to_thread(book.load)  # reading the prices takes a third of a second
        if ledger is None:
            ledger = await _open_ledger(config, clock, rng)
        if transport is None:
            from holdfast.transport import HttpTransport  # tests bring their own, without sockets

            transport = HttpTransport()
        engine = Engine(
            [
                endpoint
                for provider in config.providers.values()
                if provider.usable
                for endpoint in endpoints_of(provider)
            ],
            transport=transport,
            ledger=ledger,
            book=book,
            clock=clock,
            rng=rng,
            observer=observer,
        )
        routes = Routes(config, owner=owner_of)
        return cls(
            config=config,
            engine=engine,
            routes=routes,
            ledger=ledger,
            transport=transport,
            clock=clock,
            rng=rng,
        )

    async def aclose(self) -> None:
        """Closes connections, then the ledger: what ended last is written down last."""
        try:
            await self.transport.aclose()
        finally:
            await self.ledger.aclose()


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
        name, prefix = _AUTH[deployment.auth]
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


_AUTH: Mapping[str, tuple[bytes, bytes]] = {
    "bearer": (b"authorization", b"Bearer "),
    "x-api-key": (b"x-api-key", b""),
    "x-goog-api-key": (b"x-goog-api-key", b""),
    "api-key": (b"api-key", b""),
}
"""How each way of authentication carries a key: the header, and what stands before the key."""


async def _open_ledger(config: Config, clock: Clock, rng: Rng) -> Ledger:
    from holdfast.ledger.sqlite import SqliteLedger  # tests bring a ledger in memory

    return await SqliteLedger.open(
        config.ledger.url,
        clock=clock,
        rng=rng,
        durability=config.ledger.durability,
        busy_timeout_s=config.ledger.busy_timeout_s,
    )
