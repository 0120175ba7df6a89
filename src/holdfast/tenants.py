"""Who is served with whose key.

A tenant is a caller's key by its name (``local`` where callers need none). A provider counts as configured for a tenant
only where a key to it is there that the tenant may use: one of its own, one that its caller brings with the request, or the
shared one. So a tenant resolves names against a view of the configuration in which exactly those providers are usable: what
it has no key to is no target of its, and nobody else's key ever stands in.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from holdfast.config.own_view import CALLERS, for_everybody, for_tenant, shares_a_key
from holdfast.engine.route import Routes, fold
from holdfast.engine.wallet import Wallet
from holdfast.errors import ProviderKeyMissing, UnknownModel
from holdfast.providers.models import owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.config import Config, Provider
    from holdfast.config.own_keys import OwnKey
    from holdfast.dialects.base import Dialect
    from holdfast.engine.endpoint import Endpoint
    from holdfast.engine.route import ModelEntry, Resolved
    from holdfast.secret import Secret

__all__ = ["Admitted", "Tenants"]

_VIEWS: Final = 1024
_REMEMBERED: Final = 64
"""Names that each view keeps answers for: there are up to a thousand of them."""
_NAMED: Final = 4
_LACKS: Final = "api_key"
"""What stands in the ledger beside a target that was passed over for want of a key."""


class Admitted(msgspec.Struct, frozen=True):
    """What a request may be served by."""

    resolved: Resolved
    wallet: Wallet | None
    """What opens those of its targets that no shared key does."""


class _View(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    config: Config
    routes: Routes
    wallet: Wallet | None
    """The tenant's own keys'."""
    callers: Mapping[str, Mapping[str, Endpoint]]
    """Of providers to which callers bring their keys, without one: by folded name, then by dialect."""
    withheld: frozenset[str]
    """Folded names of providers that serve others, and not this one."""


class _Kept:
    """What outlives a configuration: stored keys, by tenant and provider, and how keys of callers are named."""

    __slots__ = ("keys", "pepper", "version")

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, OwnKey]] = {}
        self.version = 0
        """Grows with each change."""
        self.pepper = secrets.token_bytes(32)


class Tenants:
    """All tenants' keys, and what each one sees under one configuration.

    Args:
        config: with the keys that its file has.
        endpoints: a provider's doors, each deployment by each dialect.
        kept: of those under the configuration before.
    """

    def __init__(
        self,
        config: Config,
        *,
        endpoints: Callable[[Provider], Sequence[Endpoint]],
        kept: _Kept | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._kept_keys = kept if kept is not None else _Kept()
        self._views: OrderedDict[tuple[str, bool, bool], _View] = OrderedDict()
        self._config = config
        self.shared = Routes(config, owner=owner_of)
        """As it stands for who has no key of its own, where nobody has."""
        self.takes_callers = any(provider.from_callers for provider in config.providers.values())
        """Some provider is reached with keys that callers bring."""
        self._look()

    def under(self, config: Config) -> Tenants:
        """The same tenants under another configuration, with the same stored keys, now and from now on.

        This one stays as it is, for requests that began with it.
        """
        return Tenants(config, endpoints=self._endpoints, kept=self._kept_keys)

    # Keys that are kept

    def put(self, tenant: str, provider: str, key: OwnKey) -> None:
        """A stored key: counts from the next request on. The file's goes before it. Names are folded."""
        self._kept_keys.keys.setdefault(tenant, {})[provider] = key
        self._kept_keys.version += 1

    def drop(self, tenant: str, provider: str) -> None:
        """It is no longer there. What it began may end."""
        stored = self._kept_keys.keys
        held = stored.get(tenant, {})
        held.pop(provider, None)
        if not held:
            stored.pop(tenant, None)
        self._kept_keys.version += 1

    def own(self, tenant: str) -> Mapping[str, OwnKey]:
        """A tenant's own keys, by folded provider."""
        return {**self._kept_keys.keys.get(tenant, {}), **self._config.own_keys.get(tenant, {})}

    # What a request may use

    def resolve(
        self, tenant: str, model: str, dialect: Dialect, brought: Mapping[str, Secret] | None = None
    ) -> Admitted:
        """What ``model`` means for one request.

        Args:
            tenant: the caller's key's name.
            model: as it was asked for.
            dialect: the request's.
            brought: keys to providers that came with it, by the way they travelled.

        Raises:
            UnknownModel: nothing here answers to that name, or nothing that does has a key.
            ProviderKeyMissing: something does, and this tenant has no key to it.
        """
        view = self._view(tenant, brought=bool(brought))
        if view is None:  # nobody has keys of their own: nearly always
            return Admitted(self.shared.resolve(model), None)
        try:
            resolved = view.routes.resolve(model)
        except UnknownModel as error:
            raise self._missing(tenant, model, view) or error from None
        lacking = [skip.target for skip in resolved.skipped if fold(skip.target.provider) in view.withheld]
        wallet = view.wallet
        if brought and any(target.deployment == CALLERS for target in resolved.targets):
            given = _given(resolved, view, dialect, brought)
            doors = dict(wallet.doors) if wallet is not None else {}
            targets = []
            for target in resolved.targets:
                name = fold(target.provider)
                if target.deployment != CALLERS:
                    targets.append(target)
                elif name not in given:
                    lacking.append(target)
                else:
                    way, key = given[name]
                    whose = self._name_of(key)
                    door = _spoken(view.callers[name], dialect)
                    doors[target.provider, whose] = {
                        door.dialect.name: door.with_key(key, way, of="caller", deployment=whose)
                    }
                    targets.append(replace(target, deployment=whose))
            resolved, wallet = replace(resolved, targets=tuple(targets)), Wallet(doors)
        if lacking:
            resolved = replace(resolved, unkeyed=tuple((str(target), _LACKS) for target in lacking))
        return Admitted(resolved, wallet)

    def models(self, tenant: str, *, brought: bool = False) -> tuple[ModelEntry, ...]:
        """Every name that the tenant can ask for as it stands."""
        view = self._view(tenant, brought=brought)
        return self.shared.models() if view is None else view.routes.models()

    # Views

    def _look(self) -> None:
        """Takes in what is kept, as it is now."""
        self._seen = self._kept_keys.version
        self._views.clear()
        own = {*self._config.own_keys, *self._kept_keys.keys}
        self._kept = frozenset(provider for tenant in own for provider in self.own(tenant))
        keys = self._config.keys.values()
        restricted = self._config.gateway.own_keys_only or any(key.own_keys_only for key in keys)
        self._plain = not (self._kept or self.takes_callers or restricted)
        self._everybody = (
            None if self._plain else Routes(for_everybody(self._config, self._kept), owner=owner_of)
        )

    def _view(self, tenant: str, *, brought: bool) -> _View | None:
        if self._seen != self._kept_keys.version:
            self._look()
        if self._plain:
            return None
        name = fold(tenant)
        own = self.own(name)
        key = self._config.keys.get(name)
        own_only = self._config.gateway.own_keys_only if key is None else key.own_keys_only
        brought = brought and self.takes_callers
        place = (name if own else "", own_only, brought)  # those without keys of their own see the same
        view = self._views.get(place)
        if view is None:
            view = self._views[place] = self._made(name, own, own_only=own_only, brought=brought)
            if len(self._views) > _VIEWS:
                self._views.popitem(last=False)
        else:
            self._views.move_to_end(place)
        return view

    def _made(self, tenant: str, own: Mapping[str, OwnKey], *, own_only: bool, brought: bool) -> _View:
        config = for_tenant(self._config, tenant, own, own_only=own_only, brought=brought)
        doors: dict[tuple[str, str], dict[str, Endpoint]] = {}
        callers: dict[str, dict[str, Endpoint]] = {}
        withheld = set()
        for name, provider in config.providers.items():
            known = self._config.providers[name]
            if not provider.usable and (known.usable or known.from_callers or name in self._kept):
                withheld.add(name)
            if known.from_callers:
                callers[name] = {each.dialect.name: each for each in self._endpoints(provider)}
            elif provider is not known and provider.usable:
                (whose,) = provider.deployments
                doors[provider.name, whose.name] = {
                    each.dialect.name: each.with_key(
                        own[name].key, whose.auth, of="own", deployment=whose.name
                    )
                    for each in self._endpoints(provider)
                }
        return _View(
            config=config,
            routes=Routes(config, owner=owner_of, remembered=_REMEMBERED),
            wallet=Wallet(doors) if doors else None,
            callers=callers,
            withheld=frozenset(withheld),
        )

    def _missing(self, tenant: str, model: str, view: _View) -> ProviderKeyMissing | None:
        """The refusal where nothing but a key is missing."""
        if self._everybody is None:
            return None
        try:
            targets = self._everybody.resolve(model).targets
        except UnknownModel:
            return None
        names = dict.fromkeys(target.provider for target in targets if fold(target.provider) in view.withheld)
        lacking = [self._config.providers[fold(name)] for name in names]
        if not lacking:
            return None
        shown = ", ".join(provider.name for provider in lacking[:_NAMED])
        more = ", …" if len(lacking) > _NAMED else ""
        return ProviderKeyMissing(
            f'"{model}" is served by {shown}{more}, and the key "{tenant}" has no key of its own there: '
            f"{_what_to_do(tenant, lacking[0])}",
            param="model",
        )

    def _name_of(self, key: Secret) -> str:
        """A deployment's name for a key that a caller brought: tells it from others, for as long as this process lives."""
        return f"{CALLERS}:{hmac.digest(self._kept_keys.pepper, key.reveal().encode(), 'sha256').hex()[:12]}"


