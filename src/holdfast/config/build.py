"""From a checked document to the configuration that counts; what only shows when tables are seen together is found here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from holdfast.config import fields
from holdfast.config.defaults import policy_of, settings_problems
from holdfast.config.effective import (
    CHAT,
    Config,
    Deployment,
    Key,
    Provider,
    is_loopback,
    retry_of,
    targets_of,
    timeouts_of,
)
from holdfast.config.problems import Path, Problem, did_you_mean, listing, or_one_of
from holdfast.config.schema import TargetTable
from holdfast.config.substitute import Substituted
from holdfast.engine.policy import Route, Target
from holdfast.engine.route import MODEL_CHARS, fold
from holdfast.providers import catalog
from holdfast.providers.overrides import parse_overrides

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.config.schema import Document, KeyTable, ProviderTable, RouteTable
    from holdfast.secret import Secret

__all__ = ["Builder"]

_DIALECTS: Final = catalog.DIALECTS
_PROVIDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROUTE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_NO_KEY: Final = frozenset(("", "none"))  # what people write where there is none


class Builder:
    """Builds one :class:`Config`, gathering problems as it goes.

    Args:
        document: the file, each setting in range. Settings that weren't are left out of it.
        raw: the file as it was written, to tell a table that is missing from one that was faulty.
        env: the environment.
    """

    def __init__(self, document: Document, raw: Mapping[str, Any], env: Mapping[str, str]) -> None:
        self._doc = document
        self._raw = raw
        self._env = env
        self.problems: list[Problem] = []

    def build(self, *, file: str | None, origins: Mapping[Path, tuple[str, ...]]) -> Config:
        self._check_names("providers", _PROVIDER_NAME)
        self._check_names("routes", _ROUTE_NAME)
        self._check_names("keys", _PROVIDER_NAME)
        providers = self._providers()
        routes = self._routes(providers)
        keys = self._keys(routes)
        self._check_default(routes)
        self._check_host(keys)
        prices = self._prices()
        self.problems += settings_problems(self._doc)
        return Config(
            gateway=self._doc.gateway,
            ledger=self._doc.ledger,
            providers=providers,
            routes=routes,
            default_route=self._doc.default_route,
            keys=keys,
            prices=prices,
            policy=policy_of(self._doc, None),
            file=file,
            document=self._doc,
            origins=origins,
        )

    def _wrong(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path, message))

    def _check_names(self, section: str, form: re.Pattern[str]) -> None:
        seen: dict[str, str] = {}
        for name in getattr(self._doc, section):
            if not form.fullmatch(name):
                extra = " : / @ +" if form is _ROUTE_NAME else ""
                self._wrong(
                    (section, name), f"a name is made of letters, digits and . _ -{extra}, and is short"
                )
            if fold(name) in seen:
                self._wrong(
                    (section, name), f"is there twice, also as {seen[fold(name)]}: names don't differ by case"
                )
            seen[fold(name)] = name

    # Providers

    def _providers(self) -> dict[str, Provider]:
        if not self._raw.get("providers"):
            return {fold(row.name): self._known(row) for row in catalog.PROVIDERS.values()}
        made: dict[str, Provider] = {}
        for name, table in self._doc.providers.items():
            made.setdefault(fold(name), self._provider(name, table))
        return made

    def _known(self, row: catalog.Provider) -> Provider:
        key, key_from, auth = self._key_of_environment(row)
        row = self._where_the_key_belongs(row, key_from)
        if (version := self._version_of_environment(row)) is not None:
            row = _dated(row, version)
        if key is not None and not row.base_url:
            key_from = f"environment {row.base_url_env} is not set"
        return Provider(
            row=row,
            deployments=(
                Deployment(
                    base_url=row.base_url,
                    key=key,
                    auth=auth,
                    proxy=self._doc.outbound.proxy,
                    ca_file=self._doc.outbound.ca_file,
                ),
            ),
            key_from=key_from,
            usable=key is not None and bool(row.base_url),
            unsupported=row.unsupported,
            timeouts=timeouts_of(self._doc, None, row.name),
            retry=retry_of(self._doc, None, row.name),
        )

    def _provider(self, name: str, table: ProviderTable) -> Provider:
        known = catalog.provider(name)
        if known is None:
            self._check_own(name, table)
        row = self._row(name, table, known)
        key, key_from, auth = self._key_of(name, table, known)
        if table.base_url is None:
            row = self._where_the_key_belongs(row, key_from)
        version = table.api_version or (self._version_of_environment(row) if known is not None else None)
        if version is not None:
            if row.dated_doors:
                row = _dated(row, version)
            else:
                self._wrong(("providers", name, "api_version"), "belongs to azure: no other provider has one")
        deployments = self._deployments(name, table, row, key, auth)
        if not row.base_url and not all(each.base_url for each in deployments):
            self._wrong(
                ("providers", name, "base_url"),
                f"is missing, and so is environment {row.base_url_env}: it is an address of your own, "
                "such as https://NAME.openai.azure.com",
            )
        with_keys = tuple(each for each in deployments if each.key is not None or table.auth == "none")
        return Provider(
            row=row,
            deployments=with_keys or deployments,
            key_from=key_from if not table.deployments else f"providers.{name}.deployments",
            usable=bool(with_keys),
            unsupported=tuple(dict.fromkeys((*row.unsupported, *table.unsupported))),
            timeouts=timeouts_of(self._doc, None, name),
            retry=retry_of(self._doc, None, name),
        )

    def _row(self, name: str, table: ProviderTable, known: catalog.Provider | None) -> catalog.Provider:
        dialect = table.dialect
        if dialect is not None and dialect not in _DIALECTS:
            near = "" if isinstance(dialect, Substituted) else did_you_mean(dialect, _DIALECTS)
            self._wrong(("providers", name, "dialect"), f"must be {_or(_DIALECTS)}{near}")
            dialect = None
        if known is None:
            row = catalog.compatible(name, dialect or _DIALECTS[0])
        else:
            row = catalog.respoken(known, dialect) if dialect is not None else known
        return row if table.base_url is None else msgspec.structs.replace(row, base_url=table.base_url)

    def _deployments(
        self, name: str, table: ProviderTable, row: catalog.Provider, key: Secret | None, auth: str
    ) -> tuple[Deployment, ...]:
        outbound = self._doc.outbound
        base = Deployment(
            base_url=row.base_url,
            key=key,
            auth=auth,
            headers=table.headers,
            proxy=table.proxy if table.proxy is not None else outbound.proxy,
            ca_file=table.ca_file if table.ca_file is not None else outbound.ca_file,
        )
        if not table.deployments:
            if len(table.api_keys) < 2:
                return (base,)
            return tuple(
                msgspec.structs.replace(base, name=str(number), key=each)
                for number, each in enumerate(table.api_keys, 1)
            )
        if table.api_keys:
            self._wrong(("providers", name, "api_keys"), "contradicts deployments, each of which has its key")
        seen: set[str] = set()
        made: list[Deployment] = []
        for place, each in enumerate(table.deployments):
            if fold(each.name) in seen:
                self._wrong(("providers", name, "deployments", place, "name"), f"is there twice: {each.name}")
            seen.add(fold(each.name))
            made.append(
                Deployment(
                    name=each.name,
                    base_url=each.base_url or base.base_url,
                    key=base.key if each.api_key is None else self._real(each.api_key),
                    auth=auth,
                    headers={**base.headers, **each.headers},
                    weight=each.weight,
                    proxy=each.proxy if each.proxy is not None else base.proxy,
                    ca_file=each.ca_file if each.ca_file is not None else base.ca_file,
                )
            )
        return tuple(made)

    @staticmethod
    def _real(key: Secret | None) -> Secret | None:
        return key if key is not None and key.reveal().lower() not in _NO_KEY else None

    def _version_of_environment(self, row: catalog.Provider) -> str | None:
        version = self._env.get(row.api_version_env or "", "").strip()
        return version or None

    def _check_own(self, name: str, table: ProviderTable) -> None:
        """A server that the catalog doesn't know must say how to reach it."""
        near = did_you_mean(name, catalog.PROVIDERS)
        for setting, example in (("dialect", _DIALECTS[0]), ("base_url", "http://127.0.0.1:8000/v1")):
            if getattr(table, setting) is None and not self._was_written("providers", name, setting):
                self._wrong(
                    ("providers", name, setting),
                    f"is missing: {name} is no known provider, so say how to "
                    f'reach it, such as "{example}"{near}',
                )

    def _key_of(
        self, name: str, table: ProviderTable, known: catalog.Provider | None
    ) -> tuple[Secret | None, str, str]:
        """The key (of several the first), where it came from, and how it travels."""
        here = ("providers", name, "api_key")
        own = [key for key in (table.api_key, *table.api_keys) if self._real(key) is not None]
        if table.api_key is not None and table.api_keys:
            self._wrong(here, "contradicts api_keys; leave one of them out")
        row = known or catalog.compatible(name, table.dialect if table.dialect in _DIALECTS else _DIALECTS[0])
        auth: str = row.auth if table.auth in ("key", "none") else table.auth
        if table.auth == "none":
            if own:
                self._wrong(here, 'contradicts auth = "none"; leave one of them out')
            return None, f"none is needed: providers.{name}.auth", auth
        if own:
            return own[0], f"providers.{name}.{'api_key' if table.api_key is not None else 'api_keys'}", auth
        if table.api_key is not None:
            return None, f'providers.{name}.api_key is empty or "none"', auth
        if known is not None:
            key, key_from, way = self._key_of_environment(known)
            return key, key_from, way if table.auth == "key" else auth
        return None, f'providers.{name}.api_key is not set (auth = "none" for a server that needs none)', auth

    def _key_of_environment(self, row: catalog.Provider) -> tuple[Secret | None, str, str]:
        ways = [(name, row.auth) for name in row.key_env] + [(name, "bearer") for name in row.token_env]
        for variable, auth in ways:
            try:
                key = fields.secret(self._env.get(variable, ""))
            except PydanticCustomError as error:
                self._wrong((), f"environment {variable}: {error.message()}")
                continue
            if key.reveal().lower() not in _NO_KEY:
                return key, f"environment {variable}", auth
        return None, f"environment {' or '.join(name for name, _ in ways)} is not set", row.auth

    def _where_the_key_belongs(self, row: catalog.Provider, key_from: str) -> catalog.Provider:
        """A key from the environment belongs to the address from there: a proxy's key must not go to its provider."""
        address = self._env.get(row.base_url_env or "", "").strip()
        if not address or not key_from.startswith("environment "):
            return row
        try:
            return msgspec.structs.replace(row, base_url=fields.base_url(address) + row.base_url_end)
        except PydanticCustomError as error:
            self._wrong((), f"environment {row.base_url_env}: {error.message()}")
            return row

    # Routes

    def _routes(self, providers: Mapping[str, Provider]) -> dict[str, Route]:
        made: dict[str, Route] = {}
        for name, table in self._doc.routes.items():
            made.setdefault(fold(name), self._route(name, table, providers))
        if CHAT not in made and (builtin := self._builtin_chat(providers)) is not None:
            made[CHAT] = builtin
        return made

    def _builtin_chat(self, providers: Mapping[str, Provider]) -> Route | None:
        """One default model for each known provider that has a key."""
        names = [
            name
            for name in catalog.in_order(catalog.PROVIDERS)
            if name in providers and providers[name].usable and providers[name].row.default_model
        ]
        targets = [
            target
            for tier, name in enumerate(names)
            for target in targets_of(
                self._doc, CHAT, providers[name], providers[name].row.default_model or "", tier
            )
        ]
        return (
            Route(name=CHAT, targets=tuple(targets), policy=policy_of(self._doc, CHAT)) if targets else None
        )

    def _route(self, name: str, table: RouteTable, providers: Mapping[str, Provider]) -> Route:
        path = ("routes", name, "targets")
        targets: list[Target | None] = []
        for tier, item in enumerate(table.targets):
            for at, target in self._equals((*path, tier), item):
                targets += self._target(name, at, target, providers, tier)
        if not table.targets and not self._was_written(*path):
            self._wrong(path, 'is missing: a route needs at least one target, such as ["openai/gpt-5-mini"]')
        elif not table.targets and self._written(*path) == []:
            self._wrong(path, 'is empty: a route needs at least one target, such as ["openai/gpt-5-mini"]')
        good = tuple(target for target in targets if target is not None)
        is_default = self._doc.default_route is not None and fold(self._doc.default_route) == fold(name)
        if (
            good
            and len(good) == len(targets)
            and all("{model}" in target.model for target in good)
            and not table.models
            and not is_default
            and not self._was_written("routes", name, "models")
        ):
            self._wrong(
                path,
                "{model} stands for nothing here: the route has no models patterns and isn't the default_route",
            )
        return Route(name=name, targets=good, models=table.models, policy=policy_of(self._doc, name))

    def _equals(self, path: Path, item: Any) -> list[tuple[Path, Any]]:
        """One item of the chain as the targets that it stands for."""
        if not isinstance(item, list | tuple):
            return [(path, item)]
        if not item:
            self._wrong(path, "is empty: a group of equals needs at least one target")
        return [((*path, place), each) for place, each in enumerate(item)]

    def _target(
        self, route: str, path: Path, target: Any, providers: Mapping[str, Provider], tier: int
    ) -> list[Target | None]:
        """The targets, one for each of the provider's deployments; None for a faulty one, which was complained about."""
        weight, overrides = 1.0, None
        if isinstance(target, dict):
            try:
                table = TargetTable.model_validate(target)
            except ValidationError as error:
                for problem in error.errors():
                    self._wrong((*path, *problem["loc"]), str(problem["msg"]))
                return [None]
            target, weight, overrides = table.target, table.weight, table.set
            path = (*path, "target")
        if isinstance(target, Substituted) and not target.variables:
            return [None]  # couldn't be filled in, and was complained about
        if not isinstance(target, str) or not all(parts := target.partition("/")):
            kind = "a string without one" if isinstance(target, str) else fields.shown(target)
            self._wrong(
                path,
                f'must be a provider and a model with a slash between, such as "openai/gpt-5-mini", not {kind}',
            )
            return [None]
        provider, _, model = parts
        if (why := _why_no_model(model)) is not None:
            self._wrong(path, why)
        if fold(provider) in providers:
            if why is not None:
                return [None]
            found = providers[fold(provider)]
            return [*targets_of(self._doc, route, found, model, tier, weight=weight, overrides=overrides)]
        if not self._was_written("providers", provider) and isinstance(self._raw.get("providers", {}), dict):
            self._wrong(path, self._no_provider(target, provider, providers))
        return [None]

    def _no_provider(self, target: str, provider: str, providers: Mapping[str, Provider]) -> str:
        if isinstance(target, Substituted) or not _PROVIDER_NAME.fullmatch(provider):
            return f"names no provider of this file{listing(p.name for p in providers.values())}"
        if (row := catalog.provider(provider)) is not None:
            return f"there is no provider {provider} in this file; add [providers.{row.name}]"
        return f"there is no provider {provider}{or_one_of(provider, (p.name for p in providers.values()))}"

    # The rest

    def _keys(self, routes: Mapping[str, Route]) -> dict[str, Key]:
        made: dict[str, Key] = {}
        owners: dict[bytes, str] = {}
        for name, table in self._doc.keys.items():
            if table.sha256 in owners:
                self._wrong(("keys", name, "sha256"), f"is the same as that of {owners[table.sha256]}")
            owners[table.sha256] = name
            allowed = self._allowed_routes(name, table, routes)
            if allowed is not None and not allowed and not table.models and not table.routes:
                self._wrong(
                    ("keys", name, "routes"),
                    "is empty, so this key may do nothing; leave it out to permit all",
                )
            made[fold(name)] = Key(name=name, sha256=table.sha256, routes=allowed, models=table.models)
        return made

    def _allowed_routes(
        self, name: str, table: KeyTable, routes: Mapping[str, Route]
    ) -> frozenset[str] | None:
        if table.routes is None:
            return None
        for index, route in enumerate(table.routes):
            path = ("keys", name, "routes", index)
            if not isinstance(route, str):
                self._wrong(path, f"must be a route's name, not {fields.shown(route)}")
            else:
                self._check_route(path, route, routes)
        return frozenset(fold(route) for route in table.routes if isinstance(route, str))

    def _check_default(self, routes: Mapping[str, Route]) -> None:
        if self._doc.default_route is not None:
            self._check_route(("default_route",), self._doc.default_route, routes)

    def _check_route(self, path: Path, route: str, routes: Mapping[str, Route]) -> None:
        # The built-in route comes and goes with the keys in the environment: naming it is never wrong.
        if fold(route) in routes or fold(route) == CHAT or self._was_written("routes", route):
            return
        if isinstance(route, Substituted):
            if route.variables:
                self._wrong(path, f"names no route{listing(r.name for r in routes.values())}")
            return
        near = or_one_of(route, (r.name for r in routes.values()))
        self._wrong(path, f"there is no such route{near}")

    def _check_host(self, keys: Mapping[str, Key]) -> None:
        host = self._doc.gateway.host
        if not is_loopback(host) and not keys and not self._raw.get("keys"):
            self._wrong(
                ("gateway", "host"),
                "other machines can reach this address, so callers need keys: add [keys.NAME] with the sha256 of one, "
                'or use "127.0.0.1"',
            )

    def _prices(self) -> dict[str, dict[str, Any]]:
        prices = {
            name: {setting: _as_price(value) for setting, value in table.items()}
            for name, table in self._doc.prices.items()
            if not any(isinstance(value, Substituted) and not value.variables for value in table.values())
        }
        if prices:
            self.problems += [Problem((), problem) for problem in parse_overrides(prices)[1]]
        return prices

    def _written(self, *path: str) -> Any:
        here: Any = self._raw
        for step in path:
            if not isinstance(here, dict):
                return None
            here = next((value for key, value in here.items() if fold(key) == fold(step)), None)
        return here

    def _was_written(self, *path: str) -> bool:
        """The file has this, though perhaps faulty: it isn't missing, and what is wrong with it has been said."""
        return self._written(*path) is not None


def _dated(row: catalog.Provider, version: str) -> catalog.Provider:
    """``row`` with its paths for callers that name an API version."""
    doors = {
        name: catalog.Door(f"{door.path}?api-version={version}") for name, door in row.dated_doors.items()
    }
    return msgspec.structs.replace(row, doors=doors)


def _why_no_model(model: str) -> str | None:
    if len(model) > MODEL_CHARS or not model.isprintable() or model != model.strip():
        return f"names a model of more than {MODEL_CHARS} characters, or with ones that can't be printed"
    rest = model.replace("{model}", "")
    if "{" in rest or "}" in rest:
        return "has braces that are no {model}: nothing else can be filled in"
    return None


def _as_price(value: Any) -> Any:
    if not isinstance(value, Substituted):
        return value
    number = fields.as_number(value)
    return str(value) if number is None else number


def _or(names: Iterable[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)
