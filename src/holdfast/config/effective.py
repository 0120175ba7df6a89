"""The configuration as it counts: providers with their keys, routes with their targets and limits."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.config.cost_protection import CostProtection
from holdfast.config.defaults import gates_of, policy_of, retry_settings, timeouts_settings
from holdfast.engine.policy import Gates, Policy, Retry, Route, Target, Timeouts
from holdfast.engine.route import fold, matcher
from holdfast.providers import catalog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.config.own_keys import OwnKey
    from holdfast.config.problems import Path
    from holdfast.config.schema import Document, Gateway, Ledger, Redis
    from holdfast.engine.rates import RateRules
    from holdfast.money.rules import BudgetRule
    from holdfast.providers.unknown_price import UnknownPrice
    from holdfast.resilience.bulkhead import BulkheadSettings
    from holdfast.resilience.rate_meter import RateLimitSettings
    from holdfast.secret import Secret
    from holdfast.transport.proxy import Proxy

__all__ = [
    "CHAT",
    "Config",
    "Deployment",
    "Key",
    "Provider",
    "chat_over",
    "is_loopback",
    "retry_of",
    "targets_of",
    "timeouts_of",
    "with_simulated",
]

CHAT = "chat"
"""The built-in route's name."""

_SIMULATED = "none is needed: it is simulated"

_matcher = lru_cache(maxsize=1024)(matcher)  # keyed by what the file says, not by what callers ask


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One way to a provider: an address with a key."""

    name: str = ""
    """Empty where it is the only one."""
    base_url: str
    key: Secret | None = None
    key_from: str = ""
    """Where the key came from, or why there is none; never the key."""
    auth: str = "bearer"
    """How the key travels: :data:`holdfast.providers.catalog.Auth`."""
    headers: Mapping[str, Secret] = {}
    """Sent with every request, beside the row's own and over them. Names are lower-case."""
    weight: float = 1.0
    proxy: Proxy | None = None
    ca_file: str | None = None


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as configured. ``row`` is the catalog's, with the file's own name, dialect and address in it."""

    row: catalog.Provider
    deployments: tuple[Deployment, ...]
    """At least one."""
    key_from: str
    """Where the first one's key came from, or why there is none; never the key."""
    usable: bool
    """It has the key it needs."""
    idle: tuple[Deployment, ...] = ()
    """Those that lack the key they need while others have theirs."""
    unsupported: tuple[str, ...] = ()
    """Fields that its dialect has and it doesn't take."""
    timeouts: Timeouts = Timeouts()
    """For requests that name this provider and no route."""
    retry: Retry = Retry()
    gates: Gates = Gates()
    auth: str = ""
    """How a key travels that isn't a deployment's: as its row says, where this is empty."""
    from_callers: bool = False
    """Each caller brings a key of its own with the request: there is no shared one."""
    home: str = ""
    """Where keys go that aren't a deployment's and bring no address. The environment's own is for its key alone."""

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def dialect(self) -> str:
        return self.row.dialect

    @property
    def base_url(self) -> str:
        return self.row.base_url

    @property
    def shares(self) -> tuple[tuple[str, float], ...]:
        return tuple((deployment.name, deployment.weight) for deployment in self.deployments)


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's key: only its SHA-256 is known. None means: no restriction."""

    name: str
    sha256: bytes
    routes: frozenset[str] | None = None
    """Folded names."""
    models: tuple[str, ...] | None = None
    team: str | None = None
    tags: Mapping[str, str] = {}  # msgspec copies an empty mutable default for each instance
    """On every request of its holder's, over those that the request brings."""
    rate: RateLimitSettings | None = None
    """None: as every key that sets none itself."""
    budgets: tuple[BudgetRule, ...] = ()
    """Its own, beside those of the configuration that match it."""
    own_keys_only: bool = False
    """Its holder is served with keys of its own alone."""

    def permits(self, route: str, model: str) -> bool:
        """Whether the holder may take ``route`` (:data:`~holdfast.engine.route.DIRECT` for none) by asking for ``model``.

        Either list lets a request in; with neither, all may come in.
        """
        if self.routes is None and self.models is None:
            return True
        if self.routes is not None and fold(route) in self.routes:
            return True
        matches = _matcher(self.models or ())
        return matches is not None and matches(fold(model)) is not None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was configured. Mappings are in file order, their keys :func:`~holdfast.engine.route.fold`-ed."""

    gateway: Gateway
    ledger: Ledger
    redis: Redis
    providers: Mapping[str, Provider]
    routes: Mapping[str, Route]
    default_route: str | None
    keys: Mapping[str, Key]
    budgets: tuple[BudgetRule, ...]
    prices: Mapping[str, Mapping[str, Any]]
    """As :func:`holdfast.providers.prices.parse_overrides` reads them, and known to be sound."""
    unknown_price: UnknownPrice
    """What becomes of models without a price."""
    policy: Policy
    """For requests that take no route."""
    rates: RateRules
    """How often callers may ask."""
    overall: BulkheadSettings | None
    """How many calls may be at all providers together; None: any number."""
    cost_protection: CostProtection = CostProtection()
    """What a session, a key and everyone may spend, if it is on."""
    session_ids_from: tuple[str, ...] = ()
    """Of :data:`holdfast.money.session.SOURCES`, where ids come from that callers don't give us themselves."""
    own_keys: Mapping[str, Mapping[str, OwnKey]]
    """Tenants' own keys to providers that the file has, by tenant and provider."""
    master_keys: tuple[Secret, ...]
    """Of those that are kept in the ledger's database: the first one seals, all of them open. None: there can't be any."""
    file: str | None
    """None: nothing but the environment was read."""
    document: Document
    """The file, checked: what :mod:`holdfast.config.explain` looks up where a value came from."""
    origins: Mapping[Path, tuple[str, ...]]
    """The environment's variables in each setting that has any."""

    @property
    def has_providers(self) -> bool:
        """Some provider has the key it needs, or may get one: from a caller, from a tenant."""
        return bool(self.own_keys or self.master_keys) or any(
            provider.usable or provider.from_callers for provider in self.providers.values()
        )

    @property
    def open(self) -> bool:
        """Callers need no key: nobody but this machine can reach the gateway, and no key was made."""
        return is_loopback(self.gateway.host) and not self.keys