_NATURAL: Final[Mapping[str, frozenset[str]]] = {
    "openai": frozenset(("bearer", "api-key")),
    "anthropic": frozenset(("x-api-key", "bearer")),
    "gemini": frozenset(("x-goog-api-key", "bearer")),
}
"""How each family's own SDKs send their provider's key. What came otherwise was put there by hand, for another provider."""


def _given(
    resolved: Resolved, view: _View, dialect: Dialect, brought: Mapping[str, Secret]
) -> dict[str, tuple[str, Secret]]:
    """Which provider gets which of the keys that a request brought, and the way it travels there.

    Each key goes to one provider, whoever else is in the chain: it is a key to that one.
    """
    names = dict.fromkeys(fold(each.provider) for each in resolved.targets if each.deployment == CALLERS)
    natural = next(
        (ways for family, ways in _NATURAL.items() if dialect.name.startswith(family)), frozenset()
    )
    ways = {name: view.config.providers[name].deployments[0].auth for name in names}
    speaks = {name: dialect.name in view.callers[name] for name in names}
    given: dict[str, tuple[str, Secret]] = {}
    left = dict(brought)
    fits: tuple[Callable[[str, str], bool], ...] = (
        lambda name, way: speaks[name] and ways[name] == way,
        lambda name, way: speaks[name] and way in natural,
        lambda name, way: ways[name] == way and way not in natural,
    )
    for fit in fits:
        for name in names:
            way = None if name in given else next((way for way in left if fit(name, way)), None)
            if way is not None:
                given[name] = (way, left.pop(way))
    if not given:  # asked in another dialect than the provider's: the key travels as that one wants it
        first = next(iter(names))
        way = next((way for way in left if way in natural), next(iter(left)))
        given[first] = (ways[first], left[way])
    return given


def _spoken(doors: Mapping[str, Endpoint], dialect: Dialect) -> Endpoint:
    return doors.get(dialect.name) or next(iter(doors.values()))


def _what_to_do(tenant: str, provider: Provider) -> str:
    if provider.from_callers:
        return f"send your own {provider.name} key with the request ({_HEADERS[provider.auth or provider.row.auth]})"
    alone = " (own_keys_only)" if provider.usable and shares_a_key(provider) else ""
    return (
        f"have one set with 'holdfast keys provider set {tenant} {provider.name}' "
        f"or as [keys.{tenant}.providers.{provider.name}] in the gateway's file{alone}"
    )


_HEADERS: Final[Mapping[str, str]] = {
    "bearer": "Authorization: Bearer …",
    "x-api-key": "x-api-key",
    "x-goog-api-key": "x-goog-api-key",
    "api-key": "api-key",
}
