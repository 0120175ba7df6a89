"""The tables of the configuration file: ``configuration.md``."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_origin

from docs.tables.markdown import attribute_docs, code, table
from docs.tables.meanings import MEANINGS
from pydantic import BaseModel, TypeAdapter, ValidationError

from holdfast.config import schema
from holdfast.config.cost_protection import DEFAULTS
from holdfast.config.defaults import GATES, gate_settings
from holdfast.engine.policy import Idempotency, Policy, Retry, Timeouts
from holdfast.money.rules import SCOPES, BudgetRule
from holdfast.providers.catalog import PROVIDERS
from holdfast.providers.prices import parse_overrides
from holdfast.providers.tiers import TIERS
from holdfast.resilience.bulkhead import BulkheadSettings

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

    from holdfast.providers.catalog import Provider

__all__ = ["PARTS", "TABLES"]

_OVERALL: Final = {
    # It is off until the number of places is set; then these hold.
    name: getattr(BulkheadSettings(), name)
    for name in ("max_queue", "max_wait_s")
}

_WARN_AT: Final = BudgetRule(name="any", limit_nano=0).warn_at


def _gate(name: str) -> SimpleNamespace:
    """The values of a policy before a target that hold while nobody sets them, as `holdfast explain` has them."""
    built_in = gate_settings(schema.Document(), name, None, None)
    return SimpleNamespace(**{setting.name.partition(".")[2]: setting.value for setting in built_in})


TABLES: Final[dict[str, tuple[type[BaseModel], tuple[Any, ...]]]] = {
    # The heading, the model, and where the built-in values are that hold while the file sets none.
    "gateway": (schema.Gateway, ()),
    "gateway.log": (schema.Log, ()),
    "ledger": (schema.Ledger, ()),
    "redis": (schema.Redis, ()),
    "timeouts": (schema.RouteTimeoutsTable, (Timeouts(), Policy())),
    "retry": (schema.RouteRetryTable, (Retry(), Policy(), _gate("budget"))),
    "breaker": (schema.BreakerTable, (_gate("breaker"),)),
    "bulkhead": (schema.BulkheadTable, (_gate("bulkhead"),)),
    "adaptive": (schema.AdaptiveTable, (_gate("adaptive"),)),
    "hedge": (schema.HedgeTable, (_gate("hedge"),)),
    "rate": (schema.RateTable, (_gate("rate"),)),
    "idempotency": (schema.IdempotencyTable, (Idempotency(),)),
    "overall": (schema.OverallTable, (SimpleNamespace(**_OVERALL),)),
    "cost_protection": (schema.CostProtectionTable, (SimpleNamespace(**DEFAULTS),)),
    "sessions": (schema.SessionsTable, ()),
    "outbound": (schema.OutboundTable, ()),
    "providers.NAME": (schema.ProviderTable, ()),
    "providers.NAME.deployments": (schema.DeploymentTable, ()),
    "routes.NAME": (schema.RouteTable, (Policy(),)),
    "routes.NAME.targets": (schema.TargetTable, ()),
    "keys.NAME": (schema.KeyTable, ()),
    "keys.NAME.providers.PROVIDER": (schema.OwnKeyTable, ()),
    "budgets.NAME": (schema.BudgetTable, (SimpleNamespace(warn_at=_WARN_AT),)),
    "models.NAME": (schema.ModelTable, ()),
    "pricing": (schema.PricingTable, ()),
}

_BY_HAND: Final = {
    # What is read together with other tables, and so has no range of its own.
    "providers.NAME.deployments": "list of [tables](#providersnamedeployments)",
    "routes.NAME.targets": 'list of `"provider/model"`, [tables](#routesnametargets), and lists of them',
    "routes.NAME.targets.target": '`"provider/model"`',
    "keys.NAME.routes": "list of names of routes",
    "keys.NAME.providers": "tables by provider",
    "budgets.NAME.scope": ", ".join(f'`"{scope}"`' for scope in SCOPES if scope != "tag")
    + ' or `"tag:NAME"`',
}
_DEFAULTS: Final = {
    "routes.NAME.drop": "[what is harmless](translations.md#what-cant-be-said)",
    "keys.NAME.own_keys_only": "that of `[gateway]`",
    "budgets.NAME.window": '`"month"`; `"session"` where the scope is',
}
_CHANCE: Final = ", not a date or time"


def settings(name: str) -> str:
    """One table of the file."""
    model, builtin = TABLES[name]
    rows = []
    for setting, field in model.model_fields.items():
        path = f"{name}.{setting}"
        rows.append(
            (
                f"`{setting}`",
                _BY_HAND.get(path) or values(_annotated(model, setting)),
                _DEFAULTS.get(path)
                or _default(field.get_default(call_default_factory=True), setting, builtin),
                _meaning(name, setting),
            )
        )
    return table(("setting", "value", "default", "meaning"), rows)


def _meaning(name: str, setting: str) -> str:
    """Our own words, or else those that stand under the policy's own setting."""
    path = f"{name}.{setting}"
    if (said := MEANINGS["configuration"].get(path)) is not None:
        return said
    for table_name, kind, prefix in GATES.values():
        if table_name == name:
            return attribute_docs(kind)[setting.removeprefix(prefix)]
    raise KeyError(path)


