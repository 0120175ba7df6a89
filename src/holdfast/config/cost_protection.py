"""``[cost_protection]``, and the environment's variables over it: what a session, a key and everyone may spend.

A setting's variable is its name in capitals, after ``COST_PROTECTION_``. It goes over the file, is read as strictly, and its
name is what a bad value is reported under. A variable that is empty isn't set.

It is off until somebody says otherwise, nearest first: ``COST_PROTECTION_ENABLED``; the file's ``enabled``; any other of the
variables, for who sets a limit there wants it. A limit in the file alone switches nothing on.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.config.defaults import Setting
from holdfast.config.problems import Problem, or_one_of
from holdfast.config.substitute import Filled, Substituted
from holdfast.money.cost import to_nano, to_usd
from holdfast.money.cost_breaker import CostBreakerSettings
from holdfast.money.rules import BudgetRule
from holdfast.money.session import SessionSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from holdfast.config.problems import Path
    from holdfast.config.schema import CostProtectionTable
    from holdfast.config.source import Source

__all__ = [
    "DEFAULTS",
    "HOURLY",
    "VARIABLES",
    "CostProtection",
    "cost_protection_of",
    "findings",
    "notes_of",
    "with_environment",
]

HOURLY: Final = "cost_protection.hourly"
"""The name of the budget that every key has."""

_TABLE: Final = "cost_protection"
_PREFIX: Final = "COST_PROTECTION_"
_SESSION: Final = SessionSettings()
_BREAKER: Final = CostBreakerSettings()

DEFAULTS: Final[Mapping[str, Any]] = {
    "enabled": False,
    "max_session_cost_usd": to_usd(_SESSION.limit_nano).normalize(),
    "session_minutes": _SESSION.length_s / 60,
    "warn_at": _SESSION.warn_at,
    "hourly_limit_usd": Decimal(50),
    "circuit_breaker_threshold_usd": Decimal(100),
    "circuit_breaker_window_hours": _BREAKER.window_s / 3600,
    "cool_down_s": _BREAKER.cool_down_s,
}
VARIABLES: Final[Mapping[str, str]] = {name: _PREFIX + name.upper() for name in DEFAULTS}
"""The environment's variable over each setting."""
_WORDS: Final = {"1": "true", "0": "false"}
"""What other programs' switches are set to."""


class CostProtection(msgspec.Struct, frozen=True, kw_only=True):
    """What counts of it."""

    enabled: bool = False
    session: SessionSettings = _SESSION
    breaker: CostBreakerSettings = _BREAKER
    hourly: BudgetRule = BudgetRule(name=HOURLY, scope="key", window="hour", limit_nano=50 * 10**9)
    settings: tuple[Setting, ...] = ()
    """Each value, and where it came from."""
    unread: tuple[str, ...] = ()
    """Variables that look like its own and aren't."""
    idle: tuple[str, ...] = ()
    """Limits that somebody set, while it is off."""

    @property
    def rules(self) -> tuple[BudgetRule, ...]:
        """The budgets that it makes: none while it is off."""
        return (self.session.budget, self.hourly) if self.enabled else ()


def with_environment(filled: Filled, env: Mapping[str, str]) -> Filled:
    """``filled`` with what the environment says in the table's place, and known to be from there."""
    given = {name: env[variable].strip() for name, variable in VARIABLES.items() if _is_set(env, variable)}
    table = filled.document.get(_TABLE, {})
    if not given or not isinstance(table, dict):  # what is no table is reported as such
        return filled
    if "enabled" in given:
        given["enabled"] = _WORDS.get(given["enabled"], given["enabled"])
    over = {name: Substituted(text, (VARIABLES[name],)) for name, text in given.items()}
    paths: dict[Path, tuple[str, ...]] = {(_TABLE, name): (VARIABLES[name],) for name in over}
    return Filled(
        document={**filled.document, _TABLE: {**table, **over}},
        problems=tuple(problem for problem in filled.problems if problem.path not in paths),
        origins={**filled.origins, **paths},
    )


