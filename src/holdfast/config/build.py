"""From a checked document to the configuration that counts; what only shows when tables are seen together is found here."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import PydanticCustomError

from holdfast.config import fields
from holdfast.config.budgets import budgets_of
from holdfast.config.cost_protection import cost_protection_of
from holdfast.config.defaults import overall_of, policy_of, rate_of, settings_problems
from holdfast.config.effective import CHAT, Config, Key
from holdfast.config.own_keys import master_keys_of, own_keys_of
from holdfast.config.pricing import as_price, pricing_of
from holdfast.config.problems import Path, Problem, listing, or_one_of
from holdfast.config.providers import providers_of
from holdfast.config.routes import routes_of
from holdfast.config.sharing import sharing_problems
from holdfast.config.substitute import Substituted
from holdfast.engine.rates import RateRules
from holdfast.engine.route import fold
from holdfast.providers.override_reading import parse_overrides

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.config.schema import KeyTable
    from holdfast.config.source import Source
    from holdfast.engine.policy import Route
    from holdfast.resilience.rate_meter import RateLimitSettings

__all__ = ["build"]

_PROVIDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROUTE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")


def build(source: Source, *, file: str | None) -> Config:
    """The configuration of ``source``, as far as it can be made; what is wrong with it is in ``source.problems``."""
    doc = source.doc
    _check_names(source, "providers", _PROVIDER_NAME)
    _check_names(source, "routes", _ROUTE_NAME)
    _check_names(source, "keys", _PROVIDER_NAME)
    _check_names(source, "budgets", _PROVIDER_NAME)
    providers = providers_of(source)
    routes = routes_of(source, providers)
    keys = _keys(source, routes)
    if doc.default_route is not None:
        _check_route(source, ("default_route",), doc.default_route, routes)
    prices = _prices(source)
    source.problems += settings_problems(doc)
    config = Config(
        gateway=doc.gateway,
        ledger=doc.ledger,
        redis=doc.redis,
        providers=providers,
        routes=routes,
        default_route=doc.default_route,
        keys=keys,
        prices=prices,
        budgets=budgets_of(source),
        unknown_price=pricing_of(source),
        policy=policy_of(doc, None),
        rates=_rates(source),
        overall=overall_of(doc),
        cost_protection=cost_protection_of(source),
        session_ids_from=doc.sessions.ids_from,
        own_keys=own_keys_of(source, providers),
        master_keys=master_keys_of(source),
        file=file,
        document=doc,
        origins=source.origins,
    )
    source.problems += sharing_problems(config)
    return config


def _check_names(source: Source, section: str, form: re.Pattern[str]) -> None:
    seen: dict[str, str] = {}
    for name in getattr(source.doc, section):
        if not form.fullmatch(name):
            extra = " : / @ +" if form is _ROUTE_NAME else ""
            source.wrong((section, name), f"a name is made of letters, digits and . _ -{extra}, and is short")
        if fold(name) in seen:
            source.wrong(
                (section, name), f"is there twice, also as {seen[fold(name)]}: names don't differ by case"
            )
        seen[fold(name)] = name


def _gateways_own(source: Source) -> dict[bytes, str]:
    """Names of the keys that aren't callers', by their hashes."""
    gateway = source.doc.gateway
    ours: dict[bytes, str] = {}
    for name, key in (("admin_key", gateway.admin_key), ("metrics_key", gateway.metrics_key)):
        if key is None:
            continue
        digest = sha256(key.reveal().encode()).digest()
        if digest in ours:
            source.wrong(
                ("gateway", name),
                f"is the same as gateway.{ours[digest]}, which opens more: make another one",
            )
        ours[digest] = name
    return ours


def _keys(source: Source, routes: Mapping[str, Route]) -> dict[str, Key]:
    made: dict[str, Key] = {}
    owners: dict[bytes, str] = {}
    ours = _gateways_own(source)
    for name, table in source.doc.keys.items():
        if table.sha256 in owners:
            source.wrong(("keys", name, "sha256"), f"is the same as that of {owners[table.sha256]}")
        owners[table.sha256] = name
        if (own := ours.get(table.sha256)) is not None:
            source.wrong(("keys", name, "sha256"), f"is that of gateway.{own}, which asks no models")
        allowed = _allowed_routes(source, name, table, routes)
        if allowed is not None and not allowed and not table.models and not table.routes:
            source.wrong(
                ("keys", name, "routes"),
                "is empty, so this key may do nothing; leave it out to permit all",
            )
        made[fold(name)] = Key(
            name=name,
            sha256=table.sha256,
            routes=allowed,
            models=table.models,
            team=table.team,
            tags=table.tags,
            rate=rate_of(table.rate),
            own_keys_only=source.doc.gateway.own_keys_only
            if table.own_keys_only is None
            else table.own_keys_only,
        )
    return made


def _rates(source: Source) -> RateRules:
    doc = source.doc
    models: dict[str, RateLimitSettings] = {}
    for pattern, table in doc.models.items():
        try:
            fields.pattern(pattern)
        except PydanticCustomError as error:
            source.wrong(("models", pattern), error.message())
        rate = rate_of(table.rate)
        if rate is not None:
            models[pattern] = rate
        elif not _names_a_limit(source.written("models", pattern, "rate")):
            source.wrong(("models", pattern), "limits nothing; add rate = { requests = 60 }, or leave it out")
    keys = {name: rate for name, table in doc.keys.items() if (rate := rate_of(table.rate)) is not None}
    return RateRules(caller=rate_of(doc.gateway.rate), keys=keys, models=models)


def _names_a_limit(written: Any) -> bool:
    """Whether a limit stands there that couldn't be read, which was said."""
    return isinstance(written, dict) and not written.keys().isdisjoint(("requests", "tokens"))


def _allowed_routes(
    source: Source, name: str, table: KeyTable, routes: Mapping[str, Route]
) -> frozenset[str] | None:
    if table.routes is None:
        return None
    for index, route in enumerate(table.routes):
        path = ("keys", name, "routes", index)
        if not isinstance(route, str):
            source.wrong(path, f"must be a route's name, not {fields.shown(route)}")
        else:
            _check_route(source, path, route, routes)
    return frozenset(fold(route) for route in table.routes if isinstance(route, str))


def _check_route(source: Source, path: Path, route: str, routes: Mapping[str, Route]) -> None:
    # The built-in route comes and goes with the keys in the environment: naming it is never wrong.
    if fold(route) in routes or fold(route) == CHAT or source.was_written("routes", route):
        return
    if isinstance(route, Substituted):
        if route.variables:
            source.wrong(path, f"names no route{listing(r.name for r in routes.values())}")
        return
    near = or_one_of(route, (r.name for r in routes.values()))
    source.wrong(path, f"there is no such route{near}")


def _prices(source: Source) -> dict[str, dict[str, Any]]:
    prices = {name: as_price(table) for name, table in source.doc.prices.items() if not _unfilled(table)}
    if prices:
        source.problems += [Problem((), problem) for problem in parse_overrides(prices)[1]]
    return prices


def _unfilled(value: Any) -> bool:
    """Whether a variable was missing somewhere in it, which was said."""
    if isinstance(value, dict | list | tuple):
        return any(_unfilled(each) for each in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, Substituted) and not value.variables
