"""From a checked document to the configuration that counts; what only shows when tables are seen together is found here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from holdfast.config import fields
from holdfast.config.defaults import policy_of, settings_problems
from holdfast.config.effective import CHAT, Config, Key, is_loopback
from holdfast.config.problems import Path, Problem, listing, or_one_of
from holdfast.config.providers import providers_of
from holdfast.config.routes import routes_of
from holdfast.config.substitute import Substituted
from holdfast.engine.route import fold
from holdfast.providers.overrides import parse_overrides

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.config.schema import KeyTable
    from holdfast.config.source import Source
    from holdfast.engine.policy import Route

__all__ = ["build"]

_PROVIDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROUTE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")


def build(source: Source, *, file: str | None) -> Config:
    """The configuration of ``source``, as far as it can be made; what is wrong with it is in ``source.problems``."""
    doc = source.doc
    _check_names(source, "providers", _PROVIDER_NAME)
    _check_names(source, "routes", _ROUTE_NAME)
    _check_names(source, "keys", _PROVIDER_NAME)
    providers = providers_of(source)
    routes = routes_of(source, providers)
    keys = _keys(source, routes)
    if doc.default_route is not None:
        _check_route(source, ("default_route",), doc.default_route, routes)
    _check_host(source, keys)
    prices = _prices(source)
    source.problems += settings_problems(doc)
    return Config(
        gateway=doc.gateway,
        ledger=doc.ledger,
        providers=providers,
        routes=routes,
        default_route=doc.default_route,
        keys=keys,
        prices=prices,
        policy=policy_of(doc, None),
        file=file,
        document=doc,
        origins=source.origins,
    )


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


def _keys(source: Source, routes: Mapping[str, Route]) -> dict[str, Key]:
    made: dict[str, Key] = {}
    owners: dict[bytes, str] = {}
    for name, table in source.doc.keys.items():
        if table.sha256 in owners:
            source.wrong(("keys", name, "sha256"), f"is the same as that of {owners[table.sha256]}")
        owners[table.sha256] = name
        allowed = _allowed_routes(source, name, table, routes)
        if allowed is not None and not allowed and not table.models and not table.routes:
            source.wrong(
                ("keys", name, "routes"),
                "is empty, so this key may do nothing; leave it out to permit all",
            )
        made[fold(name)] = Key(name=name, sha256=table.sha256, routes=allowed, models=table.models)
    return made


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


def _check_host(source: Source, keys: Mapping[str, Key]) -> None:
    if not is_loopback(source.doc.gateway.host) and not keys and not source.raw.get("keys"):
        source.wrong(
            ("gateway", "host"),
            "other machines can reach this address, so callers need keys: add [keys.NAME] with the sha256 of one, "
            'or use "127.0.0.1"',
        )


def _prices(source: Source) -> dict[str, dict[str, Any]]:
    prices = {
        name: {setting: _as_price(value) for setting, value in table.items()}
        for name, table in source.doc.prices.items()
        if not any(isinstance(value, Substituted) and not value.variables for value in table.values())
    }
    if prices:
        source.problems += [Problem((), problem) for problem in parse_overrides(prices)[1]]
    return prices


def _as_price(value: Any) -> Any:
    if not isinstance(value, Substituted):
        return value
    number = fields.as_number(value)
    return str(value) if number is None else number