def with_simulated(config: Config, base_urls: Mapping[str, str]) -> Config:
    """``config`` with simulated providers, and a route ``chat`` over them in the default order.

    Args:
        config: any configuration; its own other providers and other routes stay.
        base_urls: of servers that need no key, by the name of the provider that each one plays.
    """
    providers = dict(config.providers)
    for name, base_url in base_urls.items():
        row = msgspec.structs.replace(catalog.PROVIDERS[name], base_url=base_url.rstrip("/"))
        played = config.providers.get(fold(name))
        # Other routes' targets name the deployments that the file has.
        shares = played.shares if played is not None else (("", 1.0),)
        providers[fold(name)] = Provider(
            row=row,
            deployments=tuple(
                Deployment(name=each, weight=weight, base_url=row.base_url, key_from=_SIMULATED)
                for each, weight in shares
            ),
            key_from=_SIMULATED,
            usable=True,
            unsupported=row.unsupported,
            home=row.base_url,
            timeouts=timeouts_of(config.document, None, name),
            retry=retry_of(config.document, None, name),
            gates=gates_of(config.document, None, name),
        )
    route = chat_over(config.document, base_urls, providers)
    return msgspec.structs.replace(config, providers=providers, routes={**config.routes, CHAT: route})


def chat_over(document: Document, names: Iterable[str], providers: Mapping[str, Provider]) -> Route:
    """The built-in route: the default models of the known providers in ``names``, in the default order."""
    targets = [
        target
        for tier, name in enumerate(catalog.in_order(names))
        for target in targets_of(
            document, CHAT, providers[fold(name)], catalog.PROVIDERS[name].default_model or "", tier
        )
    ]
    return Route(name=CHAT, targets=tuple(targets), policy=policy_of(document, CHAT))


def timeouts_of(document: Document, route: str | None, provider: str) -> Timeouts:
    return Timeouts(**{s.name: s.value for s in timeouts_settings(document, route, provider)})


def retry_of(document: Document, route: str | None, provider: str) -> Retry:
    return Retry(**{s.name: s.value for s in retry_settings(document, route, provider)})


def targets_of(
    document: Document,
    route: str,
    provider: Provider,
    model: str,
    tier: int,
    *,
    weight: float = 1.0,
    overrides: Mapping[str, Any] | None = None,
) -> list[Target]:
    """One target for each of the provider's deployments, all equals."""
    return [
        Target(
            provider=provider.name,
            model=model,
            deployment=deployment.name,
            tier=tier,
            weight=weight * deployment.weight,
            set=overrides or {},
            timeouts=timeouts_of(document, route, provider.name),
            retry=retry_of(document, route, provider.name),
            gates=gates_of(document, route, provider.name),
        )
        for deployment in provider.deployments
    ]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``. A name other than ``localhost`` might mean anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
