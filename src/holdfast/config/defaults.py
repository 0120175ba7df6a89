"""Which of several settings counts, and where it came from.

Nearest first: the route's own, the provider's, the top level's, the built-in one. Limits of a whole request skip the
provider, since a request may meet several.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.config.problems import Path, Problem, dotted
from holdfast.engine.policy import Gates, Idempotency, Policy, Retry, Timeouts
from holdfast.engine.route import fold
from holdfast.resilience.adaptive import AdaptiveSettings
from holdfast.resilience.breaker import BreakerSettings
from holdfast.resilience.bulkhead import BulkheadSettings
from holdfast.resilience.hedge import HedgeSettings
from holdfast.resilience.rate_meter import RateLimitSettings
from holdfast.resilience.retry_budget import RetryBudgetSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.config.schema import Document, RateTable
    from holdfast.resilience.settings import Settings

__all__ = [
    "GATES",
    "Setting",
    "gate_settings",
    "gates_of",
    "overall_of",
    "policy_of",
    "policy_settings",
    "rate_of",
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

GATES: Final[Mapping[str, tuple[str, type[Settings], str]]] = {
    "budget": ("retry", RetryBudgetSettings, "budget_"),
    "breaker": ("breaker", BreakerSettings, ""),
    "bulkhead": ("bulkhead", BulkheadSettings, ""),
    "adaptive": ("adaptive", AdaptiveSettings, ""),
    "hedge": ("hedge", HedgeSettings, ""),
    "rate": ("rate", RateLimitSettings, ""),
}
"""Of each policy before a target: the table that sets it, its settings, and what their names there begin with."""

_OF_AN_ATTEMPT: Final = ("connect_s", "first_token_s", "answer_s", "idle_s")
_OF_A_REQUEST: Final = ("total_s", "keepalive_s", "client_stall_s")


def timeouts_settings(document: Document, route: str | None, provider: str | None) -> list[Setting]:
    """The limits of an attempt. ``route`` and ``provider`` in any case; None where there is none."""
    return _lay(Timeouts.__struct_fields__, _layers(document, "timeouts", route, provider), Timeouts())


def retry_settings(document: Document, route: str | None, provider: str | None) -> list[Setting]:
    """How one target is tried again."""
    return _lay(Retry.__struct_fields__, _layers(document, "retry", route, provider), Retry())


def gate_settings(document: Document, name: str, route: str | None, provider: str | None) -> list[Setting]:
    """One of the policies before a target: a name of :data:`GATES`. Whether it is on is the first, where it may be off."""
    table, kind, prefix = GATES[name]
    layers = _layers(document, table, route, provider)
    builtin = getattr(Gates(), name)
    settable = type(getattr(document, table)).model_fields
    fields = [field for field in kind.__struct_fields__ if f"{prefix}{field}" in settable]
    found = [_nearest(field, layers, builtin or kind(), prefix=prefix) for field in fields]
    if "enabled" in settable:
        found.insert(0, _enabled(layers, found, builtin=builtin is not None))
    return [msgspec.structs.replace(each, name=f"{table}.{prefix}{each.name}") for each in found]


def _enabled(layers: Layers, settings: list[Setting], *, builtin: bool) -> Setting:
    """Whether a policy is on. Who sets anything of one that is off by default wants it."""
    written = _nearest("enabled", layers, _Switch(enabled=builtin))
    if written.path is not None or builtin:
        return written
    path = next((setting.path for setting in settings if setting.path is not None), None)
    return Setting("enabled", path is not None, path)


class _Switch(msgspec.Struct, frozen=True):
    enabled: bool


def rate_of(table: RateTable) -> RateLimitSettings | None:
    """A limit that stands for itself; None: it limits nothing."""
    given = {
        name: value
        for name in RateLimitSettings.__struct_fields__
        if (value := getattr(table, name)) is not None
    }
    rate = RateLimitSettings(**given)
    return None if rate.requests is None and rate.tokens is None else rate


def overall_of(document: Document) -> BulkheadSettings | None:
    """How many calls may be at all providers together; None: nobody said."""
    table = document.overall
    if table.max_concurrent is None:
        return None
    names = BulkheadSettings.__struct_fields__
    return BulkheadSettings(**{name: value for name in names if (value := getattr(table, name)) is not None})


def gates_of(document: Document, route: str | None, provider: str | None) -> Gates:
    """The policies before one target, and which of them the route sets itself."""
    made: dict[str, Any] = {}
    own: set[str] = set()
    for name in GATES:
        settings = gate_settings(document, name, route, provider)
        try:
            made[name] = _made(name, settings)
        except ValueError:  # a problem, which settings_problems() tells
            made[name] = getattr(Gates(), name)
        if any(setting.path is not None and setting.path[0] == "routes" for setting in settings):
            own.add(name)
    return _same(Gates(**made, own=frozenset(own), route=(route or "") if own else ""))


def _made(name: str, settings: list[Setting]) -> Any:
    """One policy's settings; None: it is off. Raises ValueError where they can't hold together."""
    table, kind, prefix = GATES[name]
    values = {setting.name.removeprefix(f"{table}.{prefix}"): setting.value for setting in settings}
    if not values.pop("enabled", True):
        return None
    made = kind(**values)
    limits_nothing = isinstance(made, RateLimitSettings) and made.requests is None and made.tokens is None
    return None if limits_nothing else made


@lru_cache(maxsize=4096)
def _same(gates: Gates) -> Gates:
    """Equal ones as one object: then it costs nothing to see that they are."""
    return gates


def policy_settings(document: Document, route: str | None) -> list[Setting]:
    """What holds for a whole request."""
    settings = _lay(_OF_A_REQUEST, _layers(document, "timeouts", route, None), Policy())
    settings += _lay(("max_attempts",), _layers(document, "retry", route, None), Policy())
    settings += [
        msgspec.structs.replace(setting, name=f"idempotency.{setting.name}")
        for setting in _lay(
            Idempotency.__struct_fields__, _layers(document, "idempotency", route, None), Idempotency()
        )
    ]
    key, table = _named(document.routes, route)
    builtin = Policy()
    for name in (
        "on_break",
        "fallback_on",
        "drop",
        "set",
        "max_output_tokens",
        "unbounded",
        "settle_unseen",
        "lower_max_tokens",
    ):
        if table is not None and name in table.model_fields_set:
            settings.append(Setting(name, getattr(table, name), ("routes", key, name)))
        else:
            settings.append(Setting(name, getattr(builtin, name), None))
    return settings


def policy_of(document: Document, route: str | None) -> Policy:
    values = {setting.name: setting.value for setting in policy_settings(document, route)}
    idempotency = {name: values.pop(f"idempotency.{name}") for name in Idempotency.__struct_fields__}
    values["idempotency"] = Idempotency(**idempotency)
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
            for name in GATES:
                problems += _contradictions(name, gate_settings(document, name, route, provider))
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
    for name in _OF_AN_ATTEMPT:
        limit = getattr(table, name)
        if limit is not None and limit > total.value:
            yield Problem(
                (*path, name),
                f"must be at most total_s, which is {total.value:g} ({_where(total)}) and ends the request before {limit:g}",
            )


def _contradictions(name: str, settings: list[Setting]) -> Iterable[Problem]:
    """What a policy itself says of settings that are each in range. The nearest of those that it names is told."""
    table, _, prefix = GATES[name]
    try:
        _made(name, settings)
    except ValueError as error:
        said = str(error)
        named = [each for each in settings if each.name.removeprefix(f"{table}.{prefix}") in said]
        written = next((each for each in named if each.path is not None), None)
        if written is not None and written.path is not None:
            yield Problem(written.path, f"can't hold together with the others: {said}")


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


def _nearest(name: str, layers: Layers, builtin: msgspec.Struct, *, prefix: str = "") -> Setting:
    for path, table in layers:
        # Who says how long a first token may take, and nothing of whole answers, means both.
        for via in (name, "first_token_s") if name == "answer_s" else (f"{prefix}{name}",):
            if (value := getattr(table, via, None)) is not None:
                return Setting(name, value, (*path, via))
    return Setting(name, getattr(builtin, name), None)