def values(kind: Any) -> str:
    """What a setting may be, in the words with which the code refuses what it may not be."""
    arguments = get_args(kind)
    if get_origin(kind) is Annotated:
        return _probed(kind)
    if get_origin(kind) is tuple:
        return f"list; each {values(arguments[0])}"
    inner = [argument for argument in arguments if argument is not type(None)]
    return values(inner[0]) if inner else "table"


def _probed(kind: Any) -> str:
    try:
        TypeAdapter(kind).validate_python(object())
    except ValidationError as error:
        said: str = error.errors()[0]["msg"]
        right = said.partition(_CHANCE)[0].removeprefix("must be ").removeprefix("a ")
        return re.sub(r'"[^"]+"', lambda found: f"`{found[0]}`", right)
    raise AssertionError(f"{kind} takes anything")


def _annotated(model: type[BaseModel], setting: str) -> Any:
    """The annotation with its validator: pydantic keeps the two apart."""
    hints = {name: kind for base in reversed(model.__mro__) for name, kind in _hints(base).items()}
    return hints[setting]


def _hints(base: type) -> dict[str, Any]:
    scope = vars(schema)
    return {name: eval(kind, scope) for name, kind in vars(base).get("__annotations__", {}).items()}  # noqa: S307  # the schema's own source


def _default(value: Any, setting: str, builtin: tuple[Any, ...]) -> str:
    if value is None:
        value = next((getattr(values, setting) for values in builtin if hasattr(values, setting)), None)
    if value is None:
        return "none"
    if isinstance(value, (tuple, dict, frozenset, BaseModel)):
        return "" if value else "empty"
    return code(value) if isinstance(value, (str, int, float, Decimal)) else "required"


def known() -> str:
    """The rows that a file's provider of that name begins with."""
    rows = []
    for row in PROVIDERS.values():
        keys = [f"`{name}`" for name in (*row.key_env, *row.token_env)]
        address = f"`{row.base_url}`" if row.base_url else "yours"
        moved = f", or `{row.base_url_env}`" if row.base_url_env else ""
        rows.append(
            (
                f"`{row.name}`",
                f"`{row.dialect}`",
                address + moved,
                " or ".join(keys),
                f"`{row.default_model}`",
                ", ".join(f"`{name}`" for name in row.unsupported) or "none",
            )
        )
    return table(("name", "dialect", "address", "key", "model behind `chat`", "doesn't take"), rows)


def doors() -> str:
    """Where each provider is asked what its callers may speak."""
    rows = [
        (f"`{row.name}`", f"`{dialect}`", " or ".join(f"`{path}`" for path in _paths(row, dialect)))
        for row in PROVIDERS.values()
        for dialect in row.doors
    ]
    return table(("provider", "spoken there", "path under the address"), rows)


def _paths(row: Provider, dialect: str) -> list[str]:
    door, dated = row.doors[dialect], row.dated_doors.get(dialect)
    paths = [door.path, door.stream_path or "", f"{dated.path}?api-version=…" if dated is not None else ""]
    return [path for path in paths if path]


def prices() -> str:
    """What a price may say: the kinds of token, as the code lists them to who misspells one."""
    _, problems = parse_overrides({"m": {"?": 1}})
    kinds = problems[0].partition("known are ")[2].partition(", each with")[0].split(", ")
    rows = [(f"`{kind}_per_1m`, `{kind}_per_1k`", MEANINGS["prices"][kind]) for kind in kinds]
    others = ("per_request_usd", "per_web_search_usd", "above", *TIERS)
    rows += [(f"`{name}`", MEANINGS["prices"][name]) for name in others]
    return table(("setting", "dollars for"), rows)


PARTS: Parts = {
    **{f"settings-{name.replace('.', '-').lower()}": partial(settings, name) for name in TABLES},
    "prices": prices,
    "providers": known,
    "doors": doors,
}
