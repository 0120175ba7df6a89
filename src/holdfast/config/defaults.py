"""Which of several settings counts, and where it came from.

Nearest first: the route's own, the provider's, the top level's, the built-in one. Limits of a whole request skip the
provider, since a request may meet several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.config.problems import Path, Problem, dotted
from holdfast.engine.policy import Policy, Retry, Timeouts
from holdfast.engine.route import fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.config.schema import Document

__all__ = [
    "Setting",
    "policy_of",
    "policy_settings",
    "retry_settings",
    "settings_problems",
    "timeouts_settings",
]


class Setting(msgspec.Struct, frozen=True):
    """An effective value. ``path`` is where the file sets it; None: it is built in."""

    name: str
    value: Any
    path: Path | None


Layers = list[tuple[Path, Any]]

_OF_A_REQUEST: Final = ("total_s", "keepalive_s", "client_stall_s")


def timeouts_settings(document: Document, route: str | None, provider: str | None) -> list[Setting]:
    """The limits of an attempt. ``route`` and ``provider`` in any case; None where there is none."""
    return _lay(Timeouts.__struct_fields__, _layers(document, "timeouts", route, provider), Timeouts())


def retry_settings(document: Document, route: str | None, provider: str | None) -> list[Setting]:
    """How one target is tried again."""
    return _lay(Retry.__struct_fields__, _layers(document, "retry", route, provider), Retry())


def policy_settings(document: Document, route: str | None) -> list[Setting]:
    """What holds for a whole request."""
    settings = _lay(_OF_A_REQUEST, _layers(document, "timeouts", route, None), Policy())
    settings += _lay(("max_attempts",), _layers(document, "retry", route, None), Policy())
    key, table = _named(document.routes, route)
    builtin = Policy()
    for name in ("on_break", "fallback_on", "drop", "set", "max_output_tokens"):
        if table is not None and name in table.model_fields_set:
            settings.append(Setting(name, getattr(table, name), ("routes", key, name)))
        else:
            settings.append(Setting(name, getattr(builtin, name), None))
    return settings


def policy_of(document: Document, route: str | None) -> Policy:
    values = {setting.name: setting.value for setting in policy_settings(document, route)}
    values["fallback_on"] = frozenset(values["fallback_on"])
    values["drop"] = frozenset(values["drop"])
    return Policy(**values)


def settings_problems(document: Document) -> list[Problem]:
    """Settings that are each in range and can't hold together."""
    problems: list[Problem] = []
    tables: list[tuple[Path, Any, str | None]] = [(("timeouts",), document.timeouts, None)]
    tables += [(("routes", key, "timeouts"), table.timeouts, key) for key, table in document.routes.items()]
    for path, table, route in tables:
        total = next(setting for setting in policy_settings(document, route) if setting.name == "total_s")
        problems += _never_reached(path, table, total)
    for route in (None, *document.routes):
        for provider in (None, *_providers_of(document, route)):
            problems += _cap_below_base(retry_settings(document, route, provider))
    for key, table in document.routes.items():
        if "drop" not in table.model_fields_set:  # what is permitted by default contradicts nothing
            continue
        for name in sorted(set(table.drop) & set(table.set)):
            problems.append(
                Problem(
                    ("routes", key, "drop"), f"{name} is also in set: it can't be both put in and left out"
                )
            )
    return problems


def _never_reached(path: Path, table: Any, total: Setting) -> Iterable[Problem]:
    """Limits that the total makes idle. Only what this table sets itself: a nearer total may well be short."""
    for name in Timeouts.__struct_fields__:
        limit = getattr(table, name)
        if limit is not None and limit > total.value:
            yield Problem(
                (*path, name),
                f"must be at most total_s, which is {total.value:g} ({_where(total)}) and ends the request before {limit:g}",
            )


def _cap_below_base(settings: list[Setting]) -> Iterable[Problem]:
    by_name = {setting.name: setting for setting in settings}
    base, cap = by_name["base_s"], by_name["max_s"]
    if base.value > cap.value:
        where = base if base.path is not None else cap
        other = cap if where is base else base
        side = "at most" if where is base else "at least"
        yield Problem(
            where.path or (),
            f"must be {side} {other.name}, which is {other.value:g} ({_where(other)}), not {where.value:g}",
        )


def _where(setting: Setting) -> str:
    return "built-in" if setting.path is None else dotted(setting.path)


def _providers_of(document: Document, route: str | None) -> Iterable[str]:
    if route is None:
        return document.providers
    names = {target.partition("/")[0] for target in _targets_in(document.routes[route].targets)}
    return sorted(names)


def _targets_in(items: Iterable[Any]) -> Iterable[str]:
    """The texts of a route's targets, also of those in tables and groups."""
    for item in items:
        if isinstance(item, list | tuple):
            yield from _targets_in(item)
        elif isinstance(text := item.get("target") if isinstance(item, dict) else item, str):
            yield text


def _layers(document: Document, table: str, route: str | None, provider: str | None) -> Layers:
    layers: Layers = []
    for section, name in (("routes", route), ("providers", provider)):
        key, found = _named(getattr(document, section), name)
        if found is not None:
            layers.append(((section, key, table), getattr(found, table)))
    layers.append(((table,), getattr(document, table)))
    return layers


def _named(tables: Mapping[str, Any], name: str | None) -> tuple[str, Any]:
    """The table of that name and the name as it is written; names don't differ by case."""
    if name is not None:
        for key, table in tables.items():
            if fold(key) == fold(name):
                return key, table
    return "", None


def _lay(names: Iterable[str], layers: Layers, builtin: msgspec.Struct) -> list[Setting]:
    return [_nearest(name, layers, builtin) for name in names]


def _nearest(name: str, layers: Layers, builtin: msgspec.Struct) -> Setting:
    for path, table in layers:
        # Who says how long a first token may take, and nothing of whole answers, means both.
        for via in (name, "first_token_s") if name == "answer_s" else (name,):
            if (value := getattr(table, via, None)) is not None:
                return Setting(name, value, (*path, via))
    return Setting(name, getattr(builtin, name), None)
