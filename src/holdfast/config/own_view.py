"""The configuration as one tenant sees it: exactly those providers are usable to which it has a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from holdfast.config.effective import CHAT, Deployment, chat_over
from holdfast.engine.route import fold
from holdfast.providers import catalog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.config.effective import Config, Provider
    from holdfast.config.own_keys import OwnKey
    from holdfast.engine.policy import Target

__all__ = ["CALLERS", "for_everybody", "for_tenant", "own_deployment", "shares_a_key"]

CALLERS: Final = "@caller"
"""The deployment of targets that wait for a key that the caller brings."""


def own_deployment(tenant: str) -> str:
    """The name of the deployment that a tenant's own key is. No deployment of the file's has such a name."""
    return f"@{tenant}"


def for_tenant(
    config: Config, tenant: str, own: Mapping[str, OwnKey], *, own_only: bool, brought: bool
) -> Config:
    """``config`` for requests of one tenant.

    Args:
        config: everybody's.
        tenant: its name, folded.
        own: its keys, by provider.
        own_only: no shared key serves it.
        brought: the request brings a key of its caller's.
    """
    providers: dict[str, Provider] = {}
    for name, provider in config.providers.items():
        if provider.from_callers:
            providers[name] = _as_one(provider, CALLERS, provider.home, usable=brought)
        elif (key := own.get(name)) is not None and (key.base_url or provider.home):
            address = key.base_url or provider.home
            providers[name] = _as_one(provider, own_deployment(tenant), address, told=key.told)
        elif own_only and shares_a_key(provider):
            providers[name] = replace(provider, usable=False)
        else:
            providers[name] = provider
    return _with(config, providers)


def for_everybody(config: Config, others: frozenset[str]) -> Config:
    """``config`` as somebody sees it who has every key there is: ``others`` are providers to which some tenants have."""
    return _with(
        config,
        {
            name: replace(provider, usable=provider.usable or provider.from_callers or name in others)
            for name, provider in config.providers.items()
        },
    )


def shares_a_key(provider: Provider) -> bool:
    """Who is served there is served with a secret of the gateway's. A server that takes none is anybody's."""
    return any(each.key is not None or each.headers for each in provider.deployments)


def _as_one(
    provider: Provider, deployment: str, base_url: str, *, usable: bool = True, told: str = ""
) -> Provider:
    """``provider`` with one key in place of all it has: that goes to one address."""
    like = next((each for each in provider.deployments if each.base_url == base_url), provider.deployments[0])
    one = Deployment(
        name=deployment,
        base_url=base_url,
        key_from=told,
        auth=provider.auth or provider.row.auth,
        headers=like.headers,
        proxy=like.proxy,
        ca_file=like.ca_file,
    )
    return replace(provider, deployments=(one,), key_from=told or provider.key_from, usable=usable, idle=())


def _with(config: Config, providers: Mapping[str, Provider]) -> Config:
    routes = {
        name: replace(route, targets=_renamed(route.targets, providers))
        for name, route in config.routes.items()
    }
    if not any(fold(name) == CHAT for name in config.document.routes):
        usable = [name for name in catalog.PROVIDERS if name in providers and providers[name].usable]
        if usable:
            routes[CHAT] = chat_over(config.document, usable, providers)
        else:
            routes.pop(CHAT, None)
    return replace(config, providers=providers, routes=routes)


def _renamed(targets: Sequence[Target], providers: Mapping[str, Provider]) -> tuple[Target, ...]:
    """``targets``, those of a provider that has one key now joined into one, which weighs as much."""
    made: dict[tuple[object, ...], Target] = {}
    for place, target in enumerate(targets):
        (first, *others) = providers[fold(target.provider)].deployments
        if others or not first.name.startswith("@"):
            made[place,] = target
            continue
        same = (target.provider, target.model, target.tier, repr(sorted(target.set.items())))
        known = made.get(same)
        weight = target.weight + (0.0 if known is None else known.weight)
        made[same] = replace(target, deployment=first.name, weight=weight)
    return tuple(made.values())