def cost_protection_of(source: Source) -> CostProtection:
    """The table, checked, as it counts."""
    doc, env = source.doc, source.env
    settings = _settings(doc.cost_protection, env)
    value = {setting.name: setting.value for setting in settings}
    session = SessionSettings(
        length_s=value["session_minutes"] * 60,
        limit_nano=to_nano(value["max_session_cost_usd"]),
        warn_at=value["warn_at"],
        most=doc.sessions.max_remembered,
        most_of_key=doc.sessions.max_per_key,
    )
    breaker = CostBreakerSettings(
        threshold_nano=to_nano(value["circuit_breaker_threshold_usd"]),
        window_s=value["circuit_breaker_window_hours"] * 3600,
        cool_down_s=value["cool_down_s"],
    )
    hourly = BudgetRule(
        name=HOURLY,
        scope="key",
        window="hour",
        limit_nano=to_nano(value["hourly_limit_usd"]),
        warn_at=value["warn_at"],
    )
    known = frozenset(VARIABLES.values())
    return CostProtection(
        enabled=value["enabled"],
        session=session,
        breaker=breaker,
        hourly=hourly,
        settings=settings,
        unread=tuple(name for name in sorted(env) if name.startswith(_PREFIX) and name not in known),
        idle=() if value["enabled"] else tuple(_idle(doc.cost_protection, env)),
    )


def findings(protection: CostProtection) -> Iterator[Problem]:
    """What is likely not meant."""
    for variable in protection.unread:
        near = or_one_of(variable, VARIABLES.values())
        yield Problem((), f"environment {variable}: nothing reads it{near}")
    for said in protection.idle:
        yield Problem(
            (), f"{said}: limits nothing, since cost protection is off; set cost_protection.enabled = true"
        )
    by_name = {setting.name: setting for setting in protection.settings}
    for name in ("max_session_cost_usd", "hourly_limit_usd") if protection.enabled else ():
        most, limit = by_name["circuit_breaker_threshold_usd"].value, by_name[name]
        if limit.path is not None and limit.value > most:
            yield Problem(
                limit.path,
                f"is never reached: circuit_breaker_threshold_usd ends all spending at ${_plain(most)}",
            )


def notes_of(protection: CostProtection) -> Iterator[str]:
    """What holds, for who checks a configuration. What a variable holds is never part of it, but for the limits."""
    if protection.enabled:
        value = {setting.name: _plain(setting.value) for setting in protection.settings}
        yield (
            "cost protection is on: "
            f"a session may spend ${value['max_session_cost_usd']} in {value['session_minutes']} minutes, "
            f"a key ${value['hourly_limit_usd']} an hour, everyone together "
            f"${value['circuit_breaker_threshold_usd']} in {value['circuit_breaker_window_hours']} hours"
        )


def _settings(table: CostProtectionTable, env: Mapping[str, str]) -> tuple[Setting, ...]:
    found = []
    for name, builtin in DEFAULTS.items():
        written = getattr(table, name)
        found.append(
            Setting(name, builtin, None) if written is None else Setting(name, written, (_TABLE, name))
        )
    if found[0].path is None and (wanted := next(_limits(env), None)) is not None:
        found[0] = Setting(name="enabled", value=True, path=(_TABLE, wanted))
    return tuple(found)


def _limits(env: Mapping[str, str]) -> Iterator[str]:
    """The settings, but for the switch, that the environment has."""
    return (name for name, variable in VARIABLES.items() if name != "enabled" and _is_set(env, variable))


def _idle(table: CostProtectionTable, env: Mapping[str, str]) -> Iterator[str]:
    """Limits that don't hold, and likely should. Who says ``enabled = false`` in the file may well keep numbers there."""
    for name, variable in VARIABLES.items():
        if name == "enabled":
            continue
        if _is_set(env, variable):
            yield f"environment {variable}"
        elif table.enabled is None and getattr(table, name) is not None:
            yield f"{_TABLE}.{name}"


def _is_set(env: Mapping[str, str], variable: str) -> bool:
    return bool(env.get(variable, "").strip())


def _plain(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else f"{value:g}"
